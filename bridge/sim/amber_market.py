"""The prices of the simulated Amber: one made-up day after another, as intervals of 5, 15 or 30 minutes.

Never reads a clock: every question carries ``now``. A half hour is the mean of its six five-minute prices,
so that whoever averages gets the same. Rows are spelled as Amber publishes them: startTime one second late,
nemTime the end of the interval at +10:00, feed-in negative where the customer earns.
"""

from __future__ import annotations

import math
from datetime import datetime, timedelta, timezone
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Tuple

NEM = timezone(timedelta(hours=10))
FIVE_S, HALF_HOUR_S = 300, 1800
FINE_AHEAD_S = 3 * 3600  # five-minute forecasts reach about that far, then rows of 30 minutes follow
PUBLISHED_HOUR = 12.5  # NEM time of day at which the market publishes the next trading day
TRADING_DAY_ENDS_HOUR = 4
SETTLES_S = 25  # seconds into an interval at which its price is no longer an estimate
ESTIMATE_OFF_C = 1.5
GENERAL, FEED_IN = "general", "feedIn"
SCENARIOS = ("normal", "negative", "spike", "gaps", "mixed", "flat", "estimate")
PriceOf = Callable[[str, int], Optional[float]]


class SimSite(NamedTuple):
    """One site of the account."""

    site_id: str = "01J0SIMSITE00000000000001"
    nmi: str = "4100000001"
    network: str = "Ausgrid"
    status: str = "active"
    billing_min: int = 5
    feed_in: bool = True

    def body(self) -> Dict[str, Any]:
        """Return it as the API lists it."""
        channels = [{"identifier": "E1", "type": GENERAL, "tariff": "EA116"}]
        channels += [{"identifier": "B1", "type": FEED_IN, "tariff": "EA029"}] if self.feed_in else []
        return {
            "id": self.site_id, "nmi": self.nmi, "network": self.network, "status": self.status,
            "activeFrom": "2024-01-01", "intervalLength": self.billing_min, "channels": channels,
        }


def day_price(channel: str, at: int) -> float:
    """Return the price of the five minutes that begin at ``at``: cheap at noon, dear in the evening."""
    hour = ((at + 36000) % 86400) / 3600.0
    ripple = ((at // FIVE_S) % 7 - 3) * 0.4
    buy = 24.0 - 11.0 * math.exp(-((hour - 12.5) / 2.5) ** 2) + 22.0 * math.exp(-((hour - 18.5) / 1.6) ** 2) + ripple
    return round(buy if channel == GENERAL else -(buy * 0.55 - 8.0), 5)


class Market:
    """A scenario's prices; ``table`` replaces single intervals: (channel, start of 5 min) -> c/kWh or None."""

    def __init__(self, scenario: str = "normal") -> None:
        if scenario not in SCENARIOS:
            raise ValueError(f"unknown scenario {scenario}; one of {', '.join(SCENARIOS)}")
        self.scenario = scenario
        self.table: Dict[Tuple[str, int], Optional[float]] = {}
        self.price: Optional[PriceOf] = None
        self.without_advanced = False
        self.horizon_s: Optional[int] = None  # None is the market's own

    def five_min(self, channel: str, at: int) -> Optional[float]:
        """Return the final price of one five-minute interval, None where the market has a gap."""
        if (channel, at) in self.table:
            return self.table[channel, at]
        if self.price is not None:
            return self.price(channel, at)
        base = day_price(channel, at)
        half_hour = (at + 36000) % 86400 // HALF_HOUR_S
        if self.scenario == "flat":
            return 25.0 if channel == GENERAL else -5.0
        if self.scenario == "negative" and 20 <= half_hour < 30:
            return round(-6.0 - half_hour / 10, 5) if channel == GENERAL else 9.25
        if self.scenario == "spike" and 35 <= half_hour < 38:
            return 1912.5 if channel == GENERAL else -1600.0
        if self.scenario == "gaps" and half_hour % 12 == 7:
            return None
        return base

    def mean(self, channel: str, start: int, length_s: int) -> Optional[float]:
        """Return the mean of the five-minute prices of an interval; None when one is missing."""
        parts = [self.five_min(channel, at) for at in range(start, start + length_s, FIVE_S)]
        known = [part for part in parts if part is not None]
        return round(sum(known) / len(parts), 5) if len(known) == len(parts) else None

    def last_known(self, now: float) -> int:
        """Return until when prices are published: the end of a trading day, or ``horizon_s`` from now."""
        if self.horizon_s is not None:
            return int(now + self.horizon_s) // HALF_HOUR_S * HALF_HOUR_S
        local = datetime.fromtimestamp(now, NEM)
        midnight = local.replace(hour=0, minute=0, second=0, microsecond=0)
        days = 1 if local.hour + local.minute / 60 < PUBLISHED_HOUR else 2
        return int((midnight + timedelta(hours=24 * days + TRADING_DAY_ENDS_HOUR)).timestamp())

    def rows(self, channel: str, start: int, end: int, resolution_min: int, now: float) -> List[Dict[str, Any]]:
        """Return the published rows of a channel that begin in start..end."""
        found: List[Dict[str, Any]] = []
        at, last = start, min(end, self.last_known(now))
        while at < last:
            length_s = self._length_s(at, resolution_min, now)
            row = self.row(channel, at, length_s, now)
            if row is not None:
                found.append(row)
            at += length_s
        return found

    def _length_s(self, at: int, resolution_min: int, now: float) -> int:
        if self.scenario == "mixed":  # as if each half hour came from another meter
            return (HALF_HOUR_S, 900, FIVE_S)[at // HALF_HOUR_S % 3]
        if resolution_min == 30:
            return HALF_HOUR_S
        whole = at % HALF_HOUR_S == 0
        far = at >= int(now + FINE_AHEAD_S) // HALF_HOUR_S * HALF_HOUR_S
        return HALF_HOUR_S if far and whole else FIVE_S

    def row(self, channel: str, start: int, length_s: int, now: float) -> Optional[Dict[str, Any]]:
        """Return one row as Amber spells it, or None where there is no price."""
        final = self.mean(channel, start, length_s)
        if final is None:
            return None
        end = start + length_s
        kind = "ActualInterval" if end <= now else "CurrentInterval" if start <= now else "ForecastInterval"
        estimate = kind == "CurrentInterval" and self._estimated(start, end, now)
        price = round(final + (ESTIMATE_OFF_C if channel == GENERAL else -ESTIMATE_OFF_C), 5) if estimate else final
        spike = abs(price) >= 300.0
        fed_in = self.mean(FEED_IN, start, length_s)
        # what a feed-in customer earns is the wholesale price less losses and fees
        spot = round(price * 0.6 if fed_in is None else -fed_in * 1.05, 5)
        row: Dict[str, Any] = {
            "type": kind, "date": _iso(start, NEM)[:10], "duration": length_s // 60,
            "startTime": _iso(start + 1, timezone.utc).replace("+00:00", "Z"),
            "endTime": _iso(end, timezone.utc).replace("+00:00", "Z"), "nemTime": _iso(end, NEM),
            "perKwh": price, "spotPerKwh": spot, "renewables": 41.5, "channelType": channel,
            "spikeStatus": "spike" if spike else "none", "tariffInformation": {"demandWindow": False},
            "descriptor": "spike" if spike else "extremelyLow" if price < 0 and channel == GENERAL else "neutral",
        }
        if kind == "CurrentInterval":
            row["estimate"] = estimate
        if kind != "ActualInterval" and not self.without_advanced:
            row["advancedPrice"] = advanced(price)
        return row

    def _estimated(self, start: int, end: int, now: float) -> bool:
        if end - start == HALF_HOUR_S:
            return now < end - FIVE_S  # a half hour is final only in its last five minutes
        return self.scenario == "estimate" or now < start + SETTLES_S


def advanced(price: float) -> Mapping[str, float]:
    """Return Amber's own forecast around a price; for feed-in "high" is the most negative."""
    width = round(abs(price) * 0.1 + 0.5, 5)
    sign = 1 if price >= 0 else -1
    return {
        "low": round(price - sign * width, 5), "predicted": round(price + sign * width / 4, 5),
        "high": round(price + sign * width, 5),
    }


def _iso(at: float, zone: timezone) -> str:
    return datetime.fromtimestamp(at, zone).isoformat()
