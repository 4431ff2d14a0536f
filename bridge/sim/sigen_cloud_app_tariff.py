"""What the simulated cloud demands of a tariff: the payload of the web app's price page, field by field.

Never forgives: the real service answers nonsense with a bare 500 or stores it, and a plan with a hole in it
lets the battery act on it. Shape: cloud-apis 4.4. Slots of 5 minutes, which the real one takes and merges, are
refused unless told otherwise. No source says what a payload without a sell price does: it is taken, and the
sell price that was there stays.
"""

from __future__ import annotations

import math
import re
from typing import Any, List, Mapping, Sequence, Tuple

MINUTES_A_DAY, HALF_HOUR = 1440, 30
PRICE_MAX = 100_000.0  # cents per kWh: beyond every market's cap
LABEL_MAX = 64
TEXTS = ("providerName", "tariffCode", "tariffName", "currencyCode", "subAreaName", "planName")
NEEDED = ("providerName", "planName")
CURRENCIES = ("Cent",)


def tariff_problem(payload: Mapping[str, Any], shortest_min: int = HALF_HOUR) -> str:
    """Return what is wrong with a payload, "" for nothing; the station's number is judged elsewhere."""
    sides = [name for name in ("buyPrice", "sellPrice") if name in payload or name == "buyPrice"]
    found = _keys(payload, ("stationId", "priceMode", *sides), "payload")
    if found:
        return found
    if payload["priceMode"] != 1 or isinstance(payload["priceMode"], bool):
        return "priceMode must be 1"
    return next(filter(None, (_price(payload[name], name, shortest_min) for name in sides)), "")


def _price(price: Any, where: str, shortest_min: int) -> str:
    found = _keys(price, ("dynamicPricing", "staticPricing"), where)
    if found:
        return found
    if price["dynamicPricing"] is not None:
        return f"{where}.dynamicPricing must be null with priceMode 1"
    static, where = price["staticPricing"], f"{where}.staticPricing"
    found = _keys(static, (*TEXTS, "combinedPrices"), where)
    if found:
        return found
    for name in TEXTS:
        text = static[name]
        if not isinstance(text, str) or len(text) > LABEL_MAX or (name in NEEDED and not text.strip()):
            return f"{where}.{name} must be a text of at most {LABEL_MAX} letters"
    if static["currencyCode"] not in CURRENCIES:
        return f"{where}.currencyCode must be one of {', '.join(CURRENCIES)}"
    return _months(static["combinedPrices"], where, shortest_min)


def _months(rows: Any, where: str, shortest_min: int) -> str:
    found = _rows(rows, ("monthRange", "weekPrices"), f"{where}.combinedPrices")
    if found:
        return found
    if not _covers([row["monthRange"] for row in rows], r"(\d\d)-(\d\d)", 12):
        return f"{where}: the monthRange texts must cover 01-12, each month once"
    for row in rows:
        weeks = row["weekPrices"]
        found = _rows(weeks, ("weekRange", "timeRange"), f"{where}.weekPrices")
        if found:
            return found
        if not _covers([week["weekRange"] for week in weeks], r"(\d)-(\d)", 7):
            return f"{where}: the weekRange texts must cover 1-7, each day once"
        for week in weeks:
            found = _slots(week["timeRange"], f"{where}.timeRange", shortest_min)
            if found:
                return found
    return ""


def _covers(texts: Sequence[Any], pattern: str, last: int) -> bool:
    seen: List[int] = []
    for text in texts:
        parts = re.fullmatch(pattern, text) if isinstance(text, str) else None
        if parts is None or int(parts[1]) > int(parts[2]):
            return False
        seen += range(int(parts[1]), int(parts[2]) + 1)
    return sorted(seen) == list(range(1, last + 1))


def _slots(slots: Any, where: str, shortest_min: int) -> str:
    found = _rows(slots, ("timeRange", "price"), where)
    if found:
        return found
    at = 0
    for slot in slots:
        start, end = _minutes(slot["timeRange"])
        if start != at or end <= start:
            return f"{where}: {slot['timeRange']!r} does not follow on {at // 60:02d}:{at % 60:02d}"
        if end - start not in (shortest_min, HALF_HOUR, MINUTES_A_DAY):
            return f"{where}: {slot['timeRange']!r} is not half an hour"
        price = slot["price"]
        if isinstance(price, bool) or not isinstance(price, (int, float)) or not math.isfinite(price):
            return f"{where}: the price of {slot['timeRange']} is not a number"
        if abs(price) > PRICE_MAX or round(price, 2) != price:
            return f"{where}: the price of {slot['timeRange']} is not in cents with two decimals"
        at = end
    return "" if at == MINUTES_A_DAY else f"{where}: the day must end at 24:00"


def _minutes(text: Any) -> Tuple[int, int]:
    parts = re.fullmatch(r"(\d\d):([0-5]\d)-(\d\d):([0-5]\d)", text) if isinstance(text, str) else None
    if parts is None:
        return -1, -1
    first, second, third, fourth = map(int, parts.groups())
    return first * 60 + second, third * 60 + fourth


def _keys(content: Any, names: Sequence[str], where: str) -> str:
    if not isinstance(content, dict):
        return f"{where} must be an object"
    for name in names:
        if name not in content:
            return f"{where}.{name} is missing"
    more = sorted(set(content) - set(names))
    return f"{where}.{more[0]} is not known" if more else ""


def _rows(rows: Any, names: Sequence[str], where: str) -> str:
    if not isinstance(rows, list) or not rows:
        return f"{where} must be a list with something in it"
    return next(filter(None, (_keys(row, names, where) for row in rows)), "")
