"""Cloud readings: signs, balance, missing values, and never an old value as a new one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bridge.errors import LinkError, RateLimited
from bridge.peers.sigen_records import EnergyFlow, energy_flow_of
from bridge.sources.openapi import OpenApiSource, to_reading, watts
from tests.peers.cloud_bench import cloud_bench

REAL = json.loads((Path(__file__).parent.parent / "fixtures" / "sigen-openapi-real.json").read_text("utf-8"))
DAY = [dict(zip(REAL["app_api"]["day"]["columns"], row)) for row in REAL["app_api"]["day"]["rows"]]
APP_BODIES = [one["data"] for one in REAL["app_api"]["bodies"] + REAL["other_app_api"]]


@pytest.fixture
def bench(tmp_path):
    with cloud_bench(tmp_path) as made:
        yield made


def source_of(bench, **options):
    return OpenApiSource(bench.client(**options), bench.clock)


def of_app(row):
    """Return an app body as the OpenAPI spells it: buySellPower is gridPower, both + = export."""
    return energy_flow_of({"evPower": 0.0, "heatPumpPower": 0.0, **row, "gridPower": row["buySellPower"]})


def test_the_real_answer_maps_to_watts_in_the_models_signs():
    reading = to_reading(energy_flow_of(REAL["openapi"]["energyFlow"]), 1.0, 2.0)
    assert (reading.pv_w, reading.soc_pct, reading.battery_w, reading.grid_w, reading.load_w) == (
        300.0, 88.3, -4300.0, -3710.0, 890.0)
    assert reading.valid and reading.balance_w == 0.0 and not reading.load_derived
    assert (reading.at, reading.mono, reading.source) == (1.0, 2.0, "cloud")
    assert reading.extras == {"ev_w": 0.0, "heat_pump_w": 0.0}


@pytest.mark.parametrize("body", APP_BODIES, ids=lambda body: str(body["buySellPower"]))
def test_real_bodies_of_the_app_balance_with_the_same_signs(body):
    reading = to_reading(of_app(body), 0, 0)
    assert reading.valid and abs(reading.balance_w) <= 10


def test_no_sample_of_a_real_day_is_called_impossible_and_the_other_sign_would_be():
    readings = [to_reading(of_app(row), 0, 0) for row in DAY]
    assert len(readings) > 100 and all(reading.valid for reading in readings)
    flipped = [to_reading(of_app({**row, "buySellPower": -row["buySellPower"]}), 0, 0) for row in DAY]
    assert any(not reading.valid for reading in flipped)


def test_ev_and_heat_pump_are_beside_the_load():
    """Vendor documents list them beside loadPower; the app's samples close that way."""
    reading = to_reading(EnergyFlow(2.0, -8.2, 0.0, 40.0, 1.3, 7.4, 1.5), 0, 0)
    assert reading.valid and reading.balance_w == 0 and reading.load_w == 1300
    assert reading.extras == {"ev_w": 7400.0, "heat_pump_w": 1500.0}


def test_the_impossible_sample_is_never_shown():
    reading = to_reading(EnergyFlow(0.0, 11.0, 10.6, 61.0, 0.5, 0.0, 0.0), 0, 0)
    assert reading.valid is False and reading.reason == "balance" and reading.balance_w == -22100


@pytest.mark.parametrize(("residual_kw", "valid"), [
    (0.99, True), (-0.99, True), (1.01, False), (-1.01, False),
])
def test_small_plants_have_a_kilowatt_of_tolerance(residual_kw, valid):
    assert to_reading(EnergyFlow(1.0 + residual_kw, 0.0, 0.0, 50.0, 1.0, 0.0, 0.0), 0, 0).valid is valid


@pytest.mark.parametrize(("load_kw", "valid"), [(8.01, True), (7.99, False), (12.4, True), (12.6, False)])
def test_large_plants_have_a_fifth_of_the_largest_term(load_kw, valid):
    assert to_reading(EnergyFlow(10.0, 0.0, 0.0, 50.0, load_kw, 0.0, 0.0), 0, 0).valid is valid


@pytest.mark.parametrize("key", ["pvPower", "gridPower", "batteryPower", "batterySoc", "loadPower"])
def test_a_missing_value_is_unknown_and_never_zero(key):
    body = {name: value for name, value in REAL["openapi"]["energyFlow"].items() if name != key}
    fields = {"pvPower": "pv_w", "gridPower": "grid_w", "batteryPower": "battery_w", "batterySoc": "soc_pct",
              "loadPower": "load_w"}
    field = fields[key]
    for content in (body, {**body, key: None}, {**body, key: "--"}, {**body, key: True}):
        reading = to_reading(energy_flow_of(content), 0, 0)._asdict()
        assert reading[field] is None and reading["valid"]
        assert (reading["balance_w"] is None) == (field != "soc_pct")


def test_without_ev_and_heat_pump_only_too_much_consumption_is_impossible():
    hidden_car = to_reading(EnergyFlow(0.0, -11.0, 0.0, 50.0, 0.5, None, None), 0, 0)
    assert hidden_car.valid and hidden_car.balance_w is None
    impossible = to_reading(EnergyFlow(0.0, 11.0, 10.6, 61.0, 0.5, None, 0.0), 0, 0)
    assert not impossible.valid and impossible.reason == "balance" and impossible.balance_w is None


def test_an_answer_without_any_value_is_not_a_reading():
    reading = to_reading(energy_flow_of({"something": 1}), 0, 0)
    assert not reading.valid and reading.reason == "empty"


@pytest.mark.parametrize("soc", [-1.0, 101.0, 6553.5])
def test_an_impossible_state_of_charge_is_unknown(soc):
    assert to_reading(EnergyFlow(1.0, 0.0, 0.0, soc, 1.0, 0.0, 0.0), 0, 0).soc_pct is None


def test_negative_zero_is_zero_and_watts_are_round():
    assert str(watts(-0.0)) == str(watts(0.0, -1.0)) == "0.0" and watts(0.07) == 70.0 and watts(None) is None


def test_the_source_mirrors_a_plant_through_the_cloud_and_back(tmp_path):
    five = (2800.0, 15.0, 0.0, 8540.0, 11340.0)
    with cloud_bench(tmp_path, values=lambda: five) as bench:
        reading = source_of(bench).read()
        assert (reading.pv_w, reading.soc_pct, reading.battery_w, reading.grid_w, reading.load_w) == five
        assert bench.sim.flow()["gridPower"] == -8.54


def test_between_two_calls_the_last_reading_keeps_its_own_time(bench):
    source = source_of(bench)
    first = source.read()
    bench.clock.advance(299)
    assert source.read() == first and source.next_in_s() == pytest.approx(1)
    bench.clock.advance(1)
    second = source.read()
    assert second.mono == first.mono + 300 and bench.sim.count("energyFlow") == 2


def test_an_unbalanced_sample_of_the_cloud_comes_back_invalid(tmp_path):
    with cloud_bench(tmp_path, scenario="unbalanced") as bench:
        reading = source_of(bench).read()
        assert (reading.valid, reading.reason) == (False, "balance")


def test_a_reading_older_than_fifteen_minutes_is_not_returned_again(bench):
    source = source_of(bench, patience_s=0)
    bench.client().login()
    bench.clock.advance(6)
    source.read()
    bench.clock.advance(300)
    bench.sim.fail("energyFlow", "status", times=0, status=424)
    source.read()
    bench.clock.advance(599)
    assert source.read().pv_w == 3400.0
    bench.clock.advance(2)
    with pytest.raises(RateLimited):
        source.read()


def test_without_a_reading_the_limit_is_reported(bench):
    source_of(bench).read()
    with pytest.raises(RateLimited):
        source_of(bench).read()


def test_a_dead_cloud_is_an_error_and_not_the_old_reading(bench):
    source = source_of(bench)
    source.read()
    bench.clock.advance(300)
    bench.sim.stop()
    with pytest.raises(LinkError):
        source.read()
    source.close()
