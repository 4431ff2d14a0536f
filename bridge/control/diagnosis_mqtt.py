"""From what was seen of an MQTT broker to findings: the own one and that of the Sigenergy cloud.

Pure. Never asks a broker itself.
"""

from __future__ import annotations

from typing import Any, List, Mapping, NamedTuple, Tuple

from bridge.control.diagnosis import Finding, finding

OWN, VENDOR = "mqtt", "sigen_mqtt"  # the sections of the settings, too
CODES: Mapping[str, str] = {
    "ca": "mqtt_ca", "hostname": "mqtt_hostname", "expired": "mqtt_expired", "certificate": "mqtt_certificate",
    "tls": "mqtt_port", "not_mqtt": "mqtt_port", "topics": "mqtt_topics", "settings": "mqtt_settings",
}


class BrokerSeen(NamedTuple):
    """One broker; ``outcome`` is ok, silent, login, settings, topics or a kind of MqttError."""

    section: str
    outcome: str
    text: str = ""
    login: str = ""
    protocol: str = ""
    refused: Tuple[str, ...] = ()


def mqtt_findings(seen: BrokerSeen) -> List[Finding]:
    """Return what a look at a broker showed."""
    name = seen.section.replace("_", " ")
    what = seen.text if seen.text.startswith(name) else f"{name}: {seen.text}"
    if seen.outcome == "ok":
        return [finding("mqtt_ok", what)]
    if seen.outcome == "silent":
        return [finding("mqtt_silent", what)]
    if seen.outcome == "login":
        return [finding("mqtt_login" if seen.section == OWN else "sigen_mqtt_login", what)]
    code = CODES.get(seen.outcome, "mqtt_unreachable")
    return [finding(code, what, section=seen.section)]


def from_health(health: Mapping[str, Any]) -> List[BrokerSeen]:
    """Return what the running bridge says of its session at the vendor's broker, where it has one that tells."""
    session = health.get("sigen_mqtt") or {}
    state = session.get("state")
    if state == "silent":
        minutes = (session.get("quiet_s") or 0) / 60
        login = session.get("login") or "unknown"
        text = f"connected and subscribed, but silent for {minutes:.0f} min (login: {login})"
        return [BrokerSeen(VENDOR, "silent", text)]
    if state == "live":
        text = f"live, {session.get('order')} topics, login accepted: {session.get('login')}"
        return [BrokerSeen(VENDOR, "ok", text)]
    return []


def accepted(login: str, certificate: bool, protocol: str) -> str:
    """Return how a broker took us, in words."""
    shown = " with client certificate" if certificate and "certificate" not in login else ""
    return f"login accepted: {login}{shown}, MQTT {protocol}"
