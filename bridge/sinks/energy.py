"""Counts energy from power, kWh by direction, for those who want meters (Home Assistant's energy page).

Pure. Never counts across a gap: an energy that nobody measured is missing, it is not guessed. The counters
begin at 0 with the process; a consumer of state class total_increasing takes that for a new meter.
"""

from __future__ import annotations

from typing import Dict, Mapping, Optional

from bridge.model import Reading, validity_s

JOULE_A_KWH = 3_600_000.0
# name of the counter -> field of the Reading and the direction that counts
COUNTERS: Mapping[str, tuple] = {
    "pv_kwh":                ("pv_w", 1.0),
    "grid_import_kwh":       ("grid_w", 1.0),
    "grid_export_kwh":       ("grid_w", -1.0),
    "battery_charge_kwh":    ("battery_w", 1.0),
    "battery_discharge_kwh": ("battery_w", -1.0),
    "load_kwh":              ("load_w", 1.0),
}


class Energy:
    """Counters fed with readings; what has never been measured is None."""

    def __init__(self) -> None:
        self._joules: Dict[str, float] = {}
        self._last: Optional[Reading] = None

    def add(self, reading: Reading) -> None:
        """Take in a reading: power between it and the one before is their mean, if they are close enough."""
        if not reading.valid:
            return
        last, self._last = self._last, reading
        if last is None:
            return
        gap_s = reading.mono - last.mono
        if not 0 < gap_s <= validity_s(reading.source):
            return
        before, now = last._asdict(), reading._asdict()
        for name, (field, sign) in COUNTERS.items():
            if before[field] is None or now[field] is None:
                continue
            mean_w = (max(0.0, sign * before[field]) + max(0.0, sign * now[field])) / 2
            self._joules[name] = self._joules.get(name, 0.0) + mean_w * gap_s

    def kwh(self) -> Dict[str, Optional[float]]:
        """Return the counters in kWh, rounded to the watt-hour."""
        return {name: round(self._joules[name] / JOULE_A_KWH, 3) if name in self._joules else None for name in COUNTERS}
