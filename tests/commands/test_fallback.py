"""Modbus is lost, the cloud steps in, Modbus comes back: with real processes and real time."""

from __future__ import annotations

import json
import urllib.request

import pytest

from bridge.clock import Clock
from bridge.sim.plant import PlantSim
from bridge.sim.sigen_cloud import SigenCloudSim
from tests.commands.conftest import one_line, until
from tests.commands.test_run import S3_SHOWN, devices, shown
from tests.peers.cloud_bench import KEY, STATION
from tests.ports import free_port

pytestmark = pytest.mark.timing
CLOUD_VALUES = (1000, 55.5, 400, -200, 400)  # pv, soc, battery, grid (+ import), load
CLOUD_SHOWN = {200: 1000, 201: 55.5, 202: 400, 203: 200, 204: 400}


@pytest.fixture
def cloud():
    with SigenCloudSim(Clock(), values=lambda: CLOUD_VALUES) as simulator:
        yield simulator


@pytest.fixture
def cloud_settings(cloud, tmp_path):
    return (
        "--cloud-base-url", cloud.base_url, "--cloud-region", "eu", "--cloud-system-id", STATION,
        "--cloud-app-key", KEY.app_key, "--run-state-dir", str(tmp_path / "state"),
    ), {"SIGEN_APP_SECRET": KEY.app_secret}


def get(port, path):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=3) as answer:
        return json.load(answer)


@pytest.mark.parametrize("how", ["refuse", "silent"])
def test_within_twelve_seconds_the_cloud_and_within_three_back_home(bridge, plant, shelly, cloud, cloud_settings, how):
    argv, env = cloud_settings
    port, clock = free_port(), Clock()
    process = bridge.start("run", *devices(plant, shelly), *argv, "--status-listen", f"127.0.0.1:{port}", env=env)
    assert until(lambda: shown(shelly) == S3_SHOWN)
    memory_before = rss_mib(process.pid)
    assert cloud.count("energyFlow") == 0
    plant.fault(how)
    begun = clock.monotonic()
    assert until(lambda: shown(shelly) == CLOUD_SHOWN, 14)
    assert 9.0 < clock.monotonic() - begun < 12.5
    snapshot = get(port, "/v1/snapshot")
    assert snapshot["source"] == "cloud" and snapshot["valid"] and snapshot["grid_import_w"] == -200
    assert get(port, "/healthz")["failover"]["state"] == "cloud"
    assert get(port, "/latest")["griW"] == 200
    plant.clear()
    begun = clock.monotonic()
    assert until(lambda: shown(shelly) == S3_SHOWN, 5)
    assert clock.monotonic() - begun < 3.0
    assert get(port, "/v1/snapshot")["source"] == "modbus-tcp"
    assert cloud.count("energyFlow") == 1
    print(f"memory before {memory_before:.1f} MiB, after the fallback {rss_mib(process.pid):.1f} MiB")
    _, _, err = bridge.stop(process)
    assert env["SIGEN_APP_SECRET"] not in err and len(err.strip().splitlines()) <= 8, err


def rss_mib(pid):
    with open(f"/proc/{pid}/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS")) / 1024


def test_the_small_process_does_not_load_requests_before_it_falls_back(bridge, plant, cloud_settings):
    argv, env = cloud_settings
    done = bridge("run", "--host", f"127.0.0.1:{plant.port}", *argv, "--status-listen", "off", "--cycles", "1",
                  python=("-X", "importtime"), env=env)
    assert done.returncode == 0
    assert "bridge.sources.dual" in done.stderr and "| requests" not in done.stderr.replace("  ", " ")
    assert "urllib3" not in done.stderr


def test_a_hanging_cloud_never_delays_a_modbus_probe(bridge, moving_plant, cloud, cloud_settings):
    argv, env = cloud_settings
    cloud.fail("energyFlow", "hang", times=5)
    process = bridge.start("run", "--host", f"127.0.0.1:{moving_plant.port}", *argv, "--status-listen", "off",
                           "--failover-fall-after-s", "2", env=env)
    assert until(lambda: len(moving_plant.log) > 2)
    moving_plant.fault("exception", code=4)
    before = len(moving_plant.log)
    assert until(lambda: len(moving_plant.log) >= before + 8, 14)
    bridge.stop(process)
    starts = [request.at_mono for request in list(moving_plant.log)[before:]]
    gaps = [later - earlier for earlier, later in zip(starts, starts[1:])]
    assert max(gaps) < 1.3


def test_a_hanging_plant_never_delays_the_cloud(bridge, shelly, cloud, cloud_settings):
    argv, env = cloud_settings
    with PlantSim(Clock(), scenario="s3") as plant:
        plant.fault("silent")
        bridge.start("run", *devices(plant, shelly), *argv, "--status-listen", "off",
                     "--failover-fall-after-s", "2", env=env)
        assert until(lambda: shown(shelly) == CLOUD_SHOWN, 12)


def test_without_a_cloud_values_go_stale_and_nothing_is_invented(bridge, plant, shelly):
    port = free_port()
    process = bridge.start("run", *devices(plant, shelly), "--status-listen", f"127.0.0.1:{port}")
    assert until(lambda: shown(shelly) == S3_SHOWN)
    plant.fault("refuse")
    assert until(lambda: get(port, "/v1/snapshot")["valid"] is False, 9)
    assert get(port, "/v1/snapshot")["pv_w"] is None and shown(shelly) == S3_SHOWN
    bridge.stop(process)


def test_an_unbalanced_cloud_sample_is_not_displayed(bridge, shelly, cloud, cloud_settings):
    argv, env = cloud_settings
    impossible = (0, 50.0, 10_600, -11_000, 400)
    with SigenCloudSim(Clock(), values=lambda: impossible) as bad:
        argv = ("--cloud-base-url", bad.base_url, *argv[2:])
        done = bridge("once", "--source", "cloud", "--shelly-host", f"127.0.0.1:{shelly.port}", *argv, env=env)
    assert done.returncode == 4 and "balance" in one_line(done.stderr)
    assert not shelly.history


def test_once_from_the_cloud(bridge, shelly, cloud, cloud_settings):
    argv, env = cloud_settings
    done = bridge("once", "--source", "cloud", "--shelly-host", f"127.0.0.1:{shelly.port}", *argv, "--json", env=env)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["source"] == "cloud" and shown(shelly) == CLOUD_SHOWN
    again = bridge("once", "--source", "cloud", *argv, env=env)
    assert again.returncode == 7 and cloud.count("energyFlow") == 1


def test_cloud_only_refuses_a_period_under_five_minutes(bridge, cloud_settings):
    argv, env = cloud_settings
    done = bridge("run", "--source", "cloud", "--poll-interval-s", "60", *argv, env=env)
    assert done.returncode == 7 and "300" in one_line(done.stderr)


def test_fifty_kills_make_one_call_and_one_login(bridge, cloud, cloud_settings):
    argv, env = cloud_settings
    for _ in range(50):
        process = bridge.start("run", "--source", "cloud", *argv, "--status-listen", "off", env=env)
        if cloud.count("energyFlow"):
            Clock().wait(0.3)  # time enough to do harm
        else:
            until(lambda: cloud.count("energyFlow") >= 1, 9)
        process.kill()
        process.communicate()
    assert cloud.count("energyFlow") == 1 and cloud.count("login") <= 2


def test_the_relay_serves_the_keys_of_the_worker(bridge, cloud, cloud_settings):
    argv, env = cloud_settings
    port = free_port()
    bridge.start("relay", "serve", *argv, "--status-listen", f"127.0.0.1:{port}", env=env)

    def answer():
        try:
            return get(port, "/latest")
        except OSError:
            return None

    assert until(lambda: answer() is not None, 12)
    content = answer()
    assert {key: content[key] for key in ("pvW", "socPc", "batW", "griW", "loadW")} == {
        "pvW": 1000, "socPc": 55.5, "batW": 400, "griW": 200, "loadW": 400}
    assert abs(content["ts"] / 1000 - Clock().now()) < 30
    for _ in range(5):
        get(port, "/refresh")
    assert cloud.count("energyFlow") == 1


def test_missing_cloud_settings_are_one_line(bridge):
    done = bridge("run", "--source", "cloud")
    assert done.returncode == 2 and "cloud" in one_line(done.stderr)
