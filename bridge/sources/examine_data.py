"""Looks at what a plant's registers say, for doctor: reads only, some seconds, several times.

Never writes a register, and never judges: diagnosis_plant does.
"""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, Optional, Tuple

from bridge.clock import Clock
from bridge.control.diagnosis_plant import FROZEN_AFTER_S, IDLE_S, METER_BITS, DataSeen, Look, level
from bridge.control.phases import PhaseFinding, judge
from bridge.errors import DeviceException, LinkError
from bridge.link.modbus import ModbusLink
from bridge.registers import Register, Vendor
from bridge.registers.meaning import text as meaning
from bridge.registers.plan import Cost
from bridge.sources.dump import Dumper, Sample
from bridge.sources.examine_plant import PacedLink
from bridge.sources.modbus import FAST_ROLES
from bridge.sources.phases import phases_from, rows_for
from bridge.sources.plausibility import Plausibility, sign_looks_inverted
from bridge.sources.signals import Moment, reading_from

LOOK_EVERY_S = 0.6
LOOKS = 3
QUICK_READS = 6
ABSENT = "not on this firmware"


class DataExam:
    """One examination of what a plant's registers say, on any link that answers."""

    def __init__(
        self, link: ModbusLink, vendor: Vendor, unit: int, cost: Cost, clock: Clock, until: float,
        offset: int = 0, grid_sign: int = 1,
    ) -> None:
        self._link, self._vendor, self._clock, self._until = link, vendor, clock, until
        self._unit, self._offset, self._grid_sign = unit, offset, grid_sign
        self._dumper = Dumper(link, vendor, cost, {row.scope: unit for row in vendor.rows}, offset)
        self._roles = {role: row for role in FAST_ROLES for row in (vendor.role(role),) if row is not None}
        self._looks: List[Look] = []
        self._asked = self._failed = 0

    def glance(self) -> DataSeen:
        """Return what one short read of the five values and their company shows, without any probing.

        Raises LinkError when there is no answer.
        """
        values = self._values(self._dumper.read(list(self._roles.values())))
        self._look(values)
        return self._seen(values)

    def examine(self) -> DataSeen:
        """Return everything that some seconds of reading show; what was not answered is counted."""
        extra = [row for row in self._vendor.rows if _wanted(row)]
        try:
            samples = self._patiently([*self._roles.values(), *extra])
        except LinkError:
            return DataSeen(asked=self._asked, failed=self._failed)
        values = self._values(samples)
        self._look(values)
        known = {role: row for role, row in self._roles.items() if role in values}
        protocol = self._protocol()
        self._more_looks(known)
        idle_closed = self._idle(known)
        self._quick_reads()
        self._clock_still(known)
        phases = self._phases()
        seen = self._seen(values)._replace(protocol=protocol, idle_closed=idle_closed, phases=phases)
        return _with_extra(seen, samples, self._vendor, protocol)

    def _patiently(self, rows: List[Register]) -> List[Sample]:
        self._asked += 1
        try:
            return self._dumper.read(rows)
        except LinkError:
            self._failed += 1
        self._asked += 1
        try:
            return self._dumper.read(rows)
        except LinkError:
            self._failed += 1
            raise

    def _values(self, samples: List[Sample]) -> Dict[str, Any]:
        by_row = {sample.row: sample for sample in samples}
        values = {role: by_row[row].value for role, row in self._roles.items() if not by_row[row].error}
        grid_w = values.get("grid_w")
        if self._grid_sign < 0 and isinstance(grid_w, (int, float)):
            values["grid_w"] = -grid_w
        return values

    def _look(self, values: Mapping[str, Any]) -> None:
        moment = Moment(self._clock.now(), self._clock.monotonic(), self._link.wire.protocol)
        judged = Plausibility().judge(reading_from(values, moment), values).reading
        kind, _, reason = (judged.reason or "").partition(": ")
        self._looks.append(Look(
            moment.mono, moment.at, kind, reason, sign_looks_inverted(values), values.get("clock")))

    def _seen(self, values: Mapping[str, Any]) -> DataSeen:
        return DataSeen(
            values=values, looks=tuple(self._looks), asked=self._asked, failed=self._failed,
            sign_set=self._grid_sign < 0, clock_synced=self._clock.synced(),
        )

    def _protocol(self) -> Optional[str]:
        if not self._time_left():
            return None
        self._asked += 1
        try:
            return self._dumper.protocol()
        except LinkError:
            self._failed += 1
            return None

    def _more_looks(self, known: Mapping[str, Register]) -> None:
        while len(self._looks) < LOOKS and self._time_left():
            self._clock.wait(LOOK_EVERY_S)
            self._look_again(known)

    def _look_again(self, known: Mapping[str, Register]) -> None:
        self._asked += 1
        try:
            samples = self._dumper.read(list(known.values()))
        except LinkError:
            self._failed += 1
            return
        self._look(self._values([*samples, *(Sample(row, self._unit, (), None, ABSENT)
                                             for role, row in self._roles.items() if role not in known)]))

    def _idle(self, known: Mapping[str, Register]) -> bool:
        """Say whether the peer closes a connection that rests."""
        if not self._time_left():
            return False
        before = self._link.wire.stats.connections
        failed = self._failed
        self._clock.wait(IDLE_S)
        self._look_again(known)
        return self._link.wire.stats.connections > before and self._failed == failed

    def _quick_reads(self) -> None:
        row = self._roles["grid_w"]
        for _ in range(QUICK_READS):
            if not self._time_left() or isinstance(self._link, PacedLink):
                return
            self._asked += 1
            try:
                self._link.read(row.space, row.address + self._offset, row.count, self._unit)
            except (LinkError, DeviceException):
                self._failed += 1

    def _phases(self) -> Tuple[PhaseFinding, ...]:
        """Return what two looks at the phases agree on: one look may fall between two of the plant's seconds."""
        found: List[Tuple[PhaseFinding, ...]] = []
        for _ in range(2):
            self._asked += 1
            try:
                seen = phases_from(self._dumper.read(rows_for(self._vendor, False)), self._grid_sign)
            except LinkError:
                self._failed += 1
                return ()
            found.append(judge(seen.grid, seen.grid_w, seen.inverter, seen.inverter_w))
        first = {(each.code, each.phase) for each in found[0]}
        return tuple(each for each in found[1] if (each.code, each.phase) in first)

    def _clock_still(self, known: Mapping[str, Register]) -> None:
        """Watch on while the plant's clock has not moved: two looks within one second prove nothing."""
        while self._time_left() and len({look.clock for look in self._looks}) == 1 and self._looks[-1].clock:
            if self._looks[-1].mono - self._looks[0].mono >= FROZEN_AFTER_S:
                return
            self._clock.wait(LOOK_EVERY_S)
            self._look_again(known)

    def _time_left(self) -> bool:
        return self._clock.monotonic() < self._until


def _wanted(row: Register) -> bool:
    """Choose the rows beyond the roles: alarm words, and whether somebody has the remote control."""
    if row.scope != "plant":
        return False
    return row.means.startswith("alarm_") or row.name in ("remote_ems_enable", "remote_ems_control_mode")


def _with_extra(
    seen: DataSeen, samples: List[Sample], vendor: Vendor, protocol: Optional[str],
) -> DataSeen:
    """Add alarms, remote control and what should be there but is not."""
    by_name = {sample.row.name: sample for sample in samples}
    ems, mode = by_name.get("remote_ems_enable"), by_name.get("remote_ems_control_mode")
    missing = [
        f"{sample.row.address} {sample.row.name}" for sample in samples
        if sample.error and protocol is not None and level(sample.row.since) <= level(protocol)
    ]
    return seen._replace(
        alarms=tuple(_alarms(samples, vendor)), missing=tuple(dict.fromkeys(missing)),
        remote_ems=int(ems.value) if ems is not None and isinstance(ems.value, (int, float)) else None,
        control_mode=meaning(mode.row, mode.value, vendor.meanings) if mode is not None and not mode.error else "",
    )


def _alarms(samples: List[Sample], vendor: Vendor) -> List[str]:
    """Return the alarms in words; those of the meter are left to the role that carries them."""
    found: Dict[str, None] = {}
    for sample in sorted(samples, key=lambda each: each.row.address):
        if not sample.row.means.startswith("alarm_") or not isinstance(sample.value, int):
            continue
        word = sample.value & ~METER_BITS if sample.row.name == vendor.roles.get("plant_alarm") else sample.value
        if word:
            found[f"{meaning(sample.row, word, vendor.meanings)} ({sample.row.address})"] = None
    return list(found)
