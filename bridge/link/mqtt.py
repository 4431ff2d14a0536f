"""One connection to an MQTT broker: open it, subscribe, publish with acknowledgement, and say why it failed.

Never reconnects by itself (who uses it decides when), never checks less of a certificate than chain and
host name, never logs a payload. The protocol is paho's: this is the only file that imports it.
MQTT 5 is tried first because only there a broker can say that a topic is not allowed.
"""

from __future__ import annotations

import logging
import threading
from typing import Any, Callable, Dict, Iterable, List, Optional, Tuple

from bridge.errors import ConfigError
from bridge.link.broker import NOBODY, Broker, Login, Message, tls_context
from bridge.link.dial import connect_error
from bridge.link.mqtt_errors import NOT_AUTHORISED, MqttError, broken, refused_login, tls_problem

CONNECT_S = 5.0  # a DNS name, TCP and a TLS handshake over a mobile line
ACK_S = 5.0  # CONNACK, SUBACK, PUBACK; a broker answers in milliseconds
KEEPALIVE_S = 30  # a dead broker is noticed after one and a half of these
MAX_PAYLOAD = 256 * 1024  # vendor's limit; a larger message is not ours
GOOD_BELOW = 0x80  # reason codes from here on are refusals (MQTT 5, 2.4)
UNSUPPORTED_VERSION = 132

log = logging.getLogger("mqtt")


class MqttLink:
    """One connection. ``on_message`` is called in the connection's thread: it must return at once."""

    def __init__(
        self, name: str, broker: Broker, client_id: str = "", will: Optional[Message] = None,
        on_message: Callable[[Message], None] = lambda message: None,
    ) -> None:
        self.peer = f"{name} {broker.host}:{broker.port}"
        self.protocol = ""  # "5" or "3.1.1" once connected
        self.lost = threading.Event()
        self.on_lost: Callable[[], None] = lambda: None  # called in the connection's thread
        self._broker, self._client_id, self._will, self._on_message = broker, client_id, will, on_message
        self._client: Any = None
        self._trouble: List[str] = []  # what paho complained about, for the reason of a loss
        self._answered = threading.Event()
        self._connack: Any = None
        self._acks: Dict[Any, Any] = {}
        self._came = threading.Condition()

    @property
    def connected(self) -> bool:
        """True between ``connect`` and the loss of the connection."""
        return self._client is not None and not self.lost.is_set()

    def connect(self, login: Login = NOBODY) -> None:
        """Connect by MQTT 5, or 3.1.1 where the broker knows nothing newer.

        Raises MqttError, MqttLoginError, or ConfigError (certificate files, paho missing).
        """
        paho = library()
        try:
            self._connect(paho, paho.MQTTv5, login)
            self.protocol = "5"
        except MqttError as error:
            if error.kind != "version":
                raise
            self._connect(paho, paho.MQTTv311, login)
            self.protocol = "3.1.1"

    def _connect(self, paho: Any, version: Any, login: Login) -> None:
        self.close()
        client = paho.Client(
            paho.CallbackAPIVersion.VERSION2, client_id=self._client_id, protocol=version, reconnect_on_failure=False,
            clean_session=None if version == paho.MQTTv5 else True,
        )
        client.suppress_exceptions = True  # a defect in a callback is logged and must not end the thread
        client.connect_timeout = CONNECT_S
        client.on_log, client.on_connect, client.on_disconnect = self._noted, self._connacked, self._gone
        client.on_subscribe, client.on_publish, client.on_message = self._subacked, self._pubacked, self._received
        if self._broker.tls is not None:
            client.tls_set_context(tls_context(self._broker.tls))
        if login.username is not None:
            client.username_pw_set(login.username, login.password)
        if self._will is not None:
            client.will_set(self._will.topic, self._will.payload, qos=1, retain=self._will.retain)
        self._answered.clear()
        self.lost = threading.Event()
        self._connack, self._trouble, self._acks = None, [], {}
        try:
            client.connect(self._broker.host, self._broker.port, KEEPALIVE_S)
        except OSError as error:
            raise self._no_connection(error) from error
        except ValueError as error:
            raise ConfigError(f"{self.peer}: {error}") from error
        self._client = client
        client.loop_start()
        self._answered.wait(ACK_S)
        problem = self._refusal(version == paho.MQTTv5)
        if problem is not None:
            self.close()
            raise problem

    def _no_connection(self, error: OSError) -> MqttError:
        problem = tls_problem(self.peer, error, self._broker.tls is not None)
        return problem or MqttError(str(connect_error(self.peer, error, CONNECT_S)), "unreachable")

    def _refusal(self, newest: bool) -> Optional[Exception]:
        """Return why there is no session although TCP works, or None when there is one."""
        code = self._connack
        if code is not None and code.value < GOOD_BELOW:
            gone = self.lost.is_set()
            return MqttError(f"{self.peer}: hung up right after the login{self._why()}", "lost") if gone else None
        if code is None:
            if newest and self.lost.is_set() and not self._alert():
                return MqttError(f"{self.peer}: hung up on MQTT 5", "version")
            tls = self._broker.tls
            own = tls is not None and bool(tls.cert)
            return broken(self.peer, self._alert(), self.lost.is_set(), tls is not None, own, ACK_S)
        if code.value == UNSUPPORTED_VERSION:
            return MqttError(f"{self.peer}: does not speak this version of MQTT", "version")
        return refused_login(self.peer, code.value, str(code))

    def _alert(self) -> str:
        return next((text for text in self._trouble if "alert" in text.lower() or "ssl" in text.lower()), "")

    def subscribe(self, topics: Iterable[str]) -> Dict[str, str]:
        """Subscribe; returns the refused topics with the broker's reason.

        Raises MqttError when the connection breaks or no answer comes.
        """
        wanted = list(topics)
        if not wanted:
            return {}
        client = self._open()
        rc, mid = client.subscribe([(topic, 1) for topic in wanted])
        codes = self._ack(("sub", mid), f"subscribing to {len(wanted)} topics") if not rc else self._no_send(rc)
        return {topic: str(code) for topic, code in zip(wanted, codes) if code.value >= GOOD_BELOW}

    def publish(self, message: Message) -> None:
        """Publish with QoS 1 and wait for the broker's word.

        Raises MqttError: kind "acl" when MQTT 5 says that the topic is not allowed (3.1.1 cannot say it).
        """
        client = self._open()
        info = client.publish(message.topic, message.payload, qos=1, retain=message.retain)
        code = self._ack(("pub", info.mid), f"publishing to {message.topic}") if not info.rc else self._no_send(info.rc)
        if code.value < GOOD_BELOW:
            return
        kind = "acl" if code.value == NOT_AUTHORISED else "refused"
        raise MqttError(f"{self.peer}: refuses {message.topic} ({code}); check the broker's access rules", kind)

    def _no_send(self, rc: Any) -> Any:
        self.lost.wait(ACK_S)  # the thread is about to say why
        self.close()
        raise MqttError(f"{self.peer}: connection lost{self._why() or f' ({rc})'}", "lost")

    def close(self) -> None:
        """Say goodbye (the broker then keeps the last will to itself) and end the thread."""
        client, self._client = self._client, None
        if client is None:
            return
        client.disconnect()
        client.loop_stop()
        self.lost.set()

    def _open(self) -> Any:
        if not self.connected:
            raise MqttError(f"{self.peer}: not connected{self._why()}", "lost")
        return self._client

    def _why(self) -> str:
        """Say why the connection is gone, as far as the broker or the socket told."""
        if any("taken over" in text.lower() for text in self._trouble):
            return f" (another client came as {self._client_id}; each needs a name of its own)"
        return f" ({self._trouble[0]})" if self._trouble else ""

    def _ack(self, key: Tuple[str, Any], what: str) -> Any:
        with self._came:
            came = self._came.wait_for(lambda: key in self._acks or self.lost.is_set(), ACK_S)
            if key in self._acks:
                return self._acks.pop(key)
        if not came:
            self.close()
            raise MqttError(f"{self.peer}: no answer in {ACK_S:g} s {what}", "silent")
        raise MqttError(f"{self.peer}: hung up while {what}{self._why()}", "lost")

    # What follows runs in the connection's thread.

    def _connacked(self, _client: Any, _data: Any, _flags: Any, code: Any, _properties: Any) -> None:
        self._connack = code
        self._answered.set()

    def _gone(self, _client: Any, _data: Any, _flags: Any, code: Any, _properties: Any) -> None:
        if str(code) != "Normal disconnection":
            self._trouble.append(str(code))
        self.lost.set()
        self._answered.set()
        with self._came:
            self._came.notify_all()
        self.on_lost()

    def _subacked(self, _client: Any, _data: Any, mid: int, codes: Any, _properties: Any) -> None:
        self._acked(("sub", mid), codes)

    def _pubacked(self, _client: Any, _data: Any, mid: int, code: Any, _properties: Any) -> None:
        self._acked(("pub", mid), code)

    def _acked(self, key: Tuple[str, int], what: Any) -> None:
        with self._came:
            self._acks[key] = what
            self._came.notify_all()

    def _received(self, _client: Any, _data: Any, message: Any) -> None:
        if len(message.payload) <= MAX_PAYLOAD:
            self._on_message(Message(message.topic, bytes(message.payload), bool(message.retain)))

    def _noted(self, _client: Any, _data: Any, level: int, text: str) -> None:
        if level == library().MQTT_LOG_ERR and len(self._trouble) < 10:
            self._trouble.append(" ".join(text.split()))
            log.debug("peer=%s said=\"%s\"", self.peer, text)


def library() -> Any:
    """Return paho's client module; raises ConfigError where it is not installed."""
    try:
        from paho.mqtt import client
    except ImportError as error:
        if error.name == "uuid":
            raise ConfigError("MQTT needs Python's uuid: opkg install python3-uuid") from error
        raise ConfigError(
            "MQTT needs paho-mqtt: pip install 'paho-mqtt>=2' (OpenWrt: opkg install sigen-bridge-mqtt)"
        ) from error
    if not hasattr(client, "CallbackAPIVersion"):
        raise ConfigError("MQTT needs paho-mqtt 2 or later: pip install --upgrade 'paho-mqtt>=2'")
    return client
