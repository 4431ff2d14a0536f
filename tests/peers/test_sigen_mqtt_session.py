"""Sessions at the vendor's broker, played by a real mosquitto and the simulated cloud behind it."""

from __future__ import annotations

import json
import logging
import threading

import pytest

from bridge.clock import Clock, ManualClock
from bridge.errors import AuthError, ConfigError, LinkError, PeerError, RateLimited, Refused
from bridge.link.broker import Broker, Login, Message, Tls
from bridge.link.mqtt import MqttLink
from bridge.link.mqtt_errors import MqttError, MqttLoginError
from bridge.peers.sigen_mqtt_feed import CONNECTION_S, LIVE, LOGIN_S, MOST_S, SILENT, UNEXPECTED_S, WAITING, Feed
from bridge.peers.sigen_mqtt_session import (
    CERTIFICATE,
    CONFIGURED,
    SECRET,
    TOKEN,
    Access,
    SigenBroker,
    Tokens,
    TopicsRefused,
)
from bridge.sim.sigen_cloud_world import Account, App, Station, World
from bridge.sim.sigen_mqtt import SigenMqttSim
from bridge.state import StateDir
from tests.mqtt_broker import MUTUAL, Mosquitto, access_rules, dynamic_security, passwords, tls_lines, until

pytestmark = pytest.mark.needs("mosquitto", "openssl")
STATION = "ABCDE1700000001"
FLOW = {"pvPower": 1.74, "gridPower": 4.151, "batteryPower": -2.464, "batterySoc": 24.4}
ACL = """user AK_DEMO
topic read openapi/period/AK_DEMO/#
topic read openapi/change/AK_DEMO/#
topic read openapi/alarm/AK_DEMO/#
topic read AK_DEMO/openapi/#
topic write openapi/subscription/+
topic write openapi/instruction/+
user VENDOR
topic readwrite #
"""


class Cloud:
    """The vendor's world: tokens, a station, and how to make sessions with them."""

    feeds = []  # of the running test, stopped when it is over

    def __init__(self, path, broker, **access):
        self.clock, self.broker, self.state = Clock(), broker, StateDir(str(path / "state"))
        self.world = World([App()], [Account()], [Station()])
        self.access = Access("AK_DEMO", "AS_DEMO", (STATION,), **access)
        self.logins, self.pushed, self.onboarded = [], [], []
        self.current = self.login()

    def login(self):
        token = self.world.login_key("QUtfREVNTzpBU19ERU1P", self.clock.monotonic())[1].text
        self.logins.append(token)
        return token

    def renewed(self, rejected):
        self.current = self.login()
        return self.current

    def session(self, tls=None, onboard=False):
        def dial(receive):
            return MqttLink("sigen mqtt", Broker("127.0.0.1", self.broker.port, tls), on_message=receive)

        def board(systems):
            self.onboarded.append(tuple(systems))
            return ()

        return SigenBroker(dial, self.access, Tokens(lambda: self.current, self.renewed), self.state, board if onboard else None)

    def feed(self, session, period_s=300.0, **options):
        made = Feed(session, self.clock, self.pushed.append, {}, period_s, **options)
        self.feeds.append(made)
        return made

    def sim(self, tls=None, login=None, **options):
        broker = Broker("127.0.0.1", self.broker.port, tls)
        return SigenMqttSim(self.clock, broker, self.world, lambda: FLOW, login=login or Login(), **options)


@pytest.fixture(scope="module")
def mutual(tmp_path_factory, pki):
    """The vendor's broker as far as it is known: mutual TLS, identity from the certificate, a silent ACL."""
    path = tmp_path_factory.mktemp("vendor")
    pki.vendor = pki.certificate("VENDOR")
    with Mosquitto(path, *tls_lines(pki, *MUTUAL), f"acl_file {access_rules(path, ACL)}") as broker:
        yield broker


@pytest.fixture
def open_broker(tmp_path):
    with Mosquitto(tmp_path / "broker", "allow_anonymous true") as broker:
        yield broker


@pytest.fixture(autouse=True)
def no_thread_is_left():
    before = set(threading.enumerate())
    yield
    while Cloud.feeds:
        Cloud.feeds.pop().stop(10)
    assert until(lambda: not {each for each in threading.enumerate() if each.name.startswith(("sigen", "paho"))} - before)


@pytest.mark.parametrize("layout", ["openapi", "appkey"])
@pytest.mark.parametrize("nested", [False, True])
def test_telemetry_comes_in_either_spelling_and_the_winner_is_remembered(mutual, pki, tmp_path, layout, nested, caplog):
    caplog.set_level(logging.INFO)
    cloud = Cloud(tmp_path, mutual, certificate=True)
    tls = Tls(pki.ca, *pki.client)
    with cloud.sim(Tls(pki.ca, *pki.vendor), layout=layout, nested=nested) as sim:
        session = cloud.session(tls)
        feed = cloud.feed(session)
        feed.start()
        assert until(lambda: {push.kind for push in cloud.pushed} == {"period", "change"}), feed.health()
        sim.alarm(STATION)
        assert until(lambda: any(push.kind == "alarm" for push in cloud.pushed))
        health = feed.health()
        feed.stop(5)
    assert health["state"] == LIVE and health["order"] == layout and health["login"] == TOKEN
    assert health["protocol"] == "5" and health["error"] is None
    telemetry = next(push for push in cloud.pushed if push.kind == "period")
    assert telemetry.values["pvPowerW"] == 1740.0 and telemetry.values["gridActivePowerW"] == -4151.0
    assert session.orders() == (layout,)
    assert cloud.session(tls).orders() == (layout,)
    said = [record.getMessage() for record in caplog.records]
    assert sum(f"event=topic-order order={layout}" in each for each in said) == 1
    (first,) = [each for each in said if "event=first-message" in each]
    assert "pvPowerW" in first or "systemStatus" in first
    assert STATION not in first and cloud.current not in " ".join(said)


def test_partial_updates_renamed_and_numeric_values(open_broker, tmp_path, caplog):
    cloud = Cloud(tmp_path, open_broker)
    flow = dict(FLOW)
    sim = SigenMqttSim(cloud.clock, Broker("127.0.0.1", open_broker.port), cloud.world, lambda: flow, partial_s=0.1,
                       renamed={"pvPowerW": "PV power", "storageSOC%": "Speicher"}, numeric=True)
    with sim:
        feed = cloud.feed(cloud.session())
        feed.start()
        assert until(lambda: any(push.kind == "period" for push in cloud.pushed))
        flow["pvPower"] = 2.0
        assert until(lambda: cloud.pushed[-1].values.get("pvPowerW") == 2000.0)
        feed.stop(5)
    assert set(cloud.pushed[-1].values) == {"pvPowerW", "inverterActivePowerW"}
    change = next(push for push in cloud.pushed if push.kind == "change")
    assert change.values["systemStatus"] == "running" and change.values["onOffGridStatus"] == "on"
    assert sum("Speicher" in record.getMessage() for record in caplog.records) == 1


def test_no_wildcard_is_ever_subscribed_to_and_activation_names_the_station(open_broker, tmp_path):
    cloud = Cloud(tmp_path, open_broker)
    with cloud.sim() as sim:
        link = cloud.session().open(lambda message: None)
        assert until(lambda: len(sim.activations) == 3)
        link.close()
    assert [good for _, good in sim.activations] == [True] * 3
    log = [line for line in open_broker.log().splitlines() if "(QoS" in line and "openapi/" in line]
    ours = [line for line in log if "AK_DEMO" in line]
    assert len(ours) == 6 and not any("#" in line or "+" in line for line in ours)


# who gets in

@pytest.mark.parametrize(("word", "expected"), [("token", TOKEN), ("AS_DEMO", SECRET)])
def test_user_name_with_token_or_secret_is_found_out_and_remembered(tmp_path, word, expected):
    cloud = Cloud(tmp_path, None)
    path = tmp_path / "broker"
    path.mkdir()
    file = passwords(path, AK_DEMO=cloud.current if word == "token" else word)
    with Mosquitto(path, f"password_file {file}") as broker:
        cloud.broker = broker
        for first in (True, False):
            before = broker.log().count("not authorised")
            session = cloud.session()
            session.open(lambda message: None).close()
            assert session.login == expected
            refusals = broker.log().count("not authorised") - before
            assert refusals == (1 if first and expected == SECRET else 0)


def test_a_certificate_alone_is_a_login(tmp_path, pki):
    """A broker that takes the name from the certificate and refuses any password."""
    cloud = Cloud(tmp_path, None, certificate=True)
    path = tmp_path / "broker"
    path.mkdir()
    file = passwords(path, somebody="else")
    lines = tls_lines(pki, "require_certificate true", f"password_file {file}", "allow_anonymous true")
    with Mosquitto(path, *lines) as broker:
        cloud.broker = broker
        session = cloud.session(Tls(pki.ca, *pki.client))
        session.open(lambda message: None).close()
    assert session.login == CERTIFICATE


def test_a_login_that_is_set_is_the_only_one_tried(tmp_path):
    cloud = Cloud(tmp_path, None, username="me", password="wrong")
    path = tmp_path / "broker"
    path.mkdir()
    with Mosquitto(path, f"password_file {passwords(path, me='right', AK_DEMO='AS_DEMO')}") as broker:
        cloud.broker = broker
        with pytest.raises(MqttLoginError):
            cloud.session().open(lambda message: None)
        cloud.access = cloud.access._replace(password="right")
        session = cloud.session()
        session.open(lambda message: None).close()
        assert session.login == CONFIGURED


def test_a_revoked_token_is_renewed_once(tmp_path):
    cloud = Cloud(tmp_path, None)
    path = tmp_path / "broker"
    path.mkdir()
    with Mosquitto(path, f"password_file {passwords(path, AK_DEMO='tok-sim-000002')}") as broker:
        cloud.broker = broker
        assert cloud.current == "tok-sim-000001"
        session = cloud.session()
        session.open(lambda message: None).close()
        assert cloud.logins == ["tok-sim-000001", "tok-sim-000002"] and session.token == "tok-sim-000002"


def test_a_login_that_is_refused_for_good_costs_one_new_token_and_no_more(tmp_path):
    cloud = Cloud(tmp_path, None)
    path = tmp_path / "broker"
    path.mkdir()
    with Mosquitto(path, f"password_file {passwords(path, AK_DEMO='never')}") as broker:
        cloud.broker = broker
        session = cloud.session()
        for _ in range(3):
            with pytest.raises(MqttLoginError):
                session.open(lambda message: None)
    assert len(cloud.logins) == 2


def test_onboarding_happens_only_when_told_to_and_once(open_broker, tmp_path):
    cloud = Cloud(tmp_path, open_broker)
    cloud.session().open(lambda message: None).close()
    assert cloud.onboarded == []
    session = cloud.session(onboard=True)
    for _ in range(2):
        session.open(lambda message: None).close()
    session.open(lambda message: None, subscribe=False).close()
    assert cloud.onboarded == [(STATION,)]


# what a broker does to topics

def test_a_broker_that_drops_silently_is_called_silent(mutual, pki, tmp_path, caplog):
    """S3.70: a certificate of the same CA that is not in the ACL. MQTT 5 tells it on publishing."""
    cloud = Cloud(tmp_path, mutual, certificate=True)
    with pytest.raises(MqttError, match="access rules") as caught:
        cloud.session(Tls(pki.ca, *pki.stranger)).open(lambda message: None)
    assert caught.value.kind == "acl"


def test_subscribed_but_silent_for_two_periods_is_told_and_both_spellings_are_tried_again(open_broker, tmp_path, caplog):
    cloud = Cloud(tmp_path, open_broker)
    session = cloud.session()
    session.delivered("appkey")
    cloud.clock = ManualClock()
    feed = cloud.feed(session, period_s=300.0)
    states = []
    cloud.clock.at_tick.append(lambda: states.append((feed.quiet_s(), feed.state, session.orders())))
    cloud.clock.at_tick.append(lambda: cloud.clock.stop() if cloud.clock.monotonic() > 1000 + 1100 else None)
    feed.run()
    assert all(state == (SILENT if quiet > 600 else WAITING) for quiet, state, _ in states if state in (SILENT, WAITING))
    assert any(state == SILENT for _, state, _ in states)
    assert states[0][2] == ("appkey",) and states[-1][2] == ("openapi", "appkey")
    told = [record.getMessage() for record in caplog.records if "silent for" in record.getMessage()]
    assert len(told) <= 2 and "certificate" in told[0] and "onboarded" in told[0]
    assert feed.sessions == 2  # one fresh attempt with both spellings, not one a second


def test_a_broker_that_refuses_every_topic_says_so_by_mqtt_5(tmp_path):
    lines = dynamic_security(tmp_path, "AK_DEMO", "tok-sim-000001", ["openapi/period/OTHER/X"])
    with Mosquitto(tmp_path / "broker", *lines) as broker:
        cloud = Cloud(tmp_path, broker)
        with pytest.raises(TopicsRefused, match="refuses every topic"):
            cloud.session().open(lambda message: None)


def test_one_allowed_topic_is_enough_where_wildcards_and_others_are_refused(tmp_path):
    topic = f"openapi/period/AK_DEMO/{STATION}"
    lines = dynamic_security(tmp_path, "AK_DEMO", "tok-sim-000001", [topic])
    with Mosquitto(tmp_path / "broker", *lines) as broker:
        cloud = Cloud(tmp_path, broker)
        session = cloud.session()
        link = session.open(lambda message: None)
        assert len(session.refused) == 5 and topic not in session.refused and link.connected
        link.close()


def test_a_broker_that_hangs_up_on_a_forbidden_topic_is_asked_one_spelling_at_a_time(tmp_path):
    cloud = Cloud(tmp_path, None)

    class Touchy:
        peer, protocol, connected = "touchy", "5", True

        def __init__(self):
            self.asked = []

        def connect(self, login):
            pass

        def subscribe(self, topics):
            self.asked.append(topics)
            if any(not topic.startswith("AK_DEMO/") for topic in topics):
                raise MqttError("touchy: hung up", "lost")
            return {}

        def publish(self, message):
            pass

        def close(self):
            pass

    link = Touchy()
    session = SigenBroker(lambda receive: link, cloud.access, Tokens(lambda: "t", lambda old: "t"), cloud.state)
    for _ in range(2):
        with pytest.raises(MqttError):
            session.open(lambda message: None)
    assert session.open(lambda message: None) is link
    assert [len(topics) for topics in link.asked] == [6, 3, 3]


# time

class Script:
    """Opens sessions as it is told; for pauses, which take hours."""

    login = protocol = ""

    def __init__(self, clock, outcomes):
        self.clock, self.outcomes, self.at = clock, list(outcomes), []

    def open(self, receive):
        self.at.append(self.clock.monotonic())
        if not self.outcomes:
            self.clock.stop()
        raise self.outcomes.pop(0) if self.outcomes else LinkError("the end")

    def delivered(self, order):
        pass

    forget_order = fresh_token = delivered


@pytest.mark.parametrize(("error", "first_s"), [
    (MqttError("x", "unreachable"), CONNECTION_S), (LinkError("x"), CONNECTION_S), (PeerError("x"), UNEXPECTED_S),
    (AuthError("x"), LOGIN_S), (RateLimited("x", 200.0), 200.0)])
def test_pauses_are_30_s_after_a_fault_60_s_after_the_unexpected_with_jitter_and_grow(error, first_s):
    clock = ManualClock()
    script = Script(clock, [error] * 12)
    Feed(script, clock, lambda push: None, {}).run()
    pauses = [later - earlier for earlier, later in zip(script.at, script.at[1:])]
    assert first_s <= pauses[0] <= first_s * 1.2 and all(pause <= MOST_S * 1.2 for pause in pauses)
    assert pauses[-1] >= MOST_S or first_s > MOST_S
    assert len({round(pause % 1, 4) for pause in pauses}) > 3  # jitter


def test_a_mistake_in_the_settings_ends_it(caplog):
    clock = ManualClock()
    script = Script(clock, [ConfigError("no such file")])
    feed = Feed(script, clock, lambda push: None, {})
    feed.run()
    assert len(script.at) == 1 and isinstance(feed.error, ConfigError) and not clock.stopped
    feed.start()
    assert feed._thread is None and len(script.at) == 1


def test_a_new_token_makes_a_new_session_that_is_activated_again(open_broker, tmp_path):
    cloud = Cloud(tmp_path, open_broker)
    with cloud.sim() as sim:
        feed = cloud.feed(cloud.session())
        feed.start()
        assert until(lambda: len(sim.activations) == 3)
        cloud.renewed("")
        feed._news.set()  # instead of waiting for the next look
        assert until(lambda: len(sim.activations) == 6)
        feed.stop(5)
    assert feed.sessions == 2 and all(good for _, good in sim.activations) and len(cloud.logins) == 2


def test_an_expired_token_activates_nothing_at_the_simulated_vendor(open_broker, tmp_path):
    cloud = Cloud(tmp_path, open_broker)
    cloud.world.tokens.clear()
    with cloud.sim() as sim:
        link = cloud.session().open(lambda message: None)
        assert until(lambda: len(sim.activations) == 3)
        link.close()
    assert not any(good for _, good in sim.activations) and not sim.active


def test_a_feed_that_nobody_wants_any_more_ends_by_itself(open_broker, tmp_path):
    cloud = Cloud(tmp_path, open_broker)
    cloud.clock = ManualClock()
    feed = cloud.feed(cloud.session(), idle_s=100.0)
    feed.run()
    assert feed.sessions == 1 and 1100 <= cloud.clock.monotonic() < 1120 and feed.state != LIVE


# battery commands

def test_commands_arrive_at_the_simulated_vendor_and_are_sound(open_broker, tmp_path):
    cloud = Cloud(tmp_path, open_broker)
    rows = [{"activeMode": "charge", "startTime": cloud.clock.now() + 60 * number, "duration": 30, "chargingPower": 5.0}
            for number in range(24)]
    with cloud.sim() as sim:
        session = cloud.session()
        link = session.open(lambda message: None, subscribe=False)
        assert session.publish_commands(link, rows, cloud.clock.now()) == 24
        assert until(lambda: sim.commands)
        with pytest.raises(Refused):
            session.publish_commands(link, [*rows, rows[0]], cloud.clock.now())
        link.close()
    ((code, body),) = sim.commands
    assert code == 0 and len(body["commands"]) == 24 and body["commands"][0]["systemId"] == STATION
    assert not sim.activations


def test_rubbish_on_the_vendors_topics_does_not_stop_the_simulator(open_broker, tmp_path):
    cloud = Cloud(tmp_path, open_broker)
    with cloud.sim() as sim:
        for payload in ("x", "[]", "{}", '{"accessToken": 1, "systemIdList": 5}'):
            open_broker.pub("openapi/subscription/period", payload)
        open_broker.pub("openapi/instruction/command", json.dumps({"accessToken": cloud.current, "commands": []}))
        assert until(lambda: sim.commands) and sim.commands[0][0] == 1000
        assert not sim.active and Message("a", b"").payload == b""
