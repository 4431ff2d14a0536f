"""The budget: pure decisions, true whatever the clocks do."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bridge.peers.budget import (
    ACCOUNT,
    HOLD_MAX_S,
    MARKS_MAX,
    PERIOD_S,
    STANDARD,
    Hold,
    Ledger,
    Limits,
    Mark,
    Moment,
    by_wall_s,
    decide,
    elapsed_s,
    forgiven,
    from_json,
    held,
    noted,
    released,
    to_json,
)

NOW = Moment(1_795_000_000.0, 5000.0)
FREE = Limits(per_minute=10_000, pace_s=0.0)


def after(seconds, moment=NOW):
    return Moment(moment.wall + seconds, moment.mono + seconds)


def wait_s(ledger, now, endpoint="energyFlow", station="A", period_s=PERIOD_S, limits=FREE):
    return decide(ledger, endpoint, station, period_s, limits, now).wait_s


def test_the_first_call_is_free():
    assert wait_s(Ledger(), NOW, limits=STANDARD) == 0


def test_a_station_is_asked_once_in_300_s():
    ledger = noted(Ledger(), "energyFlow", "A", NOW)
    assert wait_s(ledger, after(299)) == 1 and wait_s(ledger, after(300)) == 0
    assert wait_s(ledger, after(1), station="B") == 0 and wait_s(ledger, after(1), endpoint="summary") == 0


def test_calls_are_six_seconds_apart_and_ten_a_minute():
    ledger = noted(Ledger(), "a", "", NOW)
    assert wait_s(ledger, after(2), period_s=0, limits=STANDARD) == 4
    burst = Ledger()
    for index in range(10):
        burst = noted(burst, f"e{index}", "", after(index))
    verdict = decide(burst, "new", "", 0, Limits(pace_s=0), after(20))
    assert verdict.wait_s == 40 and "10 calls a minute" in verdict.reason


def test_a_hold_covers_its_scope_only():
    ledger = held(Ledger(), "energyFlow A", 60, 600, "x", NOW)
    assert wait_s(ledger, NOW) == 60 and wait_s(ledger, NOW, station="B") == 0
    assert wait_s(held(Ledger(), ACCOUNT, 60, 600, "x", NOW), NOW, endpoint="login", station="") == 60


def test_holds_double_up_to_their_limit_and_start_over_after_a_success():
    ledger, lengths = Ledger(), []
    now = NOW
    for _ in range(6):
        ledger = held(ledger, ACCOUNT, 1800, HOLD_MAX_S, "HTTP 424", now)
        lengths.append(wait_s(ledger, now))
        now = after(lengths[-1], now)
    assert lengths == [1800, 3600, 7200, 14400, HOLD_MAX_S, HOLD_MAX_S]
    assert wait_s(released(ledger, ACCOUNT), now) == 0
    assert wait_s(held(released(ledger, ACCOUNT), ACCOUNT, 1800, HOLD_MAX_S, "x", now), now) == 1800


def test_a_new_hold_never_shortens_the_one_it_replaces():
    ledger = held(Ledger(), "login", 900, 900, "wrong", NOW)
    assert wait_s(held(ledger, "login", 30, 900, "no answer", after(100)), after(100), "login", "") >= 800


def test_a_wall_clock_that_jumps_forward_frees_nothing():
    ledger = noted(Ledger(), "energyFlow", "A", Moment(10.0, 40.0))
    assert wait_s(ledger, Moment(1_795_000_000.0, 50.0)) == 290


def test_a_wall_clock_that_jumps_back_does_not_lock_up():
    ledger = noted(Ledger(), "energyFlow", "A", NOW)
    assert wait_s(ledger, Moment(NOW.wall - 1e7, NOW.mono + 300)) == 0
    assert wait_s(ledger, Moment(NOW.wall - 1e7, NOW.mono + 100)) == 200


def test_after_a_reboot_in_1970_the_uptime_is_what_counts():
    ledger = noted(Ledger(), "energyFlow", "A", Moment(NOW.wall, 90_000.0))
    assert wait_s(ledger, Moment(30.0, 30.0)) == 270 and wait_s(ledger, Moment(300.0, 300.0)) == 0


def test_ages_by_wall_clock_need_two_believable_clocks():
    assert by_wall_s(Moment(5.0, 0), NOW) is None and by_wall_s(NOW, after(-1)) is None
    assert by_wall_s(NOW, after(5)) == 5


STEPS = st.lists(st.one_of(
    st.tuples(st.just("pass"), st.floats(0, 700)),
    st.tuples(st.just("jump"), st.floats(-2e9, 2e9)),
    st.tuples(st.just("reboot"), st.floats(0, 400)),
    st.tuples(st.just("ask"), st.just(0.0)),
), max_size=60)


@given(STEPS)
def test_no_sequence_of_jumps_and_reboots_breaks_the_budget(steps):
    """True time, wall clock and uptime part ways; what is granted is judged by true time alone."""
    true, wall, booted_at = 1e6, 1.795e9, 0.0
    ledger, granted = Ledger(), []
    for kind, size in steps:
        if kind == "pass":
            true, wall = true + size, wall + size
        elif kind == "jump":
            wall = max(0.0, wall + size)
        elif kind == "reboot":
            true += size
            booted_at, wall = true, 0.0
        else:
            ledger = from_json(to_json(ledger))
            now = Moment(wall, true - booted_at)
            if decide(ledger, "energyFlow", "A", PERIOD_S, STANDARD, now).wait_s <= 0:
                ledger = noted(ledger, "energyFlow", "A", now)
                granted.append(true)
    assert all(later - earlier >= PERIOD_S - 1e-3 for earlier, later in zip(granted, granted[1:]))


@given(st.floats(0, 3e9), st.floats(0, 1e7), st.floats(0, 3e9), st.floats(0, 1e7))
def test_an_age_is_never_negative_and_a_wait_never_longer_than_the_period(wall, mono, wall_now, mono_now):
    then, now = Moment(wall, mono), Moment(wall_now, mono_now)
    assert elapsed_s(then, now) >= 0
    assert wait_s(noted(Ledger(), "energyFlow", "A", then), now) <= PERIOD_S


def test_a_call_that_never_left_is_taken_back():
    ledger = noted(noted(Ledger(), "energyFlow", "A", NOW), "summary", "A", after(10))
    assert wait_s(forgiven(ledger, "summary", "A"), after(10), endpoint="summary") == 0
    assert wait_s(forgiven(ledger, "summary", "A"), after(10)) == 290
    assert forgiven(ledger, "absent", "") == ledger


def test_the_ledger_stays_small():
    ledger = Ledger()
    for index in range(1000):
        ledger = noted(ledger, "devices", f"S{index}", after(index * 10))
    assert len(ledger.marks) == MARKS_MAX
    assert len(noted(ledger, "x", "", after(10**6)).marks) == 1


def test_the_ledger_survives_its_file():
    ledger = held(noted(Ledger(), "energyFlow", "A", NOW), ACCOUNT, 60, 600, "x", NOW)
    assert from_json(to_json(ledger)) == ledger


def test_damaged_rows_are_left_out():
    marks = [["a", "b", 1.0], ["a", "b", "x", 2], ["a", "b", float("nan"), 2], ["ok", "", 1.0, 2.0], 7]
    content = {"marks": marks, "holds": [["*", 1, 2, 3], ["*", 1.0, 2.0, 1e99, "r", 1], None]}
    ledger = from_json(content)
    assert ledger.marks == (Mark("ok", "", Moment(1.0, 2.0)),)
    assert ledger.holds == (Hold("*", Moment(1.0, 2.0), 86400.0, "r", 1),)


@given(st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["marks", "holds", "x"]), inner),
    max_leaves=20,
))
def test_no_file_content_crashes_it(content):
    assert isinstance(from_json(content), Ledger)
