"""What the simulated cloud knows about owners: their sessions, and their stations as the mySigen app sees them.

Never reads a clock: every question carries ``now`` (monotonic seconds of the simulation). A plant is one
thing: the mode that the app sets is the mode that the OpenAPI shows.
"""

from __future__ import annotations

import base64
import re
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Tuple

from bridge.sim.aes import Aes128
from bridge.sim.sigen_cloud_world import LIFETIME_S, LOCKED_S, WRONG_MAX, WRONG_WINDOW_S, Station, World

FIRST_NUMBER = 92025000000001
PASSWORD_KEY = b"sigensigensigenp"
CUSTOM = 9
DEFAULT_MODES: Tuple[Tuple[int, str], ...] = (
    (1, "Sigen AI Mode"), (0, "Maximum Self-Powered"), (2, "TOU"), (5, "Fully Fed to Grid"),
)
DEVICE_ID = re.compile(r"\d{13}|[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
REFRESH_LIFETIME_S = 30 * 86400.0


class AppToken(NamedTuple):
    """One pair of tokens; a refresh makes a new pair and ends this one."""

    access: str
    refresh: str
    username: str
    expires_at: float
    refresh_until: float


class SmartLoad:
    """A switched socket or contactor of the gateway; ``manual`` says that the switch is followed."""

    def __init__(self, path: int, name: str, load_id: int, power_kw: float, on: bool = False) -> None:
        self.path, self.name, self.load_id, self.power_kw = path, name, load_id, power_kw
        self.on = on
        self.manual = True
        self.today_kwh, self.month_kwh, self.lifetime_kwh = 1.2, 30.4, 402.75


class Home:
    """A station in the app: numbered with 14 digits; ``mode_api`` is the paths it has: v3, v0 or both."""

    def __init__(self, station: Station, number: int) -> None:
        self.station, self.number = station, number
        self.mode_api = "both"
        self.profile_id = -1
        self.profiles: Dict[int, str] = {77: "Night charge", 78: "Holiday"}
        self.instant: Dict[str, Any] = {"enable": False, "mode": "", "endTime": None, "powerLimitation": ""}
        self.instant_ends_at = 0.0
        self.loads: List[SmartLoad] = [
            SmartLoad(1, "Pool pump", 501, 0.85), SmartLoad(2, "Hot water", 502, 2.4, on=True),
        ]
        self.tariff: Optional[Mapping[str, Any]] = None
        self.currency = "AUD"


class AppWorld:
    """Sessions and homes; codes are the vendor's where it has documented any, 0 = success."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._aes = Aes128(PASSWORD_KEY)
        self.homes = {
            FIRST_NUMBER + index: Home(station, FIRST_NUMBER + index)
            for index, station in enumerate(world.stations.values())
        }
        self.lifetime_s = LIFETIME_S
        self.shortest_slot_min = 30  # 5 takes the slots that the real service merges
        self.wrapped = True  # the tokens come in an envelope
        self.tokens: Dict[str, AppToken] = {}
        self.saved_tariffs: List[Mapping[str, Any]] = []
        self.device_ids: List[str] = []
        self._issued = 0
        self._wrong: Dict[str, List[float]] = {}
        self._locked_until: Dict[str, float] = {}

    def login(self, form: Mapping[str, str], now: float) -> Tuple[int, Optional[AppToken]]:
        """Judge a password grant: 11003 wrong, 11002 locked after five wrong ones, 1000 a malformed field."""
        username, device = form.get("username", ""), form.get("userDeviceId")
        if now < self._locked_until.get(username, 0.0):
            return 11002, None
        if form.get("scope", "server") != "server" or (device is not None and not DEVICE_ID.fullmatch(device)):
            return 1000, None
        account = self._world.accounts.get(username)
        if account is None or self._decoded(form.get("password", "")) != account.password:
            wrong = [at for at in self._wrong.get(username, []) if now - at < WRONG_WINDOW_S] + [now]
            self._wrong[username] = wrong
            if len(wrong) >= WRONG_MAX:
                self._locked_until[username] = now + LOCKED_S
                self._wrong[username] = []
            return 11003, None
        self._wrong.pop(username, None)
        if device is not None:
            self.device_ids.append(device)
        return 0, self._issue(username, now)

    def _decoded(self, password: str) -> Optional[str]:
        try:
            content = base64.b64decode(password, validate=True)
            return self._aes.decrypt_cbc(content, PASSWORD_KEY).decode("utf-8")
        except ValueError:
            return None

    def refresh(self, text: str, now: float) -> Tuple[int, Optional[AppToken]]:
        """Exchange a refresh token; it works once, and ends the pair it belongs to."""
        for token in list(self.tokens.values()):
            if token.refresh == text and now < token.refresh_until:
                del self.tokens[token.access]
                return 0, self._issue(token.username, now)
        return 401, None

    def _issue(self, username: str, now: float) -> AppToken:
        self._issued += 1
        number = f"{self._issued:06d}"
        token = AppToken(
            f"at-sim-{number}", f"rt-sim-{number}", username, now + self.lifetime_s, now + REFRESH_LIFETIME_S
        )
        self.tokens[token.access] = token
        return token

    def token(self, text: str, now: float) -> Optional[AppToken]:
        """Return the session of an access token unless it is unknown, revoked or expired."""
        token = self.tokens.get(text)
        return token if token is not None and now < token.expires_at else None

    def expire_access(self, now: float) -> None:
        """Let every access token be refused from now on; the refresh tokens still work."""
        self.tokens = {key: one._replace(expires_at=now) for key, one in self.tokens.items()}

    def homes_of(self, username: str) -> List[Home]:
        """Return the stations of an owner; the first one is what the app opens with."""
        return [home for home in self.homes.values() if home.station.owner == username]
