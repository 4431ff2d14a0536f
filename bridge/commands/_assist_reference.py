"""The reference text of the assistant: what is written by hand, and the tables that the program itself works with.

Never holds a value of a setting, a time or anything else that changes between two runs: the service keeps the text in
its cache only while it is the same, byte for byte.
"""

from __future__ import annotations

import importlib
import importlib.resources
from typing import Iterator, List

from bridge.commands import command_names
from bridge.commands.help import examples
from bridge.peers.sigen_codes import CODES, MODES, REGIONS
from bridge.peers.sigen_modes import hindrance
from bridge.registers import Register, Vendor
from bridge.settings import SETTINGS


def reference(plant: Vendor) -> str:
    """Return the whole text; ``plant`` is whose registers are listed."""
    written = (importlib.resources.files("bridge.data") / "assistant_reference.md").read_text("utf-8")
    parts: List[str] = [written.rstrip()]
    for title, lines in (
        ("Error codes of the cloud: code, meaning, kind, what to do", _codes()),
        ("Operating modes: number, word, label, whether it can be set", _modes()),
        ("Regions: name, OpenAPI host, aliases", _regions()),
        (f"Registers of the plant ({plant.name}): number name kind unit access since; explain tells signs and values,"
         " and knows those of inverters and chargers as well", _registers(plant)),
        ("Commands, with examples", _commands()),
        ("Settings", _settings()),
    ):
        parts += ["", f"# {title}", "", *lines]
    return "\n".join(parts) + "\n"


def _codes() -> Iterator[str]:
    for row in CODES:
        yield f"{row.code}: {row.meaning}; {row.kind}; {row.advice}"


def _modes() -> Iterator[str]:
    for row in MODES:
        can = "can be set: sigen-bridge mode set " + row.word if row.settable else f"cannot be set: {hindrance(row)}"
        yield f"{row.number} {row.word}: {row.label}; {can}"


def _regions() -> Iterator[str]:
    for row in REGIONS:
        yield "; ".join(filter(None, (row.name, row.openapi_host, ", ".join(row.aliases), row.note)))


def _registers(plant: Vendor) -> Iterator[str]:
    for row in plant.rows:
        if row.scope == "plant":
            yield _register(row)


def _register(row: Register) -> str:
    unit = row.unit or "-"
    scale = "" if row.gain == 1 else f"/{row.gain:g}"
    return f"{row.address} {row.name} {row.kind}{scale} {unit} {row.access} V{row.since}"


def _commands() -> Iterator[str]:
    known = examples()
    for verb in command_names():
        yield f"{verb}: {importlib.import_module(f'bridge.commands.{verb}').HELP}"
        for line, says in known.get(verb, []):
            yield f"  {line}   ({says})"


def _settings() -> Iterator[str]:
    for row in SETTINGS:
        names = f" (also {', '.join(row.aliases)})" if row.aliases else ""
        yield f"{row.key}{names}: {row.help}{'; secret' if row.secret else ''}"
