"""Ask the running bridge how it is."""

from __future__ import annotations

import argparse
import json
from typing import Any, Dict, Iterator

from bridge.config import Settings
from bridge.errors import EXIT_OK, EXIT_PLANT, ConfigError, LinkError
from bridge.link.bridge_http import get_json
from bridge.model import battery_text, grid_text

HELP = "ask the running bridge how it is"
TIMEOUT_S = 3.0  # it answers from memory


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this verb."""
    parser.add_argument("--json", action="store_true", help="print the snapshot as JSON")


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Print the snapshot; exit 0 while it is valid, 3 when the plant is not being read."""
    listen = settings["status.listen"]
    if listen == "off":
        raise ConfigError("status: status.listen is off, so the running bridge cannot be asked; set it to host:port")
    host, _, port = listen.rpartition(":")
    address = "127.0.0.1" if host in ("0.0.0.0", "", "[::]") else host
    snapshot = _ask(f"{address}:{port}", "/v1/snapshot", settings["status.token"])
    if args.json:
        print(json.dumps(snapshot))
    else:
        _show(snapshot, _ask(f"{address}:{port}", "/healthz", settings["status.token"]))
        if settings["amber.token"]:
            print(_tariff(settings))
    return EXIT_OK if snapshot["valid"] else EXIT_PLANT


def _tariff(settings: Settings) -> str:
    try:
        from bridge.tariff_report import status_line
    except ModuleNotFoundError:
        return "tariff   needs the package sigen-bridge-cloud"
    return status_line(settings)


def _ask(address: str, path: str, token: str) -> Dict[str, Any]:
    try:
        return get_json(address, path, TIMEOUT_S, token)
    except LinkError as error:
        raise LinkError(
            f"status {address}: no bridge answers there ({error}); is 'sigen-bridge run' running?"
        ) from error


def _show(snapshot: Dict[str, Any], health: Dict[str, Any]) -> None:
    def watts(power: Any) -> str:
        return "unknown" if power is None else f"{power:.0f} W"

    soc = "unknown" if snapshot["soc_pct"] is None else f"{snapshot['soc_pct']:.1f} %"
    print(f"sun      {watts(snapshot['pv_w'])}")
    print(f"battery  {soc}, {battery_text(snapshot['battery_charge_w'])}")
    print(f"grid     {grid_text(snapshot['grid_import_w'])}")
    print(f"house    {watts(snapshot['load_w'])}{' (derived)' if snapshot['load_derived'] else ''}")
    age = "" if snapshot["age_s"] is None else f", {snapshot['age_s']:.1f} s old"
    print(f"source   {snapshot['source'] or 'none yet'}{age}, {'valid' if snapshot['valid'] else 'NOT VALID'}")
    if snapshot["reason"]:
        print(f"reason   {snapshot['reason']}")
    print(f"bridge   version {health['version']}, {health['cycles']} cycles, {health['late']} late,"
          f" {health['failed']} failed, {health['dropped']} dropped")
    for sink in health["sinks"]:
        print(f"sink     {sink['name']}: {'ok' if sink['ok'] else 'not ok'}, {sink['written']} written"
              f"{', ' + sink['error'] if sink['error'] else ''}")
    for text in beside(health):
        print(text)


def beside(health: Dict[str, Any]) -> Iterator[str]:
    """Yield a line for each part that runs beside the poll: fallback, pushes, battery command, register server."""
    failover, pushes = health.get("failover"), health.get("sigen_mqtt")
    command, server = health.get("control"), health.get("reserver")
    if failover:
        yield f"failover {failover['state']} for {failover['for_s']} s" + "".join(
            f"; {name}: {failover[key]}" for name, key in (("plant", "local_error"), ("cloud", "cloud_error"))
            if failover[key])
    if pushes:
        told = "".join(f", {name} {value}" for name, value in pushes.get("system", {}).items())
        yield f"pushes   {pushes['state']}, {pushes['messages']} messages{told}" + (
            f"; {pushes['error']}" if pushes["error"] else "")
    if command:
        ends = "" if command["ends_in_s"] is None else f", ends in {command['ends_in_s']} s"
        yield f"command  {command['text']} ({command['state']}){ends}" + (
            f"; {command['error']}" if command["error"] else "")
    if server:
        yield (f"reserver {server['listen']}: {server['clients']} connected, {server['requests']} requests,"
               f" {server['refused']} writes refused, {server['no_turn']} had to ask again")
