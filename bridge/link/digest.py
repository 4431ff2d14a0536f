"""Digest authentication as Shellys want it, in HTTP headers and in WebSocket frames.

Never shows the password: it is reduced to HA1 as soon as the realm is known, and is in no repr.
Never opens anything. Facts: RFC 7616; Shelly documentation "Authentication" (2.x: a nonce takes one
of 32 slots of the device, so it is used until it is refused); aioshelly 13.35 for the frame form.
"""

from __future__ import annotations

import json
import os
import re
from typing import Callable, Dict, NamedTuple, Optional

from bridge.errors import AuthError, RateLimited

USER = "admin"
WRONG_PASSWORD_PAUSE_S = 300.0  # each try counts towards a lock-out that hits the owner's app too
CROWDED_PAUSE_S = 2.0  # firmware 2.x frees a nonce slot 2 s after it has said 429
CROWDED_JITTER_S = 3.0
CROWDED_MOST_S = 60.0  # others may have locked it; each 429 in a row doubles the pause
MAX_REFUSALS = 3  # unsigned, stale, stale again; more is a device in trouble
FRAME_HA2_TEXT = "dummy_method:dummy_uri"  # what a frame signs in place of method and target

_FIELD = re.compile(r'(\w+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))')


class Challenge(NamedTuple):
    """What a 401 asks to be signed; ``stale`` means the nonce was too old, not the password wrong."""

    realm: str
    nonce: str
    stale: bool


def parse_header(header: str) -> Optional[Challenge]:
    """Return the challenge of a WWW-Authenticate header, None when it is not a digest one.

    Quoted values are taken whole: since firmware 2.0 the nonce is Base64 and ends in ``==``.
    """
    if not header.lower().lstrip().startswith("digest"):
        return None
    fields: Dict[str, str] = {}
    for name, quoted, bare in _FIELD.findall(header):
        fields[name.lower()] = quoted or bare
    if not fields.get("nonce"):
        return None
    return Challenge(fields.get("realm", ""), fields["nonce"], fields.get("stale", "").lower() == "true")


def parse_frame(message: str) -> Optional[Challenge]:
    """Return the challenge in the message of a 401 frame, which is JSON inside a string."""
    try:
        fields = json.loads(message)
    except ValueError:
        return None
    if not isinstance(fields, dict) or fields.get("nonce") in (None, ""):
        return None
    stale = fields.get("stale") in (True, "true")
    return Challenge(str(fields.get("realm", "")), str(fields["nonce"]), stale)


def sha256_hex(text: str) -> str:
    """Return the SHA-256 of a text in hex digits."""
    from hashlib import sha256  # libcrypto is 3 MiB that a Shelly without a password need not cost

    return sha256(text.encode()).hexdigest()


def ha1(realm: str, password: str) -> str:
    """Return the hash that stands for user, realm and password."""
    return sha256_hex(f"{USER}:{realm}:{password}")


def answer(ha1_hex: str, nonce: str, nc: str, cnonce: str, ha2_hex: str) -> str:
    """Return the response to a challenge with qop=auth (RFC 7616 section 3.4.1)."""
    return sha256_hex(f"{ha1_hex}:{nonce}:{nc}:{cnonce}:auth:{ha2_hex}")


class Digest:
    """The nonce, its count, and the patience of one device; shared by its HTTP and its WebSocket."""

    def __init__(
        self, password: Optional[str], monotonic: Callable[[], float], peer: str,
        jitter: Callable[[], float],
    ) -> None:
        self._password = password or None
        self._monotonic = monotonic
        self._peer = peer
        self._jitter = jitter
        self._realm: Optional[str] = None
        self._ha1 = ""
        self._nonce: Optional[str] = None
        self._nc = 0
        self._proven = False  # a call signed with this nonce was let in
        self._refusals = 0  # 401s since the last call that was let in
        self._crowds = 0  # 429s since then
        self._blocked_until = 0.0
        self._blocked_by: Optional[Exception] = None

    def __repr__(self) -> str:
        return f"Digest({self._peer})"

    @property
    def ready(self) -> bool:
        """True when the next request can be signed; false until a first challenge has come."""
        return self._nonce is not None

    @property
    def has_password(self) -> bool:
        """True when there is something to sign with."""
        return bool(self._password or self._ha1)

    def check(self) -> None:
        """Raise AuthError or RateLimited while the device must be left in peace."""
        if self._blocked_by is None:
            return
        if self._monotonic() < self._blocked_until:
            raise self._blocked_by
        self._blocked_by = None

    def header(self, method: str, target: str) -> str:
        """Sign an HTTP request; ``target`` includes the query. Only when ``ready``."""
        self._nc += 1
        nc, cnonce = f"{self._nc:08x}", os.urandom(8).hex()
        response = answer(self._ha1, self._nonce or "", nc, cnonce, sha256_hex(f"{method}:{target}"))
        return (
            f'Digest username="{USER}", realm="{self._realm}", nonce="{self._nonce}", uri="{target}", '
            f'algorithm=SHA-256, qop=auth, nc={nc}, cnonce="{cnonce}", response="{response}"'
        )

    def frame(self) -> str:
        """Return the ``auth`` object of one frame as JSON; ``nc`` is a plain number there."""
        self._nc += 1
        cnonce = os.urandom(8).hex()
        nonce = self._nonce or ""
        response = answer(self._ha1, nonce, str(self._nc), cnonce, sha256_hex(FRAME_HA2_TEXT))
        # up to 1.x the nonce was a number and is given back as one
        nonce_json = nonce if nonce.isdigit() else json.dumps(nonce)
        return (
            f'{{"realm":{json.dumps(self._realm)},"username":"{USER}","nonce":{nonce_json},"nc":{self._nc},'
            f'"cnonce":"{cnonce}","response":"{response}","algorithm":"SHA-256"}}'
        )

    def let_in(self) -> None:
        """Note that the last signed request was accepted."""
        self._proven = True
        self._refusals = self._crowds = 0

    def forget(self) -> None:
        """Drop the nonce, so that the next request fetches one; HTTP and WebSocket do not share theirs."""
        self._nonce = None

    def refused(self, header: str, signed: bool) -> None:
        """Take the WWW-Authenticate header of a 401; raises as ``challenged`` does."""
        self.challenged(parse_header(header), signed)

    def challenged(self, challenge: Optional[Challenge], signed: bool) -> None:
        """Take a new challenge after a 401; raises AuthError when signing again would not help."""
        if challenge is None:
            raise self._block(WRONG_PASSWORD_PAUSE_S, "asks for a login that is not SHA-256 digest")
        if not self.has_password:
            raise self._block(WRONG_PASSWORD_PAUSE_S, "is protected and shelly.password is not set; set it")
        if signed and not self._proven and not challenge.stale:
            raise self._block(
                WRONG_PASSWORD_PAUSE_S, "refused the password; set shelly.password to the one of its web page"
            )
        self._refusals += 1
        if self._refusals > MAX_REFUSALS:
            raise self._block(CROWDED_PAUSE_S, "asks for a new login again and again")
        if self._realm is None:
            self._ha1 = ha1(challenge.realm, self._password or "")
            self._realm, self._password = challenge.realm, None
        elif challenge.realm != self._realm:
            raise self._block(
                WRONG_PASSWORD_PAUSE_S, f"was {self._realm}, is now {challenge.realm}; restart if it is meant"
            )
        self._nonce, self._nc, self._proven = challenge.nonce, 0, False

    def crowded(self, message: str) -> RateLimited:
        """Forget the nonce after a 429 and return the error to raise; the next request goes unsigned.

        On firmware 2.0.0 a request signed with a dead nonce gets 429 for ever, an unsigned one does not.
        """
        self._nonce = None
        pause_s = (CROWDED_PAUSE_S + CROWDED_JITTER_S * self._jitter()) * 2 ** min(self._crowds, 5)
        pause_s = min(pause_s, CROWDED_MOST_S)
        self._crowds += 1
        self._blocked_until = self._monotonic() + pause_s
        error = RateLimited(
            f"shelly {self._peer}: no login free (429 {message[:60]}); next try in {pause_s:.0f} s", pause_s,
        )
        self._blocked_by = error
        return error

    def _block(self, pause_s: float, text: str) -> AuthError:
        self._nonce, self._refusals = None, 0
        self._blocked_until = self._monotonic() + pause_s
        error = AuthError(f"shelly {self._peer}: it {text}; next try in {pause_s:.0f} s")
        self._blocked_by = error
        return error
