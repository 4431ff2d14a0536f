"""Switch loads: those that the plant switches itself, through the Sigen app."""

from __future__ import annotations

import argparse
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Optional

from bridge.config import Settings
from bridge.errors import EXIT_USAGE

HELP = "switch loads: cloud list, on, off"
CLOUD = "bridge.commands._loads_cloud"  # comes with the cloud package


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of each verb."""
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    module = _cloud()
    if module is not None:
        module.add_parser(verbs)


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Run one verb."""
    module = _cloud()
    return EXIT_USAGE if module is None else int(module.run(args, settings))


def _cloud() -> Optional[ModuleType]:
    return import_module(CLOUD) if find_spec(CLOUD) is not None else None
