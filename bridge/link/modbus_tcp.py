"""Modbus TCP on a plain socket: one connection, one request in flight, strict replies.

Never keeps a connection that timed out or answered wrongly: a late reply would be taken for the next
one (seen in the field, sigenergy2mqtt issue 207). Facts: "MODBUS Messaging on TCP/IP V1.0b".
"""

from __future__ import annotations

import socket
import struct
from typing import Callable, Optional

from bridge.errors import LinkError, LinkTimeout
from bridge.link.dial import host_bytes
from bridge.link.modbus import Expect, Stats, check_pdu, expect

HEADER = struct.Struct(">HHHB")
MAX_FRAME = 260
KEEPALIVE_IDLE_S = 30  # a half-open session would hold the gateway's only slot


class TcpWire:
    """A Modbus TCP session that opens itself on first use and after every failure."""

    protocol = "modbus-tcp"

    def __init__(self, host: str, port: int, timeout_s: float, monotonic: Callable[[], float]) -> None:
        self.peer = f"{host}:{port}"
        self.stats = Stats()
        self._address = (host_bytes(host), port)
        self._timeout_s = timeout_s
        self._monotonic = monotonic
        self._socket: Optional[socket.socket] = None
        self._transaction = 0
        self._received = b""  # bytes behind the last reply, at most an answer given twice

    def frame(self, unit: int, pdu: bytes) -> bytes:
        """Prefix the MBAP header with a transaction number that was not used lately."""
        self._transaction = self._transaction % 0xFFFF + 1
        return HEADER.pack(self._transaction, 0, len(pdu) + 1, unit) + pdu

    def payload(self, reply: bytes) -> bytes:
        """Return the PDU behind the MBAP header."""
        return reply[7:]

    def exchange(self, request: bytes) -> bytes:
        """Send one frame and return its reply; raises LinkError or LinkTimeout, then closed."""
        self.stats.requests += 1
        want = expect(request[6], request[7:])
        fresh = self._socket is None
        try:
            if fresh:
                self._connect()
            try:
                return self._once(request, want)
            except _IdleClosed:
                if fresh:
                    raise
                self.close()  # closed by the peer between two cycles: ask again in this one
                self._connect()
                return self._once(request, want)
        except LinkError as error:
            self.close()
            self.stats.errors += 1
            if isinstance(error, LinkTimeout):
                self.stats.timeouts += 1
            raise

    def close(self) -> None:
        """Close the session; with unread bytes pending the kernel resets it, which is wanted."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        self._received = b""

    def _connect(self) -> None:
        try:
            connection = socket.create_connection(self._address, self._timeout_s)
        except socket.timeout as error:
            raise LinkTimeout(
                f"modbus {self.peer}: no connection in {self._timeout_s:g} s;"
                " check the address and that the gateway is powered and on this network"
            ) from error
        except ConnectionRefusedError as error:
            raise LinkError(
                f"modbus {self.peer}: connection refused; check that Modbus TCP is switched on"
                " (mySigen: Settings > System Settings > General; updates switch it off) and the port"
            ) from error
        except socket.gaierror as error:
            raise LinkError(f"modbus {self.peer}: this name has no address; check modbus.host") from error
        except OSError as error:
            raise LinkError(
                f"modbus {self.peer}: cannot connect ({error.strerror or error}); check address and network"
            ) from error
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if hasattr(socket, "TCP_KEEPIDLE"):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE_IDLE_S)
        self._socket = connection
        self.stats.connections += 1

    def _once(self, request: bytes, want: Expect) -> bytes:
        connection = self._socket
        assert connection is not None
        deadline = self._monotonic() + self._timeout_s
        try:
            connection.sendall(request)
        except OSError as error:
            raise _IdleClosed(f"modbus {self.peer}: connection lost while asking ({error.strerror})") from error
        while True:
            reply = self._next_frame(connection, deadline)
            if reply[:2] == request[:2]:
                break  # else it answers an older question and is read over
        if reply[6] != want.unit:
            raise LinkError(f"modbus {self.peer}: asked unit {want.unit}, unit {reply[6]} answered")
        check_pdu(reply[7:], want, f"modbus {self.peer}")
        return reply

    def _next_frame(self, connection: socket.socket, deadline: float) -> bytes:
        while True:
            received = self._received
            if len(received) >= 7:
                length = self._announced(received)
                if len(received) >= length:
                    self._received = received[length:]
                    return received[:length]
            left = deadline - self._monotonic()
            if left <= 0:
                raise self._silent(received)
            connection.settimeout(left)
            try:
                chunk = connection.recv(2 * MAX_FRAME)
            except socket.timeout as error:
                raise self._silent(received) from error
            except OSError as error:
                raise _IdleClosed(f"modbus {self.peer}: connection lost ({error.strerror})") from error
            if not chunk:
                kind = LinkError if received else _IdleClosed
                raise kind(f"modbus {self.peer}: the gateway closed the connection without a full answer")
            self._received = received + chunk

    def _announced(self, received: bytes) -> int:
        protocol, length = struct.unpack_from(">HH", received, 2)
        if protocol != 0 or not 3 <= length <= MAX_FRAME - 6:
            raise LinkError(
                f"modbus {self.peer}: the reply is not Modbus TCP (protocol {protocol}, length {length});"
                " check that host and port are the gateway's"
            )
        return 6 + int(length)

    def _silent(self, received: bytes) -> LinkTimeout:
        if received:
            return LinkTimeout(f"modbus {self.peer}: half an answer ({len(received)} bytes) in {self._timeout_s:g} s")
        return LinkTimeout(
            f"modbus {self.peer}: connected, but no answer in {self._timeout_s:g} s; check the unit number and"
            " that mySigen's Modbus TCP allow-list has this machine's address"
        )


class _IdleClosed(LinkError):
    """The peer had closed the session before it saw the question."""
