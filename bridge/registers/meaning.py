"""What a register's value means, in words; an unknown code is said, never fatal."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any, Mapping

from bridge.model import direction
from bridge.registers import Register, Value


def text(row: Register, value: Value, meanings: Mapping[str, Any]) -> str:
    """Return the meaning of a decoded value of ``row``; "" where the number says it all.

    Enumerations give their name or "unknown (4)", alarm words their set bits, signed powers a
    direction, epochs a UTC time.
    """
    meaning = meanings.get(row.means)
    if meaning is None:
        return "" if value is not None else "no value"
    if isinstance(meaning, Mapping):
        if value in meaning:
            return str(meaning[value])
        if None in meaning:  # a limit: any other value is simply the limit
            return "" if value is not None else "no value"
        return f"unknown ({value})"
    if value is None or isinstance(value, str):
        return "no value"
    kind = meaning[0]
    if kind == "sign":
        return direction(value, meaning[1], meaning[2])
    if kind == "epoch":
        return _epoch(value)
    return _bits(int(value), meaning[1:])


def _epoch(seconds: float) -> str:
    if seconds <= 0:
        return "not set"
    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%d %H:%M:%S UTC")


def _bits(word: int, names: Any) -> str:
    found = []
    for bit in range(16):
        if word >> bit & 1:
            name = names[bit] if bit < len(names) else ""
            found.append(name or f"bit {bit}")
    return ", ".join(found) or "none"
