"""The calls of the simulated Sigenergy OpenAPI: from a request to the answer the service would give.

Never helps: what the real service refuses is refused with its code, and no check is skipped because the
caller is ours. Order of checks: token, region header, budget of the account, parameters, permission,
period of the endpoint.
"""

from __future__ import annotations

import json
import re
from typing import Any, Callable, Dict, FrozenSet, List, Mapping, NamedTuple, Optional, Tuple
from urllib.parse import parse_qs, unquote, urlsplit

from bridge.sim.sigen_cloud_bodies import (
    device_rows,
    envelope,
    nested,
    page_of,
    realtime_row,
    station_row,
    summary_row,
)
from bridge.sim.sigen_cloud_commands import command_problem
from bridge.sim.sigen_cloud_faults import Answer
from bridge.sim.sigen_cloud_world import Station, Token, World

BATCH_BELOW = 200


class Request(NamedTuple):
    """One HTTP request; header names are lower case."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes


class Failure(Exception):
    """The service refuses with a code, or with an HTTP status; ``said`` is its message."""

    def __init__(self, code: int, status: int = 200, said: str = "") -> None:
        super().__init__(code)
        self.code, self.status, self.said = code, status, said


# fmt: off
ROUTES: Tuple[Tuple[str, str, str], ...] = (
    ("login",        "POST", r"/openapi/auth/login/(?P<kind>key|password)"),
    ("system",       "GET",  r"/openapi/system"),
    ("page",         "GET",  r"/openapi/system/page"),
    ("devices",      "GET",  r"/openapi/system/(?P<id>[^/]+)/devices"),
    ("energyFlow",   "GET",  r"/openapi/systems/(?P<id>[^/]+)/energyFlow"),
    ("summary",      "GET",  r"/openapi/systems/(?P<id>[^/]+)/summary"),
    ("realtime",     "POST", r"/openapi/system/realtime/data"),
    ("realtimeInfo", "GET",  r"/openapi/systems/(?P<id>[^/]+)/devices/(?P<serial>[^/]+)/realtimeInfo"),
    ("history",      "GET",  r"/openapi/systems/(?P<id>[^/]+)/history"),
    ("mode",         "GET",  r"/openapi/instruction/(?P<id>[^/]+)/settings"),
    ("setMode",      "PUT",  r"/openapi/instruction/settings"),
    ("switchMode",   "POST", r"/openapi/system/operationMode/switch"),
    ("onboard",      "POST", r"/openapi/board/onboard"),
    ("offboard",     "POST", r"/openapi/board/offboard"),
    ("command",      "POST", r"/openapi/system/battery/command"),
)
# fmt: on


def route(method: str, target: str) -> Tuple[str, Dict[str, str]]:
    """Return the endpoint's name and the path's ids; name "unknown" or "wrong-method" where there is none."""
    path = urlsplit(target).path
    for name, verb, pattern in ROUTES:
        found = re.fullmatch(pattern, path)
        if found and verb == method:
            return name, {key: unquote(value) for key, value in found.groupdict().items()}
    known = any(re.fullmatch(pattern, path) for _name, _verb, pattern in ROUTES)
    return ("wrong-method" if known else "unknown"), {}


class Service:
    """Answers requests about one world; ``disabled`` maps endpoints to the status that replaces them."""

    def __init__(self, world: World, flow: Callable[[], Mapping[str, Any]]) -> None:
        self.world = world
        self.flow = flow
        self.double: FrozenSet[str] = frozenset()
        self.disabled: Dict[str, int] = {}
        self.require_region = True
        self.region: Optional[str] = None  # the one this host serves; None = any
        self.commands: List[Mapping[str, Any]] = []

    def answer(self, request: Request, now: float, wall: float) -> Answer:
        """Return what the service says."""
        name, ids = route(request.method, request.target)
        if name in ("unknown", "wrong-method") or name in self.disabled:
            status = self.disabled.get(name, 405 if name == "wrong-method" else 404)
            return Answer(status, f'{{"status":{status},"error":"no such call"}}')
        try:
            content = self._content(name, ids, request, now)
        except Failure as failure:
            if failure.status != 200:
                text = f'{{"code":{failure.status},"msg":"refused","data":null}}'
                return Answer(failure.status, text, failure.code)
            text = envelope(failure.code, "failed", None, wall, self.double)
            return Answer(200, text, failure.code)
        text = envelope(0, "success", nested(name, content, self.double), wall, self.double)
        return Answer(200, text, 0)

    def _content(self, name: str, ids: Dict[str, str], request: Request, now: float) -> Any:
        if name == "login":
            return self._login(ids["kind"], request, now)
        token = self._authorised(request, now)
        if self.require_region and not request.headers.get("sigen-region"):
            raise Failure(1000)
        if self.region is not None and request.headers.get("sigen-region") != self.region:
            raise Failure(1106)
        _refuse(self.world.crowded(token.identity, now))
        if name in ("onboard", "offboard"):
            return self._board(name, token, request)
        if name in ("setMode", "switchMode"):
            return self._switch(token, _json(request))
        if name == "command":
            return self._command(token, _json(request))
        if name in ("system", "page"):
            return self._list(name, token, request, now)
        if name == "history":
            raise Failure(1402, 403)
        system_id = ids.get("id") or _json(request).get("systemId")
        station = self._station(token, system_id)
        return self._read(name, token, station, ids.get("serial"), now)

    def _read(self, name: str, token: Token, station: Station, serial: Optional[str], now: float) -> Any:
        if serial is not None and serial not in station.serials:
            raise Failure(1101)
        subject = f"{station.system_id} {serial or ''}"
        _refuse(self.world.limited(token, name, subject, now))
        if name == "devices":
            return device_rows(station, self.double)
        if name == "energyFlow":
            return dict(self.flow())
        if name == "realtimeInfo":
            return realtime_row(station, str(serial), self.flow(), self.double)
        if name == "mode":
            return {"energyStorageOperationMode": station.mode}
        return summary_row()

    def _login(self, kind: str, request: Request, now: float) -> Any:
        _refuse(self.world.crowded("login", now))
        form = "form-urlencoded" in request.headers.get("content-type", "")
        if kind == "key":
            code, token = self.world.login_key(_json(request).get("key"), now)
        else:
            fields = _form(request) if form else _json(request)
            username, password = str(fields.get("username", "")), str(fields.get("password", ""))
            code, token = self.world.login_account(username, password, form, now)
        _refuse(code)
        assert token is not None
        return {"tokenType": "Bearer", "accessToken": token.text, "expiresIn": int(self.world.lifetime_s)}

    def _authorised(self, request: Request, now: float) -> Token:
        scheme, _, text = request.headers.get("authorization", "").partition(" ")
        token = self.world.token(text.strip(), now) if scheme == "Bearer" else None
        if token is None:
            raise Failure(401, 401)
        return token

    def _station(self, token: Token, system_id: Any) -> Station:
        station = self.world.stations.get(str(system_id))
        if station is None:
            raise Failure(1106)
        if not self.world.sees(token, station):
            raise Failure(1401)
        return station

    def _list(self, name: str, token: Token, request: Request, now: float) -> Any:
        query = parse_qs(urlsplit(request.target).query)
        number, size = query.get("pageNum", [""])[0], query.get("pageSize", ["100"])[0]
        if name == "page" and not (number.isdigit() and size.isdigit() and 1 <= int(size) <= 100):
            raise Failure(1000)
        _refuse(self.world.limited(token, name, "", now))
        seen = [one for one in self.world.stations.values() if self.world.sees(token, one)]
        rows = [station_row(one, paged=name == "page") for one in seen]
        return rows if name == "system" else page_of(rows, int(number), int(size), self.double)

    def _board(self, name: str, token: Token, request: Request) -> Any:
        ids = _json(request, list)
        if token.app is None:
            raise Failure(1402)
        if not 0 < len(ids) < BATCH_BELOW or not all(isinstance(one, str) for one in ids):
            raise Failure(1000)
        rows = []
        for one in ids:
            code = self.world.onboard(token.app, one) if name == "onboard" else self.world.offboard(one)
            rows.append({"systemId": one, "result": code == 0, "codeList": [code] if code else []})
        return nested("board", rows, self.double)

    def _switch(self, token: Token, body: Mapping[str, Any]) -> Any:
        station = self._station(token, body.get("systemId"))
        _refuse(self.world.switch_mode(token, station, body.get("energyStorageOperationMode")))
        return None

    def _command(self, token: Token, body: Mapping[str, Any]) -> Any:
        _refuse(command_problem(body, token.text))
        for command in body["commands"]:
            station = self._station(token, command["systemId"])
            if station.mode not in (6, 8):
                raise Failure(1501)
        self.commands.extend(body["commands"])
        return None


def _refuse(code: int) -> None:
    if code:
        raise Failure(code)


def _json(request: Request, kind: type = dict) -> Any:
    if "json" not in request.headers.get("content-type", ""):
        raise Failure(1000)
    try:
        content = json.loads(request.body)
    except ValueError:
        raise Failure(1000) from None
    if not isinstance(content, kind):
        raise Failure(1000)
    return content


def _form(request: Request) -> Mapping[str, str]:
    return {key: values[0] for key, values in parse_qs(request.body.decode("utf-8", "replace")).items()}
