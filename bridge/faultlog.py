"""Says that something broke once, then counts, then says that it works again.

Never writes more than ten lines an hour for one fault, also when it comes and goes every few seconds:
the log of a router is a 64 KB ring.
"""

from __future__ import annotations

import logging
from typing import Optional

from bridge.clock import Clock

REPEAT_S = 600.0  # one counted line each ten minutes while a fault lasts
BURST = 4  # lines that may be said at once; with one more each ten minutes that is ten in the first hour


class FaultLog:
    """The log of one thing that can be broken or fine; ``name`` is the logger and the subject."""

    def __init__(self, clock: Clock, name: str) -> None:
        self._clock = clock
        self._log = logging.getLogger(name)
        self._since: Optional[float] = None  # when the fault that was said began
        self._failing = False
        self._count = 0
        self._next_line = 0.0
        self._lines = float(BURST)
        self._filled = clock.monotonic()

    @property
    def active(self) -> bool:
        """True while the last word was bad."""
        return self._failing

    def bad(self, text: str) -> None:
        """Report a failure; logged the first time and then once every ten minutes with a count."""
        now = self._clock.monotonic()
        self._failing = True
        self._count += 1
        if self._since is None:
            if self._may_speak(now):
                self._since, self._next_line = now, now + REPEAT_S
                self._log.warning("state=failed count=%d error=\"%s\"", self._count, text)
        elif now >= self._next_line and self._may_speak(now):
            self._next_line = now + REPEAT_S
            self._log.warning("state=failed for_s=%d count=%d error=\"%s\"", now - self._since, self._count, text)

    def good(self) -> None:
        """Report success; the recovery from a fault that was logged is logged once."""
        self._failing = False
        if self._since is None:
            return
        now = self._clock.monotonic()
        if self._may_speak(now):
            self._log.info("state=ok after_s=%d failures=%d", now - self._since, self._count)
            self._since, self._count = None, 0

    def _may_speak(self, now: float) -> bool:
        self._lines = min(float(BURST), self._lines + (now - self._filled) / REPEAT_S)
        self._filled = now
        if self._lines < 1.0:
            return False
        self._lines -= 1.0
        return True
