"""The snapshot on a broker: what is published when, discovery, commands, and a broker that comes and goes."""

from __future__ import annotations

import json
import logging
import threading

import pytest

from bridge.clock import Clock, ManualClock
from bridge.errors import ConfigError, LinkError, Refused
from bridge.faultlog import FaultLog
from bridge.link.broker import Broker, Login
from bridge.link.mqtt import MqttLink
from bridge.model import Reading, invalid
from bridge.sinks import mqtt as module
from bridge.sinks.energy import Energy
from bridge.sinks.mqtt import MqttSink, Rules
from bridge.sinks.mqtt_commands import Commands, wish
from bridge.sinks.mqtt_discovery import ACTIONS, discovery, discovery_topic, place
from bridge.sinks.mqtt_pace import HEARTBEAT_S, Sent, due
from bridge.sinks.outbox import Outbox
from bridge.sinks.status import StatusSink
from tests.mqtt_broker import Mosquitto, access_rules, passwords, until
from tests.ports import free_port
from tests.sinks.ha_discovery import check, rendered

HOME = place("sigen-bridge", "home")
S3 = {"pv_w": 2800.0, "soc_pct": 15.0, "battery_w": 0.0, "grid_w": 8540.0, "load_w": 11340.0}


def reading(clock, **values):
    return Reading(clock.now(), clock.monotonic(), "modbus-tcp", **{**S3, "balance_w": 0.0, **values})


def snapshot(clock, one):
    status = StatusSink(clock, 200)
    status.write(one)
    return status.snapshot()


class FakeLink:
    """Records what goes out; for the decisions about time, which no broker can be asked about."""

    peer, protocol = "mqtt nowhere:1", "5"

    def __init__(self):
        self.sent, self.connected, self.attempts, self.broken = [], False, 0, False

    def connect(self, login):
        self.attempts += 1
        if self.broken:
            raise LinkError("nobody there")
        self.connected = True

    def subscribe(self, topics):
        return {}

    def publish(self, message):
        self.sent.append(message)

    def close(self):
        self.connected = False

    def topics(self):
        found, self.sent = [message.topic for message in self.sent], []
        return found


def faked(clock, **rules):
    link, receivers = FakeLink(), []

    def dial(will, receive):
        receivers.append(receive)
        return link

    return MqttSink(dial, Login(), HOME, Rules(**rules), clock, 200), link, receivers[0]


# what is worth a message

def test_an_unchanged_value_costs_one_message_a_minute(clock):
    sink, link, _ = faked(clock)
    for _ in range(600):
        sink.write(reading(clock))
        clock.advance(1.0)
    assert link.topics().count("sigen-bridge/home/state") == 600 / HEARTBEAT_S


def test_a_change_goes_out_at_once_and_noise_does_not(clock):
    sink, link, _ = faked(clock, deadband_w=5.0)
    sink.write(reading(clock))
    link.topics()
    for power_w, expected in ((2803.0, 0), (2796.0, 0), (2806.0, 1), (2809.0, 0), (2811.0, 1)):
        clock.advance(1.0)
        sink.write(reading(clock, pv_w=power_w))
        assert len(link.topics()) == expected, power_w


def test_slow_drift_within_the_dead_band_is_not_lost(clock):
    sink, link, _ = faked(clock, deadband_w=5.0)
    for step in range(20):
        sink.write(reading(clock, pv_w=2800.0 + step))
        clock.advance(1.0)
    shown = [json.loads(message.payload)["pv_w"] for message in link.sent if message.topic.endswith("/state")]
    assert shown == [2800, 2805, 2810, 2815]


def test_a_longer_interval_thins_values_out_but_never_a_change_of_state(clock):
    start = snapshot(clock, reading(clock))
    moved = snapshot(clock, reading(clock, pv_w=9000.0))
    lost = snapshot(clock, invalid(reading(clock), "stale: no reading for 6 s"))
    unknown = snapshot(clock, reading(clock, load_w=None))
    sent = Sent(start, 1000.0)
    assert not due(sent, moved, 1005.0, 0.0, 10.0) and due(sent, moved, 1010.0, 0.0, 10.0)
    assert due(sent, lost, 1001.0, 0.0, 10.0) and due(sent, unknown, 1001.0, 0.0, 10.0)
    assert due(None, start, 0.0, 5.0, 10.0) and due(sent, start, 1000.0 + HEARTBEAT_S, 5.0, 10.0)


def test_an_age_that_grows_is_no_news(clock):
    before = snapshot(clock, invalid(reading(clock), "stale: no reading for 6 s"))
    after = snapshot(clock, invalid(reading(clock), "stale: no reading for 7 s"))
    assert before != after and not due(Sent(before, 0.0), after, 1.0, 0.0, 0.0)


def test_a_dead_broker_is_tried_seldom_and_each_time_later(clock):
    sink, link, _ = faked(clock)
    link.broken = True
    for _ in range(120):
        with pytest.raises(LinkError, match="nobody there"):
            sink.write(reading(clock))
        clock.advance(1.0)
    assert 5 <= link.attempts <= 9
    link.broken = False
    clock.advance(40.0)
    sink.write(reading(clock))
    assert link.topics()[-2:] == ["sigen-bridge/home/state", "sigen-bridge/home/energy"]


def test_home_assistants_birth_message_brings_everything_anew(clock):
    sink, link, receive = faked(clock)
    sink.write(reading(clock))
    link.topics()
    receive(module.Message("homeassistant/status", b"offline"))
    clock.advance(1.0)
    sink.write(reading(clock))
    assert link.topics() == []
    receive(module.Message("homeassistant/status", b"online"))
    sink.write(reading(clock))
    assert link.topics() == [
        "homeassistant/device/sigen-bridge-home/config", "sigen-bridge/home/state", "sigen-bridge/home/energy"]


# energy

def test_energy_is_counted_by_direction_and_not_across_gaps(clock):
    energy = Energy()
    assert set(energy.kwh().values()) == {None}
    for _ in range(3601):
        energy.add(reading(clock, grid_w=-2000.0, battery_w=-500.0, load_w=None))
        clock.advance(1.0)
    hour = energy.kwh()
    assert hour == {"pv_kwh": 2.8, "grid_import_kwh": 0.0, "grid_export_kwh": 2.0, "battery_charge_kwh": 0.0,
                    "battery_discharge_kwh": 0.5, "load_kwh": None}
    clock.advance(3600.0)
    energy.add(reading(clock))
    energy.add(invalid(reading(clock), "x"))
    assert energy.kwh() == hour


def test_a_cloud_reading_every_five_minutes_is_counted(clock):
    energy = Energy()
    for _ in range(13):
        energy.add(reading(clock)._replace(source="cloud"))
        clock.advance(300.0)
    assert energy.kwh()["pv_kwh"] == 2.8


# discovery

@pytest.mark.parametrize("commands", [False, True])
@pytest.mark.parametrize("where", [HOME, place("a/b c", "Küche 7"), place("", "")])
def test_discovery_is_what_home_assistant_takes(where, commands):
    check(discovery_topic("homeassistant", where), discovery(where, "1.0", 180.0, commands))


def test_every_template_finds_its_value_and_unknown_is_none(clock):
    message, energy = discovery(HOME, "1", 180.0, False), Energy().kwh()
    for shot in (snapshot(clock, reading(clock)), snapshot(clock, invalid(reading(clock), "stale"))):
        for component in message["components"].values():
            payload = energy if component["state_topic"].endswith("/energy") else shot
            assert rendered(component["value_template"], payload) is not None
    values = {key: rendered(component["value_template"], snapshot(clock, reading(clock)))
              for key, component in message["components"].items() if component["state_topic"].endswith("/state")}
    assert values["grid_import_w"] == "8540" and values["soc_pct"] == "15.0" and values["problem"] == "OFF"
    assert rendered("{{ value_json.pv_w }}", StatusSink(clock, 200).snapshot()) == "None"


def test_the_energy_page_gets_its_classes():
    components = discovery(HOME, "1", 180.0, False)["components"]
    for key in ("pv_kwh", "grid_import_kwh", "grid_export_kwh", "battery_charge_kwh", "battery_discharge_kwh"):
        row = components[key]
        assert (row["device_class"], row["state_class"], row["unit_of_measurement"]) == ("energy", "total_increasing", "kWh")


def test_there_is_no_command_topic_unless_control_is_there():
    assert "command" not in json.dumps(discovery(HOME, "1", 180.0, False))
    topics = {row["command_topic"] for row in discovery(HOME, "1", 180.0, True)["components"].values()
              if "command_topic" in row}
    assert topics == {HOME.topic("command", action) for action in ACTIONS}


def test_a_site_name_is_made_fit_for_topics():
    assert place("fleet/nsw", "Smith #7/+ upstairs").base == "fleet/nsw/Smith-7-upstairs"
    assert place("", "192.0.2.7:502").base == "sigen-bridge/192-0-2-7-502"


# commands

def test_what_a_command_message_means():
    assert wish("charge", b"3000").value == {"power_w": 3000.0, "minutes": None}
    assert wish("discharge", b'{"power_w": 500, "minutes": 30}').value == {"power_w": 500.0, "minutes": 30.0}
    for payload in (b"", b"{}", b"PRESS"):
        assert wish("hold", payload).value == {"power_w": None, "minutes": None}


@pytest.mark.parametrize(("action", "payload"), [
    ("charge", b""), ("charge", b"-5"), ("charge", b"NaN"), ("charge", b"full speed"), ("charge", b'{"kw": 3}'),
    ("charge", b"true"), ("charge", b'{"power_w": "3"}'), ("explode", b"1"), ("charge", b"[" * 3000),
    ("charge", b"1" + b"0" * 400), ("hold", b'{"minutes": 1e400}')])
def test_what_is_no_command_is_refused(action, payload):
    with pytest.raises(ConfigError):
        wish(action, payload)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_after_a_command_that_breaks_something_inside_the_next_is_carried_out():
    class Broken:
        def on_command(self, action, value):
            if action == "charge":
                raise OverflowError("boo")
            return "released"

    outcomes = []
    commands = Commands(Broken(), outcomes.append)
    commands.offer("charge", b"3000", False)
    assert until(lambda: "mqtt-commands" not in [thread.name for thread in threading.enumerate()])
    commands.offer("release", b"", False)
    assert until(lambda: outcomes)
    commands.close()
    assert outcomes == [{"action": "release", "ok": True, "text": "released"}]


# with a real broker

class Recorder:
    """A control part that notes what it is told."""

    def __init__(self):
        self.told, self.refuse = [], False

    def on_command(self, action, value):
        if self.refuse:
            raise Refused("the plant is in another VPP")
        self.told.append((action, value))
        return f"{action} for 60 min"


def real_sink(broker, clock, login=None, control=None, **rules):
    def dial(will, receive):
        return MqttLink("mqtt", Broker("127.0.0.1", broker.port), "sigen-bridge-home", will, receive)

    sink = MqttSink(dial, login or Login(), HOME, Rules(**rules), clock, 200, control is not None)
    if control is not None:
        assert sink.take_commands(control)
    return sink


@pytest.fixture
def broker(tmp_path):
    with Mosquitto(tmp_path / "mosquitto", "allow_anonymous true") as started:
        yield started


@pytest.mark.needs("mosquitto", "mosquitto_sub")
def test_a_third_party_client_sees_state_availability_and_discovery(broker):
    clock = Clock()
    sink = real_sink(broker, clock)
    sink.write(reading(clock))
    seen = broker.retained()
    assert seen["sigen-bridge/home/availability"] == "online"
    shown = json.loads(seen["sigen-bridge/home/state"])
    assert shown["schema"] == 1 and shown["vc"] == {"200": 2800, "201": 15.0, "202": 0, "203": -8540, "204": 11340}
    (topic,) = [topic for topic in seen if topic.startswith("homeassistant/")]
    check(topic, json.loads(seen[topic]))
    sink.close()
    assert broker.retained()["sigen-bridge/home/availability"] == "offline"


@pytest.mark.needs("mosquitto", "mosquitto_sub")
def test_discovery_off_announces_nothing(broker):
    clock = Clock()
    sink = real_sink(broker, clock, discovery_prefix="")
    sink.write(reading(clock))
    assert set(broker.retained()) == {f"sigen-bridge/home/{what}" for what in ("availability", "state", "energy")}
    sink.close()


@pytest.mark.needs("mosquitto", "mosquitto_pub")
def test_commands_reach_the_control_part_and_are_answered(broker):
    clock, control = Clock(), Recorder()
    sink = real_sink(broker, clock, control=control)
    broker.pub("sigen-bridge/home/command/hold", "{}", "-r")  # a retained one must never be carried out
    sink.write(reading(clock))
    answers = []
    watcher = MqttLink("watch", Broker("127.0.0.1", broker.port), on_message=answers.append)
    watcher.connect()
    watcher.subscribe(["sigen-bridge/home/command/result"])
    broker.pub("sigen-bridge/home/command/charge", "3000")
    assert until(lambda: len(answers) == 1)
    assert json.loads(answers[0].payload) == {"action": "charge", "ok": True, "text": "charge for 60 min"}
    broker.pub("sigen-bridge/home/command/charge", "lots")
    control.refuse = True
    broker.pub("sigen-bridge/home/command/self", "PRESS")
    assert until(lambda: len(answers) == 3)
    assert [json.loads(each.payload)["ok"] for each in answers[1:]] == [False, False]
    assert "another VPP" in answers[2].payload.decode() and not answers[2].retain
    assert control.told == [("charge", {"power_w": 3000.0, "minutes": None})]
    watcher.close()
    sink.close()
    assert until(lambda: "mqtt-commands" not in [thread.name for thread in threading.enumerate()])


@pytest.mark.parametrize(("flags", "allowed"), [
    ((), False), (("--control-enabled", "yes"), False), (("--mqtt-username", "bob"), False),
    (("--control-enabled", "yes", "--mqtt-username", "bob"), True)])
def test_commands_need_control_enabled_and_a_broker_that_asks_who_comes(flags, allowed, clock):
    from bridge.config import load
    from bridge.wiring_mqtt import mqtt_sink

    settings, _ = load(["--mqtt-host", "broker", "--mqtt-site", "home", *flags])
    sink = mqtt_sink(settings, clock, Recorder())
    assert ("command_topic" in sink.announcements()[0].payload.decode()) == allowed


@pytest.mark.needs("mosquitto", "mosquitto_sub")
def test_without_a_control_part_nothing_is_subscribed_to(broker):
    clock = Clock()
    sink = real_sink(broker, clock)
    sink.write(reading(clock))
    assert "homeassistant/status" in broker.log() and "command" not in broker.log()
    sink.close()


@pytest.mark.needs("mosquitto", "mosquitto_sub")
def test_a_broker_that_restarts_gets_everything_again(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    clock, port = ManualClock(), free_port()
    first = Mosquitto(tmp_path / "m", "allow_anonymous true", port=port).start()
    sink = real_sink(first, clock)
    sink.write(reading(clock))
    first.stop()

    def gone():
        clock.advance(3.0)
        try:
            sink.write(reading(clock, pv_w=clock.monotonic()))
        except LinkError:
            return True
        return False

    assert until(gone)
    with Mosquitto(tmp_path / "m", "allow_anonymous true", port=port) as second:
        assert until(lambda: not gone(), 10)
        assert {"sigen-bridge/home/state", "sigen-bridge/home/availability"} <= set(second.retained())
        sink.close()
    assert sum("state=connected" in record.message for record in caplog.records) == 2


@pytest.mark.needs("mosquitto", "mosquitto_sub")
def test_a_login_that_may_not_announce_still_publishes_its_readings(tmp_path, caplog):
    rules = access_rules(tmp_path, "topic read #\ntopic readwrite sigen-bridge/home/#\n")
    clock = Clock()
    with Mosquitto(tmp_path / "m", "allow_anonymous true", f"acl_file {rules}") as broker:
        sink = real_sink(broker, clock)
        sink.write(reading(clock))
        assert set(broker.retained()) == {f"sigen-bridge/home/{what}" for what in ("availability", "state", "energy")}
        sink.close()
    assert "discovery-refused" in caplog.text


@pytest.mark.needs("mosquitto", "mosquitto_sub")
def test_a_topic_that_the_login_may_not_write_is_told_once(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    rules = access_rules(tmp_path, "user bob\ntopic readwrite elsewhere/#\n")
    clock = Clock()
    with Mosquitto(tmp_path / "m", f"password_file {passwords(tmp_path, bob='secret')}", f"acl_file {rules}") as broker:
        outbox = Outbox(real_sink(broker, clock, Login("bob", "secret")), clock, FaultLog(clock, "mqtt"))
        for _ in range(3):
            outbox.offer(reading(clock))
            assert until(lambda: outbox.last_error is not None)
        assert "access rules" in outbox.last_error and "secret" not in outbox.last_error
        assert outbox.close(5)
    assert sum("access rules" in record.getMessage() for record in caplog.records) == 1
