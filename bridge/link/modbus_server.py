"""A Modbus TCP server of plain sockets: takes frames in and hands PDUs to a function that answers.

Never trusts a frame: what is no Modbus TCP ends the connection. Slow or many clients disturb nobody: each has a
thread, time-outs and one of a fixed number of places. Facts: "MODBUS Messaging on TCP/IP V1.0b".

Our own and not pymodbus' (python -m tests.bench.reserver): with ten clients 12 MiB against 38, 32 thousand
instructions a request against 277; its data store is announced to go in version 4, and routers' feeds have no pymodbus.
"""

from __future__ import annotations

import contextlib
import errno
import socket
import struct
import threading
from typing import Callable, Dict, Optional, Tuple

from bridge.clock import Clock
from bridge.errors import ConfigError

MOST_LENGTH = 254  # what a length field may say: unit and PDU of at most 253 bytes
PLACES = 16  # connections at once; a house has a handful of programs
IDLE_S = 300.0  # between two questions; evcc and Home Assistant ask every few seconds to a minute
FRAME_S = 5.0  # for the rest of a frame once it has begun, and for the answer to be taken
QUIET_S = 30.0  # a connection that has been quiet for longer gives its place to a new one
RECEIVE = 2048
CROWDED_S = 0.2  # the machine has no descriptor or thread to spare: let the others end first

Respond = Callable[[int, bytes, str], bytes]  # unit, PDU, client's host -> PDU


class _Client:
    """One connection."""

    __slots__ = ("socket", "host", "heard")

    def __init__(self, connection: socket.socket, host: str, now: float) -> None:
        self.socket, self.host, self.heard = connection, host, now

    def end(self) -> None:
        """Wake its thread, which then closes it."""
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)


class ModbusServer:
    """Serves ``respond`` on ``listen`` ("host:port") until closed; ``setting`` is named in errors."""

    def __init__(self, listen: str, respond: Respond, clock: Clock, setting: str) -> None:
        host, _, port = listen.rpartition(":")
        self._host, self._port = host.strip("[]"), int(port)
        self._respond, self._clock, self._setting = respond, clock, setting
        self._lock = threading.Lock()
        self._clients: Dict[int, _Client] = {}
        self._listener: Optional[socket.socket] = None
        self.accepted = self.turned_away = self.requests = 0

    @property
    def address(self) -> Tuple[str, int]:
        """The host and port that are really bound; valid after ``start``."""
        return self._host, self._port

    @property
    def clients(self) -> int:
        """How many are connected."""
        return len(self._clients)

    def start(self) -> None:
        """Bind and serve in the background; raises ConfigError when the address cannot be had."""
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        both = self._host == "::" and socket.has_dualstack_ipv6()
        try:
            listener = socket.create_server(
                (self._host, self._port), family=family, backlog=PLACES, dualstack_ipv6=both)
        except OSError as error:
            raise ConfigError(
                f"{self._setting}: cannot serve on {self._host}:{self._port} ({error.strerror or error});"
                f" ports below 1024 need root, a taken one another number; or set {self._setting} = off"
            ) from error
        self._port = listener.getsockname()[1]
        self._listener = listener
        threading.Thread(target=self._accept_all, args=(listener,), name="modbus-server", daemon=True).start()

    def close(self) -> None:
        """Stop accepting and end every connection."""
        with self._lock:
            listener, self._listener = self._listener, None
            leaving = list(self._clients.values())
        if listener is None:
            return
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)  # wakes the accept
        listener.close()
        for client in leaving:
            client.end()

    def _accept_all(self, listener: socket.socket) -> None:
        while self._listener is listener:
            try:
                connection, peer = listener.accept()
            except OSError as error:  # closed, or the client was gone before it was taken in
                if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS):
                    self._clock.wait(CROWDED_S)
                continue
            self._accept(connection, str(peer[0]))

    def _accept(self, connection: socket.socket, host: str) -> None:
        now = self._clock.monotonic()
        with self._lock:
            if self._listener is None or not self._has_place(now):
                self.turned_away += 1
                connection.close()
                return
            client = self._clients[id(connection)] = _Client(connection, host, now)
            self.accepted += 1
        try:
            threading.Thread(target=self._serve, args=(client,), name="modbus-client", daemon=True).start()
        except RuntimeError:  # the machine has no thread to spare
            with self._lock:
                self._clients.pop(id(connection), None)
            connection.close()

    def _has_place(self, now: float) -> bool:
        """Say whether one more can be served; whoever was quiet for long gives its place away."""
        if len(self._clients) < PLACES:
            return True
        key, quietest = min(self._clients.items(), key=lambda item: item[1].heard)
        if now - quietest.heard < QUIET_S:
            return False
        del self._clients[key]
        quietest.end()
        return True

    def _serve(self, client: _Client) -> None:
        connection = client.socket
        try:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            self._converse(client)
        except OSError:
            pass  # the client is gone, or too slow: either way this connection is over
        finally:
            with self._lock:
                self._clients.pop(id(connection), None)
            connection.close()

    def _converse(self, client: _Client) -> None:
        """Answer one question after the other, in their order; returns when there is no further one."""
        connection, received = client.socket, b""
        while True:
            received = self._one_frame(connection, received)
            if not received:
                return
            end = 6 + _length(received)
            frame, received = received[:end], received[end:]
            client.heard = self._clock.monotonic()
            self.requests += 1
            pdu = self._respond(frame[6], frame[7:], client.host)
            connection.settimeout(FRAME_S)
            connection.sendall(frame[:2] + struct.pack(">HHB", 0, len(pdu) + 1, frame[6]) + pdu)

    def _one_frame(self, connection: socket.socket, received: bytes) -> bytes:
        """Return what was received once it begins with a complete frame; b"" when none will come."""
        deadline = self._clock.monotonic() + FRAME_S if received else None
        while len(received) < 6 or len(received) < 6 + _length(received):
            left = IDLE_S if deadline is None else deadline - self._clock.monotonic()
            if left <= 0:
                return b""
            connection.settimeout(left)
            chunk = connection.recv(RECEIVE)
            if not chunk:
                return b""
            deadline = deadline or self._clock.monotonic() + FRAME_S
            received += chunk
            if len(received) >= 6 and not _is_modbus(received):
                return b""
        return received if _is_modbus(received) else b""


def _length(received: bytes) -> int:
    return int.from_bytes(received[4:6], "big")


def _is_modbus(received: bytes) -> bool:
    return received[2:4] == b"\0\0" and 2 <= _length(received) <= MOST_LENGTH
