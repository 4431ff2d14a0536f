"""What Amber's answers mean: sites and price rows, each judged on its own.

Never turns a missing or damaged value into 0, never trusts that all rows are equally long, and never
places a row by its startTime (one second late) or by the offset of nemTime (+10:00 all year).
Facts: Amber's published API description and answers (amberelectric/public-api).
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone
from typing import Any, Iterable, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from bridge.peers.envelope import flag, number, text_of

GENERAL, CONTROLLED, FEED_IN = "general", "controlledLoad", "feedIn"
ACTUAL, CURRENT, FORECAST = "actual", "current", "forecast"
LENGTHS_MIN = (5, 15, 30)
KINDS: Mapping[str, str] = {
    "ActualInterval": ACTUAL, "CurrentInterval": CURRENT, "ForecastInterval": FORECAST,
}
NEM = timezone(timedelta(hours=10))
TIMES_AGREE_S = 60  # endTime and nemTime name the same moment; a row whose own times differ cannot be placed


class Site(NamedTuple):
    """One site of the account; ``status`` is pending, active or closed, ``billing_min`` 5 or 30."""

    site_id: str
    nmi: Optional[str]
    network: Optional[str]
    status: str
    billing_min: Optional[int]
    channels: Tuple[str, ...]

    @property
    def feeds_in(self) -> bool:
        """Say whether the site has an export channel."""
        return FEED_IN in self.channels


class Advanced(NamedTuple):
    """Amber's own forecast in c/kWh; what is not there is None."""

    low: Optional[float]
    predicted: Optional[float]
    high: Optional[float]


class PriceRow(NamedTuple):
    """One price of one channel in c/kWh with GST, from ``start`` to ``end`` (unix seconds, whole minutes).

    ``per_kwh`` is what the customer pays: negative on the feed-in channel means that he earns.
    """

    start: int
    end: int
    channel: str
    kind: str
    per_kwh: Optional[float]
    spot_per_kwh: Optional[float] = None
    advanced: Optional[Advanced] = None
    estimate: Optional[bool] = None
    spike: Optional[str] = None
    descriptor: Optional[str] = None

    @property
    def minutes(self) -> int:
        """The length of the row."""
        return (self.end - self.start) // 60


class Rows(NamedTuple):
    """The rows of one answer that can be used, and why others cannot."""

    rows: Tuple[PriceRow, ...]
    odd: Tuple[str, ...] = ()


def site_of(content: Any) -> Optional[Site]:
    """Return a site, or None for what is none."""
    if not isinstance(content, dict) or not text_of(content.get("id")):
        return None
    listed = content.get("channels")
    channels = tuple(
        str(one["type"]) for one in (listed if isinstance(listed, list) else ())
        if isinstance(one, dict) and isinstance(one.get("type"), str)
    )
    length = number(content.get("intervalLength"))
    return Site(
        str(content["id"]), text_of(content.get("nmi")), text_of(content.get("network")),
        (text_of(content.get("status")) or "unknown").lower(), int(length) if length else None, channels,
    )


def rows_of(content: Any) -> Rows:
    """Return the price rows of an answer; anything but a list is an answer without rows."""
    if not isinstance(content, list):
        return Rows((), ("the answer is no list",) if content is not None else ())
    good: List[PriceRow] = []
    odd: List[str] = []
    for one in content:
        found = _row(one)
        if isinstance(found, PriceRow):
            good.append(found)
        elif found not in odd:
            odd.append(found)
    return Rows(tuple(good), tuple(odd))


def _row(content: Any) -> "PriceRow | str":
    """Return a row, or what is wrong with it."""
    if not isinstance(content, dict):
        return "a row is no object"
    kind, channel = KINDS.get(str(content.get("type"))), content.get("channelType")
    if kind is None:
        return f"a row has the type {str(content.get('type'))[:20]!r}"
    if channel not in (GENERAL, CONTROLLED, FEED_IN):
        return f"a row has the channel {str(channel)[:20]!r}"
    length = number(content.get("duration"))
    if length not in LENGTHS_MIN:
        return f"a row lasts {length if length is None else format(length, 'g')} minutes"
    end, nem_end = unix_of(content.get("endTime")), unix_of(content.get("nemTime"), NEM)
    if end is None and nem_end is None:
        return "a row has no end"
    if end is not None and nem_end is not None and abs(end - nem_end) >= TIMES_AGREE_S:
        return "a row's endTime and nemTime differ"
    ends = _to_minute(end if end is not None else nem_end or 0.0)
    return PriceRow(
        ends - int(length or 0) * 60, ends, str(channel), kind, number_only(content.get("perKwh")),
        number_only(content.get("spotPerKwh")), _advanced(content.get("advancedPrice")),
        flag(content.get("estimate")), text_of(content.get("spikeStatus")), text_of(content.get("descriptor")),
    )


def _advanced(content: Any) -> Optional[Advanced]:
    if not isinstance(content, dict):
        return None
    found = Advanced(*(number_only(content.get(name)) for name in Advanced._fields))
    return None if found == Advanced(None, None, None) else found


def number_only(content: Any) -> Optional[float]:
    """Return a JSON number; a text is no price, and -0.0 is 0.0."""
    return None if isinstance(content, str) else _plain(number(content))


def _plain(found: Optional[float]) -> Optional[float]:
    return None if found is None else found + 0.0


def unix_of(content: Any, without_offset: timezone = timezone.utc) -> Optional[float]:
    """Return unix seconds of an ISO 8601 time, or None; Python 3.9 knows no Z."""
    if not isinstance(content, str) or not re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d", content):
        return None
    try:
        found = datetime.fromisoformat(re.sub(r"[Zz]\Z", "+00:00", content))
    except ValueError:
        return None
    return (found if found.tzinfo is not None else found.replace(tzinfo=without_offset)).timestamp()


def _to_minute(at: float) -> int:
    return int((at + 30.0) // 60.0) * 60


def of_channel(rows: Iterable[PriceRow], channel: str) -> List[PriceRow]:
    """Return the rows of a channel, in order of time."""
    return sorted((row for row in rows if row.channel == channel), key=lambda row: (row.start, row.end))


def active(sites: Sequence[Site]) -> List[Site]:
    """Return the sites that have prices."""
    return [site for site in sites if site.status == "active"]


def to_json(rows: Iterable[PriceRow]) -> List[Any]:
    """Return rows as JSON lists, for a small file."""
    return [[*row[:6], list(row.advanced) if row.advanced else None, *row[7:]] for row in rows]


def from_json(content: Any) -> Tuple[PriceRow, ...]:
    """Return the rows of ``to_json``; damaged ones are left out."""
    found: List[PriceRow] = []
    for one in content if isinstance(content, list) else ():
        if not isinstance(one, list) or len(one) != len(PriceRow._fields):
            continue
        if not all(isinstance(at, int) for at in one[:2]) or not all(isinstance(word, str) for word in one[2:4]):
            continue
        advanced = Advanced(*map(number_only, one[6])) if isinstance(one[6], list) and len(one[6]) == 3 else None
        start, end, channel, kind, per_kwh, spot, _advanced_list, estimate, spike, descriptor = one
        found.append(PriceRow(
            start, end, channel, kind, number_only(per_kwh), number_only(spot), advanced, flag(estimate),
            text_of(spike), text_of(descriptor),
        ))
    return tuple(found)
