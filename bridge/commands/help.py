"""Tell what there is to type: every command, or one of them with its options and examples.

Never reads a setting: help has to work while the configuration is broken.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.resources
import json
from typing import List, Mapping, Sequence, Tuple

from bridge import __version__
from bridge.commands import command, command_names, parser_of, print_error
from bridge.config import Settings
from bridge.errors import EXIT_OK, EXIT_USAGE
from bridge.values import did_you_mean

HELP = "list the commands, or explain one of them with examples (help VERB)"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this verb."""
    parser.add_argument("words", nargs="*", metavar="VERB", help="such as battery, or cloud flow")


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Print help; the command line comes here only with settings in front of the word."""
    return show(args.words)


def show(words: Sequence[str]) -> int:
    """Print the list of commands, or the help of the one that ``words`` name; exit 2 when there is none."""
    asked = [word for word in words if word not in ("-h", "--help")]
    if not asked:
        print(overview())
        return EXIT_OK
    module = command(asked[0])
    if module is None:
        hint = did_you_mean(asked[0], command_names())
        print_error(f"help: there is no command {asked[0]!r}{hint or '; sigen-bridge help lists them'}")
        return EXIT_USAGE
    try:
        parser_of(asked[0], module).parse_args([*asked[1:], "--help"])
    except SystemExit as ended:  # argparse prints the help of the inner verb, or that there is no such one
        return int(ended.code or EXIT_OK)
    return EXIT_OK


def overview() -> str:
    """Return the list of commands."""
    lines = [f"sigen-bridge {__version__}: a Sigenergy plant on a Shelly, every second", "",
             "usage: sigen-bridge COMMAND [settings] [options]", ""]
    names = command_names()
    width = max(map(len, names))
    for name in names:
        lines.append(f"  {name:<{width}} {importlib.import_module(f'bridge.commands.{name}').HELP}")
    start = "; start with: sigen-bridge demo" if "demo" in names else ""
    return "\n".join([*lines, "", f"sigen-bridge help COMMAND tells more{start}"])


def examples() -> Mapping[str, List[Tuple[str, str]]]:
    """Return the examples of every verb: (command line, what it does)."""
    text = (importlib.resources.files("bridge.data") / "examples.json").read_text("utf-8")
    return {verb: [(line, says) for line, says in rows] for verb, rows in json.loads(text).items()}


def examples_text(words: Sequence[str]) -> str:
    """Return the examples of a verb, or of a verb within it, as the end of a help text."""
    begin = ["sigen-bridge", *words]
    rows = [(line, says) for line, says in examples().get(words[0], []) if line.split()[:len(begin)] == begin]
    if not rows:
        return ""
    return "\nexamples:\n" + "".join(f"  {line}\n      {says}\n" for line, says in rows)
