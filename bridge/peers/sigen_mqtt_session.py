"""Logged in to the Sigenergy cloud's broker: which login it takes, subscribed, activated.

Never subscribes to a wildcard, never onboards unless told to, never shows a token. Which login and which
spelling of the topics work is remembered in the state directory.
"""

from __future__ import annotations

import logging
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from bridge.errors import AuthError, ConfigError, LinkError
from bridge.link.broker import Login, Message
from bridge.peers.sigen_mqtt import COMMAND_TOPIC, ORDERS, PERIOD, activation, topics
from bridge.peers.sigen_mqtt_commands import batch, checked
from bridge.state import StateDir

STATE_FILE = "sigen-mqtt.json"
TOKEN, SECRET, CERTIFICATE, CONFIGURED = "token", "secret", "certificate", "configured"
LOGIN_WORDS: Mapping[str, str] = {
    TOKEN: "AppKey and access token", SECRET: "AppKey and AppSecret", CERTIFICATE: "client certificate alone",
    CONFIGURED: "sigen_mqtt.username and sigen_mqtt.password",
}

log = logging.getLogger("sigen-mqtt")


class Access(NamedTuple):
    """Who we are at the broker; ``certificate`` says whether a client certificate is shown."""

    app_key: str
    app_secret: str
    system_ids: Tuple[str, ...]
    username: str = ""
    password: str = ""
    certificate: bool = False
    orders: Tuple[str, ...] = ORDERS  # one when sigen_mqtt.topic_order names it

    def __repr__(self) -> str:
        return f"Access(app_key=***, systems={len(self.system_ids)})"


class Tokens(NamedTuple):
    """Where access tokens come from: ``current`` returns one that is good, ``renewed`` another than the one given."""

    current: Callable[[], str]
    renewed: Callable[[str], str]


class SigenBroker:
    """Sessions at the vendor's broker. ``dial`` makes an unconnected link whose messages go to a receiver."""

    def __init__(
        self, dial: Callable[[Callable[[Message], None]], Any], access: Access, tokens: Tokens, state: StateDir,
        onboard: Optional[Callable[[Sequence[str]], Any]] = None,
    ) -> None:
        self._dial, self._access, self._tokens, self._state = dial, access, tokens, state
        self._onboard = onboard
        self.login = ""  # which login the broker took
        self.protocol = ""
        self.refused: Dict[str, str] = {}  # topics and why
        self.token = ""
        self._facts: Optional[Dict[str, Any]] = None
        self._renewed = ""
        self._fragile = 0  # times in a row that the broker hung up on a subscription

    def open(self, receive: Callable[[Message], None], subscribe: bool = True) -> Any:
        """Return a connected link, subscribed and activated unless ``subscribe`` is off.

        Raises MqttError, MqttLoginError, and what the login at the OpenAPI raises.
        """
        self.token = self._tokens.current()
        if self._onboard is not None and subscribe:
            self._put_on_board()
        link = self._logged_in(receive)
        try:
            if subscribe:
                self.subscribe(link)
                self.activate(link)
        except (LinkError, ConfigError):
            link.close()
            raise
        return link

    def logins(self) -> List[Tuple[str, Login]]:
        """Return what to try, the remembered one first; documents and clients name three different ones."""
        access = self._access
        if access.username or access.password:
            return [(CONFIGURED, Login(access.username or access.app_key, access.password or self.token))]
        found = [(TOKEN, Login(access.app_key, self.token))]
        if access.certificate:
            found.append((CERTIFICATE, Login()))
        found.append((SECRET, Login(access.app_key, access.app_secret)))
        remembered = self._memory().get("login")
        return sorted(found, key=lambda row: row[0] != remembered)

    def _logged_in(self, receive: Callable[[Message], None]) -> Any:
        try:
            return self._try_all(receive)
        except AuthError:
            if self.token == self._renewed:
                raise  # a fresh one was refused before: it is not the token
            # it may have been revoked before its time
            self.token = self._renewed = self._tokens.renewed(self.token)
            return self._try_all(receive)

    def _try_all(self, receive: Callable[[Message], None]) -> Any:
        refusal: Optional[AuthError] = None
        for name, login in self.logins():
            link = self._dial(receive)
            try:
                link.connect(login)
            except AuthError as error:
                refusal = error
                continue
            self.login, self.protocol = name, link.protocol
            if self._memory().get("login") != name:
                self._remember(login=name)
                log.info("event=login method=%s peer=\"%s\" protocol=%s", name, link.peer, link.protocol)
            return link
        raise refusal or ConfigError("sigen mqtt: no login is configured")

    def orders(self) -> Tuple[str, ...]:
        """Return the spellings to subscribe to: the one set or remembered, else both.

        Some brokers hang up on a topic that is not allowed: then they are tried one at a time.
        """
        if len(self._access.orders) == 1:
            return self._access.orders
        remembered = self._memory().get("order")
        if remembered in ORDERS:
            return (remembered,)
        return ORDERS if not self._fragile else (ORDERS[(self._fragile - 1) % len(ORDERS)],)

    def subscribe(self, link: Any) -> None:
        """Subscribe to the topics of the spellings that come into question; raises TopicsRefused for all refused."""
        wanted = topics(self._access.app_key, self._access.system_ids, self.orders())
        try:
            self.refused = link.subscribe(wanted)
        except LinkError:
            self._fragile += 1
            raise
        for name, why in self.refused.items():
            log.debug("event=topic-refused topic=%s why=\"%s\"", name, why)
        if len(self.refused) == len(wanted):
            why = next(iter(self.refused.values()))
            link.close()
            self.forget_order()
            raise TopicsRefused(
                f"{link.peer}: refuses every topic of this AppKey ({why}); check cloud.app_key, cloud.system_id and the"
                " data subscription in the developer portal"
            )

    def activate(self, link: Any) -> None:
        """Ask the cloud to push; without this a subscription stays silent."""
        for name, body in activation(self.token, self._access.system_ids):
            try:
                link.publish(Message(name, body))
            except LinkError as error:
                if name.endswith(PERIOD) or not link.connected:
                    raise
                log.warning("event=activation-refused error=\"%s\"", error)  # telemetry does not need the other two

    def publish_commands(self, link: Any, commands: Sequence[Mapping[str, Any]], now: float) -> int:
        """Publish one batch of battery commands; returns their number.

        The broker's acknowledgement is not the plant's: read the telemetry to see the effect.
        """
        system_id = self._access.system_ids[0] if len(self._access.system_ids) == 1 else ""
        rows = checked(commands, system_id, now)
        link.publish(Message(COMMAND_TOPIC, batch(rows, self.token)))
        log.info("event=commands-published count=%d", len(rows))
        return len(rows)

    def delivered(self, order: str) -> None:
        """Take note which spelling of the topics brings messages."""
        self._fragile = 0
        if self._memory().get("order") != order:
            self._remember(order=order)
            log.info("event=topic-order order=%s", order)

    def forget_order(self) -> None:
        """Try both spellings the next time."""
        if "order" in self._memory():
            self._remember(order=None)

    def fresh_token(self) -> bool:
        """Say whether the token of this session is still the current one; the broker drops expired ones."""
        return self._tokens.current() == self.token

    def _put_on_board(self) -> None:
        onboard, self._onboard = self._onboard, None  # once a run
        for result in onboard(self._access.system_ids) if onboard is not None else ():
            log.warning("event=onboard system=%s done=%s note=\"%s\"", result.system_id, result.done, result.note)

    def _memory(self) -> Dict[str, Any]:
        facts = self._facts
        if facts is None:
            content = self._state.load(STATE_FILE)
            facts = content if isinstance(content, dict) else {}
            if facts.get("app_key") != self._access.app_key:
                facts = {"app_key": self._access.app_key}
            self._facts = facts
        return facts

    def _remember(self, **facts: Optional[str]) -> None:
        self._facts = {key: text for key, text in {**self._memory(), **facts}.items() if text is not None}
        self._state.save(STATE_FILE, self._facts)


class TopicsRefused(LinkError):
    """The broker takes us and none of our topics."""

    exit_code = 6
    kind = "topics"
