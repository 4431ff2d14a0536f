"""Reads chosen registers once, as exactly as the device answers; for the dump and for reports.

Never writes. A range that is rejected is split until each single register has answered or is known to
be missing; a silent peer ends the reading at once.
"""

from __future__ import annotations

from typing import Dict, List, NamedTuple, Optional, Sequence

from bridge.errors import DeviceException
from bridge.link.modbus import ModbusLink
from bridge.registers import Register, Value, Vendor, decode
from bridge.registers.plan import Block, Cost, halves, plan

ILLEGAL_ADDRESS = 2
PROTOCOL_PROBES = (("2.9", 30286, 1), ("2.8", 30284, 2), ("2.7", 30194, 2), ("2.6", 30092, 2),
                   ("2.5", 30087, 1), ("2.0", 30072, 1))


class Sample(NamedTuple):
    """What one register said: its words and value, or why there are none."""

    row: Register
    unit: int
    words: Sequence[int]
    value: Value
    error: str = ""


class Dumper:
    """Reads rows from one link; ``units`` maps a scope to the unit number it is asked at."""

    def __init__(self, link: ModbusLink, vendor: Vendor, cost: Cost, units: Dict[str, int], offset: int = 0) -> None:
        self._link, self._vendor, self._cost = link, vendor, cost
        self._units, self._offset = units, offset

    def read(self, rows: Sequence[Register], unit: Optional[int] = None) -> List[Sample]:
        """Return a sample for each row in the order asked; raises LinkError when the peer is silent."""
        samples: Dict[Register, Sample] = {}
        for block in plan(rows, self._cost, self._vendor):
            self._block(block, unit, samples)
        return [samples[row] for row in rows]

    def _block(self, block: Block, unit: Optional[int], samples: Dict[Register, Sample]) -> None:
        at = self._units[block.scope] if unit is None else unit
        try:
            words = self._link.read(block.space, block.address + self._offset, block.count, at)
        except DeviceException as error:
            if len(block.rows) > 1:
                for half in halves(block):
                    self._block(half, unit, samples)
                return
            text = "not on this firmware" if error.code == ILLEGAL_ADDRESS else str(error)
            samples[block.rows[0]] = Sample(block.rows[0], at, (), None, text)
            return
        for row in block.rows:
            own = block.words_of(row, words)
            samples[row] = Sample(row, at, own, decode(row, own))

    def protocol(self) -> Optional[str]:
        """Return the Sigenergy protocol level by which registers exist ("2.8"), or None for other vendors.

        "1.8" also stands for anything older; a level needs its last register to answer.
        """
        if self._vendor.name != "sigenergy":
            return None
        for level, address, count in PROTOCOL_PROBES:
            try:
                self._link.read("input", address + self._offset, count, self._units["plant"])
            except DeviceException:
                continue
            return level
        return "1.8"
