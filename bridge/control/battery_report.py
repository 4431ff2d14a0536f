"""How a battery command stands, for the page, the command line and machines; and what only the owner can mend.

Never decides anything; says of a lease that another process holds, or nobody, what it is.
"""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, Optional, Sequence

from bridge.control.battery import said
from bridge.control.battery_guard import read_standing
from bridge.control.battery_plant import (
    CAPS,
    MODE,
    NAMES,
    NATIVE_WORDS,
    NEUTRAL,
    REMOTE,
    REMOTE_EMS,
    VPP,
    Standing,
    Target,
    same,
    shown,
)
from bridge.control.lease import Lease
from bridge.control.lease_book import UNREADABLE, LeaseBook
from bridge.errors import DeviceException, LinkError
from bridge.link.modbus import ModbusLink

FOLLOW_PRICES = (1, 2)  # 30003: Sigen AI, time of use


def report(
    book: LeaseBook, mono: float, goal: Optional[Target], effect: str, error: str, barred: str
) -> Dict[str, Any]:
    """Return the state of the lease (none, entering, held, releasing, elsewhere, left) and how the last one ended.

    ``barred`` is why one that was left behind is not given back, or ''.
    """
    lease, state = book.lease, ""
    if lease is None:
        lease = book.on_disk()
        if lease is None:
            text = UNREADABLE if book.unreadable else "no battery command"
            return {"state": "none", "text": text, "last": book.last()}
        state = "elsewhere" if book.holder() is not None else "left"
        error = barred if state == "left" else error
    notes = [*(goal.notes if goal is not None else ()), *suspends(lease, book.tariff_pushed())]
    return {
        "state": state or lease.state, "action": lease.command.action, "power_w": lease.command.power_w,
        "text": said(lease.command), "who": lease.who, "ends_at": round(lease.ends_at),
        "ends_in_s": None if lease.overdue_s(mono, book.boot) is None else max(0, round(lease.ends_mono - mono)),
        "effect": effect or None, "native_mode": lease.native_mode, "reason": lease.reason or None,
        "error": error or None, "notes": notes, "holder": book.holder(),
        "back": back(lease),
        "expected": {str(address): raw for address, raw in lease.expected.items()}, "last": book.last(),
    }


def as_row(address: int, before: Optional[int], after: int) -> Dict[str, Any]:
    """Return one write as plain data with words; ``before`` is None where it is unknown."""
    return {
        "register": address, "name": NAMES[address], "before": before, "after": after,
        "text": f"{shown(address, before)} -> {shown(address, after)}",
    }


def back(lease: Lease) -> List[Dict[str, Any]]:
    """Return what a release would write, as far as is known without a look at the plant, in order."""
    before = lease.snapshot
    now = {at: lease.expected.get(at, raws[-1]) for at, raws in lease.touched.items() if raws}
    rows = [as_row(MODE, now[MODE], NEUTRAL)] if now.get(MODE, NEUTRAL) != NEUTRAL else []
    caps = [at for at in CAPS if at in now and at in before and not same(at, now[at], before[at])]
    rows += [as_row(at, now[at], before[at]) for at in caps]
    if REMOTE in before:
        rows.append(as_row(REMOTE, now.get(REMOTE), before[REMOTE]))
    if before.get(MODE, NEUTRAL) != NEUTRAL:
        rows.append(as_row(MODE, NEUTRAL, before[MODE]))
    return rows


def suspends(lease: Lease, tariff_pushed: bool) -> List[str]:
    """Say what a command suspends: a local one keeps Sigen AI and time of use from following the tariff."""
    if lease.native_mode not in FOLLOW_PRICES and not tariff_pushed:
        return []
    what = "the tariff that was pushed" if tariff_pushed else "the tariff"
    return [f"while this lasts Sigen AI and time of use are suspended: the plant does not follow {what}"]


def stranger(standing: Standing, changed: Sequence[int]) -> str:
    """Return what shows that somebody else commands the plant, or ''."""
    if standing.native_mode == VPP:
        return "a virtual power plant (VPP) took the plant over"
    if changed:
        return f"{', '.join(f'{NAMES[at]} ({at})' for at in changed)} was changed by somebody else"
    return ""


def left(lease: Lease, holding: Mapping[int, int]) -> List[str]:
    """Return what of a command stands in the plant when we step back."""
    return [
        f"{NAMES[at]} ({at}) is {shown(at, holding.get(at))}, it was {shown(at, lease.snapshot[at])}"
        for at in lease.touched if at in lease.snapshot and holding.get(at) != lease.snapshot[at]
    ]


def mode_lost(lease: Lease, link: ModbusLink, unit: int) -> List[str]:
    """Say so when the plant does not return to the mode in which it was found (modbus reference 6.3)."""
    if lease.native_mode in (0, REMOTE_EMS):
        return []
    try:
        native = read_standing(link, unit, with_holding=False).native_mode
    except (LinkError, DeviceException):
        native = 0
    if native == lease.native_mode:
        return []
    was = f"{NATIVE_WORDS.get(lease.native_mode, 'unknown')} ({lease.native_mode})"
    return [f"the mode was {was}, a release leads to max self-consumption (0): set it in the mySigen app"]
