"""``run``, ``once``, ``demo`` and ``status`` as a user runs them."""

from __future__ import annotations

import json
import re
import signal
import socket
import statistics
import subprocess
import sys

import pytest

from bridge.clock import Clock
from bridge.model import Reading
from bridge.sinks.display import display_values
from tests.commands.conftest import ROOT, one_line, until
from tests.ports import free_port

S3_SHOWN = {200: 2800, 201: 15.0, 202: 0, 203: -8540, 204: 11340}


def devices(plant, shelly):
    return ("--host", f"127.0.0.1:{plant.port}", "--shelly-host", f"127.0.0.1:{shelly.port}")


def shown(shelly):
    return {int(key): shelly.values[key] for key in shelly.values}


@pytest.mark.parametrize("transport", ["auto", "ws", "http"])
def test_run_shows_the_plant_on_the_shelly(bridge, plant, shelly, transport):
    process = bridge.start("run", *devices(plant, shelly), "--status-listen", "off", "--shelly-transport", transport)
    assert until(lambda: shown(shelly) == S3_SHOWN)
    code, out, err = bridge.stop(process)
    assert code == 0 and out == ""
    assert len(err.strip().splitlines()) <= 2, err


@pytest.mark.timing
def test_run_ends_within_a_second_of_sigterm_and_of_ctrl_c(bridge, plant, shelly):
    for number in (signal.SIGTERM, signal.SIGINT):
        process = bridge.start("run", *devices(plant, shelly), "--status-listen", "off")
        assert until(lambda: plant.counters.open_connections == 1)
        clock = Clock()
        begun = clock.monotonic()
        code, _, err = bridge.stop(process, number)
        assert code == 0 and "Traceback" not in err
        assert clock.monotonic() - begun < 1.5
        assert until(lambda: plant.counters.open_connections == 0)


def test_cycles_end_the_run(bridge, plant):
    done = bridge("run", "--host", f"127.0.0.1:{plant.port}", "--status-listen", "off", "--cycles", "3", "--print")
    assert done.returncode == 0
    lines = done.stdout.strip().splitlines()
    assert len(lines) == 3 and "importing 8540 W" in lines[0]
    assert plant.counters.requests == 6


@pytest.mark.timing
def test_the_beat_is_steady_with_two_requests_one_connection_and_no_writes_to_disk(bridge, moving_plant, shelly):
    cycles = 8
    process = bridge.start("run", *devices(moving_plant, shelly), "--status-listen", f"127.0.0.1:{free_port()}")
    assert until(lambda: len(moving_plant.log) >= 2 * cycles, cycles + 4)
    written = int(re.search(r"\nwrite_bytes: (\d+)", open(f"/proc/{process.pid}/io").read()).group(1))
    bridge.stop(process)
    requests = [request.at_mono for request in moving_plant.log if request.address == 30000]
    periods = [later - earlier for earlier, later in zip(requests, requests[1:])]
    assert abs(statistics.mean(periods) - 1.0) < 0.01
    assert max(abs(period - 1.0) for period in periods) < 0.05
    assert moving_plant.counters.connections == 1 and moving_plant.counters.max_in_flight == 1
    assert shelly.counters.ws_connections == 1
    assert written == 0


@pytest.mark.timing
def test_every_set_of_five_is_of_one_tick(bridge, moving_plant, shelly):
    process = bridge.start("run", *devices(moving_plant, shelly), "--status-listen", "off")
    assert until(lambda: len(shelly.history) >= 20, 12)
    bridge.stop(process)
    truths = [display_values(Reading(0, 0, "t", **truth.five), 200) for truth in moving_plant.truth]
    state, rounds = {}, []
    for written in shelly.history:
        if rounds and written.mono - rounds[-1][0] > 0.5:
            rounds.append((written.mono, dict(state)))
        elif not rounds:
            rounds.append((written.mono, {}))
        state[int(written.key.split(":")[1])] = written.value
        rounds[-1] = (rounds[-1][0], dict(state))
    for _, values in rounds:
        assert values in truths


def test_status_asks_the_running_bridge(bridge, plant, shelly):
    port = free_port()
    bridge.start("run", *devices(plant, shelly), "--status-listen", f"127.0.0.1:{port}")
    listen = ("--status-listen", f"127.0.0.1:{port}")
    assert until(lambda: bridge("status", *listen).returncode == 0, 8)
    snapshot = json.loads(bridge("status", *listen, "--json").stdout)
    assert snapshot["schema"] == 1 and snapshot["valid"] and snapshot["source"] == "modbus-tcp"
    assert (snapshot["pv_w"], snapshot["soc_pct"], snapshot["battery_charge_w"], snapshot["grid_import_w"],
            snapshot["load_w"]) == (2800, 15.0, 0, 8540, 11340)
    assert snapshot["vc"] == {str(key): value for key, value in S3_SHOWN.items()}
    assert set(snapshot) == {"schema", "at", "source", "age_s", "valid", "reason", "balance_w", "pv_w", "soc_pct",
                             "battery_charge_w", "grid_import_w", "load_w", "load_derived", "vc"}
    words = bridge("status", *listen).stdout
    assert "importing 8540 W" in words and "shelly: ok" in words


def test_status_turns_stale_and_null_when_the_plant_is_gone(bridge, plant, shelly):
    port = free_port()
    process = bridge.start("run", *devices(plant, shelly), "--status-listen", f"127.0.0.1:{port}")
    assert until(lambda: shown(shelly) == S3_SHOWN)
    plant.fault("refuse")
    listen = ("--status-listen", f"127.0.0.1:{port}", "--json")
    assert until(lambda: bridge("status", *listen).returncode == 3, 12)
    snapshot = json.loads(bridge("status", *listen).stdout)
    assert not snapshot["valid"] and "stale" in snapshot["reason"]
    assert snapshot["pv_w"] is None and snapshot["grid_import_w"] is None and set(snapshot["vc"].values()) == {None}
    assert shown(shelly) == S3_SHOWN
    plant.clear()
    clock = Clock()
    begun = clock.monotonic()
    assert until(lambda: json.loads(bridge("status", *listen).stdout)["valid"], 4)
    assert clock.monotonic() - begun < 2.5
    _, _, err = bridge.stop(process)
    assert len(err.strip().splitlines()) <= 4, err


@pytest.mark.timing
def test_a_dead_shelly_never_delays_a_reading(bridge, moving_plant, shelly):
    process = bridge.start("run", *devices(moving_plant, shelly), "--status-listen", "off")
    assert until(lambda: len(shelly.history) > 0)
    shelly.fault("silent")
    before = len(moving_plant.log)
    assert until(lambda: len(moving_plant.log) >= before + 12, 9)
    bridge.stop(process)
    starts = [request.at_mono for request in list(moving_plant.log)[before:] if request.address == 30000]
    periods = [later - earlier for earlier, later in zip(starts, starts[1:])]
    assert max(periods) < 1.05


def test_no_third_party_package_is_needed_over_http(bridge, plant, shelly):
    process = bridge.start("run", *devices(plant, shelly), "--status-listen", "off", python=("-S",))
    assert until(lambda: shown(shelly) == S3_SHOWN)
    bridge.stop(process)
    assert shelly.counters.ws_connections == 0


def test_once_reads_once_and_writes_once(bridge, plant, shelly):
    done = bridge("once", *devices(plant, shelly), "--json")
    assert done.returncode == 0 and json.loads(done.stdout)["grid_import_w"] == 8540
    assert shown(shelly) == S3_SHOWN


def test_once_dry_run_writes_nothing(bridge, plant, shelly):
    assert bridge("once", *devices(plant, shelly), "--dry-run").returncode == 0
    assert not shelly.history and shelly.counters.http_requests == 0


@pytest.mark.parametrize("fault, code", [("sentinel", 4), ("silent", 3), ("exception", 3)])
def test_once_says_which_side_failed(bridge, plant, shelly, fault, code):
    plant.fault(fault)
    done = bridge("once", *devices(plant, shelly))
    if fault == "sentinel":  # one signal without a value for good: the others are shown
        assert done.returncode == 0 and 203 not in {int(w.key[-3:]) for w in shelly.history}
        return
    assert done.returncode == code
    one_line(done.stderr)
    assert not shelly.history


def test_once_names_a_shelly_that_is_not_there(bridge, plant):
    done = bridge("once", "--host", f"127.0.0.1:{plant.port}", "--shelly-host", "127.0.0.1:1")
    assert done.returncode == 5 and "refused" in one_line(done.stderr)


def test_demo_needs_nothing(bridge):
    done = bridge("demo", "--cycles", "2", "--status-listen", "off")
    assert done.returncode == 0
    lines = [line for line in done.stdout.splitlines() if line.startswith("sun ")]
    assert len(lines) == 2


def test_the_clock_at_1970_changes_nothing_on_the_local_path(clock, plant, shelly):
    from bridge.config import Origin, Settings
    from bridge.link.notify import Notifier
    from bridge.service import Service
    from bridge.wiring import feed, sinks

    clock.jump_wall(-clock.now())
    settings = Settings({key: Origin(value, "test") for key, value in {
        "modbus.host": "127.0.0.1", "modbus.port": str(plant.port), "shelly.host": f"127.0.0.1:{shelly.port}",
        "status.listen": "off"}.items()})
    Service(settings, clock, feed(settings, clock), sinks(settings, clock), Notifier({}, "off")).run(3)
    assert shown(shelly) == S3_SHOWN


@pytest.mark.parametrize("argv, code, words", [
    (["run"], 2, "--host"),
    (["run", "--host", "127.0.0.1", "--cycles", "0"], 2, "at least 1"),
    (["status", "--status-listen", "127.0.0.1:1"], 3, "sigen-bridge run"),
    (["status", "--status-listen", "off"], 2, "status.listen"),
    (["config", "check", "--config", "/nonexistent"], 2, "/nonexistent"),
    (["runn"], 2, "did you mean run"),
    (["../run"], 2, "unknown command"),
    (["run", "--host", "x", "--frobnicate"], 2, "frobnicate"),
])
def test_bad_input_is_one_line_and_the_right_code(bridge, argv, code, words):
    done = bridge(*argv)
    assert done.returncode == code and words in one_line(done.stderr)


def test_a_taken_status_port_is_told(bridge, plant):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = bridge("run", "--host", f"127.0.0.1:{plant.port}", "--status-listen", "127.0.0.1:%d" % taken.getsockname()[1])
    assert done.returncode == 2 and "status.listen" in one_line(done.stderr)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_that_is_sent_several_times_at_once_ends_it_cleanly(bridge, plant, number):
    """``timeout`` and ``make`` both pass the signal on: the handler is interrupted by itself."""
    for _ in range(4):
        before = plant.counters.requests
        process = bridge.start("run", "--host", f"127.0.0.1:{plant.port}", "--status-listen", "off", "--poll-interval-s", "0.05")
        assert until(lambda before=before: plant.counters.requests > before + 6)
        for _ in range(8):
            process.send_signal(number)
        _, err = process.communicate(timeout=10)
        assert process.returncode == 0, err


def test_a_signal_that_comes_when_all_is_over_changes_nothing():
    """The interpreter makes signals deadly again before it goes; the exit code would say the bridge was killed."""
    script = (
        "import os\nfrom bridge.clock import Clock\nfrom bridge.service import stop_on_signals\n"
        "class Late:\n"
        "    def __init__(self): self.kill, self.own = os.kill, os.getpid()\n"
        "    def __del__(self): self.kill(self.own, %d), self.kill(self.own, %d)\n"
        "late = Late()\nstop_on_signals(Clock())\n" % (signal.SIGINT, signal.SIGTERM))
    assert subprocess.run([sys.executable, "-c", script], cwd=ROOT, timeout=20).returncode == 0
