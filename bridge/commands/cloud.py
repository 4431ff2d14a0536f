"""Ask the Sigenergy cloud (OpenAPI) about the account, its stations and their power; onboard and offboard.

Never prints a token or a secret, and never asks more often than the vendor allows.
"""

from __future__ import annotations

import argparse
import json
import logging
from datetime import datetime, timezone
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from bridge.clock import Clock
from bridge.config import Settings
from bridge.errors import EXIT_CLOUD, EXIT_OK, ConfigError, ImplausibleData, Refused
from bridge.link.cloud import host_of
from bridge.peers.sigen_board import BoardResult
from bridge.peers.sigen_calls import board_call
from bridge.peers.sigen_codes import openapi_url, region_named
from bridge.peers.sigen_openapi import OpenApi
from bridge.peers.sigen_records import Summary
from bridge.peers.sigen_session import TOKEN_FILE
from bridge.peers.sigen_wire import Call
from bridge.sources.openapi import to_reading
from bridge.wiring_cloud import openapi, state_dir

HELP = "ask the Sigenergy cloud: login, systems, devices, flow, totals; onboard and offboard"
READS = (
    ("login", "log in now and say how long the token holds; it is kept and shared"),
    ("systems", "list the stations that this login may see"),
    ("devices", "list the devices of the station"),
    ("flow", "power of sun, battery, grid, house, EV charger and heat pump"),
    ("summary", "energy totals, newer spelling"),
    ("realtime", "energy totals, older spelling; or one device with --device"),
)
WRITES = (
    ("onboard", "put stations under your application", "lets your application read and control"),
    ("offboard", "give stations back to their owners", "ends the control of your application over"),
)


class Shown(NamedTuple):
    """The answer to one verb: for machines and, as lines, for people; ``problem`` makes the exit code 4."""

    content: Dict[str, Any]
    lines: List[str]
    problem: str = ""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of each verb."""
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    for name, text in READS:
        read = verbs.add_parser(name, help=text, allow_abbrev=False)
        read.add_argument("--json", action="store_true", help="print JSON")
        if name == "realtime":
            read.add_argument("--device", metavar="SERIAL", help="the live values of this device instead")
    for name, text, _effect in WRITES:
        write = verbs.add_parser(name, help=text, allow_abbrev=False)
        write.add_argument("ids", nargs="+", metavar="SYSTEM_ID", help="stations, as 'cloud systems' lists them")
        write.add_argument("--yes", action="store_true", help="yes, do it")
        write.add_argument("--dry-run", action="store_true", help="show the request and send nothing")
        write.add_argument("--json", action="store_true", help="print JSON")
    encode = verbs.add_parser("encode-password", allow_abbrev=False,
                              help="print the form in which the web app sends a password")
    encode.add_argument("--password-file", metavar="FILE",
                        help="take it from the first line of FILE, - is standard input; else it is asked for")


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Run one verb; exit 4 for an impossible answer, 6 for cloud and login, 7 for a rate limit."""
    if args.verb == "encode-password":
        return _encode_password(args.password_file)
    clock = Clock()
    quieten(settings)
    if args.verb in ("onboard", "offboard"):
        return _board(args, settings, clock)
    api = openapi(settings, clock)
    try:
        shown = SHOWS[args.verb](api, args, settings, clock)
    finally:
        api.close()
    print(json.dumps(shown.content) if args.json else "\n".join(shown.lines))
    if shown.problem:
        raise ImplausibleData(shown.problem)
    return EXIT_OK


def quieten(settings: Settings) -> None:
    """Leave out log lines that only repeat what the verb says itself, unless a log level was asked for."""
    if not settings.is_set("run.log_level"):
        logging.getLogger("cloud").addFilter(
            lambda record: record.levelno > logging.INFO and "event=hold" not in record.getMessage()
        )


def base_url(settings: Settings) -> str:
    """Return the address that the OpenAPI is asked at."""
    region = region_named(settings["cloud.region"] or "eu")
    return str(settings["cloud.base_url"] or openapi_url(region, settings["cloud.host_family"])).rstrip("/")


def request_lines(settings: Settings, call: Call) -> List[str]:
    """Return what a call would send, without the token."""
    return [f"{call.method} {base_url(settings)}{call.path}", json.dumps(call.body, separators=(",", ":"))]


def _login(api: OpenApi, args: argparse.Namespace, settings: Settings, clock: Clock) -> Shown:
    login = api.login()
    state = state_dir(settings)
    kept = state.load(TOKEN_FILE) is not None
    where = f"{state.path}/{TOKEN_FILE}"
    until = clock.now() + login.expires_in_s if clock.synced() else None
    kind, _, spelling = login.method.partition("/")
    account = "application key (onboarded stations)" if kind == "key" else f"mySigen account (sent as {spelling})"
    region = region_named(settings["cloud.region"] or "eu").name
    held = f"for {_duration(login.expires_in_s)}{_until(until)}"
    return Shown(
        {
            "ok": True, "region": region, "host": host_of(base_url(settings)), "account": kind,
            "method": login.method, "valid_s": round(login.expires_in_s), "valid_until": until,
            "token_file": where if kept else None,
        },
        [
            "login    accepted",
            f"region   {region} ({host_of(base_url(settings))})",
            f"account  {account}",
            f"token    valid {held}",
            f"kept in  {where} (readable by you only)" if kept
            else f"kept in  nothing: {state.path} cannot be written, so the next command logs in again",
        ],
    )


def _systems(api: OpenApi, args: argparse.Namespace, settings: Settings, clock: Clock) -> Shown:
    systems = api.systems()
    rows = [
        (one.system_id, one.name or "-", one.status or "unknown", one.on_off_grid or "unknown",
         _amount(one.pv_kw, "kW"), _amount(one.battery_kwh, "kWh"), one.time_zone or "-")
        for one in systems
    ]
    lines = table(("system id", "name", "status", "grid", "PV", "battery", "time zone"), rows)
    if not systems:
        lines = ["no station: onboard one (cloud onboard ID), or log in with the owner's mySigen account"]
    elif not settings["cloud.system_id"]:
        lines.append("set cloud.system_id to one of these")
    return Shown({"systems": [one._asdict() for one in systems]}, lines)


def _devices(api: OpenApi, args: argparse.Namespace, settings: Settings, clock: Clock) -> Shown:
    devices = api.devices()
    rows = [
        (one.serial, one.kind or "unknown", one.status or "unknown", one.firmware or "-",
         " ".join(f"{key}={content}" for key, content in one.attributes.items()))
        for one in devices
    ]
    lines = table(("serial", "kind", "status", "firmware", "attributes"), rows)
    return Shown({"system_id": settings["cloud.system_id"], "devices": [one._asdict() for one in devices]},
                 lines if devices else ["no device is listed for this station"])


def _flow(api: OpenApi, args: argparse.Namespace, settings: Settings, clock: Clock) -> Shown:
    flow = api.energy_flow()
    reading = to_reading(flow, clock.now(), clock.monotonic())
    battery, grid = charging(flow.battery_charge_kw), exporting(flow.grid_export_kw)
    balance = "not known" if reading.balance_w is None else f"{reading.balance_w / 1000:.2f} kW left over"
    lines = [
        f"sun         {_amount(flow.pv_kw, 'kW')}",
        f"battery     {_amount(flow.soc_pct, '%', 1)}, {battery}",
        f"grid        {grid}",
        f"house       {_amount(flow.load_kw, 'kW')}",
        f"EV charger  {_amount(flow.ev_kw, 'kW')}",
        f"heat pump   {_amount(flow.heat_pump_kw, 'kW')}",
        f"balance     {balance}; the house is without EV charger and heat pump",
    ]
    content = {
        "system_id": settings["cloud.system_id"], "source": "cloud", "at": reading.at, **flow._asdict(),
        "grid_text": grid, "battery_text": battery, "balance_w": reading.balance_w,
        "valid": reading.valid, "reason": reading.reason,
    }
    why = {"balance": "the powers do not add up", "empty": "it holds none of the values"}
    problem = "" if reading.valid else (
        f"cloud flow: the answer cannot be true ({why.get(str(reading.reason), reading.reason)});"
        " it would not be displayed"
    )
    return Shown(content, lines, problem)


def _totals(summary: Summary, settings: Settings) -> Shown:
    lines = [
        f"sun today       {_amount(summary.day_kwh, 'kWh')}",
        f"sun this month  {_amount(summary.month_kwh, 'kWh')}",
        f"sun this year   {_amount(summary.year_kwh, 'kWh')}",
        f"sun so far      {_amount(summary.lifetime_kwh, 'kWh')}",
        f"spared          {_amount(summary.co2_t, 't')} CO2, {_amount(summary.coal_t, 't')} coal,"
        f" as {_amount(summary.trees, 'trees', 1)}",
    ]
    return Shown({"system_id": settings["cloud.system_id"], **summary._asdict()}, lines)


def _summary(api: OpenApi, args: argparse.Namespace, settings: Settings, clock: Clock) -> Shown:
    return _totals(api.summary(), settings)


def _realtime(api: OpenApi, args: argparse.Namespace, settings: Settings, clock: Clock) -> Shown:
    if not args.device:
        return _totals(api.realtime(), settings)
    device = api.device_realtime(args.device)
    lines = [
        f"device   {device.serial} ({device.kind or 'unknown kind'})",
        f"sun      {_amount(device.pv_kw, 'kW')}",
        f"AC side  {direction(device.ac_kw, 'generating', 'drawing')}",
        f"battery  {_amount(device.soc_pct, '%', 1)}, {charging(device.battery_charge_kw)}",
    ]
    return Shown({"system_id": settings["cloud.system_id"], **device._asdict()}, lines)


Show = Callable[[OpenApi, argparse.Namespace, Settings, Clock], Shown]
SHOWS: Mapping[str, Show] = {
    "login": _login, "systems": _systems, "devices": _devices, "flow": _flow, "summary": _summary,
    "realtime": _realtime,
}
