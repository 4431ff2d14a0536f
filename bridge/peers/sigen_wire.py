"""One call to the Sigenergy OpenAPI: its turn, the exchange, and the answer judged.

Never makes a call that the limiter has not written down, and never quotes what was sent.
"""

from __future__ import annotations

import math
from email.utils import parsedate_to_datetime
from typing import Any, Iterable, Mapping, NamedTuple, Optional

from bridge.clock import Clock
from bridge.link.cloud import CloudHttp, CloudReply, CloudUnreachable, host_of
from bridge.peers.budget import ACCOUNT, PERIOD_S, scope_of
from bridge.peers.envelope import Envelope, EnvelopeError, decode
from bridge.peers.limiter import PATIENCE_S, Limiter
from bridge.peers.sigen_codes import AUTH, LOGIN_FAILED
from bridge.peers.sigen_errors import (
    ApiAuthError,
    ApiError,
    ApiRateLimited,
    TokenRejected,
    clean,
    code_error,
    http_error,
    is_html,
)

UNREACHABLE_S = 30.0  # a request that never left did not cost budget, but the line needs a moment
DECISIVE = (401, 403, 404, 405, 424, 429)  # statuses that say more than a code in their body


class Call(NamedTuple):
    """What to ask; ``period_s`` 0 means that only the budget of the account applies.

    ``guard_s`` forbids a second try for that long until the outcome of this one is known; with
    ``empty_is_good`` an answer without a body is a success (seen on the battery command).
    """

    endpoint: str
    method: str
    path: str
    station: str = ""
    period_s: float = PERIOD_S
    query: Optional[Mapping[str, str]] = None
    body: Any = None
    form: Optional[Mapping[str, str]] = None
    guard_s: float = 0.0
    empty_is_good: bool = False


class Wire:
    """The way to one account's API; ``patience_s`` is the longest wait for a turn."""

    def __init__(
        self, http: CloudHttp, base_url: str, region: str, limiter: Limiter, clock: Clock,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self.host = host_of(self.base_url)
        self.limiter = limiter
        self._http, self._region, self._clock, self._patience_s = http, region, clock, patience_s

    def check(self, call: Call) -> None:
        """Raise RateLimited when the call would not get its turn in time: no login is spent on it then."""
        self.limiter.check(call.endpoint, call.station, call.period_s, self._patience_s)

    def exchange(
        self, call: Call, token: Optional[str] = None, secrets: Iterable[Optional[str]] = (),
        again: bool = False,
    ) -> Envelope:
        """Make the call when its turn comes and return a successful answer.

        ``again`` repeats a call that was answered 401 without waiting for its next period. Raises
        RateLimited, LinkError, EnvelopeError or an ApiError; what the peer asks for is held to.
        """
        period_s = 0.0 if again else call.period_s
        self.limiter.acquire(call.endpoint, call.station, period_s, self._patience_s, call.guard_s)
        headers = {"sigen-region": self._region}
        if call.form is None:
            headers["Content-Type"] = "application/json"
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        try:
            reply = self._http.request(
                call.method, self.base_url + call.path, headers, call.query, call.body, call.form
            )
        except CloudUnreachable as error:
            if not error.sent:
                self.limiter.forgive(call.endpoint, call.station, UNREACHABLE_S, "no connection")
            raise
        self.limiter.settle(call.endpoint, call.station)
        scope = scope_of(call.endpoint, call.station)
        try:
            what = f"sigen {scope} at {self.host}"
            if call.empty_is_good and reply.status in (200, 202, 204) and not reply.text.strip():
                envelope = Envelope(0, "", None, None)
            else:
                envelope = self._judge(reply, what, (*secrets, token), token is not None)
        except ApiError as error:
            if call.guard_s and not isinstance(error, ApiAuthError):
                self.limiter.release(scope)  # no verdict on the password
            self._hold(scope, error)
            raise
        self.limiter.release(scope)
        if token is not None:  # a login that works proves nothing about blocked data calls (424)
            self.limiter.release(ACCOUNT)
        return envelope

    def _hold(self, scope: str, error: ApiError) -> None:
        if error.hold_s <= 0:
            return
        reason = f"code {error.code}" if error.code is not None else f"HTTP {error.status}"
        exact = isinstance(error, ApiAuthError) or (isinstance(error, ApiRateLimited) and error.exact)
        self.limiter.hold(ACCOUNT if error.scope == "account" else scope, error.hold_s, reason, exact=exact)

    def _judge(
        self, reply: CloudReply, what: str, secrets: Iterable[Optional[str]], with_token: bool
    ) -> Envelope:
        if 200 <= reply.status < 300:
            return self._success(reply, what, secrets, with_token)
        if reply.status not in DECISIVE:
            known = self._code_in(reply)
            if known is not None and known.code:
                raise code_error(known.code, clean(known.msg, secrets), what, reply.status)
        raise self._http_error(reply.status, reply, what)

    def _success(
        self, reply: CloudReply, what: str, secrets: Iterable[Optional[str]], with_token: bool
    ) -> Envelope:
        try:
            envelope = decode(reply.text)
        except EnvelopeError as error:
            page = "a web page instead of JSON" if is_html(reply.headers, reply.text) else str(error)
            raise EnvelopeError(f"{what}: {page}; check cloud.base_url, else tried again later") from None
        if not envelope.code:
            return envelope
        if 400 <= envelope.code < 600:  # an HTTP status inside an HTTP 200
            raise self._http_error(envelope.code, reply, what)
        if envelope.code == LOGIN_FAILED and with_token:
            raise TokenRejected(f"{what}: code {LOGIN_FAILED}: the access token was not accepted", AUTH, 200)
        raise code_error(envelope.code, clean(envelope.msg, secrets), what, reply.status)

    def _code_in(self, reply: CloudReply) -> Optional[Envelope]:
        try:
            return decode(reply.text)
        except EnvelopeError:
            return None

    def _http_error(self, status: int, reply: CloudReply, what: str) -> ApiError:
        wait_s = retry_after_s(reply.headers.get("retry-after"), self._clock.now(), self._clock.synced())
        return http_error(status, reply.headers, reply.text, what, wait_s)


def retry_after_s(text: Optional[str], now: float, synced: bool) -> Optional[float]:
    """Return the seconds of a Retry-After header, given as seconds or as a date; None = none or unusable."""
    if not text:
        return None
    try:
        wait_s = float(text)
    except ValueError:
        try:
            wait_s = parsedate_to_datetime(text).timestamp() - now if synced else math.nan
        except (ValueError, TypeError, IndexError, OverflowError):  # the library's words for "no date"
            return None
    return max(1.0, wait_s) if math.isfinite(wait_s) else None
