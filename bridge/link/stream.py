"""A connected TCP socket, read through one large buffer up to a deadline, written at once.

Never waits without a time-out and never hands out part of what was asked for.
"""

from __future__ import annotations

import select
import socket
from typing import Any, Callable

from bridge.errors import LinkError, LinkTimeout

CHUNK = 65_536
MAX_TAKE = 262_144  # the longest real message, ten components with icons, is some 10 KB


class Closed(LinkError):
    """The peer closed the connection in good order; ``rest`` is what it had sent that nobody took."""

    def __init__(self, message: str, rest: bytes) -> None:
        super().__init__(message)
        self.rest = rest


class Stream:
    """A socket of our own; ``heard`` is the monotonic moment of the last byte.

    One read or write waits ``timeout_s`` at most; ``deadline`` (monotonic) ends a run of reads that
    always brings a little.
    """

    def __init__(
        self, tcp: socket.socket, peer: str, timeout_s: float, monotonic: Callable[[], float],
    ) -> None:
        self.heard = monotonic()
        self.deadline = self.heard + timeout_s
        self._tcp = tcp
        self._peer = peer
        self._monotonic = monotonic
        self._buffer = b""
        self._at = 0
        self._readable: Any = None
        tcp.settimeout(timeout_s)

    def take(self, count: int) -> bytes:
        """Return exactly ``count`` bytes; raises LinkError, LinkTimeout, Closed."""
        at = self._at
        self._at = end = at + count
        taken = self._buffer[at:end]
        if len(taken) == count:
            return taken
        self._at = at
        while len(self._buffer) - self._at < count:
            if count > MAX_TAKE:
                raise self._too_long()
            self._buffer = self._buffer[self._at:] + self._read()
            self._at = 0
        self._at = count
        return self._buffer[:count]

    def until(self, mark: bytes) -> bytes:
        """Return everything up to and with the next ``mark``; raises LinkError, LinkTimeout, Closed."""
        while True:
            end = self._buffer.find(mark, self._at)
            if end >= 0:
                return self.take(end + len(mark) - self._at)
            if len(self._buffer) - self._at > MAX_TAKE:
                raise self._too_long()
            self._buffer = self._buffer[self._at:] + self._read()
            self._at = 0

    def to_end(self) -> bytes:
        """Return everything until the peer closes; raises LinkError, LinkTimeout."""
        try:
            while True:
                self.take(len(self._buffer) - self._at + 1)
                self._at = 0
        except Closed as closed:
            return closed.rest

    def ready(self) -> bool:
        """Say whether there are bytes to take without waiting."""
        if self._readable is None:
            self._readable = select.poll()
            self._readable.register(self._tcp, select.POLLIN)
        return self._at < len(self._buffer) or bool(self._readable.poll(0))

    def write(self, content: bytes) -> None:
        """Send all of it; raises LinkError, LinkTimeout."""
        try:
            self._tcp.sendall(content)
        except socket.timeout as error:
            raise LinkTimeout(f"{self._peer}: takes no more data") from error
        except OSError as error:
            raise LinkError(f"{self._peer}: connection lost ({error.strerror})") from error

    def close(self) -> None:
        """Close the socket."""
        self._tcp.close()

    def _read(self) -> bytes:
        try:
            chunk = self._tcp.recv(CHUNK)
        except socket.timeout as error:
            raise self._late() from error
        except OSError as error:
            raise LinkError(f"{self._peer}: connection lost ({error.strerror})") from error
        if not chunk:
            raise Closed(f"{self._peer}: closed the connection", self._buffer[self._at:])
        self.heard = self._monotonic()
        if self.heard > self.deadline:
            raise self._late()
        return chunk

    def _late(self) -> LinkTimeout:
        return LinkTimeout(f"{self._peer}: connected, but no answer in time; is it overloaded?")

    def _too_long(self) -> LinkError:
        return LinkError(f"{self._peer}: announces more than {MAX_TAKE} bytes; is it the right device?")
