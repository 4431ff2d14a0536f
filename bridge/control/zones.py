"""Local time of a station: offsets of an IANA zone, with a table of rules where the machine has no zone data.

Never takes an offset from prices (nemTime is +10:00 all year, everywhere) and never guesses a zone: an
unknown name is an error. OpenWrt's python3-light has no zone files, so the Australian rules are shipped.
"""

from __future__ import annotations

import calendar
from datetime import date, datetime, timedelta, timezone
from typing import Any, Callable, List, Mapping, NamedTuple, Optional, Tuple

from bridge.errors import ConfigError

DAY_S = 86400
HOUR_S = 3600


class Rule(NamedTuple):
    """Standard offset, and the one in summer between two Sundays, at times of standard time.

    ``start`` and ``end`` are (month, which Sunday: 1 = first, -1 = last). In force since 2008 (tz database,
    files australasia); years before that are not needed for prices.
    """

    standard_s: int
    summer_s: int = 0
    start: Tuple[int, int] = (10, 1)
    end: Tuple[int, int] = (4, 1)
    begins_s: int = 2 * HOUR_S
    ends_s: int = 2 * HOUR_S


EAST, CENTRAL, WEST = 10 * HOUR_S, 9 * HOUR_S + 1800, 8 * HOUR_S
# fmt: off
RULES: Mapping[str, Rule] = {
    "Australia/Sydney":      Rule(EAST,    EAST + HOUR_S),
    "Australia/Melbourne":   Rule(EAST,    EAST + HOUR_S),
    "Australia/Hobart":      Rule(EAST,    EAST + HOUR_S),
    "Australia/Brisbane":    Rule(EAST),
    "Australia/Lindeman":    Rule(EAST),
    "Australia/Adelaide":    Rule(CENTRAL, CENTRAL + HOUR_S),
    "Australia/Broken_Hill": Rule(CENTRAL, CENTRAL + HOUR_S),
    "Australia/Darwin":      Rule(CENTRAL),
    "Australia/Perth":       Rule(WEST),
    "Australia/Eucla":       Rule(WEST + 2700),
    "Australia/Lord_Howe":   Rule(EAST + 1800, EAST + HOUR_S, ends_s=HOUR_S + 1800),
    "Pacific/Auckland":      Rule(12 * HOUR_S, 13 * HOUR_S, (9, -1)),
    "UTC":                   Rule(0),
}
ALIASES: Mapping[str, str] = {
    "Australia/ACT": "Australia/Sydney",        "Australia/Canberra": "Australia/Sydney",
    "Australia/NSW": "Australia/Sydney",        "Australia/Victoria": "Australia/Melbourne",
    "Australia/Tasmania": "Australia/Hobart",   "Australia/Currie": "Australia/Hobart",
    "Australia/Queensland": "Australia/Brisbane", "Australia/South": "Australia/Adelaide",
    "Australia/North": "Australia/Darwin",      "Australia/West": "Australia/Perth",
    "Australia/Yancowinna": "Australia/Broken_Hill", "Australia/LHI": "Australia/Lord_Howe",
    "NZ": "Pacific/Auckland", "Etc/UTC": "UTC",
}
# Network companies as Amber spells them (compared in lower case, by their first word) and NEM regions.
NETWORKS: Mapping[str, str] = {
    "ausgrid": "Australia/Sydney",       "endeavour": "Australia/Sydney",    "essential": "Australia/Sydney",
    "evoenergy": "Australia/Sydney",     "ausnet": "Australia/Melbourne",    "citipower": "Australia/Melbourne",
    "jemena": "Australia/Melbourne",     "powercor": "Australia/Melbourne",  "united": "Australia/Melbourne",
    "energex": "Australia/Brisbane",     "ergon": "Australia/Brisbane",      "sa": "Australia/Adelaide",
    "sapn": "Australia/Adelaide",        "tasnetworks": "Australia/Hobart",
    "nsw1": "Australia/Sydney",          "qld1": "Australia/Brisbane",       "vic1": "Australia/Melbourne",
    "sa1": "Australia/Adelaide",         "tas1": "Australia/Hobart",
}
# fmt: on


class Zone:
    """One zone; ``offset_s`` says how far its clocks are ahead of UTC at a unix time."""

    def __init__(self, name: str, offset_s: Callable[[float], int], source: str) -> None:
        self.name, self.offset_s, self.source = name, offset_s, source

    def local(self, at: float) -> Tuple[date, int]:
        """Return the date and the seconds since midnight that a clock on the wall shows."""
        shown = int(at // 1) + self.offset_s(at)
        return date(1970, 1, 1) + timedelta(days=shown // DAY_S), shown % DAY_S

    def moments(self, day: date, second: int) -> List[int]:
        """Return the unix times at which a clock shows ``day`` and ``second``: none, one or two."""
        naive = calendar.timegm(day.timetuple()) + second
        offsets = {self.offset_s(naive + shift) for shift in (-DAY_S - HOUR_S, 0, DAY_S + HOUR_S)}
        return sorted(naive - offset for offset in offsets if self.offset_s(naive - offset) == offset)

    def text(self, at: float, form: str = "%H:%M") -> str:
        """Return a moment as local time."""
        return (datetime(1970, 1, 1) + timedelta(seconds=int(at // 1) + self.offset_s(at))).strftime(form)


def zone(name: str, find: Optional[Callable[[str], Any]] = None) -> Zone:
    """Return a zone by its IANA name; raises ConfigError where neither the machine nor the table knows it.

    ``find`` makes a tzinfo of a name and raises LookupError or ValueError; default is zoneinfo.
    """
    if find is None:
        find = _from_zoneinfo
    try:
        info = find(name)
    except (LookupError, ValueError, OSError):
        rule = RULES.get(ALIASES.get(name, name))
        if rule is None:
            raise ConfigError(
                f"time zone {name!r}: neither this machine's zone data nor the built-in table knows it; use an"
                " IANA name such as Australia/Adelaide, or install tzdata (pip) or zoneinfo-all (OpenWrt)"
            ) from None
        return by_rule(name, rule)
    return Zone(name, lambda at: _offset_s(info, at), "zone data")


def by_rule(name: str, rule: Rule) -> Zone:
    """Return the zone that the built-in table describes."""
    return Zone(name, lambda at: rule_offset_s(rule, at), "built-in table")


def for_network(network: str) -> Optional[str]:
    """Return the zone of a network company or NEM region, or None when it is not known."""
    words = network.replace("_", " ").lower().split()
    return NETWORKS.get(words[0]) if words else None


def rule_offset_s(rule: Rule, at: float) -> int:
    """Return the offset of a rule at a unix time; the southern summer spans the turn of the year."""
    if not rule.summer_s:
        return rule.standard_s
    standard = datetime(1970, 1, 1) + timedelta(seconds=at + rule.standard_s)
    begins = _turn(standard.year, *rule.start, rule.begins_s)
    ends = _turn(standard.year, *rule.end, rule.ends_s)
    return rule.standard_s if ends <= standard < begins else rule.summer_s


def _turn(year: int, month: int, which: int, second: int) -> datetime:
    """Return a Sunday of a month: the first, or the last."""
    if which > 0:
        first = date(year, month, 1)
        day = 1 + (6 - first.weekday()) % 7
    else:
        length = calendar.monthrange(year, month)[1]
        day = length - (date(year, month, length).weekday() + 1) % 7
    return datetime(year, month, day) + timedelta(seconds=second)


def _offset_s(info: Any, at: float) -> int:
    offset = datetime.fromtimestamp(int(at // 1), timezone.utc).astimezone(info).utcoffset()
    return int(offset.total_seconds()) if offset is not None else 0


def _from_zoneinfo(name: str) -> Any:
    try:
        from zoneinfo import ZoneInfo
    except ImportError as error:  # a Python of a router may come without it
        raise LookupError(str(error)) from None
    return ZoneInfo(name)
