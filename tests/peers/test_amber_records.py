"""Amber's rows: published answers, and rows that are damaged."""

from __future__ import annotations

import calendar
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.peers.amber_records import (
    Advanced,
    PriceRow,
    Site,
    active,
    from_json,
    rows_of,
    site_of,
    to_json,
    unix_of,
)
from tests.conftest import FIXTURES

ITEMS = json.loads((FIXTURES / "amber-real.json").read_text("utf-8"))["items"]
GOOD = {
    "type": "CurrentInterval", "date": "2026-01-01", "duration": 5, "startTime": "2026-01-01T02:00:01Z",
    "endTime": "2026-01-01T02:05:00Z", "nemTime": "2026-01-01T12:05:00+10:00", "perKwh": -9.8, "spotPerKwh": 12.1,
    "channelType": "feedIn", "spikeStatus": "none", "descriptor": "high", "estimate": True,
    "advancedPrice": {"low": -8.0, "predicted": -9.5, "high": -12.0},
}
START = calendar.timegm((2026, 1, 1, 2, 0, 0))


def one(**changes):
    row = {name: value for name, value in {**GOOD, **changes}.items() if value != "absent"}
    return rows_of([row])


def test_published_answers_are_read():
    bodies = [item["body"] if isinstance(item["body"], list) else [item["body"]] for item in ITEMS]
    found = [rows_of(body) for body in bodies]
    assert all(not rows.odd and len(rows.rows) == 1 for rows in found)
    general, early, feed = (rows.rows[0] for rows in found)
    assert (general.minutes, general.per_kwh, general.channel, general.estimate) == (30, 40.12465, "general", True)
    assert general.start == calendar.timegm((2023, 11, 15, 9, 30, 0)), "the second of startTime is not part of it"
    assert early.minutes == 5 and early.estimate is False
    assert (feed.channel, feed.per_kwh, feed.spot_per_kwh) == ("feedIn", -6.03093, 6.14435)


def test_a_row_is_placed_by_its_end_and_length():
    row = one().rows[0]
    assert (row.start, row.end, row.kind) == (START, START + 300, "current")
    assert row.advanced == Advanced(-8.0, -9.5, -12.0)
    assert one(startTime="1999-01-01T00:00:00Z").rows[0].start == START, "startTime is never trusted"
    assert one(duration=15).rows[0].start == START - 600
    assert one(duration=30).rows[0].start == START - 1500


@pytest.mark.parametrize("changes", [
    {"endTime": "absent"}, {"nemTime": "absent"}, {"nemTime": "2026-01-01T12:05:00"}, {"endTime": "2026-01-01T02:05:00"},
])
def test_one_of_the_two_ends_is_enough_and_nem_time_is_ten_hours_ahead(changes):
    assert one(**changes).rows[0].end == START + 300


@pytest.mark.parametrize(("changes", "words"), [
    ({"endTime": "absent", "nemTime": "absent"}, "no end"), ({"endTime": "soon", "nemTime": None}, "no end"),
    ({"nemTime": "2026-01-01T13:05:00+10:00"}, "endTime and nemTime differ"), ({"duration": 7}, "lasts 7 minutes"),
    ({"duration": None}, "lasts None minutes"), ({"duration": "absent"}, "lasts None"), ({"type": "Usage"}, "'Usage'"),
    ({"channelType": "solar"}, "'solar'"),
])
def test_rows_that_cannot_be_placed_are_left_out_and_named(changes, words):
    found = one(**changes)
    assert found.rows == () and words in found.odd[0]


@pytest.mark.parametrize("price", [None, "absent", "12.5", True, [], {}, float("nan")])
def test_what_is_no_number_is_no_price(price):
    assert one(perKwh=price).rows[0].per_kwh is None


def test_zero_and_negative_are_prices():
    assert one(perKwh=0).rows[0].per_kwh == 0.0 and one(perKwh=-3).rows[0].per_kwh == -3.0
    assert str(one(perKwh=-0.0).rows[0].per_kwh) == "0.0"


@pytest.mark.parametrize("content", [None, {}, "x", 7, [None], [[]], ["x"], [{}]])
def test_other_answers_hold_no_rows(content):
    assert rows_of(content).rows == ()


@pytest.mark.parametrize("advanced", [None, "absent", {}, {"low": None}, {"predicted": "x"}, 5])
def test_a_missing_forecast_is_none(advanced):
    assert one(advancedPrice=advanced).rows[0].advanced is None


def test_sites():
    body = {"id": "S1", "nmi": "4100000000", "network": "Ausgrid", "status": "Active", "intervalLength": 30,
            "channels": [{"identifier": "E1", "type": "general", "tariff": "x"}, {"type": "feedIn"}, "x", {"type": 1}]}
    site = site_of(body)
    assert site == Site("S1", "4100000000", "Ausgrid", "active", 30, ("general", "feedIn")) and site.feeds_in
    assert not site_of({**body, "channels": None}).feeds_in and site_of({"status": "active"}) is None
    closed = site_of({**body, "status": "closed"})
    assert active([site, closed]) == [site]


@pytest.mark.parametrize(("text", "at"), [
    ("2026-01-01T02:05:00Z", START + 300), ("2026-01-01T02:05:00.000Z", START + 300),
    ("2026-01-01T12:05:00+10:00", START + 300), ("2026-01-01", None), (None, None), ("", None), (5, None),
    ("2026-13-01T02:05:00Z", None),
])
def test_times(text, at):
    assert unix_of(text) == at


@given(st.recursive(st.none() | st.booleans() | st.floats() | st.text(max_size=5) | st.sampled_from(list(GOOD)),
                    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(list(GOOD)), inner)))
def test_no_answer_crashes_the_parser(content):
    rows_of(content), rows_of([content]), site_of(content)
    assert isinstance(from_json(content), tuple)


def test_rows_survive_the_way_through_a_file():
    rows = (one().rows[0], PriceRow(0, 1800, "general", "forecast", None))
    assert from_json(json.loads(json.dumps(to_json(rows)))) == rows
    assert from_json([[1], "x", [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]]) == ()
