"""How ``battery`` gives the plant back: release, and the watchdog behind a service that is gone.

Never writes with ``--dry-run``.
"""

from __future__ import annotations

import argparse
import json
from typing import Any, Dict, List

from bridge.clock import Clock
from bridge.config import Settings
from bridge.control.battery_text import back_lines, status_lines
from bridge.errors import EXIT_OK, EXIT_PLANT, LinkError, Refused
from bridge.wiring_battery import ask_bridge, end_other, free_plant, give_back, report_of
from bridge.wiring_control import desk


def release(args: argparse.Namespace, settings: Settings, clock: Clock, address: str) -> int:
    """Give the battery back, whoever holds it; exit 3 when that could not be done yet."""
    counter = desk(settings, clock)
    if args.force:
        if not args.yes and not args.dry_run:
            raise Refused("battery release --force takes the plant from another controller: repeat it with --yes")
        done = free_plant(settings, clock, address, args.dry_run)
        say(args, {"done": done}, done)
        return EXIT_OK
    holder = counter.keeper.book.holder()
    if args.dry_run:
        report = report_of(settings, address) if address else counter.report()
        say(args, report, [*status_lines(report), *back_lines(report)])
        return EXIT_OK
    if address:
        report = ask_bridge(settings, address, "release")
        if report["state"] == "elsewhere" and holder is not None:  # begun in the foreground before the bridge was
            report = end_other(counter, holder, clock)
    elif holder is not None and counter.keeper.book.on_disk() is not None:
        report = end_other(counter, holder, clock)
    else:
        counter.table.clear("cli")
        report = give_back(settings, clock)
    say(args, report, status_lines(report))
    return EXIT_OK if report["state"] == "none" else EXIT_PLANT


def watch(args: argparse.Namespace, settings: Settings, clock: Clock) -> int:
    """Give the battery back for a process that is gone; for a timer, and behind a stop of the service."""
    if args.dry_run:
        report = desk(settings, clock).report()
        would = back_lines(report) if report["state"] == "left" else ["nothing would be written"]
        say(args, report, [*status_lines(report), *would])
        return EXIT_OK
    report = give_back(settings, clock)
    if report["state"] not in ("none", "elsewhere"):
        raise LinkError(
            f"battery watch: not given back yet: {report.get('error') or report['text']}; the next run goes on"
        )
    if args.json:
        print(json.dumps(report))
    return EXIT_OK


def say(args: argparse.Namespace, content: Dict[str, Any], lines: List[str]) -> None:
    """Print lines for people, or ``content`` as JSON."""
    print(json.dumps(content) if args.json else "\n".join(lines), flush=True)
