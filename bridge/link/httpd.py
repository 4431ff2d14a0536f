"""A small HTTP server: snapshot, health, page; and what asks for a write, for who shows the token.

Never serves a caller that came under a foreign host name (DNS rebinding), and never takes a write from a
browser's page or without the token, not even on the loopback address.
Slow or many clients cannot disturb the loop: one thread holds all who have not asked yet, a few answer who
has, and every wait of both ends by itself.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import Any, List, Mapping, Optional, Tuple

from bridge.clock import Clock
from bridge.errors import ConfigError
from bridge.link.http_gate import LOOPBACK, Gate
from bridge.link.http_lobby import Lobby, Visitor
from bridge.link.http_talk import CLOSE, KEEP, Desk, Talk
from bridge.link.http_words import Answer, Request, Route, json_answer

__all__ = ("Answer", "HttpServer", "Request", "Route", "json_answer")

QUEUE = 64  # connections that the kernel keeps until we come round to them
WORKERS = 8  # requests answered at once; more wait for their turn
WAITING = 64  # whole requests that wait for a worker; who comes then is told to come back
REST_S = 5.0  # a worker without work ends after this
SEND_BUFFER = 64 * 1024  # the longest answer fits, so that a worker need not wait for a slow reader
PAUSE_S = 0.2  # when there is no file descriptor for another connection


class HttpServer:
    """Serves ``routes`` (path -> function) on ``listen`` ("host:port") until closed.

    ``writers`` are the routes that POST may ask for, always with the token.
    """

    def __init__(
        self, listen: str, routes: Mapping[str, Route], token: str = "",
        writers: Optional[Mapping[str, Route]] = None, clock: Optional[Clock] = None,
    ) -> None:
        host, _, port = listen.rpartition(":")
        self._host, self._port = host.strip("[]"), int(port)
        self._routes, self._token, self._writers = dict(routes), token, dict(writers or {})
        self._clock = clock or Clock()
        self._listener: Optional[socket.socket] = None
        self._front: Any = None

    @property
    def address(self) -> Tuple[str, int]:
        """The host and port that are really bound; valid after ``start``."""
        assert self._listener is not None
        return self._host, self._port

    def start(self) -> None:
        """Bind and serve in the background; raises ConfigError when the address cannot be had."""
        try:
            family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
            both = self._host == "::" and socket.has_dualstack_ipv6()
            self._listener = socket.create_server(
                (self._host, self._port), family=family, backlog=QUEUE, dualstack_ipv6=both)
        except OSError as error:
            raise ConfigError(
                f"status.listen: cannot serve on {self._host}:{self._port} ({error.strerror});"
                " another program has it, choose another port or set status.listen = off"
            ) from error
        self._port = self._listener.getsockname()[1]
        gate = Gate(self._host in LOOPBACK, self._port, self._token)
        desk = Desk(self._routes, self._writers, gate, self._clock.monotonic)
        self._front = _Front(self._listener, desk, self._clock)
        threading.Thread(target=self._front.run, name="http", daemon=True).start()

    def close(self) -> None:
        """Stop accepting and hang up on who waits; an answer in progress ends by its own time limit."""
        if self._front is not None:
            self._front.close()
            self._front = None


class _Front:
    """The thread that accepts, hears who has not asked yet, and gives work to the workers."""

    def __init__(self, listener: socket.socket, desk: Desk, clock: Clock) -> None:
        self._listener, self._clock = listener, clock
        self._lobby = Lobby()
        self._bell, self._rope = socket.socketpair()  # writing to the rope wakes the thread
        self._back: List[Visitor] = []  # served, and to wait here for their next request
        self._workers = _Workers(desk, self._comes_back)
        self._closing = False
        self._ended = threading.Event()
        listener.setblocking(False)
        self._bell.setblocking(False)
        self._rope.setblocking(False)

    def run(self) -> None:
        """Serve until closed."""
        self._lobby.watch(self._listener.fileno())
        self._lobby.watch(self._bell.fileno())
        while not self._closing:
            heard = self._lobby.wait(self._clock.monotonic())
            now = self._clock.monotonic()
            for number in heard:
                if number == self._listener.fileno():
                    self._accept(now)
                elif number == self._bell.fileno():
                    self._take_back(now)
                else:
                    self._hand_over(self._lobby.hear(number, now))
            self._lobby.end_late(now)
        self._listener.close()
        self._lobby.close()
        self._workers.close()
        self._bell.close()
        self._ended.set()

    def close(self) -> None:
        """End the thread and wait for that."""
        self._closing = True
        self._ring()
        self._ended.wait(REST_S)
        self._rope.close()

    def _accept(self, now: float) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except BlockingIOError:
                return
            except OSError:  # no descriptor is free, or the caller is gone already
                if not self._lobby.make_room():
                    self._clock.wait(PAUSE_S)
                return
            connection.setblocking(False)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
            self._lobby.enter(Visitor(connection), now)

    def _take_back(self, now: float) -> None:
        with contextlib.suppress(BlockingIOError):
            self._bell.recv(64)
        while self._back:
            visitor = self._back.pop(0)
            with contextlib.suppress(OSError):
                visitor.connection.setblocking(False)
            self._lobby.enter(visitor, now)

    def _hand_over(self, visitor: Optional[Visitor]) -> None:
        if visitor is not None and not self._workers.give(visitor):
            visitor.say("503 Service Unavailable")

    def _comes_back(self, visitor: Visitor) -> None:
        self._back.append(visitor)
        self._ring()

    def _ring(self) -> None:
        with contextlib.suppress(OSError):
            self._rope.send(b"!")


class _Workers:
    """A few threads that come when there is work and go when there is none."""

    def __init__(self, desk: Desk, comes_back: Any) -> None:
        from queue import SimpleQueue

        self._desk, self._comes_back = desk, comes_back
        self._jobs: Any = SimpleQueue()
        self._mutex = threading.Lock()
        self._open = self._threads = 0  # requests waiting or in work; threads

    def give(self, visitor: Visitor) -> bool:
        """Have a whole request answered; False when too many wait already."""
        with self._mutex:
            if self._open >= WAITING + WORKERS:
                return False
            self._open += 1
            more = self._open > self._threads and self._threads < WORKERS
            self._threads += more
        self._jobs.put(visitor)
        if more:
            threading.Thread(target=self._work, name="http-worker", daemon=True).start()
        return True

    def close(self) -> None:
        """Send all workers home."""
        for _ in range(WORKERS):
            self._jobs.put(None)

    def _work(self) -> None:
        from queue import Empty

        while True:
            try:
                visitor = self._jobs.get(timeout=REST_S)
            except Empty:
                with self._mutex:
                    if self._open >= self._threads:
                        continue  # there is a job on its way
                    self._threads -= 1
                return
            if visitor is None:
                return
            whole = False
            try:
                self._answer(visitor)
                whole = True
            finally:
                with self._mutex:
                    self._open -= 1
                    self._threads -= not whole

    def _answer(self, visitor: Visitor) -> None:
        """Answer what the visitor has asked so far; then it waits again, or its connection ends."""
        fate = KEEP
        try:
            while fate == KEEP:
                head = visitor.head()
                if head is None:
                    visitor.served = True
                    self._comes_back(visitor)
                    return
                fate = Talk(visitor, head, self._desk).hold()
        except OSError:
            fate = CLOSE  # gone, or reads nothing
        if fate == CLOSE:
            visitor.close()
