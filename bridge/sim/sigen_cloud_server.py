"""The HTTP side of the simulated cloud: connections, and what faults do to an answer on its way.

Never judges a request: the simulator does. Every connection is cut when the simulator stops.
"""

from __future__ import annotations

import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Callable, Optional, Set, Tuple

from bridge.sim.sigen_cloud_faults import Answer, Fault, Outcome
from bridge.sim.sigen_cloud_routes import Request

BODY_MAX = 1024 * 1024
IDLE_S = 30.0  # an idle keep-alive connection is dropped, as load balancers do
STOP_POLL_S = 0.01  # how long stopping may take
HANG_S = 60.0  # a hanging call ends at the latest then, or when the simulator stops


class CloudServer(ThreadingHTTPServer):
    """One thread a connection; none outlives the process."""

    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True

    def __init__(
        self, address: Tuple[str, int], judge: Callable[[Request], Outcome], stopping: threading.Event
    ) -> None:
        super().__init__(address, CloudHandler)
        self.judge, self.stopping = judge, stopping
        self._open: Set[socket.socket] = set()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Remember the connection: a cloud that is gone does not answer on old ones either."""
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Close and forget a connection."""
        self._open.discard(request)
        super().shutdown_request(request)

    def cut_all(self) -> None:
        """Break every connection."""
        for connection in list(self._open):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue  # the caller was faster

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Stay silent: callers that go away in the middle are what the tests are about."""


class CloudHandler(BaseHTTPRequestHandler):
    """Reads a request, lets the simulator judge it, sends the answer or spoils it."""

    server: CloudServer
    protocol_version = "HTTP/1.1"
    timeout = IDLE_S
    disable_nagle_algorithm = True  # else every answer waits 40 ms for an acknowledgement

    def log_message(self, format: str, *args: Any) -> None:
        """Write no access log."""

    def _serve(self) -> None:
        length = self.headers.get("Content-Length", "0")
        size = int(length) if length.isdigit() else BODY_MAX + 1
        if size > BODY_MAX:
            self.send_error(413)
            return
        headers = {name.lower(): value for name, value in self.headers.items()}
        outcome = self.server.judge(Request(self.command, self.path, headers, self.rfile.read(size)))
        fault = outcome.fault
        if fault is not None and fault.kind in ("hang", "drop"):
            if fault.kind == "hang":
                self.server.stopping.wait(HANG_S)
            self.close_connection = True
            return
        self._send(outcome.answer, fault)

    def _send(self, answer: Answer, fault: Optional[Fault]) -> None:
        content = answer.text.encode("utf-8")
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.content_type)
        self.send_header("Content-Length", str(len(content)))
        for name, text in answer.headers:
            self.send_header(name, text)
        self.end_headers()
        if fault is None or fault.kind != "slow":
            self.wfile.write(content)
            return
        for index in range(len(content)):
            if self.server.stopping.wait(fault.interval_s):
                return
            self.wfile.write(content[index:index + 1])
            self.wfile.flush()

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _serve


class ServedPort:
    """A port of a simulated service, served by a thread from ``start`` to ``stop``."""

    def __init__(self, host: str, port: int, judge: Callable[[Request], Outcome]) -> None:
        self.host = host
        self._port, self._judge = port, judge
        self._stopping = threading.Event()
        self._server: Optional[CloudServer] = None
        self._thread: Optional[threading.Thread] = None

    def start(self) -> None:
        """Open the port; raises OSError when it is taken."""
        self._stopping.clear()
        self._server = CloudServer((self.host, self._port), self._judge, self._stopping)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(STOP_POLL_S,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Close the port and end hanging calls; the next ``start`` opens the same one."""
        self._stopping.set()
        if self._server is not None and self._thread is not None:
            self._port = self.port
            self._server.shutdown()
            self._server.server_close()
            self._server.cut_all()
            self._thread.join(5.0)
            self._server = self._thread = None

    @property
    def port(self) -> int:
        """The port in use."""
        return int(self._server.server_address[1]) if self._server is not None else self._port

    @property
    def address(self) -> str:
        """The port as http://host:port."""
        return f"http://{self.host}:{self.port}"
