"""Reads a KEY=VALUE file such as /etc/amber2sigen.env, as it is: blanks without quotes, quotes, comments.

Never runs a shell and never expands anything: such files do not survive being sourced
(``PLAN_NAME=Amber Live`` would run a program called Live).
"""

from __future__ import annotations

import re
from typing import List, NamedTuple

from bridge.settings import ENV_PREFIX, NOT_SETTINGS, variables
from bridge.values import did_you_mean

LINE = re.compile(r"(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=(.*)\Z", re.S)

MISSPELT = 0.8  # such a file may hold variables of other programs too: only what is very like ours is a mistake


class Assignment(NamedTuple):
    """One variable, or the setting it gives, and the line it stands on."""

    name: str
    value: str
    line: int


def looks_like_env(content: str) -> bool:
    """Say whether the first line that is not a comment is NAME=VALUE, outside any [section], in capitals."""
    for line in content.splitlines():
        bare = line.strip()
        if bare and bare[0] not in "#;":
            found = LINE.match(bare)
            return found is not None and found.group(1).isupper()
    return False


def parse(content: str) -> List[Assignment]:
    """Return the assignments of a file; one without a value counts as not made.

    Raises ValueError naming a line that is neither a comment nor NAME=VALUE; never quotes a value.
    """
    found: List[Assignment] = []
    for number, line in enumerate(content.lstrip("\ufeff").splitlines(), 1):
        bare = line.strip()
        if not bare or bare[0] in "#;":
            continue
        match = LINE.match(bare)
        if match is None:
            raise ValueError(f"line {number} is not NAME=VALUE")
        value = _value(match.group(2).strip(), number)
        if value:
            found.append(Assignment(match.group(1), value, number))
    return found


def settings_of(content: str) -> List[Assignment]:
    """Return the settings that a file gives, by key; what is neither one nor nearly one is left alone.

    Raises ValueError for a line that cannot be read, and for a name that looks misspelt.
    """
    known, found = variables(), []
    for one in parse(content):
        if one.name in known:
            found.append(one._replace(name=known[one.name].key))
        elif one.name not in NOT_SETTINGS:
            hint = did_you_mean(one.name, known, MISSPELT)
            if hint or one.name.startswith(ENV_PREFIX):
                raise ValueError(f"line {one.line}: there is no setting {one.name}{hint}")
    return found


def _value(text: str, number: int) -> str:
    if text[:1] in ("'", '"'):
        quote, rest = text[0], text[1:]
        end = _closing(rest, quote)
        if end < 0:
            raise ValueError(f"line {number}: a quote is not closed")
        behind = rest[end + 1:].strip()
        if behind and behind[0] != "#":
            raise ValueError(f"line {number}: there is text behind the closing quote")
        inner = rest[:end]
        return re.sub(r'\\(["\\$`])', r"\1", inner) if quote == '"' else inner
    # a comment behind a value needs a blank before its sign: passwords and links may hold one
    return re.split(r"\s#", text, maxsplit=1)[0].strip()


def _closing(text: str, quote: str) -> int:
    index = 0
    while index < len(text):
        if text[index] == "\\" and quote == '"':
            index += 1
        elif text[index] == quote:
            return index
        index += 1
    return -1
