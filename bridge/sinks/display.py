"""The edge table of the Shelly: which component shows which field, with which sign, range and unit.

Never asks or tells a device anything. The only flip on the way to the screen is here: number 203 is
positive when the house EXPORTS (S3 source, table of virtual components), a Reading's ``grid_w`` is
positive when it imports.
"""

from __future__ import annotations

from typing import Dict, NamedTuple, Optional, Union

from bridge.model import Reading

Shown = Union[int, float]


class DisplayRow(NamedTuple):
    """One number on the Shelly; ``offset`` counts from the first id, ``lo``/``hi`` are its range.

    A value is ``sign`` times the Reading's ``field`` with ``digits`` decimals. ``view`` is read-only
    on the device (label, progressbar), so a finger on the screen cannot change it.
    """

    offset: int
    field: str
    sign: int
    digits: int
    lo: float
    hi: float
    name: str
    unit: str
    view: str
    step: float
    icon: Optional[str] = None


ICONS = "https://api.iconify.design/mdi/"  # the S3 source names Material Design icons; a Shelly wants a URL

DISPLAY = (
    #          at field        sign digits     lo       hi  name       unit view          step icon
    DisplayRow(0, "pv_w",      +1, 0,       0, 100_000, "PV",      "W", "progressbar", 1,   ICONS + "solar-power.svg"),
    DisplayRow(1, "soc_pct",   +1, 1,       0,     100, "SOC",     "%", "progressbar", 0.1, ICONS + "battery-medium.svg"),
    DisplayRow(2, "battery_w", +1, 0, -100_000, 100_000, "Battery", "W", "label",      1,   ICONS + "battery-charging.svg"),
    DisplayRow(3, "grid_w",    -1, 0, -100_000, 100_000, "Grid",    "W", "label",      1,   ICONS + "transmission-tower.svg"),
    DisplayRow(4, "load_w",    +1, 0,       0, 100_000, "Load",    "W", "progressbar", 1,   ICONS + "home-lightning-bolt.svg"),
)


def display_values(reading: Reading, first_id: int) -> Dict[int, Optional[Shown]]:
    """Return what the components show, by id: whole watts, percent with one decimal; unknown is None.

    PV, state of charge and load are never below 0. Upper limits are the component's business.
    """
    values: Dict[int, Optional[Shown]] = {}
    for offset, field, sign, digits, lo, *_ in DISPLAY:
        values[first_id + offset] = shown(getattr(reading, field), sign, digits, lo)
    return values


def shown(amount: Optional[float], sign: int, digits: int, lo: float) -> Optional[Shown]:
    """Return one amount as it is displayed; None for unknown or not finite, never -0."""
    if amount is None or amount - amount != 0:  # NaN and infinities are not numbers a display can hold
        return None
    value = round(sign * amount, digits) if digits else round(sign * amount)
    if lo == 0 and value < 0:
        return 0.0 if digits else 0
    return value or (0.0 if digits else 0)
