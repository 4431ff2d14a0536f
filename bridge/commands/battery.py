"""Send battery commands that end by themselves; through the running bridge, or with a connection of our own.

Never writes without ``control.enabled``, and never leaves a command behind: in the foreground Ctrl-C, SIGTERM and
the end of the time give the battery back, and ``battery watch`` does it for a process that died.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from typing import Any, Dict, List, Optional, Tuple

from bridge.clock import Clock
from bridge.config import Settings
from bridge.control.battery import CHARGE, DISCHARGE, IDLE, MOST_S, SELF, SELF_GRID, Command, as_record, checked
from bridge.control.battery_desk import Desk
from bridge.control.battery_text import as_wish, history_lines, last_lines, plan_lines, status_lines
from bridge.control.schedule import moment, parse
from bridge.errors import (
    EXIT_OK,
    EXIT_PLANT,
    EXIT_REFUSED,
    BridgeError,
    ConfigError,
    LinkError,
    PeerError,
    RateLimited,
    Refused,
)
from bridge.link.bridge_http import get_json, post_json, somebody_listens
from bridge.service import stop_on_signals
from bridge.settings import duration
from bridge.wiring import serial_line, tcp_link, vendor
from bridge.wiring_control import ANSWER_S, desk

HELP = "charge, discharge or hold the battery for a time; every command ends by itself"
DAEMON = True
VERBS = {"charge": CHARGE, "discharge": DISCHARGE, "hold": IDLE, "idle": IDLE, "self": SELF, "self-grid": SELF_GRID}
LOOK_S = 0.5
STEP_S = 1.0
EFFECT_WAIT_S = 35
GONE_S = 30.0  # how long another process may take to give the battery back
ERROR_OF_EXIT = {2: ConfigError, EXIT_PLANT: LinkError, 7: RateLimited, EXIT_REFUSED: Refused}
Where = Tuple[Any, int]


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
        _say(args, {"entries": entries}, history_lines(entries) or ["nothing was ever written"])
        return EXIT_OK
    if args.what == "watch":
        return _watch(args, settings, clock)
    address = _running(settings)
    if args.what == "status":
        report = get_json(address, "/v1/battery", LOOK_S * 4, settings["status.token"]) if address else None
        report = report or desk(settings, clock).report()
        _say(args, report, status_lines(report))
        return EXIT_OK
    if args.what == "release":
        return _release(args, settings, clock, address)
    if args.what == "schedule":
        return _schedule(args, settings, clock, address)
    command = _command(args, settings, clock)
    if args.via in ("openapi", "mqtt") or command.action == SELF_GRID:
        from bridge.wiring_battery import by_cloud

        return by_cloud(args, settings, clock, command)
    if args.dry_run:
        with_link = _asked if address else _own
        plan = with_link(args, settings, clock, as_wish("plan", "cli", command=as_record(command)), address)["plan"]
        _say(args, plan, plan_lines(plan))
        return EXIT_OK
    if address:
        report = _post(settings, address, as_wish("begin", "cli", command=as_record(command)))
        return _see_effect(args, settings, clock, address, report)
    return _hold(args, settings, clock, command)


def _command(args: argparse.Namespace, settings: Settings, clock: Clock) -> Command:
    power_w = args.w if args.kw is None else 1000.0 * args.kw
    return checked(Command(
        VERBS[args.what], _seconds(args, settings, clock), power_w, None, args.export_w, args.max_export_w,
        args.max_import_w, args.priority,
    ))


def _seconds(args: argparse.Namespace, settings: Settings, clock: Clock) -> float:
    if args.lasting is not None:
        try:
            return duration(args.lasting)
        except ValueError as error:
            raise ConfigError(f"battery --for: {error}") from None
    if args.until is None:
        return 60.0 * float(settings["control.lease_minutes"])
    if not clock.synced():
        raise Refused("battery --until: this machine's clock is not set yet")
    now = clock.now()
    if len(args.until) > 5:
        return moment(args.until, None) - now
    from datetime import datetime

    today = datetime.fromtimestamp(now)
    ends = [moment(f"{day:%Y-%m-%d}T{args.until.zfill(5)}", None) for day in (today, datetime.fromtimestamp(now + 86400))]
    return next(end for end in ends if end > now) - now


def _running(settings: Settings) -> str:
    """Return the address of a bridge that polls the same plant, or ''."""
    listen = settings["status.listen"]
    if listen == "off" or not somebody_listens(listen, LOOK_S):
        return ""
    try:
        peer = get_json(listen, "/healthz", 4 * LOOK_S, settings["status.token"]).get("peer")
    except (LinkError, PeerError):
        return ""
    ours = settings["modbus.serial"] or f"{settings['modbus.host']}:{settings['modbus.port']}"
    return listen if peer == ours or not (settings["modbus.host"] or settings["modbus.serial"]) else ""


def _post(settings: Settings, address: str, wish: Dict[str, Any]) -> Dict[str, Any]:
    try:
        status, answer = post_json(address, "/v1/battery", wish, ANSWER_S + 5, settings["status.token"])
    except PeerError as error:
        if "status 404" in str(error):
            raise Refused(f"{address}: the running bridge only reads; set control.enabled = yes and restart it") from error
        raise Refused(str(error)) from error
    if status == 200:
        return answer
    kind = ERROR_OF_EXIT.get(answer.get("exit", 1), PeerError)
    raise kind(str(answer.get("error") or f"{address}: status {status}"))


def _asked(args: argparse.Namespace, settings: Settings, clock: Clock, wish: Dict[str, Any], address: str) -> Any:
    return _post(settings, address, wish)


def _own(args: argparse.Namespace, settings: Settings, clock: Clock, wish: Dict[str, Any], address: str) -> Any:
    counter, (link, unit) = desk(settings, clock), _link(settings, clock)
    try:
        return counter.serve(link, unit, wish, "cli")
    finally:
        link.close()


def _link(settings: Settings, clock: Clock) -> Where:
    plant = vendor(settings)
    if settings["modbus.serial"]:
        link, unit, _ = serial_line(settings, clock, plant).find()
        return link, unit
    return tcp_link(settings, clock), settings["modbus.unit"] if settings.is_set("modbus.unit") else plant.unit_tcp


def _see_effect(args: argparse.Namespace, settings: Settings, clock: Clock, address: str, report: Dict[str, Any]) -> int:
    """Wait until the running bridge has seen the battery do it, or has taken it back."""
    for _ in range(EFFECT_WAIT_S):
        if report["state"] != "held" or report["effect"] == "seen" or clock.wait(STEP_S):
            break
        report = get_json(address, "/v1/battery", 4 * LOOK_S, settings["status.token"])
    _say(args, report, status_lines(report))
    return EXIT_OK if report["state"] == "held" else EXIT_REFUSED


def _hold(args: argparse.Namespace, settings: Settings, clock: Clock, command: Command) -> int:
    """Hold a lease in the foreground until it ends; Ctrl-C gives the battery back."""
    counter, where = desk(settings, clock), _link(settings, clock)
    counter.keeper.rules.check()
    stop_on_signals(clock)
    try:
        counter.keeper.begin(*where, command, "cli")
        return _keep(args, counter, where, clock)
    finally:
        counter.stop(where, Clock().wait)
        where[0].close()


def _keep(args: argparse.Namespace, counter: Desk, where: Where, clock: Clock) -> int:
    told: List[str] = []
    while True:
        report = counter.report()
        if report["state"] == "none" and not report["schedule"]:
            break
        _tell(args, told, status_lines(report)[0] if report["state"] != "none" else "waiting for the schedule")
        if report.get("effect") == "seen":
            _tell(args, told, "the battery does it")
        if clock.wait(STEP_S):
            counter.stop(where, Clock().wait)
            report = counter.report()
            break
        counter.tick(where)
    last = report.get("last") or {}
    _say(args, report, last_lines(last))
    good = last.get("how") == "released" and "no effect" not in str(last.get("why")) and report["state"] == "none"
    return EXIT_OK if good else EXIT_REFUSED


def _tell(args: argparse.Namespace, told: List[str], line: str) -> None:
    if line not in told and not args.json:
        told.append(line)
        print(line, flush=True)


def _release(args: argparse.Namespace, settings: Settings, clock: Clock, address: str) -> int:
    counter = desk(settings, clock)
    holder = counter.keeper.book.holder()
    if args.dry_run:
        report = counter.report()
        _say(args, report, status_lines(report))
        return EXIT_OK
    if args.force:
        if not args.yes:
            raise Refused("battery release --force takes a plant out of another controller's hands: repeat it with --yes")
        link, unit = _link(settings, clock)
        try:
            done = counter.free(link, unit, "cli")
        finally:
            link.close()
        _say(args, {"done": done}, done)
        return EXIT_OK
    if address:
        report = _post(settings, address, as_wish("release", "cli"))
    elif holder is not None:
        report = _end_other(counter, holder, clock)
    else:
        report = _own(args, settings, clock, as_wish("release", "cli"), address) if counter.keeper.book.on_disk() else counter.report()
    _say(args, report, status_lines(report))
    return EXIT_OK if report["state"] == "none" else EXIT_PLANT


def _end_other(counter: Desk, holder: int, clock: Clock) -> Dict[str, Any]:
    """Ask the process that holds a command in the foreground to end; it gives the battery back on its way out."""
    try:
        os.kill(holder, signal.SIGTERM)
    except OSError as error:
        raise Refused(f"battery release: process {holder} holds the command and cannot be asked to end ({error.strerror})") from error
    for _ in range(int(GONE_S / STEP_S)):
        if counter.keeper.book.on_disk() is None or clock.wait(STEP_S):
            break
    return counter.report()


def _watch(args: argparse.Namespace, settings: Settings, clock: Clock) -> int:
    """Give the battery back for a process that is gone; for a timer, and behind a stop of the service."""
    counter = desk(settings, clock)
    book = counter.keeper.book
    if book.on_disk() is None:
        return EXIT_OK
    counter.keeper.rules.check()
    where: Optional[Where] = None
    for _ in range(int(GONE_S / STEP_S)):
        if book.on_disk() is None:
            break
        book.look()
        if book.lease is not None and where is None:
            where = _link(settings, clock)
        if where is not None:
            counter.tick(where)
        if book.lease is None and book.holder() is not None and not args.force:
            break  # somebody is alive and holds it
        if book.on_disk() is None or clock.wait(STEP_S):
            break
    if where is not None:
        where[0].close()
    report = counter.report()
    if report["state"] in ("none", "elsewhere"):
        return EXIT_OK
    raise LinkError(f"battery watch: not given back yet: {report.get('error') or report['text']}; the next run goes on")


def _schedule(args: argparse.Namespace, settings: Settings, clock: Clock, address: str) -> int:
    if not args.file:
        raise ConfigError("battery schedule: a FILE is wanted; a line is like 2026-12-01T01:00 2h charge 5kW")
    if not clock.synced():
        raise Refused("battery schedule: this machine's clock is not set yet; no clock, no command")
    try:
        text = sys.stdin.read() if args.file == "-" else open(args.file, encoding="utf-8").read()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"battery schedule {args.file}: cannot be read ({getattr(error, 'strerror', None) or error})") from None
    commands = parse(text, None, clock.now())
    wish = as_wish("schedule", "cli", commands=[as_record(one) for one in commands])
    if args.dry_run:
        _say(args, wish, [f"{one.action}: {as_record(one)}" for one in commands])
        return EXIT_OK
    if address:
        report = _post(settings, address, wish)
        _say(args, report, status_lines(report))
        return EXIT_OK
    counter, where = desk(settings, clock), _link(settings, clock)
    stop_on_signals(clock)
    try:
        counter.schedule(commands, "cli")
        return _keep(args, counter, where, clock)
    finally:
        counter.table.clear("cli")
        counter.stop(where, Clock().wait)
        where[0].close()


def _say(args: argparse.Namespace, content: Dict[str, Any], lines: List[str]) -> None:
    print(json.dumps(content) if args.json else "\n".join(lines), flush=True)


__all__ = ["HELP", "arguments", "run", "BridgeError"]
