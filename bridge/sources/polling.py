"""Decides which blocks to ask for in a cycle: budget, cadence, bisection, what is missing and when to ask again.

Pure state; ``now`` is an argument and nothing is read here. Never gives up on a register for good:
a firmware update can bring it, so what is missing is asked for again after a reconnect and daily.
"""

from __future__ import annotations

from typing import Dict, FrozenSet, List, Mapping, Sequence

from bridge.registers import Register, Vendor
from bridge.registers.layout import Layout
from bridge.registers.plan import Block, Cost, halves, plan

ESSENTIAL = ("grid_w", "soc_pct", "pv_w", "battery_w")
TURN_S = 5.0  # how often a block comes round that does not fit into every cycle
SLOW_S = 60.0  # and one whose rows are of no use every second on an expensive line
REPROBE_RECONNECT_S = 3600.0  # a missing register is asked for at most once an hour
REPROBE_S = 86400.0
NEVER = float("-inf")


class Slot:
    """One block in the rotation."""

    __slots__ = ("block", "essential", "slow", "asked_at", "layout", "roles")

    def __init__(self, block: Block, essential: bool, slow: bool, role_of: Mapping[Register, str]) -> None:
        self.block, self.essential, self.slow = block, essential, slow
        self.asked_at = NEVER
        self.layout = Layout(block, block.rows)
        self.roles = tuple(role_of[row] for row in self.layout.rows)


class Polling:
    """The read plan of one plant as it stands now.

    ``budget`` is the number of requests a cycle may send; ``slow`` names roles that are asked for
    once a minute because the line is expensive (RTU).
    """

    def __init__(
        self, vendor: Vendor, roles: Sequence[str], cost: Cost, budget: int, now: float,
        slow: FrozenSet[str] = frozenset(),
    ) -> None:
        self._vendor, self._cost, self._budget = vendor, cost, max(1, budget)
        self._row_of: Dict[str, Register] = {}
        for role in roles:
            row = vendor.role(role)
            if row is not None:
                self._row_of[role] = row
        self._role_of = {row: role for role, row in self._row_of.items()}
        self._slow = set(slow)
        self.missing: Dict[Register, float] = {}
        self.slots: List[Slot] = []
        self._planned_at = now
        self._build()

    def _build(self) -> None:
        fast = [row for role, row in self._row_of.items() if role not in self._slow]
        slow = [row for role, row in self._row_of.items() if role in self._slow]
        self.slots = [
            Slot(block, self._is_essential(block), is_slow, self._role_of)
            for rows, is_slow in ((fast, False), (slow, True))
            for block in plan([row for row in rows if row not in self.missing], self._cost, self._vendor)
        ]
        self._essential_first()

    def _essential_first(self) -> None:
        self.slots.sort(key=lambda slot: not slot.essential)

    def due(self, now: float) -> List[Slot]:
        """Return the slots to ask for in the cycle that starts now, essential ones first."""
        late = [slot for slot in self.slots if not slot.slow or now - slot.asked_at >= SLOW_S]
        if len(late) > self._budget:
            late = self._chosen(late, now)
        for slot in late:
            slot.asked_at = now
        return late

    def _chosen(self, late: List[Slot], now: float) -> List[Slot]:
        """Pick what fits into the budget: the essential ones, then whoever has waited longest."""
        late.sort(key=lambda slot: (not slot.essential, slot.asked_at))
        if self._budget == 1 and late[0].asked_at != NEVER:
            # One request a cycle: the others take their turn, then back to the first.
            turns = [slot for slot in late if not slot.essential and now - slot.asked_at >= TURN_S - 0.5]
            late = turns[:1] or late
        return late[:self._budget]

    def rejected(self, refused: Slot, now: float) -> None:
        """Take note that the block of a slot was answered with "illegal address": split it, or its row is missing."""
        if refused not in self.slots:
            return
        self.slots.remove(refused)
        block = refused.block
        if len(block.rows) == 1:
            self.missing[block.rows[0]] = now
            return
        for half in halves(block):
            self.slots.append(Slot(half, self._is_essential(half), refused.slow, self._role_of))
        self._essential_first()

    def _is_essential(self, block: Block) -> bool:
        return any(self._role_of[row] in ESSENTIAL for row in block.rows)

    def reconnected(self, now: float) -> None:
        """Forget what was missing, so that it is asked for again, unless that was within the hour."""
        self._reprobe(now, REPROBE_RECONNECT_S)

    def refresh(self, now: float) -> None:
        """Do the daily look for registers that a firmware update may have brought."""
        self._reprobe(now, REPROBE_S)

    def _reprobe(self, now: float, after_s: float) -> None:
        if self.missing and now - max(self.missing.values()) >= after_s:
            self.missing.clear()
            self._build()

    def hurry(self, role: str) -> None:
        """Ask for a slow role in every cycle from now on: it turned out to matter."""
        if role in self._slow:
            self._slow.discard(role)
            self._build()

    def describe(self) -> str:
        """Return the plan for the start-up log: '30000+39 30194+92'."""
        return " ".join(f"{slot.block.address}+{slot.block.count}{'/60s' if slot.slow else ''}" for slot in self.slots)
