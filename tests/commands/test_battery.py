"""``battery`` as a user runs it: in the foreground, through a running bridge, and with processes that are killed."""

from __future__ import annotations

import json
import os
import signal

import pytest

from bridge.clock import Clock
from bridge.sim.plant import PlantSim
from tests.commands.conftest import one_line, until
from tests.ports import free_port

REGISTERS = (40029, 40031, 40032, 40034, 40038)


@pytest.fixture
def plant():
    with PlantSim(Clock(), soc_pct=50.0) as sim:
        yield sim


@pytest.fixture
def battery(bridge, plant, tmp_path):
    """Run ``battery`` against the plant, with control allowed and no bridge beside it."""

    def run(*argv, enabled="yes", **more):
        return bridge("battery", *argv, *settings(plant, tmp_path, enabled), **more)

    return run


def settings(plant, path, enabled="yes", listen="off"):
    return ("--host", f"127.0.0.1:{plant.port}", "--run-state-dir", str(path / "state"), "--control-enabled", enabled,
            "--status-listen", listen)


def registers(plant):
    image = plant._station.image
    return {at: int.from_bytes(image.read(at, 1 if at < 40032 else 2), "big") for at in REGISTERS}


@pytest.mark.slow
def test_a_command_takes_effect_ends_by_itself_and_is_in_the_journal(battery, plant):
    before = registers(plant)
    done = battery("charge", "--kw", "3", "--for", "10s", timeout=40)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "the battery does it" in done.stdout and "its time is over" in done.stdout
    assert registers(plant) == before
    entries = json.loads(battery("history", "--json").stdout)["entries"]
    assert [entry["what"] for entry in entries] == [
        "begin", "write", "write", "write", "effect", "release", "write", "write", "write", "released"]
    shown = battery("history").stdout
    assert "write 40032 charge cap: no limit -> 3000 W (ok)" in shown
    assert "released" in battery("status").stdout


def test_a_dry_run_shows_every_register_and_writes_nothing(battery, plant):
    done = battery("charge", "--kw", "3", "--for", "10s", "--dry-run")
    assert done.returncode == 0
    for text in ("40029  remote EMS", "off -> on", "no limit -> 3000 W", "-> 4 charge, PV first", "and at the end"):
        assert text in done.stdout
    plan = json.loads(battery("discharge", "--w", "1000", "--for", "10s", "--dry-run", "--json").stdout)
    assert [row["register"] for row in plan["enter"]] == [40029, 40034, 40031]
    assert battery("hold", "--for", "20s", "--dry-run", enabled="no").returncode == 0
    assert plant.counters.writes == 0 and not plant.writes


def test_read_only_is_the_default(bridge, plant, tmp_path):
    done = bridge("battery", "charge", "--kw", "3", "--for", "10s", "--host", f"127.0.0.1:{plant.port}",
                  "--run-state-dir", str(tmp_path), "--status-listen", "off")
    assert done.returncode == 8 and "control.enabled" in one_line(done.stderr)
    assert not plant.writes


@pytest.mark.timing
def test_a_plant_that_only_says_yes_gives_exit_8_within_30_s_and_a_release(battery, plant):
    plant.fault("ack_ignored", keep="new")
    begun = Clock().monotonic()
    done = battery("charge", "--kw", "3", "--for", "5m", timeout=60)
    assert done.returncode == 8 and "no effect in 30 s" in done.stdout, done.stdout + done.stderr
    assert Clock().monotonic() - begun < 36
    assert registers(plant)[40029] == 0


@pytest.mark.parametrize("argv, code, words", [
    (("charge", "--for", "10s"), 2, "power is missing"), (("charge", "--kw", "-3", "--for", "10s"), 2, "not within"),
    (("charge", "--kw", "3", "--for", "7h"), 2, "6 h"), (("charge", "--kw", "3", "--for", "2"), 2, "not within"),
    (("charge", "--kw", "3", "--for", "soon"), 2, "not a duration"), (("hold", "--kw", "3", "--for", "20s"), 2, "no power"),
    (("charge", "--kw", "3", "--until", "25:99"), 2, "not a time"), (("schedule",), 2, "FILE"),
    (("schedule", "/nowhere"), 2, "cannot be read"), (("release", "--force"), 8, "--yes"),
    (("charge", "--kw", "3", "--w", "3"), 2, "not allowed"), (("explode",), 2, "invalid choice"),
])
def test_a_wrong_request_is_one_line(battery, plant, argv, code, words):
    done = battery(*argv)
    assert done.returncode == code and words in one_line(done.stderr), done.stderr
    assert not plant.writes


def test_no_plant_is_exit_3_and_one_line(bridge, tmp_path):
    done = bridge("battery", "charge", "--kw", "3", "--for", "10s", "--host", f"127.0.0.1:{free_port()}",
                  "--run-state-dir", str(tmp_path), "--control-enabled", "yes", "--status-listen", "off")
    assert done.returncode == 3 and "refused" in one_line(done.stderr)
    assert not (tmp_path / "lease.json").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_gives_the_battery_back(bridge, plant, tmp_path, number):
    before = registers(plant)
    process = bridge.start("battery", "charge", "--kw", "3", "--for", "10m", *settings(plant, tmp_path))
    assert until(lambda: registers(plant)[40031] == 4)
    code, out, err = bridge.stop(process, number)
    assert code == 0 and "being stopped" in out, out + err
    assert registers(plant) == before


@pytest.mark.parametrize("step", [1, 2, 3, 99])
def test_kill_9_in_the_foreground_is_undone_by_the_watchdog(bridge, battery, plant, tmp_path, step):
    before = registers(plant)
    process = bridge.start("battery", "charge", "--kw", "3", "--for", "10m", *settings(plant, tmp_path))
    assert until(lambda: len(plant.writes) >= min(step, 3))
    process.kill()
    process.communicate(timeout=10)
    done = battery("watch")
    assert done.returncode == 0, done.stderr
    assert registers(plant) == before and not os.path.exists(tmp_path / "state" / "lease.json")
    assert "not resumed" in battery("history").stdout


def test_a_watchdog_leaves_a_living_holder_alone(bridge, battery, plant, tmp_path):
    process = bridge.start("battery", "charge", "--kw", "3", "--for", "10m", *settings(plant, tmp_path))
    assert until(lambda: registers(plant)[40031] == 4)
    count = len(plant.writes)
    assert battery("watch").returncode == 0 and len(plant.writes) == count
    report = json.loads(battery("status", "--json").stdout)
    assert report["state"] == "elsewhere" and report["holder"] == process.pid
    done = battery("hold", "--for", "20s")
    assert done.returncode == 8 and str(process.pid) in one_line(done.stderr)
    done = battery("release")
    assert done.returncode == 0 and registers(plant)[40029] == 0, done.stderr
    assert process.wait(10) == 0


def test_a_plant_left_in_remote_ems_by_somebody_else_is_freed_only_with_force(battery, plant):
    plant.set(40029, 1)
    plant.set(40031, 3)
    assert battery("charge", "--kw", "1", "--for", "10s").returncode == 8
    assert battery("release").returncode == 0 and registers(plant)[40029] == 1
    done = battery("release", "--force", "--yes")
    assert done.returncode == 0 and "remote EMS is off" in done.stdout
    assert registers(plant)[40029] == 0


def test_a_schedule_goes_the_way_that_was_asked_for(battery, plant, tmp_path):
    path = tmp_path / "night.txt"
    path.write_text("2090-12-01T01:00 2h charge 5kW\n2090-12-01T17:30 90m discharge 3kW\n")
    shown = battery("schedule", str(path), "--dry-run")
    assert shown.stdout.splitlines()[0] == "2090-12-01 01:00:00  charge 5000 W for 2 h", shown.stderr
    for way in ("openapi", "mqtt"):
        done = battery("schedule", str(path), "--dry-run", "--via", way, "--cloud-system-id", "ABCDE1700000001",
                       "--sigen-mqtt-host", "127.0.0.1", "--cloud-region", "eu")
        assert done.returncode == 0 and done.stdout.count('"activeMode"') == 2, done.stderr
    done = battery("self-grid", "--for", "60s", "--via", "modbus")
    assert done.returncode == 8 and "only the cloud knows this mode" in one_line(done.stderr)
    assert not plant.writes and not (tmp_path / "state" / "schedule.json").exists()


@pytest.mark.parametrize("argv", [("watch",), ("release",)])
def test_a_dry_run_of_an_end_shows_what_it_would_write_and_writes_nothing(bridge, battery, plant, tmp_path, argv):
    process = bridge.start("battery", "charge", "--kw", "3", "--for", "10m", *settings(plant, tmp_path))
    assert until(lambda: registers(plant)[40031] == 4)
    process.kill()
    process.communicate(timeout=10)
    count = len(plant.writes)
    done = battery(*argv, "--dry-run")
    assert done.returncode == 0 and len(plant.writes) == count
    for text in ("would write", "40031", "4 charge, PV first -> 2 max", "3000 W -> no limit", "on -> off"):
        assert text in done.stdout, done.stdout + done.stderr
    assert battery("release").returncode == 0 and registers(plant)[40029] == 0


def test_a_dry_run_of_force_shows_what_it_would_write_and_writes_nothing(battery, plant):
    plant.set(40029, 1)
    plant.set(40031, 3)
    done = battery("release", "--force", "--yes", "--dry-run")
    assert done.returncode == 0 and "40029 remote EMS: on -> off" in done.stdout, done.stdout + done.stderr
    assert "40031 control mode: 3 charge, grid first -> 2" in done.stdout and not plant.writes


# Through a running bridge


@pytest.fixture
def served(bridge, plant, tmp_path):
    """A bridge that polls the plant and takes commands; returns (process, settings for ``battery``)."""
    token = tmp_path / "token"
    token.write_text("sesame\n")
    listen = f"127.0.0.1:{free_port()}"
    argv = (*settings(plant, tmp_path, listen=listen), "--status-token-file", str(token))
    process = bridge.start("run", *argv)
    assert until(lambda: plant.counters.requests > 2)
    return process, argv


def test_a_running_bridge_does_it_on_its_one_connection(bridge, plant, served):
    process, argv = served
    before = registers(plant)
    done = bridge("battery", "charge", "--kw", "3", "--for", "30s", *argv, timeout=45)
    assert done.returncode == 0 and "effect: seen" in done.stdout, done.stdout + done.stderr
    assert registers(plant)[40032] == 3000 and plant.counters.connections == 1
    assert plant.counters.max_in_flight == 1
    report = json.loads(bridge("battery", "status", "--json", *argv).stdout)
    assert report["state"] == "held" and report["who"] == "cli"
    assert json.loads(bridge("status", "--json", *argv).stdout)["valid"] is True
    done = bridge("battery", "release", *argv)
    assert done.returncode == 0 and registers(plant) == before, done.stderr
    code, _, err = bridge.stop(process)
    assert code == 0, err


def test_a_running_bridge_leads_a_plant_out_of_remote_ems_on_its_one_connection(bridge, plant, served):
    _, argv = served
    plant.set(40029, 1)
    plant.set(40031, 3)
    assert bridge("battery", "release", "--force", "--dry-run", *argv).returncode == 0 and not plant.writes
    done = bridge("battery", "release", "--force", "--yes", *argv)
    assert done.returncode == 0 and "remote EMS is off" in done.stdout, done.stderr
    assert registers(plant)[40029] == 0 and plant.counters.connections == 1


@pytest.mark.slow
def test_a_short_command_that_ends_while_its_effect_is_waited_for_is_judged_by_it(bridge, plant, served):
    _, argv = served
    plant.fault("ack_ignored", keep="new")
    done = bridge("battery", "charge", "--kw", "3", "--for", "10s", *argv, timeout=45)
    assert done.returncode == 8 and "no effect was seen" in done.stdout, done.stdout + done.stderr


def test_without_the_token_the_running_bridge_takes_nothing(bridge, plant, served, tmp_path):
    _, argv = served
    done = bridge("battery", "charge", "--kw", "3", "--for", "30s", *argv[:-2])
    assert done.returncode == 8 and "status.token" in one_line(done.stderr)
    assert not plant.writes


def test_a_stop_of_the_service_gives_the_battery_back(bridge, plant, served):
    process, argv = served
    before = registers(plant)
    assert bridge("battery", "charge", "--kw", "3", "--for", "10m", *argv, timeout=45).returncode == 0
    code, _, err = bridge.stop(process)
    assert code == 0 and registers(plant) == before, err


def test_a_killed_service_restores_at_its_next_start_before_it_reads(bridge, plant, served):
    process, argv = served
    before = registers(plant)
    assert bridge("battery", "charge", "--kw", "3", "--for", "10m", *argv, timeout=45).returncode == 0
    process.kill()
    process.communicate(timeout=10)
    assert registers(plant)[40029] == 1
    plant.log.clear()
    process = bridge.start("run", *argv)
    assert until(lambda: registers(plant) == before)
    last_write = max(index for index, one in enumerate(plant.log) if one.function in (6, 16))
    assert not any(one.address == 30000 for one in list(plant.log)[:last_write]), "it polled before it restored"
    bridge.stop(process)


@pytest.mark.slow
def test_a_schedule_is_worked_off_by_the_running_bridge(bridge, plant, served, tmp_path):
    _, argv = served
    start = Clock().now() + 3
    rows = [{"action": "charge", "start": start, "minutes": 0.2, "power_w": 2000},
            {"action": "discharge", "start": start + 12, "minutes": 10, "power_w": 1000, "priority": "battery"}]
    (tmp_path / "plan.json").write_text(json.dumps(rows))
    done = bridge("battery", "schedule", str(tmp_path / "plan.json"), *argv)
    assert done.returncode == 0 and done.stdout.count("to come") == 2, done.stderr
    assert until(lambda: registers(plant)[40031] == 4, 8)
    assert until(lambda: registers(plant)[40031] == 6, 20)
    assert bridge("battery", "release", *argv).returncode == 0
    assert registers(plant)[40029] == 0


def test_a_bridge_that_only_reads_says_so(bridge, plant, tmp_path):
    listen = f"127.0.0.1:{free_port()}"
    argv = settings(plant, tmp_path, "no", listen)
    bridge.start("run", *argv)
    assert until(lambda: plant.counters.requests > 2)
    done = bridge("battery", "charge", "--kw", "3", "--for", "30s", *argv)
    assert done.returncode == 8 and "only reads" in one_line(done.stderr)
    assert not plant.writes


@pytest.mark.timing
def test_a_command_says_that_it_suspends_the_tariff_that_was_pushed(bridge, plant, tmp_path):
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "tariff.json").write_text('{"last": {"where": "x"}}')
    process = bridge.start("battery", "charge", "--kw", "3", "--for", "1m", *settings(plant, tmp_path))
    first, second = process.stdout.readline(), process.stdout.readline()
    assert first.startswith("charge 3")
    assert "Sigen AI and time of use are suspended: the plant does not follow the tariff that was pushed" in second
    assert bridge.stop(process, signal.SIGINT)[0] == 0


@pytest.mark.timing
def test_a_terminal_that_is_closed_gives_the_battery_back(bridge, plant, tmp_path):
    before = registers(plant)
    process = bridge.start("battery", "charge", "--kw", "3", "--for", "1h", *settings(plant, tmp_path))
    assert until(lambda: registers(plant)[40031] == 4, 20)
    process.send_signal(signal.SIGHUP)
    process.send_signal(signal.SIGHUP)  # the shell sends one, and the kernel another
    process.wait(30)
    assert registers(plant) == before and not (tmp_path / "state" / "lease.json").exists()
