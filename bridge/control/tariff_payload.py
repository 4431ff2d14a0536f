"""The tariff as the Sigenergy app saves it, and what a saved one says.

Never builds a payload of an incomplete plan. Shape: the web app's save request as two independent tools post it;
prices in cents with two decimals, GST included, slots of the station's clock from 00:00 to 24:00.
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from bridge.control.tariff import Plan
from bridge.control.tariff_slots import hhmm
from bridge.errors import ConfigError, ImplausibleData

PROVIDER = "Amber"
CURRENCY = "Cent"
NAME_MAX = 64
ALL_MONTHS, ALL_WEEK = "01-12", "1-7"  # 1 = Monday

STATION_HELP = (
    "the stationId is a number of about 14 digits, not the systemId of letters and digits; three ways to it: leave"
    " cloud.station_id empty and set cloud.username and cloud.password (it is found by itself);"
    " sigen-bridge env make --from-har FILE (from a recording of the web app); or the answer to"
    " /device/owner/station/home in the web app's developer tools"
)


class Saved(NamedTuple):
    """The prices of a saved tariff: (clock, c/kWh) for each slot; None where there is no such direction."""

    buy: Optional[Tuple[Tuple[str, float], ...]]
    sell: Optional[Tuple[Tuple[str, float], ...]]


def station_number(text: str) -> int:
    """Return a stationId as the number it is; raises ConfigError for anything else."""
    if not re.fullmatch(r"[0-9]{1,20}", text.strip()) or int(text) <= 0:
        raise ConfigError(f"cloud.station_id {text[:24]!r} is no stationId: {STATION_HELP}")
    return int(text)


def plan_label(name: str, interval_min: int) -> str:
    """Return the label of the plan in the app: the name and the length of its slots."""
    ending = f"{interval_min}-min"
    bare = " ".join(name.split())[:NAME_MAX]
    return bare if bare.endswith(ending) else f"{bare} {ending}".strip()


def payload_of(plan: Plan, station_id: int, plan_name: str, interval_min: int) -> Dict[str, Any]:
    """Return the body of the save request; raises ImplausibleData for a plan with gaps.

    Without a sell price there is no ``sellPrice``: what the cloud holds for it is not touched.
    """
    if not plan.complete:
        raise ImplausibleData(f"tariff: {'; '.join(plan.problems)}")
    label = plan_label(plan_name, interval_min)
    spans = [f"{hhmm(slot.start_min)}-{hhmm(slot.end_min)}" for slot in plan.slots]
    body: Dict[str, Any] = {
        "stationId": station_id, "priceMode": 1,
        "buyPrice": _side(label, spans, [slot.buy.c_kwh for slot in plan.slots]),
    }
    sell = [slot.sell.c_kwh for slot in plan.slots if slot.sell is not None]
    if sell:
        body["sellPrice"] = _side(label, spans, sell)
    return body


def _side(label: str, spans: Sequence[str], prices: Sequence[Optional[float]]) -> Dict[str, Any]:
    if len(prices) != len(spans) or any(price is None for price in prices):
        raise ImplausibleData("tariff: a slot has no price")
    return {
        "dynamicPricing": None,
        "staticPricing": {
            "providerName": PROVIDER, "tariffCode": "", "tariffName": "", "currencyCode": CURRENCY,
            "subAreaName": "", "planName": label,
            "combinedPrices": [{
                "monthRange": ALL_MONTHS,
                "weekPrices": [{
                    "weekRange": ALL_WEEK,
                    "timeRange": [{"timeRange": span, "price": price} for span, price in zip(spans, prices)],
                }],
            }],
        },
    }


def digest(payload: Mapping[str, Any]) -> str:
    """Return a short fingerprint: two payloads with the same one say the same."""
    text = json.dumps(payload, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def saved_of(content: Any) -> Saved:
    """Return the prices of a payload, or of what the cloud says it holds (its shape is not documented)."""
    return Saved(_slots_in(_below(content, "buyPrice")), _slots_in(_below(content, "sellPrice")))


def _below(content: Any, key: str, depth: int = 4) -> Any:
    """Return what stands under ``key``, at most ``depth`` objects down."""
    if not isinstance(content, dict) or depth <= 0:
        return None
    if key in content:
        return content[key]
    return next((found for found in (_below(one, key, depth - 1) for one in content.values()) if found), None)


def _slots_in(side: Any) -> Optional[Tuple[Tuple[str, float], ...]]:
    found: List[Tuple[str, float]] = []
    for row in _rows(side):
        span, price = row.get("timeRange"), row.get("price")
        if isinstance(price, str):
            try:
                price = float(price)
            except ValueError:
                price = None
        if not isinstance(span, str) or isinstance(price, bool) or not isinstance(price, (int, float)):
            return None
        found.append((span, round(float(price), 2)))
    return tuple(found) or None


def _rows(content: Any, depth: int = 8) -> List[Mapping[str, Any]]:
    """Return the objects that carry a time range and a price, wherever they stand."""
    if depth <= 0:
        return []
    if isinstance(content, dict):
        if "price" in content and isinstance(content.get("timeRange"), str):
            return [content]
        return [row for one in content.values() for row in _rows(one, depth - 1)]
    if isinstance(content, list):
        return [row for one in content for row in _rows(one, depth - 1)]
    return []


def changed_slots(before: Saved, after: Saved) -> int:
    """Return in how many slots one of the prices differs."""
    changed = set()
    for old, new in ((before.buy, after.buy), (before.sell, after.sell)):
        earlier, later = dict(old or ()), dict(new or ())
        changed |= {span for span in {*earlier, *later} if earlier.get(span) != later.get(span)}
    return len(changed)


def differences(wanted: Saved, held: Saved) -> List[str]:
    """Return in which directions the cloud holds something else; what cannot be read is not called different."""
    found = []
    for name, ours, theirs in (("buy", wanted.buy, held.buy), ("sell", wanted.sell, held.sell)):
        if ours is not None and theirs is not None and ours != theirs:
            count = len(set(ours) ^ set(theirs))
            found.append(f"{name} ({(count + 1) // 2} slots)")
    return found
