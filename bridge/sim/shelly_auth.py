"""Digest authentication of a simulated Shelly, both generations of it.

Never keeps a password, only HA1. Facts: vendor page "Authentication", changelog 2.0.0 and 2.0.1, user
reports. Inferred: a wrong ``nc`` is a 401 without ``stale``; when the lock-out of 2.x holds, everything
protected gets 429; its threshold is unknown and can be chosen.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
from collections import deque
from typing import Any, Deque, Dict, Mapping, NamedTuple, Optional, Tuple

from bridge.clock import Clock

USER = "admin"
TTL_S = 3600.0  # a nonce is valid for an hour on both lines
MAX_USES = 30_000  # 2.x
SLOTS = 32  # 2.x, for all clients together
THROTTLE_S = 2.0  # 2.x, full table: 429 this long, then the least used nonce is evicted
FAILURE_WINDOW_S = 600.0  # 2.x, sliding
LOCKOUT_AFTER = 10  # wrong passwords within the window; not documented
NONCE_BYTES = 46  # 64 characters of Base64, ending in "=="
TOO_MANY = "Too many failed authentication attempts"
FRAME_HA2 = hashlib.sha256(b"dummy_method:dummy_uri").hexdigest()
FIELD = re.compile(r'(\w+)\s*=\s*(?:"([^"]*)"|([^\s,]+))')


class Verdict(NamedTuple):
    """What becomes of a request: ``status`` 200, 401 (with a nonce to use) or 429."""

    status: int
    nonce: str = ""
    stale: bool = False


PASSED = Verdict(200)
THROTTLED = Verdict(429)


class TimeNonces:
    """Up to 1.7.x: the nonce is the unix time, nothing is remembered, ``nc`` is ignored."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def issue(self, signed: bool) -> Optional[str]:
        """Return a nonce for a challenge."""
        return str(int(self._clock.now()))

    def refusal(self, nonce: str, count: int) -> Optional[str]:
        """Say why a nonce may not be used, or None."""
        if not nonce.isdigit() or not 0 <= self._clock.now() - int(nonce) <= TTL_S:
            return "dead"
        return None

    def used(self, nonce: str, count: int) -> None:
        """Take note of a good use."""


class Slot:
    """One entry of the nonce table."""

    def __init__(self, issued_mono: float) -> None:
        self.issued_mono = issued_mono
        self.count = 0
        self.uses = 0


class NonceTable:
    """From 2.0.0: 32 slots for all clients, counted uses, a throttle when the table is full.

    Before 2.0.1 an expired nonce keeps its slot, and a signed request never evicts: it gets 429 for as
    long as the table is full.
    """

    def __init__(self, clock: Clock, leaky: bool) -> None:
        self._clock = clock
        self._leaky = leaky
        self._slots: Dict[str, Slot] = {}
        self._full_since: Optional[float] = None

    def issue(self, signed: bool) -> Optional[str]:
        """Return a nonce for a challenge, or None for 429."""
        now = self._clock.monotonic()
        if not self._leaky:
            for nonce in [nonce for nonce, slot in self._slots.items() if self._expired(slot)]:
                del self._slots[nonce]
        if len(self._slots) >= SLOTS:
            if signed and self._leaky:
                return None
            if self._full_since is None:
                self._full_since = now
            if now - self._full_since < THROTTLE_S:
                return None
            del self._slots[min(self._slots, key=lambda nonce: self._slots[nonce].uses)]
        self._full_since = None
        nonce = base64.b64encode(secrets.token_bytes(NONCE_BYTES)).decode("ascii")
        self._slots[nonce] = Slot(now)
        return nonce

    def refusal(self, nonce: str, count: int) -> Optional[str]:
        """Say why a nonce may not be used ("dead", "count"), or None."""
        slot = self._slots.get(nonce)
        if slot is None or self._expired(slot):
            return "dead"
        if slot.uses >= MAX_USES:
            del self._slots[nonce]
            return "dead"
        if count <= slot.count or (slot.uses == 0 and count != 1):
            return "count"
        return None

    def used(self, nonce: str, count: int) -> None:
        """Take note of a good use."""
        slot = self._slots[nonce]
        slot.count = count
        slot.uses += 1

    def _expired(self, slot: Slot) -> bool:
        return self._clock.monotonic() - slot.issued_mono > TTL_S


class Digest:
    """Judges requests and writes challenges; the caller holds the device's lock."""

    def __init__(self, clock: Clock, version: Tuple[int, ...], lockout_after: int = LOCKOUT_AFTER) -> None:
        self.realm = ""
        self.ha1: Optional[str] = None
        self.challenges = 0
        self.failures = 0
        self.throttled = 0
        self._clock = clock
        self._version = version
        self._modern = version >= (2, 0, 0)
        self._lockout_after = lockout_after
        self._wrong: Deque[float] = deque()
        self._nonces: Any = None
        self.reboot()

    def protect(self, realm: str, password: Optional[str]) -> None:
        """Set the realm (the device id) and the password, None for an open device."""
        self.realm = realm
        self.ha1 = None if password is None else _sha256(f"{USER}:{realm}:{password}")

    def reboot(self) -> None:
        """Forget nonces and failures; they live in RAM."""
        self._wrong.clear()
        leaky = self._version < (2, 0, 1)
        self._nonces = NonceTable(self._clock, leaky) if self._modern else TimeNonces(self._clock)

    def check_http(self, method: str, target: str, header: Optional[str]) -> Verdict:
        """Judge an Authorization header; ``target`` is the request target with its query string."""
        if self.ha1 is None:
            return PASSED
        if header is None or not header.lower().startswith("digest "):
            return self._unsigned()
        field = {name.lower(): quoted or bare for name, quoted, bare in FIELD.findall(header[7:])}
        nonce, count = field.get("nonce", ""), field.get("nc", "")
        ha2 = _sha256(f"{method}:{field.get('uri', '')}")
        expected = _sha256(f"{self.ha1}:{nonce}:{count}:{field.get('cnonce', '')}:auth:{ha2}")
        honest = (field.get("uri") == target and field.get("qop") == "auth" and self._same(field, expected))
        return self._signed(_http_nonce(nonce, self._modern), _integer(count, 16), honest)

    def check_frame(self, auth: Any) -> Verdict:
        """Judge the ``auth`` object of a frame."""
        if self.ha1 is None:
            return PASSED
        if not isinstance(auth, Mapping):
            return self._unsigned()
        nonce, count = auth.get("nonce"), auth.get("nc")
        text = f"{self.ha1}:{nonce}:{count}:{auth.get('cnonce')}:auth:{FRAME_HA2}"
        number = count if isinstance(count, int) else _integer(str(count), 10)
        return self._signed(str(nonce), number, self._same(auth, _sha256(text)))

    def header(self, verdict: Verdict) -> str:
        """Write the WWW-Authenticate header of a 401."""
        nonce = verdict.nonce if self._modern else format(int(verdict.nonce), "x")
        stale = ", stale=true" if verdict.stale else ""
        return f'Digest qop="auth", realm="{self.realm}", nonce="{nonce}", algorithm=SHA-256{stale}'

    def frame_challenge(self, verdict: Verdict) -> Dict[str, Any]:
        """Write the object whose JSON text is the message of a 401 frame."""
        common = {"auth_type": "digest", "realm": self.realm, "algorithm": "SHA-256"}
        if not self._modern:
            return {**common, "nonce": int(verdict.nonce), "nc": 1}
        return {**common, "nonce": verdict.nonce, **({"stale": True} if verdict.stale else {})}

    def _same(self, field: Mapping[str, Any], expected: str) -> bool:
        return (field.get("username") == USER and field.get("realm") == self.realm
                and field.get("algorithm", "SHA-256") == "SHA-256"
                and hmac.compare_digest(str(field.get("response", "")).encode(), expected.encode()))

    def _unsigned(self) -> Verdict:
        return THROTTLED if self._locked_out() else self._challenge(signed=False, stale=False)

    def _signed(self, nonce: str, count: Optional[int], honest: bool) -> Verdict:
        if self._locked_out():
            return THROTTLED
        refusal = self._nonces.refusal(nonce, count or 0)
        if refusal is None and honest:
            self._nonces.used(nonce, count)
            return PASSED
        if refusal != "dead":
            self.failures += 1
        if refusal is None and self._modern:
            self._wrong.append(self._clock.monotonic())
        return self._challenge(signed=True, stale=refusal == "dead" and self._modern)

    def _challenge(self, signed: bool, stale: bool) -> Verdict:
        nonce = self._nonces.issue(signed)
        if nonce is None:
            self.throttled += 1
            return THROTTLED
        self.challenges += 1
        return Verdict(401, nonce, stale)

    def _locked_out(self) -> bool:
        while self._wrong and self._clock.monotonic() - self._wrong[0] > FAILURE_WINDOW_S:
            self._wrong.popleft()
        if len(self._wrong) < self._lockout_after:
            return False
        self.throttled += 1
        return True


def _http_nonce(nonce: str, modern: bool) -> str:
    """Bring an HTTP nonce to the table's own form: up to 1.x it is the unix time in hexadecimal."""
    if modern:
        return nonce
    number = _integer(nonce, 16)
    return "" if number is None else str(number)


def _integer(text: str, base: int) -> Optional[int]:
    try:
        return int(text, base)
    except ValueError:
        return None


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8")).hexdigest()
