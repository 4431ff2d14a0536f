"""When the tariff job runs: shortly after each price interval begins, a little later while it is an estimate.

Never reads a clock: ``now`` is an argument. Amber publishes a price 20 to 40 s after its interval began.
"""

from __future__ import annotations

import zlib
from typing import List

from bridge.errors import ConfigError

FIVE_MIN_S, HALF_HOUR_S = 300, 1800
EARLIEST_S = 20  # before that the price is not there
SPREAD_S = 10  # installations do not all ask in the same second
LOOK_S = 30.0  # between two looks at an estimate
LOOKS_MAX = 3  # an interval that stays an estimate is left so


def offset_s(name: str) -> int:
    """Return when in an interval this installation runs: 20 to 30 s after its start, always the same."""
    return EARLIEST_S + zlib.crc32(name.encode()) % (SPREAD_S + 1)


def next_runs(now: float, offset: int, every_s: int = FIVE_MIN_S, count: int = 1) -> List[float]:
    """Return the next ``count`` times at which the job runs."""
    first = (int(now) - offset) // every_s * every_s + offset
    if first <= now:
        first += every_s
    return [float(first + index * every_s) for index in range(count)]


def wait_s(now: float, offset: int, every_s: int = FIVE_MIN_S) -> float:
    """Return how long a job that was started early in an interval waits for the price; 0 when it may run."""
    into = now % every_s
    return max(0.0, offset - into)


def period_s(seconds: float) -> int:
    """Return a period of the job: 5 or 30 minutes; raises ConfigError for another."""
    if seconds not in (FIVE_MIN_S, HALF_HOUR_S):
        raise ConfigError("--every: 5m or 30m; prices come in intervals of these lengths")
    return int(seconds)
