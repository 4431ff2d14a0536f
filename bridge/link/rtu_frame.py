"""Modbus RTU frames: the CRC, how long a reply is, and our reply among what was heard.

Facts: "MODBUS over Serial Line V1.02" section 2.5 and "MODBUS Application Protocol V1.1b3".
"""

from __future__ import annotations

from typing import Optional

FIXED_LENGTH = {5: 8, 6: 8, 15: 8, 16: 8, 22: 10}  # echo replies; others carry a byte count


def crc16(data: bytes) -> int:
    """Return the Modbus CRC of ``data`` (polynomial A001, start FFFF, low byte sent first)."""
    crc = 0xFFFF
    for byte in data:
        crc = (crc >> 8) ^ CRC_TABLE[(crc ^ byte) & 0xFF]
    return crc


def _crc_entry(index: int) -> int:
    for _ in range(8):
        index = (index >> 1) ^ 0xA001 if index & 1 else index >> 1
    return index


CRC_TABLE = tuple(_crc_entry(index) for index in range(256))


def frame_length(data: bytes, start: int) -> Optional[int]:
    """Return how long the reply frame that begins at ``start`` is, or None while too little is known."""
    if len(data) - start < 3:
        return None
    function = data[start + 1]
    if function & 0x80:
        return 5
    if function in FIXED_LENGTH:
        return FIXED_LENGTH[function]
    return 5 + data[start + 2]


def find_reply(received: bytes, unit: int, function: int) -> Optional[bytes]:
    """Return the whole reply of ``unit`` to ``function``, or None; a foreign master's frames may stand before it."""
    for start in range(len(received) - 4):
        if received[start] != unit or received[start + 1] & 0x7F != function:
            continue
        length = frame_length(received, start)
        if length is None or start + length > len(received):
            continue
        candidate = received[start:start + length]
        if crc16(candidate[:-2]) == int.from_bytes(candidate[-2:], "little"):
            return candidate
    return None
