"""Ask the Sigenergy cloud (OpenAPI) about the account, its stations and their power; onboard and offboard.

Never prints a token or a secret, and never asks more often than the vendor allows.
"""

from __future__ import annotations

import argparse
import json
import logging
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional

from bridge.clock import Clock
from bridge.config import Settings
from bridge.errors import EXIT_CLOUD, EXIT_OK, ConfigError, ImplausibleData, Refused
from bridge.link.cloud import host_of
from bridge.peers.sigen_board import BoardResult
from bridge.peers.sigen_calls import Request, board_call, request_of
from bridge.peers.sigen_codes import openapi_url, region_named
from bridge.peers.sigen_openapi import OpenApi
from bridge.peers.sigen_records import Summary
from bridge.peers.sigen_session import TOKEN_FILE
from bridge.peers.sigen_text import (
    charging,
    device_lines,
    device_realtime_lines,
    duration,
    exporting,
    flow_lines,
    moment,
    system_lines,
    total_lines,
)
from bridge.sources.openapi import to_reading
from bridge.wiring_cloud import openapi, state_dir

HELP = "ask the Sigenergy cloud: login, systems, devices, flow, totals; onboard and offboard"
READS = (
    ("login", "log in now and say how long the token holds; it is kept and shared"),
    ("systems", "list the stations that this login may see"),
    ("devices", "list the devices of the station"),
    ("flow", "power of sun, battery, grid, house, EV charger and heat pump"),
    ("summary", "energy totals (newer spelling of the call)"),
    ("realtime", "energy totals (older spelling), or one device with --device"),
)
WRITES = (
    ("onboard", "put stations under your application"),
    ("offboard", "give stations back to their owners"),
)
EFFECTS: Mapping[str, str] = {
    "onboard": "your application may read and control {} from then on",
    "offboard": "your application loses {}, which returns to its owner and to maximum self-consumption",
}
IMPLAUSIBLE: Mapping[str, str] = {
    "balance": "the powers do not add up", "empty": "it holds none of the values",
}


class Shown(NamedTuple):
    """The answer to one verb, for machines and as lines for people; ``problem`` makes it exit code 4."""

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
        if name in ("login", "systems", "flow"):
            read.add_argument("--via", choices=("openapi", "app"), default="openapi", help="ask the Sigen app's API")
    for name, text in WRITES:
        write = verbs.add_parser(name, help=text, allow_abbrev=False)
        write.add_argument("ids", nargs="+", metavar="SYSTEM_ID", help="listed by 'cloud systems'")
        write.add_argument("--yes", action="store_true", help="yes, do it")
        write.add_argument("--dry-run", action="store_true", help="show the request and send nothing")
        write.add_argument("--json", action="store_true", help="print JSON")
    encode = verbs.add_parser("encode-password", allow_abbrev=False,
                              help="print the form in which the web app sends a password")
    encode.add_argument("--password-file", metavar="FILE",
                        help="read it from the first line of FILE (- is standard input) instead of asking")


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Run one verb; exit 4 for an impossible answer, 6 for cloud and login, 7 for a rate limit."""
    if args.verb == "encode-password":
        return _encode_password(args.password_file)
    clock = Clock()
    quieten(settings)
    if vars(args).get("via") == "app":
        from bridge.commands import _cloud_app

        return _cloud_app.run(args, settings, clock)
    if args.verb in EFFECTS:
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
    """Leave out log lines that repeat what the verb says itself, unless a log level was asked for."""
    if not settings.is_set("run.log_level"):
        logging.getLogger("cloud").addFilter(_news)  # the same function again is no second filter


def _news(record: logging.LogRecord) -> bool:
    return record.levelno > logging.INFO and "event=hold" not in record.getMessage()


def base_url(settings: Settings) -> str:
    """Return the address at which the OpenAPI is asked."""
    region = region_named(settings["cloud.region"] or "eu")
    return str(settings["cloud.base_url"] or openapi_url(region, settings["cloud.host_family"])).rstrip("/")


def print_request(as_json: bool, *requests: Request, refused: str = "404 or 405") -> None:
    """Print what would be sent, the preferred spelling first; ``refused`` is what leads to the next one."""
    if as_json:
        print(json.dumps({"dry_run": True, "requests": [one._asdict() for one in requests]}))
        return
    for index, one in enumerate(requests):
        print(f"{f'or, after HTTP {refused}: ' if index else ''}{one.method} {one.url}\n{one.text}")


def _login(api: OpenApi, args: argparse.Namespace, settings: Settings, clock: Clock) -> Shown:
    login, state = api.login(), state_dir(settings)
    region, host = region_named(settings["cloud.region"] or "eu").name, host_of(base_url(settings))
    kind, _, spelling = login.method.partition("/")
    until = clock.now() + login.expires_in_s if clock.synced() else None
    path = f"{state.path}/{TOKEN_FILE}" if state.load(TOKEN_FILE) is not None else None
    kept = f"{path}, readable by this user only" if path else (
        f"nothing: {state.path} cannot be written, so that each command logs in again"
    )
    account = "application key: sees onboarded stations" if kind == "key" else f"mySigen account, {spelling}"
    lines = [
        "login    accepted",
        f"region   {region} ({host})",
        f"account  {account}",
        f"token    valid for {duration(login.expires_in_s)}{', until ' + moment(until) if until else ''}",
        f"kept in  {kept}",
    ]
    return Shown({
        "ok": True, "region": region, "host": host, "account": kind, "method": login.method,
        "valid_s": round(login.expires_in_s), "valid_until": until, "token_file": path,
    }, lines)


def _systems(api: OpenApi, args: argparse.Namespace, settings: Settings, clock: Clock) -> Shown:
    systems = api.systems()
    hint = ["set cloud.system_id to one of these"] if systems and not settings["cloud.system_id"] else []
    return Shown({"systems": [one._asdict() for one in systems]}, system_lines(systems) + hint)


def _devices(api: OpenApi, args: argparse.Namespace, settings: Settings, clock: Clock) -> Shown:
    devices = api.devices()
    content = {"system_id": settings["cloud.system_id"], "devices": [one._asdict() for one in devices]}
    return Shown(content, device_lines(devices))


def _flow(api: OpenApi, args: argparse.Namespace, settings: Settings, clock: Clock) -> Shown:
    flow = api.energy_flow()
    reading = to_reading(flow, clock.now(), clock.monotonic())
    content = {
        "system_id": settings["cloud.system_id"], "source": "cloud", "at": reading.at, **flow._asdict(),
        "grid_text": exporting(flow.grid_export_kw), "battery_text": charging(flow.battery_charge_kw),
        "balance_w": reading.balance_w, "valid": reading.valid, "reason": reading.reason,
    }
    problem = "" if reading.valid else (
        f"cloud flow: the answer cannot be true ({IMPLAUSIBLE.get(str(reading.reason), reading.reason)});"
        " the bridge would not show it"
    )
    return Shown(content, flow_lines(flow, reading.balance_w), problem)


def _totals(totals: Summary, settings: Settings) -> Shown:
    return Shown({"system_id": settings["cloud.system_id"], **totals._asdict()}, total_lines(totals))


def _realtime(api: OpenApi, args: argparse.Namespace, settings: Settings, clock: Clock) -> Shown:
    if not args.device:
        return _totals(api.realtime(), settings)
    device = api.device_realtime(args.device)
    content = {"system_id": settings["cloud.system_id"], **device._asdict()}
    return Shown(content, device_realtime_lines(device))


Show = Callable[[OpenApi, argparse.Namespace, Settings, Clock], Shown]
SHOWS: Mapping[str, Show] = {
    "login": _login, "systems": _systems, "devices": _devices, "flow": _flow, "realtime": _realtime,
    "summary": lambda api, _args, settings, _clock: _totals(api.summary(), settings),
}


def _board(args: argparse.Namespace, settings: Settings, clock: Clock) -> int:
    """Onboard or offboard; exit 6 unless every station is done."""
    api = openapi(settings, clock)
    if not (settings["cloud.app_key"] and settings["cloud.app_secret"]):
        raise ConfigError(
            f"cloud {args.verb}: only an application can; set cloud.app_key and cloud.app_secret (a mySigen"
            " account sees its stations without it)"
        )
    request = request_of(board_call(args.verb, args.ids), base_url(settings))
    if args.dry_run:
        print_request(args.json, request)
        return EXIT_OK
    if not args.yes:
        effect = EFFECTS[args.verb].format(", ".join(request.body))
        raise Refused(
            f"cloud {args.verb}: {effect}; if that is wanted, repeat it with --yes (--dry-run shows the"
            " request)"
        )
    try:
        results = api.onboard(args.ids) if args.verb == "onboard" else api.offboard(args.ids)
    finally:
        api.close()
    done = all(one.done for one in results)
    if args.json:
        print(json.dumps({"done": done, "stations": [one._asdict() for one in results]}))
    else:
        for one in results:
            print(f"{one.system_id}  {_outcome(one)}")
    return EXIT_OK if done else EXIT_CLOUD


def _outcome(result: BoardResult) -> str:
    if result.done:
        return result.note
    state = "waiting" if result.pending else "not known" if result.done is None else "NOT DONE"
    return f"{state}: {result.note}"


def _encode_password(path: Optional[str]) -> int:
    from bridge.peers.sigen_password import encode, read_password

    print(encode(read_password(path)))
    return EXIT_OK
