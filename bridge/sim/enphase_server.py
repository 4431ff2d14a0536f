"""The HTTP side of the simulated Envoy: handshakes, connections, and bodies that come in pieces.

Never judges a request: the device does. Every connection is cut when the simulator stops.
"""

from __future__ import annotations

import socket
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Callable, Dict, Optional, Protocol, Set, Tuple

STREAM = "text/event-stream"
HANDSHAKE_S, IDLE_S, HANG_S = 5.0, 30.0, 60.0


class Device(Protocol):
    """What answers; ``bridge.sim.enphase_envoy.EnvoySim``."""

    faults: Dict[str, Any]
    stopping: threading.Event
    context: Optional[ssl.SSLContext]
    connections: int
    stream_s: float
    stream_events: int
    event: Callable[[], bytes]

    def answer(self, method: str, target: str, headers: Dict[str, str], body: bytes) -> Tuple[int, str, bytes]: ...

    def note(self, method: str, target: str, headers: Dict[str, str], body: bytes, status: int) -> None: ...


class EnvoyServer(ThreadingHTTPServer):
    """One thread a connection; none outlives the process."""

    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True
    request_queue_size = 32

    def __init__(self, address: Tuple[str, int], sim: Device) -> None:
        self.sim = sim
        self._open: Set[socket.socket] = set()
        super().__init__(address, _Handler)

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Do the handshake in the connection's own thread."""
        if self.sim.context is not None:
            request.settimeout(HANDSHAKE_S)
            request = self.sim.context.wrap_socket(request, server_side=True)
        self._open.add(request)
        self.sim.connections += 1
        try:
            super().finish_request(request, client_address)
        finally:
            self._open.discard(request)
            request.close()

    def cut_all(self) -> None:
        """Break every connection."""
        for connection in list(self._open):
            try:
                socket.socket.shutdown(connection, socket.SHUT_RDWR)
            except OSError:
                continue

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Stay silent: clients that go away in the middle are what the tests are about."""


class _Handler(BaseHTTPRequestHandler):
    """Reads a request, lets the device judge it, sends the answer or spoils it."""

    server: EnvoyServer
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "openresty/1.17.8.1", ""
    timeout = IDLE_S
    disable_nagle_algorithm = True

    def log_message(self, format: str, *args: Any) -> None:
        """Write no access log."""

    def _serve(self) -> None:
        sim = self.server.sim
        headers = {name.lower(): value for name, value in self.headers.items()}
        body = self.rfile.read(int(headers.get("content-length", "0")))
        for name in ("slow", "hang"):
            if name in sim.faults and sim.stopping.wait(float(sim.faults[name].get("s", HANG_S))):
                self.close_connection = True
                return
        status, media, content = sim.answer(self.command, self.path, headers, body)
        stream = media == STREAM
        sim.note(self.command, self.path, headers, body, status)
        self.send_response(status)
        self.send_header("Content-Type", media)
        self.send_header("Strict-Transport-Security", "max-age=63072000; includeSubdomains")
        if self.path == "/auth/check_jwt" and status == 200:
            self.send_header("Set-Cookie", "sessionId=simulated; path=/; HttpOnly; Secure")
        if stream or media == "application/json":
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            if self.command != "HEAD":
                self._chunks(sim, content, stream)
            return
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(self._spoiled(sim, content))

    def _spoiled(self, sim: Device, content: bytes) -> bytes:
        if "cut" not in sim.faults:
            return content
        self.close_connection = True
        return content[:len(content) // 2]

    def _chunks(self, sim: Device, content: bytes, stream: bool) -> None:
        sent = 0
        while stream:
            self._chunk(sim.event())
            sent += 1
            if sim.stream_events and sent >= sim.stream_events:
                break
            if sim.stopping.wait(sim.stream_s):
                return
        if not stream:
            self._chunk(self._spoiled(sim, content))
            if self.close_connection:
                return
        self.wfile.write(b"0\r\n\r\n")

    def _chunk(self, piece: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = _serve
