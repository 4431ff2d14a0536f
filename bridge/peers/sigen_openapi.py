"""The Sigenergy OpenAPI of one account: what each call asks for and what its answer means.

Never opens a connection itself, never asks more often than the limiter allows, never guesses a sign.
Calls and spellings: vendor's OpenAPI documents and three working clients; where two spellings exist both
are implemented and the one that works is remembered.
"""

from __future__ import annotations

import logging
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence

from bridge.clock import Clock
from bridge.errors import BridgeError, ConfigError, Refused
from bridge.link.cloud import CloudHttp, path_part
from bridge.peers.envelope import EnvelopeError, text_of
from bridge.peers.limiter import PATIENCE_S, Limiter
from bridge.peers.sigen_board import BoardResult, board_result, is_ambiguous, proven, unproven
from bridge.peers.sigen_calls import board_call, mode_calls, station_id
from bridge.peers.sigen_codes import (
    ALREADY_OR_FORBIDDEN,
    MODES,
    PENDING_APPROVAL,
    mode_row,
    openapi_url,
    region_named,
)
from bridge.peers.sigen_errors import ApiAuthError, ApiRejected, TokenRejected
from bridge.peers.sigen_records import (
    Device,
    DeviceRealtime,
    EnergyFlow,
    Mode,
    ModeSwitch,
    Summary,
    System,
    device_of,
    device_realtime_of,
    energy_flow_of,
    mode_of,
    rows_of,
    summary_of,
    system_of,
)
from bridge.peers.sigen_session import Credentials, Login, Session
from bridge.peers.sigen_wire import Call, Wire
from bridge.state import StateDir

FLOW = "energyFlow"
SPELLING_FILE = "openapi-spelling.json"
PUT_SETTINGS, POST_SWITCH = "put-settings", "post-switch"

log = logging.getLogger("cloud")


class OpenApi:
    """One account at one region; ``base_url`` replaces the region's host, ``encode`` is the AES encoder.

    Every method may raise RateLimited, LinkError, ApiError, EnvelopeError and ConfigError. ``patience_s``
    is how long a call waits for its turn in the account's pacing (not for its own 300 s).
    """

    def __init__(
        self, http: CloudHttp, credentials: Credentials, state: StateDir, clock: Clock, limiter: Limiter,
        region: Optional[str] = None, base_url: Optional[str] = None, host_family: str = "openapi",
        system_id: Optional[str] = None, encode: Optional[Callable[[str], str]] = None,
        patience_s: float = PATIENCE_S,
    ) -> None:
        if not region and not base_url:
            raise ConfigError("set cloud.region (eu, aus, apac, us, cn, jp) or cloud.base_url")
        row = region_named(region or "eu")  # with a base URL the region is only a header
        self._http, self._state, self._system_id = http, state, system_id
        url = base_url or openapi_url(row, host_family)
        self._wire = Wire(http, url, row.name, limiter, clock, patience_s)
        self._session = Session(self._wire, credentials, state, clock, encode)

    def login(self) -> Login:
        """Log in now and return the method that worked and the token's lifetime."""
        return self._session.login()

    def token(self) -> str:
        """Return a valid access token, for the MQTT login and the battery commands; never print it."""
        return self._session.token()

    def renewed_token(self, rejected: str) -> str:
        """Return another access token than ``rejected``, which a peer did not take."""
        return self._session.renew(rejected)

    def systems(self) -> List[System]:
        """Return the stations this account may see; the vendor allows one call in 300 s."""
        rows = self._rows(Call("system", "GET", "/openapi/system"))
        return [one for one in map(system_of, rows) if one is not None]

    def devices(self, system_id: Optional[str] = None) -> List[Device]:
        """Return the devices of a station; one call in 300 s."""
        station = self._station(system_id)
        rows = self._rows(Call("devices", "GET", f"/openapi/system/{path_part(station)}/devices", station))
        return [one for one in map(device_of, rows) if one is not None]

    def energy_flow(self, system_id: Optional[str] = None) -> EnergyFlow:
        """Return the power of sun, grid, battery and house in kW; one call in 300 s."""
        station = self._station(system_id)
        call = Call(FLOW, "GET", f"/openapi/systems/{path_part(station)}/energyFlow", station)
        return energy_flow_of(self._object(call))

    def energy_flow_in_s(self, system_id: Optional[str] = None) -> float:
        """Return in how many seconds the power flow may be asked for again; 0 = now. Asks nothing."""
        return self._wire.limiter.wait_s(FLOW, self._station(system_id))

    def summary(self, system_id: Optional[str] = None) -> Summary:
        """Return the energy totals by the newer spelling (GET summary); one call in 300 s."""
        station = self._station(system_id)
        call = Call("summary", "GET", f"/openapi/systems/{path_part(station)}/summary", station)
        return summary_of(self._object(call))

    def realtime(self, system_id: Optional[str] = None) -> Summary:
        """Return the energy totals by the older spelling (POST realtime data); one call in 300 s."""
        station = self._station(system_id)
        path, body = "/openapi/system/realtime/data", {"systemId": station}
        return summary_of(self._object(Call("realtime", "POST", path, station, body=body)))

    def device_realtime(self, serial: str, system_id: Optional[str] = None) -> DeviceRealtime:
        """Return the live values of one device; one call in 300 s for each device."""
        station = self._station(system_id)
        path = f"/openapi/systems/{path_part(station)}/devices/{path_part(serial)}/realtimeInfo"
        call = Call("realtimeInfo", "GET", path, f"{station} {serial}")
        return device_realtime_of(serial, self._object(call))

    def mode(self, system_id: Optional[str] = None) -> Mode:
        """Return the operating mode; one call in 300 s."""
        station = self._station(system_id)
        path = f"/openapi/instruction/{path_part(station)}/settings"
        found = mode_of(self._object(Call("mode", "GET", path, station)))
        if found is None:
            raise EnvelopeError(f"sigen mode {station} at {self._wire.host}: the answer names no mode")
        return found

    def set_mode(self, number: int, system_id: Optional[str] = None) -> ModeSwitch:
        """Ask for an operating mode (0, 5 or 8) and return how; raises Refused for any other.

        PUT settings is tried first (two working clients), POST operationMode/switch after a 404 or 405
        (S3 source); what works is remembered.
        """
        station = self._station(system_id)
        if not mode_row(number).settable:
            choices = ", ".join(f"{row.number} {row.word}" for row in MODES if row.settable)
            raise Refused(
                f"mode {number} ({mode_row(number).label}) cannot be set over the OpenAPI;"
                f" use one of: {choices}"
            )
        calls = dict(zip((PUT_SETTINGS, POST_SWITCH), mode_calls(station, number)))
        remembered = self._remembered()
        used = remembered if remembered in calls else PUT_SETTINGS
        try:
            self._ask(calls[used])
        except ApiRejected as error:
            if error.status not in (404, 405):
                raise
            used = POST_SWITCH if used == PUT_SETTINGS else PUT_SETTINGS
            self._ask(calls[used])
        if used != remembered:
            self._state.save(SPELLING_FILE, {"base_url": self._wire.base_url, "mode": used})
        log.info("event=mode-asked station=%s mode=%d spelling=%s", station, number, used)
        return ModeSwitch(station, number, used)

    def onboard(self, system_ids: Sequence[str]) -> List[BoardResult]:
        """Ask for the stations to be put under this application; code 1401 is judged by a read."""
        return self._board("onboard", system_ids, wanted=True)

    def offboard(self, system_ids: Sequence[str]) -> List[BoardResult]:
        """Give the stations back to their owners; code 1401 is judged by a read."""
        return self._board("offboard", system_ids, wanted=False)

    def close(self) -> None:
        """Drop the connections."""
        self._http.close()

    def _board(self, verb: str, system_ids: Sequence[str], wanted: bool) -> List[BoardResult]:
        call = board_call(verb, system_ids)
        stations = call.body
        try:
            content = self._ask(call)
            answers = {text_of(row.get("systemId")): row for row in rows_of(content) or ()}
        except ApiRejected as error:
            if error.code not in (ALREADY_OR_FORBIDDEN, PENDING_APPROVAL):
                raise
            answers = {one: {"result": False, "codeList": [error.code]} for one in stations}
        results = [board_result(one, answers.get(one)) for one in stations]
        if not any(map(is_ambiguous, results)):
            return results
        try:
            listed = [one.system_id for one in self.systems()]
        except BridgeError as error:
            return [unproven(one, str(error)) for one in results]
        return [proven(one, listed, wanted) for one in results]

    def _station(self, system_id: Optional[str]) -> str:
        return station_id(system_id or self._system_id or "")

    def _remembered(self) -> Optional[str]:
        content = self._state.load(SPELLING_FILE)
        if not isinstance(content, dict) or content.get("base_url") != self._wire.base_url:
            return None
        return text_of(content.get("mode"))

    def _object(self, call: Call) -> Dict[str, Any]:
        content = self._ask(call)
        if not isinstance(content, dict) or not content:
            raise self._no_data(call)
        return content

    def _rows(self, call: Call) -> List[Mapping[str, Any]]:
        content = self._ask(call)
        rows = rows_of(content)
        if rows is None:  # an absent list is not an empty one
            raise self._no_data(call)
        return rows

    def _no_data(self, call: Call) -> EnvelopeError:
        what = f"sigen {call.endpoint} {call.station} at {self._wire.host}"
        return EnvelopeError(f"{what}: success, but no data in it; tried again later")

    def _ask(self, call: Call) -> Any:
        """Make a call with a token; a token that is refused is renewed once and the call repeated once."""
        return self.ask_with(lambda token: call)

    def ask_with(self, make: Callable[[str], Call]) -> Any:
        """Make the call that ``make`` returns for a token, for requests that carry it in the body as well."""
        self._wire.check(make(""))
        token = self._session.token()
        try:
            return self._wire.exchange(make(token), token, self._session.secrets()).data
        except TokenRejected:
            token = self._session.renew(token)
        try:
            return self._wire.exchange(make(token), token, self._session.secrets(), again=True).data
        except TokenRejected as error:
            raise ApiAuthError(
                f"sigen {make(token).endpoint} at {self._wire.host}: refused with a new token as well; check that"
                " the account may use the OpenAPI, and cloud.region",
                error.kind, error.status,
            ) from None
