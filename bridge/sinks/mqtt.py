"""Publishes every reading's snapshot to an MQTT broker, retained, with availability and discovery.

Never floods: unchanged values cost a message a minute. Never keeps a command topic open without a control
part behind it. It stands behind an Outbox: ``write`` may take seconds, the loop does not notice.
"""

from __future__ import annotations

import json
import logging
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Protocol

from bridge import __version__
from bridge.clock import Clock
from bridge.errors import BridgeError, LinkError
from bridge.link.backoff import Backoff, luck
from bridge.link.broker import Login, Message
from bridge.link.mqtt_errors import MqttError
from bridge.model import Reading
from bridge.sinks.energy import Energy
from bridge.sinks.mqtt_commands import Commands, Control
from bridge.sinks.mqtt_discovery import ACTIONS, Place, discovery, discovery_topic
from bridge.sinks.mqtt_pace import HEARTBEAT_S, Sent, due
from bridge.sinks.status import StatusSink

RETRY_FIRST_S, RETRY_MOST_S = 2.0, 30.0  # a broker of the house is back within seconds after a restart
ONLINE, OFFLINE = b"online", b"offline"

log = logging.getLogger("mqtt")


class Link(Protocol):
    """The connection; ``bridge.link.mqtt.MqttLink`` is the one there is."""

    peer: str
    protocol: str

    @property
    def connected(self) -> bool: ...

    def connect(self, login: Login) -> None: ...

    def subscribe(self, topics: List[str]) -> Dict[str, str]: ...

    def publish(self, message: Message) -> None: ...

    def close(self) -> None: ...


class Rules(NamedTuple):
    """How much is published: ``discovery_prefix`` '' is none, ``expire_after_s`` how long a value stands in HA."""

    deadband_w: float = 5.0
    interval_s: float = 1.0
    discovery_prefix: str = "homeassistant"
    expire_after_s: float = 3 * HEARTBEAT_S


class MqttSink:
    """One site on one broker. ``dial`` makes the connection from the will and the receiver of messages."""

    name = "mqtt"

    def __init__(
        self, dial: Callable[[Message, Callable[[Message], None]], Link], login: Login, where: Place, rules: Rules,
        clock: Clock, first_id: int, commands_allowed: bool = False,
    ) -> None:
        self._where, self._rules, self._clock, self._login = where, rules, clock, login
        self._status = StatusSink(clock, first_id)
        self._energy = Energy()
        self._link = dial(Message(where.topic("availability"), OFFLINE, True), self._received)
        self._backoff = Backoff(RETRY_FIRST_S, RETRY_MOST_S)
        self._sent: Optional[Sent] = None
        self._greet = False  # Home Assistant has just come up
        self._energy_due = 0.0
        self._error = ""
        self._commands_allowed = commands_allowed
        self._commands: Optional[Commands] = None

    def take_commands(self, control: Control) -> bool:
        """Open command topics for ``control``, before the first ``write``; False where settings do not allow it."""
        if self._commands_allowed:
            self._commands = Commands(control, self._answer)
        else:
            log.info("event=no-command-topics hint=\"they need control.enabled and mqtt.username\"")
        return self._commands_allowed

    def write(self, reading: Reading) -> None:
        """Publish what is worth it; raises LinkError or AuthError while the broker cannot be used."""
        self._status.write(reading)
        self._energy.add(reading)
        self._ensure()
        if self._greet:
            self._forget_sent()
            self._announce()
        now, snapshot = self._clock.monotonic(), self._status.snapshot()
        if due(self._sent, snapshot, now, self._rules.deadband_w, self._rules.interval_s):
            self._publish([self.state(snapshot)])
            self._sent = Sent(snapshot, now)
        if now >= self._energy_due:  # a counter needs no second resolution
            self._publish([self.energy()])
            self._energy_due = now + HEARTBEAT_S

    def publish_once(self, snapshot: Dict[str, Any]) -> int:
        """Publish one snapshot and disconnect; returns the number of messages.

        Leaves availability alone: whoever is gone a moment later must not say that it is there.
        """
        messages = [*self.announcements(), self.state(snapshot)]
        self._link.connect(self._login)
        try:
            self._publish(messages)
        finally:
            self._link.close()
        return len(messages)

    def announcements(self) -> List[Message]:
        """Return what is published at the beginning: the discovery message, where it is wanted."""
        prefix = self._rules.discovery_prefix
        if not prefix:
            return []
        content = discovery(self._where, __version__, self._rules.expire_after_s, self._commands is not None)
        return [_json(discovery_topic(prefix, self._where), content)]

    def state(self, snapshot: Dict[str, Any]) -> Message:
        """Return the message of a snapshot."""
        return _json(self._where.topic("state"), snapshot)

    def energy(self) -> Message:
        """Return the message of the energy counters."""
        return _json(self._where.topic("energy"), self._energy.kwh())

    def close(self) -> None:
        """Say that we are gone, and let go."""
        if self._commands is not None:
            self._commands.close()
        if self._link.connected:
            try:
                self._link.publish(Message(self._where.topic("availability"), OFFLINE, True))
            except LinkError as error:
                log.debug("event=goodbye-lost error=\"%s\"", error)  # the last will says it then
        self._link.close()

    def _ensure(self) -> None:
        if self._link.connected:
            return
        now = self._clock.monotonic()
        if not self._backoff.due(now):
            raise LinkError(self._error or f"{self._link.peer}: connection lost")
        try:
            self._begin()
        except BridgeError as error:
            self._link.close()
            self._error = str(error)
            self._backoff.failed(self._clock.monotonic(), luck())
            raise
        self._backoff.worked()
        self._error = ""

    def _begin(self) -> None:
        """Connect, listen, and tell everything anew: a broker may have forgotten what it retained."""
        self._link.connect(self._login)
        topics = [f"{self._rules.discovery_prefix}/status"] if self._rules.discovery_prefix else []
        if self._commands is not None:
            topics += [self._where.topic("command", action) for action in ACTIONS]
        for topic, why in self._link.subscribe(topics).items():
            log.warning("event=subscription-refused topic=%s reason=\"%s\"", topic, why)
        self._forget_sent()
        self._publish([Message(self._where.topic("availability"), ONLINE, True)])
        self._announce()
        log.info("state=connected peer=%s protocol=%s base=%s", self._link.peer, self._link.protocol, self._where.base)

    def _announce(self) -> None:
        """Publish the discovery; a login that may not is no reason to keep the readings back."""
        try:
            self._publish(self.announcements())
        except MqttError as error:
            if error.kind != "acl":
                raise
            log.warning("event=discovery-refused error=\"%s\"", error)

    def _forget_sent(self) -> None:
        self._sent, self._greet, self._energy_due = None, False, 0.0

    def _publish(self, messages: List[Message]) -> None:
        try:
            for message in messages:
                self._link.publish(message)
        except LinkError as error:
            self._error = str(error)
            if not self._link.connected:
                self._backoff.failed(self._clock.monotonic(), luck())
            raise

    def _received(self, message: Message) -> None:
        """Take a message, in the connection's thread."""
        if message.topic == f"{self._rules.discovery_prefix}/status":
            self._greet = self._greet or message.payload == ONLINE
        elif self._commands is not None and message.topic.startswith(self._where.topic("command", "")):
            self._commands.offer(message.topic.rsplit("/", 1)[1], message.payload, message.retain)

    def _answer(self, outcome: Dict[str, Any]) -> None:
        self._link.publish(_json(self._where.topic("command", "result"), outcome)._replace(retain=False))


def _json(topic: str, content: Dict[str, Any]) -> Message:
    return Message(topic, json.dumps(content, separators=(",", ":")).encode(), True)
