"""The one record that flows through the program, and the words for its directions.

Units and signs are decided here and nowhere else: watts and percent; ``grid_w`` is positive when
the house IMPORTS, ``battery_w`` is positive when the battery CHARGES (the register map's own
convention, Sigenergy Modbus Protocol V2.9 section 5.1). Unknown is None; it is never turned into 0.
"""

from __future__ import annotations

from typing import Any, Mapping, NamedTuple, Optional

NO_EXTRAS: Mapping[str, Any] = {}


class Reading(NamedTuple):
    """What one poll of one source said, all at one moment.

    ``at`` is unix seconds (may be wrong before NTP), ``mono`` the monotonic moment for ages.
    ``balance_w`` is AC power + third-party PV + grid - load where those are known (0 is perfect);
    None with a derived load. A reading with ``valid`` False has a ``reason`` and must not
    replace a good value on any display. ``extras`` holds what a source knows beyond the five.
    """

    at: float
    mono: float
    source: str
    pv_w: Optional[float] = None
    soc_pct: Optional[float] = None
    battery_w: Optional[float] = None
    grid_w: Optional[float] = None
    load_w: Optional[float] = None
    load_derived: bool = False
    balance_w: Optional[float] = None
    valid: bool = True
    reason: Optional[str] = None
    extras: Mapping[str, Any] = NO_EXTRAS


FIVE = ("pv_w", "soc_pct", "battery_w", "grid_w", "load_w")

VALID_LOCAL_S = 5.0  # ruling 6: then a value says nothing about now
VALID_REMOTE_S = 900.0  # the cloud measures once in five minutes


def validity_s(source: str) -> float:
    """Return for how many seconds a reading of this source stands for the present."""
    return VALID_REMOTE_S if source.partition("-")[0] in ("cloud", "mqtt") else VALID_LOCAL_S


def invalid(reading: Reading, reason: str) -> Reading:
    """Return the reading marked as not fit for display, with the reason."""
    return reading._replace(valid=False, reason=reason)


def grid_text(grid_w: Optional[float]) -> str:
    """Say a grid power in words: 'importing 8540 W', 'exporting 1100 W', 'idle', 'unknown'."""
    return direction(grid_w, "importing", "exporting")


def battery_text(battery_w: Optional[float]) -> str:
    """Say a battery power in words: 'charging 43 W', 'discharging 341 W', 'idle', 'unknown'."""
    return direction(battery_w, "charging", "discharging")


def direction(power_w: Optional[float], positive: str, negative: str) -> str:
    """Say a signed power as a word and a magnitude in W."""
    if power_w is None:
        return "unknown"
    if power_w == 0:
        return "idle"
    return f"{positive if power_w > 0 else negative} {abs(power_w):.0f} W"
