"""The MQTT connection against a real mosquitto: logins, certificates, access rules, and how it ends."""

from __future__ import annotations

import socket
import ssl
import struct
import subprocess
import sys
import threading

import pytest

from bridge.errors import EXIT_CLOUD, AuthError, ConfigError
from bridge.link import mqtt as module
from bridge.link.broker import Broker, Login, Message, Tls, broker_at, tls_context
from bridge.link.mqtt import MqttLink
from bridge.link.mqtt_errors import MqttError, MqttLoginError, tls_problem
from tests.mqtt_broker import MUTUAL, Mosquitto, Pki, access_rules, passwords, tls_lines, until
from tests.ports import free_port

pytestmark = pytest.mark.needs("mosquitto", "openssl", "mosquitto_sub", "mosquitto_pub")
ANYBODY = "allow_anonymous true"


def link_to(broker, tls=None, host="127.0.0.1", **options):
    return MqttLink("test", Broker(host, broker.port, tls), **options)


def refusal(broker, tls=None, login=None, host="127.0.0.1"):
    """Return the error of a connection that must not come about, and check that nothing of it is left."""
    before = threading.active_count()
    link = link_to(broker, tls, host)
    with pytest.raises((MqttError, MqttLoginError)) as caught:
        link.connect(login or Login())
    assert threading.active_count() == before and not link.connected
    assert caught.value.exit_code == EXIT_CLOUD and link.peer in str(caught.value)
    return caught.value


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    with Mosquitto(tmp_path_factory.mktemp("plain"), ANYBODY) as broker:
        yield broker


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    path = tmp_path_factory.mktemp("guarded")
    rules = access_rules(path, "user bob\ntopic readwrite home/#\n")
    with Mosquitto(path, f"password_file {passwords(path, bob='secret')}", f"acl_file {rules}") as broker:
        yield broker


@pytest.fixture(scope="module")
def mutual(tmp_path_factory, pki):
    path = tmp_path_factory.mktemp("mutual")
    rules = access_rules(path, "user AK_DEMO\ntopic read openapi/period/AK_DEMO/#\ntopic write openapi/subscription/+\n")
    with Mosquitto(path, *tls_lines(pki, *MUTUAL), f"acl_file {rules}") as broker:
        yield broker


def test_what_is_published_reaches_a_third_party_client_and_back(plain):
    got = []
    link = link_to(plain, on_message=got.append)
    link.connect()
    try:
        assert link.protocol == "5" and link.subscribe(["a/b"]) == {}
        link.publish(Message("kept", "größer".encode(), True))
        assert plain.sub("kept") == [("kept", "größer")]
        plain.pub("a/b", "hello")
        assert until(lambda: got) and got[0] == Message("a/b", b"hello", False)
    finally:
        link.close()


def test_a_retained_message_is_marked_as_old(plain):
    plain.pub("old/one", "7", "-r")
    got = []
    link = link_to(plain, on_message=got.append)
    link.connect()
    link.subscribe(["old/one"])
    assert until(lambda: got) and got[0].retain
    link.close()


def test_a_right_password_is_taken_and_a_wrong_one_is_named(guarded):
    link = link_to(guarded)
    link.connect(Login("bob", "secret"))
    link.close()
    for login in (Login("bob", "guess"), Login("eve", "secret"), Login()):
        error = refusal(guarded, login=login)
        assert isinstance(error, AuthError) and "user name and password" in str(error) and "guess" not in str(error)


def test_mqtt_5_says_which_topic_is_not_allowed(guarded):
    link = link_to(guarded)
    link.connect(Login("bob", "secret"))
    link.publish(Message("home/x", b"1"))
    with pytest.raises(MqttError, match="refuses elsewhere/x .*access rules") as caught:
        link.publish(Message("elsewhere/x", b"1"))
    assert caught.value.kind == "acl" and link.connected
    link.close()


def test_the_pinned_ca_has_no_key_usage_and_is_taken_with_host_name_and_address(mutual, pki):
    for host in ("127.0.0.1", "localhost"):
        link = link_to(mutual, Tls(pki.ca, *pki.client), host)
        link.connect()
        assert link.subscribe(["openapi/period/AK_DEMO/X"]) == {}
        link.publish(Message("openapi/subscription/period", b"{}"))
        link.close()


def test_only_the_strictness_about_ca_certificates_is_switched_off(pki):
    context = tls_context(Tls(pki.ca))
    assert context.check_hostname and context.verify_mode == ssl.CERT_REQUIRED
    assert not context.verify_flags & ssl.VERIFY_X509_STRICT and context.minimum_version >= ssl.TLSVersion.TLSv1_2
    public, untouched = tls_context(Tls()), ssl.create_default_context()
    assert public.verify_flags == untouched.verify_flags


def test_with_the_strictness_of_python_3_13_this_ca_would_fail(mutual, pki, monkeypatch):
    """So that the test above proves something on interpreters that are not strict by themselves."""
    made = tls_context(Tls(pki.ca, *pki.client))
    made.verify_flags |= ssl.VERIFY_X509_STRICT
    monkeypatch.setattr(module, "tls_context", lambda tls: made)
    error = refusal(mutual, Tls(pki.ca, *pki.client))
    assert error.kind == "ca" and "key usage" in str(error)


def test_an_unknown_ca_and_a_wrong_host_name_still_fail(mutual, pki, other_pki, tmp_path):
    assert refusal(mutual, Tls(other_pki.ca, *pki.client)).kind == "ca"
    assert refusal(mutual, Tls("", *pki.client)).kind == "ca"
    elsewhere = pki.certificate("elsewhere", names="DNS:elsewhere.example")
    with Mosquitto(tmp_path, *tls_lines(pki, ANYBODY, server=elsewhere)) as broker:
        assert refusal(broker, Tls(pki.ca)).kind == "hostname"


def test_an_expired_certificate_is_named(pki, tmp_path):
    old = pki.certificate("old", days="-1")
    with Mosquitto(tmp_path, *tls_lines(pki, ANYBODY, server=old)) as broker:
        assert refusal(broker, Tls(pki.ca)).kind == "expired"


@pytest.mark.parametrize("version", ["TLSv1.2", "TLSv1.3"])
def test_a_client_certificate_of_another_ca_is_named_although_tls_1_3_tells_late(pki, other_pki, tmp_path, version):
    with Mosquitto(tmp_path, *tls_lines(pki, *MUTUAL, f"tls_version {version.lower()}")) as broker:
        error = refusal(broker, Tls(pki.ca, *other_pki.client))
        assert error.kind == "certificate" and "did not take our client certificate" in str(error)
        error = refusal(broker, Tls(pki.ca))
        assert error.kind == "certificate" and "none is set" in str(error)


def test_wrong_ports_are_named(plain, mutual, pki):
    assert refusal(mutual).kind == "not_mqtt"
    assert refusal(plain, Tls(pki.ca)).kind == "tls"
    closed = MqttLink("test", Broker("127.0.0.1", free_port()))
    with pytest.raises(MqttError, match="refused; check the address and the port") as caught:
        closed.connect()
    assert caught.value.kind == "unreachable"


def test_the_causes_are_told_apart(mutual, plain, guarded, pki, other_pki):
    kinds = [
        refusal(mutual, Tls(other_pki.ca, *pki.client)).kind, refusal(mutual, Tls(pki.ca, *other_pki.client)).kind,
        refusal(guarded, login=Login("bob", "no")).kind, refusal(plain, Tls(pki.ca)).kind, refusal(mutual).kind,
    ]
    assert len(set(kinds)) == len(kinds)


def test_files_that_do_not_serve_are_a_setting_to_correct(pki, other_pki, tmp_path):
    empty = tmp_path / "empty.pem"
    empty.write_text("")
    for tls, words in (
        (Tls(str(tmp_path / "none.pem")), "No such file"), (Tls(str(empty)), "PEM"),
        (Tls(pki.ca, pki.client[0], other_pki.client[1]), "belong together"),
    ):
        with pytest.raises(ConfigError, match=words):
            tls_context(tls)


def test_a_key_with_a_pass_phrase_is_refused_and_nobody_is_asked(pki, tmp_path):
    locked = tmp_path / "locked.key"
    subprocess.run(["openssl", "ec", "-in", pki.client[1], "-aes128", "-passout", "pass:word", "-out", str(locked)],
                   check=True, capture_output=True, timeout=30)
    with pytest.raises(ConfigError, match="without a pass phrase"):
        tls_context(Tls(pki.ca, pki.client[0], str(locked)))


def test_the_last_will_is_published_after_a_death_and_not_after_a_goodbye(plain):
    code = (
        "import sys, threading\n"
        "from bridge.link.broker import Broker, Message\n"
        "from bridge.link.mqtt import MqttLink\n"
        f"link = MqttLink('t', Broker('127.0.0.1', {plain.port}), 'mortal', Message('will/it', b'gone', True))\n"
        "link.connect()\n"
        "if sys.argv[1] == 'goodbye': link.close()\n"
        "print('up', flush=True)\n"
        "threading.Event().wait(60)\n")
    for manner, expected in (("goodbye", {}), ("death", {"will/it": "gone"})):
        process = subprocess.Popen([sys.executable, "-c", code, manner], stdout=subprocess.PIPE, text=True)
        assert process.stdout.readline() == "up\n"
        process.kill()
        process.wait(10)
        assert until(lambda expected=expected: plain.retained("will/#", wait_s=1) == expected, 8), manner


def test_a_broker_that_goes_away_is_noticed_at_once_and_leaves_no_thread(tmp_path):
    before = threading.active_count()
    broker = Mosquitto(tmp_path, ANYBODY).start()
    link, news = link_to(broker), threading.Event()
    link.connect()
    link.on_lost = news.set
    broker.stop()
    assert news.wait(20) and not link.connected
    with pytest.raises(MqttError) as caught:
        link.publish(Message("a", b"b"))
    assert caught.value.kind == "lost"
    link.close()
    assert until(lambda: threading.active_count() == before)


def test_being_thrown_out_by_a_client_of_the_same_name_is_told():
    """mosquitto 2.0.11 only hangs up; a broker that keeps to MQTT 5 (3.14.2.1) gives reason 142."""
    for manner in ("taken over later", "taken over at once"):
        broker = OldBroker(manner)
        link = MqttLink("test", Broker("127.0.0.1", broker.port), "same")
        with pytest.raises(MqttError, match="another client came as same"):
            link.connect()
            link.publish(Message("a", b"b"))
        link.close()
        broker.server.close()


def test_a_hundred_connections_leave_nothing_behind(plain):
    before = threading.active_count()
    for _ in range(100):
        link = link_to(plain)
        link.connect()
        link.close()
    assert threading.active_count() == before


def test_an_exception_of_the_receiver_does_not_end_the_connection(plain):
    got = []

    def receive(message):
        got.append(message)
        raise RuntimeError("a defect")

    link = link_to(plain, on_message=receive)
    link.connect()
    link.subscribe(["bad/one"])
    for _ in range(2):
        plain.pub("bad/one", "x")
    assert until(lambda: len(got) == 2) and link.connected
    link.close()


class OldBroker:
    """A few bytes of a broker: answers CONNECT of level 5 as ``manner`` says, that of level 4 (3.1.1) well."""

    def __init__(self, manner):
        self.manner, self.levels = manner, []
        self.server = socket.create_server(("127.0.0.1", 0))
        self.port = self.server.getsockname()[1]
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            try:
                connection = self.server.accept()[0]
            except OSError:
                return
            with connection:
                connection.settimeout(5)
                packet = connection.recv(1000)
                level = packet[packet.index(b"MQTT") + 4]
                self.levels.append(level)
                if level == 4:
                    connection.sendall(struct.pack("BBBB", 0x20, 2, 0, 0))
                    connection.recv(1000)
                elif self.manner == "code 1":
                    connection.sendall(struct.pack("BBBB", 0x20, 2, 0, 1))
                elif self.manner.startswith("taken over"):
                    connection.sendall(struct.pack("5B", 0x20, 3, 0, 0, 0))
                    if self.manner.endswith("later"):
                        connection.recv(1000)
                    connection.sendall(struct.pack("BBBB", 0xE0, 2, 142, 0))


@pytest.mark.parametrize("manner", ["code 1", "hangs up"])
def test_a_broker_that_knows_only_3_1_1_is_spoken_to_in_3_1_1(manner):
    broker = OldBroker(manner)
    link = MqttLink("old", Broker("127.0.0.1", broker.port))
    link.connect()
    assert link.protocol == "3.1.1" and broker.levels == [5, 4]
    link.close()
    broker.server.close()


def test_a_port_that_says_nothing_is_given_up(monkeypatch):
    monkeypatch.setattr(module, "ACK_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as server:
        link = MqttLink("mute", Broker("127.0.0.1", server.getsockname()[1]))
        with pytest.raises(MqttError) as caught:
            link.connect()
    assert caught.value.kind == "not_mqtt" and not link.connected


def test_a_wildcard_refused_by_a_broker_is_seen(tmp_path):
    """mosquitto's dynamic security with literal subscriptions alone, as the vendor's broker is said to do."""
    from tests.mqtt_broker import dynamic_security

    lines = dynamic_security(tmp_path, "demo", "secret", ["openapi/period/AK_DEMO/X"])
    with Mosquitto(tmp_path, *lines) as broker:
        link = link_to(broker)
        link.connect(Login("demo", "secret"))
        assert link.subscribe(["openapi/period/AK_DEMO/X"]) == {}
        refused = link.subscribe(["openapi/#", "openapi/period/AK_DEMO/X"])
        assert list(refused) == ["openapi/#"] and "authorized" in refused["openapi/#"].lower()
        link.close()


def test_without_paho_it_is_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "paho.mqtt", None)
    monkeypatch.setitem(sys.modules, "paho", None)
    with pytest.raises(ConfigError, match="pip install 'paho-mqtt>=2'"):
        MqttLink("test", Broker("127.0.0.1", 1)).connect()


def test_addresses_of_brokers():
    assert broker_at("host", 1883, None) == Broker("host", 1883, None)
    assert broker_at("host:1", 1883, None).port == 1 and broker_at("[::1]:5", 1, None).host == "::1"
    with pytest.raises(ConfigError):
        broker_at("host:port", 1883, None)


def test_a_login_never_shows_itself():
    assert "secret" not in repr(Login("bob", "secret")) and "bob" not in repr(Login("bob", "secret"))


def test_an_error_that_is_not_about_tls_is_not_called_so():
    assert tls_problem("x", OSError("no route"), False) is None
    assert tls_problem("x", socket.timeout("timed out"), True) is None


def test_a_ca_with_key_usage_is_taken_as_well(tmp_path):
    good = Pki(tmp_path / "good", key_usage=True)
    good.server = good.certificate("broker")
    with Mosquitto(tmp_path / "broker", *tls_lines(good, ANYBODY)) as broker:
        link = link_to(broker, Tls(good.ca))
        link.connect()
        link.close()
