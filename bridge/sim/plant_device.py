"""What the simulated plant answers to one request, as the vendor's protocol text has it.

Never does I/O. Facts: at most 124 registers a read and 123 a write; the device does not care whether
3xxxx is read with function 3 or 4; read-write rows take 0x06 and 0x10, write-only rows 0x06 alone;
a value above the rated power is refused with exception 2, not 3.
"""

from __future__ import annotations

import struct
from typing import Callable, NamedTuple, Optional

from bridge.registers import Register, raw_int
from bridge.sim.modbus_frames import (
    ILLEGAL_ADDRESS,
    ILLEGAL_FUNCTION,
    ILLEGAL_VALUE,
    READ_HOLDING,
    READ_INPUT,
    WRITE_MANY,
    WRITE_ONE,
    exception_pdu,
)
from bridge.sim.plant_image import Image

MAX_READ, MAX_WRITE = 124, 123
UNLIMITED = 0xFFFFFFFE  # this and all ones mean "no limit" in the limit rows
HOLDING_FROM = 40000


class Served(NamedTuple):
    """An answer, and how it went: ``ok`` or ``exception N``."""

    pdu: bytes
    outcome: str
    wrote: bool = False


class Device:
    """Reads and writes an image by the rules of the protocol."""

    def __init__(
        self, image: Image, strict_function: bool = False,
        forbids: Callable[[Register, int], Optional[int]] = lambda row, raw: None,
    ) -> None:
        self._image, self._forbids = image, forbids
        self._strict = strict_function

    def answer(self, unit: int, pdu: bytes) -> Served:
        """Return the reply to a request that ``unit`` has to serve."""
        function = pdu[0]
        if function in (READ_HOLDING, READ_INPUT):
            return self._read(unit, pdu)
        if function == WRITE_ONE:
            return self._write_one(unit, pdu)
        if function == WRITE_MANY:
            return self._write_many(unit, pdu)
        return refused(function, ILLEGAL_FUNCTION)

    def _read(self, unit: int, pdu: bytes) -> Served:
        if len(pdu) != 5:
            return refused(pdu[0], ILLEGAL_VALUE)
        address, count = struct.unpack_from(">HH", pdu, 1)
        if not 1 <= count <= MAX_READ:
            return refused(pdu[0], ILLEGAL_VALUE)
        if self._strict and pdu[0] == READ_HOLDING and address < HOLDING_FROM:
            return refused(pdu[0], ILLEGAL_FUNCTION)
        if not self._image.readable(unit, address, count):
            return refused(pdu[0], ILLEGAL_ADDRESS)
        return Served(bytes((pdu[0], 2 * count)) + self._image.read(address, count), "ok")

    def _write_one(self, unit: int, pdu: bytes) -> Served:
        if len(pdu) != 5:
            return refused(pdu[0], ILLEGAL_VALUE)
        address = struct.unpack_from(">H", pdu, 1)[0]
        row = self._image.writable.get(unit, {}).get(address)
        if row is None:
            return refused(pdu[0], ILLEGAL_ADDRESS)
        # Half of a two-word value: the text asks for one 0x10 of two words, never two 0x06.
        code = ILLEGAL_VALUE if row.count > 1 else self._objection(row, pdu[3:])
        if code is not None:
            return refused(pdu[0], code)
        if row.access == "rw":
            self._image.write(address, pdu[3:])
        return Served(pdu, "ok", True)

    def _write_many(self, unit: int, pdu: bytes) -> Served:
        if len(pdu) < 6:
            return refused(pdu[0], ILLEGAL_VALUE)
        address, count, size = struct.unpack_from(">HHB", pdu, 1)
        words = pdu[6:]
        if not 1 <= count <= MAX_WRITE or size != 2 * count or len(words) != size:
            return refused(pdu[0], ILLEGAL_VALUE)
        rows, at = self._image.writable.get(unit, {}), address
        while at < address + count:
            row = rows.get(at)
            if row is None or row.access == "wo" or row.end > address + count:
                return refused(pdu[0], ILLEGAL_ADDRESS)
            code = self._objection(row, words[2 * (at - address):2 * (row.end - address)])
            if code is not None:
                return refused(pdu[0], code)
            at = row.end
        self._image.write(address, words)
        return Served(pdu[:5], "ok", True)

    def _objection(self, row: Register, words: bytes) -> Optional[int]:
        raw = raw_int(row.kind, struct.unpack(f">{row.count}H", words))
        code = self._forbids(row, raw)
        if code is not None:
            return code
        if row.means.startswith("limit") and raw >= UNLIMITED:
            return None
        if isinstance(row.hi, str):
            return ILLEGAL_ADDRESS if raw > self._image.rated(row, row.hi) else None
        value = raw / row.gain
        fits = (row.lo is None or value >= row.lo) and (row.hi is None or value <= row.hi)
        return None if fits else ILLEGAL_VALUE


def refused(function: int, code: int) -> Served:
    """Return an exception reply."""
    return Served(exception_pdu(function, code), f"exception {code}")
