"""``loads cloud`` as a user runs it."""

from __future__ import annotations

import json

import pytest

from bridge import cli
from bridge.clock import Clock
from bridge.commands import loads
from bridge.sim.sigen_cloud import SigenCloudSim
from tests.commands.app_desk import STATION, AppDesk
from tests.commands.conftest import one_line


@pytest.fixture
def sim():
    with SigenCloudSim(Clock()) as simulator:
        yield simulator


@pytest.fixture
def desk(sim, tmp_path):
    return AppDesk(sim, tmp_path / "state")


@pytest.mark.parametrize("verb", ["list", "ls"])
def test_list_shows_path_name_state_power_and_energy(desk, verb):
    head, pump, water = desk("loads", "cloud", verb).stdout.splitlines()
    assert head.split() == ["path", "name", "state", "power", "today", "this", "month", "so", "far"]
    assert pump.split() == ["1", "Pool", "pump", "off", "0.00", "kW", "1.20", "kWh", "30.40", "kWh", "402.75", "kWh"]
    assert water.split()[:6] == ["2", "Hot", "water", "on", "2.40", "kW"]
    loads = json.loads(desk("loads", "cloud", verb, "--json").stdout)["loads"]
    assert loads[1]["on"] is True and loads[1]["path"] == "2" and loads[1]["today_kwh"] == 1.2


def test_on_and_off_by_name_and_by_path(desk, sim):
    pump = sim.app_world.homes[STATION].loads[0]
    done = desk("loads", "cloud", "on", "pool", "pump")
    assert done.returncode == 0 and pump.on
    assert done.stdout.splitlines() == ["before  Pool pump: off", "after   Pool pump: on"]
    report = json.loads(desk("loads", "cloud", "off", "1", "--json").stdout)
    assert report == {
        "path": "1", "name": "Pool pump", "asked": False, "before": True, "after": False, "verified": True}
    assert not pump.on


def test_a_dry_run_switches_nothing(desk, sim):
    done = desk("loads", "cloud", "on", "1", "--dry-run")
    assert done.stdout.strip() == (
        f"PATCH {sim.base_url}/device/tp-device/smart-loads/control-mode/manual/switch"
        f"?stationId={STATION}&loadPath=1&manualSwitch=1")
    assert json.loads(desk("loads", "cloud", "on", "1", "--dry-run", "--json").stdout)["dry_run"] is True
    assert "appSwitch" not in desk.asked()


def test_a_load_that_is_not_known_lists_the_choices(desk):
    done = desk("loads", "cloud", "on", "oven")
    assert done.returncode == 2 and "1 (Pool pump), 2 (Hot water)" in one_line(done.stderr)
    assert "appSwitch" not in desk.asked()


def test_a_load_under_a_rule_is_exit_6(desk, sim):
    sim.app_world.homes[STATION].loads[0].manual = False
    done = desk("loads", "cloud", "on", "1")
    assert done.returncode == 6 and "still off" in one_line(done.stderr) and done.stdout == ""
    assert "off (by a rule of the app)" in desk("loads", "cloud", "list").stdout


def test_helpers_of_verbs_are_no_verbs():
    assert "_loads_cloud" not in cli.command_names() and "loads" in cli.command_names()
    assert cli.command("_loads_cloud") is None and cli.command("_mode_app") is None


def test_without_the_cloud_package_the_verb_is_not_offered_and_nothing_breaks(desk, monkeypatch):
    monkeypatch.setattr(loads, "find_spec", lambda _name: None)
    done = desk("loads", "cloud", "list")
    assert done.returncode == 2 and "invalid choice" in one_line(done.stderr)
