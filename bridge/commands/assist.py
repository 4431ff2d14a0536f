"""Answer questions about the plant, the cloud and this program with a language model; reads, and changes nothing.

Never runs what the model proposes: it can look and draft, and a person types what writes. Never sends a secret.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import sys
from typing import Any, Iterator, List

from bridge.clock import Clock
from bridge.commands._assist_reference import reference
from bridge.commands._assist_tools import tools
from bridge.commands.cloud import quieten
from bridge.config import Settings
from bridge.errors import EXIT_OK, BridgeError, ConfigError, Refused
from bridge.peers.assistant import Assistant, make_client
from bridge.peers.assistant_errors import Limits
from bridge.peers.assistant_redaction import Redaction
from bridge.settings import SETTINGS
from bridge.wiring import vendor

HELP = "ask a language model about plant, cloud and this program; it reads and drafts, and changes nothing"
WELCOME = "Ask about your plant, the Sigenergy cloud or this program; an empty line or Ctrl-D ends it."


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this verb."""
    parser.add_argument("question", nargs="*", metavar="QUESTION", help="one question; without any, a conversation")
    parser.add_argument("--verbose", action="store_true", help="say which tools are used and what the tokens were")
    parser.add_argument("--json", action="store_true", help="print JSON: answer, tools, usage")
    parser.add_argument("--show-prompt", action="store_true", help="print the reference text that is sent, ask nobody")


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Answer one question, or many; exit 6 when the service fails, 8 at the budget."""
    text = reference(vendor(settings))
    if args.show_prompt:
        print(text, end="")
        return EXIT_OK
    if args.question and not any(word.strip() for word in args.question):
        raise ConfigError("assist: the question is empty; without any words it is a conversation")
    clock = Clock()
    quieten(settings)
    client = make_client(settings["assistant.api_key"], settings["assistant.base_url"])
    limits = Limits(settings["assistant.max_tool_rounds"], settings["assistant.max_tokens"],
                    settings["assistant.budget_tokens"])
    assistant = Assistant(client, settings["assistant.model"], text, tools(settings), limits,
                          Redaction(secrets(settings)), clock)
    talk = Talk(assistant, args)
    if args.question:
        try:
            talk.answer(" ".join(args.question))
        finally:
            talk.tell_usage()
        return EXIT_OK
    return talk.converse()


def secrets(settings: Settings) -> List[str]:
    """Return what must not leave this machine: every secret setting, the AppKey, and the pair as it is sent."""
    found = [str(settings[row.key]) for row in SETTINGS if row.secret and settings[row.key]]
    if settings["cloud.app_key"]:
        found += [settings["cloud.app_key"], f"{settings['cloud.app_key']}:{settings['cloud.app_secret']}"]
    return found


class Talk:
    """One run at the terminal: prints what comes, as it comes."""

    def __init__(self, assistant: Assistant, args: argparse.Namespace) -> None:
        self._assistant, self._json, self._verbose = assistant, args.json, args.verbose
        self._terminal = sys.stdin.isatty() and sys.stdout.isatty()

    def converse(self) -> int:
        """Answer line by line; a failed question does not end a conversation at a terminal."""
        if self._terminal:
            with contextlib.suppress(ImportError):
                importlib.import_module("readline")  # lets the line be edited; some Pythons have none
            print(WELCOME)
        code = EXIT_OK
        for question in self._questions():
            try:
                self.answer(question)
            except BridgeError as error:
                code = error.exit_code
                sys.stderr.write(f"sigen-bridge: {error}\n")
                if isinstance(error, Refused):
                    break
            self.tell_usage()
        return EXIT_OK if self._terminal else code

    def _questions(self) -> Iterator[str]:
        while True:
            try:
                line = input("you> " if self._terminal else "")
            except EOFError:
                return
            if not line.strip():
                return
            yield line

    def answer(self, question: str) -> None:
        """Ask and print."""
        answer = self._assistant.ask(question, self._say, self._tell)
        if self._json:
            print(json.dumps({"answer": printable(answer.text), "tools": list(answer.tools),
                              "usage": self._assistant.usage._asdict()}), flush=True)
        else:
            print(flush=True)

    def _say(self, piece: str) -> None:
        if not self._json:
            print(printable(piece), end="", flush=True)

    def _tell(self, tool: str) -> None:
        if self._verbose or self._terminal:
            sys.stderr.write(f"[looks: {tool}]\n")

    def tell_usage(self) -> None:
        """Say what the run has used so far, when that was asked for."""
        usage = self._assistant.usage
        if self._verbose:
            sys.stderr.write(
                f"[tokens: {usage.sent} sent, {usage.received} received, {usage.cache_read} read from the prompt cache,"
                f" {usage.cache_written} written to it; {usage.requests} requests]\n"
            )


def printable(text: Any) -> str:
    """Return text without control characters: what a device or a model says must not steer the terminal."""
    return "".join(char for char in str(text) if char in "\n\t" or (char.isprintable() or char == "\u00a0"))
