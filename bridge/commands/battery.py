"""Send battery commands that end by themselves; through the running bridge, or with a connection of our own.

Never writes without ``control.enabled``, and never leaves a command behind: in the foreground Ctrl-C, SIGTERM and
the end of the time give the battery back, and ``battery watch`` does it for a process that died.
"""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any, Dict, List

from bridge.clock import Clock
from bridge.commands._battery_end import release, say, watch
from bridge.config import Settings
from bridge.control.battery import CHARGE, DISCHARGE, IDLE, SELF, SELF_GRID, Command, as_record, checked, said
from bridge.control.battery_desk import Desk
from bridge.control.battery_text import clock_text, history_lines, last_lines, plan_lines, status_lines
from bridge.control.schedule import parse
from bridge.errors import EXIT_OK, EXIT_REFUSED, ConfigError, Refused
from bridge.service import stop_on_signals
from bridge.wiring_battery import (
    Where,
    ask_bridge,
    ask_plant,
    own_link,
    report_of,
    running_bridge,
    seconds_asked,
)
from bridge.wiring_battery_cloud import send_batch_by_cloud, send_by_cloud
from bridge.wiring_control import SETTLE_S, desk

DAEMON = True  # logs its state changes
HELP = "charge, discharge or hold the battery for a time; every command ends by itself"
VERBS = {"charge": CHARGE, "discharge": DISCHARGE, "hold": IDLE, "idle": IDLE, "self": SELF, "self-grid": SELF_GRID}
STEP_S, EFFECT_WAIT_S = 1.0, 35


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this verb."""
    parser.add_argument("what", metavar="WHAT", choices=("status", *VERBS, "schedule", "release", "watch", "history"),
                        help=f"status, {', '.join(VERBS)}, schedule FILE, release, watch or history")
    parser.add_argument("file", nargs="?", metavar="FILE", help="schedule: a line each, or JSON; - is standard input")
    power = parser.add_mutually_exclusive_group()
    power.add_argument("--kw", type=float, metavar="KW", help="power of the battery in kW")
    power.add_argument("--w", type=float, metavar="W", help="power of the battery in W")
    time = parser.add_mutually_exclusive_group()
    time.add_argument("--for", dest="lasting", metavar="TIME", help="how long: 20s, 30m, 2h (at most 6h)")
    time.add_argument("--until", metavar="TIME", help="until a time of day (HH:MM) or an ISO time")
    parser.add_argument("--export-w", type=float, metavar="W", help="discharge: what shall flow into the grid")
    parser.add_argument("--max-export-w", type=float, metavar="W", help="keep the export below this meanwhile")
    parser.add_argument("--max-import-w", type=float, metavar="W", help="keep the import below this meanwhile")
    parser.add_argument("--priority", default="", choices=("pv", "grid", "battery"),
                        help="where the power comes from first; grid stops the sun while it charges")
    parser.add_argument("--via", default="auto", choices=("auto", "modbus", "openapi", "mqtt"),
                        help="the way to the plant; auto is Modbus")
    parser.add_argument("--dry-run", action="store_true", help="show every register or body and write nothing")
    parser.add_argument("--force", action="store_true", help="release: a plant that another controller left commanded")
    parser.add_argument("--yes", action="store_true", help="yes, where a question would be asked")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Do one thing; exit 8 when a safety rule refuses it or it had no effect, 3 when the plant does not answer."""
    clock = Clock()
    if args.what == "history":
        entries = desk(settings, clock).keeper.book.journal.entries()
        say(args, {"entries": entries}, history_lines(entries) or ["nothing was ever written"])
        return EXIT_OK
    if args.what == "watch":
        return watch(args, settings, clock)
    if args.what in VERBS and (args.via in ("openapi", "mqtt") or VERBS[args.what] == SELF_GRID):
        return _cloud(args, settings, clock)
    if args.what == "schedule":
        return _schedule(args, settings, clock)
    address = running_bridge(settings)
    if args.what == "status":
        report = report_of(settings, address) if address else desk(settings, clock).report()
        say(args, report, status_lines(report))
        return EXIT_OK
    if args.what == "release":
        return release(args, settings, clock, address)
    record = as_record(_command(args, settings, clock))
    if args.dry_run:
        asked = ask_bridge(settings, address, "plan", command=record) if address else \
            ask_plant(settings, clock, "plan", command=record)
        say(args, asked["plan"], plan_lines(asked["plan"]))
        return EXIT_OK
    if address:
        return _see_effect(args, settings, clock, address, ask_bridge(settings, address, "begin", command=record))
    return _hold(args, settings, clock)


def _command(args: argparse.Namespace, settings: Settings, clock: Clock) -> Command:
    return checked(Command(
        VERBS[args.what], seconds_asked(args.lasting, args.until, settings, clock),
        args.w if args.kw is None else 1000.0 * args.kw, None, args.export_w, args.max_export_w, args.max_import_w,
        args.priority,
    ))


def _see_effect(
    args: argparse.Namespace, settings: Settings, clock: Clock, address: str, report: Dict[str, Any]
) -> int:
    """Wait until the running bridge has seen the battery do it, or has taken it back."""
    for _ in range(EFFECT_WAIT_S):
        if report["state"] != "held" or report["effect"] == "seen" or clock.wait(STEP_S):
            break
        report = report_of(settings, address)
    say(args, report, status_lines(report))
    return EXIT_OK if report["state"] == "held" or _ended_well(report) else EXIT_REFUSED


def _hold(args: argparse.Namespace, settings: Settings, clock: Clock) -> int:
    """Hold a lease in the foreground until it ends; Ctrl-C gives the battery back."""
    counter = desk(settings, clock)
    counter.keeper.rules.check()
    command, where = _command(args, settings, clock), own_link(settings, clock)
    stop_on_signals(clock)
    try:
        counter.keeper.begin(*where, command, "cli")
        return _keep(args, counter, where, clock)
    finally:
        _end(counter, where)


def _keep(args: argparse.Namespace, counter: Desk, where: Where, clock: Clock) -> int:
    """Tick once a second until nothing is held and nothing is to come."""
    told: List[str] = []
    while not clock.stopped:
        report = counter.report()
        if report["state"] == "none" and not report["schedule"]:
            break
        for line in status_lines(report)[:1] + report["notes"] if report["state"] != "none" else ["schedule: waiting"]:
            _tell(args, told, line)
        if report.get("effect") == "seen":
            _tell(args, told, "the battery does it")
        if not clock.wait(STEP_S):
            counter.tick(where)
    counter.stop(where, Clock().wait)
    counter.settle(SETTLE_S)
    report = counter.report()
    say(args, report, last_lines(report.get("last")))
    return EXIT_OK if _ended_well(report) else EXIT_REFUSED


def _ended_well(report: Dict[str, Any]) -> bool:
    last = report.get("last") or {}
    return bool(report["state"] == "none" and last.get("how") == "released" and not last.get("failed"))


def _end(counter: Desk, where: Where) -> None:
    counter.stop(where, Clock().wait)
    where[0].close()


def _tell(args: argparse.Namespace, told: List[str], line: str) -> None:
    if line not in told and not args.json:
        told.append(line)
        print(line, flush=True)


def _schedule(args: argparse.Namespace, settings: Settings, clock: Clock) -> int:
    if not args.file:
        raise ConfigError("battery schedule: a FILE is wanted; a line is like 2026-12-01T01:00 2h charge 5kW")
    if not clock.synced():
        raise Refused("battery schedule: this machine's clock is not set yet; no clock, no command")
    commands = parse(_text_of(args.file), None, clock.now())
    records = [as_record(one) for one in commands]
    lines = [f"{clock_text(one.start)}  {said(one)}" for one in commands]
    if args.via in ("openapi", "mqtt"):
        answer = send_batch_by_cloud(settings, clock, commands, args.via, args.dry_run)
        sent = [f"the cloud took it ({args.via}); it does not say whether the plant will"]
        say(args, answer, _shown_body(answer) if args.dry_run else [*lines, *sent])
        return EXIT_OK
    if args.dry_run:
        desk(settings, clock).keepable(commands)
        say(args, {"commands": records}, lines)
        return EXIT_OK
    address = running_bridge(settings)
    if address:
        report = ask_bridge(settings, address, "schedule", commands=records)
        say(args, report, status_lines(report))
        return EXIT_OK
    counter, where = desk(settings, clock), own_link(settings, clock)
    stop_on_signals(clock)
    try:
        counter.schedule(commands, "cli")
        return _keep(args, counter, where, clock)
    finally:
        counter.table.clear("cli")
        _end(counter, where)


def _text_of(path: str) -> str:
    if path == "-":
        return sys.stdin.read()
    try:
        with open(path, encoding="utf-8") as handle:
            return handle.read()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not a text file"
        raise ConfigError(f"battery schedule {path}: cannot be read ({reason})") from None


def _cloud(args: argparse.Namespace, settings: Settings, clock: Clock) -> int:
    if args.via == "modbus":
        raise Refused(f"battery {args.what}: only the cloud knows this mode; --via openapi or --via mqtt")
    via = "openapi" if args.via == "auto" else args.via
    command = _command(args, settings, clock)
    answer = send_by_cloud(settings, clock, command, via, args.dry_run)
    if args.dry_run:
        say(args, answer, _shown_body(answer))
        return EXIT_OK
    command = command._replace(seconds=60.0 * answer["commands"][0]["duration"])  # the cloud knows minutes only
    seen = {True: "and the battery does it", False: "but the battery does not do it",
            None: "whether the battery does it is not known yet: sigen-bridge cloud flow"}[answer["confirmed"]]
    say(args, answer, [f"{said(command)}: the cloud took it ({via}), {seen}"])
    return EXIT_REFUSED if answer["confirmed"] is False else EXIT_OK


def _shown_body(answer: Dict[str, Any]) -> List[str]:
    return [f"{answer['method']} {answer['url']}", json.dumps(answer["body"], indent=2)]
