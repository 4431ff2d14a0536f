"""Looks at the brokers of the settings for doctor: connects, subscribes, goes away again.

Never publishes, never onboards, and never comes under the running bridge's name: that would throw it out.
"""

from __future__ import annotations

from typing import Any, Callable, List, Mapping

from bridge.clock import Clock
from bridge.config import Settings
from bridge.control.diagnosis_mqtt import OWN, VENDOR, BrokerSeen, accepted, from_health
from bridge.errors import AuthError, BridgeError, ConfigError


def brokers_seen(settings: Settings, clock: Clock, health: Mapping[str, Any], cloud: bool) -> List[BrokerSeen]:
    """Return what is to be said of each broker; the vendor's is asked only with ``cloud``."""
    found = [_seen(OWN, lambda: _own(settings))] if settings["mqtt.host"] else []
    told = from_health(health)
    if told:
        return found + told
    wanted = settings["sigen_mqtt.host"] or settings["sigen_mqtt.ca"] or settings["sigen_mqtt.cert"]
    if cloud and (wanted or settings["run.source"] == "mqtt"):
        found.append(_seen(VENDOR, lambda: _vendor(settings, clock)))
    return found


def _seen(section: str, look: Callable[[], BrokerSeen]) -> BrokerSeen:
    try:
        return look()
    except AuthError as error:
        return BrokerSeen(section, "login", str(error))
    except ConfigError as error:
        return BrokerSeen(section, "settings", str(error))
    except BridgeError as error:
        return BrokerSeen(section, str(getattr(error, "kind", "unreachable")), str(error))


def _own(settings: Settings) -> BrokerSeen:
    from bridge.link.mqtt import MqttLink
    from bridge.wiring_mqtt import own_broker, own_login, own_place

    login, broker = own_login(settings), own_broker(settings)
    link = MqttLink("mqtt", broker, f"{own_place(settings).site}-doctor")
    link.connect(login)
    try:
        how = "user name and password" if login.username else "without a login"
        certificate = broker.tls is not None and bool(broker.tls.cert)
        return BrokerSeen(OWN, "ok", f"{link.peer}: {accepted(how, certificate, link.protocol)}")
    finally:
        link.close()


def _vendor(settings: Settings, clock: Clock) -> BrokerSeen:
    from bridge.peers.sigen_mqtt_session import LOGIN_WORDS
    from bridge.wiring_mqtt import vendor_session

    session = vendor_session(settings, clock, "doctor")
    link = session.open(lambda message: None, subscribe=False)
    try:
        session.subscribe(link)
        how = accepted(LOGIN_WORDS[session.login], bool(settings["sigen_mqtt.cert"]), session.protocol)
        refused = tuple(sorted(session.refused))
        text = f"{link.peer}: {how}" + (f"; {len(refused)} topics refused" if refused else "")
        return BrokerSeen(VENDOR, "ok", text, session.login, session.protocol, refused)
    finally:
        link.close()
