"""A port for a program that is told its port beforehand."""

from __future__ import annotations

import random
import socket

BELOW_WHAT_THE_SYSTEM_GIVES = range(15_000, 32_000)  # see ip_local_port_range: simulators on port 0 get others


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody has, and that nobody gets who asks the system for any port."""
    while True:
        port = random.SystemRandom().choice(BELOW_WHAT_THE_SYSTEM_GIVES)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
