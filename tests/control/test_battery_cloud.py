"""Battery commands as the cloud wants them: the body, the mode, and what counts as a confirmation."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.control.battery import ACTIONS, CHARGE, DISCHARGE, PRIORITIES, Command
from bridge.control.battery_cloud import batch, confirmed, mode_hindrance, one
from bridge.errors import ConfigError, Refused
from bridge.sim.sigen_cloud_commands import command_problem

NOW = 1_795_224_659.0


def test_the_fields_stand_inside_the_command_in_kw_and_minutes():
    command = Command("charge", 1800.0, 5000.0, max_import_w=7000.0, priority="grid")
    assert one(command, "ABC1", NOW) == {
        "systemId": "ABC1", "activeMode": "charge", "startTime": 1795224659, "duration": 30, "chargingPower": 5.0,
        "maxPurchasePower": 7.0, "chargePriorityType": "GRID",
    }
    found = one(Command("discharge", 90.0, 2500.0, 1796000000.0, export_w=2000.0, priority="battery"), "ABC1", NOW)
    assert (found["startTime"], found["duration"], found["maxSellPower"]) == (1796000000, 2, 2.0)
    assert found["dischargePriorityType"] == "BATTERY"
    assert one(Command("self-grid", 60.0), "ABC1", NOW)["activeMode"] == "selfConsumption-grid"


def test_24_are_a_batch_and_25_are_not():
    assert len(batch([Command("idle", 60.0)] * 24, "A", NOW)) == 24
    with pytest.raises(Refused, match="at most 24"):
        batch([Command("idle", 60.0)] * 25, "A", NOW)


def test_a_power_is_mandatory():
    with pytest.raises(ConfigError, match="power"):
        one(Command("charge", 60.0), "A", NOW)
    with pytest.raises(ConfigError, match="power"):
        one(Command("discharge", 60.0, export_w=100.0), "A", NOW)


@given(st.sampled_from(ACTIONS), st.floats(10, 21600), st.floats(1, 30000), st.data())
def test_whatever_the_model_lets_through_the_cloud_would_take(action, seconds, power_w, data):
    powered = action in (CHARGE, DISCHARGE)
    priority = data.draw(st.sampled_from(("", *PRIORITIES.get(action, ()))))
    command = Command(action, seconds, power_w if powered else None, priority=priority)
    assert command_problem({"accessToken": "t", "commands": batch([command], "ABC1", NOW)}, "t") == 0


def test_only_vpp_and_nbi_pass_commands_on():
    assert mode_hindrance(8, "NBI") is None and mode_hindrance(6, "VPP") is None
    assert "mode set nbi" in mode_hindrance(0, "MSC")


@pytest.mark.parametrize("action, battery_kw, seen", [
    ("charge", 2.0, True), ("charge", -0.5, False), ("discharge", -2.0, True), ("discharge", 0.0, False),
    ("idle", 0.2, True), ("idle", 2.0, False), ("self", 1.0, None), ("charge", None, None),
])
def test_a_confirmation_is_seen_and_never_assumed(action, battery_kw, seen):
    assert confirmed(Command(action, 60.0, 1000.0), battery_kw) is seen
