"""Reads an INI file: ``[section]`` and ``name = value`` lines, quotes allowed, comments on lines of their own.

Never runs anything and never writes. Not configparser: that gives no line numbers for values, and an
error without its line is no help.
"""

from __future__ import annotations

from typing import List

from bridge.uci import Option


def parse(content: str) -> List[Option]:
    """Return the options of an INI file; raises ValueError naming the line that is not INI."""
    options: List[Option] = []
    section = ""
    for number, line in enumerate(content.splitlines(), 1):
        bare = line.strip()
        if not bare or bare[0] in "#;":
            continue
        if bare[0] == "[" and bare[-1] == "]":
            section = bare[1:-1].strip()
            continue
        name, equals, value = bare.partition("=")
        if not equals or not section:
            raise ValueError(f"line {number} is neither [section] nor name = value: {bare.split()[0][:40]}")
        value = value.strip()
        if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"":
            value = value[1:-1]
        options.append(Option(section, name.strip(), value, number))
    return options
