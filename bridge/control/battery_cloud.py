"""Battery commands as the Sigenergy cloud wants them, by REST or MQTT: names, kW, seconds, minutes.

Pure. Never puts an option beside the commands: all of them belong into the command's own object. Facts: cloud
reference 3.4 (vendor's instruction documents, and where its samples contradict them).
"""

from __future__ import annotations

from typing import Any, Dict, List, Optional, Sequence

from bridge.control.battery import CHARGE, DISCHARGE, IDLE, MOST_COMMANDS, SELF, SELF_GRID, Command, checked
from bridge.control.battery_limits import within_limits
from bridge.control.battery_plant import Site
from bridge.errors import ConfigError, Refused

MODES = {CHARGE: "charge", DISCHARGE: "discharge", IDLE: "idle", SELF: "selfConsumption",
         SELF_GRID: "selfConsumption-grid"}
PRIORITY_KEY = {CHARGE: "chargePriorityType", DISCHARGE: "dischargePriorityType"}
NBI, VPP = 8, 6
ALLOWING = (VPP, NBI)
SEEN_KW = 0.1


def batch(commands: Sequence[Command], system_id: str, now: float) -> List[Dict[str, Any]]:
    """Return the ``commands`` list of a request; a start of None is ``now`` (unix seconds).

    Raises ConfigError, or Refused for more than 24.
    """
    if len(commands) > MOST_COMMANDS:
        raise Refused(f"battery: {len(commands)} commands; the cloud takes at most {MOST_COMMANDS} in a batch")
    return [one(command, system_id, now) for command in commands]


def one(command: Command, system_id: str, now: float) -> Dict[str, Any]:
    """Return one command object: power in kW, start in unix seconds, duration in whole minutes, at least 1."""
    checked(command)
    if command.export_w is not None and command.power_w is None:
        raise ConfigError("battery discharge: the cloud wants the battery's power (--kw), not an export target alone")
    found: Dict[str, Any] = {
        "systemId": system_id, "activeMode": MODES[command.action],
        "startTime": int(now if command.start is None else command.start),
        "duration": max(1, round(command.seconds / 60)),
    }
    export_w = min((w for w in (command.export_w, command.max_export_w) if w is not None), default=None)
    for key, watts in (
        ("chargingPower", command.power_w), ("maxSellPower", export_w), ("maxPurchasePower", command.max_import_w),
    ):
        if watts is not None:
            found[key] = round(watts / 1000.0, 3)
    if command.priority:
        found[PRIORITY_KEY[command.action]] = command.priority.upper()
    return found


def within(command: Command, site: Site) -> Command:
    """Return the command with the owner's grid limits in it; raises Refused for a power above the owner's limit."""
    within_limits(command, site)
    wishes = ((command.max_export_w, site.max_export_w or None), (command.max_import_w, site.max_import_w or None))
    export_w, import_w = (min((watts for watts in pair if watts is not None), default=None) for pair in wishes)
    return command._replace(max_export_w=export_w, max_import_w=import_w)


def mode_hindrance(mode: Optional[int], label: str) -> Optional[str]:
    """Return why the cloud would not pass a command on in this operating mode, or None."""
    if mode in ALLOWING:
        return None
    return (
        f"the plant is in mode {mode} {label}; the cloud passes battery commands on in NBI (8) or VPP (6) only:"
        " sigen-bridge mode set nbi --yes lets this application command it"
    )


def confirmed(command: Command, battery_kw: Optional[float]) -> Optional[bool]:
    """Say whether the cloud's battery power (+ charging, kW) shows the command; None where it cannot tell."""
    if battery_kw is None or command.action in (SELF, SELF_GRID):
        return None
    if command.action == IDLE:
        return abs(battery_kw) <= 0.4
    return battery_kw >= SEEN_KW if command.action == CHARGE else battery_kw <= -SEEN_KW
