"""What an Envoy's token says about itself: when it ends, and whose it is.

Pure. Never checks the signature (only the Envoy can) and never puts a token into an error text.
Claims: RFC 7519; ``exp`` and ``enphaseUser`` are those that other clients rely on too.
"""

from __future__ import annotations

import base64
import binascii
import json
from typing import Any, Mapping, NamedTuple, Optional

DAY_S = 86_400.0
RENEW_BEFORE_S = 7 * DAY_S
RENEW_SHARE = 0.25  # an installer's token lives 12 h: it is renewed when a quarter of that is left
WARN_BEFORE_S = 30 * DAY_S
SPARE_S = 60.0  # a token that ends within a minute is not sent any more
TIMES_UNTIL = 253_402_300_800.0  # the year 10000: what lies beyond is no time in seconds


class Token(NamedTuple):
    """One token; times are unix seconds, None where it does not say."""

    text: str
    expires_at: Optional[float]
    issued_at: Optional[float] = None
    owner: str = ""
    serial: str = ""

    def __repr__(self) -> str:
        return f"Token(expires_at={self.expires_at}, owner={self.owner!r})"

    def ended(self, now: float) -> bool:
        """Say whether it is of no use any more."""
        return self.expires_at is not None and now >= self.expires_at - SPARE_S

    def renew_at(self) -> Optional[float]:
        """Return from when on it should be renewed: 7 days before its end, or a quarter of a short life."""
        if self.expires_at is None:
            return None
        before_s = RENEW_BEFORE_S
        if self.issued_at is not None:
            before_s = min(before_s, RENEW_SHARE * max(0.0, self.expires_at - self.issued_at))
        return self.expires_at - before_s

    def wants_notice(self, now: float) -> bool:
        """Say whether a long-lived token is within its last 30 days."""
        if self.expires_at is None or now < self.expires_at - WARN_BEFORE_S:
            return False
        return self.issued_at is None or self.expires_at - self.issued_at > WARN_BEFORE_S


def read_token(text: str, issued_at: Optional[float] = None) -> Token:
    """Return the token that ``text`` is; raises ValueError when it is none.

    ``issued_at`` is used where the token itself does not tell.
    """
    word = text.strip().strip('"')
    claims = claims_of(word)
    aud = claims.get("aud")
    return Token(
        word, moment(claims.get("exp")), moment(claims.get("iat")) or issued_at,
        str(claims.get("enphaseUser") or ""), aud if isinstance(aud, str) else "",
    )


def claims_of(token: str) -> Mapping[str, Any]:
    """Return the middle part of a JSON web token; raises ValueError."""
    parts = token.split(".")
    if len(parts) != 3 or not all(parts):
        raise ValueError("not three parts with dots between them, as a token has")
    try:
        padded = parts[1] + "=" * (-len(parts[1]) % 4)
        claims = json.loads(base64.b64decode(padded, b"-_", validate=True))
    except (binascii.Error, ValueError):
        raise ValueError("its middle part cannot be read") from None
    if not isinstance(claims, dict):
        raise ValueError("its middle part is not a set of claims")
    return claims


def moment(claim: Any) -> Optional[float]:
    """Return a claim as unix seconds; None for what is no number, and for no such time."""
    if isinstance(claim, bool) or not isinstance(claim, (int, float)) or not 0 <= claim < TIMES_UNTIL:
        return None
    return float(claim)
