"""A tariff as lines for people: times, cents, and why each price is what it is.

Never does I/O; a missing price is shown as missing, never as 0.
"""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, NamedTuple, Optional

from bridge.control.tariff import Plan, Slot
from bridge.control.tariff_slots import Price, hhmm
from bridge.control.zones import Zone

AI_MODES: Mapping[int, str] = {1: "Sigen AI", 2: "time of use"}
MODE_NAMES: Mapping[int, str] = {
    0: "maximum self-consumption", 5: "full feed-in", 6: "VPP", 7: "remote EMS", 8: "NBI", 9: "a custom mode",
}
SUSPENDED = "a local battery command suspends Sigen AI and time of use"


class Lease(NamedTuple):
    """A battery command in force, as its file says: until when (unix seconds), and what."""

    ends_at: float
    action: str


def cents(price: Optional[Price]) -> str:
    """Return a price with two decimals, or that it is missing."""
    if price is None:
        return "-"
    return "missing" if price.c_kwh is None else f"{price.c_kwh:.2f}"


def plan_lines(plan: Plan) -> List[str]:
    """Return the plan as a table; the running slot is marked."""
    lines = ["   time           buy      sell  why"]
    for index, slot in enumerate(plan.slots):
        mark = ">" if index == plan.running else " "
        span = f"{hhmm(slot.start_min)}-{hhmm(slot.end_min)}"
        lines.append(f"{mark}  {span}  {cents(slot.buy):>8}  {cents(slot.sell):>8}  {_why(slot)}")
    return [*lines, "   c/kWh with GST, times of the station's clock", *plan.notes, *plan.problems]


def _why(slot: Slot) -> str:
    if slot.sell is None or slot.sell.why == slot.buy.why:
        return slot.buy.why
    return f"{slot.buy.why} | sell: {slot.sell.why}"


def plan_json(plan: Plan) -> List[Dict[str, Any]]:
    """Return the slots for machines."""
    return [
        {
            "start": hhmm(slot.start_min), "end": hhmm(slot.end_min), "day": slot.day.isoformat(),
            "buy_c_kwh": slot.buy.c_kwh, "buy_why": slot.buy.why,
            "sell_c_kwh": slot.sell.c_kwh if slot.sell else None, "sell_why": slot.sell.why if slot.sell else None,
        }
        for slot in plan.slots
    ]


def lease_of(content: Any, now: float) -> Optional[Lease]:
    """Return the battery command that a lease file speaks of, or None when none is in force."""
    if not isinstance(content, dict):
        return None
    ends_at = content.get("ends_at")
    if isinstance(ends_at, bool) or not isinstance(ends_at, (int, float)) or ends_at <= now:
        return None
    command = content.get("command")
    action = (command if isinstance(command, dict) else content).get("action")
    return Lease(float(ends_at), action if isinstance(action, str) and action.isidentifier() else "command")


def plant_notes(lease: Optional[Lease], mode: Optional[int], zone: Zone) -> List[str]:
    """Return what keeps the plant from following the tariff: a battery command, or a mode that has no prices."""
    if lease is not None:
        return [
            f"a battery {lease.action} is in force until {zone.text(lease.ends_at, '%Y-%m-%d %H:%M')}: {SUSPENDED},"
            " so the plant follows this tariff only afterwards, and only if it is put back into Sigen AI or time of"
            " use then (a command's end leaves it in maximum self-consumption)"
        ]
    if mode is None or mode in AI_MODES:
        return []
    if mode == 7:
        return [f"the plant is in remote EMS mode: {SUSPENDED}; something controls it at the moment"]
    return [
        f"the plant is in {MODE_NAMES.get(mode, f'mode {mode}')}: it follows a tariff only in Sigen AI or time of"
        " use; set that in the app or with sigen-bridge mode set"
    ]
