"""The API behind the mySigen app: the station, its power, its tariff and the manual override.

Never opens a connection itself, never guesses a station, and never calls a tariff saved that the cloud did
not accept. Unofficial; calls and bodies as in public clients (cloud-apis section 4).
"""

from __future__ import annotations

import math
from typing import Any, Callable, Dict, List, Mapping, Optional

from bridge.clock import Clock
from bridge.errors import ConfigError
from bridge.link.cloud import CloudHttp
from bridge.peers.envelope import EnvelopeError
from bridge.peers.limiter import Limiter
from bridge.peers.sigen_app_identity import THREE_WAYS, AppCredentials, station_number
from bridge.peers.sigen_app_records import (
    AppFlow,
    AppStation,
    Instant,
    app_flow_of,
    instant_of,
    station_of,
)
from bridge.peers.sigen_app_session import PASSWORD, AppSession
from bridge.peers.sigen_app_wire import AppCall, AppWire
from bridge.peers.sigen_codes import region_named
from bridge.peers.sigen_errors import ApiAuthError, ApiRejected, ApiUnavailable, TokenRejected
from bridge.peers.sigen_records import rows_of
from bridge.peers.sigen_session import Login
from bridge.state import StateDir

PATIENCE_S = 60.0
SAVE_PATH = "/device/stationelecsetprice/save"
TARIFF_PATHS = ("/device/stationelecsetprice/latest/static/price", "/device/stationelecsetprice/latest/price")
INSTANT_PATH = "/device/energy-profile/instant/manunal"  # the vendor's spelling
INSTANT_MODES: Mapping[str, str] = {"charge": "0", "discharge": "1", "hold": "2", "self": "3"}
INSTANT_MINUTES = (30, 120)
UNLIMITED_KW = 4_294_967.295  # the app's word for "no limit"


class SigenApp:
    """One account at one region; ``kept`` outlives a reboot, ``cache`` need not.

    Every method may raise AuthError, RateLimited, LinkError, ApiError, EnvelopeError and ConfigError.
    """

    def __init__(
        self, http: CloudHttp, credentials: AppCredentials, cache: StateDir, kept: StateDir, clock: Clock,
        limiter: Limiter, region: Optional[str] = None, base_url: Optional[str] = None,
        station_id: Optional[str] = None, encode: Optional[Callable[[str], str]] = None,
        patience_s: float = PATIENCE_S,
    ) -> None:
        if not region and not base_url:
            raise ConfigError("set cloud.region (eu, aus, apac, us, cn, jp) or cloud.app_base_url")
        row = region_named(region or "eu")  # with a base URL the region is only a header
        self._http, self.cache = http, cache
        self._wanted = station_number(station_id) if station_id else None
        self._wire = AppWire(http, base_url or f"https://{row.app_host}", row.name, limiter, clock, patience_s)
        self._session = AppSession(self._wire, credentials, cache, kept, clock, encode or _no_encoder)
        self._station: Optional[AppStation] = None

    @property
    def base_url(self) -> str:
        """Where this API is."""
        return self._wire.base_url

    @property
    def host(self) -> str:
        """The name of that place in messages."""
        return self._wire.host

    def login(self) -> Login:
        """Log in with the password now and return the token's lifetime."""
        return self._session.login()

    def station(self) -> AppStation:
        """Return the station to work with: the configured one if the account has it, else the account's own.

        Raises ConfigError when the configured number is not a station of this account, or none is known.
        """
        if self._station is None:
            home = self.object(AppCall("station", "GET", "/device/owner/station/home"))
            found = station_of(home)
            if self._wanted is not None and (found is None or found.station_id != self._wanted):
                found = self._other(found)
            if found is None:
                raise ConfigError(f"the account's station has no number; three ways to it: {THREE_WAYS}")
            self._station = found
        return self._station

    def stations(self) -> List[AppStation]:
        """Return every station of the account."""
        rows = rows_of(self.ask(AppCall("stations", "GET", "/device/owner/station/list")))
        if rows is None:
            raise self.no_data("stations")
        return [one for one in map(station_of, rows) if one is not None]

    def energy_flow(self) -> AppFlow:
        """Return the power of sun, grid, battery and house; the newer path after a 404 of the older one."""
        number = self.station().station_id
        path = "/device/sigen/station/energyflow"
        try:
            return app_flow_of(self.object(AppCall("flow", "GET", path, {"id": str(number)})))
        except ApiRejected as error:
            if error.status != 404:
                raise
        query = {"id": str(number), "refreshFlag": "false"}
        return app_flow_of(self.object(AppCall("flow", "GET", f"{path}/async", query)))

    def save_tariff(self, payload: Mapping[str, Any]) -> None:
        """Save a tariff (the whole object of the app's price page); returns when the cloud has accepted it.

        Raises ConfigError for a payload without a station number: the cloud answers those with a bare 500.
        """
        number = station_number(payload.get("stationId"))
        self.ask(AppCall("tariff save", "POST", SAVE_PATH, body={**payload, "stationId": number}))

    def read_tariff(self, station_id: int) -> Optional[Mapping[str, Any]]:
        """Return what the cloud holds now; None where there is none or it cannot be read.

        The call is known from one client only, so that a refusal says nothing about the tariff. Raises what
        concerns every call: AuthError, RateLimited, LinkError.
        """
        for path in TARIFF_PATHS:
            try:
                content = self.ask(AppCall("tariff", "GET", path, {"stationId": str(station_id)}))
            except (ApiRejected, ApiUnavailable, EnvelopeError):
                continue
            if isinstance(content, dict) and content:
                return content
        return None

    def instant_now(self) -> Instant:
        """Return the manual override as it is."""
        number = self.station().station_id
        found = instant_of(self.object(AppCall("instant", "GET", f"{INSTANT_PATH}/{number}")), INSTANT_MODES)
        if found is None:
            raise self.no_data("instant")
        return found

    def instant(self, mode: str, minutes: int, power_kw: Optional[float] = None) -> None:
        """Override the mode for 30 to 120 minutes: charge, discharge, hold or self; then it ends by itself.

        ``power_kw`` None leaves the power to the plant. Raises ConfigError for what the app does not offer.
        """
        if mode not in INSTANT_MODES:
            raise ConfigError(f"instant control: {mode!r} is not one of {', '.join(INSTANT_MODES)}")
        lo, hi = INSTANT_MINUTES
        if isinstance(minutes, bool) or minutes != int(minutes) or not lo <= minutes <= hi:
            raise ConfigError(f"instant control: {minutes} minutes; the app takes {lo} to {hi}")
        if power_kw is not None and not (math.isfinite(power_kw) and 0 < power_kw < UNLIMITED_KW):
            raise ConfigError(f"instant control: {power_kw} kW is not a power above 0")
        power = f"{UNLIMITED_KW if power_kw is None else power_kw:.3f}" if mode in ("charge", "discharge") else ""
        self._set_instant({
            "enable": True, "mode": INSTANT_MODES[mode], "duration": str(int(minutes)), "powerLimitation": power,
        })

    def instant_off(self) -> None:
        """End the manual override; the operating mode goes on."""
        self._set_instant({"enable": False, "mode": "", "duration": "", "powerLimitation": ""})

    def close(self) -> None:
        """Drop the connections."""
        self._http.close()

    def ask(self, call: AppCall) -> Any:
        """Make a call with a token; one refused is renewed: by refresh token, then by password, then no more."""
        token = self._session.token()
        for by_password in (False, True):
            try:
                return self._wire.exchange(call, token, self._session.secrets())
            except TokenRejected as error:
                if by_password and self._session.method == PASSWORD:
                    raise self._useless(call, error) from None
                token = self._session.renew(token, by_password)
        try:
            return self._wire.exchange(call, token, self._session.secrets())
        except TokenRejected as error:
            raise self._useless(call, error) from None

    def _useless(self, call: AppCall, error: TokenRejected) -> ApiAuthError:
        return ApiAuthError(
            f"sigen app {call.name} at {self.host}: refused with a new token as well; check cloud.region and"
            " that this account owns the station", error.kind, error.status,
        )

    def object(self, call: AppCall) -> Dict[str, Any]:
        """Make a call whose data has to be an object."""
        content = self.ask(call)
        if not isinstance(content, dict) or not content:
            raise self.no_data(call.name)
        return content

    def no_data(self, name: str) -> EnvelopeError:
        """Return the error for a success without data."""
        return EnvelopeError(f"sigen app {name} at {self.host}: success, but no data in it; tried again later")

    def _set_instant(self, fields: Mapping[str, Any]) -> None:
        body = {**fields, "stationId": self.station().station_id}
        self.ask(AppCall("set instant", "PUT", INSTANT_PATH, body=body))

    def _other(self, home: Optional[AppStation]) -> AppStation:
        """Return the configured station if the account has it besides its first one."""
        try:
            owned = self.stations()
        except (ApiRejected, EnvelopeError):
            owned = []
        for one in owned:
            if one.station_id == self._wanted:
                return one
        names = {one.station_id: one.name for one in (*owned, *((home,) if home else ()))}
        has = ", ".join(f"{number} ({name or 'no name'})" for number, name in names.items()) or "none"
        raise ConfigError(
            f"cloud.station_id {self._wanted} is not a station of this account, whose stations are: {has};"
            " correct it, or remove it to use the account's own"
        )


def _no_encoder(_password: str) -> str:
    raise ConfigError(
        "encoding the password needs pycryptodome, which is not installed; set cloud.password_encoded instead"
    )
