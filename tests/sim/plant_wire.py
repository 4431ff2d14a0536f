"""A Modbus client of bare bytes, for tests that look at what is really on the wire."""

from __future__ import annotations

import inspect
import os
import select
import socket
import struct
import termios
import time
import tty

PLANT = 247
READ_GRID = bytes.fromhex("04 7535 0002")


class Wire:
    """One TCP connection to a simulated plant."""

    def __init__(self, port, timeout_s=2.0):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout_s)
        self.transaction = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, pdu, unit=PLANT, transaction=None, protocol=0):
        """Send a request; return its transaction id."""
        self.transaction = self.transaction + 1 if transaction is None else transaction
        self.socket.sendall(struct.pack(">HHHB", self.transaction, protocol, len(pdu) + 1, unit) + pdu)
        return self.transaction

    def receive(self, timeout_s=2.0):
        """Return the bytes of one whole frame, header included; fewer when the line ends before."""
        self.socket.settimeout(timeout_s)
        head = self._exactly(6)
        return head + self._exactly(struct.unpack(">H", head[4:6])[0]) if len(head) == 6 else head

    def ask(self, pdu, unit=PLANT):
        """Send a request and return the reply's PDU."""
        self.send(pdu, unit)
        return self.receive()[7:]

    def silent_for(self, seconds):
        """Say whether nothing at all comes for so long."""
        return not select.select([self.socket], [], [], seconds)[0]

    def _exactly(self, count):
        data = b""
        while len(data) < count:
            more = self.socket.recv(count - len(data))
            if not more:
                break
            data += more
        return data


class SerialWire:
    """The client's end of a simulated RS485 line; ``read`` notes when each piece came."""

    def __init__(self, path, baud=38400):
        self.descriptor = os.open(path, os.O_RDWR | os.O_NOCTTY)
        tty.setraw(self.descriptor)
        attributes = termios.tcgetattr(self.descriptor)
        attributes[4] = attributes[5] = getattr(termios, f"B{baud}")
        termios.tcsetattr(self.descriptor, termios.TCSANOW, attributes)
        self.pieces = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        os.close(self.descriptor)

    def send(self, data):
        """Put bytes on the line; return when, at the earliest."""
        self.pieces = []
        begun = time.monotonic()
        os.write(self.descriptor, data)
        return begun

    def read(self, count=1000, quiet_s=0.15):
        """Return bytes until there are ``count``, or none come for ``quiet_s``."""
        data = b""
        while len(data) < count and select.select([self.descriptor], [], [], quiet_s)[0]:
            piece = os.read(self.descriptor, 4096)
            self.pieces.append((time.monotonic(), len(piece)))
            data += piece
        return data


def read_pdu(address, count, function=4):
    """Return a read request."""
    return struct.pack(">BHH", function, address, count)


def words(pdu):
    """Return the words of a good read reply."""
    assert pdu[0] in (3, 4), pdu.hex()
    assert pdu[1] == len(pdu) - 2
    return list(struct.unpack(f">{(len(pdu) - 2) // 2}H", pdu[2:]))


def s32(pdu):
    """Return the signed 32-bit number of a two-register reply."""
    high, low = words(pdu)
    number = (high << 16) | low
    return number - (1 << 32) if high & 0x8000 else number


def crc(data):
    """Return the RTU checksum, low byte first, worked out bit by bit."""
    value = 0xFFFF
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = (value >> 1) ^ (0xA001 if value & 1 else 0)
    return struct.pack("<H", value)


def rtu(unit, pdu):
    """Return an RTU frame."""
    body = bytes([unit]) + pdu
    return body + crc(body)


def at_unit(client, unit):
    """Return the keyword that names a unit to this version of pymodbus: ``slave`` up to 3.9, then ``device_id``."""
    names = inspect.signature(client.read_input_registers).parameters
    return {"device_id" if "device_id" in names else "slave": unit}


def write_one(address, word):
    """Return a request with function 6."""
    return struct.pack(">BHH", 6, address, word & 0xFFFF)


def write_two(address, number):
    """Return a request with function 16 that writes a 32-bit number."""
    return struct.pack(">BHHBI", 16, address, 2, 4, number & 0xFFFFFFFF)
