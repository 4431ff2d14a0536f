"""A WebSocket to one device on the local network: text frames out in one burst, text frames in.

Never parses what the frames say and never waits longer than it is told. The protocol is
websocket-client's (this is the only file that imports it); the reading side only feeds its frame
parser from one large buffer, which takes a third of the work of its own two-byte reads (measured).
"""

from __future__ import annotations

import select
import socket
from typing import Any, List, Optional, Sequence

from bridge.clock import Clock
from bridge.errors import ConfigError, LinkError, LinkTimeout
from bridge.link.dial import CONNECT_TIMEOUT_S, connect

HANDSHAKE_TIMEOUT_S = 1.0  # the upgrade is one short answer
PING_AFTER_S = 20.0  # shelly.md section 2: half-open sockets are found by pings of 30 s or less
PONG_TIMEOUT_S = 5.0
CHUNK = 65_536
MAX_FRAME = 262_144  # the longest real frame, ten components with icons, is some 10 KB
TEXT, CLOSE, PING, PONG = 0x1, 0x8, 0x9, 0xA  # RFC 6455 section 5.2


class UpgradeRefused(LinkError):
    """TCP works, but no WebSocket comes about; HTTP may still work."""


class _NothingYet(Exception):
    """No bytes are there and we were told not to wait."""


class WebSocketLink:
    """One WebSocket that is opened by ``connect`` and closed by every failure."""

    def __init__(self, name: str, host: str, port: int, path: str, clock: Clock) -> None:
        self.peer = f"{name} {host}:{port}"
        self._name, self._host, self._port, self._path = name, host, port, path
        self._clock = clock
        self._client: Any = None
        self._abnf: Any = None
        self._parser: Any = None
        self._socket: Optional[socket.socket] = None
        self._readable = select.poll()
        self._buffer = b""
        self._at = 0
        self._deadline: Optional[float] = None
        self._parts: List[bytes] = []
        self._heard = 0.0
        self._pinged = 0.0

    @property
    def connected(self) -> bool:
        """True from ``connect`` until the first failure or ``close``."""
        return self._socket is not None

    def connect(self) -> None:
        """Open the connection; raises LinkError, UpgradeRefused, or ConfigError without the library."""
        library = _library()
        self.close()
        tcp = connect(self._name, self._host, self._port, CONNECT_TIMEOUT_S)
        client = library.WebSocket(enable_multithread=False, skip_utf8_validation=True)
        host = f"[{self._host}]" if ":" in self._host else self._host
        try:
            tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            tcp.settimeout(HANDSHAKE_TIMEOUT_S)
            client.connect(
                f"ws://{host}:{self._port}{self._path}", timeout=HANDSHAKE_TIMEOUT_S, socket=tcp,
                suppress_origin=True, redirect_limit=0,
            )
            if client.status != 101:
                raise UpgradeRefused(f"{self.peer}: no WebSocket (HTTP {client.status})")
            tcp.setblocking(False)
        except (library.WebSocketException, OSError, ValueError) as error:
            tcp.close()
            raise self._refused(library, error) from error
        except LinkError:
            tcp.close()
            raise
        self._client, self._abnf, self._socket = client, library.ABNF, tcp
        self._parser = _parser(library, self._take)
        self._buffer, self._at, self._parts = b"", 0, []
        self._readable = select.poll()
        self._readable.register(tcp, select.POLLIN)
        self._heard = self._pinged = self._clock.monotonic()

    def _refused(self, library: Any, error: Exception) -> UpgradeRefused:
        if isinstance(error, library.WebSocketBadStatusException):
            return UpgradeRefused(f"{self.peer}: no WebSocket at {self._path} (HTTP {error.status_code})")
        if isinstance(error, (library.WebSocketTimeoutException, socket.timeout)):
            return UpgradeRefused(f"{self.peer}: no WebSocket in {HANDSHAKE_TIMEOUT_S:g} s after asking for one")
        return UpgradeRefused(f"{self.peer}: the WebSocket upgrade failed ({type(error).__name__})")

    def send(self, texts: Sequence[str], timeout_s: float) -> None:
        """Send one text frame for each text, together; raises LinkError, LinkTimeout."""
        create = self._abnf.create_frame
        self._write(b"".join([create(text, TEXT).format() for text in texts]), timeout_s)

    def receive(self, deadline: float) -> bytes:
        """Return the next text, waiting until ``deadline`` (monotonic); raises LinkError, LinkTimeout."""
        self._deadline = deadline
        while True:
            text = self._next()
            if text is not None:
                return text

    def drain(self) -> List[bytes]:
        """Return the texts that are here already; does not wait. Raises LinkError."""
        texts = []
        self._deadline = None
        try:
            while True:
                text = self._next()
                if text is not None:
                    texts.append(text)
        except _NothingYet:
            return texts

    def keep_alive(self) -> None:
        """Ping when nothing was heard for long; raises LinkTimeout when a ping stays unanswered.

        Call it after ``drain``, each second or so.
        """
        now = self._clock.monotonic()
        if now - self._heard < PING_AFTER_S:
            return
        if self._pinged < self._heard:
            self._pinged = now
            self._write(self._abnf.create_frame(b"", PING).format(), PONG_TIMEOUT_S)
        elif now - self._pinged > PONG_TIMEOUT_S:
            silent_s = now - self._heard
            raise self._lost(LinkTimeout(f"{self.peer}: silent for {silent_s:.0f} s; a ping got no answer"))

    def close(self) -> None:
        """Say goodbye without waiting for an answer and let go of the socket."""
        if self._socket is None:
            return
        try:
            self._socket.send(self._abnf.create_frame(b"\x03\xe8", CLOSE).format())
        except OSError:
            pass  # it is gone already, which is what we want
        self._socket.close()
        self._socket = self._client = self._parser = None

    def _next(self) -> Optional[bytes]:
        """Read one frame; return its text if it completes one."""
        if self._parser is None:
            raise LinkError(f"{self.peer}: not connected")
        try:
            frame = self._parser.recv_frame()
        except (_NothingYet, LinkError):
            raise
        except (_library().WebSocketException, ValueError) as error:
            raise self._lost(LinkError(f"{self.peer}: sent a broken WebSocket frame")) from error
        opcode = frame.opcode
        if opcode == TEXT and frame.fin and not self._parts:
            return frame.data
        if opcode == PING:
            self._write(self._abnf.create_frame(frame.data, PONG).format(), PONG_TIMEOUT_S)
        elif opcode == CLOSE:
            raise self._lost(LinkError(f"{self.peer}: closed the WebSocket"))
        elif opcode < CLOSE:
            return self._piece(frame)
        return None

    def _piece(self, frame: Any) -> Optional[bytes]:
        """Collect the pieces of a fragmented message."""
        self._parts.append(frame.data)
        if sum(len(part) for part in self._parts) > MAX_FRAME:
            raise self._lost(LinkError(f"{self.peer}: a message of more than {MAX_FRAME} bytes"))
        if not frame.fin:
            return None
        message, self._parts = b"".join(self._parts), []
        return message

    def _take(self, count: int) -> bytes:
        """Return the next ``count`` bytes; the library's parser goes on where it was interrupted."""
        at = self._at
        end = at + count
        while end > len(self._buffer):
            if count > MAX_FRAME:
                raise self._lost(LinkError(f"{self.peer}: a frame of {count} bytes"))
            chunk = self._read()
            self._buffer = self._buffer[at:] + chunk
            at, end = 0, count
            self._at = 0
        self._at = end
        return self._buffer[at:end]

    def _read(self) -> bytes:
        tcp = self._socket
        assert tcp is not None
        while True:
            try:
                chunk = tcp.recv(CHUNK)
            except BlockingIOError:
                self._wait()
                continue
            except OSError as error:
                raise self._lost(LinkError(f"{self.peer}: connection lost ({error.strerror})")) from error
            if not chunk:
                raise self._lost(LinkError(f"{self.peer}: closed the connection"))
            self._heard = self._clock.monotonic()
            return chunk

    def _wait(self) -> None:
        if self._deadline is None:
            raise _NothingYet
        left_s = self._deadline - self._clock.monotonic()
        if left_s <= 0 or not self._readable.poll(left_s * 1000):
            raise self._lost(LinkTimeout(f"{self.peer}: connected, but no answer in time; is it overloaded?"))

    def _write(self, frames: bytes, timeout_s: float) -> None:
        tcp = self._socket
        if tcp is None:
            raise LinkError(f"{self.peer}: not connected")
        try:
            sent = tcp.send(frames)
            if sent < len(frames):  # rare: the send buffer is full because nobody reads
                tcp.settimeout(timeout_s)
                tcp.sendall(frames[sent:])
                tcp.setblocking(False)
        except (BlockingIOError, socket.timeout) as error:
            raise self._lost(LinkTimeout(f"{self.peer}: takes no more data")) from error
        except OSError as error:
            raise self._lost(LinkError(f"{self.peer}: connection lost ({error.strerror})")) from error

    def _lost(self, error: LinkError) -> LinkError:
        if self._socket is not None:
            self._socket.close()
        self._socket = self._client = self._parser = None
        return error


def available() -> bool:
    """Say whether the WebSocket library is installed."""
    try:
        _library()
    except ConfigError:
        return False
    return True


def _library() -> Any:
    try:
        import websocket
    except ImportError as error:
        raise ConfigError(
            "shelly.transport = ws: the package websocket-client is not installed; install it or use script or http"
        ) from error
    return websocket


def _parser(library: Any, take: Any) -> Any:
    """Return the library's frame parser, reading through ``take``."""

    class Parser(library.frame_buffer):  # type: ignore[misc, name-defined]
        """The frame parser on our buffer."""

        def recv_strict(self, bufsize: int) -> bytes:
            """Return exactly ``bufsize`` bytes."""
            return take(bufsize)

    return Parser(None, True)
