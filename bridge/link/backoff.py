"""When a broken connection is tried again: later each time, and not in step with others.

Pure: ``now`` and the random part are arguments. Never says "now" before the pause is over.
"""

from __future__ import annotations

import os

JITTER = 0.2  # of the pause: five hundred sites must not come back in the same second


class Backoff:
    """Pauses that double from ``first_s`` to ``most_s`` while it fails, and begin anew after a success."""

    def __init__(self, first_s: float, most_s: float) -> None:
        self._first_s, self._most_s = first_s, most_s
        self._pause_s = 0.0
        self._not_before = float("-inf")

    def due(self, now: float) -> bool:
        """Say whether it may be tried at ``now`` (monotonic seconds)."""
        return now >= self._not_before

    def in_s(self, now: float) -> float:
        """Return in how many seconds it may be tried."""
        return max(0.0, self._not_before - now)

    def failed(self, now: float, luck: float, at_least_s: float = 0.0) -> float:
        """Take in a failure; ``luck`` is 0..1. Returns the pause."""
        self._pause_s = min(self._most_s, 2 * self._pause_s) if self._pause_s else self._first_s
        pause_s = max(self._pause_s, at_least_s) * (1.0 + JITTER * luck)
        self._not_before = now + pause_s
        return pause_s

    def worked(self) -> None:
        """Take in a success."""
        self._pause_s = 0.0
        self._not_before = float("-inf")


def luck() -> float:
    """Return a random number from 0 to 1, of the system's own source: routers boot with equal seeds."""
    return int.from_bytes(os.urandom(2), "big") / 65535.0
