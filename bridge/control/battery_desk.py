"""Where battery commands are asked for: by HTTP, a schedule, MQTT or the command line; one desk a process.

Never touches the link but in the thread that owns it: ``tick`` and ``serve`` are called there.
"""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Mapping, Optional, Tuple

from bridge.clock import Clock
from bridge.control import battery_moves as moves
from bridge.control.battery import LEAST_S, Command, checked_batch, from_record, said
from bridge.control.battery_guard import bounds, read_standing
from bridge.control.battery_keeper import Keeper
from bridge.control.battery_plant import (
    MODE,
    NAMES,
    NEUTRAL,
    REMOTE,
    Standing,
    Target,
    export_limit_w,
    hindrance,
    same,
    shown,
    target,
)
from bridge.control.timetable import Timetable
from bridge.errors import BridgeError, ConfigError, Refused
from bridge.link.modbus import ModbusLink, WritingLink


class Desk:
    """The keeper and the timetable of one plant."""

    def __init__(self, clock: Clock, keeper: Keeper, table: Timetable) -> None:
        self._clock, self.keeper, self.table = clock, keeper, table

    def tick(self, where: Optional[Tuple[Any, int]]) -> None:
        """Watch the command in force, and begin what the schedule has for now; raises nothing of ours."""
        link, unit = where or (None, 0)
        self.keeper.tick(link, unit)
        if link is None or not self.table.entries or not self._clock.synced() or not self.keeper.rules.enabled:
            return
        lease = self.keeper.book.lease
        if lease is not None and lease.state != "held":
            return
        command = self.table.take_due(self._clock.now())
        if command is None:
            return
        try:
            self.keeper.begin(link, unit, command._replace(seconds=max(LEAST_S, command.seconds)), "schedule")
        except BridgeError as error:
            self.keeper.book.journal.event("schedule", "refused", f"{said(command)}: {error}")

    def serve(self, link: WritingLink, unit: int, wish: Mapping[str, Any], who: str) -> Dict[str, Any]:
        """Do what ``wish`` asks for: {"do": begin|plan|release|schedule, ...}; returns the report.

        Raises ConfigError for a wish that is none, Refused, LinkError, DeviceException.
        """
        do = wish.get("do")
        if do == "begin":
            self.keeper.begin(link, unit, from_record(wish.get("command")), who)
        elif do == "plan":
            return {"plan": self.plan(link, unit, from_record(wish.get("command")))}
        elif do == "release":
            self.table.clear(who)
            self.keeper.release(link, unit, f"asked for by {who}")
        elif do == "schedule":
            self.schedule([from_record(one) for one in wish.get("commands") or ()], who)
        else:
            raise ConfigError(f"battery: {do!r} is not one of begin, plan, release, schedule")
        return self.report()

    def schedule(self, commands: List[Command], who: str) -> None:
        """Take a batch over; raises Refused or ConfigError for one that cannot be kept."""
        self.keeper.rules.check()
        if not self._clock.synced():
            raise Refused("battery schedule: this machine's clock is not set yet; no clock, no command")
        self.table.put(checked_batch(commands, self._clock.now()), who)

    def plan(self, link: ModbusLink, unit: int, command: Command) -> Dict[str, Any]:
        """Return every register before and after, without writing; raises what ``begin`` would raise."""
        standing = read_standing(link, unit)
        site = self.keeper.rules.site
        held = self.keeper.book.lease
        seen = standing if held is None else standing._replace(holding={**standing.holding, REMOTE: 0})
        why = hindrance(seen)
        if why:
            raise Refused(f"battery: {why}")
        goal = target(command, standing, site)
        most = bounds(standing, site, export_limit_w(command, site))
        return {
            "command": said(command), "mode": goal.mode, "notes": list(goal.notes),
            "enabled": self.keeper.rules.enabled,
            "enter": _changes(standing, goal), "release": _back(standing, goal),
            "most": {str(address): watts for address, watts in most.items()},
        }

    def report(self) -> Dict[str, Any]:
        """Return the state of the lease and what the schedule still has."""
        return {**self.keeper.report(), "schedule": self.table.report()}

    def free(self, link: WritingLink, unit: int, who: str) -> List[str]:
        """Lead a plant out of remote EMS that another, dead controller left in it; returns what was written in words.

        Raises Refused while we hold a lease or the plant is a VPP's, and what the guard raises.
        """
        self.keeper.rules.check()
        book = self.keeper.book
        book.look()
        if book.on_disk() is not None:
            raise Refused("battery release --force: there is a lease; sigen-bridge battery release ends it")
        return moves.free(link, unit, lambda done: book.journal.wrote(who, done))

    def stop(self, where: Optional[Tuple[Any, int]], pause: Callable[[float], Any]) -> None:
        """Give the plant back before the process ends."""
        link, unit = where or (None, 0)
        self.keeper.stop(link, unit, pause)


def _changes(standing: Standing, goal: Target) -> List[Dict[str, Any]]:
    now, rows = dict(standing.holding), []
    for address, raws in moves.planned(goal).items():
        for raw in raws:
            rows.append(_row(address, now.get(address), raw))
            now[address] = raw
    ordered = [row for row in rows if row["register"] != MODE or row["after"] == NEUTRAL]
    ordered += [row for row in rows if row["register"] == MODE and row["after"] != NEUTRAL]
    return [row for row in ordered if not same(row["register"], row["before"], row["after"])]


def _back(standing: Standing, goal: Target) -> List[Dict[str, Any]]:
    rows, before = [], standing.holding
    planned = moves.planned(goal)
    if planned[MODE][-1] != NEUTRAL:
        rows.append(_row(MODE, planned[MODE][-1], NEUTRAL))
    for address in (at for at in planned if at not in (REMOTE, MODE)):
        if address in before and not same(address, planned[address][-1], before[address]):
            rows.append(_row(address, planned[address][-1], before[address]))
    rows.append(_row(REMOTE, 1, before[REMOTE]))
    if before[MODE] != NEUTRAL:
        rows.append(_row(MODE, NEUTRAL, before[MODE]))
    return rows


def _row(address: int, before: Optional[int], after: int) -> Dict[str, Any]:
    return {
        "register": address, "name": NAMES[address], "before": before, "after": after,
        "text": f"{shown(address, before)} -> {shown(address, after)}",
    }
