"""Time, in one place: wall clock, monotonic clock, and a wait that a signal can end.

Never import ``time`` anywhere else: whatever decides something takes ``now`` as an argument,
whatever waits takes a clock, so that tests run a day in a second.
"""

from __future__ import annotations

import threading
import time
from typing import Callable, List

SYNCED_AFTER = 1_704_067_200.0  # 2024-01-01: a router without an RTC boots in 1970


class Clock:
    """The machine's clocks. ``wait`` returns True once ``stop`` was called."""

    def __init__(self) -> None:
        self._stopped = threading.Event()
        self._also: List[threading.Event] = []

    def now(self) -> float:
        """Return unix seconds; may be years off before the router has met an NTP server."""
        return time.time()

    def monotonic(self) -> float:
        """Return seconds that never jump; ages and deadlines are differences of these."""
        return time.monotonic()

    def synced(self) -> bool:
        """Say whether the wall clock is plausible; tariffs and commands wait for it."""
        return self.now() >= SYNCED_AFTER

    def wait(self, seconds: float) -> bool:
        """Sleep; return True at once, and from then on, when the program is asked to stop."""
        if seconds <= 0:
            return self._stopped.is_set()
        return self._stopped.wait(seconds)

    def pause(self, seconds: float) -> None:
        """Sleep, also when the program was asked to stop: for what a device wants, a few seconds at most."""
        until = self.monotonic() + seconds
        self.wait(seconds)
        left_s = until - self.monotonic()
        if left_s > 0:
            self._sleep(left_s)

    def _sleep(self, seconds: float) -> None:
        time.sleep(seconds)

    def wait_for(self, event: threading.Event, seconds: float) -> bool:
        """Sleep until ``event`` is set, or as ``wait`` does; returns True when the program is asked to stop."""
        if event not in self._also:
            self._also.append(event)
        if seconds > 0 and not self._stopped.is_set():
            event.wait(seconds)
        return self._stopped.is_set()

    def stop(self) -> None:
        """Ask every waiter to return; safe in a signal handler and from any thread."""
        self._stopped.set()
        for event in self._also:
            event.set()

    @property
    def stopped(self) -> bool:
        """True once the program was asked to stop."""
        return self._stopped.is_set()


class ManualClock(Clock):
    """A clock that moves only when told to, or by what is waited for; for tests and simulators.

    ``at_tick`` callbacks run after every advance: simulators use them to change the world.
    """

    def __init__(self, now: float = 1_795_224_659.0, monotonic: float = 1000.0) -> None:
        super().__init__()
        self._now = now
        self._monotonic = monotonic
        self.at_tick: List[Callable[[], None]] = []

    def now(self) -> float:
        return self._now

    def monotonic(self) -> float:
        return self._monotonic

    def wait(self, seconds: float) -> bool:
        if seconds > 0 and not self.stopped:
            self.advance(seconds)
        return self.stopped

    def wait_for(self, event: threading.Event, seconds: float) -> bool:
        return self.stopped if event.is_set() else self.wait(seconds)

    def _sleep(self, seconds: float) -> None:
        self.advance(seconds)

    def advance(self, seconds: float) -> None:
        """Move both clocks forward and run the callbacks."""
        self._now += seconds
        self._monotonic += seconds
        for callback in self.at_tick:
            callback()

    def jump_wall(self, seconds: float) -> None:
        """Move the wall clock alone, as an NTP step does."""
        self._now += seconds
