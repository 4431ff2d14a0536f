"""RFC 6455 framing for the server side of a simulated Shelly: bytes to messages and back.

Never touches a socket.
"""

from __future__ import annotations

import base64
import hashlib
import struct
from typing import Iterator, Optional, Tuple

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 section 1.3
CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
MAX_MESSAGE = 65_536  # nothing a client of a Shelly sends is longer
PROTOCOL_ERROR, TOO_BIG = 1002, 1009


class ProtocolError(Exception):
    """The client broke RFC 6455; ``code`` goes into the close frame."""

    def __init__(self, code: int) -> None:
        super().__init__(str(code))
        self.code = code


def accept_key(key: str) -> str:
    """Return Sec-WebSocket-Accept for a Sec-WebSocket-Key."""
    return base64.b64encode(hashlib.sha1(key.encode("ascii", "replace") + GUID).digest()).decode("ascii")


def encode(opcode: int, payload: bytes) -> bytes:
    """Return one unmasked, final frame."""
    size = len(payload)
    if size < 126:
        return bytes((0x80 | opcode, size)) + payload
    if size < 65_536:
        return struct.pack(">BBH", 0x80 | opcode, 126, size) + payload
    return struct.pack(">BBQ", 0x80 | opcode, 127, size) + payload


class FrameReader:
    """Turns received bytes into whole messages."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._parts = bytearray()
        self._kind = TEXT

    def feed(self, received: bytes) -> Iterator[Tuple[int, bytes]]:
        """Yield (opcode, payload) of each message that is now complete; raises ProtocolError."""
        self._buffer += received
        while True:
            frame = self._next_frame()
            if frame is None:
                return
            final, opcode, payload = frame
            if opcode >= CLOSE:
                yield opcode, payload
                continue
            if opcode != CONTINUATION:
                self._kind = opcode
                self._parts.clear()
            self._parts += payload
            if len(self._parts) > MAX_MESSAGE:
                raise ProtocolError(TOO_BIG)
            if final:
                yield self._kind, bytes(self._parts)

    def _next_frame(self) -> Optional[Tuple[bool, int, bytes]]:
        buffer = self._buffer
        if len(buffer) < 2:
            return None
        size, start = buffer[1] & 0x7F, 2
        if not buffer[1] & 0x80 or buffer[0] & 0x70:
            raise ProtocolError(PROTOCOL_ERROR)  # a client must mask; nothing was negotiated
        if size >= 126:
            start = 4 if size == 126 else 10
            if len(buffer) < start:
                return None
            size = int.from_bytes(buffer[2:start], "big")
        if size > MAX_MESSAGE:
            raise ProtocolError(TOO_BIG)
        end = start + 4 + size
        if len(buffer) < end:
            return None
        mask = bytes(buffer[start:start + 4]) * (size // 4 + 1)
        masked = int.from_bytes(buffer[start + 4:end], "big")
        payload = (masked ^ int.from_bytes(mask[:size], "big")).to_bytes(size, "big")
        final, opcode = bool(buffer[0] & 0x80), buffer[0] & 0x0F
        del buffer[:end]
        return final, opcode, payload
