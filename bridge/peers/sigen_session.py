"""Logged in to the Sigenergy OpenAPI: one access token, shared by threads, restarts and processes.

Never logs in while a usable token is on disk, never tries a password twice within 15 minutes after a
refusal (five wrong ones lock the account), never shows a credential.
"""

from __future__ import annotations

import base64
import hashlib
import logging
import threading
from typing import Any, Callable, Dict, NamedTuple, Optional, Tuple

from bridge.clock import Clock
from bridge.errors import ConfigError, LinkError, PeerError
from bridge.link.cloud import CloudGarbled, CloudUnreachable
from bridge.peers.budget import Moment, booted_s, by_wall_s
from bridge.peers.envelope import EnvelopeError, number, text_of
from bridge.peers.sigen_codes import AUTH, LOCKED_OUT
from bridge.peers.sigen_errors import ApiAuthError, ApiUnavailable, TokenRejected
from bridge.peers.sigen_wire import Call, Wire
from bridge.state import StateDir

RENEW_EARLY_S = 300.0  # a call must not meet the expiry on its way (S3 source)
LIFETIME_S = 3600.0  # where the answer names none; the true value is 43199
WRONG_LOGIN_S = 900.0  # at most four wrong passwords an hour; five within 60 min lock the account
NO_ANSWER_S = 30.0  # doubled each time; repeated logins are what the vendor restricts first
TOKEN_FILE, LOGIN_FILE = "openapi-token.json", "openapi-login.json"
LOGIN = "login"
SPELLINGS = ("json-plain", "json-aes", "form-plain", "form-aes")  # clients disagree; in order of evidence

log = logging.getLogger("cloud")


class Credentials(NamedTuple):
    """Key and secret of an application, or user and password (``password_encoded``: its AES form)."""

    app_key: Optional[str] = None
    app_secret: Optional[str] = None
    username: Optional[str] = None
    password: Optional[str] = None
    password_encoded: Optional[str] = None

    def __repr__(self) -> str:
        given = [name for name, secret in zip(self._fields, self) if secret]
        return f"Credentials({', '.join(f'{name}=***' for name in given)})"


class Login(NamedTuple):
    """How a login went: method ``key`` or ``account/<spelling>``, and the token's lifetime."""

    method: str
    expires_in_s: float


class Session:
    """The token of one account; ``encode`` is the AES encoding of a plain password, where installed."""

    def __init__(
        self, wire: Wire, credentials: Credentials, state: StateDir, clock: Clock,
        encode: Optional[Callable[[str], str]] = None,
    ) -> None:
        self._wire, self._credentials, self._state, self._clock = wire, credentials, state, clock
        self._encode = encode
        self._lock = threading.Lock()  # a second thread waits for the first one's login and shares it
        self._token: Optional[str] = None
        self._renew_at = self._expires_at = 0.0  # monotonic
        self._method = ""

    def secrets(self) -> Tuple[Optional[str], ...]:
        """Return everything that must not appear in a text."""
        login = self._credentials
        return (login.app_secret, login.password, login.password_encoded, self._token,
                _key(login) if login.app_key else None)

    def token(self) -> str:
        """Return a token that is good for some minutes; logs in where there is none. Raises as ``login``."""
        with self._lock:
            if not self._fresh():
                self._from_disk(unlike=None)
            if self._token is not None and self._fresh():
                return self._token
            try:
                return self._login()
            except (LinkError, PeerError) as error:
                # the last minutes of the old token are better than nothing
                if self._token is None or self._clock.monotonic() >= self._expires_at:
                    raise
                log.warning('event=cloud-renewal-failed error="%s"', error)
                return self._token

    def renew(self, rejected: str) -> str:
        """Return another token than ``rejected``, which was answered 401; logs in unless somebody has."""
        with self._lock:
            if self._token == rejected:
                self._token = None
                self._from_disk(unlike=rejected)
            if self._token is not None and self._fresh():
                return self._token
            self._state.delete(TOKEN_FILE)
            return self._login()

    def login(self) -> Login:
        """Log in now, whatever is cached.

        Raises ApiAuthError (credentials), RateLimited, LinkError, PeerError, ConfigError (none given).
        """
        with self._lock:
            self._login()
            return Login(self._method, self._expires_at - self._clock.monotonic())

    def _fresh(self) -> bool:
        return self._token is not None and self._clock.monotonic() < self._renew_at

    def _moment(self) -> Moment:
        return Moment(self._clock.now(), self._clock.monotonic())

    def _keep(self, token: str, lifetime_s: float, age_s: float) -> None:
        left_s = lifetime_s - age_s
        now = self._clock.monotonic()
        self._token, self._expires_at = token, now + left_s
        self._renew_at = self._expires_at - min(RENEW_EARLY_S, lifetime_s / 2)

    def _from_disk(self, unlike: Optional[str]) -> None:
        """Take over the token another process (or an earlier one) left, unless it is too old for certain."""
        cached = self._state.load(TOKEN_FILE)
        if not isinstance(cached, dict) or cached.get("who") != self._who():
            return
        token, lifetime_s = text_of(cached.get("token")), number(cached.get("expires_in_s"))
        wall, mono = number(cached.get("wall")), number(cached.get("mono"))
        if not token or token == unlike or lifetime_s is None or wall is None or mono is None:
            return
        then, now = Moment(wall, mono), self._moment()
        # without a believable wall clock the true age is unknown: the token is tried, a 401 renews it
        self._keep(token, lifetime_s, max(booted_s(then, now), by_wall_s(then, now) or 0.0))

    def _who(self) -> str:
        identity = f"{self._wire.base_url}|{self._credentials.app_key or self._credentials.username}"
        return hashlib.sha256(identity.encode()).hexdigest()[:16]

    def _login(self) -> str:
        login = self._credentials
        if login.app_key and login.app_secret:
            return self._exchange("key", Call(
                LOGIN, "POST", "/openapi/auth/login/key", period_s=0.0, body={"key": _key(login)}
            ))
        if login.username and (login.password or login.password_encoded):
            return self._login_account()
        raise ConfigError(
            "the cloud needs cloud.app_key with cloud.app_secret (developer portal), or cloud.username with"
            " cloud.password (mySigen account)"
        )

    def _login_account(self) -> str:
        memory = self._memory()
        options = self._spellings()
        spelling = memory["spelling"] if memory.get("spelling") in options else options[0]
        # an unproven password must not be sent twice, not even by a crash loop that never sees the answer
        call = self._account_call(spelling, guard_s=0.0 if memory.get("works") else WRONG_LOGIN_S)
        try:
            token = self._exchange(f"account/{spelling}", call)
        except ApiAuthError as error:
            if error.code != LOCKED_OUT and not memory.get("works"):
                following = options[(options.index(spelling) + 1) % len(options)]
                self._state.save(LOGIN_FILE, {"who": self._who(), "spelling": following, "works": False})
            raise
        if not memory.get("works"):
            self._state.save(LOGIN_FILE, {"who": self._who(), "spelling": spelling, "works": True})
        return token

    def _memory(self) -> Dict[str, Any]:
        memory = self._state.load(LOGIN_FILE)
        return memory if isinstance(memory, dict) and memory.get("who") == self._who() else {}

    def _spellings(self) -> Tuple[str, ...]:
        login = self._credentials
        aes = bool(login.password_encoded or self._encode)
        return tuple(one for one in SPELLINGS if (aes if one.endswith("aes") else login.password))

    def _account_call(self, spelling: str, guard_s: float) -> Call:
        login = self._credentials
        password = login.password or ""
        if spelling.endswith("aes"):
            password = login.password_encoded or (self._encode(password) if self._encode else "")
        fields = {"username": login.username or "", "password": password}
        call = Call(LOGIN, "POST", "/openapi/auth/login/password", period_s=0.0, guard_s=guard_s)
        return call._replace(form=fields) if spelling.startswith("form") else call._replace(body=fields)

    def _exchange(self, method: str, call: Call) -> str:
        """Send a login and keep its token; after a refusal or no answer the next one has to wait."""
        limiter = self._wire.limiter
        try:
            content = self._wire.exchange(call, secrets=self.secrets()).data
        except TokenRejected as error:
            limiter.hold(LOGIN, WRONG_LOGIN_S, "HTTP 401", exact=True)
            raise ApiAuthError(
                f"sigen login at {self._wire.host}: HTTP 401; check app key and secret, or user and password",
                AUTH, error.status,
            ) from None
        except (LinkError, EnvelopeError, CloudGarbled, ApiUnavailable) as error:
            if not isinstance(error, CloudUnreachable) or error.sent:
                limiter.hold(LOGIN, NO_ANSWER_S, "no usable answer to the last login", max_s=WRONG_LOGIN_S)
            raise
        token = text_of(content.get("accessToken")) if isinstance(content, dict) else None
        if not token or not token.isascii() or not token.isprintable():
            raise EnvelopeError(
                f"sigen login at {self._wire.host}: success, but without a usable token; check cloud.base_url"
            )
        lifetime_s = number(content.get("expiresIn"))
        lifetime_s = lifetime_s if lifetime_s is not None and lifetime_s > 0 else LIFETIME_S
        self._keep(token, lifetime_s, 0.0)
        now = self._moment()
        self._state.save(TOKEN_FILE, {
            "who": self._who(), "token": token, "expires_in_s": lifetime_s,
            "wall": now.wall, "mono": now.mono,
        })
        self._method = method
        log.info("event=login method=%s host=%s expires_in_s=%.0f", method, self._wire.host, lifetime_s)
        return token


def _key(login: Credentials) -> str:
    return base64.b64encode(f"{login.app_key}:{login.app_secret}".encode()).decode()
