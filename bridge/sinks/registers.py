"""``/v1/registers``: registers by number as JSON, with raw words, value, meaning and age.

Never turns a question into a write, and never shows a number for a register that has none: its ``value`` is
null, ``exception`` is the Modbus code and ``text`` says why.
"""

from __future__ import annotations

import struct
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Tuple

from bridge.clock import Clock
from bridge.errors import ConfigError, DeviceException
from bridge.link.httpd import Answer, Request, json_answer
from bridge.registers import Register, Vendor, decode
from bridge.sources.dump import Sample, absent, entry, register_asked_for
from bridge.sources.register_desk import RegisterDesk

SCHEMA = 1
MOST_REGISTERS = 64  # numbers in one question
DEVICE_UNIT = 1  # of a register that belongs to a device, when none is said (as in dump)


class RegistersRoute(NamedTuple):
    """Answers a request for registers of one plant; ``source`` and ``peer`` name the bridge's link."""

    desk: RegisterDesk
    vendor: Vendor
    offset: int
    clock: Clock
    source: str
    peer: str

    def answer(self, request: Request) -> Answer:
        """Return the registers that the query names: ``address=30005,40029@247``, with ``count`` as raw words."""
        try:
            wanted, raw = _wanted(request.query, self.vendor)
        except ConfigError as error:
            return json_answer({"error": str(error)}, 400)
        shown = [self._one(row, unit, raw) for row, unit in wanted]
        return json_answer({
            "schema": SCHEMA, "source": self.source, "peer": self.peer, "unit": self.desk.line_unit, "registers": shown,
        })

    def _one(self, row: Register, unit: Optional[int], raw: bool) -> Dict[str, Any]:
        at = unit or (self.vendor.unit_tcp if row.scope == "plant" else DEVICE_UNIT)
        age_s = code = None
        try:
            piece = self.desk.read(at, row.space, row.address + self.offset, row.count)
        except DeviceException as error:
            code = error.code
            sample = Sample(row, at, (), None, absent(code, str(error)))
        else:
            words = struct.unpack(f">{row.count}H", piece.data)
            sample = Sample(row, at, words, None if raw else decode(row, words))
            age_s = round(self.clock.monotonic() - piece.mono, 1)
        shown = entry(sample, self.vendor)
        if raw and code is None:
            shown["text"] = ""
        return {**shown, "device": at, "age_s": age_s, "exception": code}


def _wanted(query: Mapping[str, str], vendor: Vendor) -> Tuple[List[Tuple[Register, Optional[int]]], bool]:
    """Return (row, unit) of every register asked for, and whether they are raw ranges."""
    words = [word for word in query.get("address", "").split(",") if word]
    if not 1 <= len(words) <= MOST_REGISTERS:
        raise ConfigError(f"registers: say 1 to {MOST_REGISTERS} numbers, such as ?address=30005,40029@247")
    wanted = [register_asked_for(word, vendor) for word in words]
    text = query.get("count")
    if text is None:
        return wanted, False
    count = int(text) if text.isdigit() else 0
    if not 1 <= count <= vendor.max_read:
        raise ConfigError(f"registers: count is a number from 1 to {vendor.max_read}")
    if any(row.address + count > 0x10000 for row, _ in wanted):
        raise ConfigError("registers: the range goes beyond register 65535")
    space = query.get("space")
    if space not in (None, "input", "holding"):
        raise ConfigError("registers: space is input or holding")
    return [
        (row._replace(count=count, space=space or row.space, name="words", unit="", means=""), unit)
        for row, unit in wanted
    ], True
