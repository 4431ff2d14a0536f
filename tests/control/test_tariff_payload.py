"""The body that the app takes, and what a saved one says."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.control.tariff_payload import (
    Saved,
    changed_slots,
    differences,
    digest,
    payload_of,
    plan_label,
    saved_of,
    station_number,
)
from bridge.control.tariff_slots import MISSING, Price
from bridge.errors import ConfigError, ImplausibleData
from bridge.sim.sigen_cloud_app_tariff import tariff_problem
from tests.control.tariff_cases import cases, plan_of

CASES = cases("series")
WHOLE = [name for name, case in CASES.items()
         if not case["expect"].get("problems") and "sell" not in case["expect"].get("none", ())]


@pytest.fixture
def plan():
    return plan_of(CASES["normal"])


@pytest.mark.parametrize("name", WHOLE)
def test_the_simulated_cloud_takes_every_complete_plan(name):
    assert tariff_problem(payload_of(plan_of(CASES[name]), 92025000000001, "Amber Live", 30)) == ""


def test_the_body_is_the_one_of_the_web_app(plan):
    body = payload_of(plan, 92025000000001, "Amber Live", 30)
    assert list(body) == ["stationId", "priceMode", "buyPrice", "sellPrice"] and body["stationId"] == 92025000000001
    side = body["buyPrice"]
    assert side["dynamicPricing"] is None
    assert {key: text for key, text in side["staticPricing"].items() if key != "combinedPrices"} == {
        "providerName": "Amber", "tariffCode": "", "tariffName": "", "currencyCode": "Cent", "subAreaName": "",
        "planName": "Amber Live 30-min"}
    (months,) = side["staticPricing"]["combinedPrices"]
    assert months["monthRange"] == "01-12" and months["weekPrices"][0]["weekRange"] == "1-7"
    assert months["weekPrices"][0]["timeRange"][0] == {"timeRange": "00:00-00:30", "price": 58.0}
    assert months["weekPrices"][0]["timeRange"][47] == {"timeRange": "23:30-24:00", "price": 57.0}


def test_a_plan_with_one_gap_is_no_body(plan):
    holed = plan._replace(slots=(*plan.slots[:9], plan.slots[9]._replace(buy=Price(None, MISSING, "no price")), *plan.slots[10:]))
    with pytest.raises(ImplausibleData):
        payload_of(holed, 1, "x", 30)
    with pytest.raises(ImplausibleData, match="no buy price for 04:30"):
        payload_of(holed._replace(problems=("no buy price for 04:30-05:00",)), 1, "x", 30)


def test_without_a_sell_price_there_is_no_sell_side():
    assert "sellPrice" not in payload_of(plan_of(CASES["no_feed_in"]), 1, "x", 30)


@pytest.mark.parametrize(("name", "label"), [
    ("Amber Live", "Amber Live 30-min"), ("Amber Live 30-min", "Amber Live 30-min"), ("", "30-min"),
    (" two  blanks ", "two blanks 30-min"),
])
def test_the_label_says_the_length_once(name, label):
    assert plan_label(name, 30) == label


@pytest.mark.parametrize(("text", "number"), [("92025000000001", 92025000000001), (" 7 ", 7)])
def test_station_numbers(text, number):
    assert station_number(text) == number


@pytest.mark.parametrize("text", ["", "ABCDE1700000001", "1.5", "-1", "0", "<id>"])
def test_what_is_no_station_number(text):
    with pytest.raises(ConfigError, match="three ways"):
        station_number(text)


def test_what_was_saved_is_read_back_from_any_wrapping(plan):
    body = payload_of(plan, 1, "x", 30)
    saved = saved_of(body)
    assert len(saved.buy) == len(saved.sell) == 48
    assert saved_of({"data": {"inner": json.loads(json.dumps(body))}}) == saved
    texts = json.loads(json.dumps(body).replace('"price": 58.0', '"price": "58.00"'))
    assert saved_of(texts) == saved
    assert differences(saved, saved) == [] and changed_slots(saved, saved) == 0
    other = saved._replace(buy=(("00:00-00:30", 1.0), *saved.buy[1:]))
    assert differences(saved, other) == ["buy (1 slots)"] and changed_slots(saved, other) == 1
    assert differences(saved, Saved(None, None)) == [] and changed_slots(Saved(None, None), saved) == 48


@given(st.recursive(st.none() | st.floats() | st.text(max_size=3),
                    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
                        st.sampled_from(["buyPrice", "sellPrice", "timeRange", "price", "x"]), inner, max_size=4)))
def test_whatever_the_cloud_says_is_read_or_left(content):
    saved_of(content)


def test_the_fingerprint_is_of_what_is_said(plan):
    body = payload_of(plan, 1, "x", 30)
    assert digest(body) == digest(dict(reversed(list(body.items())))) != digest({**body, "stationId": 2})
