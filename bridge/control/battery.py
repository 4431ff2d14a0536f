"""What can be asked of a battery, in one model for every way to the plant, and what is wrong with a request.

Pure. Never lets a command through without an end. Powers in W, times in seconds. Facts: modbus reference
6 (modes), cloud reference 3.4 (names and limits of the cloud's batch).
"""

from __future__ import annotations

from typing import Any, Dict, List, NamedTuple, Optional, Sequence

from bridge.errors import ConfigError, Refused

CHARGE, DISCHARGE, IDLE, SELF, SELF_GRID = "charge", "discharge", "idle", "self", "self-grid"
ACTIONS = (CHARGE, DISCHARGE, IDLE, SELF, SELF_GRID)
LEAST_S = 10.0
MOST_S = 6 * 3600.0  # a lease that outlives its reason by more than this has hurt people
MOST_COMMANDS = 24  # vendor: commands in a batch per station
MOST_POWER_W = 1_000_000.0
MOST_NUMBER = 1e15  # what is beyond it is no power and no time; an int of JSON may be too large for a float
PRIORITIES = {CHARGE: ("pv", "grid"), DISCHARGE: ("pv", "battery")}


class Command(NamedTuple):
    """One wish; ``start`` is unix seconds, None is now. ``priority`` is pv, grid or battery, "" is ours to choose.

    ``power_w`` is what the battery takes or gives; with ``export_w`` (discharge) the target is at the grid.
    ``max_export_w`` and ``max_import_w`` bound the grid while the command lasts, beside the site's own limits.
    """

    action: str
    seconds: float
    power_w: Optional[float] = None
    start: Optional[float] = None
    export_w: Optional[float] = None
    max_export_w: Optional[float] = None
    max_import_w: Optional[float] = None
    priority: str = ""

    @property
    def end(self) -> Optional[float]:
        """Unix seconds of the end, None for a command that starts now."""
        return None if self.start is None else self.start + self.seconds


def checked(command: Command) -> Command:
    """Return the command; raises ConfigError for what no plant could be asked."""
    if command.action not in ACTIONS:
        raise ConfigError(f"battery: {command.action!r} is not one of {', '.join(ACTIONS)}")
    if not LEAST_S <= command.seconds <= MOST_S:
        raise ConfigError(
            f"battery {command.action}: {command.seconds:g} s is not within {LEAST_S:g} s .. {MOST_S / 3600:g} h;"
            " every command ends by itself"
        )
    powered = command.action in (CHARGE, DISCHARGE)
    if powered and command.power_w is None and command.export_w is None:
        raise ConfigError(
            f"battery {command.action}: a power is missing (--kw 5 or --w 5000);"
            " the plant ignores a command without one"
        )
    if not powered and command.power_w is not None:
        raise ConfigError(f"battery {command.action}: takes no power")
    if command.export_w is not None and command.action != DISCHARGE:
        raise ConfigError(f"battery {command.action}: an export target belongs to discharge")
    for name in ("power_w", "export_w", "max_export_w", "max_import_w"):
        watts = getattr(command, name)
        if watts is None:
            continue
        lowest = 1.0 if name in ("power_w", "export_w") else 0.0
        if not lowest <= watts <= MOST_POWER_W:
            raise ConfigError(f"battery {command.action}: {name} = {watts:g} W is not within {lowest:g}..1000000 W")
    allowed = PRIORITIES.get(command.action, ())
    if command.priority and command.priority not in allowed:
        raise ConfigError(
            f"battery {command.action}: priority {command.priority!r} is not one of {', '.join(allowed) or 'none'}"
        )
    return command


def checked_batch(commands: Sequence[Command], now: float) -> List[Command]:
    """Return a schedule in order of time; raises ConfigError or Refused for what cannot be kept.

    ``now`` is unix seconds of a clock that was set: a start in the past is refused, and so are entries that
    overlap, and more than 24.
    """
    if not commands:
        raise ConfigError("battery schedule: there is no command in it")
    if len(commands) > MOST_COMMANDS:
        raise Refused(f"battery schedule: {len(commands)} commands; a station takes at most {MOST_COMMANDS} in a batch")
    ordered = sorted((checked(one) for one in commands), key=lambda one: one.start or 0.0)
    before: Optional[Command] = None
    for one in ordered:
        if one.start is None or one.end is None:
            raise ConfigError(f"battery schedule: {one.action} has no start")
        if one.start > 1e11:
            raise ConfigError(f"battery schedule: start {one.start:.0f} looks like milliseconds; seconds are wanted")
        if one.start < now:
            raise Refused(f"battery schedule: the start of {said(one)} lies {lasting(now - one.start)} in the past")
        if before is not None and before.end is not None and one.start < before.end:
            raise ConfigError(
                f"battery schedule: {one.action} starts {before.end - one.start:.0f} s before {before.action} ends"
            )
        before = one
    return ordered


def as_record(command: Command) -> Dict[str, Any]:
    """Return the command as plain data, for files and HTTP; what is not set is left out."""
    return {name: value for name, value in command._asdict().items() if value not in (None, "")}


def from_record(record: Any) -> Command:
    """Return the command of plain data; raises ConfigError when it is none."""
    if not isinstance(record, dict):
        raise ConfigError("battery: a command is an object with an action")
    unknown = set(record) - set(Command._fields)
    if unknown:
        raise ConfigError(f"battery: {', '.join(sorted(map(str, unknown)))} is not part of a command")
    values: Dict[str, Any] = {"action": str(record.get("action", "")), "priority": str(record.get("priority", ""))}
    for name in Command._fields:
        if name in values or record.get(name) is None:
            continue
        number = record[name]
        if isinstance(number, bool) or not isinstance(number, (int, float)) or not abs(number) < MOST_NUMBER:
            raise ConfigError(f"battery: {name} is not a number, or one beyond all bounds")
        values[name] = float(number)
    values.setdefault("seconds", 0.0)
    return checked(Command(**values))


def said(command: Command) -> str:
    """Return a command in words: 'charge 5000 W for 30 min'."""
    power = ""
    if command.export_w is not None:
        power = f" {command.export_w:.0f} W into the grid"
    elif command.power_w is not None:
        power = f" {command.power_w:.0f} W"
    names = {IDLE: "hold (battery idle)", SELF: "self-consumption", SELF_GRID: "self-consumption with grid"}
    return f"{names.get(command.action, command.action)}{power} for {lasting(command.seconds)}"


def lasting(seconds: float) -> str:
    """Return a length of time in words: '45 s', '30 min', '2 h 5 min'."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{minutes} min" if not hours else f"{hours} h {minutes} min" if minutes else f"{hours} h"
