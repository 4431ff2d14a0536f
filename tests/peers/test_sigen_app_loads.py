"""The loads that the plant switches, through the app."""

from __future__ import annotations

import pytest

from bridge.errors import ConfigError, LinkError
from bridge.peers.envelope import EnvelopeError
from bridge.peers.sigen_app_loads import SmartLoads, load_named
from bridge.peers.sigen_app_records import SmartLoad, kwh, load_of, quantity
from bridge.peers.sigen_errors import ApiUnavailable
from tests.peers.app_bench import STATION, app_bench


@pytest.fixture
def bench(tmp_path):
    with app_bench(tmp_path) as bench:
        yield bench


@pytest.fixture
def loads(bench):
    return SmartLoads(bench.client())


def test_the_list_holds_state_power_and_energy(loads):
    assert loads.listed() == [
        SmartLoad("1", "Pool pump", "501", 0.0, False, True, 1.2, 30.4, 402.75),
        SmartLoad("2", "Hot water", "502", 2.4, True, True, 1.2, 30.4, 402.75)]


def test_what_one_load_does_not_tell_is_unknown_and_the_others_are_listed(bench, loads):
    bench.sim.fail("appLoad", "status", status=500)
    bench.sim.fail("appConsumption", "null")
    first, second = loads.listed()
    assert (first.on, first.today_kwh, second.on, second.today_kwh) == (None, None, True, None)


def test_a_link_that_is_gone_is_an_error_and_not_a_list_of_unknowns(bench, loads):
    bench.sim.fail("appLoad", "drop", times=0)
    with pytest.raises(LinkError):
        loads.listed()


def test_an_answer_without_a_list_is_not_no_loads(bench, loads):
    bench.sim.fail("appLoads", "null")
    with pytest.raises(EnvelopeError, match="no data"):
        loads.listed()
    bench.sim.app_world.homes[STATION].loads.clear()
    assert loads.listed() == []


def test_a_load_is_switched_and_read_again(bench, loads):
    pump = load_named("pool pump", loads.cards())
    assert loads.switch(pump, True).on is True
    assert bench.sim.app_world.homes[STATION].loads[0].on
    assert bench.sim.log[-2].method == "PATCH" and bench.sim.log[-2].path.endswith(
        f"manual/switch?stationId={STATION}&loadPath=1&manualSwitch=1")
    assert loads.switch(pump, False).on is False


def test_a_load_that_follows_a_rule_is_not_called_switched(bench, loads):
    bench.sim.app_world.homes[STATION].loads[0].manual = False
    with pytest.raises(ApiUnavailable, match="Pool pump is still off; it follows a schedule") as caught:
        loads.switch(load_named("1", loads.cards()), True)
    assert caught.value.exit_code == 6


LOADS = (SmartLoad("1", "Pool pump"), SmartLoad("2", "Hot-Water"), SmartLoad("3", "pool  PUMP"), SmartLoad("4", "水泵"))


@pytest.mark.parametrize("word, path", [("1", "1"), ("hot water", "2"), ("3", "3"), ("水泵", "4"), (" 2 ", "2")])
def test_a_load_goes_by_path_or_name(word, path):
    assert load_named(word, LOADS).path == path


@pytest.mark.parametrize("word, words", [
    ("oven", "is not known.*1 .Pool pump., 2 .Hot-Water"), ("", "is not known"), ("pool pump", "several loads.*1 .*3 "),
])
def test_what_is_not_one_load_lists_the_choices(word, words):
    with pytest.raises(ConfigError, match=words):
        load_named(word, LOADS)
    with pytest.raises(ConfigError, match="no smart load"):
        load_named("oven", ())


@pytest.mark.parametrize("text, found", [
    ("1.20 kWh", 1.2), ("850 Wh", 0.85), ("1,5 MWh", 1500.0), ("-0.10 kWh", -0.1), ("0.00 kWh", 0.0), ("--", None),
    ("", None), (None, None), (1.2, None), ("1.20", None), ("1.20 kW", None), ("1.2.3 kWh", None),
])
def test_an_energy_text_is_a_number_or_unknown(text, found):
    assert kwh(text) == (pytest.approx(found) if found is not None else None)


def test_a_power_is_taken_with_its_unit_only():
    assert load_of({"path": 1, "name": "a", "valueWithUnit": "850 W"}).power_kw == 0.85
    assert load_of({"path": "7", "valueWithUnit": "20 %"}) == SmartLoad("7", "load 7")
    assert load_of({"name": "inverter"}) is None and quantity(["1 kW"]) == (None, "")
