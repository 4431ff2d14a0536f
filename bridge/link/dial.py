"""TCP connections to devices on the local network: addresses, the connect, and why it failed.

Never waits longer than a second and never sends anything.
"""

from __future__ import annotations

import socket
from typing import Any, Tuple

from bridge.errors import LinkError, LinkTimeout

CONNECT_TIMEOUT_S = 1.0  # a second SYN goes out after 1 s; on a LAN the first one is enough


def split_host(text: str, default_port: int) -> Tuple[str, int]:
    """Split ``host``, ``host:port``, ``[v6]`` or ``[v6]:port``; raises ValueError for a bad port."""
    text = text.strip()
    if text.startswith("["):
        host, _, rest = text[1:].partition("]")
        port = rest[1:] if rest.startswith(":") else ""
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
    else:
        host, port = text, ""
    if not host or (port and not (port.isdigit() and 0 < int(port) < 65536)):
        raise ValueError(f"{text!r} is not host or host:port")
    return host, int(port) if port else default_port


def host_bytes(host: str) -> Any:
    """Return a host as bytes if it is ASCII: a str makes getaddrinfo load the idna codec.

    That costs 1.4 MiB (measured), and OpenWrt ships it as a package of its own.
    """
    return host.encode() if host.isascii() else host


def connect(name: str, host: str, port: int, timeout_s: float) -> socket.socket:
    """Open a TCP connection; raises LinkError or LinkTimeout saying what to check."""
    try:
        return socket.create_connection((host_bytes(host), port), timeout_s)
    except OSError as error:
        raise connect_error(f"{name} {host}:{port}", error, timeout_s) from error


def connect_error(peer: str, error: OSError, timeout_s: float) -> LinkError:
    """Say why no connection came about and what to check."""
    if isinstance(error, socket.timeout):
        return LinkTimeout(f"{peer}: no connection in {timeout_s:g} s; check power, address and network")
    if isinstance(error, ConnectionRefusedError):
        return LinkError(f"{peer}: connection refused; check the address and the port")
    if isinstance(error, socket.gaierror):
        return LinkError(f"{peer}: this name has no address; check the spelling or use the IP address")
    return LinkError(f"{peer}: cannot connect ({error.strerror or error}); check address and network")
