"""Listens to a serial line without saying a word: what comes in by itself tells which port it is.

Never sends a byte, and never listens longer than it is told.
"""

from __future__ import annotations

import errno
import fcntl
import select
from typing import Callable

from bridge.errors import LinkError
from bridge.link.modbus_rtu import PortLocked, open_port

MOST_BYTES = 65_536  # 2 s at 115200 baud are 23,000
WRITE_TIMEOUT_S = 1.0  # nothing is written; the port wants a number


def listen(device: str, baud: int, seconds: float, monotonic: Callable[[], float]) -> bytes:
    """Return the bytes that came in within ``seconds``; raises LinkError, PortLocked or ConfigError."""
    port = open_port(device, baud, WRITE_TIMEOUT_S)
    try:
        try:
            fcntl.flock(port.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise PortLocked(f"serial {device}: another program is using the port; stop it first") from error
        return _collect(port, monotonic() + seconds, monotonic)
    except OSError as error:  # pyserial's own has no number
        gone = OSError(errno.EIO, str(error))
        raise LinkError(f"serial {device}: the port is gone ({error}); check the USB adapter") from gone
    finally:
        port.close()


def _collect(port: object, deadline: float, monotonic: Callable[[], float]) -> bytes:
    heard = b""
    while len(heard) < MOST_BYTES:
        left = deadline - monotonic()
        if left <= 0 or not select.select([port.fileno()], [], [], left)[0]:  # type: ignore[attr-defined]
            break
        chunk = port.read(4096)  # type: ignore[attr-defined]
        if not chunk:
            raise OSError(errno.EIO, "readable, but nothing to read")
        heard += chunk
    return heard
