"""What the plant has refused lately, so that it is not asked again at once; pure, ``now`` is an argument.

Never remembers a refusal for good: a firmware update brings registers, and a device is switched on again.
"""

from __future__ import annotations

from typing import Dict, FrozenSet, Optional, Tuple

from bridge.registers.plan import Block

LASTING = (1, 2, 3)  # function, address, value: the device knows no such thing
UNREACHABLE = (10, 11)  # the gateway's word on a device behind it
LASTING_S = 300.0
UNREACHABLE_S = 60.0
PASSING_S = 2.0  # failure, busy: the next answer may be another
STRANGER_S = 30.0  # after a unit that was silent: each costs the poll a time-out and a new connection
NO_ANSWER = 11
MOST = 256

Range = Tuple[int, str, int, int]  # unit, space, wire address, count


class Refusals:
    """The plant's refusals by range, page and unit; ``plant_unit`` is never taken for a stranger."""

    def __init__(self, plant_unit: int) -> None:
        self._plant = plant_unit
        self._ranges: Dict[Range, Tuple[int, float]] = {}
        self._pages: Dict[Tuple[int, Block], float] = {}
        self._silent: Dict[int, float] = {}
        self._known = {plant_unit}
        self._strangers_from = float("-inf")

    def code(self, asked: Range, now: float) -> Optional[int]:
        """Return the exception code to answer a question with, or None when the plant may be asked."""
        unit = asked[0]
        if now < self._silent.get(unit, now) or (unit not in self._known and now < self._strangers_from):
            return NO_ANSWER
        code, until = self._ranges.get(asked, (0, now))
        return code if now < until else None

    def pages(self, unit: int, now: float) -> FrozenSet[Block]:
        """Return the pages that a unit has rejected as a whole."""
        return frozenset(page for (owner, page), until in self._pages.items() if owner == unit and now < until)

    def refused(self, asked: Range, code: int, now: float) -> None:
        """Note the exception that a unit answered a range with."""
        self._known.add(asked[0])
        for_s = LASTING_S if code in LASTING else UNREACHABLE_S if code in UNREACHABLE else PASSING_S
        if len(self._ranges) >= MOST:
            del self._ranges[min(self._ranges, key=lambda known: self._ranges[known][1])]
        self._ranges[asked] = (code, now + for_s)

    def page_refused(self, unit: int, page: Block, now: float) -> None:
        """Note that a unit rejected a page: some register of it is missing there, or all are."""
        self._known.add(unit)
        if len(self._pages) >= MOST:
            del self._pages[min(self._pages, key=lambda known: self._pages[known])]
        self._pages[unit, page] = now + LASTING_S

    def silent(self, unit: int, now: float) -> None:
        """Note that a unit did not answer in time; the plant's own silence is the poll's business."""
        if unit != self._plant:
            self._silent[unit] = now + UNREACHABLE_S
            self._strangers_from = now + STRANGER_S

    def answered(self, unit: int) -> None:
        """Note that a unit answers."""
        self._known.add(unit)
        self._silent.pop(unit, None)
