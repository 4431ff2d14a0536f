"""Keeps a session at the Sigenergy cloud's broker: reconnects, renews the token, notices silence.

Never hammers: 30 s after a fault of the connection, 60 s after anything else, doubled up to 10 minutes and
with jitter. Never drops a session that delivers, and never takes a granted subscription for permission:
the vendor's broker drops what may not be read without a word.
"""

from __future__ import annotations

import logging
import threading
from typing import Any, Callable, Dict, Mapping, Optional, Protocol

from bridge.clock import Clock
from bridge.errors import AuthError, BridgeError, ConfigError, LinkError, RateLimited
from bridge.faultlog import FaultLog
from bridge.link.backoff import Backoff, luck
from bridge.link.broker import Message
from bridge.peers.sigen_mqtt import ALARM, Push, decode

CONNECTION_S, UNEXPECTED_S, LOGIN_S = 30.0, 60.0, 300.0  # S1 source; a refused login needs somebody to act
MOST_S = 600.0
PERIOD_S = 300.0  # the vendor pushes at least this often
LOOK_S = 5.0  # how often the token and the silence are looked at
STOPPED, CONNECTING, BROKEN, WAITING, LIVE, SILENT = "stopped", "connecting", "broken", "waiting", "live", "silent"
SILENCE = (
    "connected and subscribed, but silent for {minutes:.0f} min: the broker drops without a word what it may not"
    " deliver; check that the client certificate is this application's, that the data subscription is on in the"
    " developer portal, and that the station is onboarded (sigen-bridge cloud onboard)"
)

log = logging.getLogger("sigen-mqtt")


class Broker(Protocol):
    """What opens sessions; ``SigenBroker`` is the one there is."""

    login: str
    protocol: str

    def open(self, receive: Callable[[Message], None]) -> Any: ...

    def delivered(self, order: str) -> None: ...

    def forget_order(self) -> None: ...

    def fresh_token(self) -> bool: ...


class Feed:
    """The session's thread; ``on_push`` gets every record, in the connection's thread."""

    def __init__(
        self, broker: Broker, clock: Clock, on_push: Callable[[Push], None], aliases: Mapping[str, str],
        period_s: float = PERIOD_S, idle_s: Optional[float] = None,
    ) -> None:
        self._broker, self._clock, self._on_push, self._aliases = broker, clock, on_push, aliases
        self._silent_s, self._idle_s = 2 * period_s, idle_s
        self._wanted_at = clock.monotonic()
        self._faults = FaultLog(clock, "sigen-mqtt")
        self._backoff = Backoff(CONNECTION_S, MOST_S)
        self._news = threading.Event()  # lost, or asked to stop
        self._closing = False
        self._thread: Optional[threading.Thread] = None
        self._link: Any = None
        self._quiet_since: Optional[float] = None  # monotonic: of the last message, or of the first session
        self._session_since = 0.0
        self._odd: Dict[str, None] = {}
        self._told_keys = False
        self.error: Optional[BridgeError] = None
        self.order = ""
        self.messages = self.sessions = 0

    def start(self) -> None:
        """Begin, unless it runs already; with ``idle_s`` it ends when that is not repeated."""
        self._wanted_at = self._clock.monotonic()
        if isinstance(self.error, ConfigError):
            return  # that does not mend itself
        if self._thread is None or not self._thread.is_alive():
            self._closing = False
            self._thread = threading.Thread(target=self.run, name="sigen-mqtt", daemon=True)
            self._thread.start()

    def stop(self, wait_s: float = 0.0) -> None:
        """End the session and the thread; waits for that as long as it is told."""
        self._closing = True
        self._news.set()
        if self._thread is not None and wait_s > 0:
            self._thread.join(wait_s)

    @property
    def state(self) -> str:
        """Where we stand: stopped, connecting, broken, waiting (for the first message), live or silent."""
        if self._link is None:
            if self.error is not None:
                return BROKEN
            return CONNECTING if self._thread is not None and self._thread.is_alive() else STOPPED
        if self.quiet_s() > self._silent_s:
            return SILENT
        return LIVE if self.messages and self.order else WAITING

    def quiet_s(self) -> float:
        """Return for how long no message has come, within one uninterrupted stretch."""
        return 0.0 if self._quiet_since is None else self._clock.monotonic() - self._quiet_since

    def health(self) -> Dict[str, Any]:
        """Return how the session is, for status and doctor; no secret is in it."""
        state = self.state
        silence = SILENCE.format(minutes=self.quiet_s() / 60) if state == SILENT else None
        return {
            "state": state, "login": self._broker.login or None, "protocol": self._broker.protocol or None,
            "order": self.order or None, "messages": self.messages, "sessions": self.sessions,
            "quiet_s": round(self.quiet_s()), "error": silence or (str(self.error) if self.error else None),
        }

    def run(self) -> None:
        """Hold sessions until stopped; a mistake in the settings ends it for good."""
        while not self._ends():
            try:
                self._session()
            except ConfigError as error:
                self.error = error
                self._faults.bad(str(error))
                return
            except BridgeError as error:
                self._failed(error)
        self._link = None

    def _ends(self) -> bool:
        if self._idle_s is not None and self._clock.monotonic() - self._wanted_at > self._idle_s:
            return True
        return self._closing or self._clock.stopped

    def _session(self) -> None:
        """Hold one session; returns when another one shall follow at once. Raises what broke it."""
        self._news.clear()
        link = self._broker.open(self._received)
        try:
            link.on_lost = self._news.set
            self.sessions += 1
            self._session_since = self._clock.monotonic()
            if self.error is not None or self._quiet_since is None:
                self._quiet_since = self._session_since
            self.error, self._link = None, link
            self._backoff.worked()
            self._hold(link)
        finally:
            self._link = None
            link.close()

    def _hold(self, link: Any) -> None:
        while not self._ends():
            if not link.connected:
                raise LinkError(f"{link.peer}: connection lost")
            if not self._broker.fresh_token():
                log.info("event=token-renewed")
                return
            if self.quiet_s() > self._silent_s:
                self._faults.bad(SILENCE.format(minutes=self.quiet_s() / 60))
                if self._clock.monotonic() - self._session_since > self._silent_s:
                    self._broker.forget_order()  # the spelling that once delivered may not be the one any more
                    return
            elif self.messages:
                self._faults.good()
            self._clock.wait_for(self._news, LOOK_S)

    def _failed(self, error: BridgeError) -> None:
        self.error = error
        self._faults.bad(str(error))
        least_s = CONNECTION_S if isinstance(error, LinkError) else UNEXPECTED_S
        if isinstance(error, AuthError):
            least_s = LOGIN_S
        if isinstance(error, RateLimited) and error.retry_after_s is not None:
            least_s = max(least_s, error.retry_after_s)
        self._news.clear()
        pause_s = self._backoff.failed(self._clock.monotonic(), luck(), least_s)
        if not self._ends():
            self._clock.wait_for(self._news, pause_s)

    def _received(self, message: Message) -> None:
        """Take a message, in the connection's thread."""
        for push in decode(message.topic, message.payload, self._aliases):
            self.messages += 1
            self._quiet_since = self._clock.monotonic()
            if push.order != self.order:
                self.order = push.order
                self._broker.delivered(push.order)
            self._name_keys(push)
            self._on_push(push)

    def _name_keys(self, push: Push) -> None:
        """Log the names of the first message once, and each unknown one once: they can be renamed in the portal."""
        if not self._told_keys and push.kind != ALARM:
            self._told_keys = True
            log.info("event=first-message kind=%s keys=\"%s\"", push.kind, " ".join(sorted(push.values)))
        for name in push.odd:
            if name not in self._odd and len(self._odd) < 100:
                self._odd[name] = None
                log.warning("event=unknown-name name=\"%s\" hint=\"sigen_mqtt.aliases maps portal names\"", name)
