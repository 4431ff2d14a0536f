"""A small HTTP/1.1 server that hands bodies on as they come: one thread a connection, a fixed number of places.

Never buffers an answer, never guesses where a request's body ends, and never lets a slow client hold
anything but its own thread. What is asked and answered is the handler's business.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import socketserver
import sys
import threading
from typing import Callable, Dict, List, Optional, Tuple

from bridge.errors import BridgeError, ConfigError
from bridge.link.proxy_reply import ClientGone, ProxyReply, ProxyRequest

CLIENT_TIMEOUT_S = 30.0  # a kept connection that rests longer is closed
SEND_TIMEOUT_S = 20.0  # a client that takes nothing for so long is gone
PLACES = 64  # connections at once
MOST_HEAD = 32_768
MOST_BODY = 1024 * 1024  # what is written to an Envoy is a few lines of JSON
CHUNK = 65_536
TLS_HELLO = b"\x16\x03"
POLL_S = 60.0  # how long the accepting thread sleeps when nobody comes; closing wakes it
WAKES, WAKE_S = 20, 0.05
WILDCARDS = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}


class BadRequest(Exception):
    """What a client sent cannot be answered as HTTP."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


Handler = Callable[[ProxyRequest, ProxyReply], None]


class ProxyServer:
    """Serves ``handler`` on ``listen`` ("host:port") until closed."""

    def __init__(self, listen: str, handler: Handler, places: int = PLACES) -> None:
        host, _, port = listen.rpartition(":")
        self._host, self._port = host.strip("[]"), int(port)
        self._handler, self._places = handler, places
        self._server: Optional[_Server] = None

    @property
    def address(self) -> str:
        """What is really bound, as host:port; valid after ``start``."""
        assert self._server is not None
        return f"{self._host}:{self._server.server_address[1]}"

    def start(self) -> None:
        """Bind and serve in the background; raises ConfigError when the address cannot be had."""
        try:
            self._server = _Server((self._host, self._port), self._handler, self._places)
        except OSError as error:
            raise ConfigError(
                f"enphase.listen: cannot serve on {self._host}:{self._port} ({error.strerror});"
                " another program has it, choose another port"
            ) from error
        threading.Thread(target=self._server.serve_forever, args=(POLL_S,), name="proxy", daemon=True).start()

    def close(self) -> None:
        """Stop accepting; connections in progress end with the process."""
        server, self._server = self._server, None
        if server is None:
            return
        ending = threading.Thread(target=server.shutdown, daemon=True)
        ending.start()
        for _ in range(WAKES):
            with contextlib.suppress(OSError):
                there = (WILDCARDS.get(self._host, self._host), server.server_address[1])
                socket.create_connection(there, WAKE_S).close()
            ending.join(WAKE_S)
            if not ending.is_alive():
                break
        server.server_close()


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True
    request_queue_size = 32

    def __init__(self, address: Tuple[str, int], handler: Handler, places: int) -> None:
        self.handler = handler
        self._room = threading.BoundedSemaphore(places)
        if ":" in address[0]:
            self.address_family = socket.AF_INET6
        super().__init__(address, _Connection)

    def process_request(self, request: object, client_address: object) -> None:
        if not self._room.acquire(blocking=False):
            self.shutdown_request(request)  # type: ignore[arg-type]
            return
        super().process_request(request, client_address)  # type: ignore[arg-type]

    def process_request_thread(self, request: object, client_address: object) -> None:
        try:
            super().process_request_thread(request, client_address)  # type: ignore[arg-type]
        finally:
            self._room.release()

    def handle_error(self, request: object, client_address: object) -> None:
        kind = sys.exc_info()[0]  # nothing that has a name comes here
        logging.getLogger("enphase").error("state=defect error=%s", kind.__name__ if kind else "?")


class _Connection(socketserver.BaseRequestHandler):
    """One client; requests one after the other."""

    server: _Server

    def handle(self) -> None:
        tcp = self.request
        tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = b""
        keep = True
        while keep:
            try:
                tcp.settimeout(CLIENT_TIMEOUT_S)
                request = self._request()
            except BadRequest as error:
                self._last_words(error.status, str(error))
                return
            except (OSError, ClientGone):
                return
            if request is None:
                return
            wish = request.head.get("connection", "").lower()
            keep = "close" not in wish if request.http11 else "keep-alive" in wish
            tcp.settimeout(SEND_TIMEOUT_S)
            reply = ProxyReply(tcp, request.http11, keep, request.method == "HEAD")
            try:
                self.server.handler(request, reply)
            except ClientGone:
                return
            except BridgeError:
                return  # an answer that broke off half way: the client sees the connection end too early
            keep = reply.keep

    def _last_words(self, status: int, text: str) -> None:
        try:
            ProxyReply(self.request, True, False, False).whole(status, text)
        except ClientGone:
            return

    def _request(self) -> Optional[ProxyRequest]:
        """Read one request; None when the client is done. Raises BadRequest, OSError, ClientGone."""
        while True:
            end = self._buffer.find(b"\r\n\r\n")
            if end >= 0:
                break
            if self._buffer.startswith(TLS_HELLO):
                raise BadRequest(400, "this is plain HTTP: use http://")  # said at once, so that clients try that
            if len(self._buffer) > MOST_HEAD:
                raise BadRequest(431, "the head of this request is too long")
            if not self._more():
                return None
        first, *lines = self._buffer[:end].decode("latin-1").lstrip("\r\n").split("\r\n")
        self._buffer = self._buffer[end + 4:]
        if "\n" in first or any("\n" in line or "\r" in line for line in lines):
            raise BadRequest(400, "a header line is broken")  # it would be a line of its own to the Envoy
        words = first.split(" ")
        if len(words) != 3 or not words[2].startswith("HTTP/1.") or not words[1]:
            raise BadRequest(400, "this is no HTTP/1.1 request")
        fields, head = [], {}
        for line in lines:
            name, colon, text = line.partition(":")
            if not colon or not name or name != name.strip():
                raise BadRequest(400, "a header line is broken")
            text = text.strip()
            fields.append((name, text))
            head[name.lower()] = text
        body = self._body(head, [name.lower() for name, _ in fields])
        return ProxyRequest(
            words[0].upper(), words[1], fields, head, body, words[2] != "HTTP/1.0", self.client_address[0])

    def _body(self, head: Dict[str, str], names: List[str]) -> bytes:
        if "transfer-encoding" in head:
            raise BadRequest(411, "a body needs its Content-Length")
        length = head.get("content-length", "0")
        if not (length.isascii() and length.isdigit()) or names.count("content-length") > 1:
            raise BadRequest(400, "Content-Length is broken")
        size = int(length)
        if size > MOST_BODY:
            raise BadRequest(413, f"at most {MOST_BODY} bytes")
        if size and head.get("expect", "").lower() == "100-continue":
            self.request.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        while len(self._buffer) < size:
            if not self._more():
                raise ClientGone
        body, self._buffer = self._buffer[:size], self._buffer[size:]
        return body

    def _more(self) -> bool:
        piece = self.request.recv(CHUNK)
        self._buffer += piece
        return bool(piece)
