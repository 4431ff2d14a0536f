"""One accepted TCP connection of a simulated Shelly, and the six channels HTTP calls may hold.

Never interprets a byte. A thread owns each connection and closes it; others may only ask it to end.
"""

from __future__ import annotations

import socket
import struct
import threading
from typing import Callable, List, Optional, Tuple

CHANNELS = 6  # simultaneous non-persistent RPC channels ("RPC Channels"); a WebSocket is not counted

SLICE_S = 5.0  # how long one receive waits before the connection looks whether it has been ended
SEND_S = 5.0  # a client that does not read for this long has lost its connection
PARK_S = 0.05  # how often a parked connection looks round
DRAIN_S = 0.5  # how long a refused request is read on, so that the refusal is not lost in a reset
DRAIN_BYTES = 1 << 20
RESET = struct.pack("ii", 1, 0)  # SO_LINGER on, 0 s: close sends RST


class Connection:
    """A socket with an end that any thread may ask for."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._ended = False
        self._muted = False
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def receive(self, size: int, within_s: float = 0.0) -> bytes:
        """Return the next bytes, b"" once the connection is over or ``within_s`` (0: no limit) has passed."""
        self._sock.settimeout(within_s or SLICE_S)
        while not self._ended:
            try:
                return self._sock.recv(size)
            except socket.timeout:
                if within_s:
                    return b""
            except OSError:
                return b""
        return b""

    def send(self, content: bytes) -> bool:
        """Send all of it; False when the connection is over or the client does not read."""
        if self._ended or self._muted:
            return False
        try:
            self._sock.settimeout(SEND_S)
            self._sock.sendall(content)
        except OSError:
            self.end()
            return False
        return True

    def mute(self) -> None:
        """Swallow what is sent from now on."""
        self._muted = True

    def end(self, reset: bool = False) -> None:
        """Ask the owner to close; ``reset`` makes that a RST instead of an orderly end."""
        self._ended = True
        try:
            if reset:
                self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            # Ending only the reading side puts nothing on the wire but wakes the owner's receive.
            self._sock.shutdown(socket.SHUT_RD if reset else socket.SHUT_RDWR)
        except OSError:
            return  # the client was faster

    def park(self, while_true: Callable[[], bool]) -> None:
        """Hold the connection without a word until the client leaves or ``while_true`` says no."""
        self._sock.settimeout(PARK_S)
        while not self._ended and while_true():
            try:
                if not self._sock.recv(4096):
                    return
            except socket.timeout:
                continue
            except OSError:
                return

    def finish(self, drain: bool) -> None:
        """End our direction; with ``drain`` read what the client is still sending."""
        try:
            self._sock.shutdown(socket.SHUT_WR)
        except OSError:
            return
        left = DRAIN_BYTES if drain else 0
        while left > 0:
            received = self.receive(65_536, DRAIN_S)
            if not received:
                return
            left -= len(received)

    def close(self) -> None:
        """Close the socket; only the owner calls this."""
        self._ended = True
        self._sock.close()


class Channel:
    """One HTTP call in progress; whoever answers first, answers."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.answered = False
        self._lock = threading.Lock()

    def answer(self, content: bytes) -> bool:
        """Send the reply unless there was one; returns whether this was it."""
        with self._lock:
            if self.answered:
                return False
            self.answered = True
        self.connection.send(content)
        return True


class Channels:
    """The HTTP calls in progress, oldest first."""

    def __init__(self) -> None:
        self._open: List[Channel] = []
        self._lock = threading.Lock()

    def open(self, connection: Connection) -> Tuple[Channel, Optional[Channel]]:
        """Return a new channel, and the oldest one when that makes one too many."""
        channel = Channel(connection)
        with self._lock:
            self._open.append(channel)
            return channel, self._open.pop(0) if len(self._open) > CHANNELS else None

    def close(self, channel: Channel) -> None:
        """Forget a channel that has ended."""
        with self._lock:
            if channel in self._open:
                self._open.remove(channel)
