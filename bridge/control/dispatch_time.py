"""When things are due by the local clock: windows across midnight, deadlines, the cheapest hours.

Pure. Never asks for the time and never takes a price that is not known for a low one.
"""

from __future__ import annotations

import datetime
from typing import Any, NamedTuple, Optional, Sequence, Tuple

from bridge.errors import ConfigError

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
DAY_MIN = 24 * 60
SEARCH_DAYS = (-2, -1, 0, 1, 2)  # a day is 23 to 25 hours long: two to each side are enough


class Window(NamedTuple):
    """A span of the local day in minutes; across midnight when ``end`` is not after ``start``.

    ``days`` are those on which it begins, Monday is 0.
    """

    start: int
    end: int
    days: Tuple[int, ...] = (0, 1, 2, 3, 4, 5, 6)


class Deadline(NamedTuple):
    """So many minutes of running are wanted until this minute of each local day."""

    minutes: float
    by: int


class Price(NamedTuple):
    """What a kWh costs from ``start`` to ``end`` (unix seconds); None is not known, and not cheap."""

    start: float
    end: float
    buy_c_kwh: Optional[float]


def zone(name: str) -> Any:
    """Return the tzinfo of an IANA name, or None for this machine's own zone; raises ConfigError."""
    if not name:
        return None
    try:
        import zoneinfo  # only who has windows needs it

        return zoneinfo.ZoneInfo(name)
    except (ImportError, ValueError, OSError, KeyError) as error:
        raise ConfigError(
            f"time zone {name!r} is not known on this machine ({type(error).__name__}); check the name,"
            " or install the zone data (OpenWrt: zoneinfo-all; elsewhere: tzdata)"
        ) from error


def minute_of_day(text: str) -> int:
    """Return HH:MM as minutes since midnight; 24:00 is the end of the day. Raises ValueError."""
    hour, colon, minute = text.partition(":")
    if not (colon and hour.isdigit() and minute.isdigit() and len(minute) == 2):
        raise ValueError(f"{text!r} is not a time such as 22:00")
    found = int(hour) * 60 + int(minute)
    if found > DAY_MIN or int(minute) > 59:
        raise ValueError(f"{text!r} is not a time of the day")
    return found


def parse_windows(text: str) -> Tuple[Window, ...]:
    """Return the windows of "22:00-06:00, sat-sun 10:00-14:00"; raises ValueError."""
    return tuple(_window(part) for part in text.split(",") if part.strip())


def _window(text: str) -> Window:
    words = text.split()
    if len(words) not in (1, 2):
        raise ValueError(f"{text.strip()!r} is not a window such as 22:00-06:00 or sat-sun 10:00-14:00")
    start, dash, end = words[-1].partition("-")
    if not dash:
        raise ValueError(f"{words[-1]!r} is not a window such as 22:00-06:00")
    window = Window(minute_of_day(start) % DAY_MIN, minute_of_day(end))
    return window if len(words) == 1 else window._replace(days=_days(words[0]))


def _days(text: str) -> Tuple[int, ...]:
    first, _, last = text.lower().partition("-")
    if first not in DAYS or (last and last not in DAYS):
        raise ValueError(f"{text!r} is not a day or days such as sat or mon-fri")
    begin, end = DAYS.index(first), DAYS.index(last or first)
    return tuple((begin + step) % 7 for step in range((end - begin) % 7 + 1))


def parse_deadline(text: str) -> Deadline:
    """Return the deadline of "120m by 07:00"; raises ValueError."""
    words = text.split()
    if len(words) != 3 or words[1] != "by" or not words[0].rstrip("m").isdigit():
        raise ValueError(f"{text!r} is not a deadline such as 120m by 07:00")
    return Deadline(float(words[0].rstrip("m")), minute_of_day(words[2]) % DAY_MIN)


def local(at: float, tz: Any) -> datetime.datetime:
    """Return the local time of a moment."""
    return datetime.datetime.fromtimestamp(at, tz)


def is_open(window: Window, at: float, tz: Any) -> bool:
    """Say whether a window is open; it goes by the clock on the wall, also in nights that change it."""
    here = local(at, tz)
    minute, day = here.hour * 60 + here.minute, here.weekday()
    if window.start < window.end:
        return day in window.days and window.start <= minute < window.end
    if minute >= window.start:
        return day in window.days
    return minute < window.end and (day - 1) % 7 in window.days


def hhmm(minute: int) -> str:
    """Return minutes since midnight as HH:MM."""
    return f"{minute // 60:02}:{minute % 60:02}"


def window_text(window: Window) -> str:
    """Return a window as it is written."""
    days = "" if len(window.days) == 7 else "/".join(DAYS[day] for day in window.days) + " "
    return f"{days}{hhmm(window.start)}-{hhmm(window.end)}"


def period(at: float, by: int, tz: Any) -> Tuple[float, float]:
    """Return the last and the next moment at which the local clock shows the minute ``by``."""
    today = local(at, tz).date()
    moments = []
    for offset in SEARCH_DAYS:
        day = today + datetime.timedelta(days=offset)
        moments.append(datetime.datetime(day.year, day.month, day.day, by // 60, by % 60, tzinfo=tz).timestamp())
    return max(moment for moment in moments if moment <= at), min(moment for moment in moments if moment > at)


def parse_prices(content: Any) -> Tuple[Price, ...]:
    """Return the prices of a JSON list, or of the list under "prices": start and end, buy_c_kwh or null.

    What ``amber prices --json`` prints will do as well. Times are unix seconds or ISO 8601 with an offset.
    Raises ValueError.
    """
    rows = content
    if isinstance(content, dict):
        rows = content.get("prices") if "prices" in content else _bought(content.get("rows"))
    if not isinstance(rows, list):
        raise ValueError("there is no list of prices")
    found = []
    for row in rows:
        if not isinstance(row, dict) or "start" not in row or "end" not in row:
            raise ValueError("a price has start, end and buy_c_kwh")
        cents = row.get("buy_c_kwh", row.get("per_kwh"))
        known = cents if isinstance(cents, (int, float)) and not isinstance(cents, bool) else None
        found.append(Price(_unix(row["start"]), _unix(row["end"]), known))
    return tuple(found)


def _bought(rows: Any) -> Any:
    """Return the rows of what the house buys in general, without controlled loads and feed-in."""
    if not isinstance(rows, list):
        return None
    return [row for row in rows if not isinstance(row, dict) or row.get("channel") == "general"]


def _unix(told: Any) -> float:
    if isinstance(told, (int, float)) and not isinstance(told, bool):
        return float(told)
    moment = datetime.datetime.fromisoformat(str(told).replace("Z", "+00:00"))
    if moment.tzinfo is None:
        raise ValueError(f"{told!r} has no offset from UTC")
    return moment.timestamp()


def price_at(prices: Sequence[Price], at: float) -> Optional[float]:
    """Return the price of a moment in c/kWh, or None when it is not known."""
    for price in prices:
        if price.start <= at < price.end:
            return price.buy_c_kwh
    return None


def is_cheap(prices: Sequence[Price], at: float, until: float, wanted_s: float) -> Optional[bool]:
    """Say whether this moment belongs to the cheapest ``wanted_s`` seconds before ``until``.

    None when its price is not known. Prices below zero are prices; of equal ones the earlier counts.
    """
    if price_at(prices, at) is None:
        return None
    ahead = sorted(
        (price for price in prices if price.buy_c_kwh is not None and price.end > at and price.start < until),
        key=lambda price: (price.buy_c_kwh, price.start),
    )
    taken_s = 0.0
    for price in ahead:
        if taken_s >= wanted_s:
            return False
        if price.start <= at:
            return True
        taken_s += min(price.end, until) - max(price.start, at)
    return False
