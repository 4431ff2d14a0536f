"""One fault for each thing that doctor can find about MQTT brokers, with a real mosquitto.

``python -m tests.commands.doctor_mqtt_cases`` writes all golden outputs anew.
"""

from __future__ import annotations

import json

from tests.commands.doctor_cases import CASES, GOLDEN, case, http_head, run_case, write_golden
from tests.mqtt_broker import MUTUAL, Mosquitto, Pki, dynamic_security, passwords, tls_lines
from tests.ports import free_port

__all__ = ["CASES", "GOLDEN", "run_case", "write_golden"]
ANYBODY = "allow_anonymous true"


def broker(world, *lines):
    started = world.enter(Mosquitto(world.root / "mosquitto", *(lines or (ANYBODY,))))
    world.settings["mqtt-host"] = f"127.0.0.1:{started.port}"
    return started


def secured(world, *lines, **server):
    """Start a TLS broker and point the settings at it; returns its CA's directory."""
    pki = Pki(world.root / "pki")
    pki.server = pki.certificate("broker", **server)
    broker(world, *tls_lines(pki, *(lines or (ANYBODY,))))
    world.settings["mqtt-ca"] = pki.ca
    return pki


def vendor(world, word, *lines):
    """Start a broker that plays the vendor's, with a cloud whose first token is tok-sim-000001."""
    started = world.enter(Mosquitto(world.root / "vendor", *(lines or (
        f"password_file {passwords(world.root, AK_DEMO=word)}",))))
    world.cloud()
    world.settings.update({"sigen-mqtt-host": f"127.0.0.1:{started.port}", "sigen-mqtt-tls": "no"})
    return started


@case("mqtt_ok")
def a_broker_of_the_house(world):
    world.healthy()
    broker(world)


@case("mqtt_unreachable")
def no_broker(world):
    world.healthy()
    world.settings["mqtt-host"] = f"127.0.0.1:{free_port()}"


@case("mqtt_port")
def tls_spoken_in_plain(world):
    world.healthy()
    secured(world)
    del world.settings["mqtt-ca"]


@case("mqtt_ca")
def another_ca(world):
    world.healthy()
    secured(world)
    world.settings["mqtt-ca"] = Pki(world.root / "other", "other ca").ca


@case("mqtt_hostname")
def another_name(world):
    world.healthy()
    secured(world, names="DNS:broker.example")


@case("mqtt_expired")
def an_old_certificate(world):
    world.healthy()
    secured(world, days="-1")


@case("mqtt_certificate")
def a_client_certificate_of_another_ca(world):
    world.healthy()
    secured(world, *MUTUAL)
    certificate, key = Pki(world.root / "other", "other ca").certificate("me")
    world.settings.update({"mqtt-cert": certificate, "mqtt-key": key})


@case("mqtt_settings")
def a_ca_file_that_is_not_there(world):
    world.healthy()
    broker(world)
    world.settings["mqtt-ca"] = str(world.root / "ca.pem")


@case("mqtt_login")
def the_wrong_broker_password(world):
    world.healthy()
    broker(world, f"password_file {passwords(world.root, bob='secret')}")
    world.settings["mqtt-username"] = "bob"
    world.secret("mqtt-password", "guess")


@case("mqtt_sink_failing")
def a_bridge_that_may_not_write(world):
    world.healthy()
    rules = world.root / "acl"
    rules.write_text("topic read #\n")
    rules.chmod(0o600)
    broker(world, ANYBODY, f"acl_file {rules}")
    world.settings["mqtt-site"] = "home"
    world.bridge()


@case("sigen_mqtt_login")
def no_login_is_taken(world):
    world.healthy()
    vendor(world, "another word")


@case("mqtt_topics")
def every_topic_is_refused(world):
    world.healthy()
    vendor(world, "", *dynamic_security(world.root, "AK_DEMO", "tok-sim-000001", ["openapi/period/OTHER/X"]))


@case("mqtt_silent")
def connected_subscribed_and_silent(world):
    world.healthy()
    session = {"state": "silent", "login": "token", "order": None, "messages": 0, "quiet_s": 1500}
    answers = {
        b"GET /healthz": {"ok": True, "version": "1", "cycles": 1, "failover": None, "sigen_mqtt": session},
        b"GET /v1/snap": {"schema": 1, "source": "modbus-tcp", "valid": True},
    }

    def answer(connection):
        body = json.dumps(answers[connection.recv(2000)[:12]]).encode()
        connection.sendall(http_head("application/json", len(body)) + body)

    world.settings["status-listen"] = world.server(answer)


if __name__ == "__main__":
    write_golden()
