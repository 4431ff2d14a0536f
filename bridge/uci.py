"""Reads an OpenWrt UCI file such as /etc/config/sigen-bridge, quotes and lists included.

Never runs ``uci`` and never writes. The type of a section (or its name, where the type is
``sigen-bridge``) is our section: ``config modbus`` holds the options of ``[modbus]``. Syntax as in
the OpenWrt user guide, "The UCI system", file syntax.
"""

from __future__ import annotations

from typing import List, NamedTuple


class Option(NamedTuple):
    """One value of a configuration file and the line it stands on."""

    section: str
    name: str
    value: str
    line: int


def parse(content: str) -> List[Option]:
    """Return the options of a UCI file; raises ValueError naming the line that is not UCI."""
    options: List[Option] = []
    section = ""
    for number, line in enumerate(content.split("\n"), 1):  # splitlines would also split at U+2028 within a value
        words = _words(line, number)
        if not words:
            continue
        if words[0] == "config" and len(words) in (2, 3):
            section = words[2] if len(words) == 3 and words[1] == "sigen-bridge" else words[1]
        elif words[0] in ("option", "list") and len(words) == 3 and section:
            options.append(Option(section.replace("-", "_"), words[1], words[2], number))
        elif words[0] != "package":
            raise ValueError(f"line {number} is not UCI: {line.strip()[:40]}")
    return options


def looks_like_uci(content: str) -> bool:
    """Say whether the first line that is not a comment is UCI rather than INI."""
    for line in content.splitlines():
        words = line.split(None, 1)
        if words and not words[0].startswith("#"):
            return words[0] in ("config", "package")
    return False


def _words(line: str, number: int) -> List[str]:
    words: List[str] = []
    current: List[str] = []
    quote, started = "", False
    index = 0
    while index < len(line):
        char = line[index]
        if quote:
            if char == quote:
                quote = ""
            elif char == "\\" and quote == '"' and index + 1 < len(line):
                index += 1
                current.append(line[index])
            else:
                current.append(char)
        elif char in "'\"":
            quote, started = char, True
        elif char == "\\" and index + 1 < len(line):
            index += 1
            current.append(line[index])
            started = True
        elif char.isspace():
            if started or current:
                words.append("".join(current))
                current, started = [], False
        elif char == "#" and not started and not current:
            break
        else:
            current.append(char)
        index += 1
    if quote:
        raise ValueError(f"line {number}: a quote is not closed")
    if started or current:
        words.append("".join(current))
    return words
