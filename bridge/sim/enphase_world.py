"""The state behind the simulated Enlighten and Envoy: an account, its tokens, a roof with microinverters.

Never does I/O. Tokens have the claims of real ones (ES256 header, exp, enphaseUser, aud = serial) and random
bytes for a signature: the simulated Envoy knows its tokens by heart, as nobody else can check them either.
"""

from __future__ import annotations

import base64
import json
import os
from typing import Any, Dict, Mapping, NamedTuple, Optional

DAY_S = 86_400.0
OWNER_LIFE_S, INSTALLER_LIFE_S = 365 * DAY_S, 12 * 3600.0
PRODUCTION_EID, NET_EID = 704643328, 704643584


class Account(NamedTuple):
    """One Enlighten login; the defaults are no secret."""

    username: str = "owner@example.com"
    password: str = "s3cret&+%"
    user: str = "owner"
    mfa: bool = False


class Issued(NamedTuple):
    """A token as the Envoy knows it."""

    expires_at: float
    user: str


class EnphaseWorld:
    """``produce_w`` is what the roof makes, ``inverters_w`` the older figure that the microinverters reported.

    ``metered`` says whether it is an Envoy-S Metered, ``ct`` whether its production clamp is in place.
    """

    def __init__(
        self, account: Optional[Account] = None, serial: str = "122300000001", firmware: str = "D8.2.4345",
        metered: bool = True, ct: bool = True, produce_w: float = 4200.0, house_w: float = 1100.0,
    ) -> None:
        self.account = account or Account()
        self.serial, self.firmware, self.metered, self.ct = serial, firmware, metered, ct
        self.produce_w, self.house_w = produce_w, house_w
        self.inverters_w: Optional[float] = None
        self.inverters_at: Optional[float] = None
        self.meter_state, self.metering = ("enabled", "normal") if ct else ("disabled", "not-metering")
        self.life_s = OWNER_LIFE_S if self.account.user == "owner" else INSTALLER_LIFE_S
        self.sessions: Dict[str, bool] = {}
        self.tokens: Dict[str, Issued] = {}
        self.written: Dict[str, Any] = {}

    @property
    def wants_token(self) -> bool:
        """Firmware 7 and later wants a token and speaks TLS."""
        major = self.firmware.lstrip("DR").partition(".")[0]
        return int(major) >= 7

    def login(self, form: Mapping[str, str]) -> Optional[str]:
        """Return a session for the right credentials, '' when a second factor is wanted, None for wrong ones."""
        if (form.get("user[email]"), form.get("user[password]")) != self.account[:2]:
            return None
        if self.account.mfa:
            return ""
        session = os.urandom(16).hex()
        self.sessions[session] = True
        return session

    def issue(self, now: float, life_s: Optional[float] = None) -> str:
        """Return a new token for this Envoy."""
        expires_at = float(int(now + (self.life_s if life_s is None else life_s)))
        claims = {
            "aud": self.serial, "iss": "Entrez", "enphaseUser": self.account.user, "exp": int(expires_at),
            "iat": int(now), "jti": os.urandom(8).hex(), "username": self.account.username,
        }
        token = ".".join((part({"kid": "7d10005d", "typ": "JWT", "alg": "ES256"}), part(claims), raw(os.urandom(64))))
        self.tokens[token] = Issued(expires_at, self.account.user)
        return token

    def revoke(self) -> None:
        """Make every token invalid before its time, as a firmware update has done."""
        self.tokens.clear()

    def user_of(self, authorization: str, now: float) -> Optional[str]:
        """Return whose token stands in the header, or None when the Envoy refuses it."""
        word, _, token = authorization.partition(" ")
        issued = self.tokens.get(token) if word == "Bearer" else None
        return issued.user if issued is not None and now < issued.expires_at else None


def part(content: Any) -> str:
    """Return one part of a token."""
    return raw(json.dumps(content, separators=(",", ":")).encode())


def raw(content: bytes) -> str:
    """Return bytes as base64url without padding."""
    return base64.urlsafe_b64encode(content).decode().rstrip("=")
