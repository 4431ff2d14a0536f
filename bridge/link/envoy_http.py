"""HTTP/1.1 to an Envoy over a shared pool of connections; bodies come out as they come in.

Never follows a redirect, never changes a byte of a body, and sends nothing twice: only a GET or HEAD that met
a connection which had died in the pool goes out again. Not on http.client: its header parser is most
of a request's cost, and it cannot hand on an endless answer piece by piece.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from typing import List, Optional, Tuple

from bridge.clock import Clock
from bridge.errors import LinkError, LinkTimeout
from bridge.link.envoy_answer import MOST_HEAD, EnvoyAnswer, Fields, Line
from bridge.link.envoy_tls import EnvoyDoor

ANSWER_TIMEOUT_S = 45.0  # an Envoy under load takes half a minute for production.json
QUIET_TIMEOUT_S = 90.0  # between two pieces of a body; /stream/meter brings one a second
IDLE_S = 20.0  # a connection that rested longer is not trusted; an Envoy closes after some 30 s
POOL, MOST_AT_ONCE = 4, 8  # connections kept, and open at the same time: an Envoy has little memory
IDEMPOTENT = ("GET", "HEAD")

class _Stale(Exception):
    """A kept connection turned out to be dead before it said anything."""


class EnvoyHttp:
    """One Envoy's HTTP server, for many threads."""

    def __init__(
        self, door: EnvoyDoor, clock: Clock, answer_s: float = ANSWER_TIMEOUT_S, quiet_s: float = QUIET_TIMEOUT_S,
    ) -> None:
        self.peer, self.address = door.peer, door.address
        self._door, self._clock = door, clock
        self._answer_s, self._quiet_s = answer_s, quiet_s
        self._idle: List[Line] = []
        self._turn = threading.Lock()
        self._room = threading.BoundedSemaphore(MOST_AT_ONCE)
        self._host = f"Host: {door.address.authority}\r\n".encode("latin-1")
        self.dialled = 0

    def ask(self, method: str, target: str, fields: bytes = b"", body: bytes = b"", token: str = "") -> EnvoyAnswer:
        """Send one request and return the answer with its body still to come; it must be read or dropped.

        ``fields`` are further header lines. Raises LinkError, LinkTimeout and what the certificate's judge raises.
        """
        head = b"%s %s HTTP/1.1\r\n" % (method.encode("latin-1"), (self.address.prefix + target).encode("latin-1"))
        head += self._host + fields
        if token:
            head += b"Authorization: Bearer %s\r\n" % token.encode("latin-1")
        if body or method in ("POST", "PUT"):
            head += b"Content-Length: %d\r\n" % len(body)
        request = head + b"\r\n" + body
        if not self._room.acquire(timeout=self._answer_s):
            raise LinkTimeout(f"{self.peer}: {MOST_AT_ONCE} requests are waiting for it already; it is slow today")
        with contextlib.ExitStack() as unfinished:
            unfinished.callback(self._room.release)
            answer = self._answer(request, method)
            unfinished.pop_all()  # the answer gives its place back when it is over
        return answer

    def _answer(self, request: bytes, method: str) -> EnvoyAnswer:
        line = self._kept() if method in IDEMPOTENT else None
        if line is not None:
            try:
                return self._exchange(line, request, method, kept=True)
            except _Stale:
                pass
        self.dialled += 1
        return self._exchange(Line(self._door.open(), self.peer), request, method, kept=False)

    def close(self) -> None:
        """Drop the connections that rest."""
        with self._turn:
            idle, self._idle = self._idle, []
        for line in idle:
            line.tcp.close()

    def _kept(self) -> Optional[Line]:
        now = self._clock.monotonic()
        while True:
            with self._turn:
                if not self._idle:
                    return None
                line = self._idle.pop()
            if now - line.used_at <= IDLE_S and _alive(line.tcp):
                return line
            line.tcp.close()

    def _give_back(self, line: Line, keep: bool) -> None:
        self._room.release()
        line.used_at = self._clock.monotonic()
        if keep and not line.buffer:
            with self._turn:
                if len(self._idle) < POOL:
                    self._idle.append(line)
                    return
        line.tcp.close()

    def _exchange(self, line: Line, request: bytes, method: str, kept: bool) -> EnvoyAnswer:
        with contextlib.ExitStack() as unfinished:
            unfinished.callback(line.tcp.close)
            line.tcp.settimeout(self._answer_s)
            try:
                line.tcp.sendall(request)
            except socket.timeout as error:
                raise LinkTimeout(f"{self.peer}: takes no more data; is it overloaded?") from error
            except OSError as error:
                if kept:
                    raise _Stale from error
                raise LinkError(f"{self.peer}: the connection broke ({error.strerror or 'closed'})") from error
            status, fields = self._head(line, kept)
            line.tcp.settimeout(self._quiet_s)
            unfinished.pop_all()
        return EnvoyAnswer(line, status, fields, method == "HEAD" or status in (204, 304), self._give_back)

    def _head(self, line: Line, kept: bool) -> Tuple[int, Fields]:
        until = self._clock.monotonic() + self._answer_s
        while True:
            while True:
                end = line.buffer.find(b"\r\n\r\n")
                if end >= 0:
                    break
                if len(line.buffer) > MOST_HEAD:
                    raise LinkError(f"{self.peer}: what answers there is no HTTP; check enphase.local_url")
                try:
                    more = line.receive()
                except LinkTimeout:
                    raise
                except LinkError as error:
                    if kept and not line.buffer:
                        raise _Stale from error
                    raise
                if not more:
                    if kept and not line.buffer:
                        raise _Stale
                    raise LinkError(f"{self.peer}: hung up without an answer; is it restarting?")
                if self._clock.monotonic() > until:
                    raise line.late()
                line.buffer += more
            first, *lines = line.buffer[:end].split(b"\r\n")
            line.buffer = line.buffer[end + 4:]
            words = first.split(None, 2)
            if len(words) < 2 or not words[0].startswith(b"HTTP/1.") or not words[1].isdigit():
                raise LinkError(f"{self.peer}: what answers there is no HTTP; check enphase.local_url")
            status = int(words[1])
            if status >= 200:
                break
        fields = []
        for text in lines:
            name, _, content = text.partition(b":")
            fields.append((name, content.strip()))
        return status, fields


def _alive(tcp: socket.socket) -> bool:
    """Say whether a resting connection is still open and silent, as it should be."""
    tcp.setblocking(False)
    try:
        tcp.recv(1)  # an end, or bytes nobody asked for
    except (BlockingIOError, ssl.SSLWantReadError):
        return True
    except OSError:
        return False
    return False
