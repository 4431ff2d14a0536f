"""One at a time, between threads and processes that share a state directory: who renews a token.

Never waits for ever: a lock that stays taken is ignored with a word in the log, because a second login does
less harm than none. The system takes the lock back when its holder dies.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
from typing import Iterator

from bridge.clock import Clock
from bridge.state import StateDir

WAIT_S = 45.0  # the other one's refresh and login take 30 s each at the very worst, and rarely 2 s
POLL_S = 0.1

log = logging.getLogger("cloud")


class Turn:
    """A named lock file in a directory."""

    def __init__(self, state: StateDir, name: str, clock: Clock) -> None:
        self._state, self._name, self._clock = state, name, clock

    @contextlib.contextmanager
    def taken(self) -> Iterator[None]:
        """Hold the lock for the time of a ``with`` block."""
        try:
            os.makedirs(self._state.path, mode=0o700, exist_ok=True)
            handle = os.open(os.path.join(self._state.path, self._name), os.O_RDWR | os.O_CREAT, 0o600)
        except OSError:
            yield  # a directory that cannot be written: nothing is shared there either
            return
        try:
            self._lock(handle)
            yield
        finally:
            os.close(handle)

    def _lock(self, handle: int) -> None:
        until = self._clock.monotonic() + WAIT_S
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except OSError:
                if self._clock.monotonic() >= until or self._clock.wait(POLL_S):
                    log.warning("event=lock-busy name=%s effect=\"two processes may log in\"", self._name)
                    return
