"""From settings to the parts that speak MQTT: the sink, the Sigenergy cloud's push, battery commands.

Never connects, and never imports paho: that happens at the first connection.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import Any, Callable, Mapping, Optional, Sequence

from bridge.clock import Clock
from bridge.config import Settings
from bridge.errors import ConfigError
from bridge.link.broker import Broker, Login, Message, Tls, broker_at
from bridge.sinks.mqtt import MqttSink, Rules
from bridge.sinks.mqtt_commands import Control
from bridge.sinks.mqtt_discovery import Place, place, safe

PUSH_LOOK_S = 5.0  # how often the pushed values are looked at; they arrive every few seconds at most
FAILOVER_IDLE_S = 1800.0  # a connection that the fallback has not used for so long is given up
REMOTE_EXPIRE_S = 960.0  # a little more than the validity of a cloud value
OWN_PORT_TLS = 8883


def own_broker(settings: Settings) -> Broker:
    """Return the broker of ``mqtt.host``; raises ConfigError when there is none."""
    if not settings["mqtt.host"]:
        raise ConfigError("setting mqtt.host is missing: the broker that the readings are published to")
    files = Tls(settings["mqtt.ca"], settings["mqtt.cert"], settings["mqtt.key"])
    tls = files if settings["mqtt.tls"] or any(files) else None
    port = OWN_PORT_TLS if tls is not None and not settings.is_set("mqtt.port") else settings["mqtt.port"]
    return broker_at(settings["mqtt.host"], port, tls)


def own_login(settings: Settings) -> Login:
    """Return user name and password for it."""
    return Login(settings["mqtt.username"] or None, settings["mqtt.password"] or None)


def own_place(settings: Settings) -> Place:
    """Return the topics of this site: named, else by the station's systemId, else by the plant's address."""
    site = settings["mqtt.site"] or settings["cloud.system_id"] or settings["modbus.host"] or settings["modbus.serial"]
    return place(settings["mqtt.base_topic"], site)


def own_rules(settings: Settings) -> Rules:
    """Return how much is published."""
    prefix = settings["mqtt.discovery"].strip("/")
    remote = settings["run.source"] in ("cloud", "mqtt")
    return Rules(
        settings["mqtt.deadband_w"], settings["mqtt.interval_s"],
        "" if prefix.lower() in ("off", "no", "none", "0") else prefix,
        REMOTE_EXPIRE_S if remote else Rules().expire_after_s,
    )


def mqtt_sink(
    settings: Settings, clock: Clock, control: Optional[Control] = None, lasting: bool = True,
) -> MqttSink:
    """Return the sink; ``control`` (or ``take_commands`` later) opens command topics where that is allowed.

    It is with control.enabled and a user name: on a broker that lets anybody in, anybody could command the
    battery. A sink that is not ``lasting`` takes another name at the broker and leaves no last will.
    """
    broker, where = own_broker(settings), own_place(settings)

    def dial(will: Message, receive: Callable[[Message], None]) -> Any:
        from bridge.link.mqtt import MqttLink

        name = safe(where.base)
        if not lasting:
            return MqttLink("mqtt", broker, f"{name}-once", None, receive)
        return MqttLink("mqtt", broker, name, will, receive)

    login = own_login(settings)
    allowed = bool(settings["control.enabled"]) and login.username is not None
    sink = MqttSink(dial, login, where, own_rules(settings), clock, settings["shelly.first_id"], allowed)
    if control is not None:
        sink.take_commands(control)
    return sink


def vendor_broker(settings: Settings) -> Broker:
    """Return the broker of the Sigenergy cloud; raises ConfigError when nobody knows it."""
    from bridge.peers.sigen_codes import region_named

    host = settings["sigen_mqtt.host"]
    if not host:
        if not settings["cloud.region"]:
            raise ConfigError("sigen mqtt: set cloud.region, or sigen_mqtt.host from the developer portal")
        region = region_named(settings["cloud.region"])
        host = region.mqtt_host
        if host is None:
            raise ConfigError(f"sigen mqtt: no broker is known for region {region.name}; set sigen_mqtt.host")
    tls = Tls(settings["sigen_mqtt.ca"], settings["sigen_mqtt.cert"], settings["sigen_mqtt.key"])
    return broker_at(host, settings["sigen_mqtt.port"], tls if settings["sigen_mqtt.tls"] else None)


def vendor_session(settings: Settings, clock: Clock, role: str) -> Any:
    """Return what opens sessions at that broker; raises ConfigError for what is missing."""
    from bridge.peers.sigen_mqtt import ORDERS, topics
    from bridge.peers.sigen_mqtt_session import Access, SigenBroker, Tokens
    from bridge.wiring_cloud import openapi, state_dir

    if not (settings["cloud.app_key"] and settings["cloud.app_secret"]):
        raise ConfigError(
            "sigen mqtt: only an application of the developer portal has it; set cloud.app_key and cloud.app_secret"
        )
    if settings["sigen_mqtt.app_identifier"]:
        logging.getLogger("sigen-mqtt").warning(
            "event=unused-setting name=sigen_mqtt.app_identifier hint=\"the broker knows the AppKey (cloud.app_key)\"")
    systems = tuple(filter(None, (one.strip() for one in settings["cloud.system_id"].split(","))))
    topics(settings["cloud.app_key"], systems or ("",), ORDERS)  # says what is missing
    order = settings["sigen_mqtt.topic_order"]
    api = openapi(settings, clock, patience_s=20.0)
    access = Access(
        settings["cloud.app_key"], settings["cloud.app_secret"], systems, settings["sigen_mqtt.username"],
        settings["sigen_mqtt.password"], bool(settings["sigen_mqtt.cert"]), ORDERS if order == "auto" else (order,),
    )
    broker = vendor_broker(settings)
    whose = f"{safe(settings['cloud.app_key'])[-8:]}-{safe(systems[0])[-8:]}"
    client_id = settings["sigen_mqtt.client_id"] or f"sigen-bridge-{role}-{whose}"

    def dial(receive: Callable[[Message], None]) -> Any:
        from bridge.link.mqtt import MqttLink

        return MqttLink("sigen mqtt", broker, client_id, on_message=receive)

    onboard = api.onboard if settings["sigen_mqtt.onboard"] else None
    return SigenBroker(dial, access, Tokens(api.token, api.renewed_token), state_dir(settings), onboard)


def vendor_feed(
    settings: Settings, clock: Clock, take: Callable[[Any], None], role: str = "run", idle_s: Optional[float] = None,
) -> Any:
    """Return the feed that keeps a session and calls ``take`` with every record."""
    from bridge.peers.sigen_mqtt import alias_map
    from bridge.peers.sigen_mqtt_feed import Feed

    aliases = alias_map(settings["sigen_mqtt.aliases"])
    return Feed(vendor_session(settings, clock, role), clock, take, aliases, idle_s=idle_s)


def push_source(settings: Settings, clock: Clock, idle_s: Optional[float] = None) -> Any:
    """Return the source of pushed readings."""
    from bridge.sources.mqtt import SigenMqttSource

    system_id = settings["cloud.system_id"].strip()
    if "," in system_id:
        raise ConfigError("cloud.system_id: one bridge shows one station; several are for mqtt listen only")
    return SigenMqttSource(partial(vendor_feed, settings, clock, idle_s=idle_s), system_id, clock)


def publish_commands(settings: Settings, clock: Clock, commands: Sequence[Mapping[str, Any]]) -> int:
    """Publish one batch of battery commands (fields of the vendor's table) and return how many went out.

    Opens a session of its own. The acknowledgement is the broker's, not the plant's. Raises Refused for what
    must not be sent, MqttError or MqttLoginError when the broker does not take it, ConfigError.
    """
    from bridge.peers.sigen_mqtt_commands import checked

    if not clock.synced():
        raise ConfigError("battery commands: this machine's clock is not set, and they carry a time")
    systems = settings["cloud.system_id"]
    checked(commands, systems if "," not in systems else "", clock.now())  # before anybody is asked for a login
    session = vendor_session(settings, clock, "command")
    link = session.open(lambda message: None, subscribe=False)
    try:
        return int(session.publish_commands(link, commands, clock.now()))
    finally:
        link.close()
