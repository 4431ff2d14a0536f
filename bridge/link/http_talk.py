"""One request and its answer, on a connection whose head of a request is already there.

Never runs a route before the gate has let the caller in, and never reads the body of a write before that.
"""

from __future__ import annotations

import io
import logging
import socket
from http.server import BaseHTTPRequestHandler
from typing import Callable, Mapping, NamedTuple, Optional, Tuple

from bridge.errors import BridgeError
from bridge.link.http_gate import Gate
from bridge.link.http_lobby import Visitor
from bridge.link.http_words import Answer, Request, Route, matches, pairs, text_answer

TALK_S = 5.0  # for the whole body of a write, and for the whole of an answer
MAX_BODY = 64 * 1024  # a write is a command in JSON, not an upload
KEEP, CLOSE, TAKEN = "keep", "close", "taken"  # what becomes of the connection

log = logging.getLogger("status")


class Desk(NamedTuple):
    """What a server answers with: routes of GET, of POST, and the rules in front of both."""

    routes: Mapping[str, Route]
    writers: Mapping[str, Route]
    gate: Gate
    monotonic: Callable[[], float]


class Talk(BaseHTTPRequestHandler):
    """Parses one head and answers it; what the visitor sent beyond the head stays with the visitor."""

    protocol_version = "HTTP/1.1"
    server_version, sys_version = "sigen-bridge", ""

    def __init__(self, visitor: Visitor, head: bytes, desk: Desk) -> None:
        # BaseHTTPRequestHandler's own __init__ would talk to the socket at once, for as long as that lasts.
        self._visitor, self._desk = visitor, desk
        self._taken: Optional[Callable[[socket.socket], None]] = None
        self.rfile, self._said = io.BytesIO(head), io.BytesIO()
        self.wfile = self._said
        self.close_connection = True
        self.command = ""

    def hold(self) -> str:
        """Answer; returns KEEP, CLOSE or TAKEN. Raises OSError when the peer is gone or takes no data."""
        connection = self._visitor.connection
        self.handle_one_request()
        connection.settimeout(TALK_S)
        connection.sendall(self._said.getvalue())
        if self._taken is not None:
            self._taken(connection)
            return TAKEN
        if self.close_connection:
            self._drain()
        return CLOSE if self.close_connection else KEEP

    def do_GET(self) -> None:
        """Answer a reading."""
        if self.headers.get("Content-Length", "0") != "0" or self.headers.get("Transfer-Encoding"):
            self.close_connection = True  # nobody reads that body: what follows is no request
        request = self._request()
        route = self._desk.routes.get(request.path)
        if route is None:
            self._reply(self._no_such(request.path))
            return
        self._reply(self._desk.gate.reading(request) or self._run(route, request))

    do_HEAD = do_GET

    def do_POST(self) -> None:
        """Answer a write."""
        request = self._request()
        route = self._desk.writers.get(request.path)
        refusal = self._no_such(request.path) if route is None else self._desk.gate.writing(request)
        body = b""
        if refusal is None:
            body, refusal = self._body()
        if refusal is not None or route is None:
            self.close_connection = True  # the body was not read
            self._reply(refusal or self._no_such(request.path))
            return
        self._reply(self._run(route, request._replace(body=body)))

    def do_PUT(self) -> None:
        """Refuse what is neither reading nor writing."""
        self.close_connection = True
        self._reply(self._no_such(self._request().path))

    do_DELETE = do_PATCH = do_OPTIONS = do_TRACE = do_CONNECT = do_PUT

    def send_error(self, code: int, message: Optional[str] = None, explain: Optional[str] = None) -> None:
        """Answer what could not be parsed, with nothing of it in the answer."""
        self.close_connection = True
        self._reply(text_answer(int(code), self.responses.get(code, ("refused",))[0]))

    def log_message(self, *args: object) -> None:
        """Say nothing: the log is for state changes."""

    def _request(self) -> Request:
        path, _, query = self.path.partition("?")
        headers = {name.lower(): value for name, value in self.headers.items()}
        return Request(self.command, path, pairs(query) if query else {}, headers)

    def _run(self, route: Route, request: Request) -> Answer:
        try:
            answer = route(request)
        except BridgeError as error:
            return text_answer(500, str(error))
        except Exception as error:  # a defect in one page must not leave its reader, or the next, without an answer
            log.error('page=%s internal="%s: %s"', request.path, type(error).__name__, error)
            return text_answer(500, "this failed inside the bridge; its log says more")
        if matches(request.headers.get("if-none-match", ""), answer):
            return answer._replace(status=304, body=b"")
        return answer

    def _no_such(self, path: str) -> Answer:
        methods = ["GET", "HEAD"] if path in self._desk.routes else []
        methods += ["POST"] if path in self._desk.writers else []
        if methods:
            allowed = ", ".join(methods)
            return text_answer(405, f"only {allowed} here", (("Allow", allowed),))
        return text_answer(404, "no such page")

    def _body(self) -> Tuple[bytes, Optional[Answer]]:
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal():
            return b"", text_answer(411, "a write needs its length")
        if int(length) > MAX_BODY:
            return b"", text_answer(413, f"at most {MAX_BODY} bytes")
        return self._visitor.take(int(length), TALK_S, self._desk.monotonic), None

    def _drain(self) -> None:
        """Take what was sent and not read: closing over it would reset the connection and lose the answer."""
        self._visitor.connection.setblocking(False)
        try:
            self._visitor.connection.recv(MAX_BODY)
        except BlockingIOError:
            pass

    def _reply(self, answer: Answer) -> None:
        self.send_response_only(answer.status)
        names = {name for name, _ in answer.headers}
        for name, text in answer.headers:
            self.send_header(name, text)
        if "Cache-Control" not in names:
            self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        if answer.status != 304:
            self.send_header("Content-Type", answer.content_type)
        if answer.takes_over is not None:
            self.close_connection = True
            self._taken = answer.takes_over if self.command == "GET" else None
        elif answer.status != 304:
            self.send_header("Content-Length", str(len(answer.body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD" and answer.status != 304:
            self.wfile.write(answer.body)
