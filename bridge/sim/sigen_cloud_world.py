"""Who may do what in the simulated Sigenergy cloud: applications, accounts, tokens, stations, limits.

Never reads a clock: every question carries ``now`` (monotonic seconds of the simulation).
"""

from __future__ import annotations

import base64
from collections import deque
from typing import Deque, Dict, List, NamedTuple, Optional, Sequence, Tuple

LIFETIME_S = 43199.0
PERIOD_S = 300.0
PER_MINUTE, MINUTE_S = 10, 60.0
WRONG_MAX, WRONG_WINDOW_S, LOCKED_S = 5, 3600.0, 180.0


class App(NamedTuple):
    """An application of a developer; ``approval`` says whether the owner must confirm an onboarding."""

    key: str = "AK_DEMO"
    secret: str = "AS_DEMO"
    scene: str = "NBI"
    approval: bool = False


class Account(NamedTuple):
    """A mySigen account; ``spellings`` are the login bodies the service takes, ``encoded`` the AES form."""

    username: str = "owner@example.invalid"
    password: str = "correct horse"
    encoded: str = "2XgqjWOYS8wesGPH8+9zTA=="
    spellings: Tuple[str, ...] = ("json-plain", "json-aes")
    api_access: bool = True


class Token(NamedTuple):
    """An access token; ``app`` None for an account's."""

    text: str
    identity: str
    app: Optional[App]
    expires_at: float


class Station:
    """One plant as the cloud knows it."""

    def __init__(
        self, system_id: str = "ABCDE1700000001", name: str = "Home", onboarded: bool = True, mode: int = 0,
        owner: str = "owner@example.invalid", serials: Sequence[str] = ("110A000X0001", "110B000X0002"),
    ) -> None:
        self.system_id, self.name, self.mode, self.owner = system_id, name, mode, owner
        self.serials = tuple(serials)
        self.onboarded = onboarded
        self.pending = False
        self.other_vpp = False  # another provider holds it
        self.control_granted = True  # NBI is read-only until the owner grants control


class World:
    """The state of the service; codes are the vendor's, 0 = success."""

    def __init__(self, apps: Sequence[App], accounts: Sequence[Account], stations: Sequence[Station]) -> None:
        self.apps = {app.key: app for app in apps}
        self.accounts = {account.username: account for account in accounts}
        self.stations = {station.system_id: station for station in stations}
        self.lifetime_s = LIFETIME_S
        self.period_s = PERIOD_S
        self.general_limit = True
        self.tokens: Dict[str, Token] = {}
        self._issued = 0
        self._asked: Dict[Tuple[str, str], float] = {}
        self._recent: Dict[str, Deque[float]] = {}
        self._wrong: Dict[str, List[float]] = {}
        self._locked_until: Dict[str, float] = {}

    def login_key(self, text: object, now: float) -> Tuple[int, Optional[Token]]:
        """Judge base64(key:secret)."""
        try:
            key, _, secret = base64.b64decode(str(text), validate=True).decode().partition(":")
        except ValueError:
            return 11003, None
        app = self.apps.get(key)
        if app is None or app.secret != secret:
            return 11003, None
        return 0, self._issue(f"app {key}", app, now)

    def login_account(
        self, username: str, password: str, form: bool, now: float
    ) -> Tuple[int, Optional[Token]]:
        """Judge an account login; the fifth wrong password within an hour locks it for three minutes."""
        if now < self._locked_until.get(username, 0.0):
            return 11002, None
        account = self.accounts.get(username)
        kind = "form" if form else "json"
        right = account is not None and (
            (f"{kind}-plain" in account.spellings and password == account.password)
            or (f"{kind}-aes" in account.spellings and password == account.encoded)
        )
        if not right:
            wrong = [at for at in self._wrong.get(username, []) if now - at < WRONG_WINDOW_S] + [now]
            self._wrong[username] = wrong
            if len(wrong) >= WRONG_MAX:
                self._locked_until[username] = now + LOCKED_S
                self._wrong[username] = []
            return 11003, None
        self._wrong.pop(username, None)
        if account is not None and not account.api_access:
            return 11003, None
        return 0, self._issue(f"account {username}", None, now)

    def _issue(self, identity: str, app: Optional[App], now: float) -> Token:
        self._issued += 1
        token = Token(f"tok-sim-{self._issued:06d}", identity, app, now + self.lifetime_s)
        self.tokens[token.text] = token
        return token

    def token(self, text: str, now: float) -> Optional[Token]:
        """Return the token behind a bearer text unless it is unknown, revoked or expired."""
        token = self.tokens.get(text)
        return token if token is not None and now < token.expires_at else None

    def sees(self, token: Token, station: Station) -> bool:
        """Say whether the token's owner may read the station."""
        if token.app is not None:
            return station.onboarded and not station.pending
        return f"account {station.owner}" == token.identity

    def limited(self, token: Token, endpoint: str, subject: str, now: float) -> int:
        """Return 1110 when the endpoint was asked within its period, else 0 and count the call."""
        key = (endpoint, subject or token.identity)
        last = self._asked.get(key)
        if last is not None and now - last < self.period_s:
            return 1110
        self._asked[key] = now
        return 0

    def crowded(self, identity: str, now: float) -> int:
        """Return 1201 for the eleventh call of a minute, else 0 and count the call."""
        recent = self._recent.setdefault(identity, deque())
        while recent and now - recent[0] >= MINUTE_S:
            recent.popleft()
        if self.general_limit and len(recent) >= PER_MINUTE:
            return 1201
        recent.append(now)
        return 0

    def onboard(self, app: App, system_id: str) -> int:
        """Put a station under an application; 1116 = waits for its owner."""
        station = self.stations.get(system_id)
        if station is None:
            return 1106
        if station.other_vpp:
            return 1103
        if station.pending:
            return 1116
        if station.onboarded:
            return 1401
        station.onboarded = True
        station.pending = app.approval
        if not app.approval:
            self._taken_over(app, station)
        return 1116 if station.pending else 0

    def approve(self, system_id: str, app: App) -> None:
        """Play the owner who clicks the link in the mail."""
        station = self.stations[system_id]
        station.pending = False
        self._taken_over(app, station)

    def _taken_over(self, app: App, station: Station) -> None:
        if app.scene == "VPP":
            station.mode = 6

    def offboard(self, system_id: str) -> int:
        """Give a station back to its owner; it returns to maximum self-consumption."""
        station = self.stations.get(system_id)
        if station is None:
            return 1106
        if not station.onboarded:
            return 1401
        station.onboarded = station.pending = False
        station.mode = 0
        return 0

    def switch_mode(self, token: Token, station: Station, mode: object) -> int:
        """Change a station's operating mode as far as the caller may."""
        if isinstance(mode, bool) or not isinstance(mode, int) or mode not in (0, 5, 6, 8):
            return 1000
        if station.other_vpp:
            return 1103
        if token.app is None and station.mode == 6:
            return 1402  # a VPP's owner cannot change the mode
        if mode == 6 and (token.app is None or token.app.scene != "VPP"):
            return 1402
        if token.app is not None and not station.control_granted:
            return 1402
        station.mode = mode
        return 0
