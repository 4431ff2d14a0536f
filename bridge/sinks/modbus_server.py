"""The read-only Modbus server for other programs: the plant's registers at the plant's addresses, from memory.

Never passes on a write or an unknown function: they are refused with exception 1 before anybody is asked.
Facts: "MODBUS Application Protocol V1.1b3" sections 4 to 7; at most 124 registers a read, as the plant has it.
"""

from __future__ import annotations

import logging
import struct
from typing import Any, Dict, List, Mapping

from bridge.clock import Clock
from bridge.errors import DeviceException
from bridge.link.modbus_server import ModbusServer
from bridge.sources.register_desk import RegisterDesk

READ_HOLDING, READ_INPUT = 3, 4
ILLEGAL_FUNCTION, ILLEGAL_ADDRESS, ILLEGAL_VALUE = 1, 2, 3
MOST_TOLD = 16  # clients whose writes are logged, once each

log = logging.getLogger("reserver")


class Reserver:
    """Answers Modbus questions from a register desk; ``most`` registers at a time."""

    name = "reserver"

    def __init__(self, listen: str, desk: RegisterDesk, most: int, clock: Clock) -> None:
        self._desk, self._most = desk, most
        self._server = ModbusServer(listen, self.respond, clock, "reserver.listen")
        self._refused = 0
        self._told: List[str] = []

    def start(self) -> None:
        """Bind and serve; raises ConfigError when the address cannot be had."""
        self._server.start()
        log.info("listen=%s state=serving", self.address)

    def close(self) -> None:
        """Stop serving."""
        self._server.close()

    @property
    def address(self) -> str:
        """Where it really serves, as host:port."""
        return "%s:%d" % self._server.address

    def health(self) -> Mapping[str, Any]:
        """Return how the server is, for status and metrics."""
        server = self._server
        report: Dict[str, Any] = {
            "listen": self.address, "clients": server.clients, "accepted": server.accepted,
            "turned_away": server.turned_away, "requests": server.requests, "refused": self._refused,
        }
        report.update(self._desk.health())
        return report

    def respond(self, unit: int, pdu: bytes, client: str) -> bytes:
        """Return the reply PDU to a request PDU."""
        function = pdu[0]
        if function not in (READ_HOLDING, READ_INPUT):
            self._note_refused(function, client)
            return _exception(function, ILLEGAL_FUNCTION)
        if len(pdu) != 5:
            return _exception(function, ILLEGAL_VALUE)
        address, count = struct.unpack_from(">HH", pdu, 1)
        if not 1 <= count <= self._most:
            return _exception(function, ILLEGAL_VALUE)
        if address + count > 0x10000:
            return _exception(function, ILLEGAL_ADDRESS)
        try:
            piece = self._desk.read(unit, "input" if function == READ_INPUT else "holding", address, count)
        except DeviceException as error:
            return _exception(function, error.code)
        return bytes((function, 2 * count)) + piece.data

    def _note_refused(self, function: int, client: str) -> None:
        self._refused += 1
        if client not in self._told and len(self._told) < MOST_TOLD:
            self._told.append(client)
            log.warning(
                "client=%s function=%d state=refused advice=\"this server only reads: switch writing off there\"",
                client, function,
            )


def _exception(function: int, code: int) -> bytes:
    return bytes((function | 0x80, code))
