"""The plant's Modbus TCP port: several clients at once, and every way such a port can misbehave.

Never decides what is answered. Binds where it is told, 127.0.0.1 by default.
"""

from __future__ import annotations

import errno
import socket
import threading
from contextlib import suppress
from typing import Dict, Optional

from bridge.clock import Clock
from bridge.errors import ConfigError
from bridge.sim.plant_connection import POLL_S, Connection, shut
from bridge.sim.plant_station import Station

STOP_S = 1.0  # threads are woken, so they end long before
MAX_OPEN = 128  # a leaking client must not take the machine's descriptors


class TcpPort:
    """Listens, and serves each connection in a thread of its own."""

    def __init__(self, station: Station, clock: Clock, host: str, port: int) -> None:
        self.host, self.port = host, port
        self._station, self._clock = station, clock
        self._wire = Clock()
        self._lock = threading.Lock()
        self._listener: Optional[socket.socket] = None
        self._acceptor: Optional[threading.Thread] = None
        self._open: Dict[int, Connection] = {}

    def start(self) -> None:
        """Listen and serve. Raises ConfigError when the port cannot be had."""
        self.listen()
        self._acceptor = threading.Thread(target=self._accept_all, name="plant-tcp", daemon=True)
        self._acceptor.start()

    def stop(self) -> None:
        """End everything; returns within STOP_S."""
        self._wire.stop()
        self.unlisten()
        self._end_connections("close")
        if self._acceptor is not None:
            self._acceptor.join(STOP_S)

    def refuse(self) -> None:
        """Stop listening and reset what is open."""
        self.unlisten()
        self._end_connections("reset")

    def listen(self) -> None:
        """Take the port, the same as before if there was one."""
        with self._lock:
            if self._listener is not None or self._wire.stopped:
                return
            listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            try:
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                listener.bind((self.host, self.port))
                listener.listen(MAX_OPEN)
            except OSError as error:
                listener.close()
                raise ConfigError(
                    f"listen on {self.host}:{self.port}: {error.strerror}; choose another host or port"
                ) from error
            listener.settimeout(POLL_S)
            self.port = listener.getsockname()[1]
            self._listener = listener

    def unlisten(self) -> None:
        """Give the port up; connecting is refused from here on."""
        with self._lock:
            listener, self._listener = self._listener, None
        if listener is not None:
            shut(listener, socket.SHUT_RDWR)  # wakes the accept
            listener.close()

    def _accept_all(self) -> None:
        while not self._wire.stopped:
            listener = self._listener
            if listener is None:
                self._wire.wait(POLL_S)
                if self._in_force("refuse") is None:
                    with suppress(ConfigError):  # somebody else may have the port for the moment
                        self.listen()
                continue
            try:
                client, _ = listener.accept()
            except socket.timeout:
                continue
            except OSError as error:
                if error.errno in (errno.EMFILE, errno.ENFILE):
                    self._wire.wait(POLL_S)
                continue
            self._accept(client)

    def _accept(self, client: socket.socket) -> None:
        limit = self._in_force("connection_limit")
        most = MAX_OPEN if limit is None else limit["n"]
        with self._lock:
            counters = self._station.counters
            counters.connections += 1
            if len(self._open) >= most or self._listener is None:
                client.close()
                return
            connection = Connection(counters.connections, client, self._station)
            self._open[connection.number] = connection
            counters.open_connections = len(self._open)
            connection.thread = threading.Thread(
                target=self._serve, args=(connection,), name=f"plant-tcp-{connection.number}", daemon=True
            )
            connection.thread.start()

    def _serve(self, connection: Connection) -> None:
        try:
            connection.serve(self._idle_limit_s, self._clock)
        except (OSError, ValueError):
            pass  # the client is gone, or speaks no Modbus: either way this connection is over
        finally:
            connection.close()
            with self._lock:
                self._open.pop(connection.number, None)
                self._station.counters.open_connections = len(self._open)

    def _idle_limit_s(self) -> Optional[float]:
        params = self._in_force("idle_close")
        return None if params is None else params["after_s"]

    def _in_force(self, name: str) -> Optional[Dict[str, float]]:
        with self._station.lock:
            params = self._station.board.get(name, self._clock.monotonic())
        return None if params is None else dict(params)

    def _end_connections(self, how: str) -> None:
        with self._lock:
            leaving = list(self._open.values())
        for connection in leaving:
            connection.end(how)
        for connection in leaving:
            if connection.thread is not None and connection.thread is not threading.current_thread():
                connection.thread.join(STOP_S)
