"""A connected TCP socket, read through one large buffer up to a deadline, written at once.

Never waits without a deadline and never hands out part of what was asked for: what has come so far
stays in the buffer for the next try.
"""

from __future__ import annotations

import select
import socket
from typing import Callable, Optional

from bridge.errors import LinkError, LinkTimeout

CHUNK = 65_536
MAX_TAKE = 262_144  # the longest real message, ten components with icons, is some 10 KB


class NothingYet(Exception):
    """The bytes are not here yet and nobody wants to wait."""


class Stream:
    """A socket of our own; ``deadline`` (monotonic) bounds every read, None means do not wait.

    ``heard`` is the monotonic moment of the last byte.
    """

    def __init__(self, tcp: socket.socket, peer: str, monotonic: Callable[[], float]) -> None:
        self.deadline: Optional[float] = None
        self.heard = monotonic()
        self._tcp = tcp
        self._peer = peer
        self._monotonic = monotonic
        self._buffer = b""
        self._at = 0
        tcp.setblocking(False)
        self._readable = select.poll()
        self._readable.register(tcp, select.POLLIN)

    def take(self, count: int) -> bytes:
        """Return exactly ``count`` bytes; raises LinkError, LinkTimeout, NothingYet."""
        at = self._at
        end = at + count
        while end > len(self._buffer):
            if count > MAX_TAKE:
                raise LinkError(f"{self._peer}: announces {count} bytes; is it the right device?")
            chunk = self._read()
            self._buffer = self._buffer[at:] + chunk
            at, end = 0, count
            self._at = 0
        self._at = end
        return self._buffer[at:end]

    def ready(self) -> bool:
        """Say whether there are bytes to take without waiting."""
        return self._at < len(self._buffer) or bool(self._readable.poll(0))

    def write(self, content: bytes, timeout_s: float) -> None:
        """Send all of it; raises LinkError, LinkTimeout."""
        tcp = self._tcp
        try:
            sent = tcp.send(content)
            if sent < len(content):  # rare: the send buffer is full because nobody reads
                tcp.settimeout(timeout_s)
                tcp.sendall(content[sent:])
                tcp.setblocking(False)
        except (BlockingIOError, socket.timeout) as error:
            raise LinkTimeout(f"{self._peer}: takes no more data") from error
        except OSError as error:
            raise LinkError(f"{self._peer}: connection lost ({error.strerror})") from error

    def close(self) -> None:
        """Close the socket."""
        self._tcp.close()

    def _read(self) -> bytes:
        now = self._monotonic()
        left_s = 0.0 if self.deadline is None else self.deadline - now
        if left_s < 0 or not self._readable.poll(left_s * 1000):
            if self.deadline is None:
                raise NothingYet
            raise LinkTimeout(f"{self._peer}: connected, but no answer in time; is it overloaded?")
        try:
            chunk = self._tcp.recv(CHUNK)
        except OSError as error:
            raise LinkError(f"{self._peer}: connection lost ({error.strerror})") from error
        if not chunk:
            raise LinkError(f"{self._peer}: closed the connection")
        self.heard = now  # early by the wait, which is short
        return chunk
