"""The edge table of the Shelly: which component shows which field, with which sign, range and unit.

Never asks or tells a device anything. The only flip on the way to the screen is here: number 203 is
positive when the house EXPORTS (S3 source, table of virtual components), a Reading's ``grid_w`` is
positive when it imports.
"""

from __future__ import annotations

from operator import attrgetter
from typing import Dict, NamedTuple, Optional, Union

from bridge.model import Reading

Shown = Union[int, float]


class DisplayRow(NamedTuple):
    """One number on the Shelly; ``offset`` counts from the first id, ``lo``/``hi`` are its range.

    A value is ``sign`` times the Reading's ``field``, with one decimal or none (``digits``).
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


# The S3 source names Material Design icons; a Shelly wants the URL of an SVG.
ICON = "https://api.iconify.design/mdi/%s.svg"
MOST = 100_000
BAR, LABEL = "progressbar", "label"  # the two views that a finger on the screen cannot change

DISPLAY = (
    #          at field       sign digits  lo    hi  name       unit view  step icon
    DisplayRow(0, "pv_w",      +1, 0,     0, MOST, "PV",      "W", BAR,   1,   ICON % "solar-power"),
    DisplayRow(1, "soc_pct",   +1, 1,     0,  100, "SOC",     "%", BAR,   0.1, ICON % "battery-medium"),
    DisplayRow(2, "battery_w", +1, 0, -MOST, MOST, "Battery", "W", LABEL, 1,   ICON % "battery-charging"),
    DisplayRow(3, "grid_w",    -1, 0, -MOST, MOST, "Grid",    "W", LABEL, 1,   ICON % "transmission-tower"),
    DisplayRow(4, "load_w",    +1, 0,     0, MOST, "Load",    "W", BAR,   1,   ICON % "home-lightning-bolt"),
)

_FIELDS = attrgetter(*[row.field for row in DISPLAY])
_RULES = tuple((row.offset, row.sign, row.digits, row.lo) for row in DISPLAY)


BEYOND = 1e12  # no plant has such a power; a display would choke on it


def display_values(reading: Reading, first_id: int) -> Dict[int, Optional[Shown]]:
    """Return what the components show, by id: whole watts, percent with one decimal; unknown is None.

    PV, state of charge and load are never below 0. Upper limits are the component's business.
    """
    values: Dict[int, Optional[Shown]] = {}
    for amount, (number, sign, digits, lo) in zip(_FIELDS(reading), _RULES):
        if amount is None or not -BEYOND < amount < BEYOND:  # also NaN, which is not below anything
            values[first_id + number] = None
            continue
        # round(x * 10) / 10 is what round(x, 1) gives, for a tenth of the work
        value: Shown = round(sign * amount * 10) / 10 if digits else round(sign * amount)
        values[first_id + number] = 0 if value < lo == 0 else value
    return values
