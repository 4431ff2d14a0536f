"""HTTP to one device on the local network: one request at a time, each on a connection of its own.

Never follows a redirect, never uses a proxy, and raises nothing but this program's errors. A Shelly
closes after every answer, so nothing is kept. Not on http.client: that reads four header lines with
an e-mail parser, which is 40 % of a whole cycle, costs 5 MiB, sends head and body as two packets,
and cannot put a deadline on an answer that drips (measured). Facts: RFC 9112; shelly.md 1.1 and 1.5.
"""

from __future__ import annotations

import socket
from typing import Dict, NamedTuple, Optional, Protocol, Tuple

from bridge.clock import Clock
from bridge.errors import LinkError, RateLimited
from bridge.link.dial import CONNECT_TIMEOUT_S, connect
from bridge.link.stream import MAX_TAKE, Closed, Stream

ANSWER_TIMEOUT_S = 1.8  # a fault that has ended must be over for us within 2 s
HEAD_END = b"\r\n\r\n"
NO_BODY = (204, 304)


class HttpAnswer(NamedTuple):
    """Status, media type in lower case without parameters, and body of one answer."""

    status: int
    media: str
    body: bytes

    def excerpt(self) -> str:
        """Return the beginning of the body on one line, for error texts."""
        return " ".join(self.body[:200].decode("utf-8", "replace").split())[:120]


class Signer(Protocol):
    """What signs requests; ``bridge.link.digest.Digest`` is the one there is."""

    @property
    def ready(self) -> bool: ...

    @property
    def has_password(self) -> bool: ...

    def check(self) -> None: ...

    def header(self, method: str, target: str) -> str: ...

    def let_in(self) -> None: ...

    def refused(self, header: str, signed: bool) -> None: ...

    def crowded(self, message: str) -> RateLimited: ...


class LanHttp:
    """One device's HTTP server."""

    def __init__(
        self, name: str, host: str, port: int, clock: Clock, signer: Optional[Signer] = None,
        timeout_s: float = ANSWER_TIMEOUT_S,
    ) -> None:
        self.peer = f"{name} {host}:{port}"
        self._name, self._host, self._port = name, host, port
        shown = f"[{host}]" if ":" in host else host
        self._common = f"Host: {shown if port == 80 else f'{shown}:{port}'}\r\nConnection: close\r\n"
        self._clock = clock
        self._signer = signer
        self._timeout_s = timeout_s

    def request(
        self, method: str, target: str, body: Optional[bytes] = None, timeout_s: Optional[float] = None,
    ) -> HttpAnswer:
        """Return the device's answer, whatever its status; a 401 is answered once if we can sign.

        Raises LinkError, LinkTimeout; with a signer also AuthError and RateLimited.
        """
        signer = self._signer
        if signer is None:
            return self._exchange(method, target, body, "", timeout_s)[0]
        signer.check()
        while True:
            signed = signer.ready
            authorization = f"Authorization: {signer.header(method, target)}\r\n" if signed else ""
            answer, challenge = self._exchange(method, target, body, authorization, timeout_s)
            if answer.status == 401:
                signer.refused(challenge, signed)  # raises when signing again would not help
                continue
            if answer.status == 429 and signer.has_password:
                raise signer.crowded(answer.excerpt())
            if signed:
                signer.let_in()
            return answer

    def close(self) -> None:
        """Do nothing: every request closes its own connection."""

    def _exchange(
        self, method: str, target: str, body: Optional[bytes], authorization: str, timeout_s: Optional[float],
    ) -> Tuple[HttpAnswer, str]:
        """Return one answer and, of a 401, its challenge."""
        head = f"{method} {target} HTTP/1.1\r\n{self._common}{authorization}"
        if body is not None:
            head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        tcp = connect(self._name, self._host, self._port, CONNECT_TIMEOUT_S)
        try:
            tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            stream = Stream(tcp, self.peer, timeout_s or self._timeout_s, self._clock.monotonic)
            stream.write(f"{head}\r\n".encode("latin-1") + (body or b""))
            status, fields = self._head(stream)
            content = self._body(stream, status, fields)
        except Closed as closed:
            raise self._incomplete(closed.rest) from closed
        finally:
            tcp.close()
        media = fields.get("content-type", "").partition(";")[0].strip().lower()
        return HttpAnswer(status, media, content), fields.get("www-authenticate", "")

    def _head(self, stream: Stream) -> Tuple[int, Dict[str, str]]:
        """Read status and header fields, names in lower case; 1xx heads are read over."""
        while True:
            first, *lines = stream.until(HEAD_END).decode("latin-1").rstrip().split("\r\n")
            words = first.split(" ", 2)
            if not words[0].startswith("HTTP/1.") or len(words) < 2 or not words[1].isdigit():
                raise self._not_http()
            if int(words[1]) >= 200:
                break
        fields = {}
        for line in lines:
            name, _, text = line.partition(":")
            fields[name.strip().lower()] = text.strip()
        return int(words[1]), fields

    def _body(self, stream: Stream, status: int, fields: Dict[str, str]) -> bytes:
        if status in NO_BODY:
            return b""
        if "chunked" in fields.get("transfer-encoding", "").lower():
            return self._chunks(stream)
        length = fields.get("content-length")
        if length is None:
            return stream.to_end()
        if not length.isdigit():
            raise self._not_http()
        return stream.take(int(length))

    def _chunks(self, stream: Stream) -> bytes:
        content = b""
        while True:
            try:
                size = int(stream.until(b"\r\n").partition(b";")[0], 16)
            except ValueError:
                raise self._not_http() from None
            if size <= 0:
                return content
            content += stream.take(size)
            stream.until(b"\r\n")
            if len(content) > MAX_TAKE:
                raise LinkError(f"{self.peer}: more than {MAX_TAKE} bytes; is it the right device?")

    def _incomplete(self, rest: bytes) -> LinkError:
        what = "in the middle of an answer" if rest else "without an answer"
        return LinkError(f"{self.peer}: closed the connection {what}")

    def _not_http(self) -> LinkError:
        return LinkError(f"{self.peer}: sent something that is not HTTP; is the address the device's?")
