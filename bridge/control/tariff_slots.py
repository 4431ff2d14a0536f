"""The price of each slot of a day out of the rows of one channel; the rules stand in ``tariff``.

Never does I/O and never makes a number up: a slot without a price stays MISSING, or says what filled it.
"""

from __future__ import annotations

from bisect import bisect_left
from datetime import date, timedelta
from math import fsum
from typing import Callable, List, NamedTuple, Optional, Sequence, Tuple

from bridge.control.zones import Zone
from bridge.peers.amber_records import PriceRow

DAY_MIN = 1440
FILL_MOST = 2
LIVE_LATE_S = 300  # Amber publishes up to an interval late: until then the one before still counts
CLOCKS_DIFFER_S = 60
LIVE, ROWS, TOMORROW, TODAY, FILLED, SKIPPED, FLAT, MISSING = (
    "live", "rows", "tomorrow", "as today", "filled", "skipped", "flat", "missing",
)
PriceOf = Callable[[PriceRow], Optional[float]]
Mean = Callable[[Sequence[int]], Optional[Tuple[float, str]]]


class Limits(NamedTuple):
    """Lowest and highest price that is passed on, c/kWh."""

    floor_c: Optional[float] = None
    cap_c: Optional[float] = None


class Options(NamedTuple):
    """What the owner chose (settings tariff.*)."""

    interval_min: int = 30
    align: str = "end"
    advanced: str = "predicted"
    use_current: bool = True
    sell: str = "feedin"
    sell_flat_c: Optional[float] = None
    buy_limits: Limits = Limits()
    sell_limits: Limits = Limits()


class Price(NamedTuple):
    """The price of one slot in c/kWh, how it was found (a word of this module) and in which words."""

    c_kwh: Optional[float]
    how: str
    why: str


class Time(NamedTuple):
    """When a slot is: the day, the moments it begins at today and tomorrow, and whether it is running."""

    start_min: int
    day: date
    chosen: Tuple[int, ...]
    this_day: Tuple[int, ...]
    running: bool


def times_of(now: float, zone: Zone, interval_min: int) -> List[Time]:
    """Return the slots of a day with the moments whose prices they want."""
    today, _second = zone.local(now)
    tomorrow, length_s = today + timedelta(days=1), interval_min * 60
    found: List[Time] = []
    for start_min in range(0, DAY_MIN, interval_min):
        here = tuple(zone.moments(today, start_min * 60))
        running = tuple(at for at in here if at <= now < at + length_s)
        ahead = running or tuple(at for at in here if at > now)
        next_day = tuple(zone.moments(tomorrow, start_min * 60))
        found.append(Time(
            start_min, today if ahead else tomorrow, ahead or next_day, here, bool(running),
        ))
    return found


class Series:
    """Finds the prices of one channel for all slots."""

    def __init__(self, times: Sequence[Time], now: float, zone: Zone, options: Options) -> None:
        self.times, self._now, self._zone, self._options = times, now, zone, options
        self._length_s = options.interval_min * 60

    def prices(
        self, rows: Sequence[PriceRow], live: Optional[PriceRow], price_of: PriceOf, live_price_of: PriceOf
    ) -> List[Price]:
        """Return one price a slot, in clock order; those that are not known are MISSING."""
        ordered = sorted(rows, key=self._key)
        keys = [self._key(row) for row in ordered]

        def mean(moments: Sequence[int]) -> Optional[Tuple[float, str]]:
            return self._mean(moments, ordered, keys, price_of)

        return self._filled([self._price(time, mean, live, live_price_of) for time in self.times])

    def _key(self, row: PriceRow) -> int:
        """Return the second by which a row belongs to a slot: its first, or its last."""
        return row.start if self._options.align == "start" else row.end - 1

    def _price(
        self, time: Time, mean: Mean, live: Optional[PriceRow], live_price_of: PriceOf
    ) -> Price:
        if time.running and live is not None and self._options.use_current:
            begun, c_kwh = time.chosen[0], live_price_of(live)
            current = begun <= live.start < begun + self._length_s and (
                live.start - CLOCKS_DIFFER_S <= self._now < live.end + LIVE_LATE_S
            )
            if current and c_kwh is not None:
                state = ", estimate" if live.estimate else ""
                return Price(cents(c_kwh), LIVE, f"live {self._span(live)}{state}{spike_of(live)}")
        today = time.day == self._zone.local(self._now)[0]
        known = mean(time.chosen)
        if known is not None:
            c_kwh, words = known
            return Price(c_kwh, ROWS if today else TOMORROW, words if today else f"tomorrow: {words}")
        if not today:
            over = mean(time.this_day)
            if over is not None:
                return Price(over[0], TODAY, f"as today: {over[1]} (tomorrow's is not known yet)")
        if not time.chosen:
            return Price(None, SKIPPED, "the clock skips this time")
        return Price(None, MISSING, "no price")

    def _mean(
        self, moments: Sequence[int], rows: Sequence[PriceRow], keys: Sequence[int], price_of: PriceOf
    ) -> Optional[Tuple[float, str]]:
        inside = [
            row for at in moments
            for row in rows[bisect_left(keys, at):bisect_left(keys, at + self._length_s)]
        ]
        if not inside:  # a slot of 5 minutes inside a row of 30
            inside = [
                row for at in moments for row in rows if row.start <= at and row.end >= at + self._length_s
            ]
        priced = [(price, row) for row in inside for price in (price_of(row),) if price is not None]
        if not priced:
            return None
        minutes = fsum(row.minutes for _price, row in priced)
        mean = fsum(price * row.minutes for price, row in priced) / minutes
        lengths = "/".join(sorted({str(row.minutes) for _price, row in priced}, key=int))
        kinds = "/".join(sorted({row.kind for _price, row in priced}))
        spikes = next((spike_of(row) for _price, row in priced if spike_of(row)), "")
        many = f"mean of {len(priced)} x {lengths} min" if len(priced) > 1 else f"{lengths} min"
        return cents(mean), f"{many}, {kinds}{spikes}"

    def _filled(self, found: List[Price]) -> List[Price]:
        """Return the prices with short gaps filled, walking on in time from the running slot."""
        first = next(index for index, time in enumerate(self.times) if time.running)
        order = [(first + step) % len(found) for step in range(len(found))]
        run = 0
        for before, index in zip(order, order[1:]):
            price = found[index]
            if price.c_kwh is not None:
                run = 0
                continue
            run += price.how == MISSING
            source = found[before].c_kwh
            if source is not None and run <= FILL_MOST:
                clock = hhmm(self.times[before].start_min)
                how = FILLED if price.how == MISSING else SKIPPED
                found[index] = Price(source, how, f"{price.why}: as {clock}")
        return [price._replace(how=MISSING) if price.c_kwh is None else price for price in found]

    def _span(self, row: PriceRow) -> str:
        return f"{self._zone.text(row.start)}-{self._zone.text(row.end)}"


def spike_of(row: PriceRow) -> str:
    return f", {'' if row.spike == 'spike' else row.spike + ' '}spike" if row.spike not in (None, "none") else ""


def cents(c_kwh: float) -> float:
    return round(c_kwh, 2) + 0.0


def hhmm(minutes: int) -> str:
    """Return minutes since midnight as a clock shows them; the end of a day is 24:00."""
    return f"{minutes // 60:02d}:{minutes % 60:02d}"
