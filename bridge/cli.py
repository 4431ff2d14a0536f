"""First word -> command: the command line, its errors and exit codes.

Never shows a traceback for something that has a name, and never imports a command that was not asked for.
"""

from __future__ import annotations

import logging
import os
import sys
from typing import List, Optional, Sequence

from bridge import __version__
from bridge.commands import Parser as _Parser
from bridge.commands import command, command_names, parser_of, print_error
from bridge.config import flag_names, load
from bridge.errors import EXIT_OK, EXIT_USAGE, BridgeError
from bridge.values import did_you_mean

__all__ = ("_Parser", "command", "command_names", "main", "print_error")


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


def _main(words: List[str]) -> int:
    if words[:1] in (["--version"], ["version"]):
        sys.stdout.write(f"sigen-bridge {__version__}\n")
        return EXIT_OK
    if not words or words[0] in ("-h", "--help", "help"):
        from bridge.commands import help as helping  # it needs no settings, and a broken file must not stop it

        return helping.show(words[1:])
    settings, rest = load(words)
    verb = rest[0] if rest else ""
    module = command(verb)
    if module is None:
        if verb.startswith("-"):
            hint = did_you_mean(verb, flag_names())
            print_error(f"unknown setting {verb}{hint or '; sigen-bridge config show lists them'}")
        else:
            hint = did_you_mean(verb, command_names())
            print_error(f"unknown command {verb!r}{hint or '; sigen-bridge --help lists them'}")
        return EXIT_USAGE
    quiet = not getattr(module, "DAEMON", False) and not settings.is_set("run.log_level")
    _start_logging("warning" if quiet else settings["run.log_level"])
    return int(module.run(parser_of(verb, module).parse_args(rest[1:]), settings))


def _start_logging(level: str) -> None:
    logging.basicConfig(
        stream=sys.stderr, level=getattr(logging, level.upper()), format="%(levelname)s %(name)s %(message)s"
    )
