"""What is worth a message: changes beyond the dead band, a change of state, and a heartbeat.

Pure. Never withholds a value that became known, unknown or invalid.
"""

from __future__ import annotations

from typing import Any, Mapping, NamedTuple, Optional

HEARTBEAT_S = 60.0  # so that a consumer can tell a quiet night from a dead bridge
EARLY = 0.9  # of the interval: a reading a second comes a few milliseconds early or late
SOC_STEP_PCT = 0.1  # the register's own resolution
POWERS = ("pv_w", "battery_charge_w", "grid_import_w", "load_w")
STATE = ("source", "valid", "load_derived")


class Sent(NamedTuple):
    """What was published last, and when (monotonic seconds)."""

    snapshot: Mapping[str, Any]
    mono: float


def due(last: Optional[Sent], snapshot: Mapping[str, Any], now: float, deadband_w: float, interval_s: float) -> bool:
    """Say whether ``snapshot`` goes out now; ``interval_s`` is the least pause between two messages of values."""
    if last is None or now - last.mono >= HEARTBEAT_S:
        return True
    before = last.snapshot
    if any(before[key] != snapshot[key] for key in STATE) or _kind(before) != _kind(snapshot):
        return True
    if any((before[key] is None) != (snapshot[key] is None) for key in (*POWERS, "soc_pct")):
        return True
    if now - last.mono < interval_s * EARLY:
        return False
    return any(_moved(before[key], snapshot[key], deadband_w) for key in POWERS) or _moved(
        before["soc_pct"], snapshot["soc_pct"], SOC_STEP_PCT / 2)


def _kind(snapshot: Mapping[str, Any]) -> str:
    """Return the reason without its numbers: an age that grows is no news."""
    return str(snapshot["reason"] or "").partition(":")[0]


def _moved(before: Optional[float], now: Optional[float], band: float) -> bool:
    return before is not None and now is not None and before != now and abs(now - before) >= band
