"""What an owner may change in the simulated app: mode, manual override, smart loads; and what is refused.

Never corrects what came: a number where the app sends a text is refused like any other nonsense.
"""

from __future__ import annotations

import math
from typing import Any, Mapping

from bridge.sim.sigen_cloud_app_world import CUSTOM, DEFAULT_MODES, Home, SmartLoad
from bridge.sim.sigen_cloud_routes import Failure

UNLIMITED_KW = 4_294_967.295
MINUTES = (30, 120)


def set_mode(home: Home, mode: Any, profile: Any) -> None:
    """Change the operating mode: one of the default modes with profile -1, or 9 with a profile there is."""
    if not _whole(mode) or not _whole(profile):
        raise Failure(1000)
    custom = mode == CUSTOM and profile in home.profiles
    if not custom and (profile != -1 or mode not in dict(DEFAULT_MODES)):
        raise Failure(1000)
    home.station.mode, home.profile_id = mode, profile


def set_instant(home: Home, body: Mapping[str, Any], now: float, wall: float) -> None:
    """Start or end the manual override: texts in every field, 30 to 120 minutes, a power to charge with."""
    off = {"enable": False, "mode": "", "duration": "", "powerLimitation": ""}
    if {key: body.get(key) for key in off} == off:
        home.instant = {"enable": False, "mode": "", "endTime": None, "powerLimitation": ""}
        return
    mode, duration, power = body.get("mode"), body.get("duration"), body.get("powerLimitation")
    texts = isinstance(mode, str) and isinstance(duration, str) and isinstance(power, str)
    if body.get("enable") is not True or not texts or mode not in ("0", "1", "2", "3"):
        raise Failure(1000)
    if not str(duration).isdigit() or not MINUTES[0] <= int(str(duration)) <= MINUTES[1]:
        raise Failure(1000)
    if mode in ("0", "1") and not _power(str(power)):
        raise Failure(1000)
    home.instant_ends_at = now + int(str(duration)) * 60.0
    home.instant = {
        "enable": True, "mode": mode, "endTime": int(wall) + int(str(duration)) * 60, "powerLimitation": power,
    }


def _power(text: str) -> bool:
    try:
        power = float(text)
    except ValueError:
        return False
    return math.isfinite(power) and 0 < power <= UNLIMITED_KW


def switch(load: SmartLoad, text: Any) -> None:
    """Switch a smart load by "1" or "0"."""
    if text not in ("0", "1"):
        raise Failure(1000)
    if load.manual:  # under a schedule the switch is taken and not followed
        load.on = text == "1"


def _whole(number: Any) -> bool:
    return isinstance(number, int) and not isinstance(number, bool)
