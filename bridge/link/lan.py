"""HTTP to one device on the local network, one request at a time, on http.client.

Never runs two requests at once (a Shelly serves six channels for everybody), never follows a redirect,
never uses a proxy, and raises nothing but this program's errors. Facts: shelly.md 1.1 and 1.5.
"""

from __future__ import annotations

import http.client
import socket
from typing import Dict, NamedTuple, Optional, Protocol, Tuple

from bridge.clock import Clock
from bridge.errors import LinkError, LinkTimeout, RateLimited
from bridge.link.dial import CONNECT_TIMEOUT_S, connect_error

ANSWER_TIMEOUT_S = 1.8  # a fault that has ended must be over for us within 2 s
MAX_BODY = 262_144  # the longest real answer, ten components with icons, is some 10 KB
JSON_TYPE = {"Content-Type": "application/json"}


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
    """One device's HTTP server; keeps the connection when the device does, which a Shelly never does."""

    def __init__(
        self, name: str, host: str, port: int, clock: Clock, signer: Optional[Signer] = None,
        timeout_s: float = ANSWER_TIMEOUT_S,
    ) -> None:
        self.peer = f"{name} {host}:{port}"
        self.requests = 0
        self._clock = clock
        self._signer = signer
        self._timeout_s = timeout_s
        self._http = http.client.HTTPConnection(host, port, timeout=CONNECT_TIMEOUT_S)

    def request(
        self, method: str, target: str, body: Optional[bytes] = None, timeout_s: Optional[float] = None,
    ) -> HttpAnswer:
        """Return the device's answer, whatever its status; a 401 is answered once if we can sign.

        Raises LinkError, LinkTimeout; with a signer also AuthError and RateLimited.
        """
        signer = self._signer
        if signer is None:
            return self._exchange(method, target, body, {}, timeout_s)[0]
        signer.check()
        while True:
            signed = signer.ready
            headers = {"Authorization": signer.header(method, target)} if signed else {}
            answer, challenge = self._exchange(method, target, body, headers, timeout_s)
            if answer.status == 401:
                signer.refused(challenge, signed)  # raises when signing again would not help
                continue
            if answer.status == 429 and signer.has_password:
                raise signer.crowded(answer.excerpt())
            if signed:
                signer.let_in()
            return answer

    def close(self) -> None:
        """Let go of the connection; the next request opens it again."""
        self._http.close()

    def _exchange(
        self, method: str, target: str, body: Optional[bytes], headers: Dict[str, str],
        timeout_s: Optional[float],
    ) -> Tuple[HttpAnswer, str]:
        reused = self._http.sock is not None
        try:
            return self._once(method, target, body, headers, timeout_s or self._timeout_s)
        except _ClosedIdle:
            if not reused:
                raise
            return self._once(method, target, body, headers, timeout_s or self._timeout_s)

    def _once(
        self, method: str, target: str, body: Optional[bytes], headers: Dict[str, str], timeout_s: float,
    ) -> Tuple[HttpAnswer, str]:
        connection = self._http
        self.requests += 1
        try:
            if connection.sock is None:
                self._connect(connection)
            connection.sock.settimeout(timeout_s)
            deadline = self._clock.monotonic() + timeout_s
            if body is not None:
                headers = {**JSON_TYPE, **headers}
            connection.request(method, target, body, headers)
            response = connection.getresponse()
            content = self._body(response, deadline, timeout_s)
        except LinkError:
            connection.close()
            raise
        except socket.timeout as error:
            connection.close()
            raise self._late(timeout_s) from error
        except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError) as error:
            connection.close()
            raise _ClosedIdle(f"{self.peer}: closed the connection without an answer to {target}") from error
        except http.client.HTTPException as error:
            connection.close()
            half = isinstance(error, http.client.IncompleteRead)
            what = "half an answer" if half else "something that is not HTTP"
            raise LinkError(f"{self.peer}: sent {what}; check that the address is the device's") from error
        except OSError as error:
            connection.close()
            raise LinkError(f"{self.peer}: connection lost ({error.strerror or error})") from error
        media = (response.getheader("Content-Type") or "").partition(";")[0].strip().lower()
        challenge = response.getheader("WWW-Authenticate") or "" if response.status == 401 else ""
        return HttpAnswer(response.status, media, content), challenge

    def _connect(self, connection: http.client.HTTPConnection) -> None:
        try:
            connection.connect()
        except OSError as error:
            raise connect_error(self.peer, error, CONNECT_TIMEOUT_S) from error

    def _body(self, response: http.client.HTTPResponse, deadline: float, timeout_s: float) -> bytes:
        """Read a body of bounded size in bounded time, even when it comes a byte at a time."""
        parts = []
        size = 0
        while True:
            part = response.read1(65_536)
            if not part:
                break
            parts.append(part)
            size += len(part)
            if size > MAX_BODY:
                raise LinkError(f"{self.peer}: more than {MAX_BODY} bytes; is it the right device?")
            if self._clock.monotonic() > deadline:
                raise self._late(timeout_s)
        missing = response.length
        response.close()
        if missing:  # read1 does not complain about a body that ends early
            raise LinkError(f"{self.peer}: an answer that ends {missing} bytes early")
        return b"".join(parts)

    def _late(self, timeout_s: float) -> LinkTimeout:
        return LinkTimeout(f"{self.peer}: connected, no full answer in {timeout_s:g} s; is it overloaded?")


class _ClosedIdle(LinkError):
    """The connection was closed before the first byte of an answer; an idle one may be opened again."""
