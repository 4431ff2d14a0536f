"""Which samples may reach the display."""

from __future__ import annotations

import pytest

from bridge.sources.plausibility import Plausibility, sign_looks_inverted
from bridge.sources.signals import Moment, reading_from

GOOD = {"grid_w": 8540, "soc_pct": 15.0, "pv_w": 2800, "battery_w": 0, "load_w": 11340, "ac_power_w": 2800,
        "third_party_pv_w": 0, "grid_sensor": 1, "rated_w": 9999}


class Plant:
    """Feeds samples one second apart to one Plausibility."""

    def __init__(self):
        self.judge, self.second = Plausibility(), 0

    def sample(self, step_s=1.0, running=True, **changes):
        self.second += step_s
        values = {**GOOD, **changes}
        if running:
            values.setdefault("clock", 1_700_000_000 + int(self.second))
        reading = reading_from(values, Moment(0.0, 1000.0 + self.second, "modbus-tcp"))
        return self.judge.judge(reading, values)


@pytest.mark.parametrize("change, word", [
    ({"grid_w": 4_294_965_796}, "grid_w"), ({"grid_w": None}, "grid_w"), ({"soc_pct": None}, "soc_pct"),
    ({"soc_pct": 6553.5}, "soc_pct"), ({"pv_w": -2000, "ac_power_w": -2000}, "pv_w"), ({"battery_w": 250_000}, "battery_w"),
    ({"load_w": None}, "load_w"), ({"load_w": 3000}, "balance"), ({"third_party_pv_w": -9_000_000}, "third_party"),
    ({"soc_pct": 95.0}, "state of charge"),
])
def test_one_impossible_sample_is_dropped_with_its_reason(change, word):
    plant = Plant()
    plant.sample()
    reading = plant.sample(**change).reading
    assert not reading.valid and word in reading.reason
    assert plant.sample().reading.valid


def test_a_lasting_imbalance_is_shown_and_reported():
    plant = Plant()
    outcomes = [plant.sample(load_w=3000).reading for _ in range(8)]
    assert [reading.valid for reading in outcomes] == [False] * 5 + [True] * 3
    assert "lasting balance" in outcomes[-1].reason
    assert outcomes[-1].load_w == 3000


def test_a_lasting_sentinel_loses_that_signal_and_not_the_others():
    plant = Plant()
    outcomes = [plant.sample(soc_pct=None).reading for _ in range(6)]
    assert outcomes[-1].valid and outcomes[-1].soc_pct is None and outcomes[-1].grid_w == 8540


def test_an_impossible_grid_never_leaks_into_the_other_numbers():
    plant = Plant()
    readings = [plant.sample(grid_w=4_294_965_796).reading for _ in range(9)]
    assert all(reading.grid_w is None for reading in readings)
    derived = [plant.sample(grid_w=-9_000_000, load_w=None).reading for _ in range(9)]
    assert all(reading.load_w is None for reading in derived)


def test_losses_within_tolerance_are_fine():
    assert Plant().sample(load_w=11340 - 900).reading.valid
    assert Plant().sample(ac_power_w=2900).reading.valid


def test_a_big_plant_is_not_measured_by_a_small_ones_limit():
    big = Plant().sample(rated_w=99_999, grid_w=150_000, load_w=152_800).reading
    assert big.valid and big.grid_w == 150_000


def test_a_standing_plant_clock_means_frozen_after_a_minute():
    plant = Plant()
    outcomes = [plant.sample(clock=1_700_000_000).reading for _ in range(63)]
    assert outcomes[59].valid
    assert not outcomes[62].valid and "frozen" in outcomes[62].reason
    assert plant.sample(clock=1_700_000_100).reading.valid


def test_without_a_clock_half_an_hour_of_identical_values_means_frozen():
    plant = Plant()
    outcomes = [plant.sample(step_s=60, running=False).reading for _ in range(33)]
    assert outcomes[29].valid and not outcomes[32].valid
    assert plant.sample(running=False, grid_w=8541, load_w=11341).reading.valid


def test_an_inverted_meter_is_warned_of_once_and_never_flipped():
    plant = Plant()
    verdicts = [plant.sample(grid_w=-8540) for _ in range(60)]
    warnings = [verdict.warning for verdict in verdicts if verdict.warning]
    assert len(warnings) == 1 and "inverted" in warnings[0]
    assert verdicts[-1].reading.grid_w == -8540


def test_a_car_feeding_the_house_does_not_make_the_sign_look_inverted():
    v2h = {"grid_w": 5700, "pv_w": 0, "battery_w": -26_400, "grid_sensor": 1}
    assert sign_looks_inverted(v2h) is None
    assert sign_looks_inverted({**v2h, "ac_power_w": 20_000}) is False
    assert sign_looks_inverted({**GOOD, "grid_w": 400}) is None


def test_two_different_faults_do_not_add_up_to_a_lasting_one():
    plant = Plant()
    for _ in range(6):
        assert not plant.sample(load_w=3000).reading.valid or plant.second > 5
        plant.sample()
    assert not plant.sample(load_w=3000).reading.valid
