"""Registers as rows of a table, and the pure functions between raw words and values.

Never does I/O. A vendor is one module here that exports ``NAME``, ``ROWS``, ``ROLES``, ``READABLE``,
``MEANINGS``, ``UNIT_TCP``, ``UNIT_RTU`` and ``ADDRESS_OFFSET``; dump, plan, simulator and run use
nothing else of it.
"""

from __future__ import annotations

import struct
from typing import Any, List, Mapping, NamedTuple, Optional, Sequence, Tuple, Union

from bridge.errors import ConfigError

Value = Union[int, float, str, None]


class Register(NamedTuple):
    """One register of a device.

    ``address`` is the printed number, which for Sigenergy is also the number on the wire.
    ``kind`` is u16 s16 u32 s32 u64 string or f32; the value in ``unit`` is raw / ``gain``.
    ``lo``/``hi`` bound what may be read as true and what may be written, in ``unit``; ``hi`` may be
    the name of another row of the same scope. ``means`` names an entry of the vendor's MEANINGS.
    """

    scope: str
    address: int
    count: int  # type: ignore[assignment]  # shadows tuple.count, which nobody calls on a row
    space: str
    kind: str
    gain: int
    unit: str
    access: str
    since: str
    lo: Optional[float]
    hi: Union[float, str, None]
    means: str
    name: str
    note: str

    @property
    def end(self) -> int:
        """The first address behind this register."""
        return self.address + self.count


class Vendor(NamedTuple):
    """What a vendor module exports, gathered so that functions can be handed it."""

    name: str
    rows: Tuple[Register, ...]
    roles: Mapping[str, str]
    readable: Tuple[Tuple[str, str, int, int], ...]
    meanings: Mapping[str, Any]
    unit_tcp: int
    unit_rtu: int
    address_offset: int
    max_read: int = 124

    def row(self, name: str, scope: Optional[str] = None) -> Register:
        """Return the row called ``name``; raises KeyError when the vendor has none."""
        for candidate in self.rows:
            if candidate.name == name and (scope is None or candidate.scope == scope):
                return candidate
        raise KeyError(name)

    def at(self, address: int, scope: Optional[str] = None) -> Optional[Register]:
        """Return the row that starts at ``address``, or None."""
        for candidate in self.rows:
            if candidate.address == address and (scope is None or candidate.scope == scope):
                return candidate
        return None

    def role(self, role: str) -> Optional[Register]:
        """Return the row that plays ``role`` (see signals), or None when this vendor has none."""
        name = self.roles.get(role)
        return self.row(name) if name else None


def vendor_from(module: Any) -> Vendor:
    """Gather a vendor module's exports."""
    return Vendor(
        module.NAME, tuple(module.ROWS), module.ROLES, module.READABLE, module.MEANINGS,
        module.UNIT_TCP, module.UNIT_RTU, module.ADDRESS_OFFSET, getattr(module, "MAX_READ", 124),
    )


def raw_int(kind: str, words: Sequence[int]) -> int:
    """Combine big-endian words, high word first, into the integer of ``kind``."""
    number = 0
    for word in words:
        number = (number << 16) | word
    if kind[0] == "s":
        bits = 16 * len(words)
        if number >> (bits - 1):
            number -= 1 << bits
    return number


def decode(row: Register, words: Sequence[int]) -> Value:
    """Turn the words of ``row`` into its value in ``row.unit``; None for the device's "no value".

    All ones is "not set" for unsigned kinds (seen on 40032.. and on reserved words); 7FFFFFFF and
    80000000 are taken as such for s32 as a precaution; s32 FFFFFFFF is -1 and stays.
    Raises ValueError when ``words`` has another length than the row.
    """
    if len(words) != row.count:
        raise ValueError(f"{row.name}: {len(words)} words for {row.count}")
    kind = row.kind
    if kind == "string":
        text = b"".join(struct.pack(">H", word) for word in words)
        return text.split(b"\0", 1)[0].decode("ascii", "replace").strip()
    if kind == "f32":
        number = struct.unpack(">f", struct.pack(">HH", *words))[0]
        return None if number != number else number / row.gain
    raw = raw_int(kind, words)
    if kind[0] == "u":
        if raw == (1 << (16 * len(words))) - 1:
            return None
    elif kind == "s32" and raw in (0x7FFFFFFF, -0x80000000):
        return None
    return raw if row.gain == 1 else raw / row.gain


def encode(row: Register, value: Union[int, float, str]) -> List[int]:
    """Turn a value in ``row.unit`` into the words of ``row``, rounded to the register's step.

    Raises ConfigError when the value does not fit the kind or the row's own numeric limits.
    """
    if row.kind == "string":
        data = str(value).encode("ascii", "replace")[: 2 * row.count].ljust(2 * row.count, b"\0")
        return list(struct.unpack(f">{row.count}H", data))
    number = float(value)
    if number != number or number in (float("inf"), float("-inf")):
        raise ConfigError(f"{row.name} ({row.address}): {value} is not a number a register can hold")
    if row.kind == "f32":
        return list(struct.unpack(">HH", struct.pack(">f", number * row.gain)))
    hi = None if isinstance(row.hi, str) else row.hi
    if (row.lo is not None and number < row.lo) or (hi is not None and number > hi):
        raise ConfigError(
            f"{row.name} ({row.address}): {value} {row.unit} is outside {row.lo:g}..{row.hi}"
        )
    raw = int(round(number * row.gain))
    bits = 16 * row.count
    low, high = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if row.kind[0] == "s" else (0, (1 << bits) - 1)
    if not low <= raw <= high:
        raise ConfigError(f"{row.name} ({row.address}): {value} {row.unit} does not fit {row.kind}")
    raw &= (1 << bits) - 1
    return [(raw >> (16 * shift)) & 0xFFFF for shift in range(row.count - 1, -1, -1)]


def in_range(row: Register, value: Value) -> bool:
    """Say whether a decoded value lies within the row's own numeric limits."""
    if not isinstance(value, (int, float)):
        return value is not None
    if row.lo is not None and value < row.lo:
        return False
    return not (isinstance(row.hi, (int, float)) and value > row.hi)
