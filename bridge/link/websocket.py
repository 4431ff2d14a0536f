"""A WebSocket to one device on the local network: text frames out in one burst, text frames in.

Never parses what the frames say and never waits longer than it is told. The protocol is
websocket-client's (this is the only file that imports it); its frame parser is fed from one large
buffer, which takes half the work of its own two-byte reads (measured).
"""

from __future__ import annotations

import socket
from typing import Any, Iterator, List, Optional, Sequence

from bridge.clock import Clock
from bridge.errors import ConfigError, LinkError, LinkTimeout
from bridge.link.dial import CONNECT_TIMEOUT_S, connect
from bridge.link.stream import MAX_TAKE, Stream

HANDSHAKE_TIMEOUT_S = 1.0  # the upgrade is one short answer
PING_AFTER_S = 20.0  # shelly.md section 2: half-open connections are found by pings of 30 s or less
PONG_TIMEOUT_S = 5.0
TEXT, CLOSE, PING, PONG = 0x1, 0x8, 0x9, 0xA  # RFC 6455 section 5.2
GOING = b"\x03\xe8"  # status 1000, normal closure


class UpgradeRefused(LinkError):
    """TCP works, but no WebSocket comes about; HTTP may still work."""


class WebSocketLink:
    """One WebSocket that is opened by ``connect`` and closed by every failure."""

    def __init__(
        self, name: str, host: str, port: int, path: str, clock: Clock, timeout_s: float,
    ) -> None:
        self.peer = f"{name} {host}:{port}"
        self._name, self._host, self._port, self._path = name, host, port, path
        self._clock = clock
        self._timeout_s = timeout_s
        self._abnf: Any = None
        self._outgoing: Any = None
        self._parser: Any = None
        self._stream: Optional[Stream] = None
        self._parts: List[bytes] = []
        self._pinged = 0.0

    def connect(self) -> None:
        """Open the connection; raises LinkError, UpgradeRefused, or ConfigError without the library."""
        library = _library()
        self.close()
        tcp = connect(self._name, self._host, self._port, CONNECT_TIMEOUT_S)
        client = library.WebSocket(enable_multithread=False, skip_utf8_validation=True)
        host = f"[{self._host}]" if ":" in self._host else self._host
        try:
            tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            timeout_s = min(self._timeout_s, HANDSHAKE_TIMEOUT_S)
            tcp.settimeout(timeout_s)
            client.connect(
                f"ws://{host}:{self._port}{self._path}", timeout=timeout_s, socket=tcp,
                suppress_origin=True, redirect_limit=0,
            )
        except (library.WebSocketException, OSError, ValueError, LookupError, AttributeError) as error:
            tcp.close()  # the last two: websocket-client 1.4 trips over an answer that is not HTTP
            raise self._refused(library, error) from error
        if client.status != 101:
            tcp.close()
            raise UpgradeRefused(f"{self.peer}: no WebSocket at {self._path} (HTTP {client.status})")
        self._stream = Stream(tcp, self.peer, self._timeout_s, self._clock.monotonic)
        self._abnf = library.ABNF
        self._outgoing = library.ABNF.create_frame(b"", TEXT)
        self._parser = _parser(library, self._stream)
        self._parts = []
        self._pinged = self._stream.heard

    def send(self, texts: Sequence[str]) -> None:
        """Send one text frame for each text, together; raises LinkError, LinkTimeout."""
        frame = self._outgoing
        burst = []
        for text in texts:
            frame.data = text.encode()
            burst.append(frame.format())
        self._write(b"".join(burst))

    def receive(self) -> Iterator[bytes]:
        """Yield texts as they come, for as long as the caller wants more and the time-out allows.

        Raises LinkError, LinkTimeout.
        """
        return self._texts(self._opened(), True)

    def drain(self) -> Iterator[bytes]:
        """Yield the texts that are here already; waits only for the rest of one that has begun."""
        return self._texts(self._opened(), False)

    def _texts(self, stream: Stream, wait: bool) -> Iterator[bytes]:
        stream.deadline = self._clock.monotonic() + self._timeout_s
        parser = self._parser
        try:
            while wait or stream.ready():
                frame = parser.recv_frame()
                if frame.opcode == TEXT and frame.fin and not self._parts:
                    yield frame.data
                else:
                    text = self._other(frame)
                    if text is not None:
                        yield text
        except LinkError:
            self._let_go()
            raise
        except _protocol_errors() as error:
            self._let_go()
            raise LinkError(f"{self.peer}: sent a broken WebSocket frame") from error

    def keep_alive(self) -> None:
        """Ping when nothing was heard for long; raises LinkTimeout when a ping stays unanswered.

        Call it after ``drain``, each second or so.
        """
        heard = self._opened().heard
        now = self._clock.monotonic()
        if now - heard < PING_AFTER_S:
            return
        if self._pinged <= heard:
            self._pinged = now
            self._write(self._abnf.create_frame(b"", PING).format())
        elif now - self._pinged > PONG_TIMEOUT_S:
            self._let_go()
            raise LinkTimeout(f"{self.peer}: silent for {now - heard:.0f} s; a ping got no answer")

    def close(self) -> None:
        """Say goodbye without waiting for an answer and let go of the connection."""
        if self._stream is None:
            return
        try:
            self._write(self._abnf.create_frame(GOING, CLOSE).format())
        except LinkError:
            pass  # it is gone already, which is what we want
        self._let_go()

    def _other(self, frame: Any) -> Optional[bytes]:
        """Deal with a frame that is not a whole text; return the text that it completes, if any."""
        if frame.opcode == PING:
            self._write(self._abnf.create_frame(frame.data, PONG).format())
        elif frame.opcode == CLOSE:
            raise LinkError(f"{self.peer}: closed the WebSocket")
        elif frame.opcode < CLOSE:
            return self._piece(frame)
        return None

    def _piece(self, frame: Any) -> Optional[bytes]:
        """Collect the pieces of a fragmented message."""
        self._parts.append(frame.data)
        if sum(len(part) for part in self._parts) > MAX_TAKE:
            raise LinkError(f"{self.peer}: a message of more than {MAX_TAKE} bytes")
        if not frame.fin:
            return None
        message, self._parts = b"".join(self._parts), []
        return message

    def _write(self, frames: bytes) -> None:
        try:
            self._opened().write(frames)
        except LinkError:
            self._let_go()
            raise

    def _opened(self) -> Stream:
        if self._stream is None:
            raise LinkError(f"{self.peer}: not connected")
        return self._stream

    def _let_go(self) -> None:
        if self._stream is not None:
            self._stream.close()
        self._stream = self._parser = None

    def _refused(self, library: Any, error: Exception) -> UpgradeRefused:
        if isinstance(error, library.WebSocketBadStatusException):
            why = f"HTTP {error.status_code}"
        elif isinstance(error, (library.WebSocketTimeoutException, socket.timeout)):
            why = "no answer in time"
        else:
            why = type(error).__name__
        return UpgradeRefused(f"{self.peer}: no WebSocket at {self._path} ({why})")


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
            "shelly.transport = ws: websocket-client is not installed; install it, or use script or http"
        ) from error
    return websocket


def _protocol_errors() -> Any:
    return _library().WebSocketException, ValueError


def _parser(library: Any, stream: Stream) -> Any:
    """Return the library's frame parser, reading from our stream."""
    parser = library.frame_buffer(None, True)
    parser.recv_strict = stream.take
    return parser
