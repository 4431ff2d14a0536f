"""The Envoy without its token, for programs on this machine: what is let through, and what is answered.

Never hands out the token or the Envoy's session, never serves a browser's foreign page, and changes no byte of
a body. Who reads needs nothing; who writes from another machine needs the token of ``status.token``.
"""

from __future__ import annotations

import hmac
import json
import logging
import threading
from typing import Any, Dict, List, NamedTuple, Optional, Protocol, Tuple

from bridge import __version__
from bridge.clock import Clock
from bridge.errors import BridgeError, LinkTimeout
from bridge.faultlog import FaultLog
from bridge.link.envoy_answer import EnvoyAnswer
from bridge.link.proxy_reply import ProxyReply, ProxyRequest
from bridge.peers.enphase_envoy import Envoy
from bridge.peers.enphase_errors import NoToken
from bridge.peers.enphase_jwt import Token

METHODS = ("GET", "HEAD", "POST", "PUT")
HEALTH = ("/_/health", "/healthz")  # the first is the name that the original proxy has
LOOPBACK = ("127.0.0.1", "localhost", "::1")
STREAMS, MOST_STREAMS = "/stream/", 4  # they never end: the other half of the Envoy's places is for everything else

# Pages that an Envoy answers to GET only; clients of the original proxy ask for them by POST.
READ_ONLY = frozenset((
    "/info", "/info.xml", "/home", "/home.json", "/production", "/production.json", "/inventory", "/inventory.json",
    "/api/v1/production", "/api/v1/production/inverters", "/api/v1/consumption", "/auth/check_jwt",
    "/ivp/meters", "/ivp/meters/readings", "/ivp/meters/reports", "/ivp/meters/reports/consumption",
    "/ivp/meters/reports/production", "/ivp/meters/cts", "/ivp/pdm/device_data", "/ivp/pdm/energy",
    "/ivp/livedata/status", "/ivp/ensemble/inventory", "/ivp/ensemble/status", "/ivp/ensemble/secctrl",
    "/ivp/ensemble/power", "/ivp/ensemble/generator", "/stream/meter",
))
# What of a client's head goes to the Envoy; Host, Authorization, Cookie, Origin and everything else does not.
PASSED_ON = frozenset((
    "accept", "accept-encoding", "accept-language", "content-type", "content-encoding", "user-agent", "range",
    "if-none-match", "if-modified-since", "cache-control",
))
# What of the Envoy's head does not come back: the hop's own fields, and its session, which is as good as a token.
KEPT_BACK = frozenset((
    b"connection", b"keep-alive", b"transfer-encoding", b"te", b"trailer", b"upgrade", b"proxy-authenticate",
    b"proxy-connection", b"content-length", b"set-cookie", b"strict-transport-security",
))

access = logging.getLogger("enphase.access")


class Rules(NamedTuple):
    """Who may ask what: ``allow`` are path prefixes (none: everything), ``listen`` the address served on."""

    listen: str
    allow: Tuple[str, ...] = ()
    token: str = ""
    log_access: bool = False

    @property
    def local(self) -> bool:
        """True when only this machine can ask."""
        return self.listen.rpartition(":")[0].strip("[]") in LOOPBACK


class Faults(Protocol):
    def bad(self, text: str) -> None: ...

    def good(self) -> None: ...


class EnvoyProxy:
    """Answers one request after the other, on as many threads as there are clients."""

    def __init__(self, envoy: Envoy, rules: Rules, clock: Clock, faults: Optional[Faults] = None) -> None:
        self._envoy, self._rules, self._clock = envoy, rules, clock
        self._faults = faults or FaultLog(clock, "enphase.envoy")
        self._streams = threading.BoundedSemaphore(MOST_STREAMS)
        self._last_error = ""
        self._served = 0

    def handle(self, request: ProxyRequest, reply: ProxyReply) -> None:
        """Answer one request; raises ClientGone, and LinkError when an answer breaks off half way."""
        begun = self._clock.monotonic()
        self._served += 1
        try:
            self._answer(request, reply)
        finally:
            if self._rules.log_access:
                access.info(
                    "client=%s method=%s path=%s status=%d bytes=%d ms=%d", request.client, request.method,
                    request.path, reply.status, reply.sent, 1000 * (self._clock.monotonic() - begun),
                )

    def _answer(self, request: ProxyRequest, reply: ProxyReply) -> None:
        path = request.path
        refusal = self._refusal(request, path)
        if refusal is not None:
            reply.whole(refusal[0], refusal[1])
            return
        if path in HEALTH:
            status, report = self.health()
            reply.whole(status, json.dumps(report), "application/json")
            return
        if not path.startswith(STREAMS):
            self._pass_on(request, path, reply)
        elif self._streams.acquire(blocking=False):
            try:
                self._pass_on(request, path, reply)
            finally:
                self._streams.release()
        else:
            reply.whole(503, f"{MOST_STREAMS} streams of this Envoy are running already; end one of them")

    def _pass_on(self, request: ProxyRequest, path: str, reply: ProxyReply) -> None:
        method = "GET" if request.method == "POST" and path.rstrip("/") in READ_ONLY else request.method
        try:
            answer = self._envoy.ask(method, request.target, passed_on(request.fields, method == request.method),
                                     request.body if method == request.method else b"")
        except BridgeError as error:
            self._failed(error, reply)
            return
        self._went_well()
        hand_over(answer, request, reply, self._envoy.http.address.authority)

    def _refusal(self, request: ProxyRequest, path: str) -> Optional[Tuple[int, str]]:
        rules, head = self._rules, request.head
        if rules.local and host_name(head.get("host", "")) not in LOOPBACK:
            return 403, "this address is served under its own name only (127.0.0.1 or localhost)"
        if not path.startswith("/"):
            return 400, "this is no forward proxy: ask for a path of the Envoy"
        if request.method not in METHODS:
            return 405, f"{request.method} is not passed on; GET, HEAD, POST and PUT are"
        if path in HEALTH:
            return None
        if rules.allow and not allowed(path, rules.allow):
            return 403, "this path is not in enphase.allow"
        writes = request.method == "PUT" or (request.method == "POST" and path.rstrip("/") not in READ_ONLY)
        if not writes:
            return None
        if head.get("origin"):
            return 403, "a page of a browser may not write here"
        if not rules.local and not (rules.token and hmac.compare_digest(
            head.get("authorization", "").encode(), f"Bearer {rules.token}".encode(),
        )):
            return 401, "writing from another machine needs the token of status.token"
        return None

    def _failed(self, error: BridgeError, reply: ProxyReply) -> None:
        self._last_error = str(error)
        self._faults.bad(self._last_error)
        status, wait_s = 502, None
        if isinstance(error, LinkTimeout):
            status = 504
        elif isinstance(error, NoToken):
            status, wait_s = 503, error.retry_after_s
        more: List[Tuple[bytes, bytes]] = []
        if wait_s is not None:
            more.append((b"Retry-After", b"%d" % max(1, wait_s)))
        reply.whole(status, str(error), more=more)

    def _went_well(self) -> None:
        if self._last_error:
            self._last_error = ""
        self._faults.good()

    def health(self) -> Tuple[int, Dict[str, Any]]:
        """Return the health page: status, message and version as the original has them, and what we know beyond."""
        keeper, now = self._envoy.keeper, self._clock.now()
        held: Optional[Token] = keeper.held if keeper is not None else None
        needed = keeper is not None and self._envoy.http.address.tls
        token_ok = not needed or (held is not None and not (self._clock.synced() and held.ended(now)))
        message = self._last_error or ("" if token_ok or keeper is None else keeper.error or "no token yet")
        good = token_ok and not self._last_error
        return 200 if good else 503, {
            "status": "ok" if good else "error", "message": message or "ok", "version": __version__,
            "token": token_ok, "token_expires_at": held.expires_at if held is not None else None,
            "requests": self._served, "connections": self._envoy.http.dialled,
        }


def hand_over(answer: EnvoyAnswer, request: ProxyRequest, reply: ProxyReply, authority: str) -> None:
    """Pass an answer on, piece by piece."""
    fields = []
    for name, text in answer.fields:
        low = name.lower()
        if low in KEPT_BACK:
            continue
        fields.append((name, own_location(text, authority) if low == b"location" else text))
    try:
        if request.method == "HEAD":
            reply.start(answer.status, fields, content_length(answer), bodyless=True)
        else:
            reply.start(answer.status, fields, answer.length, bodyless=answer.status in (204, 304))
            for piece in answer.pieces():
                reply.piece(piece)
        reply.end()
    finally:
        answer.drop()


def content_length(answer: EnvoyAnswer) -> Optional[int]:
    """Return the length that the answer to a HEAD announces."""
    for name, text in answer.fields:
        if name.lower() == b"content-length" and text.isdigit():
            return int(text)
    return None


def own_location(text: bytes, authority: str) -> bytes:
    """Return a redirect to the Envoy as one to this proxy: its path alone."""
    scheme, absolute, rest = text.partition(b"://")
    host, slash, path = rest.partition(b"/")
    if not absolute or b"/" in scheme or host.partition(b":")[0].decode("latin-1") != authority.partition(":")[0]:
        return text
    return slash + path or b"/"


def passed_on(fields: List[Tuple[str, str]], with_body: bool) -> bytes:
    """Return the lines of a client's head that the Envoy gets; those that describe a body only with the body."""
    lines = [
        f"{name}: {text}\r\n" for name, text in fields
        if name.lower() in PASSED_ON and (with_body or not name.lower().startswith("content-"))
    ]
    return "".join(lines).encode("latin-1")


def allowed(path: str, prefixes: Tuple[str, ...]) -> bool:
    """Say whether a path is one of ``prefixes`` or lies below one; no dots get out of it, however they are spelled."""
    if "/.." in path or "\\" in path or any(spelled in path.lower() for spelled in ("%2e", "%2f", "%5c", "%25")):
        return False
    return any(path == each.rstrip("/") or path.startswith(each.rstrip("/") + "/") for each in prefixes)


def host_name(header: str) -> str:
    """Return the name in a Host header, without its port."""
    if header.startswith("["):
        return header[1:].partition("]")[0]
    return header.partition(":")[0].lower()
