"""Enlighten, Enphase's cloud: an account in, a token for one Envoy out.

Never keeps a session and never tries twice by itself: the keeper decides when. Two ways lead to a token
once logged in, and the vendor has closed each of them now and then: ``session`` (GET /entrez-auth-token with
the session's cookie) and ``tokens`` (POST to the token service). ``auto`` takes the other when one fails.
"""

from __future__ import annotations

import json
from typing import Any, Mapping, NamedTuple, Optional, Protocol, Tuple

from bridge.errors import BridgeError, ConfigError
from bridge.peers.enphase_errors import EnlightenError, LoginRejected
from bridge.peers.enphase_jwt import Token, read_token

REMOTE_URL = "https://enlighten.enphaseenergy.com"
TOKEN_URL = "https://entrez.enphaseenergy.com"
SESSION, TOKENS, AUTO = "session", "tokens", "auto"
COOKIE = "_enlighten_4_session"
PASTE = "or paste a token into enphase.jwt (docs/enphase.md)"


class Account(NamedTuple):
    """Who asks, and for which Envoy."""

    username: str
    password: str
    serial: str

    def __repr__(self) -> str:
        return f"Account(serial={self.serial!r})"


class CloudReply(Protocol):
    """What came back; header names are lower case."""

    @property
    def status(self) -> int: ...

    @property
    def headers(self) -> Mapping[str, str]: ...

    @property
    def text(self) -> str: ...


class Http(Protocol):
    """What sends a request to a cloud; ``bridge.link.cloud.CloudHttp`` is the one there is."""

    def request(
        self, method: str, url: str, headers: Optional[Mapping[str, str]] = None,
        query: Optional[Mapping[str, str]] = None, json_body: Any = None, form: Optional[Mapping[str, str]] = None,
    ) -> CloudReply: ...

    def close(self) -> None: ...


class Enlighten:
    """The account's way to a token."""

    def __init__(self, http: Http, account: Account, remote_url: str, token_url: str, way: str = AUTO) -> None:
        self._http, self._account, self._way = http, account, way
        self._remote = (remote_url or REMOTE_URL).rstrip("/")
        self._tokens = tokens_url(token_url or TOKEN_URL)

    def fetch(self, first: str = "") -> Tuple[Token, str]:
        """Log in and return a token and the way it came; ``first`` is the way that worked last time.

        Raises LoginRejected, EnlightenError, ConfigError and what the connection raises.
        """
        missing = [name for name, value in zip(self._account._fields, self._account) if not value]
        if missing:
            raise ConfigError(
                "no token for the Envoy can be had: set " + ", ".join(f"enphase.{name}" for name in missing)
                + f", {PASTE}"
            )
        session = self._login()
        ways: Tuple[str, ...] = (SESSION, TOKENS) if self._way == AUTO else (self._way,)
        if first in ways:
            ways = (first, *(way for way in ways if way != first))
        reasons = []
        for way in ways:
            try:
                return (self._by_session(session) if way == SESSION else self._by_tokens(session)), way
            except ConfigError:
                raise
            except BridgeError as error:
                reasons.append(error)
        if len(reasons) == 1:
            raise reasons[0]
        raise EnlightenError("; ".join(str(reason) for reason in reasons))

    def close(self) -> None:
        """Drop the connections."""
        self._http.close()

    def _login(self) -> str:
        url = f"{self._remote}/login/login.json"
        form = {"user[email]": self._account.username, "user[password]": self._account.password}
        reply = self._http.request("POST", url, form=form)
        where = f"enphase login at {host_and_path(url)[0]}"
        content = json_object(reply.text)
        if reply.status in (400, 401, 422) or (reply.status == 200 and content.get("message") not in ("success", None)):
            raise LoginRejected(
                f"{where}: Enlighten rejects the login (status {reply.status}); check enphase.username and"
                f" enphase.password, {PASTE}"
            )
        if reply.status in (403, 429):
            raise EnlightenError(f"{where}: refused for now (status {reply.status}); tried again later, {PASTE}")
        if reply.status != 200 or not content:
            raise EnlightenError(f"{where}: no usable answer (status {reply.status}); tried again later")
        if content.get("isBlocked"):
            raise LoginRejected(f"{where}: the account is blocked; unblock it at Enlighten in a browser, {PASTE}")
        session = content.get("session_id")
        if not isinstance(session, str) or not session:
            raise LoginRejected(
                f"{where}: the account wants a second factor (MFA), so no session comes; switch MFA off at"
                f" Enlighten, {PASTE}"
            )
        return session

    def _by_session(self, session: str) -> Token:
        reply = self._http.request(
            "GET", f"{self._remote}/entrez-auth-token", {"Cookie": f"{COOKIE}={session}"},
            {"serial_num": self._account.serial},
        )
        return self._token(reply, "GET /entrez-auth-token")

    def _by_tokens(self, session: str) -> Token:
        body = {"session_id": session, "serial_num": self._account.serial, "username": self._account.username}
        reply = self._http.request("POST", self._tokens, json_body=body)
        return self._token(reply, f"POST {host_and_path(self._tokens)[1]}")

    def _token(self, reply: CloudReply, what: str) -> Token:
        """Return the token of an answer: its text alone, or ``token`` in JSON."""
        if reply.status != 200:
            raise EnlightenError(
                f"enphase {what}: no token for Envoy {self._account.serial} (status {reply.status}); check"
                f" enphase.serial and that the account owns this Envoy, {PASTE}"
            )
        text = reply.text.strip()
        content = json_object(text)
        try:
            return read_token(str(content.get("token") or "") if content else text)
        except ValueError as reason:
            raise EnlightenError(f"enphase {what}: what came back is no token ({reason}); {PASTE}") from None


def tokens_url(url: str) -> str:
    """Return the address to post to: an address without a path gets the usual one."""
    bare = url.rstrip("/")
    return bare if host_and_path(bare)[1] else f"{bare}/tokens"


def host_and_path(url: str) -> Tuple[str, str]:
    """Return host[:port] and the path, '' without one, of an http(s) address."""
    host, slash, path = url.partition("://")[2].partition("/")
    return host.rpartition("@")[2], slash + path


def json_object(text: str) -> Mapping[str, Any]:
    """Return a JSON object, or an empty one for anything else."""
    try:
        content = json.loads(text)
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}
