"""A simulated Amber API on a loopback port: token, dates, limits and troubles as the real one has them.

Never helps: a missing header, a bad date or a parameter that Amber does not know is refused. Never sleeps for
the service's own times: hours pass as fast as the clock that it is given.
"""

from __future__ import annotations

import json
import threading
from collections import deque
from datetime import datetime, timedelta
from typing import Any, Deque, Dict, List, Mapping, NamedTuple, Sequence, Tuple
from urllib.parse import parse_qsl, unquote, urlsplit

from bridge.clock import Clock
from bridge.sim.amber_market import FEED_IN, FIVE_S, GENERAL, HALF_HOUR_S, NEM, Market, SimSite
from bridge.sim.amber_query import Refusal, count_of, date_of, only
from bridge.sim.sigen_cloud_faults import KINDS, Answer, Fault, FaultPlan, Outcome, damaged
from bridge.sim.sigen_cloud_routes import Request
from bridge.sim.sigen_cloud_server import ServedPort

TOKEN = "psk_sim_0123456789abcdef"
LIMIT, WINDOW_S = 50, 300
DAYS_MAX = 7
LOG_MAX = 20_000
AMBER_KINDS = ("throttled", "limited", "unauthorized", "forbidden", "nothing")
DEFAULT_SITES = (SimSite(),)


class Entry(NamedTuple):
    """One request: when, what, and what it got."""

    at: float
    endpoint: str
    target: str
    status: int
    headers: Mapping[str, str]


class AmberSim:
    """The service of one account. Faults: those of the simulated cloud, and ``AMBER_KINDS``:

    throttled (429 of the gateway, without limits), limited (429 with RateLimit headers), unauthorized (401),
    forbidden (403), nothing (204).
    """

    def __init__(
        self, clock: Clock, host: str = "127.0.0.1", port: int = 0, *, token: str = TOKEN,
        sites: Sequence[SimSite] = DEFAULT_SITES, scenario: str = "normal", limit: int = LIMIT,
        ignore_resolution: bool = False,
    ) -> None:
        self._clock = clock
        self.token, self.sites, self.limit, self.ignore_resolution = token, list(sites), limit, ignore_resolution
        self.market = Market(scenario)
        self.revoked = False
        self.faults = FaultPlan((*KINDS, *AMBER_KINDS))
        self.log: Deque[Entry] = deque(maxlen=LOG_MAX)
        self._window: Tuple[float, int] = (-1e9, 0)
        self._turn = threading.Lock()
        self._served = ServedPort(host, port, self.handle)

    def start(self) -> "AmberSim":
        """Open the port; raises OSError when it is taken."""
        self._served.start()
        return self

    def stop(self) -> None:
        """Close the port and end hanging calls."""
        self._served.stop()

    def __enter__(self) -> "AmberSim":
        return self.start()

    def __exit__(self, *_problem: object) -> None:
        self.stop()

    @property
    def port(self) -> int:
        """The port in use."""
        return self._served.port

    @property
    def base_url(self) -> str:
        """What to set amber.base_url to."""
        return self._served.address + "/v1"

    def fail(self, endpoint: str, kind: str, times: int = 1, **details: Any) -> None:
        """Let the next ``times`` calls of sites, prices, current or "*" meet a fault; 0 = until cleared."""
        self.faults.add(endpoint, Fault(kind, **details), times)

    def count(self, endpoint: str) -> int:
        """Return how many requests an endpoint has got, refused ones included."""
        return sum(1 for entry in self.log if entry.endpoint == endpoint)

    def handle(self, request: Request) -> Outcome:
        """Judge one request; faults stand in front of the service."""
        parts = urlsplit(request.target)
        names = [unquote(name) for name in parts.path.strip("/").split("/")]
        endpoint = {2: "sites", 4: "prices", 5: "current"}.get(len(names), "unknown")
        with self._turn:
            limits, spent = self._spend()
            fault = self.faults.take(endpoint)
            if fault is not None and fault.kind in AMBER_KINDS:
                answer = self._amber_fault(fault.kind, limits)
                fault = None
            elif fault is not None and fault.kind not in ("truncated", "slow", "hang", "drop"):
                answer = damaged(fault, Answer(200, ""))
            elif spent:
                answer = Answer(429, '{"message":"Too Many Requests"}', None, "application/json", limits)
            else:
                answer = self._answer(request, names, parts.query, limits)
                answer = answer if fault is None else damaged(fault, answer)
            self.log.append(Entry(
                self._clock.now(), endpoint, request.target, answer.status, dict(request.headers)
            ))
        return Outcome(answer, fault)

    def _spend(self) -> Tuple[Tuple[Tuple[str, str], ...], bool]:
        """Count a request and return the headers that tell what is left, and whether it was one too many."""
        now = self._clock.monotonic()
        begun, used = self._window
        if now - begun >= WINDOW_S:
            begun, used = now, 0
        self._window = (begun, used + 1)
        return self._limits(max(0, self.limit - used - 1), begun + WINDOW_S - now), used >= self.limit

    def _limits(self, remaining: int, reset_s: float) -> Tuple[Tuple[str, str], ...]:
        return (
            ("RateLimit-Limit", str(self.limit)), ("RateLimit-Remaining", str(remaining)),
            ("RateLimit-Reset", str(int(reset_s) + 1)), ("RateLimit-Policy", f"{self.limit};w={WINDOW_S}"),
        )

    def _amber_fault(self, kind: str, limits: Tuple[Tuple[str, str], ...]) -> Answer:
        if kind == "throttled":
            named = (("x-amzn-ErrorType", "TooManyRequestsException"),)
            return Answer(429, '{"message":"Too Many Requests"}', None, "application/json", named)
        if kind == "limited":
            return Answer(429, '{"message":"Too Many Requests"}', None, "application/json", self._limits(0, 119.0))
        if kind == "unauthorized":
            return Answer(401, '{"message":"Unauthorized"}')
        if kind == "nothing":
            return Answer(204, "", None, "application/json", limits)
        return Answer(403, '{"Message":"User is not authorized to access this resource with an explicit deny"}')

    def _answer(
        self, request: Request, names: List[str], query: str, limits: Tuple[Tuple[str, str], ...]
    ) -> Answer:
        try:
            content = self._content(request, names, dict(parse_qsl(query, keep_blank_values=True)))
        except Refusal as refusal:
            key = "Message" if refusal.status == 403 else "message"
            return Answer(refusal.status, json.dumps({key: refusal.message}), None, "application/json", limits)
        return Answer(200, json.dumps(content), None, "application/json", limits)

    def _content(self, request: Request, names: List[str], query: Dict[str, str]) -> Any:
        self._authorise(request.headers.get("authorization", ""))
        if request.method != "GET" or names[:2] != ["v1", "sites"] or len(names) not in (2, 4, 5):
            raise Refusal(404, "Not Found")
        if len(names) == 2:
            only(query, ())
            return [site.body() for site in self.sites]
        site = next((one for one in self.sites if one.site_id == names[2]), None)
        if site is None or names[3] != "prices" or names[4:] not in ([], ["current"]):
            raise Refusal(404, "Site not found" if site is None else "Not Found")
        if site.status != "active":
            raise Refusal(404, "Site not found")
        return self._current(site, query) if names[4:] else self._prices(site, query)

    def _authorise(self, header: str) -> None:
        scheme, _, text = header.partition(" ")
        if scheme.lower() != "bearer" or not text or self.revoked:
            raise Refusal(401, "Unauthorized")
        if text.strip() != self.token:
            raise Refusal(403, "User is not authorized to access this resource with an explicit deny")

    def _prices(self, site: SimSite, query: Dict[str, str]) -> List[Dict[str, Any]]:
        only(query, ("startDate", "endDate", "resolution"))
        now = self._clock.now()
        here = datetime.fromtimestamp(now, NEM).date()
        first, last = date_of(query, "startDate", here), date_of(query, "endDate", here)
        if last < first or (last - first).days >= DAYS_MAX:
            raise Refusal(400, f"startDate must not be after endDate, and at most {DAYS_MAX} days may be asked for")
        start = int(datetime(first.year, first.month, first.day, tzinfo=NEM).timestamp())
        end = int((datetime(last.year, last.month, last.day, tzinfo=NEM) + timedelta(days=1)).timestamp())
        resolution = self._resolution(site, query)
        return [row for channel in _channels(site) for row in self.market.rows(channel, start, end, resolution, now)]

    def _current(self, site: SimSite, query: Dict[str, str]) -> List[Dict[str, Any]]:
        only(query, ("next", "previous", "resolution"))
        now, resolution = self._clock.now(), self._resolution(site, query)
        following, previous = count_of(query, "next"), count_of(query, "previous")
        length_s = HALF_HOUR_S if resolution == 30 else FIVE_S
        begun = int(now) // length_s * length_s
        found: List[Dict[str, Any]] = []
        for channel in _channels(site):
            rows = self.market.rows(channel, begun - previous * length_s, begun + length_s, resolution, now)
            rows += self.market.rows(channel, begun + length_s, begun + (1 + following) * length_s, resolution, now)
            found += rows
        return found

    def _resolution(self, site: SimSite, query: Dict[str, str]) -> int:
        asked = query.get("resolution", str(site.billing_min))
        if asked not in ("5", "30"):
            raise Refusal(400, "resolution must be 5 or 30")
        return 5 if self.ignore_resolution else int(asked)


def _channels(site: SimSite) -> Tuple[str, ...]:
    return (GENERAL, FEED_IN) if site.feed_in else (GENERAL,)
