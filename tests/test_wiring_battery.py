"""Battery commands by the cloud: the mode first, the body as documented, and the plant looked at afterwards."""

from __future__ import annotations

import json
import time
from datetime import datetime

import pytest

from bridge.clock import Clock, ManualClock
from bridge.config import Origin, Settings
from bridge.control.battery import Command
from bridge.errors import ConfigError, Refused
from bridge.peers.sigen_errors import ApiRejected
from bridge.sim.plant import PlantSim
from bridge.sim.sigen_cloud import SigenCloudSim
from bridge.wiring_battery import give_back, own_link, seconds_asked
from bridge.wiring_battery_cloud import send_batch_by_cloud, send_by_cloud
from bridge.wiring_control import desk
from tests.commands.cloud_desk import KEY, SECRET, STATION

CHARGE = Command("charge", 1800.0, 2000.0)


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def sim(clock):
    with SigenCloudSim(clock) as simulator:
        simulator.world.stations[STATION].mode = 8
        yield simulator


@pytest.fixture
def settings(sim, tmp_path):
    def make(enabled="yes", **more):
        told = {
            "cloud.base_url": sim.base_url, "cloud.system_id": STATION, "cloud.app_key": KEY, "cloud.app_secret": SECRET,
            "cloud.region": "eu", "run.state_dir": str(tmp_path), "control.enabled": enabled,
            **more,
        }
        return Settings({key: Origin(value, "test") for key, value in told.items()})
    return make


def sent(sim):
    return [entry for entry in sim.log if entry.endpoint == "command"]


def test_a_command_is_sent_once_and_the_plant_is_looked_at(sim, settings, clock):
    answer = send_by_cloud(settings(), clock, CHARGE, "openapi", False)
    assert len(sent(sim)) == 1 and answer["taken"] and answer["confirmed"] in (True, False)
    assert [entry.endpoint for entry in sim.log][-1] == "energyFlow"
    journal = desk(settings(), clock).keeper.book.journal.entries()
    assert [entry["what"] for entry in journal] == ["cloud", "effect"]
    assert SECRET not in json.dumps(journal) and "tok-sim" not in json.dumps(journal)


def test_in_any_other_mode_nothing_is_sent(sim, settings, clock):
    sim.world.stations[STATION].mode = 0
    with pytest.raises(Refused, match="mode set nbi"):
        send_by_cloud(settings(), clock, CHARGE, "openapi", False)
    assert not sent(sim)


def test_without_control_enabled_nothing_is_sent(sim, settings, clock):
    with pytest.raises(Refused, match="control.enabled"):
        send_by_cloud(settings("no"), clock, CHARGE, "openapi", False)
    assert not sim.log


def test_a_dry_run_shows_the_body_without_the_token(sim, settings, clock):
    shown = send_by_cloud(settings("no"), clock, CHARGE, "openapi", True)
    assert shown["body"]["accessToken"] == "(token)" and shown["body"]["commands"][0]["chargingPower"] == 2.0
    assert shown["url"].endswith("/openapi/system/battery/command") and not sim.log


@pytest.mark.parametrize("code, words", [(1503, "export"), (1504, "peak shaving")])
def test_a_veto_of_the_plant_is_explained(sim, settings, clock, code, words):
    sim.fail("command", "code", 1, code=code)
    with pytest.raises(ApiRejected, match=words):
        send_by_cloud(settings(), clock, CHARGE, "openapi", False)


def test_an_empty_answer_is_an_acceptance(sim, settings, clock):
    sim.fail("command", "empty", 1)
    assert send_by_cloud(settings(), clock, CHARGE, "openapi", False)["taken"]


def test_a_schedule_is_one_batch_and_nothing_is_known_of_it_yet(sim, settings, clock):
    night = [CHARGE._replace(start=clock.now() + 3600.0 * (1 + hour), seconds=1800.0) for hour in range(24)]
    answer = send_batch_by_cloud(settings(), clock, night, "openapi", False)
    assert len(sent(sim)) == 1 and answer["confirmed"] is None and len(answer["commands"]) == 24
    assert [one["startTime"] for one in answer["commands"]] == [int(one.start) for one in night]
    with pytest.raises(Refused, match="25 commands"):
        send_batch_by_cloud(settings(), clock, [*night, CHARGE], "openapi", False)
    assert len(sent(sim)) == 1
    with pytest.raises(Refused, match="control.max_charge_w"):
        send_batch_by_cloud(settings(**{"control.max_charge_w": 1000.0}), clock, night, "openapi", False)


def test_until_is_a_time_of_day_or_a_moment(settings, clock):
    assert 0 < seconds_asked(None, "23:59", settings(), clock) <= 86400
    assert seconds_asked(None, "2026-11-21T02:00:59+00:00", settings(), clock) == pytest.approx(1800.0)
    assert seconds_asked("90s", None, settings(), clock) == 90.0
    assert seconds_asked(None, None, settings(), clock) == 3600.0
    clock.jump_wall(-clock.now())
    with pytest.raises(Refused, match="clock"):
        seconds_asked(None, "23:59", settings(), clock)


def test_the_owners_limits_bound_the_cloud_too(sim, settings, clock):
    bounded = settings(**{"control.max_charge_w": 1500.0})
    with pytest.raises(Refused, match="control.max_charge_w"):
        send_by_cloud(bounded, clock, CHARGE, "openapi", False)
    assert not sent(sim)
    bounded = settings(**{"control.max_export_w": 1000.0, "control.max_import_w": 6000.0})
    body = send_by_cloud(bounded, clock, CHARGE._replace(max_import_w=9000.0), "openapi", True)["body"]["commands"][0]
    assert body["maxSellPower"] == 1.0 and body["maxPurchasePower"] == 6.0


@pytest.mark.parametrize("word", ["9", "25:00", "24:00", "12:60", "abc", "", "-1:00"])
def test_until_what_is_no_time_of_day_names_what_was_typed(settings, clock, word):
    with pytest.raises(ConfigError, match=f"--until: '{word}' is not a time such as 20:30"):
        seconds_asked(None, word, settings(), clock)


def test_until_a_time_that_last_night_did_not_have(settings, monkeypatch):
    """2026-10-04 02:30 never was in Melbourne; asked for that evening, it is the next night's."""
    monkeypatch.setenv("TZ", "Australia/Melbourne")
    time.tzset()
    try:
        evening = ManualClock(now=datetime.fromisoformat("2026-10-04T23:00:00+11:00").timestamp())
        assert seconds_asked(None, "02:30", settings(), evening) == pytest.approx(3.5 * 3600)
        before = ManualClock(now=datetime.fromisoformat("2026-10-03T23:00:00+10:00").timestamp())
        with pytest.raises(ConfigError, match="does not exist"):
            seconds_asked(None, "02:30", settings(), before)
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize("key, value, words", [
    ("poll.min_gap_ms", "2000", "supervisor"), ("modbus.address_offset", "-1", "address_offset"),
])
def test_a_plant_that_could_not_be_written_to_safely_is_not(settings, clock, key, value, words):
    from bridge.wiring_control import rules

    told = Settings({key: Origin(value, "test"), "control.enabled": Origin("yes", "test")})
    with pytest.raises(Refused, match=words):
        rules(told).check()


def test_the_watchdog_gives_back_and_begins_nothing_of_the_schedule(tmp_path):
    """It ends within 30 s, and what it began would be left behind by it."""
    clock = Clock()
    with PlantSim(clock, soc_pct=50.0) as plant:
        told = Settings({key: Origin(value, "test") for key, value in {
            "modbus.host": "127.0.0.1", "modbus.port": str(plant.port),
            "run.state_dir": str(tmp_path), "control.enabled": "yes"}.items()})
        counter, where = desk(told, clock), own_link(told, clock)
        counter.keeper.begin(*where, CHARGE, "test")
        counter.table.put([CHARGE._replace(start=clock.now() - 60.0)], "test")
        where[0].close()
        counter.keeper.book._lock.release()  # as the kernel does when the process dies
        assert give_back(told, clock)["state"] == "none"
        assert int.from_bytes(plant._station.image.read(40029, 1), "big") == 0
        assert len(desk(told, clock).table.entries) == 1
