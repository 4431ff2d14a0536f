"""Battery commands for the Sigenergy cloud's MQTT: what exactly is published, and what never is.

Pure. Never builds a batch of more than 24, a forced mode without a power, a time in the past or in
milliseconds: the plant would ignore some of these and the vendor's samples contain others.
"""

from __future__ import annotations

import json
from typing import Any, Dict, List, Mapping, Sequence

from bridge.errors import ConfigError, Refused

BATCH_MAX = 24  # vendor: per batch and station
MODES = ("charge", "discharge", "idle", "selfConsumption", "selfConsumption-grid")
FORCED = ("charge", "discharge")
POWERS = ("chargingPower", "pvPower", "maxSellPower", "maxPurchasePower")  # kW
CHOICES: Mapping[str, Sequence[str]] = {
    "chargePriorityType": ("PV", "GRID"), "dischargePriorityType": ("PV", "BATTERY"),
}
FIELDS = ("systemId", "activeMode", "startTime", "duration", *POWERS, *CHOICES)
MILLISECONDS_FROM = 1e11
LATE_S = 60.0  # "now" may be a minute old when it arrives


def checked(commands: Sequence[Mapping[str, Any]], system_id: str, now: float) -> List[Dict[str, Any]]:
    """Return the commands as they go into a batch, ``systemId`` filled in; times are unix seconds, powers kW.

    Raises Refused for what must not be sent, ConfigError for what is not a command.
    """
    if not commands:
        raise ConfigError("battery commands: the batch is empty")
    if len(commands) > BATCH_MAX:
        raise Refused(f"battery commands: {len(commands)} in one batch; the cloud takes {BATCH_MAX}, and none was sent")
    return [_checked(index, dict(one), system_id, now) for index, one in enumerate(commands, 1)]


def _checked(index: int, command: Dict[str, Any], system_id: str, now: float) -> Dict[str, Any]:
    what = f"battery command {index}"
    odd = sorted(set(command) - set(FIELDS))
    if odd:
        raise ConfigError(f"{what}: there is no field {', '.join(odd)}")
    command.setdefault("systemId", system_id)
    mode: Any = command.get("activeMode")
    start: Any = command.get("startTime")
    if mode not in MODES:
        raise ConfigError(f"{what}: activeMode {mode!r} is not one of {', '.join(MODES)}")
    if not command["systemId"]:
        raise ConfigError(f"{what}: systemId is missing; set cloud.system_id")
    if not _is_number(start):
        raise ConfigError(f"{what}: startTime is not a number of unix seconds")
    if start >= MILLISECONDS_FROM:
        raise Refused(f"{what}: startTime {start} is in milliseconds; unix seconds are wanted")
    if start < now - LATE_S:
        raise Refused(f"{what}: startTime is {now - start:.0f} s in the past")
    if not _is_number(command.get("duration")) or not 0 < command["duration"] <= 1440:
        raise Refused(f"{what}: duration must be 1 to 1440 minutes, so that a command ends by itself")
    if mode in FORCED and not _is_number(command.get("chargingPower")):
        raise Refused(f"{what}: {mode} without chargingPower is ignored by the plant; give it in kW")
    for name in POWERS:
        if name in command and (not _is_number(command[name]) or command[name] < 0):
            raise ConfigError(f"{what}: {name} must be a number of kW, 0 or more")
    for name, allowed in CHOICES.items():
        if name in command and command[name] not in allowed:
            raise ConfigError(f"{what}: {name} {command[name]!r} is not one of {', '.join(allowed)}")
    command["startTime"] = int(start)
    return command


def batch(commands: Sequence[Mapping[str, Any]], token: str) -> bytes:
    """Return the body of a batch of checked commands; holds the token, never log it."""
    return json.dumps({"accessToken": token, "commands": list(commands)}, separators=(",", ":")).encode()


def mode_switch(system_id: str, mode: str, token: str) -> bytes:
    """Return the body that asks for an operating mode by its name (MSC, FFG, VPP, NBI)."""
    return json.dumps({"accessToken": token, "systemId": system_id, "mode": mode}, separators=(",", ":")).encode()


def _is_number(content: Any) -> bool:
    return isinstance(content, (int, float)) and not isinstance(content, bool)
