"""One request of a client of the proxy, and the way back to it.

Never buffers a body: each piece leaves when it is handed in.
"""

from __future__ import annotations

import socket
from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple

REASONS = {
    200: b"OK", 201: b"Created", 204: b"No Content", 206: b"Partial Content", 301: b"Moved Permanently",
    302: b"Found", 304: b"Not Modified", 400: b"Bad Request", 401: b"Unauthorized", 403: b"Forbidden",
    404: b"Not Found", 405: b"Method Not Allowed", 411: b"Length Required", 413: b"Content Too Large",
    431: b"Request Header Fields Too Large", 500: b"Internal Server Error", 502: b"Bad Gateway",
    503: b"Service Unavailable", 504: b"Gateway Timeout",
}


class ClientGone(Exception):
    """The client hung up or takes no more data; nothing is left to do for it."""


class ProxyRequest(NamedTuple):
    """One request; ``target`` as it was sent, ``fields`` in order, ``head`` by name in lower case."""

    method: str
    target: str
    fields: List[Tuple[str, str]]
    head: Dict[str, str]
    body: bytes
    http11: bool
    client: str

    @property
    def path(self) -> str:
        """The target without its query."""
        return self.target.partition("?")[0]


class ProxyReply:
    """The way back to one client; ``status`` and ``sent`` are for the log."""

    def __init__(self, tcp: socket.socket, http11: bool, keep: bool, head_only: bool) -> None:
        self._tcp, self._http11, self._head_only = tcp, http11, head_only
        self.keep = keep
        self.status, self.sent = 0, 0
        self._chunked = False
        self._left: Optional[int] = None
        self._waiting = b""

    @property
    def started(self) -> bool:
        """True once a status was sent, or is about to be."""
        return self.status != 0

    def start(
        self, status: int, fields: Sequence[Tuple[bytes, bytes]], length: Optional[int], bodyless: bool = False,
    ) -> None:
        """Begin an answer of ``length`` bytes, or None when nobody knows; the head leaves at once in that case."""
        self.status = status
        lines = [b"HTTP/1.1 %d %s" % (status, REASONS.get(status, b"-"))]
        lines += [b"%s: %s" % field for field in fields]
        if length is not None:
            if status not in (204, 304) or length:
                lines.append(b"Content-Length: %d" % length)
        elif not bodyless:
            self._chunked = self._http11
            self.keep = self.keep and self._http11
            if self._chunked:
                lines.append(b"Transfer-Encoding: chunked")
        self._left = length if not bodyless else 0
        lines.append(b"Connection: keep-alive" if self.keep else b"Connection: close")
        self._waiting = b"\r\n".join(lines) + b"\r\n\r\n"
        if length is None:
            self._send(b"")

    def piece(self, content: bytes) -> None:
        """Send a part of the body now; raises ClientGone."""
        self.sent += len(content)
        if self._chunked:
            self._send(b"%x\r\n%s\r\n" % (len(content), content))
        else:
            if self._left is not None:
                self._left -= len(content)
            self._send(content)

    def end(self) -> None:
        """Finish the answer."""
        self._send(b"0\r\n\r\n" if self._chunked else b"")
        if self._left:
            self.keep = False

    def whole(
        self, status: int, text: str, media: str = "text/plain; charset=utf-8",
        more: Sequence[Tuple[bytes, bytes]] = (),
    ) -> None:
        """Send a short answer of our own."""
        body = text.encode() + b"\n"
        fields = [(b"Content-Type", media.encode()), (b"Cache-Control", b"no-store"),
                  (b"X-Content-Type-Options", b"nosniff"), *more]
        self.start(status, fields, len(body), self._head_only)
        if not self._head_only:
            self.piece(body)
        self.end()

    def _send(self, content: bytes) -> None:
        content, self._waiting = self._waiting + content, b""
        if not content:
            return
        try:
            self._tcp.sendall(content)
        except OSError as error:
            raise ClientGone from error
