"""The shipped scenarios go as they expect, and would not if the rules were other ones."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bridge import ini
from bridge.control.dispatch_scenario import Scenario, span_s
from bridge.errors import ConfigError

SHIPPED = sorted((Path(__file__).parent.parent.parent / "bridge" / "data" / "scenarios").glob("*.json"))


def content(name):
    return json.loads(next(path for path in SHIPPED if path.stem == name).read_text("utf-8"))


def play(told):
    return Scenario(told, ini.parse, "here").play()


def switchings(result):
    """Return (seconds, load, want, rule) of every relay that was moved."""
    return [(step.after_s, each.load, each.want, each.rule)
            for step in result.steps for each in step.decisions if each.act]


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_shipped_scenario_goes_as_expected(path):
    result = play(json.loads(path.read_text("utf-8")))
    assert result.failures == ()
    assert result.longest_over_s <= 3.0
    assert all(decision.reason for step in result.steps for decision in step.decisions)


def test_the_scenarios_of_the_issue_are_there():
    assert {path.stem for path in SHIPPED} >= {
        "example", "oven", "full-battery", "night-window", "phase", "car-while-cooking", "deadline",
        "night-clock-back", "night-clock-forward", "stale-data", "rival"}


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_expectation_of_a_state_can_fail(path):
    told = json.loads(path.read_text("utf-8"))
    for row in told["expect"]:
        if "is" in row:
            row["is"] = "off" if row["is"] == "on" else "on"
    assert len(play(told).failures) == sum("is" in row for row in told["expect"])


def test_the_house_of_the_source_never_stays_above_its_ten_kilowatts():
    result = play(content("example"))
    assert max(step.load_w for step in result.steps) > 15_000, "all of it was asked for"
    assert result.longest_over_s == 1.0


def test_without_the_rules_the_same_house_would_stay_above():
    told = content("example")
    told["house"]["dead"] = {"heater bath": True, "heater hall": True, "car": True}
    result = play(told)
    assert result.longest_over_s > 3.0
    assert any("limit was exceeded" in failure for failure in result.failures)


def test_the_oven_stops_both_heaters_in_the_cycle_in_which_it_is_seen():
    moved = switchings(play(content("oven")))
    assert moved[:2] == [(30.0, "heater bath", "off", "pause"), (30.0, "heater hall", "off", "pause")]
    assert [load for _, load, want, _ in moved if want == "on"] == ["heater bath", "heater hall"]
    back = [after_s for after_s, _, want, _ in moved if want == "on"]
    assert back[1] - back[0] >= 30.0, "one change at a time"


def test_sun_and_a_full_battery_switch_on_in_order_and_off_in_reverse():
    moved = switchings(play(content("full-battery")))
    assert [load for _, load, want, _ in moved if want == "on"] == ["boiler", "pool", "heater"]
    assert [load for _, load, want, _ in moved if want == "off"] == ["heater", "pool", "boiler"]


def test_one_overloaded_phase_sheds_on_that_phase_only():
    moved = switchings(play(content("phase")))
    assert [(load, want) for _, load, want, _ in moved] == [("heater 2", "off"), ("heater 2", "on")]


def test_a_rival_gets_the_relay_after_three_rounds():
    result = play(content("rival"))
    assert len(switchings(result)) == 3
    assert "undid 3 commands" in result.steps[-1].decisions[0].reason


@pytest.mark.parametrize("change, word", [
    ({"expect": [{"at": "1s", "load": "nobody", "is": "on"}]}, "nobody"),
    ({"expect": [{"at": "9h", "load": "oven", "is": "on"}]}, "behind the end"),
    ({"expect": [{"at": "1s", "load": "oven"}]}, "neither"),
    ({"expect": [{"at": "1s", "load": "oven", "is": "maybe"}]}, "maybe"),
    ({"house": {"moon_w": 3}}, "moon_w"),
    ({"start": "yesterday"}, "yesterday"),
    ({"for": "long"}, "long"),
    ({"loads": ["[oven]", "power_w = lots"]}, "lots"),
])
def test_a_scenario_that_cannot_be_meant_is_refused(change, word):
    with pytest.raises(ConfigError, match=word):
        Scenario({**content("oven"), **change}, ini.parse, "here")


@pytest.mark.parametrize("text, seconds", [("90s", 90), ("1h30m", 5400), ("2m5s", 125), (7, 7), ("0.5s", 0.5)])
def test_spans(text, seconds):
    assert span_s(text) == seconds
