"""One answer of an Envoy: its head as it came, and its body piece by piece.

Never changes a byte and never waits longer than its connection's time-out for the next piece.
"""

from __future__ import annotations

import socket
from typing import Callable, Iterator, List, Optional, Tuple

from bridge.errors import LinkError, LinkTimeout, PeerError

CHUNK = 65_536
MOST_HEAD = 32_768
MOST_BODY = 8 * 1024 * 1024  # for those who want a body as a whole

Fields = List[Tuple[bytes, bytes]]


class Line:
    """One connection and what was read from it too early."""

    __slots__ = ("tcp", "peer", "buffer", "used_at")

    def __init__(self, tcp: socket.socket, peer: str) -> None:
        self.tcp, self.peer, self.buffer, self.used_at = tcp, peer, b"", 0.0

    def receive(self) -> bytes:
        """Return what comes next, b"" at the end; raises LinkError, LinkTimeout."""
        try:
            return self.tcp.recv(CHUNK)
        except socket.timeout as error:
            raise self.late() from error
        except OSError as error:
            raise LinkError(f"{self.peer}: the connection broke ({error.strerror or 'closed'})") from error

    def some(self) -> bytes:
        """Return at least one byte; raises LinkError, LinkTimeout."""
        piece = self.buffer or self.receive()
        self.buffer = b""
        if not piece:
            raise LinkError(f"{self.peer}: hung up in the middle of an answer")
        return piece

    def until(self, mark: bytes, most: int) -> bytes:
        """Return everything up to the next ``mark``, without it; raises LinkError, LinkTimeout."""
        while True:
            text, found, rest = self.buffer.partition(mark)
            if found:
                self.buffer = rest
                return text
            if len(self.buffer) > most:
                raise LinkError(f"{self.peer}: a broken chunked answer; is it an Envoy?")
            more = self.receive()
            if not more:
                raise LinkError(f"{self.peer}: hung up in the middle of an answer")
            self.buffer += more

    def late(self) -> LinkTimeout:
        """Return the error for an answer that does not come."""
        return LinkTimeout(f"{self.peer}: connected, but no answer in time; an Envoy under load is slow")


class EnvoyAnswer:
    """One answer: ``status``, ``fields`` as they came, and the body, which must be read or dropped."""

    def __init__(
        self, line: Line, status: int, fields: Fields, bodyless: bool,
        give_back: Callable[[Line, bool], None],
    ) -> None:
        self.status, self.fields = status, fields
        self._line: Optional[Line] = line
        self._peer, self._give_back = line.peer, give_back
        names = {name.lower(): text for name, text in fields}
        self.media = names.get(b"content-type", b"").decode("latin-1").partition(";")[0].strip().lower()
        self.chunked = b"chunked" in names.get(b"transfer-encoding", b"").lower()
        length = names.get(b"content-length", b"")
        self.length: Optional[int] = int(length) if length.isdigit() and not self.chunked else None
        if bodyless:
            self.chunked, self.length = False, 0
        self.endless = self.length is None  # nobody knows beforehand where it ends
        self._keep = names.get(b"connection", b"").lower() != b"close" and (self.chunked or self.length is not None)
        self._over = False

    def pieces(self) -> Iterator[bytes]:
        """Yield the body as it comes; raises LinkError, LinkTimeout when it breaks off."""
        line = self._line
        if line is None:
            return
        try:
            if self.chunked:
                yield from _chunks(line)
            elif self.length is None:
                yield from _rest(line)
            else:
                yield from _counted(line, self.length)
            self._over = True
        finally:
            self.drop()

    def body(self, most: int = MOST_BODY) -> bytes:
        """Return the whole body; raises LinkError, and PeerError when it is larger than ``most``."""
        content = bytearray()
        for piece in self.pieces():
            content += piece
            if len(content) > most:
                raise PeerError(f"{self._peer}: an answer of more than {most} bytes; check enphase.local_url")
        return bytes(content)

    def drop(self) -> None:
        """Let go of the connection; it is kept only when the body was read to its end."""
        line, self._line = self._line, None
        if line is not None:
            self._give_back(line, self._keep and self._over)


def _counted(line: Line, left: int) -> Iterator[bytes]:
    while left:
        piece = line.some()
        if len(piece) > left:
            piece, line.buffer = piece[:left], piece[left:]
        left -= len(piece)
        yield piece


def _rest(line: Line) -> Iterator[bytes]:
    while True:
        piece = line.buffer or line.receive()
        line.buffer = b""
        if not piece:
            return
        yield piece


def _chunks(line: Line) -> Iterator[bytes]:
    while True:
        size_text = line.until(b"\r\n", MOST_HEAD).partition(b";")[0].strip()
        try:
            size = int(size_text, 16)
        except ValueError:
            raise LinkError(f"{line.peer}: a broken chunked answer; is it an Envoy?") from None
        if size == 0:
            while line.until(b"\r\n", MOST_HEAD):
                continue  # trailers
            return
        yield from _counted(line, size)
        line.until(b"\r\n", MOST_HEAD)
