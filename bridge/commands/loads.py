"""Switch loads: those that the plant switches itself, through the Sigen app."""

from __future__ import annotations

import argparse
from importlib import import_module
from importlib.util import find_spec

from bridge.config import Settings

HELP = "switch loads: cloud list, on, off"
CLOUD = "bridge.commands._loads_cloud"  # comes with the cloud package


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of each verb."""
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    if find_spec(CLOUD) is not None:
        import_module(CLOUD).add_parser(verbs)


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Run one verb."""
    return int(args.act(args, settings))
