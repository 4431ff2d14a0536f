"""Server-sent events: one thread that tells every open stream what is new.

Never waits for a reader: who has not taken what was sent before is hung up on, not buffered for. Never wakes
the loop; a reading sets a flag, and only while somebody listens. Costs nothing before the first stream.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import Callable, Dict, List, Mapping, NamedTuple, Optional

from bridge.clock import Clock

PLACES = 64
BEAT_S = 5.0  # a sign of life when there is no reading; also finds out who is gone
SEND_BUFFER = 16 * 1024  # some twenty snapshots in the kernel, then a reader counts as gone
RETRY_MS = 2000

ALIVE = b": alive\n\n"  # a comment: readers ignore it, proxies and radios keep the line open


class Told(NamedTuple):
    """What readers of one kind are told: ``first`` when they come, ``news`` for a reading, ``beat`` without one.

    Where news are only what has changed, ``whole`` repeats all of it for who has come since the last round.
    """

    first: Callable[[], bytes]
    news: Callable[[], bytes]
    beat: Callable[[], bytes]
    whole: Optional[Callable[[], bytes]] = None


class Reader:
    """An open stream; ``fresh`` until its first round."""

    __slots__ = ("kind", "connection", "fresh")

    def __init__(self, kind: str, connection: socket.socket) -> None:
        self.kind, self.connection, self.fresh = kind, connection, True


class Streams:
    """The open streams by kind; ``kinds`` says what each is told."""

    def __init__(self, clock: Clock, kinds: Mapping[str, Told]) -> None:
        self._clock, self._kinds = clock, kinds
        self._open: List[Reader] = []
        self._mutex = threading.Lock()
        self._news = threading.Event()
        self._count = 0  # of news, also while nobody listens
        self._running = self._closed = False
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._open)

    @property
    def full(self) -> bool:
        """True while there is no place for another."""
        return len(self._open) >= PLACES

    def news(self) -> None:
        """Say that there is a reading; returns at once."""
        self._count += 1
        if self._open:
            self._news.set()

    def take(self, kind: str, connection: socket.socket) -> None:
        """Take over a connection whose head of an answer is sent; raises OSError when it is gone already."""
        connection.setblocking(False)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        before = self._count
        first = b"retry: %d\n\n" % RETRY_MS + self._kinds[kind].first()
        if connection.send(first) < len(first):
            raise ConnectionError("a stream that takes nothing")
        with self._mutex:
            if self.full or self._closed:
                raise ConnectionError("no place left")
            self._open.append(Reader(kind, connection))
            if self._count != before:  # a reading came between the first words and the place in the list
                self._news.set()
            if self._running:
                return
            self._running = True
        threading.Thread(target=self._run, name="streams", daemon=True).start()

    def close(self) -> None:
        """Hang up on everybody, now and from now on."""
        with self._mutex:
            self._closed = True
            left, self._open = self._open, []
        for reader in left:
            _hang_up(reader.connection)
        self._news.set()

    def _run(self) -> None:
        while True:
            ending = self._clock.wait_for(self._news, BEAT_S)
            came = self._news.is_set()
            self._news.clear()
            if ending:
                self.close()
            if not self._tell(came):
                return

    def _tell(self, came: bool) -> bool:
        """Tell everybody; False, once, when nobody is left and the thread is to end."""
        with self._mutex:
            everybody = list(self._open)
            if not everybody:
                self._running = False
                return False
        texts: Dict[str, bytes] = {}
        whole: Dict[str, bytes] = {}
        gone = []
        for reader in everybody:
            kind, told = reader.kind, self._kinds[reader.kind]
            if kind not in texts:
                texts[kind] = told.news() if came else told.beat()
            if reader.fresh and told.whole is not None and kind not in whole:
                whole[kind] = told.whole()
            text = whole.get(kind, texts[kind]) if reader.fresh else texts[kind]
            reader.fresh = False
            if not _sent(reader.connection, text):
                gone.append(reader)
        if gone:
            with self._mutex:
                self._open = [reader for reader in self._open if reader not in gone]
                self.dropped += len(gone)
            for reader in gone:
                _hang_up(reader.connection)
        return True


def event(data: bytes, name: bytes = b"") -> bytes:
    """Return one event; ``data`` must be one line."""
    return (b"event: " + name + b"\n" if name else b"") + b"data: " + data + b"\n\n"


def _sent(connection: socket.socket, text: bytes) -> bool:
    try:
        return connection.send(text) == len(text)
    except OSError:  # also when it would block: this one does not keep up
        return False


def _hang_up(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.close()
