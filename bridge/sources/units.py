"""Which unit of a Modbus server answers: a diagnosis for a wrong unit number, reads only."""

from __future__ import annotations

from typing import Optional, Sequence

from bridge.errors import DeviceException, LinkError
from bridge.link.modbus import ModbusLink
from bridge.registers import Vendor

LIKELY = (247, 1)  # the plant by the vendor's text, and the commonest device number


def answering_unit(link: ModbusLink, vendor: Vendor, asked: int, offset: int = 0,
                   likely: Sequence[int] = LIKELY) -> Optional[int]:
    """Return a unit other than ``asked`` that has the plant's grid register, or None."""
    row = vendor.role("grid_w")
    if row is None:
        return None
    for unit in likely:
        if unit == asked:
            continue
        try:
            link.read(row.space, row.address + offset, row.count, unit)
        except (LinkError, DeviceException):
            continue
        return unit
    return None
