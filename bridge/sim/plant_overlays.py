"""What a reply shows instead of the registers while a fault of the values is in force.

Pure: never changes a register; bytes in, bytes out.
"""

from __future__ import annotations

import struct
from typing import List, Mapping, Tuple

from bridge.registers import Vendor
from bridge.sim.plant_faults import Params
from bridge.sim.plant_image import Image

Words = List[Tuple[int, bytes]]


def overlay(met: Mapping[str, Params], image: Image, vendor: Vendor) -> Words:
    """Return the words that the faults in force show instead of the image's."""
    words: Words = []
    if "no_meter" in met:
        house_w = _s32(image, 30031) + _s32(image, 30194)
        words += [(30004, bytes(2)), (30005, bytes(4)), (30052, bytes(12))]
        words += [(30282, struct.pack(">i", house_w)), (30284, struct.pack(">i", house_w))]
    if "inverted_grid" in met:
        words += [(at, struct.pack(">i", -_s32(image, at))) for at in (30005, 30052, 30054, 30056)]
    if "phase_turned" in met:
        at = 30052 + 2 * int(met["phase_turned"]["phase"])
        words.append((at, struct.pack(">i", -_s32(image, at))))
    if "phase_shift" in met:
        shift_w = int(met["phase_shift"]["w"])
        words += [(30052, struct.pack(">ii", _s32(image, 30052) + shift_w, _s32(image, 30054) - shift_w))]
    if "imbalance" in met:
        words.append((30284, struct.pack(">i", _s32(image, 30284) + int(met["imbalance"]["w"]))))
    if "soc_jump" in met:
        soc = struct.unpack(">H", image.read(30014, 1))[0]
        jump = int(10 * met["soc_jump"]["pct"])
        shown = struct.pack(">H", soc + jump if soc + jump <= 1000 else max(0, soc - jump))
        words += [(30014, shown), (30601, shown)]
    if "clock_zero" in met:
        words.append((30000, bytes(4)))
    if "spike" in met:
        words.append((met["spike"]["address"], struct.pack(">I", int(met["spike"]["w"]) & 0xFFFFFFFF)))
    if "sentinel" in met:
        words.append(_sentinel(met["sentinel"]["address"], vendor))
    return words


def lay_over(data: bytes, address: int, words: Words) -> bytes:
    """Lay words over the bytes of registers that begin at ``address``."""
    shown = bytearray(data)
    for first, fresh in words:
        for index in range(len(fresh)):
            where = 2 * (first - address) + index
            if 0 <= where < len(shown):
                shown[where] = fresh[index]
    return bytes(shown)


def _sentinel(address: int, vendor: Vendor) -> Tuple[int, bytes]:
    row = vendor.at(address)
    if row is None:
        return address, b"\xff\xff"
    signed = row.kind[0] == "s" and row.kind != "string"
    return address, (b"\x7f" if signed else b"\xff") + b"\xff" * (2 * row.count - 1)


def _s32(image: Image, address: int) -> int:
    return int(struct.unpack(">i", image.read(address, 2))[0])
