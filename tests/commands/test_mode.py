"""``mode`` as a user runs it."""

from __future__ import annotations

import json

import pytest

from bridge.clock import Clock
from bridge.commands.mode import OpenApiModes, change_mode
from bridge.config import Origin, Settings
from bridge.errors import RateLimited
from bridge.peers.sigen_errors import ApiUnavailable
from bridge.peers.sigen_modes import mode_named
from bridge.sim.sigen_cloud import SigenCloudSim
from tests.commands.cloud_desk import STATION, Desk
from tests.commands.conftest import one_line
from tests.peers.cloud_bench import cloud_bench

CREDENTIALS = ("SIGEN_APP_KEY", "SIGEN_APP_SECRET", "SIGEN_SYSTEM_ID", "SIGEN_REGION")


@pytest.fixture
def sim():
    with SigenCloudSim(Clock()) as simulator:
        yield simulator


@pytest.fixture
def desk(bridge, sim, tmp_path):
    return Desk(bridge, sim, tmp_path / "state")


@pytest.fixture
def bench(tmp_path):
    with cloud_bench(tmp_path) as bench:
        yield bench


def door(bench):
    """Return the modes of the bench's station, on the bench's own clock."""
    settings = Settings({
        "cloud.base_url": Origin(bench.sim.base_url, "test"), "cloud.system_id": Origin(STATION, "test"),
        "run.state_dir": Origin(bench.path, "test"),
    })
    return OpenApiModes(bench.client(), settings)


def change(bench, label, wait=False, as_json=False):
    return change_mode(door(bench), mode_named(label), bench.clock, wait, as_json)


def test_list_needs_no_cloud_and_says_what_can_be_set(bridge):
    done = bridge("mode", "list")
    assert done.returncode == 0 and len(done.stdout.splitlines()) == 8
    modes = {row["word"]: row for row in json.loads(bridge("mode", "list", "--json").stdout)["modes"]}
    assert {word for word, row in modes.items() if row["settable"]} == {"msc", "ffg", "nbi"}
    assert {word: row["number"] for word, row in modes.items()} == {
        "msc": 0, "ai": 1, "tou": 2, "ffg": 5, "vpp": 6, "remote": 7, "nbi": 8, "custom": 9}
    assert all(row["reason"] for row in modes.values() if not row["settable"])


@pytest.mark.parametrize("number, line", [
    (0, "0 Maximum self-consumption (msc)"), (6, "6 VPP"), (8, "8 Northbound interface (NBI)"), (33, "33 unknown mode 33"),
])
def test_get_prints_number_and_label(desk, sim, number, line):
    sim.world.stations[STATION].mode = number
    done = desk.signed_in()("mode", "get")
    assert done.returncode == 0 and done.stdout.strip().startswith(line) and done.stderr == ""


def test_get_for_machines_and_not_twice_in_five_minutes(desk, sim):
    content = json.loads(desk.signed_in()("mode", "get", "--json").stdout)
    assert content == {"system_id": STATION, "number": 0, "word": "msc", "label": "Maximum self-consumption"}
    done = desk("mode", "get")
    assert done.returncode == 7 and "possible again in" in one_line(done.stderr)
    assert desk.asked() == ["mode"]


def test_set_says_what_was_before_and_that_the_after_is_not_known_yet(desk, sim):
    done = desk.signed_in()("mode", "set", "full", "feed-in", timeout=40)
    assert done.returncode == 0 and done.stderr == "", done.stderr
    before, asked, after = done.stdout.splitlines()
    assert before == "before  0 Maximum self-consumption (msc)"
    assert asked.startswith("asked   5 Fully fed to grid: the cloud took it")
    assert after.startswith("after   not known yet:") and "300 s" in after and "mode get" in after
    assert sim.world.stations[STATION].mode == 5
    assert desk.asked() == ["mode", "setMode"]


def test_nbi_needs_a_yes(desk, sim):
    done = desk.signed_in()("mode", "set", "nbi")
    assert done.returncode == 8 and "--yes" in one_line(done.stderr) and desk.asked() == []


@pytest.mark.parametrize("label, words", [
    ("vpp", "provider"), ("6", "provider"), ("tou", "mySigen app"), ("ai", "mySigen app"), ("custom", "profile"),
    ("remote", "Modbus"),
])
def test_modes_that_are_not_ours_to_set_are_refused_even_with_yes(desk, sim, label, words):
    for extra in ((), ("--dry-run",)):
        done = desk("mode", "set", label, "--yes", *extra)
        assert done.returncode == 8 and done.stdout == ""
        assert words in one_line(done.stderr) and "nbi (8)" in done.stderr
    assert not sim.log


@pytest.mark.parametrize("argv, without, words", [
    (("set", "turbo"), (), "msc (0 Maximum self-consumption)"),
    (("set", "3"), (), "the choices are"),
    (("set", "-8"), (), "the choices are"),
    (("set",), (), "LABEL_OR_NUMBER"),
    (("put",), (), "get"),
    ((), (), "get|list|set"),
    (("get", "--dry-run"), (), "--dry-run"),
    (("get",), CREDENTIALS, "cloud.app_key"),
    (("set", "msc"), CREDENTIALS, "cloud.app_key"),
    (("get",), ("SIGEN_SYSTEM_ID",), "cloud.system_id"),
    (("set", "msc"), ("SIGEN_SYSTEM_ID",), "cloud.system_id"),
    (("set", "msc", "--dry-run"), ("SIGEN_SYSTEM_ID",), "cloud.system_id"),
])
def test_bad_input_is_one_line_and_exit_2_and_asks_nobody(desk, sim, argv, without, words):
    done = desk("mode", *argv, without=without)
    assert done.returncode == 2 and done.stdout == "", done.stderr
    assert words in one_line(done.stderr)
    assert not sim.log


def test_a_dry_run_shows_both_spellings_and_sends_nothing(desk, sim):
    body = f'{{"systemId":"{STATION}","energyStorageOperationMode":8}}'
    done = desk("mode", "set", "nbi", "--dry-run")
    assert done.returncode == 0 and done.stdout.splitlines() == [
        f"PUT {sim.base_url}/openapi/instruction/settings", body,
        f"or, after HTTP 404 or 405: POST {sim.base_url}/openapi/system/operationMode/switch", body,
    ]
    requests = json.loads(desk("mode", "set", "nbi", "--dry-run", "--json").stdout)["requests"]
    assert [one["method"] for one in requests] == ["PUT", "POST"] and requests[0]["body"] == json.loads(body)
    assert not sim.log and not desk.path.exists()


def test_a_login_that_fails_sets_nothing(desk, sim):
    done = desk("mode", "set", "msc", env={"SIGEN_APP_SECRET": "wrong-secret"})
    assert done.returncode == 6 and "11003" in one_line(done.stderr) and desk.asked() == []


def test_the_spelling_that_worked_comes_first_from_then_on(bench):
    assert [one.method for one in door(bench).requests(mode_named("ffg"))] == ["PUT", "POST"]
    bench.sim.switch_off("setMode", 405)
    change(bench, "ffg")
    assert [one.method for one in door(bench).requests(mode_named("ffg"))] == ["POST", "PUT"]


def test_with_wait_the_mode_is_read_again_and_compared(bench, capsys):
    begun = bench.clock.monotonic()
    assert change(bench, "nbi", wait=True) == 0
    assert "after   8 Northbound interface (NBI)" in capsys.readouterr().out
    assert 299 <= bench.clock.monotonic() - begun <= 310
    assert bench.sim.count("mode") == 2


def test_a_plant_that_does_not_follow_is_an_error(bench, capsys):
    bench.clock.at_tick.append(lambda: setattr(bench.sim.world.stations[STATION], "mode", 2))
    with pytest.raises(ApiUnavailable, match="the plant is in 2 Time of use"):
        change(bench, "msc", wait=True, as_json=True)
    report = json.loads(capsys.readouterr().out)
    assert report["verified"] is False and report["asked"] == 0 and report["after"]["number"] == 2
    assert ApiUnavailable.exit_code == 6


def test_a_mode_that_was_read_a_moment_ago_is_not_known_before(bench, capsys):
    door(bench).get()
    assert change(bench, "ffg", as_json=True) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["before"] is None and report["after"] is None and report["verified"] is None
    assert "again in" in report["note"] and report["spelling"] == "put-settings"


def test_a_limit_on_the_change_itself_is_raised(bench, capsys):
    bench.sim.fail("setMode", "status", status=429)
    with pytest.raises(RateLimited):
        change(bench, "ffg")
    assert "asked" not in capsys.readouterr().out


def test_a_look_afterwards_that_fails_does_not_hide_that_the_cloud_took_it(bench, capsys):
    door(bench).get()
    bench.clock.advance(295)  # the read before comes too early, the one afterwards in time
    bench.sim.fail("mode", "status", status=500)
    assert change(bench, "ffg") == 0
    out = capsys.readouterr().out
    assert "the cloud took it" in out and "after   not known yet" in out
