"""The plant over Modbus as a source of Readings: asks, decodes, judges.

Never writes to the plant, and never takes one missing register or one exception for a lost link.
"""

from __future__ import annotations

import logging
from typing import Any, Dict, FrozenSet, List, Optional, Tuple

from bridge.clock import Clock
from bridge.errors import DeviceException, LinkError
from bridge.link.modbus import ModbusLink
from bridge.model import Reading
from bridge.registers import Register, Vendor, decode
from bridge.registers.plan import Block, Cost
from bridge.sources.plausibility import Plausibility
from bridge.sources.polling import Polling, roles_in
from bridge.sources.signals import Moment, reading_from

HOLD_S = 5.0  # how long a value stays good that was not asked for in this cycle
SLOW_HOLD_S = 130.0  # and one that is asked for once a minute because it was 0
ILLEGAL_ADDRESS = 2
FAST_ROLES = (
    "clock", "ems_mode", "grid_sensor", "grid_w", "off_grid", "soc_pct", "ac_power_w", "pv_w",
    "battery_w", "third_party_pv_w", "plant_alarm", "load_w", "rated_w",
)
SLOW_ON_A_LINE = frozenset(("third_party_pv_w", "plant_alarm"))

log = logging.getLogger("modbus")


class ModbusSource:
    """Polls one plant over a link; ``unit`` is the plant's address on it.

    ``budget`` is the number of requests a cycle may send, ``min_gap_s`` the pause a strict device
    wants between two of them, ``grid_sign`` is -1 for a meter that is wired the wrong way round.
    """

    def __init__(
        self, link: ModbusLink, unit: int, vendor: Vendor, cost: Cost, clock: Clock, *,
        budget: int = 2, min_gap_s: float = 0.0, address_offset: int = 0, grid_sign: int = 1,
        slow: FrozenSet[str] = frozenset(),
    ) -> None:
        self.name = link.wire.protocol
        self.link = link
        self.unit = unit
        self.timeouts = 0
        self._vendor, self._clock = vendor, clock
        self._min_gap_s, self._offset, self._grid_sign = min_gap_s, address_offset, grid_sign
        self.polling = Polling(vendor, FAST_ROLES, cost, budget, clock.monotonic(), slow)
        self._plausibility = Plausibility()
        self._roles: Dict[Block, List[Tuple[str, Register]]] = {}
        self._seen: Dict[str, Tuple[Any, float]] = {}
        self._main: Optional[Moment] = None
        self._load_offset_w = 0.0
        self._last_request = float("-inf")
        self._connections = 0

    def read(self) -> Reading:
        """Return one judged Reading; raises LinkError or DeviceException when the essential block failed."""
        now = self._clock.monotonic()
        self.polling.refresh(now)
        answered: List[str] = []
        for block in self.polling.due(now):
            try:
                answered += self._ask(block)
            except (LinkError, DeviceException) as error:
                self._failed(block, error, bool(answered))
        reading = self._assemble(answered)
        connections = self.link.wire.stats.connections
        if connections != self._connections:
            if self._connections:
                self.polling.reconnected(now)
            self._connections = connections
        return reading

    def close(self) -> None:
        """Let go of the link."""
        self.link.close()

    def _ask(self, block: Block) -> List[str]:
        gap = self._last_request + self._min_gap_s - self._clock.monotonic()
        if gap > 0:
            self._clock.wait(gap)
        self._last_request = self._clock.monotonic()
        words = self.link.read(block.space, block.address + self._offset, block.count, self.unit)
        mono = self._clock.monotonic()
        roles = self._roles.get(block)
        if roles is None:
            roles = self._roles[block] = roles_in(block, self._vendor)
        for role, row in roles:
            value = decode(row, block.words_of(row, words))
            if role == "grid_w" and value is not None:
                value *= self._grid_sign  # type: ignore[operator]
            self._seen[role] = (value, mono)
            if role == "grid_w":
                self._main = Moment(self._clock.now(), mono, self.name)
        return [role for role, _ in roles]

    def _failed(self, block: Block, error: Exception, have_some: bool) -> None:
        if isinstance(error, DeviceException) and error.code == ILLEGAL_ADDRESS:
            self.polling.rejected(block, self._clock.monotonic())
            if block.rows and len(block.rows) == 1:
                row = block.rows[0]
                log.info("register=%d name=%s state=missing firmware=old unit=%d", row.address, row.name, self.unit)
            return
        if isinstance(error, LinkError):
            self.timeouts += 1
        if not have_some:
            raise error
        log.debug("block=%d error=\"%s\"", block.address, error)

    def _assemble(self, answered: List[str]) -> Reading:
        now = self._clock.monotonic()
        if self._main is None or now - self._main.mono > HOLD_S:
            raise LinkError(
                f"modbus {self.link.wire.peer} unit {self.unit}: the plant's grid register"
                f" {self._vendor.roles.get('grid_w')} did not answer yet; check the unit (plant registers are at 247)"
            )
        fresh = set(answered)
        values: Dict[str, Any] = {}
        for role, (value, mono) in self._seen.items():
            if role in fresh or now - mono <= self._hold_s(role, value):
                values[role] = value
        for row in self.polling.missing:
            for role, name in self._vendor.roles.items():
                if name == row.name:
                    values.pop(role, None)
        measured = "load_w" in fresh
        if not measured:
            values.pop("load_w", None)
        reading = reading_from(values, self._main, 0.0 if measured else self._load_offset_w)
        if measured and "grid_w" in fresh:
            self._learn_offset(values)
        elif measured:
            reading = reading._replace(balance_w=None)  # two moments cannot be balanced
        verdict = self._plausibility.judge(reading, values)
        if verdict.warning:
            log.warning("warning=\"%s\"", verdict.warning)
        if values.get("third_party_pv_w"):
            self.polling.hurry("third_party_pv_w")
        return verdict.reading

    def _learn_offset(self, values: Dict[str, Any]) -> None:
        """Keep what the measured load is above the derived one, for cycles without it."""
        derived = reading_from({**values, "load_w": None}, self._main).load_w  # type: ignore[arg-type]
        measured = values.get("load_w")
        self._load_offset_w = measured - derived if None not in (derived, measured) else 0.0  # type: ignore[operator]

    @staticmethod
    def _hold_s(role: str, value: Any) -> float:
        return SLOW_HOLD_S if role in SLOW_ON_A_LINE and not value else HOLD_S
