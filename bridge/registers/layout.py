"""Decodes a whole block at once: one struct for all its rows, laid out when the plan is made.

Never decodes differently from ``decode`` (a property test compares them); it is the same table, only
looked at once instead of every second.
"""

from __future__ import annotations

import struct
from typing import List, Sequence, Tuple

from bridge.registers import Register, Value, decode
from bridge.registers.plan import Block

CODES = {"u16": "H", "s16": "h", "u32": "I", "s32": "i", "u64": "Q"}
NO_VALUE = {
    "u16": (0xFFFF,), "u32": (0xFFFFFFFF,), "u64": (0xFFFFFFFFFFFFFFFF,),
    "s16": (), "s32": (0x7FFFFFFF, -0x80000000),
}


class Layout:
    """How the rows of one block lie in the bytes of its reply; ``rows`` keeps their order."""

    def __init__(self, block: Block, rows: Sequence[Register]) -> None:
        codes: List[str] = []
        fields: List[Tuple[Tuple[int, ...], int]] = []
        self.plain = all(row.kind in CODES for row in rows)
        self.rows = tuple(sorted(rows, key=lambda row: row.address))
        self._block = block
        at = block.address
        for row in self.rows:
            codes.append(f"{2 * (row.address - at)}x{CODES.get(row.kind, f'{2 * row.count}s')}")
            fields.append((NO_VALUE.get(row.kind, ()), row.gain))
            at = row.end
        self._struct = struct.Struct(">" + "".join(codes))
        self._fields = tuple(fields)

    def values(self, data: bytes) -> List[Value]:
        """Return the value of each row, in address order, from the data bytes of the reply."""
        if not self.plain:
            words = struct.unpack(f">{self._block.count}H", data)
            return [decode(row, self._block.words_of(row, words)) for row in self.rows]
        return [
            None if raw in absent else raw if gain == 1 else raw / gain
            for raw, (absent, gain) in zip(self._struct.unpack_from(data), self._fields)
        ]
