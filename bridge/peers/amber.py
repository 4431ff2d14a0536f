"""The Amber API of one customer: sites, prices, the current interval.

Never asks when the budget does not allow it, never logs or quotes the token, and never calls an empty answer
a price. Facts: Amber's API description; limits and 429s as users met them (amberelectric/public-api 277, 280).
"""

from __future__ import annotations

import json
from datetime import date
from typing import Any, List, Mapping, Optional

from bridge.clock import Clock
from bridge.errors import EXIT_CLOUD, ConfigError, LinkError, PeerError, RateLimited
from bridge.link.cloud import CloudHttp, CloudReply, CloudUnreachable, host_of, path_part
from bridge.peers.amber_records import Rows, Site, rows_of, site_of
from bridge.peers.budget import ACCOUNT, Limits
from bridge.peers.envelope import number, parse
from bridge.peers.limiter import Limiter
from bridge.peers.sigen_codes import AUTH, CONFIG, RATE, TRANSIENT
from bridge.peers.sigen_errors import ApiAuthError, ApiRateLimited, ApiRejected, ApiUnavailable, clean, is_html
from bridge.state import StateDir

BASE_URL = "https://api.amber.com.au/v1"
LEDGER_FILE = "amber-limits.json"
LIMITS = Limits(per_minute=20, pace_s=0.0)  # 50 in 5 minutes, shared with the owner's other tools
SITES, PRICES, LIVE = "sites", "prices", "current"
RESERVE = 5  # calls of a window that are left to the owner's other tools
MARGIN_S = 2.0  # behind the reset that the headers name: clocks differ
THROTTLED_S, THROTTLED_MAX_S = 30.0, 300.0  # AWS says 429 without saying for how long
FIREWALL_S = 900.0
UNREACHABLE_S = 30.0
FAILED_S = 60.0  # an answer that was none need not be waited for a whole period
NEXT_MAX = 2048


class AmberGarbled(PeerError):
    """Amber answered, but not with what it documents."""

    exit_code = EXIT_CLOUD


def limiter(state: StateDir, clock: Clock) -> Limiter:
    """Return the ledger of the Amber account, shared by all processes with the same state directory."""
    return Limiter(state, clock, LIMITS, LEDGER_FILE)


class Amber:
    """One token's way to the API; ``period_s`` is how often each list of prices may be asked for.

    Every call may raise RateLimited, LinkError, AuthError, Rejected, PeerError and ConfigError.
    """

    def __init__(
        self, http: CloudHttp, token: str, clock: Clock, ledger: Limiter, base_url: str = "",
    ) -> None:
        if not token:
            raise ConfigError(
                "setting amber.token is missing: make one in the Amber app (Settings, Developers) and put it into"
                " AMBER_TOKEN or the configuration file"
            )
        self._http, self._token, self._clock, self._ledger = http, token, clock, ledger
        self.base_url = (base_url or BASE_URL).rstrip("/")
        self.host = host_of(self.base_url)

    def sites(self) -> List[Site]:
        """Return the sites of the account."""
        content = self._get(SITES, "", "/sites", {}, 0.0)
        if not isinstance(content, list):
            raise AmberGarbled(f"amber sites at {self.host}: the answer is no list; check amber.base_url")
        return [site for site in map(site_of, content) if site is not None]

    def prices(self, site_id: str, first: date, last: date, resolution_min: int, period_s: float) -> Rows:
        """Return the prices of the days ``first`` to ``last`` (NEM time, both included)."""
        query = {"startDate": first.isoformat(), "endDate": last.isoformat(), "resolution": str(resolution_min)}
        path = f"/sites/{path_part(site_id)}/prices"
        return rows_of(self._get(PRICES, site_id, path, query, period_s))

    def current(
        self, site_id: str, resolution_min: int, period_s: float, following: int = 0, previous: int = 0
    ) -> Rows:
        """Return the running interval of each channel, with as many before and behind it as wanted."""
        if not (0 <= following <= NEXT_MAX and 0 <= previous <= NEXT_MAX):
            raise ConfigError(f"amber prices: at most {NEXT_MAX} intervals can be asked for")
        query = {"next": str(following), "previous": str(previous), "resolution": str(resolution_min)}
        path = f"/sites/{path_part(site_id)}/prices/current"
        return rows_of(self._get(LIVE, site_id, path, query, period_s))

    def allowed_in_s(self, endpoint: str, site_id: str, period_s: float) -> float:
        """Return in how many seconds a call would be allowed; 0 = now."""
        return self._ledger.wait_s(endpoint, site_id, period_s)

    def close(self) -> None:
        """Drop the connection."""
        self._http.close()

    def _get(self, endpoint: str, site_id: str, path: str, query: Mapping[str, str], period_s: float) -> Any:
        try:
            self._ledger.acquire(endpoint, site_id, period_s, 0.0)
        except RateLimited as error:
            wait_s = error.retry_after_s or 0.0
            raise RateLimited(
                f"amber {endpoint}: not asked, to stay within Amber's limits; possible again in {wait_s:.0f} s",
                error.retry_after_s,
            ) from None
        headers = {"Authorization": f"Bearer {self._token}"}
        try:
            reply = self._http.request("GET", self.base_url + path, headers, query or None)
        except CloudUnreachable as error:
            if not error.sent:
                self._ledger.forgive(endpoint, site_id, UNREACHABLE_S, "no connection")
            raise
        except LinkError:
            self._ledger.forgive(endpoint, site_id, FAILED_S, "no answer")
            raise
        try:
            return self._judge(reply, f"amber {endpoint} at {self.host}")
        except (ApiUnavailable, AmberGarbled):
            self._ledger.forgive(endpoint, site_id, FAILED_S, "no usable answer")
            raise

    def _judge(self, reply: CloudReply, what: str) -> Any:
        if reply.status == 204 or (reply.status == 200 and not reply.text.strip()):
            self._respect(reply.headers)
            return None
        if reply.status != 200:
            raise self._error(reply, what)
        try:
            content = parse(reply.text)
        except ValueError:
            page = "a web page" if is_html(reply.headers, reply.text) else "no JSON"
            raise AmberGarbled(f"{what}: the answer is {page}; check amber.base_url, else tried again later") from None
        self._ledger.release(ACCOUNT)
        self._respect(reply.headers)
        return content

    def _respect(self, headers: Mapping[str, str]) -> None:
        """Leave the account alone until the window ends when little of it is left."""
        remaining, reset_s = number(headers.get("ratelimit-remaining")), number(headers.get("ratelimit-reset"))
        limit = number(headers.get("ratelimit-limit"))
        if remaining is None or reset_s is None:
            return
        if remaining <= (min(RESERVE, limit / 10) if limit is not None else RESERVE):
            self._ledger.hold(ACCOUNT, reset_s + MARGIN_S, f"{remaining:.0f} calls are left", exact=True)

    def _error(self, reply: CloudReply, what: str) -> PeerError:
        status, said = reply.status, self._message(reply)
        came = f"{what}: HTTP {status}" + (f' "{said}"' if said else "")
        if status == 429:
            return self._too_many(reply, came)
        if status == 403 and is_html(reply.headers, reply.text):
            self._ledger.hold(ACCOUNT, FIREWALL_S, "web firewall", exact=True)
            return ApiRejected(
                f"{what}: HTTP 403 with an HTML page: blocked by a web firewall, not by the token; left alone for"
                f" {FIREWALL_S / 60:.0f} min; set cloud.user_agent to a browser's text", CONFIG, status,
            )
        if status in (401, 403):
            shape = "" if self._token.startswith("psk_") else " (Amber's tokens begin with psk_; this one does not)"
            return ApiAuthError(
                f"{came}: the token was not accepted{shape}; make a new one in the Amber app (Settings, Developers)"
                " and set amber.token", AUTH, status,
            )
        if status == 404:
            return ApiRejected(
                f"{came}: there is no such site or call; sigen-bridge amber sites lists yours, check amber.site_id"
                " and amber.base_url", CONFIG, status,
            )
        if status == 408 or status >= 500:
            return ApiUnavailable(f"{came}: Amber has trouble; tried again later", TRANSIENT, status)
        if 300 <= status < 400:
            return ApiRejected(f"{came}: a redirect, which is not followed; check amber.base_url", CONFIG, status)
        return ApiRejected(f"{came}: refused; check amber.site_id and amber.base_url", CONFIG, status)

    def _too_many(self, reply: CloudReply, came: str) -> ApiRateLimited:
        named = number(reply.headers.get("ratelimit-reset"))
        if named is None:
            named = number(reply.headers.get("retry-after"))
        if named is not None and named >= 0:
            self._ledger.hold(ACCOUNT, named + MARGIN_S, "HTTP 429", exact=True)
            hold_s, who = named + MARGIN_S, "Amber asks to wait"
        else:  # throttled by the gateway in front of Amber: shorter, and longer each time in a row
            self._ledger.hold(ACCOUNT, THROTTLED_S, "HTTP 429 without limits", THROTTLED_MAX_S)
            hold_s, who = self._ledger.wait_s(PRICES, "", 0.0), "throttled without a time; waiting"
        return ApiRateLimited(f"{came}: too many requests; {who} {hold_s:.0f} s", RATE, 429, hold_s=hold_s)

    def _message(self, reply: CloudReply) -> str:
        try:
            content = json.loads(reply.text)
        except (ValueError, RecursionError):
            return ""
        said: Optional[Any] = None
        if isinstance(content, dict):
            said = content.get("message", content.get("Message"))
        return clean(said, (self._token,), 80) if isinstance(said, str) else ""
