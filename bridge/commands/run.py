"""Poll the plant and show it on the Shelly until stopped."""

from __future__ import annotations

import argparse
import sys
from typing import Optional

from bridge.clock import Clock
from bridge.config import Settings
from bridge.errors import EXIT_OK, ConfigError
from bridge.service import Service, stop_on_signals
from bridge.wiring import extras, feed, notifier, sinks
from bridge.wiring_share import share_registers

DAEMON = True  # logs its state changes
HELP = "poll the plant every second and show it on the Shelly"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this verb."""
    parser.add_argument("--cycles", type=int, metavar="N", help="stop after N cycles")
    parser.add_argument("--print", action="store_true", dest="lines", help="print a line a second, terminal or not")


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Run the bridge in the foreground."""
    if args.cycles is not None and args.cycles < 1:
        raise ConfigError(f"run --cycles {args.cycles}: at least 1")
    clock = Clock()
    serve(settings, clock, args.cycles, args.lines)
    return EXIT_OK


def serve(settings: Settings, clock: Clock, cycles: Optional[int], lines: bool) -> None:
    """Run a service made from ``settings`` until it is stopped; prints lines where somebody looks."""
    stop_on_signals(clock)
    say = say_line if lines or sys.stdout.isatty() else None
    service = Service(settings, clock, feed(settings, clock), sinks(settings, clock), notifier(settings), say)
    extras(service, settings, clock)
    share_registers(service, settings, clock)
    service.run(cycles)


def say_line(text: str) -> None:
    """Print one line at once, also into a pipe."""
    print(text, flush=True)
