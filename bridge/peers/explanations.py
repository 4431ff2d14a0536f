"""What words of this field mean: error codes, modes, registers, topics, statuses, exit codes; offline.

Never asks anybody, and never guesses: a word that is not known is an error that names near ones. The words
are those of ``data/explain.json`` and of the tables that the program works with, so they cannot disagree.
"""

from __future__ import annotations

import difflib
import importlib.resources
import json
import re
from typing import Any, Dict, Iterable, Iterator, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from bridge.errors import ConfigError
from bridge.peers.sigen_codes import CODES, MODES, REGIONS, Code
from bridge.peers.sigen_modes import folded, hindrance, names
from bridge.registers import Vendor
from bridge.registers.words import register_facts, register_text

NEAR_MAX = 6


class Entry(NamedTuple):
    """One explanation: ``words`` find it, the first one is its name; ``see`` are words of other entries."""

    kind: str
    words: Tuple[str, ...]
    title: str
    facts: Tuple[Tuple[str, str], ...] = ()
    text: Tuple[str, ...] = ()
    see: Tuple[str, ...] = ()


def load_texts() -> Mapping[str, Any]:
    """Return the texts of the package."""
    content = (importlib.resources.files("bridge.data") / "explain.json").read_text("utf-8")
    found: Mapping[str, Any] = json.loads(content)
    return found


class Explanations:
    """Every entry by its words; ``plant`` is whose registers are explained."""

    def __init__(self, plant: Vendor, texts: Mapping[str, Any], more: Iterable[Entry] = ()) -> None:
        self._plant = plant
        self.entries = (*all_entries(texts), *more)
        self._by_word: Dict[str, Entry] = {}
        for entry in self.entries:
            for word in entry.words:
                self._by_word.setdefault(folded(word), entry)

    def find(self, words: Sequence[str]) -> List[Entry]:
        """Return what is known about ``words``; raises ConfigError that names near misses."""
        asked = " ".join(words).strip()
        entry = self._by_word.get(folded(asked)) or self._topic(asked)
        found = [entry] if entry is not None else self._registers(asked)
        if not found:
            near = self._near(asked)
            hint = f"did you mean: {', '.join(near)}?" if near else "'sigen-bridge explain' lists what is"
            raise ConfigError(f"explain: nothing is known about {asked!r}; {hint}")
        return found

    def _topic(self, asked: str) -> Optional[Entry]:
        """Return the entry of an MQTT topic that is written out, with a real key and station in it."""
        parts = asked.lower().strip("/").split("/")
        at = parts.index("openapi") if "openapi" in parts else len(parts)
        for last in range(len(parts), at + 1, -1):
            entry = self._by_word.get(folded(" ".join(parts[at:last])))
            if entry is not None:
                return entry
        return None

    def _registers(self, asked: str) -> List[Entry]:
        plain = folded(asked)
        plain = plain[len("register "):] if plain.startswith("register ") else plain
        address = int(plain, 10) if plain.isdigit() else _hex(plain)
        name = self._plant.roles.get(plain.replace(" ", "_"), plain.replace(" ", "_"))
        rows = [
            row for row in self._plant.rows
            if row.name == name or (address is not None and row.address <= address < row.end)
        ]
        return [
            Entry(
                "register", (str(row.address), row.name), row.note or row.name.replace("_", " "),
                tuple(register_facts(row, self._plant)), tuple(register_text(row, address)),
                ("modbus", "battery") if row.access == "rw" and row.scope == "plant" else ("modbus",),
            )
            for row in rows
        ]

    def _near(self, asked: str) -> List[str]:
        plain = folded(asked)
        if plain.isdigit():
            return self._near_number(int(plain))
        spoken = {row.name.replace("_", " "): row.name for row in self._plant.rows}
        said = [self._by_word[word].words[0] for word in re.findall(r"[\w-]+", plain) if word in self._by_word]
        spoken.update({word: entry.words[0] for word, entry in self._by_word.items()})
        close = difflib.get_close_matches(plain, list(spoken), NEAR_MAX, 0.7)
        inside = sorted((word for word in spoken if len(plain) > 2 and plain in word), key=len)
        near = [*sorted(said, key=str.isalpha), *(spoken[word] for word in (*close, *inside))]  # numbers say most
        return list(dict.fromkeys(near))[:NEAR_MAX]

    def _near_number(self, number: int) -> List[str]:
        spoken = [f"{kind} {number}" for kind in ("mode", "exception", "exit", "http", "code")]
        known = [word for word in spoken if word in self._by_word]
        if known:
            return known
        numbers = {int(word) for word in self._by_word if word.isdigit()}
        numbers.update(row.address for row in self._plant.rows)
        return [str(one) for one in sorted(numbers, key=lambda one: (abs(one - number), one))[:3]]


def all_entries(texts: Mapping[str, Any]) -> Iterator[Entry]:
    """Yield every entry that is not a register, overviews included."""
    for topic in texts["topics"]:
        yield Entry(
            "topic", (topic["word"], *topic.get("also", ())), topic["title"],
            tuple((label, fact) for label, fact in topic.get("facts", ())), tuple(topic.get("text", ())),
            tuple(topic.get("see", ())),
        )
    codes = tuple(_code(row, texts) for row in CODES)
    modes = tuple(_modes(texts))
    statuses = tuple(_numbered("http", "HTTP status", texts["http"], bare=True))
    exceptions = tuple(_numbered("exception", "Modbus exception", texts["exceptions"]))
    exits = tuple(_numbered("exit", "exit code", texts["exits"]))
    for group in (codes, modes, statuses, exceptions, exits):
        yield from group
    for words, title, group in (
        (("codes", "error codes", "code"), "error codes of the Sigenergy cloud", codes),
        (("modes", "mode", "operating mode", "operating modes"), "operating modes of a plant", modes),
        (("http", "http status", "statuses"), "HTTP statuses of the Sigenergy cloud", statuses),
        (("exceptions", "exception", "modbus exception", "modbus exceptions"),
         "what a Modbus device answers instead of values", exceptions),
        (("exit", "exit codes", "exit code"), "exit codes of this program", exits),
    ):
        facts = tuple((entry.words[0], entry.title) for entry in group)
        yield Entry("overview", words, title, facts)
    yield _regions()


def _regions() -> Entry:
    facts = tuple(
        (row.name, "; ".join(filter(None, (row.openapi_host, f"also {', '.join(row.aliases)}", row.note))))
        for row in REGIONS
    )
    text = (
        "There is no default: a station is known in its own region only. cloud.host_family = api takes the"
        " older host names, cloud.base_url any other address."
    )
    title = "regions of the Sigenergy cloud and their hosts"
    return Entry("topic", ("regions", "region", "hosts"), title, facts, (text,), ("auth",))


def _code(row: Code, texts: Mapping[str, Any]) -> Entry:
    facts = [("kind", row.kind), ("do", row.advice)]
    if row.hold_s:
        facts.append(("bridge", f"leaves the cloud alone for {row.hold_s / 60:.0f} min or longer"))
    note = texts["codes"].get(str(row.code))
    text = (*([note] if note else []), texts["kinds"][row.kind])
    words = (str(row.code), f"code {row.code}", f"error {row.code}", f"error code {row.code}")
    return Entry("error code", words, row.meaning, tuple(facts), text, ("codes",))


def _modes(texts: Mapping[str, Any]) -> Iterator[Entry]:
    for row in MODES:
        words = (row.word, f"mode {row.number}", *(f"mode {name}" for name in names(row)), *names(row))
        can = "yes, with sigen-bridge mode set " + row.word if row.settable else f"no: {hindrance(row)}"
        facts = (("number", str(row.number)), ("can be set", can))
        yield Entry("operating mode", words, row.label, facts, (texts["modes"][row.word],), ("modes",))


def _numbered(
    word: str, kind: str, rows: Sequence[Mapping[str, Any]], bare: bool = False
) -> Iterator[Entry]:
    for row in rows:
        spoken = [f"{word} {row['number']}", f"{kind} {row['number']}", f"{word} code {row['number']}"]
        if bare:
            spoken.append(str(row["number"]))
        see = (*row.get("see", ()), word)
        yield Entry(kind, tuple(dict.fromkeys(spoken)), row["title"], (), tuple(row["text"]), see)


def _hex(text: str) -> Optional[int]:
    try:
        return int(text, 16) if text.startswith("0x") else None
    except ValueError:
        return None
