"""``mode`` through the Sigen app, as a user runs it."""

from __future__ import annotations

import json

import pytest

from bridge.clock import Clock
from bridge.commands._mode_app import AppModesDoor
from bridge.commands.mode import change_mode
from bridge.config import Settings
from bridge.peers.sigen_app_modes import listed_mode_named
from bridge.peers.sigen_errors import ApiUnavailable
from bridge.sim.sigen_cloud import SigenCloudSim
from bridge.wiring_app import app_configured
from tests.commands.app_desk import STATION, AppDesk
from tests.commands.conftest import one_line
from tests.peers.app_bench import app_bench

HOME = "ABCDE1700000001"


@pytest.fixture
def sim():
    with SigenCloudSim(Clock()) as simulator:
        yield simulator


@pytest.fixture
def desk(sim, tmp_path):
    return AppDesk(sim, tmp_path / "state")


@pytest.fixture
def bench(tmp_path):
    with app_bench(tmp_path) as bench:
        yield bench


def test_list_shows_the_stations_own_modes_and_profiles(desk):
    lines = desk("mode", "list").stdout.splitlines()
    assert [line.split()[:2] for line in lines] == [
        ["1", "ai"], ["0", "msc"], ["2", "tou"], ["5", "ffg"], ["9", "77"], ["9", "78"]]
    assert "profile 77" in lines[4] and [line for line in lines if "<- now" in line] == [lines[1]]
    content = json.loads(desk("mode", "list", "--json").stdout)
    assert content["station_id"] == STATION
    assert content["modes"][4] == {
        "number": 9, "word": "custom", "label": "Night charge", "profile_id": 77, "current": False}


def test_get_prints_number_and_label(desk, sim):
    assert desk("mode", "get").stdout == "0 Maximum Self-Powered (msc)\n"
    sim.world.stations[HOME].mode, sim.app_world.homes[STATION].profile_id = 9, 78
    assert desk("mode", "get").stdout == "9 Holiday (profile 78)\n"
    assert json.loads(desk("mode", "get", "--json").stdout) == {
        "station_id": STATION, "number": 9, "word": "custom", "label": "Holiday", "profile_id": 78}


def test_set_by_label_sends_the_default_profile_and_reads_back(desk, sim):
    done = desk("mode", "set", "tou")
    assert done.returncode == 0 and done.stdout.splitlines() == [
        "before  0 Maximum Self-Powered (msc)", "asked   2 TOU: the cloud took it (Sigen app, v3 paths)", "after   2 TOU"]
    assert json.loads(next(one for one in sim.log if one.endpoint == "appSetMode").body) == {
        "stationId": STATION, "operationMode": 2, "profileId": -1}
    report = json.loads(desk("mode", "set", "night", "charge", "--json").stdout)
    assert report["verified"] is True and report["after"]["profile_id"] == 77 and report["before"]["number"] == 2


def test_a_station_with_the_older_paths_only_is_served_too(desk, sim):
    sim.app_world.homes[STATION].mode_api = "v0"
    done = desk("mode", "set", "5")
    assert done.returncode == 0 and "v0 paths" in done.stdout and sim.world.stations[HOME].mode == 5


def test_a_label_that_is_not_known_lists_the_choices_and_changes_nothing(desk, sim):
    done = desk("mode", "set", "turbo")
    assert done.returncode == 2 and "Night charge (profile 77)" in one_line(done.stderr)
    assert "appSetMode" not in desk.asked()


def test_a_dry_run_reads_what_it_needs_and_changes_nothing(desk, sim):
    done = desk("mode", "set", "holiday", "--dry-run")
    assert done.stdout.splitlines() == [
        f"PUT {sim.base_url}/device/energy-profile/mode",
        f'{{"stationId":{STATION},"operationMode":9,"profileId":78}}']
    lines = desk("mode", "set", "ffg", "--dry-run").stdout.splitlines()
    assert lines[2].startswith("or, after HTTP 404: PUT") and "appSetMode" not in desk.asked()


@pytest.mark.parametrize("number, label, word, words", [
    (6, "VPP", "vpp", "provider"), (8, "North Bound", "nbi", "--yes"), (7, "Remote EMS Mode", "7", "--yes"),
])
def test_control_is_not_handed_over_by_accident(desk, sim, monkeypatch, number, label, word, words):
    from bridge.sim import sigen_cloud_app_bodies, sigen_cloud_app_controls

    offered = (*sigen_cloud_app_bodies.DEFAULT_MODES, (number, label))
    monkeypatch.setattr(sigen_cloud_app_bodies, "DEFAULT_MODES", offered)
    monkeypatch.setattr(sigen_cloud_app_controls, "DEFAULT_MODES", offered)
    done = desk("mode", "set", word)
    assert done.returncode == 8 and words in one_line(done.stderr) and "appSetMode" not in desk.asked()
    assert desk("mode", "set", word, "--yes").returncode == (8 if number == 6 else 0)
    assert sim.world.stations[HOME].mode == (0 if number == 6 else number)


def test_the_way_is_chosen_by_what_is_configured_or_asked_for(desk, sim):
    key = {"SIGEN_APP_KEY": "AK_DEMO", "SIGEN_APP_SECRET": "AS_DEMO", "SIGEN_SYSTEM_ID": HOME,
           "SIGEN_BRIDGE_CLOUD_BASE_URL": sim.base_url}
    done = desk("mode", "set", "msc", "--dry-run", "--via", "openapi", env=key)
    assert done.stdout.startswith(f"PUT {sim.base_url}/openapi/instruction/settings") and desk.asked() == []
    assert desk("mode", "get", env=key).stdout.startswith("0 Maximum Self-Powered")
    done = desk("mode", "get", "--via", "app", without=("SIGEN_PASS",))
    assert done.returncode == 2 and "env make" in one_line(done.stderr)


def test_a_login_for_another_address_is_not_sent_to_the_vendor():
    """Where cloud.base_url replaces the region's host, its user and password are no app login."""
    base = {"cloud.region": "eu", "cloud.username": "u", "cloud.password": "p"}
    assert app_configured(Settings({}).replaced(base, "test"))
    assert not app_configured(Settings({}).replaced({**base, "cloud.base_url": "http://127.0.0.1:1"}, "test"))
    assert not app_configured(Settings({}).replaced({**base, "cloud.password": ""}, "test"))
    assert not app_configured(Settings({}).replaced({**base, "cloud.region": ""}, "test"))


def test_a_plant_that_follows_late_is_waited_for_and_one_that_does_not_is_an_error(bench, capsys):
    door = AppModesDoor(bench.client())
    row = listed_mode_named("tou", door.listed())
    station = bench.sim.world.stations[HOME]
    ends = bench.clock.monotonic() + 5.0
    bench.clock.at_tick.append(lambda: setattr(station, "mode", 2 if bench.clock.monotonic() >= ends else 0))
    door.set(row)
    station.mode = 0
    assert change_mode(Slow(door, station), row, bench.clock, False, True) == 0
    assert json.loads(capsys.readouterr().out)["verified"] is True
    bench.clock.at_tick[:] = [lambda: setattr(station, "mode", 0)]
    with pytest.raises(ApiUnavailable, match="the plant is in 0 Maximum Self-Powered"):
        change_mode(Slow(door, station), row, bench.clock, False, True)


class Slow(AppModesDoor):
    """A door to a plant that does not change its mode at once."""

    def __init__(self, door, station):
        self._app, self._modes, self._station = door._app, door._modes, station

    def set(self, row):
        said = super().set(row)
        self._station.mode = 0
        return said


@pytest.mark.parametrize("endpoint, fault, code", [
    ("appMode", {"status": 500}, 6), ("appSetMode", {"status": 500}, 6), ("appSetMode", {"status": 429}, 7),
])
def test_what_fails_has_its_exit_code_and_one_line(desk, sim, endpoint, fault, code):
    sim.fail(endpoint, "status", times=0, **fault)
    done = desk("mode", "set", "tou") if endpoint == "appSetMode" else desk("mode", "get")
    assert done.returncode == code and "sigen app" in one_line(done.stderr)
