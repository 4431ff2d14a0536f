"""The calls of the simulated app API: what the mySigen web app's own host answers (cloud-apis section 4).

Never helps: a form, a header or a station number that the real service would not take is refused. What no
public source states (the codes of most refusals) is the OpenAPI's code for the same thing.
"""

from __future__ import annotations

import base64
import json
import re
from typing import Any, Callable, Dict, Mapping, Tuple
from urllib.parse import parse_qs, unquote, urlsplit

from bridge.sim.sigen_cloud_app_bodies import (
    consumption,
    device_cards,
    flow_of_app,
    home_body,
    instant_body,
    load_body,
    modes_body,
    modes_body_v0,
    token_body,
)
from bridge.sim.sigen_cloud_app_controls import set_instant, set_mode, switch
from bridge.sim.sigen_cloud_app_tariff import tariff_problem
from bridge.sim.sigen_cloud_app_world import AppToken, AppWorld, Home
from bridge.sim.sigen_cloud_faults import Answer
from bridge.sim.sigen_cloud_routes import Failure, Request

BASIC = "Basic " + base64.b64encode(b"sigen:sigen").decode()

# fmt: off
APP_ROUTES: Tuple[Tuple[str, str, str], ...] = (
    ("appLogin",        "POST",  r"/auth/oauth/token"),
    ("appHome",         "GET",   r"/device/owner/station/home"),
    ("appStations",     "GET",   r"/device/owner/station/list"),
    ("appFlow",         "GET",   r"/device/sigen/station/energyflow"),
    ("appFlowAsync",    "GET",   r"/device/sigen/station/energyflow/async"),
    ("appModes",        "GET",   r"/device/energy-profile/mode/all/(?P<id>[^/]+)"),
    ("appMode",         "GET",   r"/device/energy-profile/mode/current/(?P<id>[^/]+)"),
    ("appSetMode",      "PUT",   r"/device/energy-profile/mode"),
    ("appModesV0",      "GET",   r"/device/sigen/station/operational/mode/v/(?P<id>[^/]+)"),
    ("appModeV0",       "GET",   r"/device/setting/operational/mode/(?P<id>[^/]+)"),
    ("appSetModeV0",    "PUT",   r"/device/setting/operational/mode/?"),
    ("appInstant",      "GET",   r"/device/energy-profile/instant/manunal/(?P<id>[^/]+)"),
    ("appSetInstant",   "PUT",   r"/device/energy-profile/instant/manunal"),
    ("appLoads",        "GET",   r"/device/system/device/systemDevice/card"),
    ("appLoad",         "GET",   r"/device/tp-device/smart-loads"),
    ("appConsumption",  "GET",   r"/data-process/sigen/station/statistics/real-time-consumption"),
    ("appSwitch",       "PATCH", r"/device/tp-device/smart-loads/control-mode/manual/switch"),
    ("tariffSave",      "POST",  r"/device/stationelecsetprice/save"),
    ("tariffStatic",    "GET",   r"/device/stationelecsetprice/latest/static/price"),
    ("tariffLatest",    "GET",   r"/device/stationelecsetprice/latest/price"),
)
# fmt: on


def app_route(method: str, target: str) -> Tuple[str, Dict[str, str]]:
    """Return the endpoint's name and the path's ids; name "unknown" or "wrong-method" where there is none."""
    path = urlsplit(target).path
    known = False
    for name, verb, pattern in APP_ROUTES:
        found = re.fullmatch(pattern, path)
        if found and verb == method:
            return name, {key: unquote(text) for key, text in found.groupdict().items()}
        known = known or found is not None
    return ("wrong-method" if known else "unknown"), {}


class AppService:
    """Answers requests of apps; ``disabled`` maps endpoints to the status that replaces them."""

    def __init__(self, world: AppWorld, flow: Callable[[], Mapping[str, Any]], disabled: Dict[str, int]) -> None:
        self.world, self.flow, self.disabled = world, flow, disabled

    def answer(self, request: Request, now: float, wall: float) -> Answer:
        """Return what the service says."""
        name, ids = app_route(request.method, request.target)
        if name in ("unknown", "wrong-method") or name in self.disabled:
            return _status(self.disabled.get(name, 405 if name == "wrong-method" else 404))
        try:
            if name == "appLogin":
                return self._login(request, now)
            token = self._authorised(request, now)
            content = self._content(name, ids, token, request, now, wall)
        except Failure as failure:
            if failure.status != 200:
                return _status(failure.status, failure.code)
            return _enveloped(failure.code, failure.said or "failed", None)
        return _enveloped(0, "success", content)

    def _login(self, request: Request, now: float) -> Answer:
        if request.headers.get("authorization") != BASIC:
            raise Failure(401, 401)
        if "form-urlencoded" not in request.headers.get("content-type", ""):
            raise Failure(1000, 400)
        form = _pairs(request.body.decode("utf-8", "replace"))
        grant = form.get("grant_type")
        if grant == "password":
            code, token = self.world.login(form, now)
        elif grant == "refresh_token":
            code, token = self.world.refresh(form.get("refresh_token", ""), now)
        else:
            raise Failure(1000, 400)
        if token is None:
            raise Failure(code)
        content = token_body(token.access, token.refresh, self.world.lifetime_s)
        return _enveloped(0, "success", content) if self.world.wrapped else Answer(200, json.dumps(content))

    def _authorised(self, request: Request, now: float) -> AppToken:
        scheme, _, text = request.headers.get("authorization", "").partition(" ")
        token = self.world.token(text.strip(), now) if scheme.lower() == "bearer" else None
        if token is None:
            raise Failure(401, 401)
        return token

    def _content(
        self, name: str, ids: Mapping[str, str], token: AppToken, request: Request, now: float, wall: float
    ) -> Any:
        query = _pairs(urlsplit(request.target).query)
        homes = self.world.homes_of(token.username)
        if name == "appHome":
            return home_body(homes[0]) if homes else None
        if name == "appStations":
            return [home_body(home) for home in homes]
        if name == "appFlowAsync":
            return flow_of_app(self.flow())
        if name.startswith("appSet") or name == "tariffSave":
            return self._write(name, token, _json(request), now, wall)
        given = ids.get("id") or query.get("id" if name == "appFlow" else "stationId")
        home = self._home(token, given)
        if name == "appFlow":
            return flow_of_app(self.flow())
        if name.startswith("tariff"):
            return home.tariff
        if name == "appInstant":
            return instant_body(home, now)
        if name == "appLoads":
            return device_cards(home)
        if name in ("appLoad", "appConsumption", "appSwitch"):
            return self._load(name, home, query)
        return self._modes(name, home)

    def _home(self, token: AppToken, given: Any) -> Home:
        if isinstance(given, bool) or not re.fullmatch(r"\d+", str(given)):
            raise Failure(500, 500)  # the OpenAPI's systemId instead of the number: a bare 500
        home = self.world.homes.get(int(given))
        if home is None:
            raise Failure(1106)
        if home.station.owner != token.username:
            raise Failure(1401)
        return home

    def _modes(self, name: str, home: Home) -> Any:
        _has(home, "v0" if name.endswith("V0") else "v3")
        if name == "appModesV0":
            return modes_body_v0()
        if name == "appModeV0":
            return home.station.mode
        if name == "appMode":
            return {"currentMode": home.station.mode, "currentProfileId": home.profile_id}
        return modes_body(home)

    def _write(self, name: str, token: AppToken, body: Mapping[str, Any], now: float, wall: float) -> Any:
        home = self._home(token, body.get("stationId"))
        if name == "tariffSave":
            problem = tariff_problem(body, self.world.shortest_slot_min)
            if problem:
                raise Failure(1000, said=problem)
            home.tariff = {**(home.tariff or {}), **body}
            self.world.saved_tariffs.append(body)
        elif name == "appSetInstant":
            set_instant(home, body, now, wall)
        else:
            _has(home, "v0" if name.endswith("V0") else "v3")
            set_mode(home, body.get("operationMode"), body.get("profileId", -1) if name == "appSetMode" else -1)
        return None

    def _load(self, name: str, home: Home, query: Mapping[str, str]) -> Any:
        load = next((one for one in home.loads if str(one.path) == query.get("loadPath")), None)
        if load is None:
            raise Failure(1101)
        if name == "appConsumption":
            if query.get("smartLoadId") != str(load.load_id):
                raise Failure(1000)
            return consumption(load)
        if name == "appSwitch":
            switch(load, query.get("manualSwitch"))
            return None
        return load_body(load)


def _has(home: Home, version: str) -> None:
    if home.mode_api not in (version, "both"):
        raise Failure(404, 404)


def _pairs(text: str) -> Dict[str, str]:
    return {key: values[0] for key, values in parse_qs(text, keep_blank_values=True).items()}


def _json(request: Request) -> Mapping[str, Any]:
    if "json" not in request.headers.get("content-type", ""):
        raise Failure(415, 415)
    try:
        content = json.loads(request.body)
    except ValueError:
        raise Failure(400, 400) from None
    if not isinstance(content, dict):
        raise Failure(400, 400)
    return content


def _enveloped(code: int, msg: str, content: Any) -> Answer:
    return Answer(200, json.dumps({"code": code, "msg": msg, "data": content}), code)


def _status(status: int, code: int = 0) -> Answer:
    return Answer(status, json.dumps({"code": status, "msg": "refused", "data": None}), code or None)
