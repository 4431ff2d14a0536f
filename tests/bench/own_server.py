"""The same block served by bridge.link.modbus_server; runs until killed."""

import sys

from bridge.clock import Clock
from bridge.link.modbus_server import ModbusServer


def respond(unit, pdu, client):
    """Answer a read, refuse the rest."""
    if pdu[0] not in (3, 4):
        return bytes((pdu[0] | 0x80, 1))
    count = int.from_bytes(pdu[3:5], "big")
    return bytes((pdu[0], 2 * count)) + b"\0\x15" * count


if __name__ == "__main__":
    clock = Clock()
    ModbusServer(f"127.0.0.1:{sys.argv[1]}", respond, clock, "port").start()
    while not clock.wait(60):
        pass
