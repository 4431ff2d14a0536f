"""Price cases: compact series written out as the answers that Amber would give, and read by our own parser."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from pathlib import Path

from bridge.control.tariff import make_plan
from bridge.control.tariff_slots import Limits, Options
from bridge.control.zones import zone
from bridge.peers.amber_records import rows_of

FOLDER = Path(__file__).parent.parent / "cases" / "tariff"
NEM = timezone(timedelta(hours=10))
KINDS = {"actual": "ActualInterval", "current": "CurrentInterval", "forecast": "ForecastInterval"}


def cases(key):
    """Return the cases of a kind: those of slots have "series", those of the job have "steps"."""
    found = {path.stem: json.loads(path.read_text("utf-8")) for path in sorted(FOLDER.glob("*.json"))}
    return {name: case for name, case in found.items() if key in case}


def moment(text):
    return datetime.fromisoformat(text).timestamp()


def body(start, minutes, channel, kind, price, **more):
    """Return one row as Amber spells it: start a second late, nemTime the end at +10:00."""
    end = start + minutes * 60
    iso = lambda at: datetime.fromtimestamp(at, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")  # noqa: E731
    row = {
        "type": KINDS[kind], "date": datetime.fromtimestamp(start, NEM).date().isoformat(), "duration": minutes,
        "startTime": iso(start + 1), "endTime": iso(end), "nemTime": datetime.fromtimestamp(end, NEM).isoformat(),
        "perKwh": price, "spotPerKwh": None if price is None else abs(price), "renewables": 40,
        "channelType": channel, "spikeStatus": "none", "descriptor": "neutral", **more,
    }
    return {name: value for name, value in row.items() if value is not None or name == "perKwh"}


def bodies(series, now):
    """Return the rows of a series: "prices" as listed, or "first", "step", "count"; kinds follow from ``now``."""
    start, minutes = int(moment(series["from"])), series.get("minutes", 30)
    prices = series.get("prices") or [
        round(series["first"] + index * series.get("step", 0), 5) for index in range(series["count"])
    ]
    found = []
    for index, price in enumerate(prices):
        at = start + index * minutes * 60
        kind = "actual" if at + minutes * 60 <= now else "current" if at <= now else "forecast"
        if price == "absent":
            continue
        found.append(body(at, minutes, series.get("channel", "general"), series.get("kind", kind), price,
                          **series.get("with", {})))
    return found


def options_of(case):
    given = dict(case.get("options", {}))
    for name in ("buy_limits", "sell_limits"):
        if name in given:
            given[name] = Limits(**given[name])
    return Options(**given)


def plan_of(case, without=None):
    """Return the plan of a case; ``without`` drops rows (a function of the local "HH:MM" a row starts at)."""
    now, here = moment(case["now"]), zone(case["zone"])
    rows = rows_of([row for series in case["series"] for row in bodies(series, now)])
    live = rows_of([row for series in case.get("live", []) for row in bodies({"kind": "current", **series}, now)])
    assert not rows.odd and not live.odd
    kept = [row for row in rows.rows if without is None or not without(here.text(row.start))]
    return make_plan(kept, live.rows, now, here, options_of(case), case.get("feeds_in", True))
