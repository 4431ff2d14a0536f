"""What a Sigenergy plant can be told about its battery, and in which words: registers, modes, limits.

Pure. Never names a register outside the allow-list. Facts: "Sigenergy Modbus Protocol V2.9" 5.2.4 and the
field reports in modbus reference 6 and 6.1.
"""

from __future__ import annotations

from typing import List, Mapping, NamedTuple, Optional, Tuple

from bridge.control.battery import CHARGE, DISCHARGE, IDLE, SELF, Command
from bridge.errors import Refused

REMOTE, MODE, CHARGE_CAP, DISCHARGE_CAP, EXPORT_CAP, BACKUP_SOC = 40029, 40031, 40032, 40034, 40038, 40046
WORDS = {REMOTE: 1, MODE: 1, CHARGE_CAP: 2, DISCHARGE_CAP: 2, EXPORT_CAP: 2, BACKUP_SOC: 1}
CAPS = (CHARGE_CAP, DISCHARGE_CAP, EXPORT_CAP)
NAMES = {
    REMOTE: "remote EMS", MODE: "control mode", CHARGE_CAP: "charge cap", DISCHARGE_CAP: "discharge cap",
    EXPORT_CAP: "grid export cap", BACKUP_SOC: "backup SOC",
}
STANDBY, NEUTRAL, CHARGE_GRID, CHARGE_PV, DISCHARGE_PV, DISCHARGE_BATTERY = 1, 2, 3, 4, 5, 6
MODE_WORDS = {
    0: "PCS remote control", STANDBY: "standby", NEUTRAL: "max self-consumption", CHARGE_GRID: "charge, grid first",
    CHARGE_PV: "charge, PV first", DISCHARGE_PV: "discharge, PV first", DISCHARGE_BATTERY: "discharge, battery first",
}
UNLIMITED = 0xFFFFFFFE  # this and all ones mean "no limit" in the cap rows
NEVER_SET = 0xFFFFFFFF
VPP, REMOTE_EMS, RUNNING = 6, 7, 1  # of 30003; running is of 30051
NATIVE_WORDS = {
    0: "max self-consumption", 1: "Sigen AI", 2: "time of use", 5: "full feed-in", VPP: "VPP",
    REMOTE_EMS: "remote EMS", 9: "custom",
}
NIGHT_PV_W = 100.0  # below it mode 3 has no sun to suppress
PV_COVERS = 0.8  # share of the power that the sun has to give for "discharge, PV first"
TOLERANCE = 1.01  # ratings read a watt short: 4 999 for 5 kW
SEEN_SHARE, SEEN_LEAST_W = 0.5, 100.0
IDLE_W = 400.0  # 30037 holds 0.2 to 0.3 kW of the system's own draw


class Standing(NamedTuple):
    """The plant as it stands, W and %; None where the firmware does not say. Caps are raw, see UNLIMITED."""

    native_mode: int
    off_grid: int
    running: int
    soc_pct: Optional[float]
    grid_w: Optional[float]
    pv_w: float
    battery_w: float
    ac_w: float
    available_charge_w: Optional[float]
    available_discharge_w: Optional[float]
    rated_charge_w: Optional[float]
    rated_discharge_w: Optional[float]
    holding: Mapping[int, int]

    @property
    def complete(self) -> bool:
        """True when everything is known that a release has to put back."""
        return all(address in self.holding for address in (REMOTE, MODE, CHARGE_CAP, DISCHARGE_CAP))


class Site(NamedTuple):
    """The limits that the owner set, W; 0 is none."""

    max_charge_w: float = 0.0
    max_discharge_w: float = 0.0
    max_export_w: float = 0.0
    max_import_w: float = 0.0


class Target(NamedTuple):
    """The state to bring the plant into: the mode, written last, and the caps with it."""

    mode: int
    caps: Tuple[Tuple[int, int], ...]
    notes: Tuple[str, ...] = ()


def hindrance(standing: Standing) -> Optional[str]:
    """Return why this plant must not be commanded now, or None (modbus reference 6.1)."""
    if not standing.complete:
        return "not all registers that a release has to put back could be read"
    if standing.off_grid != 0:
        return "the plant is off the grid"
    if standing.native_mode == VPP:
        return "a virtual power plant (VPP) is in control of it"
    if standing.running != RUNNING:
        return f"it is not running (state {standing.running})"
    if standing.holding[REMOTE] == 1:
        return (
            "another controller has remote EMS switched on (40029 = 1); release it there, or, when that controller is"
            " gone for good, with: sigen-bridge battery release --force --yes"
        )
    return None


def target(command: Command, standing: Standing, site: Site) -> Target:
    """Return how a command is put to this plant; raises Refused for what the limits or the battery forbid."""
    if command.action == CHARGE:
        return _charge(command, standing, site)
    if command.max_import_w is not None:
        raise Refused(f"battery {command.action}: an import limit can only be kept while charging")
    if command.action == DISCHARGE:
        return _discharge(command, standing, site)
    if command.action == IDLE:
        return Target(STANDBY, _export_cap(command, standing, site))
    if command.action == SELF:
        most = (
            (CHARGE_CAP, standing.rated_charge_w, site.max_charge_w),
            (DISCHARGE_CAP, standing.rated_discharge_w, site.max_discharge_w),
        )
        caps = tuple((at, int(min(rated, limit or rated))) for at, rated, limit in most if rated)
        return Target(NEUTRAL, (*caps, *_export_cap(command, standing, site)))
    raise Refused(f"battery {command.action}: only the cloud knows this mode; --via openapi or --via mqtt")


def _charge(command: Command, standing: Standing, site: Site) -> Target:
    assert command.power_w is not None
    if standing.soc_pct is not None and standing.soc_pct >= 100.0:
        raise Refused("battery charge: the battery is full")
    notes: List[str] = []
    asked_w = _within("charge", command.power_w, site.max_charge_w, standing.rated_charge_w, notes)
    power_w = _available(asked_w, standing.available_charge_w, notes)
    power_w = min(power_w, charge_room_w(standing.grid_w, standing.battery_w, import_limit_w(command, site), notes))
    mode = CHARGE_PV
    if command.priority == "grid":
        mode = CHARGE_GRID
        if standing.pv_w > NIGHT_PV_W:
            notes.append("mode 3 (grid first) stops the sun while it lasts")
    return Target(mode, ((CHARGE_CAP, int(power_w)), *_export_cap(command, standing, site)), tuple(notes))


def _discharge(command: Command, standing: Standing, site: Site) -> Target:
    if standing.soc_pct is not None and standing.soc_pct <= 0.0:
        raise Refused("battery discharge: the battery is empty")
    notes: List[str] = []
    rated = standing.rated_discharge_w
    asked_w = command.power_w
    if asked_w is None:
        asked_w = min(watts for watts in (rated, site.max_discharge_w or None, 1e6) if watts)
    power_w = _available(
        _within("discharge", asked_w, site.max_discharge_w, rated, notes), standing.available_discharge_w, notes
    )
    mode = DISCHARGE_BATTERY
    if command.priority == "pv" or (not command.priority and standing.pv_w >= PV_COVERS * power_w):
        mode = DISCHARGE_PV
        notes.append("mode 5 (PV first): the battery may not be drawn on while the sun covers the power")
    elif standing.pv_w > NIGHT_PV_W:
        notes.append(f"mode 6 (battery first) stops the sun, {standing.pv_w:.0f} W now")
    return Target(mode, ((DISCHARGE_CAP, int(power_w)), *_export_cap(command, standing, site)), tuple(notes))


def _within(what: str, asked_w: float, limit_w: float, rated_w: Optional[float], notes: List[str]) -> float:
    """Return the asked power within the rating; raises Refused above the limit that the owner set."""
    if limit_w and asked_w > limit_w:
        raise Refused(f"battery {what}: {asked_w:.0f} W is above control.max_{what}_w = {limit_w:.0f} W")
    if rated_w and asked_w > rated_w * TOLERANCE:
        notes.append(f"the plant is rated for {rated_w:.0f} W")
    return min(asked_w, rated_w) if rated_w else asked_w


def _available(power_w: float, available_w: Optional[float], notes: List[str]) -> float:
    if available_w and available_w < power_w:
        notes.append(f"the battery offers {available_w:.0f} W at the moment")
        return available_w
    return power_w


def import_limit_w(command: Command, site: Site) -> Optional[float]:
    """Return the import that must not be exceeded, or None."""
    wanted = (command.max_import_w, site.max_import_w or None)
    return min((watts for watts in wanted if watts is not None), default=None)


def export_limit_w(command: Command, site: Site) -> Optional[float]:
    """Return the export that must not be exceeded, or None."""
    wanted = (command.export_w, command.max_export_w, site.max_export_w or None)
    return min((watts for watts in wanted if watts is not None), default=None)


def charge_room_w(grid_w: Optional[float], battery_w: float, limit_w: Optional[float], notes: List[str]) -> float:
    """Return with how much the battery may charge so that the import stays within its limit, W."""
    if limit_w is None:
        return float("inf")
    if grid_w is None:
        raise Refused("battery charge: there is an import limit, but the plant has no grid meter to keep it by")
    room_w = max(0.0, limit_w - (grid_w - battery_w))
    notes.append(f"import limit {limit_w:.0f} W leaves {room_w:.0f} W for charging now")
    return room_w


def _export_cap(command: Command, standing: Standing, site: Site) -> Tuple[Tuple[int, int], ...]:
    """Return the grid export cap where it must be lower than the one in force; the plant itself keeps it."""
    limit_w = export_limit_w(command, site)
    if limit_w is None:
        return ()
    present = standing.holding.get(EXPORT_CAP)
    if present is None:
        raise Refused("battery: there is an export limit, but this firmware has no register for it (40038)")
    if present < UNLIMITED and present <= limit_w:
        return ()  # an owner's stricter limit stays
    if limit_w < 1:
        raise Refused("battery: an export limit of 0 makes the plant import on purpose; give at least 1 W")
    return ((EXPORT_CAP, int(limit_w)),)


def has_effect(command: Command, goal: Target, standing: Standing) -> bool:
    """Say whether mode and power flow show what was commanded (charging is positive).

    The flow alone could be the sun's doing: 30003 has to say that remote EMS rules.
    """
    if standing.native_mode != REMOTE_EMS:
        return False
    caps = dict(goal.caps)
    if command.action == CHARGE:
        wanted = min(caps[CHARGE_CAP], standing.available_charge_w or caps[CHARGE_CAP])
        return standing.battery_w >= min(SEEN_LEAST_W, SEEN_SHARE * wanted)
    if command.action == DISCHARGE:
        wanted = min(caps[DISCHARGE_CAP], standing.available_discharge_w or caps[DISCHARGE_CAP])
        enough = min(SEEN_LEAST_W, SEEN_SHARE * wanted)
        if goal.mode == DISCHARGE_PV:
            return standing.ac_w >= enough
        return standing.battery_w <= -enough
    return command.action != IDLE or abs(standing.battery_w) <= IDLE_W


def same(address: int, one: Optional[int], other: Optional[int]) -> bool:
    """Say whether two raw values of a register mean the same; every "no limit" does."""
    if one is None or other is None:
        return False
    return one == other or (address in CAPS and min(one, other) >= UNLIMITED)


def kept(address: int, found: Optional[int], raw: int) -> bool:
    """Say whether a register took a value; firmware cuts a cap to its rating, which it knows a watt short."""
    return same(address, found, raw) or (address in CAPS and found is not None and raw / TOLERANCE <= found <= raw)


def shown(address: int, raw: Optional[int]) -> str:
    """Return a raw value in words."""
    if raw is None:
        return "unknown"
    if address == REMOTE:
        return "on" if raw else "off"
    if address == MODE:
        return f"{raw} {MODE_WORDS.get(raw, 'unknown')}"
    if address == BACKUP_SOC:
        return f"{raw / 10:.1f} %"
    return "no limit" if raw >= UNLIMITED else f"{raw} W"
