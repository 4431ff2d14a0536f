"""``mqtt listen``, ``mqtt publish``, ``run`` with MQTT in and out, ``fleet status``: real programs, a real broker."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import urllib.request

import pytest

from bridge.clock import Clock
from bridge.link.broker import Broker, Tls
from bridge.sim.sigen_cloud import SigenCloudSim
from bridge.sim.sigen_mqtt import SigenMqttSim
from tests.commands.conftest import one_line, until
from tests.commands.test_run import S3_SHOWN, devices, shown
from tests.mqtt_broker import MUTUAL, Mosquitto, access_rules, passwords, tls_lines
from tests.peers.cloud_bench import KEY, STATION
from tests.peers.test_sigen_mqtt_session import ACL
from tests.ports import free_port
from tests.sinks.ha_discovery import check

pytestmark = pytest.mark.needs("mosquitto", "mosquitto_sub", "mosquitto_pub", "openssl")
VALUES = (1000.0, 55.5, 400.0, -200.0, 400.0)  # pv, soc, battery, grid (+ import), load
PUSHED_SHOWN = {200: 1000, 201: 55.5, 202: 400, 203: 200, 204: 400}
NEVER_SHOWN = (KEY.app_secret, "tok-sim-", "Bearer")


@pytest.fixture
def broker(tmp_path):
    with Mosquitto(tmp_path / "broker", "allow_anonymous true") as started:
        yield started


@pytest.fixture(scope="module")
def vendor(tmp_path_factory, pki):
    path = tmp_path_factory.mktemp("vendor")
    pki.vendor = pki.certificate("VENDOR")
    with Mosquitto(path, *tls_lines(pki, *MUTUAL), f"acl_file {access_rules(path, ACL)}") as started:
        yield started


class Vendor:
    """The OpenAPI and the pushes of one simulated cloud, with the flags and variables that point at them."""

    def __init__(self, cloud, pushes, broker, pki, tmp_path):
        self.cloud, self.pushes = cloud, pushes
        certificate, key = pki.client
        self.argv = (
            "--cloud-base-url", cloud.base_url, "--cloud-region", "eu", "--cloud-system-id", STATION,
            "--cloud-app-key", KEY.app_key, "--run-state-dir", str(tmp_path / "state"),
            "--sigen-mqtt-host", f"127.0.0.1:{broker.port}", "--sigen-mqtt-ca", pki.ca,
            "--sigen-mqtt-cert", certificate, "--sigen-mqtt-key", key,
        )
        self.env = {"SIGEN_APP_SECRET": KEY.app_secret}


@pytest.fixture
def cloud(vendor, pki, tmp_path):
    clock = Clock()
    with SigenCloudSim(clock, values=lambda: VALUES) as sim:
        broker = Broker("127.0.0.1", vendor.port, Tls(pki.ca, *pki.vendor))
        with SigenMqttSim(clock, broker, sim.world, sim.flow, period_s=0.5) as pushes:
            yield Vendor(sim, pushes, vendor, pki, tmp_path)


def test_listen_prints_a_line_a_message(bridge, cloud):
    done = bridge("mqtt", "listen", "--for", "3s", *cloud.argv, env=cloud.env)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) >= 4 and f"change {STATION} systemStatus=running" in done.stdout
    assert any(line.startswith(f"period {STATION} pvPowerW=1000.0 gridActivePowerW=-200.0") for line in lines)
    assert not any(secret in done.stdout + done.stderr for secret in NEVER_SHOWN)


def test_listen_as_json(bridge, cloud):
    done = bridge("mqtt", "listen", "--for", "2s", "--json", *cloud.argv, env=cloud.env)
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0 and {"period", "change"} <= {row["kind"] for row in rows}
    assert rows[0]["order"] == "openapi" and rows[0]["values"]["storageSOC%"] == 55.5 if rows[0]["kind"] == "period" else True


def test_listen_goes_on_after_the_socket_was_dropped(bridge, pki, tmp_path, monkeypatch):
    """30 s are waited after a loss; the pause is real, so it is shortened from outside."""
    clock, port = Clock(), free_port()
    lines = ("allow_anonymous true",)
    with SigenCloudSim(clock, values=lambda: VALUES) as sim:
        argv = ("--cloud-base-url", sim.base_url, "--cloud-system-id", STATION, "--cloud-app-key", KEY.app_key, "--cloud-region",
                "eu", "--run-state-dir", str(tmp_path / "s"), "--sigen-mqtt-host", f"127.0.0.1:{port}", "--sigen-mqtt-tls", "no")
        first = Mosquitto(tmp_path / "b", *lines, port=port).start()
        code = ("import sys\nfrom bridge.peers import sigen_mqtt_feed as feed\nfeed.CONNECTION_S = 0.5\n"
                "from bridge.cli import main\nsys.exit(main(sys.argv[1:]))")
        process = subprocess.Popen([sys.executable, "-c", code, "mqtt", "listen", "--for", "60s", *argv], text=True,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                   env=bridge.environment(SIGEN_APP_SECRET=KEY.app_secret))
        bridge.running.append(process)
        pushes = SigenMqttSim(clock, Broker("127.0.0.1", port), sim.world, sim.flow, period_s=0.3).start()
        got = []
        threading.Thread(target=lambda: got.extend(iter(process.stdout.readline, "")), daemon=True).start()
        collected = []
        threading.Thread(target=lambda: collected.extend(iter(process.stderr.readline, "")), daemon=True).start()
        assert until(lambda: any("first-message" in line for line in collected), 8)
        pushes.stop()
        first.stop()
        again = SigenMqttSim(clock, Broker("127.0.0.1", port), sim.world, sim.flow, period_s=0.3)
        with Mosquitto(tmp_path / "b", *lines, port=port), again:
            assert until(lambda: len(again.activations) >= 3, 8)
            assert until(lambda: any("state=ok" in line for line in collected), 8)
            process.terminate()
            assert process.wait(20) == 0
    assert sum("state=failed" in line for line in collected) == 1 and any("state=ok" in line for line in collected)


def test_listen_says_when_nothing_came_and_when_nobody_answers(bridge, cloud):
    cloud.cloud.world.stations[STATION].onboarded = False  # the cloud is then silent
    done = bridge("mqtt", "listen", "--for", "2s", *cloud.argv, env=cloud.env)
    assert done.returncode == 6 and "nothing was pushed; the broker took us (token)" in done.stdout
    closed = [*cloud.argv, "--sigen-mqtt-host", f"127.0.0.1:{free_port()}"]
    done = bridge("mqtt", "listen", "--for", "1s", *closed, env=cloud.env)
    assert done.returncode == 6 and "connection refused" in done.stderr and "Traceback" not in done.stderr


def web(port, path):
    """Return what a page of the bridge says; raises HTTPError for anything but 200."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
        return answer.read().decode()


@pytest.mark.parametrize(("change", "words"), [
    (("--sigen-mqtt-ca", "/nowhere.pem"), "CA file /nowhere.pem"), (("--cloud-app-key", ""), "cloud.app_key"),
    (("--cloud-system-id", "a/b"), "cloud.system_id"), (("--sigen-mqtt-aliases", "x"), "sigen_mqtt.aliases")])
def test_a_mistake_in_the_settings_is_one_line_and_exit_2(bridge, cloud, change, words):
    done = bridge("mqtt", "listen", "--for", "5s", "--run-log-level", "error", *cloud.argv, *change, env=cloud.env)
    assert done.returncode == 2 and words in one_line(done.stderr)


def test_the_app_identifier_is_taken_and_said_to_be_of_no_use(bridge, cloud):
    """Two clients' documents ask for it, and neither sends it."""
    done = bridge("mqtt", "listen", "--for", "2s", *cloud.argv, "--sigen-mqtt-app-identifier", "my-app-id", env=cloud.env)
    assert "event=unused-setting name=sigen_mqtt.app_identifier" in done.stderr and "my-app-id" not in done.stderr
    assert done.returncode == 0


def test_run_from_the_push_shows_it_on_the_shelly(bridge, shelly, cloud):
    port = free_port()
    process = bridge.start("run", "--source", "mqtt", "--shelly-host", f"127.0.0.1:{shelly.port}", *cloud.argv,
                           "--poll-interval-s", "1", "--status-listen", f"127.0.0.1:{port}", env=cloud.env)
    assert until(lambda: shown(shelly) == PUSHED_SHOWN, 10)
    snapshot = json.loads(bridge("status", "--json", "--status-listen", f"127.0.0.1:{port}").stdout)
    assert snapshot["source"] == "mqtt" and snapshot["valid"] and snapshot["load_derived"]
    health = json.loads(web(port, "/healthz"))
    assert health["failover"] is None and health["sigen_mqtt"]["system"]["systemStatus"] == "running"
    assert "sigen_bridge_reading_valid 1" in web(port, "/metrics") and "failover" not in web(port, "/metrics")
    assert "Sigenergy MQTT" in web(port, "/")
    told = bridge("status", "--status-listen", f"127.0.0.1:{port}").stdout
    assert "\npushes   live, " in told and "onOffGridStatus on" in told
    assert cloud.cloud.count("energyFlow") == 0
    code, _, err = bridge.stop(process)
    assert code == 0 and len(err.splitlines()) <= 8 and not any(secret in err for secret in NEVER_SHOWN)


@pytest.mark.timing
def test_the_push_stands_in_failover_before_the_poll(bridge, plant, shelly, cloud):
    process = bridge.start("run", *devices(plant, shelly), *cloud.argv, "--status-listen", "off",
                           "--failover-fall-after-s", "8", env=cloud.env)
    assert until(lambda: shown(shelly) == S3_SHOWN)
    plant.fault("refuse")
    assert until(lambda: shown(shelly) == PUSHED_SHOWN, 25)
    assert cloud.cloud.count("energyFlow") == 0  # the station's one call in five minutes is still to be had
    plant.clear()
    assert until(lambda: shown(shelly) == S3_SHOWN, 6)
    bridge.stop(process)


def test_the_small_process_loads_no_mqtt_until_it_is_wanted(bridge, plant, cloud, broker):
    done = bridge("run", "--host", f"127.0.0.1:{plant.port}", *cloud.argv, "--status-listen", "off", "--cycles", "1",
                  python=("-X", "importtime"), env=cloud.env)
    assert done.returncode == 0 and "bridge.sources.mqtt" in done.stderr and "paho" not in done.stderr
    done = bridge("run", "--host", f"127.0.0.1:{plant.port}", "--status-listen", "off", "--cycles", "1",
                  python=("-X", "importtime"))
    assert "mqtt" not in done.stderr and "bridge.loop" in done.stderr


def test_run_publishes_for_third_parties_and_says_goodbye(bridge, moving_plant, broker):
    process = bridge.start("run", "--host", f"127.0.0.1:{moving_plant.port}", "--mqtt-host", f"127.0.0.1:{broker.port}",
                           "--mqtt-site", "home", "--status-listen", "off")
    rows = broker.sub("sigen-bridge/home/state", count=3, wait_s=15)
    assert len(rows) == 3 and len(set(rows)) == 3
    seen = broker.retained()
    assert seen["sigen-bridge/home/availability"] == "online"
    check("homeassistant/device/sigen-bridge-home/config", json.loads(seen["homeassistant/device/sigen-bridge-home/config"]))
    code, _, _ = bridge.stop(process)
    assert code == 0 and broker.retained()["sigen-bridge/home/availability"] == "offline"


def test_a_killed_run_is_shown_as_offline_by_its_last_will(bridge, plant, broker):
    process = bridge.start("run", "--host", f"127.0.0.1:{plant.port}", "--mqtt-host", f"127.0.0.1:{broker.port}",
                           "--mqtt-site", "home", "--status-listen", "off")
    assert broker.sub("sigen-bridge/home/availability", wait_s=10) == [("sigen-bridge/home/availability", "online")]
    process.kill()
    assert until(lambda: broker.retained()["sigen-bridge/home/availability"] == "offline", 8)


def test_publish_shows_or_sends_one_snapshot(bridge, plant, broker):
    argv = ("mqtt", "publish", "--host", f"127.0.0.1:{plant.port}", "--mqtt-host", f"127.0.0.1:{broker.port}",
            "--mqtt-site", "shed", "--status-listen", "off")
    done = bridge(*argv, "--dry-run", "--json")
    rows = {row["topic"]: row for row in map(json.loads, done.stdout.splitlines())}
    assert done.returncode == 0 and rows["sigen-bridge/shed/state"]["payload"]["grid_import_w"] == 8540
    assert all(row["retain"] for row in rows.values()) and broker.retained() == {}
    done = bridge(*argv)
    assert done.returncode == 0 and "published 2 messages" in done.stdout
    seen = broker.retained()
    assert set(seen) == set(rows) and json.loads(seen["sigen-bridge/shed/state"])["pv_w"] == 2800
    assert plant.counters.writes == 0


def test_publish_takes_the_running_bridges_snapshot_and_leaves_its_connection_alone(bridge, plant, broker):
    port = free_port()
    process = bridge.start("run", "--host", f"127.0.0.1:{plant.port}", "--status-listen", f"127.0.0.1:{port}")
    assert until(lambda: len(plant.log) > 4)
    connections = plant.counters.connections
    done = bridge("mqtt", "publish", "--host", f"127.0.0.1:{plant.port}", "--mqtt-host", f"127.0.0.1:{broker.port}",
                  "--mqtt-site", "home", "--status-listen", f"127.0.0.1:{port}")
    assert done.returncode == 0 and "sigen-bridge/home/state" in broker.retained()
    assert plant.counters.connections == connections
    bridge.stop(process)


def test_publish_without_a_broker_or_with_a_wrong_password(bridge, plant, tmp_path):
    argv = ("mqtt", "publish", "--host", f"127.0.0.1:{plant.port}", "--status-listen", "off")
    done = bridge(*argv)
    assert done.returncode == 2 and "mqtt.host" in one_line(done.stderr)
    word = tmp_path / "word"
    word.write_text("guess")
    path = tmp_path / "guarded"
    path.mkdir()
    with Mosquitto(path, f"password_file {passwords(path, bob='secret')}") as broker:
        done = bridge(*argv, "--mqtt-host", f"127.0.0.1:{broker.port}", "--mqtt-username", "bob", "--mqtt-password-file", str(word))
    assert done.returncode == 6 and "refused the login" in one_line(done.stderr) and "guess" not in done.stderr


def test_sim_cloud_pushes_into_a_broker(bridge, broker, tmp_path):
    port = free_port()
    process = bridge.start("sim", "cloud", "--port", str(port), "--mqtt-broker", f"127.0.0.1:{broker.port}", "--mqtt-period",
                           "0.5", "--mqtt-layout", "appkey")
    exports = [line for line in (process.stdout.readline() for _ in range(6)) if line.startswith("export ")]
    env = dict(pair.split("=", 1) for line in exports for pair in line.split()[1:])
    done = bridge("mqtt", "listen", "--for", "3s", env={**env, "SIGEN_BRIDGE_RUN_STATE_DIR": str(tmp_path / "s")})
    assert done.returncode == 0 and f"period {STATION} pvPowerW=3400.0" in done.stdout, done.stderr
    assert "order=appkey" in done.stderr
    code, _, _ = bridge.stop(process)
    assert code == 0


def test_publish_commands_is_one_call_for_the_battery_part(cloud, tmp_path):
    from bridge.config import load
    from bridge.wiring_mqtt import publish_commands

    clock = Clock()
    secret = tmp_path / "secret"
    secret.write_text(KEY.app_secret)
    settings, _ = load([*cloud.argv, "--cloud-app-secret-file", str(secret)])
    row = {"activeMode": "discharge", "startTime": clock.now() + 5, "duration": 30, "chargingPower": 2.5}
    assert publish_commands(settings, clock, [row]) == 1
    assert until(lambda: cloud.pushes.commands)
    code, body = cloud.pushes.commands[0]
    assert code == 0 and body["commands"] == [{**row, "systemId": STATION, "startTime": int(row["startTime"])}]


def test_once_publishes_too_and_a_broker_that_is_away_is_exit_6(bridge, plant, broker):
    argv = ("once", "--host", f"127.0.0.1:{plant.port}", "--mqtt-site", "home", "--mqtt-host")
    assert bridge(*argv, f"127.0.0.1:{broker.port}").returncode == 0
    assert json.loads(broker.retained()["sigen-bridge/home/state"])["pv_w"] == 2800
    done = bridge(*argv, f"127.0.0.1:{free_port()}")
    assert done.returncode == 6 and "connection refused" in one_line(done.stderr)
    assert bridge("once", "--source", "mqtt").returncode == 2


def test_a_run_without_paho_is_one_line(bridge, plant):
    done = bridge("mqtt", "publish", "--host", f"127.0.0.1:{plant.port}", "--status-listen", "off", "--mqtt-host", "127.0.0.1:1",
                  python=("-S",))
    assert done.returncode == 2 and "pip install 'paho-mqtt>=2'" in one_line(done.stderr)


# fleet

def test_fleet_status_of_one_broker(bridge, broker):
    clock = Clock()

    def state(**more):
        return {"schema": 1, "at": clock.now(), "source": "modbus-tcp", "age_s": 0, "valid": True, "reason": None, "pv_w": 2800,
                "soc_pct": 15.0, "battery_charge_w": 0, "grid_import_w": 8540, "load_w": 11340, **more}

    for name, online, content in (
        ("adelaide", "online", state()), ("brisbane", "online", state(source="cloud")), ("cairns", "offline", state()),
        ("darwin", "online", state(at=clock.now() - 900)), ("eucla", "online", state(valid=False, reason="stale: no reading"))):
        broker.pub(f"sigen-bridge/{name}/availability", online, "-r")
        broker.pub(f"sigen-bridge/{name}/state", content, "-r")
    broker.pub("sigen-bridge/fremantle/availability", "online", "-r")
    argv = ("fleet", "status", "--mqtt-host", f"127.0.0.1:{broker.port}")
    done = bridge(*argv)
    assert done.returncode == 10 and "6 sites: 1 green, 1 yellow, 4 red" in done.stdout
    lights = {line.split()[1]: line.split()[0] for line in done.stdout.splitlines()[:-1]}
    assert lights == {"adelaide": "green", "brisbane": "yellow", "cairns": "red", "darwin": "red", "eucla": "red",
                      "fremantle": "red"}
    content = json.loads(bridge(*argv, "--json").stdout)
    assert content["ok"] is False and len(content["sites"]) == 6
    by_name = {site["name"]: site for site in content["sites"]}
    assert by_name["adelaide"]["grid_import_w"] == 8540 and by_name["darwin"]["pv_w"] is None
    for name in ("cairns", "darwin", "eucla", "fremantle"):
        for what in ("availability", "state"):
            subprocess.run(
                ["mosquitto_pub", *broker.words("-t", f"sigen-bridge/{name}/{what}", "-r", "-n")], check=True, timeout=20)
    assert bridge(*argv).returncode == 0


def test_fleet_status_of_a_list_of_addresses(bridge, plant, tmp_path):
    port = free_port()
    process = bridge.start("run", "--host", f"127.0.0.1:{plant.port}", "--status-listen", f"127.0.0.1:{port}")
    assert until(lambda: len(plant.log) > 4)
    assert bridge("fleet", "status", f"127.0.0.1:{port}").returncode == 0
    book = tmp_path / "sites"
    book.write_text(f"# our homes\nsmith 127.0.0.1:{port}\nthe jones' shed 127.0.0.1:{free_port()}\n\n")
    done = bridge("fleet", "status", "--file", str(book))
    assert done.returncode == 10
    assert done.stdout.splitlines()[0].startswith("red    the jones' shed") and done.stdout.splitlines()[1].startswith("green  smith")
    assert bridge("fleet", "status", "--file", str(tmp_path / "none")).returncode == 2
    book.write_text("# nobody yet\n")
    empty = bridge("fleet", "status", "--file", str(book), "--mqtt-host", "127.0.0.1:1")
    assert empty.returncode == 2 and "no address in it" in one_line(empty.stderr)  # not: the sites of the broker
    bridge.stop(process)


def test_fleet_status_without_anything_to_look_at(bridge, broker):
    done = bridge("fleet", "status")
    assert done.returncode == 2 and "which sites? give HOST[:PORT]" in one_line(done.stderr)
    done = bridge("fleet", "status", "--mqtt-host", f"127.0.0.1:{broker.port}")
    assert done.returncode == 0 and "0 sites" in done.stdout
