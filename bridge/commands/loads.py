"""Switch loads: those that the plant switches itself, through the Sigen app."""

from __future__ import annotations

import argparse

from bridge.config import Settings

HELP = "switch loads: cloud list, on, off"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of each verb."""
    from bridge.commands import _loads_cloud

    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    _loads_cloud.add_parser(verbs)


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Run one verb."""
    from bridge.commands import _loads_cloud

    return _loads_cloud.run(args, settings)
