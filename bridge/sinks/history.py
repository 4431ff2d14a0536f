"""The last hour of the five values in memory, one sample in five seconds: what charts are drawn from.

Never grows (20 bytes a slot, 14 KiB in all) and never invents: a slot without a valid reading holds nothing, except
that a reading stands for as long as its source allows (a cloud value for minutes, a local one for seconds).
"""

from __future__ import annotations

from array import array
from math import nan
from typing import NamedTuple, Optional, Tuple

from bridge.model import FIVE, Reading, validity_s

STEP_S = 5.0
SLOTS = 720  # an hour


class Series(NamedTuple):
    """One value over time: oldest first, None where nothing is known; ``end`` is the monotonic end of the last slot."""

    end: float
    step_s: float
    values: Tuple[Optional[float], ...]


class History:
    """A ring of slots on the monotonic clock, so that a clock that is set leaves no hole and no fold."""

    name = "history"

    def __init__(self) -> None:
        self._rings = tuple(array("f", [nan]) * SLOTS for _ in FIVE)
        self._slot = self._first = -1
        self._stands_s = 0.0

    def write(self, reading: Reading) -> None:
        """Keep a valid reading when it is the first of its slot."""
        slot = int(reading.mono / STEP_S)
        if slot <= self._slot or not reading.valid:
            return
        gap = slot - self._slot - 1
        if self._slot < 0:
            self._first = slot
        elif gap:
            self._fill(gap, gap * STEP_S <= self._stands_s)
        self._put(slot, reading)

    def _put(self, slot: int, reading: Reading) -> None:
        at = slot % SLOTS
        pv, soc, battery, grid, load = self._rings
        pv[at] = nan if reading.pv_w is None else reading.pv_w
        soc[at] = nan if reading.soc_pct is None else reading.soc_pct
        battery[at] = nan if reading.battery_w is None else reading.battery_w
        grid[at] = nan if reading.grid_w is None else reading.grid_w
        load[at] = nan if reading.load_w is None else reading.load_w
        self._slot, self._stands_s = slot, validity_s(reading.source)

    def _fill(self, gap: int, stands: bool) -> None:
        """Fill the slots that were skipped: with the last value while that stood for the present, else with nothing."""
        last = self._slot
        for ring in self._rings:
            held = ring[last % SLOTS] if stands else nan
            for slot in range(last + 1, last + 1 + min(gap, SLOTS)):
                ring[slot % SLOTS] = held

    @property
    def last(self) -> int:
        """The number of the newest slot with something in it, -1 before the first."""
        return self._slot

    def spans(self, now: float) -> int:
        """Return how many slots there are from the first kept one to ``now``."""
        if self._slot < 0:
            return 0
        return max(1, min(SLOTS, int(now / STEP_S) - self._first + 1))

    def window(self, field: str, now: float, slots: int = SLOTS) -> "array[float]":
        """Return one of the five (a field of Reading) in the ``slots`` slots that end now; nan is unknown."""
        ring, current = self._rings[FIVE.index(field)], int(now / STEP_S)
        begin = max(current - slots + 1, self._first, self._slot - SLOTS + 1)
        end = min(current, self._slot) + 1
        if self._slot < 0 or begin >= end:
            return array("f", [nan]) * slots
        first, last = begin % SLOTS, end % SLOTS
        known = ring[first:last] if first < last else ring[first:] + ring[:last]
        before, after = begin - (current - slots + 1), current + 1 - end
        return array("f", [nan]) * before + known + array("f", [nan]) * after

    def series(self, field: str, now: float, slots: int = SLOTS) -> Series:
        """Return the same as numbers and None."""
        values = tuple(None if held != held else held for held in self.window(field, now, slots))
        return Series((int(now / STEP_S) + 1) * STEP_S, STEP_S, values)
