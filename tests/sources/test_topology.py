"""Where the Envoy's sun is counted: case files of the topologies, and that it is never counted twice."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.clock import ManualClock
from bridge.model import Reading
from bridge.sources.more_sun import MoreSun, sentence
from bridge.sources.plausibility import Plausibility
from bridge.sources.signals import Moment, reading_from
from bridge.sources.topology import TOPOLOGIES, Finder, adds, evidence, with_sun

CASES = sorted((Path(__file__).parent.parent / "cases" / "topology").glob("*.json"))


class Envoy:
    """Stands where the background thread does: keeps the newest answer."""

    def __init__(self):
        self.latest, self.error, self.wishes = None, None, 0

    def want_reading(self):
        self.wishes += 1

    def says(self, power_w, mono, by="meter", valid_s=30.0):
        self.latest = Reading(0.0, mono, "envoy", pv_w=power_w, extras={"by": by, "valid_s": valid_s})

    def close(self):
        self.latest = None


class Bench:
    """Plant values and an Envoy's answer in, a judged reading out: the path of ModbusSource."""

    def __init__(self, told=""):
        self.clock, self.envoy, self.plausibility = ManualClock(), Envoy(), Plausibility()
        self.more = MoreSun(self.envoy, self.clock, told)
        self.ticks = 0

    def sample(self, plant, envoy_w, step_s=1.0):
        self.clock.advance(step_s)
        self.ticks += 1
        now = self.clock.monotonic()
        if envoy_w is not None:
            self.envoy.says(envoy_w, now)
        elif self.envoy.latest is not None:
            self.envoy.says(4200.0, now - 31.0)  # its last word, too old by now
        values = {**plant, "clock": self.ticks}
        added = self.more.of(values, now)
        reading = added.completed(reading_from(added.values, Moment(self.clock.now(), now, "modbus-tcp")))
        return self.plausibility.judge(reading, added.judged).reading


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_case(path):
    case = json.loads(path.read_text("utf-8"))
    bench = Bench(case["told"])
    for sample in case["samples"]:
        for _ in range(sample["times"]):
            reading = bench.sample(sample["plant"], sample["envoy_w"], sample["step_s"])
        for name, wanted in sample["expect"].items():
            if name == "topology":
                assert bench.more.topology == wanted
            elif name == "reason_has":
                assert wanted in reading.reason
            elif name in Reading._fields:
                assert getattr(reading, name) == wanted, f"{name}: {reading}"
            else:
                assert reading.extras[name] == wanted


def test_there_is_a_case_of_every_topology():
    found = {sample["expect"].get("topology") for path in CASES for sample in json.loads(path.read_text())["samples"]}
    assert set(TOPOLOGIES) <= found


@given(dc_w=st.integers(0, 9000), third_w=st.integers(0, 9000), envoy_w=st.integers(0, 9000), house_w=st.integers(0, 9000),
       counted=st.booleans(), told=st.sampled_from(("", *TOPOLOGIES)))
def test_no_numbers_make_the_sun_count_twice(dc_w, third_w, envoy_w, house_w, counted, told):
    """One sun, whatever the plant's registers say of it: the total is never own + 30194 + Envoy."""
    bench = Bench(told)
    load_w = house_w if counted else house_w - envoy_w
    plant = {"pv_w": dc_w, "third_party_pv_w": third_w, "ac_power_w": dc_w, "battery_w": 0, "soc_pct": 50.0,
             "grid_w": load_w - dc_w - third_w, "load_w": load_w, "grid_sensor": 1}
    for _ in range(7):
        reading = bench.sample(plant, float(envoy_w))
        assert reading.pv_w in (dc_w, dc_w + third_w, dc_w + envoy_w)
        if third_w >= 50 and not told:
            assert reading.pv_w == dc_w + third_w


def test_the_parts_are_named():
    reading = Bench().sample({"pv_w": 500, "third_party_pv_w": 0, "ac_power_w": 500, "grid_w": -3100, "load_w": -2600,
                              "battery_w": 0, "soc_pct": 50.0, "grid_sensor": 1}, 4200.0)
    wanted = {"pv_dc_w": 500, "third_party_pv_w": 0, "envoy_w": 4200.0, "envoy_by": "meter", "envoy_age_s": 0.0,
              "envoy_topology": "unseen", "ac_power_w": 500}
    assert {name: reading.extras[name] for name in wanted} == wanted


def test_before_the_first_answer_the_sun_is_unknown_and_not_0():
    reading = Bench().sample({"pv_w": 500, "third_party_pv_w": 0, "ac_power_w": 500, "grid_w": 0, "load_w": 500,
                              "battery_w": 0, "soc_pct": 50.0, "grid_sensor": 1}, None)
    assert reading.pv_w is None and reading.load_w is None and reading.valid
    assert "no answer yet" in reading.reason and reading.soc_pct == 50.0


def test_a_missing_envoy_does_not_make_the_grid_sign_look_wrong():
    bench = Bench()
    plant = {"pv_w": 0, "third_party_pv_w": 0, "ac_power_w": -1400, "grid_w": -600, "load_w": 2200, "battery_w": 1350,
             "soc_pct": 50.0, "grid_sensor": 1}
    for _ in range(6):
        bench.sample(plant, 4200.0)
    warnings = []
    for tick in range(40):
        bench.clock.advance(1)
        bench.envoy.says(4200.0, bench.clock.monotonic() - 31.0)
        values = {**plant, "clock": 100 + tick}
        added = bench.more.of(values, bench.clock.monotonic())
        reading = added.completed(reading_from(added.values, Moment(0.0, bench.clock.monotonic(), "modbus-tcp")))
        warnings.append(bench.plausibility.judge(reading, added.judged).warning)
    assert set(warnings) == {None}
    control = Plausibility()  # the same samples without the Envoy's absence taken into account do warn
    told = [control.judge(reading_from({**plant, "clock": tick}, Moment(0.0, float(tick), "x")), plant).warning
            for tick in range(40)]
    assert any(told)


def test_one_sample_proves_nothing_for_good():
    finder = Finder()
    load = {"ac_power_w": 0, "grid_w": -3100, "load_w": 1100, "third_party_pv_w": 0, "grid_sensor": 1}
    unseen = {**load, "load_w": -3100}
    assert finder.note(load, 4200, 0.0) == "load" and finder.found is None
    for tick in range(5):
        finder.note(unseen, 4200, float(tick))
    assert finder.found == "unseen"
    assert finder.note(load, 4200, 9.0) == "unseen"


def test_a_little_sun_is_no_evidence():
    assert evidence({"ac_power_w": 0, "grid_w": 100, "load_w": 300, "third_party_pv_w": 0, "grid_sensor": 1}, 200) is None


def test_unknown_topology_adds_as_the_rule_for_30194_being_0_says():
    assert adds(None) and adds("load") and adds("unseen") and not adds("gateway") and not adds("pv")
    assert with_sun({"pv_w": 1, "third_party_pv_w": 0}, 5.0, None)["third_party_pv_w"] == 5.0


@pytest.mark.parametrize("topology", [None, *TOPOLOGIES])
def test_each_topology_is_said_in_one_line(topology):
    assert "\n" not in sentence(topology) and "sun" in sentence(topology)
