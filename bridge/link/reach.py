"""Knocks at a TCP port and says in one word what came back; for diagnosis, where prose would not do.

Never sends more than the one request that it is given, and never waits longer than it is told, not
even for a name server.
"""

from __future__ import annotations

import errno
import socket
import threading
from typing import Callable, List, NamedTuple, Tuple

from bridge.link.dial import host_bytes

RESOLVE_S = 3.0  # a name server that is slower than this is no use at every start of the bridge either
HANG_UP_S = 0.2  # who closes a connection unasked does it at once
MOST_BYTES = 4096

# outcome: no_name (no address), no_route, unreachable (no sign of life), refused, hangs_up (closed before it
# was asked), resets, closes (after it was asked), silent, answers; open when nothing was asked.


class Reach(NamedTuple):
    """How far one knock got; addresses are this machine's and the peer's on that connection."""

    outcome: str
    own_address: str = ""
    peer_address: str = ""
    reply: bytes = b""
    took_s: float = 0.0


def reach(
    host: str, port: int, timeout_s: float, monotonic: Callable[[], float], request: bytes = b"",
) -> Reach:
    """Connect, and send ``request`` if there is one; ``timeout_s`` bounds the connect and the answer each."""
    found = _resolve(host, port)
    if not found:
        return Reach("no_name")
    address = found[0]
    try:
        connection = socket.create_connection((host_bytes(address), port), timeout_s)
    except OSError as error:
        return Reach(_why(error), peer_address=address)
    try:
        here = connection.getsockname()[0]
        if not request:
            return Reach("open", here, address)
        outcome, reply, took_s = _ask(connection, request, timeout_s, monotonic)
        _leave(connection)
        return Reach(outcome, here, address, reply, took_s)
    finally:
        connection.close()


def _why(error: OSError) -> str:
    if isinstance(error, ConnectionRefusedError):
        return "refused"
    return "no_route" if error.errno in (errno.ENETUNREACH, errno.EACCES) else "unreachable"


def _ask(
    connection: socket.socket, request: bytes, timeout_s: float, monotonic: Callable[[], float],
) -> Tuple[str, bytes, float]:
    if _hangs_up(connection):
        return "hangs_up", b"", 0.0
    begun = monotonic()
    reply = b""
    try:
        connection.sendall(request)
        while len(reply) < MOST_BYTES and not _complete(reply):
            left = begun + timeout_s - monotonic()
            if left <= 0:
                break
            connection.settimeout(left)
            chunk = connection.recv(MOST_BYTES)
            if not chunk:
                return ("answers" if reply else "closes"), reply, monotonic() - begun
            reply += chunk
    except socket.timeout:
        pass  # what has come until now is the answer
    except OSError:
        return "resets", reply, monotonic() - begun
    return ("answers" if reply else "silent"), reply, monotonic() - begun


def _hangs_up(connection: socket.socket) -> bool:
    connection.settimeout(HANG_UP_S)
    try:
        return not connection.recv(1, socket.MSG_PEEK)
    except socket.timeout:
        return False
    except OSError:
        return True


def _leave(connection: socket.socket) -> None:
    """Say goodbye and wait for the peer's: one that takes a single client must have noticed before the next."""
    try:
        connection.shutdown(socket.SHUT_WR)
        connection.settimeout(HANG_UP_S)
        while connection.recv(MOST_BYTES):
            continue
    except OSError:
        return  # it is gone already, or does not answer goodbyes


def _complete(reply: bytes) -> bool:
    """Say whether this is a whole Modbus TCP frame; anything else is read until the time is up."""
    return len(reply) >= 9 and len(reply) >= 6 + int.from_bytes(reply[4:6], "big")


def _resolve(host: str, port: int) -> List[str]:
    """Return the addresses of a host, none when the name server does not say so in time."""
    found: List[str] = []

    def look_up() -> None:
        try:
            entries = socket.getaddrinfo(host_bytes(host), port, type=socket.SOCK_STREAM)
            found.extend(str(entry[4][0]) for entry in entries)
        except (OSError, UnicodeError):
            return  # an empty list says it

    thread = threading.Thread(target=look_up, daemon=True)
    thread.start()
    thread.join(RESOLVE_S)
    return list(found)
