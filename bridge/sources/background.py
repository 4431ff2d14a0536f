"""A slow source read by a thread of its own, so that it never delays the fast one.

Never asks when nobody wants a value, and never hammers: after a failure it waits.
"""

from __future__ import annotations

import logging
import threading
from typing import Any, Callable, Dict, Optional, Protocol

from bridge.clock import Clock
from bridge.errors import BridgeError, RateLimited
from bridge.model import Reading

AGAIN_S = 30.0  # after a failure that names no time of its own
MOST_S = 900.0
IDLE_S = 60.0  # only bounds the wait; a wish ends it at once


class SlowSource(Protocol):
    """What is read in the background."""

    def read(self) -> Reading:
        """Return a reading; may take seconds."""

    def prepare(self) -> None:
        """Do what can be done before a reading is wanted, such as logging in."""

    def next_in_s(self) -> float:
        """Return in how many seconds something new can come."""

    def close(self) -> None:
        """Let go of the connection."""


class Background:
    """Reads ``source`` when asked to and keeps the last reading; the thread starts with the first wish."""

    def __init__(self, source: SlowSource, clock: Clock, name: str) -> None:
        self.latest: Optional[Reading] = None
        self.error: Optional[str] = None
        self._source, self._clock = source, clock
        self._log = logging.getLogger(name)
        self._wish: Optional[Callable[[], None]] = None
        self._not_before = float("-inf")
        self._prepared_at = float("-inf")
        self._changed = threading.Condition(threading.Lock())
        self._thread: Optional[threading.Thread] = None
        self._closing = False
        self._busy = False

    def want_reading(self) -> None:
        """Ask for a new reading, unless one is on its way or it is too early; returns at once."""
        if self._clock.monotonic() >= self._not_before:
            self._ask(self._read)

    def want_ready(self) -> None:
        """Ask for the preparations, once in a while; returns at once."""
        now = self._clock.monotonic()
        if now - self._prepared_at >= MOST_S:
            self._prepared_at = now
            self._ask(self._source.prepare)

    def details(self) -> Dict[str, Any]:
        """Return what the source itself tells about its health, if it tells anything."""
        tell = getattr(self._source, "health", None)
        return dict(tell()) if tell is not None else {}

    @property
    def busy(self) -> bool:
        """True while the source is being read or a wish waits."""
        return self._busy or self._wish is not None

    def close(self) -> None:
        """End the thread as soon as what it does is over; does not wait for it."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        if self._thread is None:
            self._source.close()

    def _ask(self, what: Callable[[], None]) -> None:
        with self._changed:
            if self._busy or self._closing:
                return
            self._wish = what
            self._changed.notify()
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="slow-source", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        while True:
            with self._changed:
                while self._wish is None and not self._closing:
                    self._changed.wait(IDLE_S)
                if self._closing:
                    break
                wish, self._wish, self._busy = self._wish, None, True
            try:
                if wish is not None:
                    wish()
                self._went(None)
            except BridgeError as error:
                self._went(error)
            finally:
                self._busy = False
        self._source.close()

    def _read(self) -> None:
        self.latest = self._source.read()
        self._not_before = self._clock.monotonic() + max(1.0, self._source.next_in_s())

    def _went(self, error: Optional[BridgeError]) -> None:
        if error is None:
            if self.error is not None:
                self._log.info("state=ok")
            self.error = None
            return
        wait_s = error.retry_after_s if isinstance(error, RateLimited) else None
        self._not_before = self._clock.monotonic() + min(MOST_S, max(1.0, AGAIN_S if wait_s is None else wait_s))
        if self.error != str(error):
            self._log.warning("state=failed error=\"%s\"", error)
        self.error = str(error)
