"""Explain an error code, mode, register, topic, status or exit code; offline, and connects to nothing."""

from __future__ import annotations

import argparse
import importlib
import json
import re
import textwrap
from typing import Iterator

from bridge.config import Settings
from bridge.errors import EXIT_OK
from bridge.peers.explanations import Entry, Explanations, load_texts
from bridge.wiring import vendor

HELP = "explain an error code, mode, register, topic, sign, finding or exit code; offline"
WIDTH = 100
LEVELS = {"ok": "ok: nothing to do", "note": "note: good to know", "problem": "problem: doctor exits with 10"}
SPOKEN_KINDS = ("doctor finding", "error code", "operating mode", "register")  # the others say it in their name


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this verb."""
    parser.add_argument("word", nargs="*", metavar="WORD",
                        help="such as 1502, nbi, 30005, signs, wiring, auth, mqtt, tariff, plant_silent, exit 7")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Print what is known about the words, or without any which words are known."""
    book = Explanations(vendor(settings), load_texts(), findings())
    if not args.word:
        _contents(book, args.json)
        return EXIT_OK
    found = book.find(args.word)
    if args.json:
        print(json.dumps({"entries": [content(entry) for entry in found]}))
        return EXIT_OK
    print("\n\n".join("\n".join(lines(entry)) for entry in found))
    return EXIT_OK


def findings() -> Iterator[Entry]:
    """Yield what doctor can find; nothing on a router that has no doctor."""
    try:
        rules = importlib.import_module("bridge.control.diagnosis").RULES
    except ModuleNotFoundError:
        return
    told = {code: re.sub(r"{(\w+)}", lambda gap: gap[1].upper(), rule.advice) for code, rule in rules.items()}
    yield Entry("overview", ("findings", "doctor findings"), "what doctor can find, and the one thing to do about it",
                tuple((code, told[code] or "nothing to do") for code in rules), (), ("doctor",))
    for code, rule in rules.items():
        yield Entry("doctor finding", (code, f"finding {code}"), code.replace("_", " "),
                    (("level", LEVELS[rule.level]), ("do", told[code] or "nothing")), (), ("doctor",))


def content(entry: Entry) -> dict:
    """Return an entry for machines."""
    return {
        "kind": entry.kind, "word": entry.words[0], "title": entry.title, "facts": dict(entry.facts),
        "text": list(entry.text), "see": list(entry.see),
    }


def lines(entry: Entry) -> Iterator[str]:
    """Yield an entry for people, wrapped."""
    head = f"{entry.kind} {entry.words[0]}" if entry.kind in SPOKEN_KINDS else entry.words[0]
    yield from textwrap.wrap(f"{head}: {entry.title}", WIDTH)
    label_width = max((len(label) for label, _ in entry.facts), default=0)
    indent = " " * (label_width + 4)
    for label, fact in entry.facts:
        first = f"  {label:<{label_width}}  "
        yield from textwrap.wrap(fact, WIDTH, initial_indent=first, subsequent_indent=indent)
    for paragraph in entry.text:
        yield ""
        yield from textwrap.wrap(paragraph, WIDTH)
    if entry.see:
        yield ""
        yield "see also: " + ", ".join(entry.see)


def _contents(book: Explanations, as_json: bool) -> None:
    shown = [entry for entry in book.entries if entry.kind in ("topic", "overview")]
    if as_json:
        print(json.dumps({"words": [{"word": entry.words[0], "title": entry.title} for entry in shown]}))
        return
    width = max(len(entry.words[0]) for entry in shown)
    for entry in shown:
        print(f"{entry.words[0]:<{width}}  {entry.title}")
    print("and every error code, mode, register, HTTP status, exception, exit code and finding of doctor")
