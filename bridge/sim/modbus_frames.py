"""Modbus frames as bytes: the TCP header, the RTU checksum, exception replies, line timing.

Never does I/O, and shares no code with the bridge's own Modbus client: a mistake made twice would
hide itself. Facts: "MODBUS over serial line" V1.02 and "Modbus messaging on TCP/IP" V1.0b.
"""

from __future__ import annotations

import struct
from typing import List, NamedTuple, Optional, Tuple

READ_HOLDING, READ_INPUT, WRITE_ONE, WRITE_MANY = 3, 4, 6, 16
ILLEGAL_FUNCTION, ILLEGAL_ADDRESS, ILLEGAL_VALUE = 1, 2, 3
BROADCAST = 0  # executed by everyone, answered by no one
_HEADER = struct.Struct(">HHHB")
MAX_PDU = 253


class Frame(NamedTuple):
    """One message: who, what, and on TCP the header's two numbers."""

    unit: int
    pdu: bytes
    transaction: int = 0
    protocol: int = 0


class Ask(NamedTuple):
    """What a request is about: ``words`` registers from ``address``; None where it does not say."""

    function: int
    address: Optional[int] = None
    words: Optional[int] = None


def tcp_bytes(frame: Frame) -> bytes:
    """Encode a frame for Modbus TCP."""
    header = _HEADER.pack(frame.transaction, frame.protocol, len(frame.pdu) + 1, frame.unit)
    return header + frame.pdu


def take_tcp_frames(buffer: bytearray) -> List[Frame]:
    """Take all complete frames off the front of ``buffer``; raises ValueError when it is no Modbus."""
    frames = []
    while len(buffer) >= _HEADER.size:
        transaction, protocol, length, unit = _HEADER.unpack_from(buffer)
        if not 2 <= length <= MAX_PDU + 1:
            raise ValueError(f"length {length} in a Modbus TCP header")
        if len(buffer) < 6 + length:
            break
        frames.append(Frame(unit, bytes(buffer[7:6 + length]), transaction, protocol))
        del buffer[:6 + length]
    return frames


def _crc_table() -> Tuple[int, ...]:
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = (byte >> 1) ^ 0xA001 if byte & 1 else byte >> 1
        table.append(byte)
    return tuple(table)


_CRC = _crc_table()


def crc16(data: bytes) -> int:
    """Return the RTU checksum of ``data``; it goes on the line low byte first."""
    crc = 0xFFFF
    for byte in data:
        crc = (crc >> 8) ^ _CRC[(crc ^ byte) & 0xFF]
    return crc


def rtu_bytes(frame: Frame) -> bytes:
    """Encode a frame for an RS485 line."""
    body = bytes([frame.unit]) + frame.pdu
    return body + struct.pack("<H", crc16(body))


def rtu_frame(data: bytes) -> Optional[Frame]:
    """Decode what stood between two silences on the line; None when the checksum is wrong."""
    if len(data) < 4 or crc16(data):
        return None
    return Frame(data[0], bytes(data[1:-2]))


def exception_pdu(function: int, code: int) -> bytes:
    """Return an exception reply to ``function``."""
    return bytes([function | 0x80, code])


def ask_of(pdu: bytes) -> Ask:
    """Say what a request is about, as far as it can be read."""
    function = pdu[0]
    if len(pdu) < 5 or function not in (READ_HOLDING, READ_INPUT, WRITE_ONE, WRITE_MANY):
        return Ask(function)
    address, second = struct.unpack_from(">HH", pdu, 1)
    return Ask(function, address, 1 if function == WRITE_ONE else second)


def silence_s(baud: int) -> float:
    """Return t3.5, the silence that ends an RTU frame; fixed at 1.75 ms above 19200 baud."""
    return 0.00175 if baud > 19200 else 35.0 / baud
