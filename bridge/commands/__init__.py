"""The verbs, one module each: how they are found, and how each of them reads its words.

Never imports a verb that nobody asked for. A module whose name begins with "_" is a part of some verb.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from types import ModuleType
from typing import List, Optional

from bridge.config import flag_names
from bridge.errors import EXIT_USAGE
from bridge.values import did_you_mean

SETTINGS_HINT = "Every setting is a flag too: see 'sigen-bridge config show'."


def command_names() -> List[str]:
    """Return the verbs there are: one module of bridge.commands each; ``_name`` is a part of some verb."""
    import pkgutil  # costs 1 MiB with what it imports, and only help and mistakes need it

    found = (info.name for info in pkgutil.iter_modules(__path__))
    return sorted(name for name in found if not name.startswith("_"))


def command(verb: str) -> Optional[ModuleType]:
    """Return the module of a verb, or None when there is no such command."""
    if not verb.isidentifier() or verb.startswith("_"):
        return None
    name = f"{__name__}.{verb}"
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        return None


def print_error(text: str) -> None:
    """Write one line to standard error."""
    sys.stderr.write(f"sigen-bridge: {' '.join(text.split())}\n")


class Parser(argparse.ArgumentParser):
    """Argument errors as one line with exit code 2 and a near miss named; help ends with examples."""

    def error(self, message: str) -> None:  # type: ignore[override]
        words = message.partition("unrecognized arguments: ")[2].split()
        unknown = [word for word in words if word.startswith("--")]
        hint = did_you_mean(unknown[0].partition("=")[0], flag_names()) if unknown else ""
        print_error(f"{self.prog.partition(' ')[2]}: {message}{hint}")
        raise SystemExit(EXIT_USAGE)

    def format_help(self) -> str:
        """Return the help, below it the examples of this verb."""
        from bridge.commands.help import examples_text  # only when somebody reads help

        return super().format_help() + examples_text(self.prog.split()[1:])


def parser_of(verb: str, module: ModuleType) -> Parser:
    """Return the parser of a verb, its options declared."""
    parser = Parser(prog=f"sigen-bridge {verb}", description=module.HELP, allow_abbrev=False,
                    formatter_class=_formatter, epilog=SETTINGS_HINT)
    module.arguments(parser)
    return parser


def _formatter(prog: str) -> argparse.HelpFormatter:
    """Format help at a fixed width: asking for the terminal's would import shutil at every start."""
    return argparse.HelpFormatter(prog, max_help_position=28, width=100)
