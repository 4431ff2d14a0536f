"""What the simulated cloud demands of a battery command (body shared by REST and MQTT).

Never executes one: the simulated station only records it.
"""

from __future__ import annotations

from typing import Any, Mapping

BATCH_MAX = 24
MODES = ("charge", "discharge", "idle", "selfConsumption", "selfConsumption-grid")
FORCED = ("charge", "discharge")
POWERS = ("chargingPower", "pvPower", "maxSellPower", "maxPurchasePower")
CHOICES: Mapping[str, Any] = {
    "chargePriorityType": ("PV", "GRID"), "dischargePriorityType": ("PV", "BATTERY"),
}
SECONDS_BELOW = 1e11  # a larger start time was given in milliseconds


def command_problem(body: Mapping[str, Any], token: str) -> int:
    """Return the code for a command body: 0, 1000 (illegal) or 401 (its own token is wrong)."""
    commands = body.get("commands")
    if body.get("accessToken") != token:
        return 401
    if not isinstance(commands, list) or not 0 < len(commands) <= BATCH_MAX:
        return 1000
    return 0 if all(isinstance(one, dict) and is_sound(one) for one in commands) else 1000


def is_sound(command: Mapping[str, Any]) -> bool:
    """Say whether one command's fields are complete and in range."""
    mode, start = command.get("activeMode"), command.get("startTime")
    if not isinstance(command.get("systemId"), str) or mode not in MODES:
        return False
    if not _number(start) or not 0 < float(str(start)) < SECONDS_BELOW:
        return False
    if "duration" in command and (not _number(command["duration"]) or command["duration"] <= 0):
        return False
    if mode in FORCED and "chargingPower" not in command:
        return False
    if any(key in command and (not _number(command[key]) or command[key] < 0) for key in POWERS):
        return False
    return all(command[key] in allowed for key, allowed in CHOICES.items() if key in command)


def _number(content: Any) -> bool:
    return isinstance(content, (int, float)) and not isinstance(content, bool)
