"""Show every setting with its value and where it came from, or check them."""

from __future__ import annotations

import argparse
import json

from bridge.clock import Clock
from bridge.config import Settings
from bridge.errors import EXIT_OK
from bridge.wiring import feed, sinks

HELP = "show the settings with where each came from, or check them"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this verb."""
    parser.add_argument("what", nargs="?", choices=("show", "check"), default="show")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Print the settings; reaching this line means that they are all acceptable."""
    if args.what == "check":
        clock = Clock()
        feed(settings, clock)  # builds what run would build, and connects to nothing
        sinks(settings, clock)
        print(json.dumps({"ok": True}) if args.json else "the settings are fine")
        return EXIT_OK
    rows = list(settings.shown())
    if args.json:
        print(json.dumps({row.key: {"value": value, "from": where} for row, value, where in rows}, indent=1))
        return EXIT_OK
    for row, value, where in rows:
        print(f"{row.key:<24} {value or '-':<20} {where:<32} {row.help}")
    return EXIT_OK
