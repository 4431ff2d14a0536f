"""The simulated house: exact balances, a battery that keeps its books, the same truth for everyone."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.errors import ConfigError
from bridge.sim.home import HOUSE, Home
from bridge.sim.plant_scenarios import SCENARIOS, StillHome, home_for

MONDAY = 1_795_219_200  # 2026-11-21 00:00 UTC, 10:00 in the house
DAY = 86_400
TIMES = st.integers(min_value=1_700_000_000, max_value=2_100_000_000)
HOUSES = st.sampled_from((
    HOUSE,
    HOUSE._replace(third_party_peak_w=5000),
    HOUSE._replace(ev="charge"),
    HOUSE._replace(ev="v2h", pv_peak_w=0),
    HOUSE._replace(pv_peak_w=16_000, inverter_w=7999, latitude_deg=52.0, utc_offset_min=60),
    HOUSE._replace(utc_offset_min=-480, battery_wh=4030),
))


def both_balances(state):
    ac_side = state.ac_power_w + state.third_party_pv_w + state.grid_w - state.load_w
    dc_side = state.pv_w - state.battery_w - state.ev_w - state.losses_w - state.ac_power_w
    return ac_side, dc_side


@settings(max_examples=60, deadline=None)
@given(TIMES, st.integers(min_value=0, max_value=10_000), HOUSES)
def test_both_balances_are_exactly_zero_at_any_time(seconds, seed, house):
    state = Home(seed, house).at(seconds)
    assert both_balances(state) == (0, 0)
    assert all(isinstance(number, int) for number in state)


@settings(max_examples=60, deadline=None)
@given(TIMES, st.integers(min_value=0, max_value=10_000), HOUSES)
def test_limits_of_the_installation_hold_at_any_time(seconds, seed, house):
    state = Home(seed, house).at(seconds)
    assert -house.discharge_w <= state.battery_w <= house.charge_w
    assert house.floor_pct * 10 - 1 <= state.soc_permille <= 1000
    assert -3 <= state.pv_w <= house.pv_peak_w
    assert state.ac_power_w <= house.inverter_w
    assert 0 < state.load_w < 12_000
    assert 30 <= state.losses_w < 0.05 * (abs(state.pv_w) + abs(state.ac_power_w)) + 60


@settings(max_examples=10, deadline=None)
@given(TIMES, st.integers(min_value=0, max_value=10_000))
def test_every_second_differs_from_the_one_before(seconds, seed):
    home = Home(seed)
    states = [home.at(second) for second in range(seconds, seconds + 60)]
    assert all(one.load_w != other.load_w for one, other in zip(states, states[1:]))


@settings(max_examples=5, deadline=None)
@given(TIMES, st.integers(min_value=0, max_value=10_000))
def test_truth_of_a_time_does_not_depend_on_what_was_asked_before(seconds, seed):
    wanderer = Home(seed)
    for day in range(-3, 4):
        wanderer.at(seconds + day * DAY)
    assert wanderer.at(seconds) == Home(seed).at(seconds) == Home(seed).at(seconds + 0.9)


def test_seeds_make_different_days():
    assert len({Home(seed).at(MONDAY).pv_w for seed in range(20)}) > 10


def test_sun_follows_the_day():
    home = Home(1)
    noon, midnight = home.at(MONDAY + 2 * 3600), home.at(MONDAY + 14 * 3600)
    assert noon.pv_w > 2000
    assert midnight.pv_w <= 0


def test_soc_is_the_integral_of_the_battery_power():
    home = Home(3)
    for start in range(MONDAY, MONDAY + DAY, 7200):
        states = [home.at(second) for second in range(start, start + 3600)]
        charged_wh = sum(state.battery_w for state in states) / 3600
        moved_wh = (states[-1].soc_permille - states[0].soc_permille) / 1000 * HOUSE.battery_wh
        assert moved_wh == pytest.approx(charged_wh, abs=60)


def test_soc_never_jumps_in_two_days():
    home = Home(5)
    socs = [home.at(second).soc_permille for second in range(MONDAY, MONDAY + 2 * DAY, 10)]
    assert max(abs(one - other) for one, other in zip(socs, socs[1:])) <= 2


def test_energy_counters_follow_the_powers():
    home = Home(4)
    start = MONDAY + 3600
    before, after = home.energy(start)[0], home.energy(start + 3600)[0]
    states = [home.at(second) for second in range(start, start + 3600)]
    assert after.pv - before.pv == pytest.approx(sum(s.pv_w for s in states) / 3600, rel=0.05)
    assert after.load - before.load == pytest.approx(sum(s.load_w for s in states) / 3600, rel=0.05)


def test_daily_counters_start_again_at_local_midnight():
    home = Home(4)
    midnight = MONDAY + 14 * 3600
    evening, _, _ = home.energy(midnight - 1)
    morning, yesterday, _ = home.energy(midnight)
    assert evening.pv > 5000
    assert morning == type(morning)()
    assert yesterday.pv == pytest.approx(evening.pv, rel=0.001)


def test_lifetime_counters_never_go_back():
    home = Home(4)
    totals = [home.energy(second)[2] for second in range(MONDAY, MONDAY + 2 * DAY, 1800)]
    for one, other in zip(totals, totals[1:]):
        assert all(after >= before - 1e-6 for before, after in zip(one, other))
    assert totals[0].ev_charged == 0.0
    assert totals[0].pv > 10_000_000


@pytest.mark.parametrize("name", sorted(SCENARIOS))
def test_scenarios_that_stand_still_balance_too(name):
    home = home_for(name, 1, HOUSE)
    assert isinstance(home, StillHome)
    assert both_balances(home.at(0)) == (0, 0)
    assert home.at(MONDAY) == home.at(MONDAY + 12345)


def test_scenarios_hold_the_numbers_they_are_known_for():
    s3 = SCENARIOS["s3"]
    assert (s3.pv_w, s3.soc_permille, s3.battery_w, s3.grid_w, s3.load_w) == (2800, 150, 0, 8540, 11340)
    assert (s3.ac_power_w, s3.third_party_pv_w) == (2800, 0)
    assert SCENARIOS["export"].grid_w == -1100
    assert (SCENARIOS["third_party"].pv_w, SCENARIOS["third_party"].third_party_pv_w) == (0, 4200)
    assert (SCENARIOS["offgrid"].off_grid, SCENARIOS["offgrid"].grid_w) == (1, 0)
    assert SCENARIOS["no_meter"].meter == 0
    assert SCENARIOS["v2h"].ev_w < 0 < SCENARIOS["ev_charge"].ev_w


def test_unknown_scenario_is_refused_with_the_known_ones():
    with pytest.raises(ConfigError, match="s3"):
        home_for("tuesday", 1, HOUSE)
