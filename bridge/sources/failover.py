"""Modbus first, the cloud when Modbus is lost: when to fall, when to return.

Pure: it is told what the local link did and says which source counts. Never falls for one missing
register or one refused request, and never returns on a single lucky read.
"""

from __future__ import annotations

from typing import NamedTuple

LOCAL, SUSPECT, CLOUD = "local", "suspect", "cloud"
PREPARE_S = 1.5  # ask the cloud this long before the fall, so that its value is there when it counts


class Failover(NamedTuple):
    """Where we stand; every method returns the next standing.

    ``since`` is when this state began (monotonic seconds), ``failing_since`` when the local link began to
    fail, ``good_reads`` how many good local reads came in a row while on the cloud.
    """

    fall_after_s: float
    return_after_reads: int
    state: str = SUSPECT
    since: float = 0.0
    failing_since: float = 0.0
    good_reads: int = 0

    def failed(self, now: float) -> Failover:
        """Take in that the local link gave no good reading."""
        if self.state == LOCAL:
            return self._replace(state=SUSPECT, since=now, failing_since=now, good_reads=0)
        if self.state == SUSPECT and now - self.failing_since >= self.fall_after_s:
            return self._replace(state=CLOUD, since=now, good_reads=0)
        return self._replace(good_reads=0)

    def succeeded(self, now: float) -> Failover:
        """Take in a good local reading."""
        if self.state == LOCAL:
            return self
        if self.state == SUSPECT or self.good_reads + 1 >= self.return_after_reads:
            return self._replace(state=LOCAL, since=now, good_reads=0)
        return self._replace(good_reads=self.good_reads + 1)

    def wants_cloud(self, now: float) -> bool:
        """Say whether a cloud value is needed, or will be in a moment."""
        if self.state == CLOUD:
            return True
        return self.state == SUSPECT and now - self.failing_since >= self.fall_after_s - PREPARE_S

    def wants_login(self) -> bool:
        """Say whether the cloud may soon be needed: time to have a token at hand."""
        return self.state != LOCAL
