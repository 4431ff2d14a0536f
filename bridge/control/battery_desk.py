"""Where battery commands are asked for: by HTTP, a schedule, MQTT or the command line; one desk a process.

Never touches the link but in the thread that owns it: ``tick`` and ``serve`` are called there.
"""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Mapping, Optional, Tuple

from bridge.clock import Clock
from bridge.control import battery_moves as moves
from bridge.control.battery import CHARGE, LEAST_S, SELF_GRID, Command, as_record, checked_batch, from_record, said
from bridge.control.battery_guard import bounds, read_standing
from bridge.control.battery_keeper import Keeper
from bridge.control.battery_limits import within_limits
from bridge.control.battery_plant import (
    MODE,
    NEUTRAL,
    REMOTE,
    Standing,
    Target,
    export_limit_w,
    hindrance,
    same,
    target,
)
from bridge.control.battery_report import as_row
from bridge.control.timetable import Timetable
from bridge.errors import BridgeError, ConfigError, DeviceException, LinkError, Refused
from bridge.link.modbus import ModbusLink, WritingLink

AGAIN_S = 10.0  # between two tries of an entry that the link kept from beginning


class Desk:
    """The keeper and the timetable of one plant."""

    def __init__(self, clock: Clock, keeper: Keeper, table: Timetable) -> None:
        self._clock, self.keeper, self.table = clock, keeper, table
        self._again: Optional[Command] = None  # an entry that could not begin for the link; with its start
        self._again_at = 0.0
        self._lost: Optional[float] = None
        self.settle: Callable[[float], None] = lambda seconds: None  # waits for what the app was asked to set again

    def tick(self, where: Optional[Tuple[Any, int]]) -> None:
        """Watch the command in force, and begin what the schedule has for now; raises nothing of ours."""
        link, unit = where or (None, 0)
        self.keeper.tick(link, unit)
        if link is None or not self._clock.synced() or not self.keeper.rules.enabled:
            return
        if not self.table.entries and self._again is None:
            return
        lease = self.keeper.book.lease
        if lease is not None and lease.state != "held":
            return
        command = self._due()
        if command is None:
            return
        mono = self._clock.monotonic()
        try:
            self.keeper.begin(link, unit, command._replace(seconds=max(LEAST_S, command.seconds)), "schedule")
        except (LinkError, DeviceException) as error:  # neither shall cost the night's charge
            if self._lost != command.end:
                self.keeper.book.journal.event("schedule", "delayed", f"{said(command)}: {error}")
            self._again, self._again_at, self._lost = command, mono + AGAIN_S, command.end
        except BridgeError as error:
            self.keeper.book.journal.event("schedule", "refused", f"{said(command)}: {error}")

    def _due(self) -> Optional[Command]:
        """Return what is due with its true start: the schedule's next entry, else one that failed for the link."""
        now, again = self._clock.now(), self._again
        fresh = self.table.take_due(now)
        if fresh is not None:
            self._again = None
            return fresh
        if again is None or self._clock.monotonic() < self._again_at:
            return None
        self._again = None
        left_s = (again.end or now) - now
        if left_s < LEAST_S or left_s > again.seconds:
            self.keeper.book.journal.event("schedule", "missed", said(again))
            return None
        return again._replace(start=now, seconds=left_s)

    def serve(self, link: WritingLink, unit: int, wish: Mapping[str, Any], who: str) -> Dict[str, Any]:
        """Do what ``wish`` asks for: {"do": begin|plan|release|free|schedule, ...}; returns the report.

        Raises ConfigError for a wish that is none, Refused, LinkError, DeviceException.
        """
        do = wish.get("do")
        if do == "begin":
            command = from_record(wish.get("command"))
            if command.start is not None:
                raise ConfigError("battery: begin is for now; a command with a start belongs into a schedule")
            self.keeper.begin(link, unit, command, who)
        elif do == "plan":
            return {"plan": self.plan(link, unit, from_record(wish.get("command")))}
        elif do == "release":
            self._again = None
            self.table.clear(who)
            self.keeper.release(link, unit, f"asked for by {who}")
        elif do == "free":
            return {**self.report(), "done": self.free(link, unit, who, bool(wish.get("dry_run")))}
        elif do == "schedule":
            commands = wish.get("commands")
            if not isinstance(commands, list):
                raise ConfigError("battery schedule: a list of commands is wanted")
            self.schedule([from_record(one) for one in commands], who)
        else:
            raise ConfigError(f"battery: {do!r} is not one of begin, plan, release, free, schedule")
        return self.report()

    def schedule(self, commands: List[Command], who: str) -> None:
        """Take a batch over; raises Refused or ConfigError for one that cannot be kept."""
        self.keeper.rules.check()
        if not self._clock.synced():
            raise Refused("battery schedule: this machine's clock is not set yet; no clock, no command")
        self.table.put(self.keepable(commands), who)
        self._again = None

    def keepable(self, commands: List[Command]) -> List[Command]:
        """Return a batch in order of time; raises Refused or ConfigError for what would be refused at its start."""
        for one in commands:
            within_limits(one, self.keeper.rules.site)
            if one.action == SELF_GRID:
                raise Refused("battery schedule: self-grid is known to the cloud only; --via openapi or --via mqtt")
            if one.action != CHARGE and one.max_import_w is not None:
                raise Refused(f"battery {one.action}: an import limit can only be kept while charging")
        return checked_batch(commands, self._clock.now())

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
        delayed = [{**as_record(one), "text": said(one)} for one in (self._again,) if one is not None]
        return {**self.keeper.report(), "schedule": [*delayed, *self.table.report()]}

    def free(self, link: WritingLink, unit: int, who: str, dry_run: bool = False) -> List[str]:
        """Lead a plant out of remote EMS that another, dead controller left in it; returns what was written in words.

        With ``dry_run`` what would be written. Raises Refused while we hold a lease or the plant is a VPP's, and
        what the guard raises.
        """
        book = self.keeper.book
        if not dry_run:
            self.keeper.rules.check()
            book.look()
        if book.on_disk() is not None:
            raise Refused("battery release --force: there is a lease; sigen-bridge battery release ends it")
        if dry_run:
            standing = read_standing(link, unit)
            rows = [as_row(at, standing.holding.get(at), raw) for at, raw in moves.freeing(standing)]
            return [f"would write {one['register']} {one['name']}: {one['text']}" for one in rows] or [
                "remote EMS is off: nothing would be written"]
        freed = moves.free(link, unit, lambda done: book.journal.wrote(who, done))
        book.forget_unreadable()
        return freed

    def stop(self, where: Optional[Tuple[Any, int]], pause: Callable[[float], Any]) -> None:
        """Give the plant back before the process ends."""
        link, unit = where or (None, 0)
        self.keeper.stop(link, unit, pause)


def _changes(standing: Standing, goal: Target) -> List[Dict[str, Any]]:
    now, rows = dict(standing.holding), []
    for address, raws in moves.planned(goal).items():
        for raw in raws:
            rows.append(as_row(address, now.get(address), raw))
            now[address] = raw
    ordered = [row for row in rows if row["register"] != MODE or row["after"] == NEUTRAL]
    ordered += [row for row in rows if row["register"] == MODE and row["after"] != NEUTRAL]
    return [row for row in ordered if not same(row["register"], row["before"], row["after"])]


def _back(standing: Standing, goal: Target) -> List[Dict[str, Any]]:
    rows, before = [], standing.holding
    planned = moves.planned(goal)
    if planned[MODE][-1] != NEUTRAL:
        rows.append(as_row(MODE, planned[MODE][-1], NEUTRAL))
    for address in (at for at in planned if at not in (REMOTE, MODE)):
        if address in before and not same(address, planned[address][-1], before[address]):
            rows.append(as_row(address, planned[address][-1], before[address]))
    rows.append(as_row(REMOTE, 1, before[REMOTE]))
    if before[MODE] != NEUTRAL:
        rows.append(as_row(MODE, NEUTRAL, before[MODE]))
    return rows
