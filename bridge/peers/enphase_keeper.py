"""Keeps a token that the Envoy accepts: stored, renewed in time, fetched once for many who ask.

Never contacts the cloud when a token was pasted (``enphase.jwt``), never while the clock is not set (the
cloud's certificate could not be checked), and never more often than once in 60 to 600 s after a failure.
"""

from __future__ import annotations

import hashlib
import logging
import os
import threading
from typing import Any, Optional, Protocol, Tuple

from bridge.clock import Clock
from bridge.errors import BridgeError, ConfigError
from bridge.faultlog import FaultLog
from bridge.peers.enphase_errors import LoginRejected, NoToken, TokenRefused
from bridge.peers.enphase_jwt import DAY_S, Token, read_token

FILE = "enphase-token.json"
LEAST_S, MOST_S = 60.0, 600.0  # between two tries that fail
REJECTED_S = 3600.0  # and after a wrong password, which is the owner's turn: more would lock the account
LOOK_S = 60.0  # how often the keeper looks whether something is due

log = logging.getLogger("enphase")


class Fetcher(Protocol):
    """Where tokens come from; ``bridge.peers.enphase_cloud.Enlighten``."""

    def fetch(self, first: str = "") -> Tuple[Token, str]: ...

    def close(self) -> None: ...


class Store(Protocol):
    """Where the token outlives the process; ``bridge.state.StateDir``."""

    def load(self, name: str) -> Optional[Any]: ...

    def save(self, name: str, content: Any, durable: bool = False) -> bool: ...


class TokenKeeper:
    """The token of one Envoy; ``pasted`` rules the cloud out, ``label`` tells stored tokens of accounts apart."""

    def __init__(self, fetcher: Fetcher, store: Store, clock: Clock, label: str, pasted: str = "") -> None:
        self._fetcher, self._store, self._clock = fetcher, store, clock
        self._label = hashlib.sha256(label.encode()).hexdigest()[:16]
        self._faults = FaultLog(clock, "enphase.token")
        self._turn = threading.Lock()
        self._way = ""
        self._failures = 0
        self._error: Optional[BridgeError] = None
        self._not_before = float("-inf")
        self._fresh_until = float("-inf")  # a token that is refused although it is this new will not get better
        self._noticed_at = float("-inf")
        self.fixed = bool(pasted)
        self._held: Optional[Token] = pasted_token(pasted) if pasted else self._load()

    @property
    def held(self) -> Optional[Token]:
        """The token as it stands, used up or not."""
        return self._held

    @property
    def error(self) -> str:
        """Why the last try to get a token failed, or ''."""
        return str(self._error) if self._error is not None else ""

    @property
    def cause(self) -> Optional[BridgeError]:
        """What the last try to get a token failed of."""
        return self._error

    def token(self) -> str:
        """Return a token to send; fetches one when there is none. Raises NoToken."""
        held = self._held
        if held is not None and not self._ended(held):
            return held.text
        return self._renewed(held).text

    def refused(self, text: str) -> bool:
        """Take note that the Envoy refused ``text``; returns whether there is another one to try.

        Raises TokenRefused when nothing can be done, and NoToken when a new one could not be fetched.
        """
        held = self._held
        if held is not None and held.text != text:
            return True  # somebody else was faster
        if self.fixed:
            raise TokenRefused("enphase: the Envoy refuses the token of enphase.jwt (401); paste a new one")
        if self._clock.monotonic() < self._fresh_until:
            return False
        self._renewed(held)
        return True

    def renew(self) -> Token:
        """Fetch a new token now, whatever the one at hand is worth. Raises NoToken."""
        return self._renewed(self._held)

    def tend(self) -> float:
        """Renew what is due and say what ends soon; returns in how many seconds to look again."""
        held, now = self._held, self._clock.now()
        if self._clock.synced() and held is not None:
            self._notice(held, now)
        if self.fixed:
            return LOOK_S
        renew_at = held.renew_at() if held is not None else None
        due = held is None or (self._clock.synced() and renew_at is not None and now >= renew_at)
        if due and self._clock.monotonic() >= self._not_before:
            try:
                self._renewed(held)
            except NoToken:
                return LOOK_S  # said in the log already
        return LOOK_S

    def run(self) -> None:
        """Tend until the clock is stopped; for a thread of its own."""
        while not self._clock.wait(self.tend()):
            continue

    def close(self) -> None:
        """Drop the connection to the cloud."""
        self._fetcher.close()

    def _ended(self, token: Token) -> bool:
        return self._clock.synced() and token.ended(self._clock.now())

    def _renewed(self, old: Optional[Token]) -> Token:
        """Return a token other than ``old``; whoever comes while it is fetched gets the same one."""
        with self._turn:
            held = self._held
            if held is not None and held is not old and not self._ended(held):
                return held
            if self.fixed:
                raise NoToken("enphase: the token of enphase.jwt has ended; paste a new one")
            stored = self._load()
            if stored is not None and (old is None or stored.text != old.text) and not self._ended(stored):
                self._took(stored)  # another process of ours has fetched it
                return stored
            self._may_ask()
            try:
                token, self._way = self._fetcher.fetch(self._way)
            except BridgeError as error:
                raise self._failed(error) from None
            if token.issued_at is None:
                token = token._replace(issued_at=self._clock.now())
            self._took(token)
            self._save(token)
            log.info("state=token expires=%s way=%s", day(token.expires_at), self._way)
            return token

    def _may_ask(self) -> None:
        if not self._clock.synced():
            error = NoToken("enphase: waits for the clock to be set before it logs in (NTP)", LOOK_S)
            self._error = error
            raise error
        wait_s = self._not_before - self._clock.monotonic()
        if wait_s > 0:
            raise NoToken(f"{self._error or 'enphase: no token'} (tried again in {wait_s:.0f} s)", wait_s)

    def _failed(self, error: BridgeError) -> NoToken:
        self._failures += 1
        most_s = min(MOST_S, LEAST_S * 2 ** min(self._failures, 10))
        wait_s = LEAST_S + (most_s - LEAST_S) * os.urandom(1)[0] / 255.0
        if isinstance(error, (LoginRejected, ConfigError)):
            wait_s = REJECTED_S
        self._not_before = self._clock.monotonic() + wait_s
        self._error = error
        self._faults.bad(str(error))
        return NoToken(str(error), wait_s)

    def _took(self, token: Token) -> None:
        self._held, self._error, self._failures = token, None, 0
        self._not_before = float("-inf")
        self._fresh_until = self._clock.monotonic() + LEAST_S
        self._faults.good()

    def _notice(self, token: Token, now: float) -> None:
        if not token.wants_notice(now) or now - self._noticed_at < DAY_S:
            return
        self._noticed_at = now
        if self.fixed:
            log.warning("state=ending expires=%s advice=\"paste a new token into enphase.jwt\"", day(token.expires_at))
        else:
            log.info("state=ending expires=%s renewed_from=%s", day(token.expires_at), day(token.renew_at()))

    def _load(self) -> Optional[Token]:
        content = self._store.load(FILE)
        if not isinstance(content, dict) or content.get("label") != self._label:
            return None
        self._way = str(content.get("way") or "")
        issued_at = content.get("issued_at")
        try:
            return read_token(str(content.get("token")), issued_at if isinstance(issued_at, (int, float)) else None)
        except ValueError:
            return None

    def _save(self, token: Token) -> None:
        content = {"label": self._label, "token": token.text, "issued_at": token.issued_at, "way": self._way}
        if not self._store.save(FILE, content, durable=True):
            log.warning("state=not-stored reason=\"the state directory cannot be written\"")


def pasted_token(text: str) -> Token:
    """Return the token of ``enphase.jwt``; raises ConfigError without quoting it."""
    try:
        return read_token(text)
    except ValueError as reason:
        raise ConfigError(f"setting enphase.jwt: this is no token ({reason}); copy the whole of it") from None


def day(at: Optional[float]) -> str:
    """Return a moment as a date, for people."""
    if at is None:
        return "unknown"
    from datetime import datetime, timezone  # the service itself counts in seconds

    return datetime.fromtimestamp(at, timezone.utc).strftime("%Y-%m-%d")
