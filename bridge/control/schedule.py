"""A batch of battery commands from a file, and which of them is due.

Pure; ``now`` is an argument. Never guesses a time that a daylight-saving night has twice or not at all, and
never runs an entry late: what was missed is said and left out.
"""

from __future__ import annotations

import json
import re
from datetime import datetime, timedelta, timezone, tzinfo
from typing import Any, List, NamedTuple, Optional, Sequence, Tuple

from bridge.control.battery import CHARGE, DISCHARGE, IDLE, MOST_NUMBER, SELF, SELF_GRID, Command, checked_batch
from bridge.errors import BridgeError, ConfigError

WORDS = {
    "charge": CHARGE, "discharge": DISCHARGE, "hold": IDLE, "idle": IDLE, "self": SELF, "self-consumption": SELF,
    "selfconsumption": SELF, "self-grid": SELF_GRID, "selfconsumption-grid": SELF_GRID,
}
UNITS = {"kw": 1000.0, "w": 1.0}
LENGTHS = {"s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}
KEYS = ("action", "start", "minutes", "power_w", "power_kw", "export_w", "max_export_w", "max_import_w", "priority")
EXAMPLE = "2026-12-01T01:00 2h charge 5kW"


class Due(NamedTuple):
    """What a look at the schedule found: the entry to begin, the entries missed, and what is left for later."""

    begin: Optional[Command]
    missed: Tuple[Command, ...]
    later: Tuple[Command, ...]


def parse(text: str, zone: Optional[tzinfo], now: float) -> List[Command]:
    """Return the commands of a schedule file: JSON, or a line each of START LENGTH ACTION [POWER] [KEY=VALUE].

    Local times are of ``zone`` (None: of this machine). Raises ConfigError with the line, Refused for what may
    not be scheduled.
    """
    stripped = text.strip()
    if stripped[:1] in ("[", "{"):
        return checked_batch(_json(stripped, zone), now)
    commands = []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        try:
            commands.append(_line(words, zone))
        except BridgeError as error:
            raise ConfigError(f"battery schedule, line {number}: {error}; a line is like: {EXAMPLE}") from error
    return checked_batch(commands, now)


def due(entries: Sequence[Command], now: float) -> Due:
    """Return what is to be begun at ``now`` (unix seconds of a clock that was set).

    An entry that has begun but not ended is begun for the time that is left; one that is over was missed.
    """
    missed = tuple(one for one in entries if (one.end or 0.0) <= now)
    open_ones = [one for one in entries if one not in missed]
    started = [one for one in open_ones if (one.start or 0.0) <= now]
    if not started:
        return Due(None, missed, tuple(open_ones))
    begin = started[-1]
    later = tuple(one for one in open_ones if one not in started)
    left_s = (begin.end or now) - now
    return Due(begin._replace(seconds=left_s), (*missed, *started[:-1]), later)


def _json(text: str, zone: Optional[tzinfo]) -> List[Command]:
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"battery schedule: not JSON ({error})") from None
    rows = content.get("commands") if isinstance(content, dict) else content
    if not isinstance(rows, list):
        raise ConfigError("battery schedule: a list of commands is wanted")
    return [_row(row, index, zone) for index, row in enumerate(rows, 1)]


def _row(row: Any, index: int, zone: Optional[tzinfo]) -> Command:
    if not isinstance(row, dict):
        raise ConfigError(f"battery schedule, command {index}: not an object")
    unknown = set(row) - set(KEYS)
    if unknown:
        raise ConfigError(
            f"battery schedule, command {index}: {', '.join(sorted(unknown))} is unknown; there are {', '.join(KEYS)}"
        )
    try:
        start = row["start"]
        seconds = 60.0 * _number(row["minutes"], "minutes")
        watts = row.get("power_w")
        if watts is None and row.get("power_kw") is not None:
            watts = 1000.0 * _number(row["power_kw"], "power_kw")
        more = {name: _number(row[name], name) for name in ("export_w", "max_export_w", "max_import_w") if name in row}
        at = moment(start, zone) if isinstance(start, str) else _number(start, "start")
        return Command(
            _action(str(row["action"])), seconds, None if watts is None else _number(watts, "power_w"), at,
            priority=str(row.get("priority", "")), **more,
        )
    except KeyError as error:
        raise ConfigError(f"battery schedule, command {index}: {error.args[0]} is missing") from None
    except BridgeError as error:
        raise ConfigError(f"battery schedule, command {index}: {error}") from error


def _number(value: Any, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) < MOST_NUMBER:
        raise ConfigError(f"{name} is not a number, or one beyond all bounds")
    return float(value)


def _line(words: List[str], zone: Optional[tzinfo]) -> Command:
    if len(words) < 3:
        raise ConfigError("START, LENGTH and ACTION are wanted")
    if re.fullmatch(r"\d{4}-\d\d-\d\d", words[0]):
        words = [f"{words[0]}T{words[1]}", *words[2:]]
    action = _action(words[2])
    power_w, more = None, {}
    for word in words[3:]:
        name, equals, value = word.partition("=")
        if not equals:
            power_w = watts_of(word)
        elif name in ("export", "max_export", "max_import"):
            more[name + "_w"] = watts_of(value)
        elif name == "priority":
            more[name] = value  # type: ignore[assignment]
        else:
            raise ConfigError(f"{word!r} is neither a power nor export=, max_export=, max_import= or priority=")
    return Command(action, length_of(words[1]), power_w, moment(words[0], zone), **more)  # type: ignore[arg-type]


def _action(word: str) -> str:
    try:
        return WORDS[word.lower()]
    except KeyError:
        raise ConfigError(f"{word!r} is not one of charge, discharge, hold, self, self-grid") from None


def watts_of(word: str) -> float:
    """Return W of '5kW' or '5000W'; a number without a unit is refused, for 5 could be either."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(kw|w)", word.strip().lower())
    if not found:
        raise ConfigError(f"{word!r} is not a power such as 5kW or 5000W")
    return float(found[1]) * UNITS[found[2]]


def length_of(word: str) -> float:
    """Return seconds of '90s', '30m', '30min' or '2h'."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(s|m|min|h)", word.strip().lower())
    if not found:
        raise ConfigError(f"{word!r} is not a length such as 30m or 2h")
    return float(found[1]) * LENGTHS[found[2]]


def moment(word: str, zone: Optional[tzinfo]) -> float:
    """Return unix seconds of an ISO time; with an offset or Z it is that, else local.

    Raises ConfigError for a local time that a daylight-saving night skips or has twice.
    """
    text = re.sub(r"[zZ]$", "+00:00", word.strip())  # fromisoformat knows Z from Python 3.11 on
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigError(f"{word!r} is not a time such as 2026-12-01T01:00 or 2026-12-01T01:00+10:00") from None
    if parsed.tzinfo is not None:
        return parsed.timestamp()
    first, second = (_local(parsed.replace(fold=fold), zone) for fold in (0, 1))
    if _naive(first, zone) != parsed:
        raise ConfigError(f"{word} does not exist: clocks are put forward over it that night; give it with an offset")
    if first != second:
        raise ConfigError(f"{word} comes twice: clocks are put back that night; give it with an offset such as +10:00")
    return first


def _local(naive: datetime, zone: Optional[tzinfo]) -> float:
    return (naive.replace(tzinfo=zone) if zone is not None else naive).timestamp()


def _naive(seconds: float, zone: Optional[tzinfo]) -> datetime:
    utc = datetime(1970, 1, 1, tzinfo=timezone.utc) + timedelta(seconds=seconds)
    return utc.astimezone(zone).replace(tzinfo=None, fold=0)
