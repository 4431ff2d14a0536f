"""How many requests others may have of the plant's one connection; pure, ``now`` is an argument.

Never lets the rate at the plant rise by more than the allowance, however many ask.
"""

from __future__ import annotations

from typing import Optional

BURST = 8.0  # the whole map of a plant, when a client starts
MOST_A_SECOND = 1.0  # beside the poll's two: what other programs ask of a plant for themselves
LEAST_A_SECOND = 0.1  # with a strict device the poll takes every turn, and one in ten is given away


class Allowance:
    """A token bucket; turns are given in the order in which they are asked for."""

    def __init__(self, rate: float, now: float, burst: float = BURST) -> None:
        self.rate = rate
        self._burst, self._tokens, self._filled = burst, burst, now

    def turn(self, now: float, most_s: float) -> Optional[float]:
        """Take a turn and return the seconds until it comes, or None when it would come later than ``most_s``."""
        self._tokens = min(self._burst, self._tokens + (now - self._filled) * self.rate)
        self._filled = now
        wait_s = max(0.0, (1.0 - self._tokens) / self.rate)
        if wait_s > most_s:
            return None
        self._tokens -= 1.0
        return wait_s


def spare_rate(gap_s: float, polled: int, interval_s: float) -> float:
    """Return the requests a second that are left beside ``polled`` ones each ``interval_s``."""
    if gap_s <= 0:
        return MOST_A_SECOND
    left = 1.0 / gap_s - polled / max(interval_s, 0.1)
    return min(MOST_A_SECOND, max(LEAST_A_SECOND, left))
