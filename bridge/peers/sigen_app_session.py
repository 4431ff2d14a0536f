"""Logged in to the mySigen app's API: one pair of tokens, shared by threads, processes and restarts.

Never logs in while a token or a refresh token works, never with a bearer that was given, never twice with a
password that was refused, and never shows any of them. The refresh token outlives a reboot (``kept``), the
access token need not (``cache``).
"""

from __future__ import annotations

import base64
import hashlib
import logging
import threading
from typing import Any, Callable, Mapping, NamedTuple, Optional, Tuple

from bridge.clock import Clock
from bridge.errors import AuthError, ConfigError, LinkError, PeerError, RateLimited
from bridge.peers.budget import Moment, booted_s, by_wall_s
from bridge.peers.envelope import EnvelopeError, number, text_of
from bridge.peers.sigen_app_identity import AppCredentials, bare_bearer, device_id
from bridge.peers.sigen_app_turn import Turn
from bridge.peers.sigen_app_wire import AppCall, AppWire
from bridge.peers.sigen_codes import AUTH
from bridge.peers.sigen_errors import ApiAuthError, ApiRejected, ApiUnavailable
from bridge.peers.sigen_session import LIFETIME_S, RENEW_EARLY_S, WRONG_LOGIN_S, Login
from bridge.state import StateDir

TOKEN_FILE, REFRESH_FILE, LOCK_FILE = "app-token.json", "app-refresh.json", "app-token.lock"
NO_ANSWER_S = 30.0  # after a login that met trouble; doubled each time
TOKEN_PATH = "/auth/oauth/token"
BASIC = "Basic " + base64.b64encode(b"sigen:sigen").decode()  # the web app's own; everybody's
BEARER, PASSWORD, REFRESH = "bearer", "password", "refresh"

log = logging.getLogger("cloud")


class _Pair(NamedTuple):
    """An access token with its times (monotonic), by which grant it came, and what renews it."""

    access: str
    renew_at: float
    expires_at: float
    method: str


class AppSession:
    """The tokens of one account; ``encode`` is the AES encoding of a plain password, where installed."""

    def __init__(
        self, wire: AppWire, credentials: AppCredentials, cache: StateDir, kept: StateDir, clock: Clock,
        encode: Callable[[str], str],
    ) -> None:
        self._wire, self._credentials, self._clock, self._encode = wire, credentials, clock, encode
        self._cache, self._kept = cache, kept
        self._bearer = bare_bearer(credentials.bearer or "")
        self._lock = threading.Lock()  # a second thread waits for the first one's login and shares it
        self._turn = Turn(cache, LOCK_FILE, clock)
        self._pair: Optional[_Pair] = None
        self._seen: Tuple[str, ...] = ()

    def secrets(self) -> Tuple[Optional[str], ...]:
        """Return everything that must not appear in a text."""
        login = self._credentials
        return (login.password, login.password_encoded, self._bearer or None, *self._seen)

    def token(self) -> str:
        """Return a token that is good for some minutes. Raises as ``login``."""
        if self._bearer:
            return self._bearer
        with self._lock:
            if self._pair is None or not self._fresh(self._pair):
                with self._turn.taken():
                    self._pair = self._from_disk(unlike=None) or self._pair
                    if self._pair is None or not self._fresh(self._pair):
                        self._pair = self._renewed_in_time()
            return self._pair.access

    def renew(self, rejected: str, by_password: bool = False) -> str:
        """Return another token than ``rejected``, which was answered 401; somebody else's if there is one.

        Raises ApiAuthError for a bearer, which nobody can renew.
        """
        if self._bearer:
            raise ApiAuthError(
                f"sigen app at {self._wire.host}: the bearer (cloud.bearer, SIGEN_BEARER) is not accepted, it"
                " may have expired; paste a new bearer or use user/password (cloud.username with"
                " cloud.password or cloud.password_encoded)", AUTH, 401,
            )
        with self._lock, self._turn.taken():
            if self._pair is None or self._pair.access == rejected:
                self._pair = self._from_disk(unlike=rejected)
            if self._pair is None:
                self._cache.delete(TOKEN_FILE)
                self._pair = self._by_password() if by_password else self._renewed()
            return self._pair.access

    @property
    def method(self) -> str:
        """How the present token came: by ``password``, by ``refresh``, as ``bearer``, or "" (from disk)."""
        return BEARER if self._bearer else self._pair.method if self._pair is not None else ""

    def login(self) -> Login:
        """Log in with the password now, whatever is cached; with a bearer nothing is asked.

        Raises ApiAuthError (credentials), RateLimited, LinkError, PeerError, ConfigError (none given).
        """
        if self._bearer:
            raise ConfigError(
                "login: a bearer is set (cloud.bearer, SIGEN_BEARER), so that there is nothing to log in with;"
                " remove it to use user and password"
            )
        with self._lock, self._turn.taken():
            self._pair = self._by_password()
            return Login(self._pair.method, self._pair.expires_at - self._clock.monotonic())

    def _fresh(self, pair: _Pair) -> bool:
        return self._clock.monotonic() < pair.renew_at

    def _renewed_in_time(self) -> _Pair:
        """Renew before the end; the last minutes of the old token are better than nothing."""
        try:
            return self._renewed()
        except (LinkError, PeerError) as error:
            if self._pair is None or self._clock.monotonic() >= self._pair.expires_at:
                raise
            log.warning('event=app-renewal-failed error="%s"', error)
            return self._pair

    def _renewed(self) -> _Pair:
        """Use the refresh token once; where it is refused, the password once."""
        refresh = text_of(self._ours(self._kept, REFRESH_FILE).get("refresh_token"))
        if refresh:
            self._seen = (*self._seen[-6:], refresh)
            form = {"grant_type": "refresh_token", "refresh_token": refresh, "scope": "server"}
            try:
                return self._exchange(REFRESH, form, "appRefresh")
            except RateLimited:
                raise
            except (AuthError, ApiRejected, EnvelopeError) as error:
                log.info('event=app-refresh-refused error="%s" next=password', error)
        return self._by_password()

    def _by_password(self) -> _Pair:
        login = self._credentials
        if not login.username or not (login.password or login.password_encoded):
            raise ConfigError(
                "the Sigen app needs cloud.username with cloud.password (or cloud.password_encoded), or a"
                " bearer in cloud.bearer; sigen-bridge env make asks for them"
            )
        encoded = login.password_encoded or self._encode(login.password or "")
        form = {
            "username": login.username, "password": encoded, "grant_type": "password", "scope": "server",
            "userDeviceId": device_id(login.device_id, self._kept, self._clock),
        }
        # another password is another try; four digits tell it apart and give nothing away
        scope = f"appLogin {hashlib.sha256(f'{self._who()}{encoded}'.encode()).hexdigest()[:4]}"
        proven = bool(self._ours(self._kept, REFRESH_FILE))
        self._seen = (*self._seen[-6:], encoded)
        try:
            return self._exchange(PASSWORD, form, scope, 0.0 if proven else WRONG_LOGIN_S)
        except ApiAuthError as error:
            self._wire.limiter.hold(scope, WRONG_LOGIN_S, "the password was refused", exact=True)
            raise ApiAuthError(
                f"{error}; check cloud.username and cloud.password (or cloud.password_encoded) and"
                f" cloud.region; the same password is not tried again for {WRONG_LOGIN_S / 60:.0f} min",
                AUTH, error.status, error.code,
            ) from None
        except ApiUnavailable:
            self._wire.limiter.hold(scope, NO_ANSWER_S, "no usable answer to the last login", max_s=WRONG_LOGIN_S)
            raise

    def _exchange(self, method: str, form: Mapping[str, str], scope: str, guard_s: float = 0.0) -> _Pair:
        call = AppCall("login", "POST", TOKEN_PATH, form=form, basic=BASIC)
        content = self._wire.exchange(call, None, self.secrets(), scope, guard_s)
        access = text_of(content.get("access_token")) if isinstance(content, dict) else None
        if not access or not access.isascii() or not access.isprintable():
            raise EnvelopeError(
                f"sigen app login at {self._wire.host}: success, but without a usable token; check"
                " cloud.app_base_url and cloud.region"
            )
        lifetime_s = number(content.get("expires_in"))
        lifetime_s = lifetime_s if lifetime_s is not None and lifetime_s > 0 else LIFETIME_S
        self._keep_refresh(text_of(content.get("refresh_token")))
        moment = self._moment()
        self._cache.save(TOKEN_FILE, {
            "who": self._who(), "token": access, "expires_in_s": lifetime_s, "wall": moment.wall,
            "mono": moment.mono,
        })
        log.info("event=app-login method=%s host=%s expires_in_s=%.0f", method, self._wire.host, lifetime_s)
        return self._made(access, lifetime_s, 0.0, method)

    def _keep_refresh(self, refresh: Optional[str]) -> None:
        """Keep the new refresh token before anything else happens: the old one is spent."""
        if not refresh:
            self._kept.delete(REFRESH_FILE)
            return
        self._seen = (*self._seen[-6:], refresh)
        content = {"who": self._who(), "refresh_token": refresh}
        if not self._kept.save(REFRESH_FILE, content, durable=True):
            log.warning('event=refresh-token-not-kept path=%s effect="a restart logs in again"', self._kept.path)

    def _made(self, access: str, lifetime_s: float, age_s: float, method: str) -> _Pair:
        self._seen = (*self._seen[-6:], access)
        expires_at = self._clock.monotonic() + lifetime_s - age_s
        return _Pair(access, expires_at - min(RENEW_EARLY_S, lifetime_s / 2), expires_at, method)

    def _from_disk(self, unlike: Optional[str]) -> Optional[_Pair]:
        """Return the token another process (or an earlier one) left, unless it is too old for certain."""
        cached = self._ours(self._cache, TOKEN_FILE)
        token, lifetime_s = text_of(cached.get("token")), number(cached.get("expires_in_s"))
        wall, mono = number(cached.get("wall")), number(cached.get("mono"))
        if not token or token == unlike or lifetime_s is None or wall is None or mono is None:
            return None
        then, now = Moment(wall, mono), self._moment()
        # without a believable wall clock the true age is unknown: the token is tried, a 401 renews it
        pair = self._made(token, lifetime_s, max(booted_s(then, now), by_wall_s(then, now) or 0.0), "")
        return pair if self._fresh(pair) else None

    def _ours(self, state: StateDir, name: str) -> Mapping[str, Any]:
        """Return what a file holds for this account; another account's is nothing."""
        content = state.load(name)
        return content if isinstance(content, dict) and content.get("who") == self._who() else {}

    def _moment(self) -> Moment:
        return Moment(self._clock.now(), self._clock.monotonic())

    def _who(self) -> str:
        return hashlib.sha256(f"{self._wire.base_url}|{self._credentials.username}".encode()).hexdigest()[:16]
