"""Puts settings into the text of a configuration file, INI or UCI, and leaves every other line as it is.

Never reads or writes a file. A commented-out line of the same setting is taken as the place meant for it.
"""

from __future__ import annotations

import difflib
import re
from typing import Any, Callable, Iterable, List, Mapping, NamedTuple, Optional, Sequence

HIDDEN = "(not shown)"


class _Form(NamedTuple):
    """How a file format writes sections and values."""

    section: Callable[[str], Optional[str]]  # the section that a line begins, or None
    header: Callable[[str], str]
    line: Callable[[str, str], str]
    option: str  # pattern of a setting's line; {name} is the setting


def with_settings(content: str, changes: Mapping[str, str], uci: bool = False) -> str:
    """Return ``content`` with each "section.name" of ``changes`` set; raises ValueError for two lines."""
    form = UCI if uci else INI
    lines = content.splitlines()
    for key, value in changes.items():
        if value and value.splitlines() != [value]:
            raise ValueError(f"{key}: a value is one line")
        section, _, name = key.partition(".")
        lines = _set(lines, form, section, name, value)
    return "\n".join(lines) + "\n" if lines else ""


def _set(lines: List[str], form: _Form, section: str, name: str, value: str) -> List[str]:
    option = re.compile(form.option.format(name=re.escape(name)))
    wanted = form.line(name, value)
    place: Optional[int] = None
    active = False  # an active line wins over a comment
    end: Optional[int] = None
    current: Optional[str] = None
    for index, line in enumerate(lines):
        begun = form.section(line)
        if begun is not None:
            current = begun
        if current != section:
            continue
        if line.strip():
            end = index + 1
        match = option.match(line)
        if match and (place is None or (not active and not match["comment"])):
            place, active = index, not match["comment"]
    if place is not None:
        return [*lines[:place], wanted, *lines[place + 1:]]
    if end is not None:
        return [*lines[:end], wanted, *lines[end:]]
    gap = [""] if lines and lines[-1].strip() else []
    return [*lines, *gap, form.header(section), wanted]


def _ini_section(line: str) -> Optional[str]:
    bare = line.strip()
    return bare[1:-1].strip() if bare[:1] == "[" and bare[-1:] == "]" else None


def _ini_line(name: str, value: str) -> str:
    quoted = value != value.strip() or value[:1] in ("'", '"')
    return f'{name} = "{value}"' if quoted else f"{name} = {value}"


def _uci_section(line: str) -> Optional[str]:
    words = [word.strip("'\"") for word in line.split()]
    if len(words) not in (2, 3) or words[0] != "config":
        return None
    named = len(words) == 3 and words[1] == "sigen-bridge"
    return (words[2] if named else words[1]).replace("-", "_")


def _uci_line(name: str, value: str) -> str:
    quoted = value.replace("'", "'\\''")
    return f"\toption {name} '{quoted}'"


INI = _Form(_ini_section, lambda section: f"[{section}]", _ini_line,
            r"\s*(?P<comment>[#;]?)\s*{name}\s*=")
UCI = _Form(_uci_section, lambda section: f"config {section} '{section}'", _uci_line,
            r"\s*(?P<comment>#?)\s*option\s+['\"]?{name}['\"]?\s")


def secret_names(rows: Iterable[Any]) -> List[str]:
    """Return the names, without section, of those settings (rows of bridge.settings) that are secrets."""
    return sorted({row.key.partition(".")[2] for row in rows if row.secret})


def shown_changes(before: str, after: str, path: str, secret_names: Iterable[str]) -> List[str]:
    """Return what differs, as lines that begin with - and +; the values of secrets are not shown."""
    hidden = re.compile(rf"(?i)(\b(?:{'|'.join(map(re.escape, secret_names))})['\"]?\s*[= ]\s*)\S.*$")
    difference = difflib.unified_diff(before.splitlines(), after.splitlines(), path, path, n=0, lineterm="")
    return [_one(line, hidden) for line in _body(list(difference))]


def _body(difference: Sequence[str]) -> List[str]:
    return [line for line in difference[2:] if not line.startswith("@@")]


def _one(line: str, hidden: "re.Pattern[str]") -> str:
    return hidden.sub(rf"\g<1>{HIDDEN}", line)
