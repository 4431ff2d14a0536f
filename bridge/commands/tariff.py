"""Put Amber's prices into the Sigen tariff: push, show what was pushed, when it runs, what it did.

Never posts an incomplete plan or the same plan twice, and never prints a secret. With --dry-run nothing is
posted: standard output is exactly the JSON, the table with the reasons goes to standard error.
"""

from __future__ import annotations

import argparse
import json
import sys

from bridge.clock import Clock
from bridge.commands.cloud import quieten
from bridge.config import Settings
from bridge.control.tariff_payload import STATION_HELP
from bridge.control.tariff_slots import Options
from bridge.control.tariff_text import plan_json, plan_lines
from bridge.control.tariff_times import FIVE_MIN_S, period_s
from bridge.errors import EXIT_OK, ConfigError
from bridge.service import stop_on_signals
from bridge.sinks.tariff_job import Prepared, TariffJob
from bridge.tariff_report import show, show_history, show_schedule
from bridge.tariff_run import Runner
from bridge.values import duration, yes_no
from bridge.wiring_app import app_configured
from bridge.wiring_tariff import options_of, tariff_job, tariff_sink

HELP = "put Amber's prices into the Sigen tariff: push, show, schedule, history"
LEVELS = ("off", "low", "predicted", "high")


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of each verb."""
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="push|show|schedule|history")
    push = verbs.add_parser("push", help="post the tariff if it has changed", allow_abbrev=False)
    push.add_argument("--dry-run", action="store_true", help="show what would be posted and post nothing")
    push.add_argument("--station-id", metavar="NUMBER", help="stationId of the app, instead of cloud.station_id")
    push.add_argument("--interval", type=int, metavar="MINUTES", help="length of a slot, instead of tariff.interval")
    push.add_argument("--advanced-price", choices=LEVELS, help="instead of tariff.advanced")
    push.add_argument("--use-current", nargs="?", const="yes", metavar="YES_NO",
                      help="the running slot from the live interval (the default), or not: 0, no, false")
    push.add_argument("--no-use-current", action="store_true", help="the same as --use-current 0")
    push.add_argument("--i-know", action="store_true", help="send 5-minute slots although the cloud collapses them")
    push.add_argument("--force", action="store_true", help="post even what the cloud took already")
    push.add_argument("--fresh", action="store_true", help="ask Amber again even if its last answer is not old")
    push.add_argument("--scheduled", action="store_true",
                      help="for timer and cron: wait for the price, look again while it is an estimate")
    push.add_argument("--watch", action="store_true", help="stay and push every period")
    schedule = verbs.add_parser("schedule", help="print the next five run times", allow_abbrev=False)
    schedule.add_argument("--show", action="store_true", help="the default, for completeness")
    for verb in (push, schedule):
        verb.add_argument("--every", type=_duration, default=float(FIVE_MIN_S), metavar="5m|30m", help="period")
    shown = verbs.add_parser("show", help="print the tariff that was pushed last", allow_abbrev=False)
    shown.add_argument("--cloud", action="store_true", help="read what the cloud holds now")
    history = verbs.add_parser("history", help="list the pushes, newest first", allow_abbrev=False)
    for verb in (push, schedule, shown, history):
        verb.add_argument("--json", action="store_true", help="print JSON")


def _duration(value: str) -> float:
    try:
        return duration(value)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Run one verb; exit 2 settings, 4 prices missing or clock not set, 6 cloud, 7 rate limit, 8 refused."""
    clock = Clock()
    quieten(settings)
    if args.verb == "push":
        return _push(args, settings, clock)
    if args.verb == "schedule":
        return show_schedule(clock, settings, period_s(args.every), args.json, print)
    sink = tariff_sink(settings, clock)
    try:
        if args.verb == "history":
            return show_history(sink, settings, args.json, print)
        return show(sink, settings, args.cloud, args.json, print)
    finally:
        sink.close()


def _push(args: argparse.Namespace, settings: Settings, clock: Clock) -> int:
    if args.dry_run and (args.watch or args.scheduled):
        raise ConfigError("tariff push: --dry-run goes with neither --watch nor --scheduled")
    station_id = settings["cloud.station_id"] if args.station_id is None else args.station_id
    if not station_id and not app_configured(settings):
        raise ConfigError(f"tariff push: the station is not known (cloud.station_id): {STATION_HELP}")
    job = tariff_job(settings, clock, options_for(args, settings), station_id, args.i_know)
    try:
        if args.dry_run:
            return _dry_run(job, args)
        runner = Runner(job, clock, settings, period_s(args.every), args.json, print)
        if args.watch or args.scheduled:
            stop_on_signals(clock)
        if args.watch:
            return runner.watch()
        return runner.scheduled() if args.scheduled else runner.once(args.force, args.fresh)
    finally:
        job.close()


def options_for(args: argparse.Namespace, settings: Settings) -> Options:
    """Return the choices of this command line: its options go before the settings."""
    options = options_of(settings)
    if args.interval is not None:
        options = options._replace(interval_min=args.interval)
    if args.advanced_price is not None:
        options = options._replace(advanced=args.advanced_price)
    if args.use_current is not None:
        try:
            options = options._replace(use_current=yes_no(args.use_current))
        except ValueError as error:
            raise ConfigError(f"tariff push --use-current: {error}") from None
    return options._replace(use_current=False) if args.no_use_current else options


def _dry_run(job: TariffJob, args: argparse.Namespace) -> int:
    """Print the request and the table; exit 4 when the plan could not be posted."""
    ready = job.prepare(args.fresh)
    if ready.payload is None:
        _table(ready)
        job.push(ready)  # raises: says what is missing
    if args.json:
        print(json.dumps({
            "dry_run": True, "payload": ready.payload, "timezone": ready.zone.name, "complete": ready.plan.complete,
            "slots": plan_json(ready.plan), "notes": ready.notes,
        }))
        return EXIT_OK
    print(json.dumps(ready.payload, indent=1))
    _table(ready)
    return EXIT_OK


def _table(ready: Prepared) -> None:
    lines = plan_lines(ready.plan)
    more = [note for note in ready.notes if note not in lines]
    if ready.keeps_sell:
        more.append("the sell price that the cloud holds would be sent back unchanged")
    print("\n".join([*lines, *more]), file=sys.stderr)
