"""A small HTTP server: status page, snapshot, health; and what asks for a write, for who shows the token.

Never serves a caller that came under a foreign host name (DNS rebinding), and never takes a write from a
browser's page of another origin or without the token, not even on the loopback address.
Slow or many clients cannot disturb the loop: every connection has its own thread, a time-out and a place
in a fixed number of places.
"""

from __future__ import annotations

import contextlib
import hmac
import json
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Callable, Dict, Mapping, NamedTuple, Optional, Tuple

from bridge.errors import ConfigError

CLIENT_TIMEOUT_S = 5.0  # a request line that takes longer is not a browser's
POLL_S = 60.0  # how long the serving thread sleeps when nobody comes; waking up costs the small process
WAKES, WAKE_S = 20, 0.05
PLACES = 24  # connections at once
WILDCARDS = ("", "0.0.0.0", "::")
LOOPBACK = ("127.0.0.1", "localhost", "::1")


MAX_BODY = 64 * 1024  # a write is a command in JSON, not an upload


class Request(NamedTuple):
    """What a route is asked; header names in lower case, the last value of a query name counts."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes = b""


class Answer(NamedTuple):
    """What a route returns."""

    status: int
    content_type: str
    body: bytes


def json_answer(content: Any, status: int = 200) -> Answer:
    """Return content as JSON."""
    return Answer(status, "application/json", json.dumps(content).encode())


Route = Callable[[Request], Answer]


class HttpServer:
    """Serves ``routes`` (path -> function) on ``listen`` ("host:port") until closed.

    ``writers`` are the routes that POST may ask for, always with the token.
    """

    def __init__(
        self, listen: str, routes: Mapping[str, Route], token: str = "", writers: Optional[Mapping[str, Route]] = None
    ) -> None:
        self._host, _, port = listen.rpartition(":")
        self._host = self._host.strip("[]")
        self._port = int(port)
        self._routes, self._token, self._writers = dict(routes), token, dict(writers or {})
        self._server: Optional[ThreadingHTTPServer] = None

    @property
    def address(self) -> Tuple[str, int]:
        """The host and port that are really bound; valid after ``start``."""
        assert self._server is not None
        return self._host, self._server.server_address[1]

    def start(self) -> None:
        """Bind and serve in the background; raises ConfigError when the address cannot be had."""
        handler = _handler(self._routes, self._writers, self._token, self._allowed_hosts())
        try:
            self._server = _Server((self._host, self._port), handler)
        except OSError as error:
            raise ConfigError(
                f"status.listen: cannot serve on {self._host}:{self._port} ({error.strerror});"
                " another program has it, choose another port or set status.listen = off"
            ) from error
        thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": POLL_S}, daemon=True)
        thread.name = "http"
        thread.start()

    def _allowed_hosts(self) -> Tuple[str, ...]:
        return LOOPBACK if self._host in LOOPBACK else ()

    def close(self) -> None:
        """Stop accepting; connections in progress end by their own time-out."""
        server, self._server = self._server, None
        if server is None:
            return
        host = "127.0.0.1" if self._host in WILDCARDS else self._host
        ending = threading.Thread(target=server.shutdown, daemon=True)
        ending.start()
        for _ in range(WAKES):  # the serving thread sleeps in poll: a connection is what wakes it
            with contextlib.suppress(OSError):
                socket.create_connection((host, server.server_address[1]), WAKE_S).close()
            ending.join(WAKE_S)
            if not ending.is_alive():
                break
        server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 16

    def __init__(self, address: Tuple[str, int], handler: type) -> None:
        self._places = threading.BoundedSemaphore(PLACES)
        super().__init__(address, handler)

    def process_request(self, request: object, client_address: object) -> None:
        if not self._places.acquire(blocking=False):
            self.shutdown_request(request)  # type: ignore[arg-type]
            return
        super().process_request(request, client_address)  # type: ignore[arg-type]

    def process_request_thread(self, request: object, client_address: object) -> None:
        try:
            super().process_request_thread(request, client_address)  # type: ignore[arg-type]
        finally:
            self._places.release()

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: a client that went away is no event here."""


def _handler(routes: Dict[str, Route], writers: Dict[str, Route], token: str, hosts: Tuple[str, ...]) -> type:
    class Handler(BaseHTTPRequestHandler):
        """One connection; HTTP/1.1 with keep-alive."""

        protocol_version = "HTTP/1.1"
        server_version, sys_version = "sigen-bridge", ""
        timeout = CLIENT_TIMEOUT_S

        def do_GET(self) -> None:
            self._reply(self._answer())

        do_HEAD = do_GET

        def do_POST(self) -> None:
            self._reply(self._written())

        def _answer(self) -> Answer:
            if hosts and _host_name(self.headers.get("Host", "")) not in hosts:
                return _text(403, "this address is served under its own name only")
            path = self.path.partition("?")[0]
            route = routes.get(path)
            if route is None:
                return _text(404, "no such page")
            if token and path != "/healthz" and not hosts and not self._token_shown():
                return _text(401, "a token is needed: Authorization: Bearer ...")
            return route(self._request(b""))

        def _written(self) -> Answer:
            body, refusal = self._body()
            if refusal is not None:
                self.close_connection = True  # the body was not read
                return refusal
            if hosts and _host_name(self.headers.get("Host", "")) not in hosts:
                return _text(403, "this address is served under its own name only")
            route = writers.get(self.path.partition("?")[0])
            if route is None:
                return _text(404, "no such page, or it cannot be written to")
            if self.headers.get("Origin"):
                return _text(403, "a page of a browser may not write here")
            if not token:
                return _text(403, "writing needs a token: set status.token")
            if not self._token_shown():
                return _text(401, "a token is needed: Authorization: Bearer ...")
            return route(self._request(body))

        def _body(self) -> Tuple[bytes, Optional[Answer]]:
            length = self.headers.get("Content-Length", "")
            if not length.isdigit():
                return b"", _text(411, "a write needs its length")
            if int(length) > MAX_BODY:
                return b"", _text(413, f"at most {MAX_BODY} bytes")
            return self.rfile.read(int(length)), None

        def _request(self, body: bytes) -> Request:
            path, _, query = self.path.partition("?")
            headers = {name.lower(): value for name, value in self.headers.items()}
            return Request(self.command, path, _pairs(query) if query else {}, headers, body)

        def _token_shown(self) -> bool:
            shown = self.headers.get("Authorization", "")
            return hmac.compare_digest(shown.encode(), f"Bearer {token}".encode())

        def _reply(self, answer: Answer) -> None:
            self.send_response_only(answer.status)
            self.send_header("Content-Type", answer.content_type)
            self.send_header("Content-Length", str(len(answer.body)))
            self.send_header("Cache-Control", "no-store")
            self.send_header("X-Content-Type-Options", "nosniff")
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(answer.body)

        def log_message(self, *args: object) -> None:
            """Say nothing: the log is for state changes."""

    return Handler


def _pairs(query: str) -> Dict[str, str]:
    from urllib.parse import parse_qsl  # few callers have a query

    return dict(parse_qsl(query, keep_blank_values=True))


def _host_name(header: str) -> str:
    if header.startswith("["):
        return header[1:].partition("]")[0]
    return header.partition(":")[0].lower()


def _text(status: int, message: str) -> Answer:
    return Answer(status, "text/plain; charset=utf-8", message.encode() + b"\n")
