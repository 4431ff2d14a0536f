"""Pages, ages, turns and refusals: the pure rules behind the register desk."""

from __future__ import annotations

import pytest

from bridge.registers import sigenergy, vendor_from
from bridge.sources.register_budget import BURST, Allowance, spare_rate
from bridge.sources.register_facts import CHANGING, CONSTANT, SETTING, RegisterFacts
from bridge.sources.register_refusals import LASTING_S, PASSING_S, STRANGER_S, UNREACHABLE_S, Refusals
from tests.fixtures import eastron

VENDOR = vendor_from(sigenergy)
FACTS = RegisterFacts(VENDOR, 0)


@pytest.mark.parametrize("address, count, ages", [
    (30005, 2, CHANGING), (30500, 15, CONSTANT), (30083, 2, CONSTANT), (40029, 1, SETTING), (40029, 12, SETTING),
    (30500, 124, CHANGING), (30073, 10, CHANGING), (40026, 6, CHANGING), (12345, 1, CHANGING),
])
def test_the_strictest_register_of_a_range_says_how_old_it_may_be(address, count, ages):
    assert FACTS.ages(address, count) == ages


def test_the_map_says_the_space_and_the_function_decides_where_it_does_not():
    assert FACTS.space(30005, "holding") == "input" and FACTS.space(40029, "input") == "holding"
    assert FACTS.space(12345, "holding") == "holding" and FACTS.space(12345, "input") == "input"


def test_every_register_lies_in_a_page_of_at_most_one_request():
    pages = FACTS.pages()
    for row in VENDOR.rows:
        fetch = pages.fetch(row.space, row.address, row.count, ())
        assert fetch.covers(row.address, row.count) and fetch.count <= VENDOR.max_read
        assert (fetch.page is None) == (row.access == "wo"), row


def test_the_map_of_a_plant_is_few_pages():
    pages = FACTS.pages()
    used = {pages.fetch(row.space, row.address, row.count, ()) for row in VENDOR.rows if row.scope == "plant" and row.access != "wo"}
    assert len(used) <= 8


def test_a_refused_page_gives_way_to_the_exact_range_and_then_to_its_halves():
    pages = FACTS.pages()
    page = pages.fetch("input", 30284, 2, ()).page
    exact = pages.fetch("input", 30284, 2, (page,))
    assert exact[:3] == (30284, 2, None) and exact.refused == page
    pages.halve(page)
    half = pages.fetch("input", 30284, 2, (page,))
    assert half.page is not None and half.count < page.count
    for _ in range(200):  # in the end each row stands alone and is not halved any more
        found = pages.fetch("input", 30284, 2, ()).page
        pages.halve(found)
    assert pages.fetch("input", 30284, 2, ()).page.rows[0].address == 30284


def test_an_offset_moves_everything():
    plant = vendor_from(eastron)
    facts = RegisterFacts(plant, 1000)
    row = plant.rows[0]
    fetch = facts.pages().fetch(row.space, row.address + 1000, row.count, ())
    assert fetch.page is not None and fetch.address >= 1000
    assert facts.space(row.address + 1000, "?") == row.space and facts.space(row.address + 60000, "?") == "?"


def test_turns_are_a_burst_and_then_one_a_second_in_the_order_asked_for():
    allowance = Allowance(1.0, 0.0)
    assert [allowance.turn(0.0, 1.2) for _ in range(int(BURST))] == [0.0] * int(BURST)
    assert allowance.turn(0.0, 1.2) == 1.0
    assert allowance.turn(0.0, 1.2) is None
    assert allowance.turn(0.9, 1.2) == pytest.approx(1.1)
    assert [allowance.turn(1000.0, 1.2) for _ in range(int(BURST) + 2)] == [0.0] * int(BURST) + [1.0, None]


def test_over_an_hour_no_more_than_the_rate_is_given():
    allowance, given = Allowance(1.0, 0.0), 0
    for tick in range(36000):
        given += allowance.turn(tick / 10, 1.2) is not None
    assert 3590 <= given <= 3600 + BURST + 2


@pytest.mark.parametrize("gap_s, polled, interval_s, rate", [
    (0.0, 2, 1.0, 1.0), (1.0, 1, 1.0, 0.1), (0.2, 2, 1.0, 1.0), (0.4, 2, 1.0, 0.5), (1.0, 1, 10.0, 0.9), (5.0, 1, 0.0, 0.1),
])
def test_a_strict_device_has_less_to_give(gap_s, polled, interval_s, rate):
    assert spare_rate(gap_s, polled, interval_s) == pytest.approx(rate)


def test_refusals_last_by_what_they_say():
    refusals = Refusals(247)
    for code, for_s in ((2, LASTING_S), (1, LASTING_S), (11, UNREACHABLE_S), (6, PASSING_S), (4, PASSING_S)):
        asked = (247, "input", 30000 + code, 1)
        refusals.refused(asked, code, 100.0)
        assert refusals.code(asked, 100.0 + for_s - 0.01) == code
        assert refusals.code(asked, 100.0 + for_s) is None
        assert refusals.code((247, "input", 30000 + code, 2), 100.0) is None


def test_a_silent_unit_rests_and_other_strangers_wait_but_known_units_do_not():
    refusals = Refusals(247)
    refusals.answered(1)
    refusals.silent(5, 100.0)
    ask = lambda unit, now: refusals.code((unit, "input", 30500, 1), now)  # noqa: E731
    assert ask(5, 100.0) == 11 and ask(6, 100.0) == 11
    assert ask(1, 100.0) is None and ask(247, 100.0) is None
    assert ask(6, 100.0 + STRANGER_S) is None and ask(5, 100.0 + STRANGER_S) == 11
    assert ask(5, 100.0 + UNREACHABLE_S) is None
    refusals.silent(1, 200.0)
    refusals.answered(1)
    assert ask(1, 200.0) is None
    refusals.silent(247, 200.0)
    assert ask(247, 200.0) is None


def test_refusals_are_bounded():
    refusals = Refusals(247)
    pages = FACTS.pages()
    page = pages.fetch("input", 30284, 2, ()).page
    for number in range(2000):
        refusals.refused((1, "input", number, 1), 2, float(number))
        refusals.page_refused(number, page, float(number))
    assert refusals.code((1, "input", 0, 1), 1.0) is None
    assert refusals.code((1, "input", 1999, 1), 1999.0) == 2
    assert refusals.pages(1999, 1999.0) == {page} and refusals.pages(0, 1.0) == frozenset()
