"""Tells the supervisor that the loop still makes progress: systemd's notify socket, procd's watchdog.

Never fails the program: a supervisor that cannot be told is one that did not ask. Facts: sd_notify(3);
procd's ``service watchdog`` object, fed over ubus (targets reference 3.1).
"""

from __future__ import annotations

import socket
from typing import Mapping, Optional

FEED_PROCD_S = 15.0  # each feed forks ubus; the instance's time-out is 60 s
UBUS_TIMEOUT_S = 5


class Notifier:
    """One supervisor; ``environ`` is what it put there (NOTIFY_SOCKET, WATCHDOG_USEC)."""

    def __init__(self, environ: Mapping[str, str], watchdog: str) -> None:
        self._socket = environ.get("NOTIFY_SOCKET", "") if watchdog in ("auto", "systemd") else ""
        self._procd = watchdog == "procd"
        usec = environ.get("WATCHDOG_USEC", "")
        self._feed_s = float(usec) / 3e6 if self._socket and usec.isdigit() else None
        if self._procd:
            self._feed_s = FEED_PROCD_S
        self._instance = environ.get("SIGEN_BRIDGE_INSTANCE", "main")
        self._fed_at: Optional[float] = None

    def ready(self, status: str) -> None:
        """Say that the service has started."""
        self._send(f"READY=1\nSTATUS={status}")

    def status(self, text: str) -> None:
        """Show one line in ``systemctl status``."""
        self._send(f"STATUS={text}")

    def stopping(self) -> None:
        """Say that the end has begun."""
        self._send("STOPPING=1")

    def alive(self, now: float) -> None:
        """Feed the watchdog, at most as often as it wants; called by the loop, never by a timer."""
        if self._feed_s is None or (self._fed_at is not None and now - self._fed_at < self._feed_s):
            return
        self._fed_at = now
        self._send("WATCHDOG=1")
        if self._procd:
            self._feed_procd()

    def _send(self, message: str) -> None:
        if not self._socket:
            return
        address = "\0" + self._socket[1:] if self._socket.startswith("@") else self._socket
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
                sender.connect(address)
                sender.sendall(message.encode())
        except OSError:
            self._socket = ""

    def _feed_procd(self) -> None:
        import subprocess  # only procd needs it

        request = '{"name":"sigen-bridge","instance":"%s"}' % self._instance
        try:
            subprocess.run(
                ["ubus", "call", "service", "watchdog", request],
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                timeout=UBUS_TIMEOUT_S, check=False,
            )
        except (OSError, subprocess.TimeoutExpired):
            return
