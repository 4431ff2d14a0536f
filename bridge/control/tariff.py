"""From price rows to the slots of a tariff: which price stands at which time of the station's clock, and why.

Never does I/O and never calls a missing price 0: a slot without a price is filled by the rule below or the
whole plan is incomplete, and an incomplete plan is not posted. The rules, in order:

1. A plan is a clock of one day. A slot that is running or still to come today has today's price; one that is
   over has tomorrow's, or today's while tomorrow's is not known.
2. A price is the mean of the rows that start in the slot (``align = end``: that end in it), weighted by their
   length. Rows of the same time count once. A time that the clock shows twice has the mean of both, as long as
   neither is over; a time that it skips has the price of the slot before it.
3. The running slot has the live interval's price, unless that is switched off.
4. At most ``FILL_MOST`` slots in a row without a price take that of the slot before them, never the running one.
"""

from __future__ import annotations

from datetime import date
from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple

from bridge.control.tariff_slots import FLAT, LIVE, Limits, Options, Price, Series, cents, hhmm, times_of
from bridge.control.zones import Zone
from bridge.peers.amber_records import ACTUAL, CURRENT, FEED_IN, GENERAL, PriceRow

RANK = {ACTUAL: 0, CURRENT: 1}  # of two rows for the same time the final one counts
class Slot(NamedTuple):
    """One slot: minutes since midnight, the day whose price it has, and both prices."""

    start_min: int
    end_min: int
    day: date
    buy: Price
    sell: Optional[Price]


class Plan(NamedTuple):
    """The slots in clock order from 00:00; ``problems`` say what is missing: then it must not be posted.

    ``settled`` is False while the running price is an estimate, or that of an interval that is over already.
    """

    slots: Tuple[Slot, ...]
    running: int
    problems: Tuple[str, ...]
    notes: Tuple[str, ...]
    settled: bool

    @property
    def complete(self) -> bool:
        """True when every slot has its price."""
        return not self.problems


def make_plan(
    rows: Sequence[PriceRow], live: Sequence[PriceRow], now: float, zone: Zone, options: Options, feeds_in: bool,
) -> Plan:
    """Return the plan for ``now``; ``live`` is what Amber calls the current interval, by channel.

    ``feeds_in`` says whether the site has an export channel: without one the sell price is flat or left out.
    """
    times = times_of(now, zone, options.interval_min)
    series = Series(times, now, zone, options)
    general, feed = _unique(rows, GENERAL), _unique(rows, FEED_IN)
    missing_advanced: List[PriceRow] = []
    buy = series.prices(
        general, _live(live, GENERAL), lambda row: _buy(row, options.advanced, missing_advanced), _per_kwh
    )
    notes: List[str] = []
    if missing_advanced:
        notes.append(
            f"{len(missing_advanced)} forecasts have no advanced price ({options.advanced}): perKwh is used for them"
        )
    sell = _sell(series, general, feed, live, options, feeds_in, notes)
    bought = [_limited(price, options.buy_limits) for price in buy]
    sold = [_limited(price, options.sell_limits) for price in sell] if sell is not None else None
    slots = tuple(
        Slot(time.start_min, time.start_min + options.interval_min, time.day, bought[index],
             sold[index] if sold is not None else None)
        for index, time in enumerate(times)
    )
    problems = [*_problems("buy", slots, bought), *(_problems("sell", slots, sold) if sold is not None else ())]
    running = next(index for index, time in enumerate(times) if time.running)
    current = _live(live, GENERAL)
    settled = not options.use_current or (
        bought[running].how == LIVE and current is not None and now < current.end
        and not any(row.estimate for row in live if row.kind == CURRENT)
    )
    return Plan(slots, running, tuple(problems), tuple(notes), settled)


def _sell(
    series: "Series", general: Sequence[PriceRow], feed: Sequence[PriceRow], live: Sequence[PriceRow],
    options: Options, feeds_in: bool, notes: List[str],
) -> Optional[List[Price]]:
    """Return the sell prices, or None where there is nothing to sell by; ``notes`` gets what is worth saying."""
    if options.sell == "spot":
        rows, channel = (feed, FEED_IN) if feeds_in else (general, GENERAL)
        found = series.prices(rows, _live(live, channel), _spot, _spot)
        paid = series.prices(feed, _live(live, FEED_IN), _earned, _earned)
        if not (feeds_in or feed):
            notes.append(
                "this site has no feed-in channel: tariff.sell = spot sends the wholesale price all the same, which"
                " nobody pays for this export; set it to feedin"
            )
        at = next(index for index, time in enumerate(series.times) if time.running)
        spot_c, paid_c = found[at].c_kwh, paid[at].c_kwh
        if spot_c is not None and paid_c is not None:
            notes.append(
                f"sell = spot: {spot_c:.2f} c/kWh is the wholesale price, feed-in pays {paid_c:.2f}:"
                f" {abs(spot_c - paid_c):.2f} {'less' if paid_c < spot_c else 'more'} (losses and fees)"
            )
        return found
    if feeds_in or feed:
        return series.prices(feed, _live(live, FEED_IN), _earned, _earned)
    if options.sell_flat_c is not None:
        notes.append(f"this site has no feed-in channel: the sell price is flat, {options.sell_flat_c:.2f} c/kWh")
        flat = Price(options.sell_flat_c, FLAT, "tariff.sell_flat_c")
        return [flat] * len(series.times)
    notes.append(
        "this site has no feed-in channel: the sell price that the cloud holds is sent back; set tariff.sell_flat_c"
        " to what your export pays"
    )
    return None


def _unique(rows: Sequence[PriceRow], channel: str) -> List[PriceRow]:
    best: Dict[Tuple[int, int], PriceRow] = {}
    for row in rows:
        if row.channel != channel:
            continue
        other = best.get((row.start, row.end))
        if other is None or RANK.get(row.kind, 2) <= RANK.get(other.kind, 2):
            best[row.start, row.end] = row
    return sorted(best.values())


def _live(rows: Sequence[PriceRow], channel: str) -> Optional[PriceRow]:
    return next((row for row in rows if row.channel == channel and row.kind == CURRENT), None)


def _buy(row: PriceRow, level: str, without: List[PriceRow]) -> Optional[float]:
    if level == "off" or row.kind == ACTUAL:
        return row.per_kwh
    advanced = None
    if row.advanced is not None:
        advanced = {"low": row.advanced.low, "predicted": row.advanced.predicted, "high": row.advanced.high}[level]
    if advanced is None and row.per_kwh is not None and row not in without:
        without.append(row)
    return row.per_kwh if advanced is None else advanced


def _per_kwh(row: PriceRow) -> Optional[float]:
    return row.per_kwh


def _earned(row: PriceRow) -> Optional[float]:
    return None if row.per_kwh is None else -row.per_kwh


def _spot(row: PriceRow) -> Optional[float]:
    return row.spot_per_kwh


def _limited(price: Price, limits: Limits) -> Price:
    c_kwh = price.c_kwh
    if c_kwh is None:
        return price
    if limits.cap_c is not None and c_kwh > limits.cap_c:
        return price._replace(c_kwh=cents(limits.cap_c), why=f"{price.why}; capped, was {c_kwh:.2f}")
    if limits.floor_c is not None and c_kwh < limits.floor_c:
        return price._replace(c_kwh=cents(limits.floor_c), why=f"{price.why}; raised, was {c_kwh:.2f}")
    return price


def _problems(name: str, slots: Sequence[Slot], prices: Sequence[Price]) -> List[str]:
    """Return what is missing, neighbours together."""
    spans: List[Tuple[int, int]] = []
    for slot, price in zip(slots, prices):
        if price.c_kwh is not None:
            continue
        if spans and spans[-1][1] == slot.start_min:
            spans[-1] = (spans[-1][0], slot.end_min)
        else:
            spans.append((slot.start_min, slot.end_min))
    return [f"no {name} price for {hhmm(start)}-{hhmm(end)}" for start, end in spans]
