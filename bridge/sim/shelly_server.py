"""The network side of a simulated Shelly: listener, connections, channels, WebSocket sessions.

Never knows a method or a value. One thread accepts, one thread serves each connection; at most six HTTP
calls are open at once and a seventh has the oldest closed with 400 (vendor page
"RPC Channels"; which one goes is heritage of its RPC library).
"""

from __future__ import annotations

import socket
import threading
from collections import deque
from contextlib import suppress
from functools import partial
from typing import Any, Callable, Deque, Dict, List, Optional, Set

from bridge.sim.shelly_device import Device
from bridge.sim.shelly_faults import Faults
from bridge.sim.shelly_frames import accept_key
from bridge.sim.shelly_http import (
    BAD_REQUEST,
    Dropped,
    HttpDoor,
    Hung,
    Refusal,
    Request,
    Response,
    read_request,
)
from bridge.sim.shelly_link import Channels, Connection
from bridge.sim.shelly_ws import Session

BACKLOG = 64
ACCEPT_S = 0.5  # how often the accepting thread looks whether it is over, should waking it fail
JOIN_S = 2.0  # threads end at once when their socket does
REPLIES_KEPT = 100


class Server:
    """Carries HTTP and WebSocket to and from one device."""

    def __init__(self, device: Device, faults: Faults, host: str, port: int, latency_s: float) -> None:
        self.host = host
        self.port = port
        self.client_replies: Deque[Dict[str, Any]] = deque(maxlen=REPLIES_KEPT)
        self._device = device
        self._faults = faults
        self._latency_s = latency_s
        self._door = HttpDoor(device, faults, self._wait_turn)
        self._stopping = threading.Event()
        self._one_task = threading.Lock()
        self._lock = threading.Lock()
        self._port_lock = threading.Lock()
        self._listener: Optional[socket.socket] = None
        self._acceptor: Optional[threading.Thread] = None
        self._connections: Set[Connection] = set()
        self._sessions: List[Session] = []
        self._channels = Channels()
        self._threads: Set[threading.Thread] = set()

    def start(self) -> None:
        """Bind the port and accept; raises OSError when it is taken."""
        self._stopping.clear()
        self._bind()
        self.listen()

    def stop(self) -> None:
        """Close everything and wait for the threads."""
        self._stopping.set()
        with self._port_lock:
            self._close_listener()
        self.drop_all(reset=False)
        for thread in tuple(self._threads):
            if thread is not threading.current_thread():
                thread.join(JOIN_S)

    def listen(self) -> None:
        """Accept connections."""
        with self._port_lock:
            listener = self._listener
            if listener is not None and self._acceptor is None and not self._stopping.is_set():
                listener.listen(BACKLOG)
                self._acceptor = self._spawn(partial(self._accept, listener))

    def refuse(self) -> None:
        """Refuse connections from now on, keeping the port reserved: bound, but nobody listens."""
        with self._port_lock:
            self._close_listener()
            if not self._stopping.is_set():
                self._bind()

    def drop_all(self, reset: bool) -> None:
        """End every connection."""
        with self._lock:
            connections = tuple(self._connections)
        for connection in connections:
            connection.end(reset=reset)

    def drop_sessions(self, code: Optional[int] = None) -> None:
        """End every WebSocket, with a close frame when there is a ``code``."""
        for session in tuple(self._sessions):
            if code is None:
                session.drop()
            else:
                session.close(code)

    def ask_clients(self, number: int, method: str, params: Any) -> None:
        """Send every WebSocket client a request; answers arrive in ``client_replies``."""
        for session in tuple(self._sessions):
            session.ask(number, method, params)

    def _bind(self) -> None:
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.settimeout(ACCEPT_S)
        sock.bind((self.host, self.port))
        self.port = sock.getsockname()[1]
        self._listener = sock

    def _close_listener(self) -> None:
        listener, self._listener = self._listener, None
        acceptor, self._acceptor = self._acceptor, None
        if listener is None:
            return
        if acceptor is not None:
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)  # wakes accept
            acceptor.join(JOIN_S)  # before its file number is given to another socket
        listener.close()

    def _spawn(self, job: Callable[[], None]) -> threading.Thread:
        thread = threading.Thread(target=lambda: self._run(job), daemon=True)
        self._threads.add(thread)
        thread.start()
        return thread

    def _run(self, job: Callable[[], None]) -> None:
        try:
            job()
        finally:
            self._threads.discard(threading.current_thread())

    def _accept(self, listener: socket.socket) -> None:
        while not self._stopping.is_set():
            try:
                sock, _ = listener.accept()
            except socket.timeout:
                continue
            except OSError:
                return
            if listener is not self._listener:
                sock.close()
                return
            self._spawn(partial(self._serve, sock))

    def _wait_turn(self, delay_s: float) -> None:
        """Take the real time that the device needs for a call; only one call at a time is worked on."""
        if delay_s:
            self._stopping.wait(delay_s)
        if self._latency_s:
            with self._one_task:
                self._stopping.wait(self._latency_s)

    def _serve(self, sock: socket.socket) -> None:
        connection = Connection(sock)
        with self._device.board.counters.lock:
            self._device.board.counters.tcp_connections += 1
        with self._lock:
            self._connections.add(connection)
        try:
            if self._faults.take("offline_reset") is not None:
                connection.end(reset=True)
            elif not self._stopping.is_set():
                self._serve_request(connection)
        finally:
            with self._lock:
                self._connections.discard(connection)
            connection.close()

    def _serve_request(self, connection: Connection) -> None:
        try:
            request = read_request(connection)
        except Refusal as refusal:
            connection.send(refusal.response.encode())
            connection.finish(drain=True)
            return
        if self._faults.on("silent"):
            connection.park(lambda: self._faults.on("silent"))
        elif request is not None and request.upgrade and request.path == "/rpc":
            self._serve_session(connection, request)
        elif request is not None:
            self._serve_call(connection, request)

    def _serve_call(self, connection: Connection, request: Request) -> None:
        counters = self._device.board.counters
        with counters.lock:
            counters.http_connections += 1
            counters.http_requests += 1
        channel, evicted = self._channels.open(connection)
        if evicted is not None and evicted.answer(BAD_REQUEST.encode()):
            evicted.connection.end()
            with counters.lock:
                counters.evicted_channels += 1
        try:
            response = self._door.respond(request, alive=lambda: not channel.answered)
            channel.answer(response.encode())
            connection.finish(drain=False)
        except Dropped:
            return
        except Hung:
            connection.park(lambda: not channel.answered and self._faults.on("hang"))
        finally:
            self._channels.close(channel)

    def _serve_session(self, connection: Connection, request: Request) -> None:
        refused = self._faults.take("ws_refused")
        if refused is not None:
            status = int(refused.get("status", 503))
            connection.send(Response(status, b"", headers=()).encode())
            connection.finish(drain=False)
            return
        if self._faults.take("ws_drop") is not None:
            connection.send(_upgraded(request))
            return
        counters, board = self._device.board.counters, self._device.board
        session = Session(connection, self._device, self._faults, self._wait_turn, self.client_replies.append)
        with counters.lock:
            counters.ws_connections += 1
            counters.open_ws += 1
        self._sessions.append(session)
        with board.turn():
            board.listeners.append(session)
        try:
            connection.send(_upgraded(request))
            session.run(request.rest)
        finally:
            with board.turn():
                board.listeners.remove(session)
            self._sessions.remove(session)
            with counters.lock:
                counters.open_ws -= 1


def _upgraded(request: Request) -> bytes:
    key = accept_key(request.headers["sec-websocket-key"])
    return ("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Accept: {key}\r\n\r\n").encode("ascii")
