"""Who a Shelly is and how much room it has, asked without a password.

Never signs a request: on firmware 2.x each wrong password counts towards a lock-out, so a device with one
is asked only what it tells everybody. Facts: shelly.md 3 (``GET /shelly``) and 1.6.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple, Optional

from bridge.errors import BridgeError, LinkError, PeerError
from bridge.link.lan import LanHttp
from bridge.peers.shelly_components import MAX_COMPONENTS, VIRTUAL_KINDS
from bridge.peers.shelly_http import HttpChannel

ANSWER_TIMEOUT_S = 1.5  # a device that is busy with others takes its time; one that is not takes 50 ms
MAX_PAGES = 10


class Identity(NamedTuple):
    """What ``GET /shelly`` tells; ``gen`` is 1 for the first generation, ``auth`` is True with a password."""

    id: str
    mac: str
    name: str
    model: str
    app: str
    gen: int
    version: str
    auth: bool
    tells_name: bool = True  # false where /shelly has no name at all, not even null


def identify(http: LanHttp) -> Optional[Identity]:
    """Return who answers, or None when nothing does or it is no Shelly."""
    try:
        return ask_who(http)
    except (LinkError, PeerError):
        return None


def ask_who(http: LanHttp) -> Identity:
    """Return who answers; raises LinkError when nothing does and PeerError when it is no Shelly."""
    answer = http.request("GET", "/shelly", timeout_s=ANSWER_TIMEOUT_S)
    try:
        told = json.loads(answer.body) if answer.status == 200 else None
    except ValueError:
        told = None
    if not isinstance(told, dict) or not isinstance(told.get("mac"), str):
        raise PeerError(f"{http.peer}: answers, but not as a Shelly (HTTP {answer.status})")
    gen = told.get("gen")
    if not isinstance(gen, int):
        return Identity(_text(told, "longid"), told["mac"].upper(), "", _text(told, "type"), "", 1,
                        _text(told, "fw"), bool(told.get("auth")))
    return Identity(
        _text(told, "id"), told["mac"].upper(), _text(told, "name"), _text(told, "model"), _text(told, "app"),
        gen, _text(told, "ver"), bool(told.get("auth_en")), "name" in told,
    )


def configured_name(http: LanHttp) -> str:
    """Return the name in the device's configuration, for firmware whose /shelly has none; else empty."""
    try:
        config = HttpChannel(http).call("Sys.GetConfig", {})
    except BridgeError:
        return ""
    device = config.get("device") if isinstance(config, dict) else None
    return _text(device, "name") if isinstance(device, dict) else ""


def free_slots(http: LanHttp) -> Optional[int]:
    """Return how many virtual components still fit, or None when the device does not say."""
    channel = HttpChannel(http)
    taken = offset = 0
    try:
        for _ in range(MAX_PAGES):
            page = channel.call("Shelly.GetComponents", {"dynamic_only": True, "offset": offset})
            rows = page.get("components") if isinstance(page, dict) else None
            if not isinstance(rows, list):
                return None
            taken += sum(_is_virtual(row) for row in rows)
            offset += len(rows)
            total = page.get("total")
            if not rows or not isinstance(total, int) or offset >= total:
                return max(0, MAX_COMPONENTS - taken)
    except BridgeError:
        return None
    return None


def _is_virtual(row: Any) -> bool:
    key = row.get("key") if isinstance(row, dict) else None
    return isinstance(key, str) and key.partition(":")[0] in VIRTUAL_KINDS


def _text(told: Any, key: str) -> str:
    value = told.get(key)
    return value if isinstance(value, str) else ""
