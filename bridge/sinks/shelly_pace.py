"""How often a Shelly may be bothered: less when it asks for that or is down, and quickly again after that.

Never waits itself; it answers "now?" for a given moment. A fault that is over must be over on the display
within 2 s (issue and DESIGN ruling 5), so what is young is tried every second or two, and only what lasts
is tried seldom.
"""

from __future__ import annotations

from typing import Optional

from bridge.errors import AuthError, BridgeError, ConfigError, ShellyError
from bridge.peers.shelly import random_part

YOUNG_S = 30.0  # a trouble younger than this is taken for one that passes
HALF_RATE_S = 1.8  # every other reading at one a second
SLOWEST_S = 15.0
RECOVER_S = 60.0  # this long without complaint doubles the rate again
RETRY_S = 0.8  # attempts start no closer than this: at one reading a second, one attempt each
RETRY_JITTER_S = 0.15  # and not in step with other clients that lost the device at the same moment
OPERATOR_MOST_S = 30.0  # a wrong device, model or password stays wrong until somebody acts


class Pace:
    """The least time between two rounds of writes: none, until the device says that it is too much."""

    def __init__(self) -> None:
        self._gap_s = 0.0
        self._next = 0.0
        self._since = 0.0  # of the first complaint
        self._calm_since = 0.0

    def due(self, now: float) -> bool:
        """Say whether a round may start now."""
        return now >= self._next

    def slow(self, now: float) -> None:
        """Halve the rate; a device that keeps complaining is asked less and less."""
        if not self._gap_s:
            self._since = now
            self._gap_s = HALF_RATE_S
        elif now - self._since > YOUNG_S:
            self._gap_s = min(2 * self._gap_s, SLOWEST_S)
        self._next = now + self._gap_s
        self._calm_since = now

    def allow(self, now: float) -> None:
        """Let the next round start at once; the gap holds again behind it."""
        self._next = now

    def good(self, now: float) -> None:
        """Note a round without complaint; after a minute of them the rate doubles."""
        if not self._gap_s:
            return
        if now - self._calm_since >= RECOVER_S:
            self._calm_since = now
            self._gap_s = self._gap_s / 2 if self._gap_s > HALF_RATE_S else 0.0
        self._next = now + self._gap_s


class Patience:
    """When to try again after a failure; in between, the failure is raised as it was."""

    def __init__(self) -> None:
        self._error: Optional[BridgeError] = None
        self._since = 0.0
        self._again_at = 0.0
        self._pause_s = RETRY_S

    def check(self, now: float) -> None:
        """Raise the last error while it is too early for another attempt."""
        if self._error is not None and now < self._again_at:
            raise self._error

    def failed(self, error: BridgeError, started: float) -> None:
        """Note a failure; pauses count from the start of the attempt, which may itself have taken long."""
        operator = isinstance(error, (ShellyError, ConfigError, AuthError))
        if self._error is None or type(error) is not type(self._error):
            self._since, self._pause_s = started, RETRY_S
        elif operator and started - self._since > YOUNG_S:
            self._pause_s = min(2 * self._pause_s, OPERATOR_MOST_S)
        self._error = error
        self._again_at = started + self._pause_s + RETRY_JITTER_S * random_part()

    def passed(self) -> None:
        """Note that everything works."""
        self._error = None
