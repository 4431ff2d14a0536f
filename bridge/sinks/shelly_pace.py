"""How often a Shelly may be bothered: slower when it asks for that, and not at all for a while when it is down.

Never waits itself; it answers "now?" for a given moment.
"""

from __future__ import annotations

from typing import Optional

from bridge.errors import AuthError, BridgeError, ConfigError, LinkError, ShellyError
from bridge.peers.shelly import random_part

SLOW_START_S = 2.0  # half the usual rate
SLOWEST_S = 30.0
RECOVER_S = 60.0  # this long without complaint doubles the rate again
RETRY_S = 0.8  # attempts start no closer than this: at one reading a second, one attempt each
RETRY_JITTER_S = 0.15  # and not in step with other clients that lost the device at the same moment
OPERATOR_FIRST_S = 1.0  # a wrong device or model stays wrong until somebody acts ...
OPERATOR_MOST_S = 30.0  # ... so the pauses double up to this


class Pace:
    """The least time between two rounds of writes: none, until the device says that it is too much."""

    def __init__(self) -> None:
        self._gap_s = 0.0
        self._next = 0.0
        self._calm_since = 0.0

    def due(self, now: float) -> bool:
        """Say whether a round may start now."""
        return now >= self._next

    def slow(self, now: float) -> None:
        """Halve the rate."""
        self._gap_s = min(max(SLOW_START_S, 2 * self._gap_s), SLOWEST_S)
        self._next = now + self._gap_s
        self._calm_since = now

    def good(self, now: float) -> None:
        """Note a round without complaint; after a minute of them the rate doubles."""
        if not self._gap_s:
            return
        if now - self._calm_since >= RECOVER_S:
            self._calm_since = now
            self._gap_s = self._gap_s / 2 if self._gap_s > SLOW_START_S else 0.0
        self._next = now + self._gap_s * 0.95  # a round that starts a little early is not put off for a whole cycle


class Patience:
    """When to try again after a failure; in between, the failure is raised as it was."""

    def __init__(self) -> None:
        self._error: Optional[BridgeError] = None
        self._again_at = 0.0
        self._pause_s = OPERATOR_FIRST_S

    def check(self, now: float) -> None:
        """Raise the last error while it is too early for another attempt."""
        if self._error is not None and now < self._again_at:
            raise self._error

    def failed(self, error: BridgeError, started: float) -> None:
        """Note a failure; pauses count from the start of the attempt, which may itself have taken long."""
        self._error = error
        if isinstance(error, (ShellyError, ConfigError, AuthError)) and not isinstance(error, LinkError):
            self._again_at = started + self._pause_s
            self._pause_s = min(2 * self._pause_s, OPERATOR_MOST_S)
        else:
            self._pause_s = OPERATOR_FIRST_S
            self._again_at = started + RETRY_S + RETRY_JITTER_S * random_part()

    def passed(self) -> None:
        """Note that everything works."""
        self._error = None
        self._pause_s = OPERATOR_FIRST_S
