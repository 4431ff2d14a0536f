"""Battery commands over MQTT: from the owner's broker to the plant, and to the Sigenergy cloud's broker."""

from __future__ import annotations

import json

import pytest

from bridge.clock import Clock
from bridge.config import load
from bridge.control.battery import Command
from bridge.errors import Refused
from bridge.link.broker import Broker, Login
from bridge.link.mqtt import MqttLink
from bridge.sim.plant import PlantSim
from bridge.wiring_battery_cloud import send_by_cloud
from tests.commands.conftest import until
from tests.commands.test_battery import registers, settings
from tests.commands.test_mqtt import cloud, vendor  # noqa: F401
from tests.mqtt_broker import Mosquitto, passwords
from tests.peers.cloud_bench import KEY, STATION

pytestmark = pytest.mark.needs("mosquitto", "mosquitto_sub", "mosquitto_pub", "openssl")


class Hasty(Clock):
    """The machine's clock, but what is waited for has passed at once."""

    ahead = 0.0

    def now(self):
        return super().now() + self.ahead

    def monotonic(self):
        return super().monotonic() + self.ahead

    def wait(self, seconds):
        self.ahead += max(0.0, seconds)
        return self.stopped


@pytest.fixture
def plant():
    with PlantSim(Clock(), soc_pct=50.0) as sim:
        yield sim


def test_a_command_topic_moves_the_plant_and_a_release_gives_it_back(bridge, plant, tmp_path):
    path = tmp_path / "broker"
    path.mkdir()
    word = tmp_path / "word"
    word.write_text("secret")
    before = registers(plant)
    with Mosquitto(path, f"password_file {passwords(path, bob='secret')}") as broker:
        process = bridge.start(
            "run", *settings(plant, tmp_path), "--mqtt-host", f"127.0.0.1:{broker.port}", "--mqtt-site", "home",
            "--mqtt-username", "bob", "--mqtt-password-file", str(word), "--control-max-charge-w", "3000")
        answers = []
        me = MqttLink("me", Broker("127.0.0.1", broker.port), on_message=lambda one: answers.append(json.loads(one.payload)))
        me.connect(Login("bob", "secret"))
        me.subscribe(["sigen-bridge/home/command/result"])

        def ask(action, payload, patience_s=20):
            number = len(answers)
            broker.pub(f"sigen-bridge/home/command/{action}", payload, "-u", "bob", "-P", "secret")
            return until(lambda: len(answers) > number, patience_s) and answers[number]

        assert until(lambda: plant.log, 15)
        first = None
        for _ in range(10):  # until the topics are open
            first = first or ask("charge", {"power_w": 2000, "minutes": 1}, 2)
        assert first["ok"] and "charge 2000 W for 60 s: in force, asked for by mqtt" in first["text"]
        assert registers(plant)[40029] == 1 and registers(plant)[40032] == 2000
        refused = ask("charge", "9000")
        assert not refused["ok"] and "control.max_charge_w" in refused["text"]
        assert not ask("charge", {"power_w": 100, "minutes": 1e9})["ok"]
        assert ask("hold", "{}")["ok"] and registers(plant)[40031] == 1
        assert ask("release", "{}")["ok"] and registers(plant) == before
        me.close()
        bridge.stop(process)


def test_on_a_broker_that_lets_anybody_in_nothing_is_commanded(bridge, plant, tmp_path):
    with Mosquitto(tmp_path / "broker", "allow_anonymous true") as broker:
        process = bridge.start("run", *settings(plant, tmp_path), "--mqtt-host", f"127.0.0.1:{broker.port}",
                               "--mqtt-site", "home")
        assert until(lambda: "sigen-bridge/home/state" in broker.retained(), 15)
        broker.pub("sigen-bridge/home/command/charge", "2000")
        seen = len(plant.log)
        assert until(lambda: len(plant.log) > seen + 4, 15)
        bridge.stop(process)
    assert not plant.writes


def told(cloud, tmp_path, *more):  # noqa: F811
    secret = tmp_path / "secret"
    secret.write_text(KEY.app_secret)
    return load([*cloud.argv, "--cloud-app-secret-file", str(secret), "--control-enabled", "yes", *more])[0]


def test_via_mqtt_is_published_once_and_looked_at(cloud, tmp_path):  # noqa: F811
    cloud.cloud.world.stations[STATION].mode = 8
    answer = send_by_cloud(told(cloud, tmp_path), Hasty(), Command("charge", 1800.0, 2000.0), "mqtt", False)
    assert until(lambda: cloud.pushes.commands) and len(cloud.pushes.commands) == 1
    code, body = cloud.pushes.commands[0]
    assert code == 0 and body["commands"] == answer["commands"] and answer["via"] == "mqtt"
    assert body["commands"][0]["activeMode"] == "charge" and body["commands"][0]["chargingPower"] == 2.0
    assert answer["confirmed"] in (True, False)


def test_via_mqtt_nothing_is_published_in_a_mode_that_ignores_it(cloud, tmp_path):  # noqa: F811
    cloud.cloud.world.stations[STATION].mode = 0
    with pytest.raises(Refused, match="mode set nbi"):
        send_by_cloud(told(cloud, tmp_path), Hasty(), Command("charge", 1800.0, 2000.0), "mqtt", False)
    assert not cloud.pushes.commands


def test_via_mqtt_a_dry_run_shows_topic_and_body_without_a_token(cloud, tmp_path):  # noqa: F811
    shown = send_by_cloud(told(cloud, tmp_path), Hasty(), Command("charge", 1800.0, 2000.0), "mqtt", True)
    assert shown["url"].endswith(" openapi/instruction/command") and shown["body"]["accessToken"] == "(token)"
    assert not cloud.pushes.commands and not cloud.cloud.log
