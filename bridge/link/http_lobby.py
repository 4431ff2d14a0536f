"""The waiting room of the HTTP server: connections that have not said a whole request yet, without a thread.

Never lets who waits keep out who asks: a head must be complete within seconds, and when every place is taken
the one that has waited longest leaves.
"""

from __future__ import annotations

import contextlib
import select
import socket
from typing import Callable, Dict, List, Optional

HEAD_S = 3.0  # from the first byte to the last of a head; a phone at the edge of the Wi-Fi needs one
IDLE_S = 30.0  # between two requests of a kept connection
PLACES = 64
MAX_HEAD = 8 * 1024
CHUNK = 4096
END = b"\r\n\r\n"


class Visitor:
    """A connection and what it has sent so far; ``leaves`` is the monotonic moment when we hang up."""

    __slots__ = ("connection", "received", "leaves", "served")

    def __init__(self, connection: socket.socket) -> None:
        self.connection, self.received, self.leaves, self.served = connection, b"", 0.0, False

    def head(self) -> Optional[bytes]:
        """Take a whole head out of what was received, or None while there is none."""
        end = self.received.find(END)
        if end < 0:
            return None
        head, self.received = self.received[: end + len(END)], self.received[end + len(END):]
        return head

    def take(self, count: int, limit_s: float, monotonic: Callable[[], float]) -> bytes:
        """Return the next ``count`` bytes, waiting ``limit_s`` at most; raises OSError."""
        end = monotonic() + limit_s
        while len(self.received) < count:
            self.connection.settimeout(max(0.001, end - monotonic()))
            chunk = self.connection.recv(CHUNK)
            if not chunk or monotonic() > end:
                raise ConnectionError("the body did not come")
            self.received += chunk
        taken, self.received = self.received[:count], self.received[count:]
        return taken

    def say(self, line: str) -> None:
        """Send a last word if it can be had at once, then hang up."""
        with contextlib.suppress(OSError):
            self.connection.send(f"HTTP/1.1 {line}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
        self.close()

    def close(self) -> None:
        """Hang up."""
        with contextlib.suppress(OSError):
            self.connection.close()


class Lobby:
    """The visitors by file descriptor, and the one poll object that hears them and the server's own sockets."""

    def __init__(self) -> None:
        self._visitors: Dict[int, Visitor] = {}
        self._poll = select.poll()

    def watch(self, number: int) -> None:
        """Hear a socket that is no visitor, too."""
        self._poll.register(number, select.POLLIN)

    def wait(self, now: float) -> List[int]:
        """Sleep until somebody is heard or over time; returns the descriptors heard."""
        leaves = min((visitor.leaves for visitor in self._visitors.values()), default=None)
        pause_ms = None if leaves is None else max(0, int((leaves - now) * 1000) + 1)
        return [number for number, _ in self._poll.poll(pause_ms)]

    def enter(self, visitor: Visitor, now: float) -> None:
        """Give a place to who comes for the first time or again, for which another may have to leave."""
        if len(self._visitors) >= PLACES:
            self.make_room()
        visitor.leaves = now + (HEAD_S if visitor.received or not visitor.served else IDLE_S)
        number = visitor.connection.fileno()
        self._visitors[number] = visitor
        self._poll.register(number, select.POLLIN)

    def hear(self, number: int, now: float) -> Optional[Visitor]:
        """Take in what one visitor sends; returns it, no longer waiting here, once its head is whole."""
        visitor = self._visitors.get(number)
        if visitor is None:
            return None
        try:
            chunk = visitor.connection.recv(CHUNK)
        except BlockingIOError:
            return None
        except OSError:
            chunk = b""
        if not chunk:
            self._leave(number).close()
            return None
        if not visitor.received:
            visitor.leaves = now + HEAD_S
        visitor.received += chunk
        end = visitor.received.find(END)
        if max(end, 0) + len(END) > MAX_HEAD or (end < 0 and len(visitor.received) > MAX_HEAD):
            self._leave(number).say("431 Request Header Fields Too Large")
        elif end >= 0:
            return self._leave(number)
        return None

    def end_late(self, now: float) -> None:
        """Hang up on who is over time."""
        for number in [number for number, visitor in self._visitors.items() if visitor.leaves <= now]:
            visitor = self._leave(number)
            if visitor.received:
                visitor.say("408 Request Timeout")
            else:
                visitor.close()

    def make_room(self) -> bool:
        """Hang up on who has waited longest; False when nobody waits."""
        if not self._visitors:
            return False
        self._leave(next(iter(self._visitors))).close()
        return True

    def close(self) -> None:
        """Hang up on everybody."""
        while self.make_room():
            pass

    def _leave(self, number: int) -> Visitor:
        self._poll.unregister(number)
        return self._visitors.pop(number)
