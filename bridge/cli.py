"""First word -> command: the command line, its errors and exit codes.

Never shows a traceback for something that has a name, and never imports a command that was not asked for.
"""

from __future__ import annotations

import argparse
import importlib
import logging
import os
import sys
from types import ModuleType
from typing import List, Optional, Sequence

from bridge import __version__, commands
from bridge.config import did_you_mean, flag_names, load
from bridge.errors import EXIT_OK, EXIT_USAGE, BridgeError


def command_names() -> List[str]:
    """Return the verbs there are: one module of bridge.commands each; ``_name`` is a part of some verb."""
    import pkgutil  # costs 1 MiB with what it imports, and only help and mistakes need it

    found = (info.name for info in pkgutil.iter_modules(commands.__path__))
    return sorted(name for name in found if not name.startswith("_"))


def command(verb: str) -> Optional[ModuleType]:
    """Return the module of a verb, or None when there is no such command."""
    if not verb.isidentifier() or verb.startswith("_"):
        return None
    name = f"{commands.__name__}.{verb}"
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        return None


def _formatter(prog: str) -> argparse.HelpFormatter:
    """Format help at a fixed width: asking for the terminal's would import shutil at every start."""
    return argparse.HelpFormatter(prog, max_help_position=28, width=100)


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run one command line; returns the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        return _main(words)
    except BridgeError as error:
        print_error(str(error))
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader of our output went away (``| head``): not an error, but nothing more to say.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_OK


def print_error(text: str) -> None:
    """Write one line to standard error."""
    sys.stderr.write(f"sigen-bridge: {' '.join(text.split())}\n")


def _main(words: List[str]) -> int:
    if words[:1] in (["--version"], ["version"]):
        sys.stdout.write(f"sigen-bridge {__version__}\n")
        return EXIT_OK
    if not words or words[0] in ("-h", "--help", "help"):
        sys.stdout.write(_overview())
        return EXIT_OK
    settings, rest = load(words)
    verb = rest[0] if rest else ""
    module = command(verb)
    if module is None:
        if verb.startswith("-"):
            hint = did_you_mean(verb, dict.fromkeys(flag_names()))
            print_error(f"unknown setting {verb}{hint or '; sigen-bridge config show lists them'}")
        else:
            hint = did_you_mean(verb, dict.fromkeys(command_names()))
            print_error(f"unknown command {verb!r}{hint or '; sigen-bridge --help lists them'}")
        return EXIT_USAGE
    quiet = not getattr(module, "DAEMON", False) and not settings.is_set("run.log_level")
    _start_logging("warning" if quiet else settings["run.log_level"])
    parser = _Parser(prog=f"sigen-bridge {verb}", description=module.HELP, allow_abbrev=False,
                     formatter_class=_formatter,
                     epilog="Every setting is a flag too: see 'sigen-bridge config show'.")
    module.arguments(parser)
    return int(module.run(parser.parse_args(rest[1:]), settings))


class _Parser(argparse.ArgumentParser):
    """Argument errors as one line with exit code 2 and a near miss named."""

    def error(self, message: str) -> None:  # type: ignore[override]
        unknown = [word for word in message.split() if word.startswith("--")]
        hint = did_you_mean(unknown[0].partition("=")[0], dict.fromkeys(flag_names())) if unknown else ""
        print_error(f"{self.prog.partition(' ')[2]}: {message}{hint}")
        raise SystemExit(EXIT_USAGE)


def _start_logging(level: str) -> None:
    logging.basicConfig(
        stream=sys.stderr, level=getattr(logging, level.upper()), format="%(levelname)s %(name)s %(message)s"
    )


def _overview() -> str:
    lines = [f"sigen-bridge {__version__}: a Sigenergy plant on a Shelly, every second", "",
             "usage: sigen-bridge COMMAND [settings] [options]", ""]
    for name in command_names():
        lines.append(f"  {name:<8} {importlib.import_module(f'bridge.commands.{name}').HELP}")
    lines += ["", "sigen-bridge COMMAND --help tells more; start with: sigen-bridge demo", ""]
    return "\n".join(lines)
