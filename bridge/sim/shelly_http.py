"""HTTP of a simulated Shelly: the three RPC forms, /shelly and script endpoints.

Never keeps a connection open after a reply: the HTTP channel has no keep-alive. Facts: vendor pages "RPC
Protocol", "RPC Channels" and captures: ``Connection: close``, bare ``null``, failures of the two
``/rpc/<Method>`` forms as HTTP 500 or 404 with a bare object, plain ``Bad Request`` before RPC.
"""

from __future__ import annotations

import re
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Tuple
from urllib.parse import unquote

from bridge.sim.shelly_auth import TOO_MANY
from bridge.sim.shelly_device import OPEN_METHODS, Device
from bridge.sim.shelly_faults import GARBAGE, Faults, Plan
from bridge.sim.shelly_link import Connection
from bridge.sim.shelly_rpc import Outcome, RpcError, dumps, loads, query_params

MAX_BODY = 8_192  # vendor: "about 8 KB", beyond it 413
MAX_HEAD = 8_192
REASONS: Mapping[int, str] = {
    101: "Switching Protocols", 200: "OK", 400: "Bad Request", 401: "Unauthorized", 403: "Forbidden",
    404: "Not Found", 413: "Payload Too Large", 429: "Too Many Requests", 500: "Internal Server Error",
    503: "Service Unavailable",
}
PASSED_THROUGH = (403, 404, 429)  # RPC error codes that are also the HTTP status; the rest is 500
SCRIPT_PATH = re.compile(r"/script/(\d+)/([^/]+)")
JSON, PLAIN = "application/json", "text/plain"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
IDLE_S = 60.0  # a client that connected and asks nothing


class Request(NamedTuple):
    """One HTTP request; header names are lower case."""

    verb: str
    target: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes
    rest: bytes  # what came behind it, on a WebSocket upgrade

    @property
    def upgrade(self) -> bool:
        """Say whether this asks for a WebSocket."""
        return self.headers.get("upgrade", "").lower() == "websocket" and "sec-websocket-key" in self.headers


class Response(NamedTuple):
    """One HTTP reply."""

    status: int
    body: bytes = b""
    kind: str = JSON
    headers: Tuple[Tuple[str, str], ...] = ()
    mangle: str = ""

    def encode(self) -> bytes:
        """Return the bytes for the wire; "truncated" lacks the second half of the body."""
        body = GARBAGE if self.mangle == "garbage" else self.body
        lines = [f"HTTP/1.1 {self.status} {REASONS.get(self.status, 'Error')}", "Server: ShellyHTTP/1.0.0"]
        if body:
            lines.append(f"Content-Type: {self.kind}")
        lines.append(f"Content-Length: {len(body)}")
        lines += [f"{name}: {value}" for name, value in self.headers]
        lines.append("Connection: close")
        if self.mangle == "truncated":
            body = body[:len(body) // 2]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + body


class Refusal(Exception):
    """The HTTP layer answers this itself."""

    def __init__(self, response: Response) -> None:
        super().__init__(str(response.status))
        self.response = response


class Dropped(Exception):
    """The connection ends without a reply."""


class Hung(Exception):
    """There is never a reply."""


BAD_REQUEST = Response(400, b"Bad Request", PLAIN)
NOT_FOUND = Response(404, b"Not Found", PLAIN)


def read_request(connection: Connection) -> Optional[Request]:
    """Read one request; None when the client left. Raises Refusal 400 or 413."""
    received = b""
    while b"\r\n\r\n" not in received:
        if len(received) > MAX_HEAD:
            raise Refusal(BAD_REQUEST)
        more = connection.receive(65_536, IDLE_S)
        if not more:
            return None
        received += more
    head, _, rest = received.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    words = first.split(" ")
    if len(words) != 3 or not words[2].startswith("HTTP/1."):
        raise Refusal(BAD_REQUEST)
    fields = (line.partition(":") for line in lines)
    headers = {name.strip().lower(): value.strip() for name, _, value in fields}
    path, _, query = words[1].partition("?")
    if headers.get("upgrade"):
        return Request(words[0], words[1], unquote(path), query, headers, b"", rest)
    body = _read_body(connection, headers, rest)
    return None if body is None else Request(words[0], words[1], unquote(path), query, headers, body, b"")


def _read_body(connection: Connection, headers: Mapping[str, str], body: bytes) -> Optional[bytes]:
    length = headers.get("content-length", "0")
    if not length.isdigit() or "transfer-encoding" in headers:
        raise Refusal(BAD_REQUEST)
    if int(length) > MAX_BODY:
        raise Refusal(Response(413, b"Payload Too Large", PLAIN))
    if headers.get("expect", "").lower() == "100-continue" and len(body) < int(length):
        connection.send(CONTINUE)
    while len(body) < int(length):
        more = connection.receive(65_536, IDLE_S)
        if not more:
            return None
        body += more
    return body[:int(length)]


class HttpDoor:
    """Answers HTTP requests on behalf of a device."""

    def __init__(self, device: Device, faults: Faults, wait_turn: Callable[[float], None]) -> None:
        self._device = device
        self._faults = faults
        self._wait_turn = wait_turn

    def respond(self, request: Request, alive: Callable[[], bool]) -> Response:
        """Return the reply; raises Dropped or Hung. ``alive`` says whether the channel still exists."""
        try:
            if request.path == "/shelly":
                return Response(200, dumps(self._device.info).encode())
            if request.path == "/rpc":
                return self._frame_form(request, alive)
            if request.path.startswith("/rpc/"):
                return self._method_form(request, alive)
            self._admit(request)
            return self._script(request, alive)
        except Refusal as refusal:
            return refusal.response
        except RpcError as error:
            return _bare(Outcome(None, error), "")

    def _admit(self, request: Request, method: str = "") -> None:
        if method in OPEN_METHODS:
            return
        verdict = self._device.admit_http(request.verb, request.target, request.headers.get("authorization"))
        if verdict.status == 401:
            raise Refusal(Response(401, headers=(("WWW-Authenticate", self._device.digest.header(verdict)),)))
        if verdict.status == 429:
            raise Refusal(Response(429, TOO_MANY.encode(), PLAIN))

    def _frame_form(self, request: Request, alive: Callable[[], bool]) -> Response:
        frame = _json_object(request.body) if request.verb == "POST" else None
        if frame is None or not isinstance(frame.get("method"), str):
            self._admit(request)
            return BAD_REQUEST
        method = self._device.canonical(frame["method"])
        self._admit(request, method)
        plan = self._faults.plan(method)
        outcome = self._carry_out(method, frame.get("params"), plan, alive)
        if plan.http_status:
            return _bare(outcome, plan.mangle)
        reply: Dict[str, Any] = {"id": frame["id"]} if "id" in frame else {}
        reply["src"] = self._device.identity.id
        if "src" in frame:
            reply["dst"] = frame["src"]
        if outcome.error is None:
            reply["result"] = outcome.result
        else:
            reply["error"] = outcome.error.body()
        return Response(200, dumps(reply).encode(), mangle=plan.mangle)

    def _method_form(self, request: Request, alive: Callable[[], bool]) -> Response:
        method = self._device.canonical(request.path[len("/rpc/"):])
        self._admit(request, method)
        if request.verb == "GET" or not request.body:
            params: Any = query_params(request.query)
        else:
            params = _json_object(request.body)
            if params is None:
                return BAD_REQUEST
        plan = self._faults.plan(method)
        return _bare(self._carry_out(method, params, plan, alive), plan.mangle)

    def _carry_out(self, method: str, params: Any, plan: Plan, alive: Callable[[], bool]) -> Outcome:
        self._strike(plan, alive)
        if plan.error is not None:
            return Outcome(None, plan.error)
        outcomes: List[Outcome] = []
        self._device.call(method, params, "http", outcomes.append)
        if plan.drop == "after":
            raise Dropped
        return outcomes[0]

    def _strike(self, plan: Plan, alive: Callable[[], bool]) -> None:
        self._wait_turn(plan.delay_s)
        if plan.drop == "before" or not alive():
            raise Dropped
        if plan.hang:
            raise Hung

    def _script(self, request: Request, alive: Callable[[], bool]) -> Response:
        found = SCRIPT_PATH.fullmatch(request.path)
        if found is None:
            return NOT_FOUND
        asked = {"method": request.verb, "query": request.query, "headers": dict(request.headers),
                 "body": request.body.decode("utf-8", "replace")}
        plan = self._faults.plan(request.path)
        self._strike(plan, alive)
        if plan.error is not None:
            return _bare(Outcome(None, plan.error), "")
        code, headers, body = self._device.scripts.http(int(found.group(1)), found.group(2), asked)
        kind = next((value for name, value in headers if name.lower() == "content-type"), PLAIN)
        others = tuple((name, value) for name, value in headers if name.lower() != "content-type")
        if plan.drop == "after":
            raise Dropped
        return Response(code, body.encode(), kind, others, plan.mangle)


def _bare(outcome: Outcome, mangle: str) -> Response:
    if outcome.error is None:
        return Response(200, dumps(outcome.result).encode(), mangle=mangle)
    status = outcome.error.code if outcome.error.code in PASSED_THROUGH else 500
    return Response(status, dumps(outcome.error.body()).encode(), mangle=mangle)


def _json_object(body: bytes) -> Optional[Dict[str, Any]]:
    try:
        found = loads(body.decode("utf-8"))
    except ValueError:
        return None
    return found if isinstance(found, dict) else None
