"""One call to the API behind the mySigen app: its turn, the exchange, and the answer judged.

Never quotes what was sent, never follows a redirect, and never asks while the service wants quiet.
Unofficial API: facts from public clients (cloud-apis section 4); what only one of them says is marked there.
"""

from __future__ import annotations

from typing import Any, Iterable, Mapping, NamedTuple, Optional

from bridge.clock import Clock
from bridge.errors import AuthError
from bridge.link.cloud import CloudHttp, CloudReply, CloudUnreachable, host_of
from bridge.peers.budget import ACCOUNT, Limits
from bridge.peers.envelope import EnvelopeError, integer, parse, text_of, unwrap
from bridge.peers.limiter import Limiter
from bridge.peers.sigen_codes import AUTH, CONFIG, LOCKED_OUT, LOGIN_FAILED, PERMISSION, RATE, TRANSIENT
from bridge.peers.sigen_errors import (
    FIREWALL_HOLD_S,
    TOO_MANY_HOLD_S,
    ApiAuthError,
    ApiError,
    ApiRateLimited,
    ApiRejected,
    ApiUnavailable,
    TokenRejected,
    clean,
    is_html,
)
from bridge.peers.sigen_wire import retry_after_s

LEDGER_FILE = "app-limits.json"
# no limit is documented; this is what a person with the app open causes
APP_LIMITS = Limits(per_minute=60, pace_s=0.0)
CLIENT_SERVER: Mapping[str, str] = {"apac": "aus"}  # the app says aus for both; else the region's own name
AUTH_CODES = (401, 403)


class AppCall(NamedTuple):
    """What to ask; ``basic`` is the Authorization of a call that has no token yet."""

    name: str
    method: str
    path: str
    query: Optional[Mapping[str, str]] = None
    body: Any = None
    form: Optional[Mapping[str, str]] = None
    basic: Optional[str] = None


class AppWire:
    """The way to one region's app API; ``patience_s`` is the longest wait for a turn."""

    def __init__(
        self, http: CloudHttp, base_url: str, region: str, limiter: Limiter, clock: Clock, patience_s: float
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self.host = host_of(self.base_url)
        self.limiter = limiter
        self._http, self._clock, self._patience_s = http, clock, patience_s
        self._client_server = CLIENT_SERVER.get(region, region)

    def exchange(
        self, call: AppCall, token: Optional[str] = None, secrets: Iterable[Optional[str]] = (),
        scope: str = "", guard_s: float = 0.0,
    ) -> Any:
        """Make the call and return the data of a successful answer.

        ``scope`` names the call in the ledger; with ``guard_s`` it is held until there is a verdict. Raises
        TokenRejected, ApiAuthError, RateLimited, ApiRejected, ApiUnavailable, LinkError or EnvelopeError.
        """
        scope = scope or call.name
        self.limiter.acquire(scope, "", 0.0, self._patience_s, guard_s)
        headers = {"lang": "en_US", "AUTH-CLIENT-ID": "sigen", "client-server": self._client_server}
        if call.form is None:
            headers["Content-Type"] = "application/json"
        authorization = call.basic if token is None else f"Bearer {token}"
        if authorization:
            headers["Authorization"] = authorization
        try:
            reply = self._http.request(
                call.method, self.base_url + call.path, headers, call.query, call.body, call.form
            )
        except CloudUnreachable as error:
            if guard_s and not error.sent:
                self.limiter.release(scope)
            raise
        what = f"sigen app {call.name} at {self.host}"
        try:
            content = self._judge(reply, what, (*secrets, token), token is not None)
        except (ApiError, EnvelopeError) as error:
            if guard_s and not isinstance(error, AuthError):
                self.limiter.release(scope)  # no verdict on the password
            if isinstance(error, ApiError) and error.hold_s > 0 and error.scope == "account":
                exact = not isinstance(error, ApiRateLimited) or error.exact
                self.limiter.hold(ACCOUNT, error.hold_s, f"HTTP {error.status}", exact=exact)
            raise
        self.limiter.release(scope, ACCOUNT)
        return content

    def _judge(self, reply: CloudReply, what: str, secrets: Iterable[Optional[str]], with_token: bool) -> Any:
        page = is_html(reply.headers, reply.text)
        if reply.status == 403 and page:
            raise ApiRejected(
                f"{what}: HTTP 403 with an HTML page: blocked by the cloud's web firewall, not by the"
                " password; set cloud.user_agent to a browser's text", CONFIG, 403,
                hold_s=FIREWALL_HOLD_S, scope="account",
            )
        if 200 <= reply.status < 300 and page:
            raise EnvelopeError(f"{what}: a web page instead of JSON; check cloud.app_base_url and cloud.region")
        content = _content(reply.text)
        code, said = content.code, clean(content.msg, secrets)
        if not 200 <= reply.status < 300:
            raise self._refused(reply.status, None, said, what, reply, with_token)
        if content.damaged:
            raise EnvelopeError(f"{what}: {content.damaged}; check cloud.app_base_url, else tried again later")
        if code:
            status = code if 400 <= code < 600 else reply.status
            raise self._refused(status, code, said, what, reply, with_token)
        return content.data

    def _refused(
        self, status: int, code: Optional[int], said: str, what: str, reply: CloudReply, with_token: bool
    ) -> ApiError:
        came = f"{what}: {f'code {code}' if code is not None else f'HTTP {status}'}"
        came += f' "{said}"' if said else ""
        if status == 401 or code in AUTH_CODES:
            if with_token:
                return TokenRejected(f"{came}: the token was not accepted", AUTH, status, code)
            return ApiAuthError(f"{came}: not accepted", AUTH, status, code)
        if code in (LOGIN_FAILED, LOCKED_OUT):
            locked = ", which is locked after five wrong passwords" if code == LOCKED_OUT else ""
            return ApiAuthError(f"{came}: not accepted{locked}", AUTH, status, code)
        if status == 429:
            named_s = retry_after_s(reply.headers.get("retry-after"), self._clock.now(), self._clock.synced())
            hold_s = TOO_MANY_HOLD_S if named_s is None else named_s
            return ApiRateLimited(
                f"{came}: too many requests; not asked again for {hold_s:.0f} s", RATE, status, code,
                hold_s=hold_s, scope="account", exact=named_s is not None,
            )
        if status in (404, 405):
            return ApiRejected(
                f"{came}: there is no such call at this address; check cloud.app_base_url and cloud.region",
                CONFIG, status, code,
            )
        if status == 408 or status >= 500:
            return ApiUnavailable(f"{came}: the cloud has trouble; tried again later", TRANSIENT, status, code)
        if status == 403:
            return ApiRejected(f"{came}: this account may not do that", PERMISSION, status, code)
        if 300 <= status < 400:
            return ApiRejected(f"{came}: a redirect, which is not followed; check cloud.app_base_url", CONFIG, status)
        return ApiRejected(f"{came}: refused; check cloud.station_id and the command", CONFIG, status, code)


class _Content(NamedTuple):
    """What a body holds; ``damaged`` says why it is no answer."""

    code: Optional[int] = None
    msg: str = ""
    data: Any = None
    damaged: str = ""


def _content(text: str) -> _Content:
    """Read an answer with or without its envelope; no code beside data, or bare tokens, is success."""
    if not text.strip():
        return _Content(damaged="an empty answer")
    try:
        whole = unwrap(parse(text))
    except ValueError:
        return _Content(damaged="the answer is not JSON")
    if not isinstance(whole, dict):
        return _Content(damaged="the answer is JSON, but not an object")
    said = next((text_of(whole[key]) for key in ("msg", "message", "error_description", "error")
                 if text_of(whole.get(key))), None) or ""
    if "access_token" in whole:
        return _Content(0, said, whole)
    code = integer(whole.get("code"))
    if code is None and "code" not in whole and "data" in whole:
        code = 0
    if code is None:
        return _Content(None, said, None, "the answer has no code")
    return _Content(code, said, whole.get("data"))
