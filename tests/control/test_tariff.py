"""Which price stands in which half hour: the case files, and what holds for any rows."""

from __future__ import annotations

import calendar
from datetime import timedelta
from math import fsum

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.control.tariff import make_plan
from bridge.control.tariff_slots import FILL_MOST, FILLED, LIVE, MISSING, SKIPPED, TODAY, Options, hhmm
from bridge.control.zones import zone
from bridge.peers.amber_records import Advanced, PriceRow
from tests.control.tariff_cases import cases, moment, plan_of

CASES = cases("series")
HOW = {"rows", "tomorrow", "as today", "live", "filled", "skipped", "flat", "missing"}


@pytest.mark.parametrize("name", CASES)
def test_a_case_file_holds(name):
    case = CASES[name]
    plan, expect = plan_of(case), case["expect"]
    labels = [hhmm(slot.start_min) for slot in plan.slots]
    assert labels[0] == "00:00" and hhmm(plan.slots[-1].end_min) == "24:00"
    assert all(one.end_min == two.start_min for one, two in zip(plan.slots, plan.slots[1:]))
    assert len(plan.slots) == expect.get("count", 48)
    for side in ("buy", "sell"):
        prices = {label: getattr(slot, side) for label, slot in zip(labels, plan.slots)}
        for label, price in expect.get(side, {}).items():
            assert prices[label].c_kwh == price, (side, label, prices[label])
        for label, how in expect.get(f"{side}_how", {}).items():
            assert prices[label].how == how, (side, label, prices[label])
        for label, words in expect.get(f"{side}_why", {}).items():
            assert words in prices[label].why, (side, label, prices[label])
        if side in expect.get("none", ()):
            assert all(one is None for one in prices.values())
    assert list(plan.problems) == expect.get("problems", [])
    assert plan.complete == (not plan.problems)
    for words in expect.get("notes", ()):
        assert any(words in note for note in plan.notes), plan.notes
    if "settled" in expect:
        assert plan.settled == expect["settled"]


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if "remove_each_slot" in case])
@pytest.mark.parametrize("index", range(48))
def test_a_gap_at_any_place_is_filled_from_before_or_stops_the_plan(name, index):
    case, label = CASES[name], hhmm(index * 30)
    plan = plan_of(case, without=lambda start: start == label)
    if index == plan.running:
        assert plan.problems == (f"no buy price for {label}-{hhmm(index * 30 + 30)}",
                                 f"no sell price for {label}-{hhmm(index * 30 + 30)}")
        return
    assert plan.complete and plan.slots[index].buy.how == FILLED
    assert plan.slots[index].buy.c_kwh == plan.slots[index - 1].buy.c_kwh
    assert plan.slots[index].sell.c_kwh == plan.slots[index - 1].sell.c_kwh
    assert [slot.buy.how for slot in plan.slots].count(FILLED) == 1


@pytest.mark.parametrize("length", [FILL_MOST, FILL_MOST + 1])
def test_only_short_gaps_are_filled(length):
    case = CASES["gaps"]
    gap = [hhmm((30 + step) * 30) for step in range(length)]
    plan = plan_of(case, without=lambda start: start in gap)
    assert plan.complete == (length <= FILL_MOST)
    if not plan.complete:
        assert plan.problems[0] == "no buy price for 16:00-16:30"


def test_five_minute_slots_are_288_and_take_the_half_hour_they_lie_in():
    case = {**CASES["normal"], "options": {"interval_min": 5, "use_current": False, "advanced": "off"}}
    plan = plan_of(case)
    assert len(plan.slots) == 288 and plan.complete
    half_hours = [slot.buy.c_kwh for slot in plan_of({**case, "options": {"use_current": False, "advanced": "off"}}).slots]
    spread = [price for price in half_hours for _ in range(6)]
    spread[168:170] = [86.0, 86.0]  # 14:00 and 14:05 are over: tomorrow's
    assert [slot.buy.c_kwh for slot in plan.slots] == spread


@pytest.mark.parametrize("align", ["start", "end"])
def test_align_gives_the_same_slots_for_rows_that_fit(align):
    for name in ("normal", "mixed_rows", "half_hour_zone"):
        case = CASES[name]
        plan = plan_of({**case, "options": {**case.get("options", {}), "align": align}})
        assert [slot.buy.c_kwh for slot in plan.slots] == [slot.buy.c_kwh for slot in plan_of(case).slots]


ZONES = ("Australia/Sydney", "Australia/Adelaide", "Australia/Brisbane", "Australia/Lord_Howe", "Australia/Eucla")
DAYS = (calendar.timegm((2026, 1, 15, 0, 0, 0)), calendar.timegm((2026, 4, 4, 0, 0, 0)),
        calendar.timegm((2026, 10, 3, 0, 0, 0)))


@st.composite
def markets(draw):
    """Any zone, day, time and set of rows, some missing, some without a price, some twice, some 0."""
    here, day = zone(draw(st.sampled_from(ZONES))), draw(st.sampled_from(DAYS))
    now = day + draw(st.integers(0, 2 * 86400))
    price = st.one_of(st.none(), st.just(0.0), st.floats(-1000, 2000, allow_nan=False))
    rows = [
        PriceRow(start, start + minutes * 60, channel, kind, draw(price))
        for start, minutes, channel, kind in draw(st.lists(st.tuples(
            st.integers(-12, 60 * 12).map(lambda step: day + step * 300), st.sampled_from((5, 15, 30)),
            st.sampled_from(("general", "feedIn")), st.sampled_from(("actual", "forecast"))), max_size=60))
    ]
    return here, now, rows, draw(st.sampled_from(("start", "end")))


@settings(max_examples=300, deadline=None)
@given(markets())
def test_a_slot_is_the_mean_of_its_rows_or_marked(market):
    """The mean is worked out here the slow way: by asking of every row on which day and minute it lies."""
    here, now, rows, align = market
    plan = make_plan(rows, (), now, here, Options(align=align, advanced="off", use_current=False), True)
    today, second = here.local(now)
    assert len(plan.slots) == 48
    assert plan.slots[plan.running].start_min * 60 <= second < plan.slots[plan.running].end_min * 60
    for side, channel, sign in (("buy", "general", 1), ("sell", "feedIn", -1)):
        best = {}
        for row in rows:
            if row.channel == channel:
                known = best.get((row.start, row.end))
                best[row.start, row.end] = known if known and (known.kind, row.kind) == ("actual", "forecast") else row

        def mean(day, slot, over, best=best, sign=sign):
            inside = []
            for row in best.values():
                key = row.start if align == "start" else row.end - 1
                where = here.local(key)
                begins = key - (where[1] - slot.start_min * 60)
                running = begins <= now < begins + 1800
                repeated = len(here.moments(day, slot.start_min * 60)) > 1
                counts = over or begins + 1800 > now and (running or not repeated or not any(
                    at <= now < at + 1800 for at in here.moments(day, slot.start_min * 60)))
                if row.per_kwh is not None and where[0] == day and counts \
                        and slot.start_min * 60 <= where[1] < slot.end_min * 60:
                    inside.append(row)
            if not inside:
                return None
            return round(fsum(sign * row.per_kwh * row.minutes for row in inside)
                         / fsum(row.minutes for row in inside), 2) + 0.0

        before = None
        order = [*range(plan.running, 48), *range(plan.running)]
        for index in order:
            slot = plan.slots[index]
            price = getattr(slot, side)
            assert price.how in HOW and (price.c_kwh is None) == (price.how == MISSING)
            if price.how in (FILLED, SKIPPED):
                assert price.c_kwh == before and index != plan.running
                assert mean(slot.day, slot, False) is None
            elif price.how == TODAY:
                assert slot.day == today + timedelta(days=1) and mean(slot.day, slot, False) is None
                assert price.c_kwh == mean(today, slot, True)
            else:
                assert price.c_kwh == mean(slot.day, slot, False), (side, slot)
            before = price.c_kwh
        if all(row.per_kwh != 0 for row in rows if row.channel == channel):
            for slot in plan.slots:
                price = getattr(slot, side)
                if price.c_kwh == 0:  # only where prices of both signs, or tiny ones, have that mean
                    assert any(row.per_kwh for row in rows if row.channel == channel)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.floats(0.01, 500), min_size=1, max_size=96), st.integers(0, 47), st.integers(0, 86399))
def test_no_slot_is_zero_unless_a_row_says_so(prices, first, second):
    here, day = zone("Australia/Brisbane"), DAYS[0] + 14 * 3600
    rows = [PriceRow(day + (first + i) * 1800, day + (first + i + 1) * 1800, "general", "forecast", price)
            for i, price in enumerate(prices)]
    plan = make_plan(rows, (), day + second, here, Options(use_current=False), False)
    assert all(slot.buy.c_kwh is None or slot.buy.c_kwh > 0 for slot in plan.slots)


def test_a_genuine_zero_is_a_price():
    case = {**CASES["normal"], "live": [], "options": {"use_current": False, "advanced": "off"}}
    case["series"] = [{**one, "first": 0, "step": 0} for one in case["series"]]
    plan = plan_of(case)
    assert plan.complete and {slot.buy.c_kwh for slot in plan.slots} == {0.0} == {slot.sell.c_kwh for slot in plan.slots}
    assert str(plan.slots[0].sell.c_kwh) == "0.0", "not -0.0"


@pytest.mark.parametrize(("late_s", "how"), [(0, LIVE), (299, LIVE), (301, "rows")])
def test_a_live_interval_counts_until_the_next_one_is_late(late_s, how):
    case = CASES["normal"]
    now = moment(case["now"])
    here, start = zone(case["zone"]), int(now) // 300 * 300
    rows = [PriceRow(start - 3600 + i * 1800, start - 1800 + i * 1800, "general", "forecast", 20.0) for i in range(4)]
    slot = start // 1800 * 1800
    live = [PriceRow(slot, slot + 300, "general", "current", 77.0)]
    plan = make_plan(rows, live, slot + 300 + late_s, here, Options(), False)
    assert plan.slots[plan.running].buy.how == how


def test_a_live_interval_of_the_half_hour_before_is_not_used():
    here, slot = zone("Australia/Sydney"), DAYS[0]
    rows = [PriceRow(slot, slot + 1800, "general", "current", 20.0)]
    live = [PriceRow(slot - 300, slot, "general", "current", 77.0)]
    plan = make_plan(rows, live, slot + 10, here, Options(advanced="off"), False)
    assert plan.slots[plan.running].buy.c_kwh == 20.0 and not plan.settled


def test_three_advanced_prices_give_three_series_and_what_is_absent_falls_back_with_one_note():
    here, slot = zone("Australia/Sydney"), DAYS[0]
    rows = [PriceRow(slot - 1800, slot, "general", "actual", 12.0),  # what is over has no forecast: no note
            PriceRow(slot, slot + 1800, "general", "current", 20.0, advanced=Advanced(10.0, 15.0, None)),
            PriceRow(slot + 1800, slot + 3600, "general", "forecast", 30.0)]

    def prices(level):
        plan = make_plan(rows, (), slot + 10, here, Options(advanced=level, use_current=False), False)
        found = [plan.slots[plan.running + step].buy.c_kwh for step in (0, 1)]
        return found, [note for note in plan.notes if "advanced" in note]

    assert prices("low")[0] == [10.0, 30.0] and prices("predicted")[0] == [15.0, 30.0]
    assert prices("high")[0] == [20.0, 30.0] and prices("off") == ([20.0, 30.0], [])
    assert prices("low")[1] == ["1 forecasts have no advanced price (low): perKwh is used for them"]
