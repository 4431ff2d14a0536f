"""Reads chosen registers once, as exactly as the device answers; for the dump and for reports.

Never writes. A range that is rejected is split until each single register has answered or is known to
be missing; a silent peer ends the reading at once.
"""

from __future__ import annotations

from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

from bridge.errors import ConfigError, DeviceException
from bridge.link.modbus import ModbusLink
from bridge.model import Reading
from bridge.registers import Register, Value, Vendor, decode
from bridge.registers.meaning import text as meaning
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


def register_asked_for(word: str, plant: Vendor) -> Tuple[Register, Optional[int]]:
    """Return the row and the unit, if one is said, of "30005" or "30500@1"; raises ConfigError for other words."""
    number, at, unit = word.partition("@")
    if not number.isdigit() or (at and not (unit.isdigit() and 1 <= int(unit) <= 247)):
        raise ConfigError(f"dump: {word!r} is not ADDRESS or ADDRESS@UNIT, such as 30005 or 30500@1")
    address = int(number)
    if address > 0xFFFF:
        raise ConfigError(f"dump: {address} is not a register number (0..65535)")
    row = plant.at(address, "plant" if not at or int(unit) == plant.unit_tcp else None) or plant.at(address)
    if row is None:
        space = "holding" if address >= 40000 else "input"
        row = Register("plant", address, 1, space, "u16", 1, "", "ro", "", None, None, "", "unlisted", "")
    if row.access == "wo":
        raise ConfigError(f"dump: {address} {row.name} can only be written, and dump never writes")
    return row, int(unit) if at else None


def entry(sample: Sample, plant: Vendor, reading: Optional[Reading] = None) -> Dict[str, Any]:
    """Return a sample as it is printed and served: raw words, value, unit of measure and what it means."""
    row = sample.row
    reserved = row.name == "unlisted" and sample.value is None and not sample.error
    text = "reserved" if reserved else sample.error or meaning(row, sample.value, plant.meanings)
    if reading is not None and row.name == plant.roles.get("load_w") and sample.error:
        derived = "unknown" if reading.load_w is None else f"{reading.load_w:.0f} W"
        text = f"{sample.error}; derived load {derived}"
    return {
        "address": row.address, "name": row.name, "raw": [f"{word:04X}" for word in sample.words],
        "value": sample.value, "unit": row.unit, "text": text,
    }


def absent(code: int, otherwise: str) -> str:
    """Return what to say of a register that was answered with an exception."""
    return "not on this firmware" if code == ILLEGAL_ADDRESS else otherwise


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
            samples[block.rows[0]] = Sample(block.rows[0], at, (), None, absent(error.code, str(error)))
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
