"""One client of the plant's TCP port: takes frames off the stream, plays what the station wants done.

Never decides what is answered.
"""

from __future__ import annotations

import select
import socket
import struct
import threading
from collections import deque
from contextlib import suppress
from typing import Callable, Deque, List, Optional, Tuple

from bridge.clock import Clock
from bridge.sim.modbus_frames import Frame, take_tcp_frames, tcp_bytes
from bridge.sim.plant_station import Station

POLL_S = 0.05  # how soon a thread notices that a fault or the end has come
RECEIVE = 4096

Chunks = Tuple[Tuple[float, bytes], ...]


class Connection:
    """A connection; ``serve`` runs in a thread of its own, ``end`` may be called from any."""

    def __init__(self, number: int, client: socket.socket, station: Station) -> None:
        self.number = number
        self.thread: Optional[threading.Thread] = None
        self._socket, self._station = client, station
        self._wire = Clock()  # the line's time is real even where the plant's is not; ``end`` stops it
        self._ending = ""
        self._deaf = False
        self._in_hand = False  # a request is being served
        self._buffer = bytearray()
        self._waiting: Deque[Frame] = deque()
        self._late: List[Tuple[float, Chunks]] = []
        self._previous = b""
        client.settimeout(POLL_S)
        self._poll = select.poll()
        self._poll.register(client, select.POLLIN)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def end(self, how: str) -> None:
        """Have the connection closed (``close``) or reset (``reset``) by its own thread."""
        self._ending = how
        self._wire.stop()
        shut(self._socket, socket.SHUT_RD)  # wakes the thread; the client sees nothing of it

    def close(self) -> None:
        """Leave the line: RST if that was asked for, else FIN."""
        self._put_down()
        for _ in self._waiting:
            self._station.finished()
        self._waiting.clear()
        if self._ending == "reset":
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        else:
            shut(self._socket, socket.SHUT_WR)
        self._socket.close()

    def serve(self, idle_limit_s: Callable[[], Optional[float]], clock: Clock) -> None:
        """Serve until the client leaves or a fault ends the connection. Raises OSError, ValueError."""
        heard = clock.monotonic()
        while not self._ending:
            try:
                data = self._socket.recv(RECEIVE)
            except socket.timeout:
                limit_s = idle_limit_s()
                if limit_s is not None and clock.monotonic() - heard >= limit_s:
                    return
            else:
                if not data:
                    return
                heard = clock.monotonic()
                self._take(data)
            while self._waiting and not self._ending:
                self._answer(self._waiting.popleft())
            self._send_what_is_late()

    def _take(self, data: bytes) -> None:
        if self._deaf:
            return
        self._buffer += data
        for frame in take_tcp_frames(self._buffer):
            if self._station.arrived(self.number, frame):
                self._waiting.append(frame)

    def _answer(self, frame: Frame) -> None:
        self._in_hand = True
        reaction, pdu = self._station.handle(self.number, frame, self._previous, tcp_bytes)
        self._previous = pdu or self._previous
        if reaction.late_s:
            self._late.append((self._wire.monotonic() + reaction.late_s, reaction.chunks))
        else:
            self._play(reaction.chunks)
        self._put_down()
        if reaction.then == "stall":
            self._deaf = True
        elif reaction.then != "keep":
            self._ending = reaction.then

    def _play(self, chunks: Chunks) -> None:
        for index, (wait_s, data) in enumerate(chunks, 1):
            if wait_s and self._wire.wait(wait_s):
                return
            if self._poll.poll(0):  # a request sent before this answer is in flight beside it
                self._take(self._socket.recv(RECEIVE))
            if index == len(chunks):
                self._put_down()  # before the last bytes go: who has them may ask again at once
            self._socket.sendall(data)

    def _put_down(self) -> None:
        if self._in_hand:
            self._in_hand = False
            self._station.finished()

    def _send_what_is_late(self) -> None:
        while self._late and self._wire.monotonic() >= self._late[0][0]:
            self._play(self._late.pop(0)[1])


def shut(sock: socket.socket, how: int) -> None:
    """Shut a socket down, if it still is connected."""
    with suppress(OSError):
        sock.shutdown(how)
