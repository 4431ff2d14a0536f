"""Who logs in to the mySigen app's API, and from which device; the station number in words.

Never shows a secret, and never makes a second device id where one is kept: the service counts devices.
"""

from __future__ import annotations

import logging
import os
import re
from typing import NamedTuple, Optional

from bridge.clock import Clock
from bridge.errors import ConfigError
from bridge.peers.envelope import text_of
from bridge.state import StateDir

DEVICE_FILE = "app-device.json"
DEVICE_FROM_MS, DEVICE_SPAN_MS = 1_704_067_200_000, 60_000_000_000  # 2024 and the two years from then
THREE_WAYS = (
    "1. leave cloud.station_id empty: the bridge asks your account for it (sigen-bridge cloud systems --via app);"
    " 2. sign in at app-REGION.sigencloud.com with the browser's developer tools open (F12, Network): the answer"
    " to /device/owner/station/home holds stationId, and so does what is sent to"
    " /device/stationelecsetprice/save when you save a price;"
    " 3. save that session as a HAR file and run: sigen-bridge env make --from-har FILE"
)

log = logging.getLogger("cloud")


class AppCredentials(NamedTuple):
    """User with password (or its AES form), or a ready bearer, which wins: no login is made then."""

    username: Optional[str] = None
    password: Optional[str] = None
    password_encoded: Optional[str] = None
    device_id: Optional[str] = None
    bearer: Optional[str] = None

    def __repr__(self) -> str:
        given = [name for name, secret in zip(self._fields, self) if secret]
        return f"AppCredentials({', '.join(f'{name}=***' for name in given)})"


def device_id(given: Optional[str], kept: StateDir, clock: Clock) -> str:
    """Return the device id that belongs to this installation: the one given, or one made once and kept."""
    if given:
        return given
    content = kept.load(DEVICE_FILE)
    found = text_of(content.get("device_id")) if isinstance(content, dict) else None
    if found:
        return found
    made = new_device_id(clock)
    if not kept.save(DEVICE_FILE, {"device_id": made}, durable=True):
        log.warning('event=device-id-not-kept path=%s effect="a new one at the next login"', kept.path)
    return made


def bare_bearer(text: str) -> str:
    """Return a bearer without the word before it, which people copy along; raises ConfigError for nonsense."""
    word, _, rest = text.strip().partition(" ")
    token = rest.strip() if word.lower() in ("bearer", "authorization:") else text.strip()
    if token.lower().startswith("bearer "):
        token = token[7:].strip()
    if token and (not token.isascii() or not token.isprintable() or " " in token):
        raise ConfigError("cloud.bearer is no token: it has to be one word of letters, digits and dots")
    return token


def new_device_id(clock: Clock) -> str:
    """Return a device id as a browser makes one: the milliseconds of now, 13 digits."""
    if clock.synced():
        return str(int(clock.now() * 1000))
    return str(DEVICE_FROM_MS + int.from_bytes(os.urandom(5), "big") % DEVICE_SPAN_MS)


def station_number(text: object) -> int:
    """Return the number of a station in the app; raises ConfigError that says where to find it."""
    word = str(text).strip()
    if not word or word == "None":
        raise ConfigError(f"the station number (stationId) is not known; three ways to it: {THREE_WAYS}")
    if isinstance(text, bool) or not re.fullmatch(r"[0-9]{1,20}", word):
        raise ConfigError(
            f"{word[:40]!r} is no station number: the app wants stationId, digits only, not the systemId of the"
            f" OpenAPI; three ways to it: {THREE_WAYS}"
        )
    return int(word)
