"""What the owner allows, and how the import of the house is kept within it while the battery charges.

Pure; ``mono`` is an argument. Never raises the charge cap above what was asked, and never trusts a house
without a meter. Lowering is at once, raising is slow: a fuse does not wait, a battery does.
"""

from __future__ import annotations

from typing import Mapping, NamedTuple, Optional

from bridge.control.battery import CHARGE, DISCHARGE, Command
from bridge.control.battery_plant import CHARGE_CAP, TOLERANCE, Site, import_limit_w
from bridge.errors import Refused

RAISE_AFTER_S = 30.0
RAISE_BY_W = 200.0
STEP_W = 10


class Rules(NamedTuple):
    """What the owner allows; ``hindrance`` is why nothing can be written to this plant at all, or ''."""

    enabled: bool
    site: Site = Site()
    restore_backup_soc: bool = False
    hindrance: str = ""

    @property
    def barred(self) -> str:
        """Why a command that was left behind is not given back, or ''."""
        if not self.enabled:
            return (
                "control.enabled is no, so it is not given back; set it to yes and restart the bridge, or where none"
                " runs: sigen-bridge battery release --control-enabled yes"
            )
        return f"{self.hindrance}; so it is not given back" if self.hindrance else ""

    def check(self, left: str = "") -> None:
        """Raise Refused unless the plant may be written to; ``left`` is the command that was left behind, in words."""
        if left and self.barred:
            raise Refused(f"battery: {left} was left behind in the plant: {self.barred}")
        if not self.enabled:
            raise Refused("battery: the bridge only reads; set control.enabled = yes to let it write")
        if self.hindrance:
            raise Refused(f"battery: {self.hindrance}; nothing is written")


def within_limits(command: Command, site: Site) -> Command:
    """Return the command; raises Refused for what the owner's limits forbid whatever the plant says."""
    for action, limit_w in ((CHARGE, site.max_charge_w), (DISCHARGE, site.max_discharge_w)):
        power_w = command.power_w or 0.0
        if command.action == action and limit_w and power_w > limit_w:
            raise Refused(f"battery {action}: {power_w:.0f} W is above control.max_{action}_w = {limit_w:.0f} W")
    return command


class Throttle:
    """The charge cap of one command; ``limit_w`` is the import that must not be exceeded, ``asked_w`` the wish."""

    def __init__(self, limit_w: float, asked_w: float, mono: float) -> None:
        self._limit_w, self.asked_w = limit_w, asked_w
        self._changed = mono

    def cap(self, present_w: int, grid_w: Optional[float], battery_w: float, mono: float) -> int:
        """Return the cap to have now, W. What the house takes beside the battery is ``grid_w`` - ``battery_w``."""
        room_w = 0.0 if grid_w is None else self._limit_w - (grid_w - battery_w)
        wanted = int(max(0.0, min(self.asked_w, room_w))) // STEP_W * STEP_W
        if present_w <= wanted < present_w + RAISE_BY_W and wanted < int(self.asked_w):
            return present_w
        if present_w <= wanted <= present_w * TOLERANCE:
            return present_w  # what the plant makes of the wish
        if wanted > present_w and mono - self._changed < RAISE_AFTER_S:
            return present_w
        if wanted != present_w:
            self._changed = mono
        return wanted


def throttle(command: Command, site: Site, most: Mapping[int, float], mono: float) -> Optional[Throttle]:
    """Return what keeps the import limit of a command, None where there is none; ``most`` are the largest caps."""
    limit_w = import_limit_w(command, site) if command.action == CHARGE else None
    if limit_w is None:
        return None
    return Throttle(limit_w, min(command.power_w or 0.0, most.get(CHARGE_CAP, 0.0)), mono)
