"""The newest state in memory, as the snapshot that HTTP, MQTT and files serve (schema 1).

Never blocks: the loop stores a tuple, whoever asks pays for the rendering. A value that is unknown or
too old is null, never 0.
"""

from __future__ import annotations

from typing import Any, Dict, Optional

from bridge.clock import Clock
from bridge.model import Reading, battery_text, grid_text, validity_s
from bridge.sinks.display import display_values

SCHEMA = 1


class StatusSink:
    """Keeps the last reading and the last good one."""

    name = "status"

    def __init__(self, clock: Clock, first_id: int) -> None:
        self._clock, self._first_id = clock, first_id
        self._latest: Optional[Reading] = None
        self._good: Optional[Reading] = None

    def write(self, reading: Reading) -> None:
        """Take the newest reading, valid or not."""
        self._latest = reading
        if reading.valid:
            self._good = reading

    def close(self) -> None:
        """Nothing to let go of."""

    @property
    def good(self) -> Optional[Reading]:
        """The last good reading, however old."""
        return self._good

    @property
    def newest(self) -> Optional[Reading]:
        """The newest reading, valid or not."""
        return self._latest

    def snapshot(self) -> Dict[str, Any]:
        """Return the contract's snapshot of this moment; ages are monotonic."""
        latest = self._latest
        if latest is None:
            return _snapshot(None, None, None, "no reading yet", self._first_id)
        now = self._clock.monotonic()
        valid_s = validity_s(latest.source)
        shown = latest
        if not latest.valid and self._good is not None and latest.mono == self._good.mono:
            shown = self._good  # the loop's stale copy: judge its age here, at the moment of asking
        age_s = now - shown.mono
        if age_s > valid_s:
            return _snapshot(None, shown, age_s, f"stale: no reading for {age_s:.0f} s", self._first_id)
        good = self._good if self._good is not None and now - self._good.mono <= valid_s else None
        return _snapshot(shown, good, age_s, shown.reason, self._first_id)


def _snapshot(
    shown: Optional[Reading], display: Optional[Reading], age_s: Optional[float],
    reason: Optional[str], first_id: int,
) -> Dict[str, Any]:
    at_source = shown or display
    stale = shown is None
    values = display_values(display, first_id) if display is not None and not stale else {}
    return {
        "schema": SCHEMA,
        "at": round(at_source.at, 3) if at_source else None,
        "source": at_source.source if at_source else None,
        "age_s": None if age_s is None else round(age_s, 1),
        "valid": shown is not None and shown.valid,
        "reason": reason,
        "balance_w": plain(shown and shown.balance_w),
        "pv_w": plain(shown and shown.pv_w),
        "soc_pct": None if shown is None else shown.soc_pct,
        "battery_charge_w": plain(shown and shown.battery_w),
        "grid_import_w": plain(shown and shown.grid_w),
        "load_w": plain(shown and shown.load_w),
        "load_derived": bool(shown and shown.load_derived),
        "vc": {str(first_id + offset): values.get(first_id + offset) for offset in range(5)},
    }


def plain(number: Any) -> Any:
    """Return a power as a whole number of watts where it is one; None stays None."""
    if isinstance(number, float) and number.is_integer():
        return int(number)
    return number


def line(reading: Reading) -> str:
    """Return one reading as the line that ``run`` prints on a terminal."""

    def watts(power: Optional[float]) -> str:
        return "unknown" if power is None else f"{power:.0f} W"

    soc = "unknown" if reading.soc_pct is None else f"{reading.soc_pct:.1f} %"
    load = watts(reading.load_w) + (" (derived)" if reading.load_derived else "")
    text = (
        f"sun {watts(reading.pv_w)} | battery {soc} {battery_text(reading.battery_w)}"
        f" | grid {grid_text(reading.grid_w)} | house {load} | {reading.source}"
    )
    return text if reading.valid else f"{text} | NOT VALID: {reading.reason}"
