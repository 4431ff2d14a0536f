"""The plant over Modbus as a source of Readings: asks, decodes, judges.

Never writes to the plant, and never takes one missing register or one exception for a lost link.
"""

from __future__ import annotations

import logging
from typing import Any, Callable, Dict, FrozenSet, List, Mapping, Optional, Protocol, Tuple

from bridge.clock import Clock
from bridge.errors import DeviceException, LinkError
from bridge.link.modbus import ModbusLink
from bridge.model import Reading
from bridge.registers import Vendor
from bridge.registers.plan import Cost
from bridge.sources.plausibility import Plausibility
from bridge.sources.polling import Polling, Slot
from bridge.sources.signals import Moment, reading_from

HOLD_S = 5.0  # how long a value stays good that was not asked for in this cycle
SLOW_HOLD_S = 130.0  # and one that is asked for once a minute because it was 0
ILLEGAL_ADDRESS = 2
FAST_ROLES = (
    "clock", "ems_mode", "grid_sensor", "grid_w", "off_grid", "soc_pct", "ac_power_w", "pv_w",
    "battery_w", "third_party_pv_w", "plant_alarm", "load_w", "rated_w",
)
SLOW_ON_A_LINE = frozenset(("third_party_pv_w", "plant_alarm"))

Tap = Callable[[int, str, int, bytes, float], None]  # unit, space, wire address, data, monotonic moment

log = logging.getLogger("modbus")


class MoreSun(Protocol):
    """Sun that the plant does not measure; ``bridge.sources.more_sun.MoreSun`` is the one there is."""

    def of(self, values: Mapping[str, Any], now: float) -> Any: ...

    def close(self) -> None: ...


class ModbusSource:
    """Polls one plant over a link; ``unit`` is the plant's address on it.

    ``budget`` is the number of requests a cycle may send, ``grid_sign`` is -1 for a meter that is wired
    the wrong way round.
    """

    def __init__(
        self, link: ModbusLink, unit: int, vendor: Vendor, cost: Cost, clock: Clock, *,
        budget: int = 2, address_offset: int = 0, grid_sign: int = 1,
        slow: FrozenSet[str] = frozenset(), more_sun: Optional[MoreSun] = None,
    ) -> None:
        self.name = link.wire.protocol
        self.peer = link.wire.peer
        self.link = link
        self.unit = unit
        self.timeouts = 0
        self.more_sun = more_sun
        self._vendor, self._clock = vendor, clock
        self._offset, self._grid_sign = address_offset, grid_sign
        self.polling = Polling(vendor, FAST_ROLES, cost, budget, clock.monotonic(), slow)
        self._plausibility = Plausibility()
        self._values: Dict[str, Any] = {}  # the newest value of each role, None where it said "no value"
        self._told: Dict[str, float] = {}  # and when
        self._main: Optional[Moment] = None
        self._tap: Optional[Tap] = None
        self._connections = 0

    def read(self) -> Reading:
        """Return one judged Reading; raises LinkError or DeviceException when the essential block failed."""
        now = self._clock.monotonic()
        self.polling.refresh(now)
        fresh: List[Slot] = []
        for slot in self.polling.due(now):
            try:
                self._ask(slot)
                fresh.append(slot)
            except (LinkError, DeviceException) as error:
                self._failed(slot, error, bool(fresh))
        reading = self._assemble(fresh)
        connections = self.link.wire.stats.connections
        if connections != self._connections:
            if self._connections:
                self.polling.reconnected(now)
            self._connections = connections
        return reading

    def line(self) -> Tuple[ModbusLink, int]:
        """Return the link and the plant's unit on it, for the loop's errands."""
        return self.link, self.unit

    def watch(self, tap: Tap) -> None:
        """Hand every block that is read to ``tap`` as well, from now on and from the loop's thread."""
        self._tap = tap

    def close(self) -> None:
        """Let go of the link."""
        self.link.close()
        if self.more_sun is not None:
            self.more_sun.close()

    def _ask(self, slot: Slot) -> None:
        block = slot.block
        data = self.link.read_bytes(block.space, block.address + self._offset, block.count, self.unit)
        mono = self._clock.monotonic()
        if self._tap is not None:
            self._tap(self.unit, block.space, block.address + self._offset, data, mono)
        self._values.update(zip(slot.roles, slot.layout.values(data)))
        self._told.update(dict.fromkeys(slot.roles, mono))
        if "grid_w" in slot.roles:
            self._main = Moment(self._clock.now(), mono, self.name)
            if self._grid_sign < 0 and self._values["grid_w"] is not None:
                self._values["grid_w"] = -self._values["grid_w"]

    def _failed(self, slot: Slot, error: Exception, have_some: bool) -> None:
        if isinstance(error, DeviceException) and error.code == ILLEGAL_ADDRESS:
            self.polling.rejected(slot, self._clock.monotonic())
            if len(slot.block.rows) == 1:
                row = slot.block.rows[0]
                self._values.pop(slot.roles[0], None)
                log.info("register=%d name=%s state=missing firmware=old unit=%d", row.address, row.name, self.unit)
            return
        if isinstance(error, LinkError):
            self.timeouts += 1
        if not have_some:
            raise error
        log.debug("block=%d error=\"%s\"", slot.block.address, error)

    def _assemble(self, fresh: List[Slot]) -> Reading:
        now = self._clock.monotonic()
        main = self._main
        if main is None or now - main.mono > HOLD_S:
            raise LinkError(
                f"modbus {self.link.wire.peer} unit {self.unit}: the plant's grid register"
                f" {self._vendor.roles.get('grid_w')} did not answer yet; check the unit (plant registers are at 247)"
            )
        measured = any("load_w" in slot.roles for slot in fresh)
        values = self._values
        if not measured or len(fresh) < len(self.polling.slots):
            values = self._still_good(now, measured)
        more = self.more_sun.of(values, now) if self.more_sun is not None else None
        reading = reading_from(values if more is None else more.values, main)
        if measured and not fresh[0].essential:
            reading = reading._replace(balance_w=None)  # two moments cannot be balanced
        if more is not None:
            reading, values = more.completed(reading), more.judged
        verdict = self._plausibility.judge(reading, values)
        if verdict.warning:
            log.warning("warning=\"%s\"", verdict.warning)
        if self._values.get("third_party_pv_w"):
            self.polling.hurry("third_party_pv_w")
        return verdict.reading

    def _still_good(self, now: float, measured: bool) -> Dict[str, Any]:
        """Return the values that are young enough; a load counts only in the cycle it was measured in."""
        values = {
            role: value for role, value in self._values.items()
            if now - self._told[role] <= (SLOW_HOLD_S if not value and role in SLOW_ON_A_LINE else HOLD_S)
        }
        if not measured:
            values.pop("load_w", None)
        return values
