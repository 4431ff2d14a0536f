"""The sequences of writes: into a state, from one to another, and back to what was there before.

Never leaves the order of modbus reference 6.1: neutral mode between targets, the target mode last on the way
in, remote EMS last on the way out. Every write is read back by the guard.
"""

from __future__ import annotations

from typing import Callable, Dict, List, Mapping, Tuple

from bridge.control.battery import Command
from bridge.control.battery_guard import Guard, Wrote, read_holding, read_standing
from bridge.control.battery_plant import (
    BACKUP_SOC,
    CAPS,
    CHARGE_CAP,
    CHARGE_PV,
    DISCHARGE_CAP,
    DISCHARGE_PV,
    EXPORT_CAP,
    MODE,
    NAMES,
    NEUTRAL,
    NEVER_SET,
    REMOTE,
    UNLIMITED,
    VPP,
    Site,
    Standing,
    Target,
    kept,
    same,
    shown,
    target,
)
from bridge.control.lease import Lease
from bridge.errors import DeviceException, PeerError, Refused
from bridge.link.modbus import ModbusLink, WritingLink

ACTS_IN = {CHARGE_CAP: CHARGE_PV, DISCHARGE_CAP: DISCHARGE_PV}  # where old firmware takes a cap


class NotRestored(PeerError):
    """Something could not be put back; the plant was left neutral and it is tried again."""


def planned(goal: Target) -> Dict[int, List[int]]:
    """Return every value that ``enter`` may write, by address, in the order of writing."""
    writes: Dict[int, List[int]] = {REMOTE: [1], MODE: [NEUTRAL]}
    for address, raw in goal.caps:
        writes.setdefault(address, []).append(raw)
    if goal.mode != NEUTRAL:
        writes[MODE].append(goal.mode)
    return writes


def touches(goal: Target) -> Dict[int, List[int]]:
    """Return every value that a command may leave behind when its process dies, on the way in or back."""
    found = planned(goal)
    found[MODE] += [ACTS_IN[address] for address, _ in goal.caps if address in ACTS_IN]
    return found


def goal(command: Command, standing: Standing, site: Site, lease: Lease) -> Target:
    """Return how a command is put to the plant under a lease, whose earlier commands may have lowered the export cap.

    Raises Refused as ``target`` does.
    """
    owners = lease.snapshot.get(EXPORT_CAP)
    if owners is None:
        return target(command, standing, site)
    found = target(command, standing._replace(holding={**standing.holding, EXPORT_CAP: owners}), site)
    if EXPORT_CAP in lease.touched and EXPORT_CAP not in dict(found.caps):
        return found._replace(caps=(*found.caps, (EXPORT_CAP, owners)))
    return found


def capped(found: Target, address: int, raw: int) -> Target:
    """Return a target with another cap."""
    return found._replace(caps=tuple({**dict(found.caps), address: raw}.items()))


def enter(guard: Guard, goal: Target, holding: Mapping[int, int]) -> Dict[int, int]:
    """Bring the plant into ``goal``; returns what was read back by address.

    Raises what the guard raises; what was written until then stays and is the caller's to take back.
    """
    now = dict(holding)

    def put(address: int, raw: int, always: bool = False) -> None:
        if always or not same(address, now.get(address), raw):
            now[address] = guard.write(address, raw, now.get(address))

    if now.get(REMOTE) != 1:
        put(REMOTE, 1)
        for address in planned(goal):  # firmware resets some when remote EMS is switched
            found = guard.read(address)
            if found is not None:
                now[address] = found
    put(MODE, NEUTRAL)
    late = []
    for address, raw in goal.caps:
        try:
            put(address, raw)
        except DeviceException:  # firmware before SPC113 takes a cap only in the mode in which it acts
            late.append((address, raw))
    put(MODE, goal.mode)
    if goal.mode == NEUTRAL:
        late.clear()  # where a cap is refused in neutral mode it does not act there either
    for address, raw in late:
        put(address, raw, always=True)
    return {address: now[address] for address in planned(goal)}


def restore(guard: Guard, lease: Lease, link: ModbusLink, unit: int, holding: Mapping[int, int]) -> List[str]:
    """Put the snapshot back, remote EMS last; returns what could not be put back and has to be done by hand.

    Raises NotRestored when a cap is refused: the plant is then neutral, and remote EMS stays on.
    """
    before = lease.snapshot
    if holding.get(REMOTE) == 1 and holding.get(MODE) != NEUTRAL:
        guard.write(MODE, NEUTRAL, holding.get(MODE))
    for address in CAPS:
        if address in lease.touched and address in before and not same(address, holding.get(address), before[address]):
            _put_back(guard, address, before[address], holding)
    found = read_holding(link, unit)
    wrong = [at for at in CAPS if at in lease.touched and at in before and not kept(at, found.get(at), before[at])]
    if wrong:
        raise NotRestored("; ".join(
            f"{NAMES[at]} ({at}) reads {shown(at, found.get(at))} instead of {shown(at, before[at])}" for at in wrong
        ))
    if found.get(REMOTE) != before[REMOTE]:
        guard.write(REMOTE, before[REMOTE], found.get(REMOTE))
    return [*_mode_back(guard, before, found), *_backup_soc_back(guard, before, link, unit)]


def _put_back(guard: Guard, address: int, raw: int, holding: Mapping[int, int]) -> None:
    """Write a cap of the snapshot; where the firmware refuses it in neutral mode, in the mode in which it acts."""
    try:
        guard.write(address, raw, holding.get(address))
        return
    except DeviceException as error:
        refusal = error
    if raw == NEVER_SET:  # some firmware cannot be told "never set", but takes "unlimited"
        try:
            guard.write(address, UNLIMITED, holding.get(address))
            return
        except DeviceException:
            pass
    if address not in ACTS_IN or holding.get(REMOTE) != 1:
        raise NotRestored(f"{NAMES[address]} ({address}) = {shown(address, raw)} is refused: {refusal}")
    guard.write(MODE, ACTS_IN[address], NEUTRAL)
    try:
        guard.write(address, raw, holding.get(address))
    except DeviceException as error:
        raise NotRestored(f"{NAMES[address]} ({address}) = {shown(address, raw)} is refused: {error}") from error
    finally:
        guard.write(MODE, NEUTRAL, ACTS_IN[address])


def _mode_back(guard: Guard, before: Mapping[int, int], found: Mapping[int, int]) -> List[str]:
    """Put the control mode back, which means nothing while remote EMS is off; a plant may refuse it then."""
    if before[REMOTE] == 0 and found.get(MODE) != before[MODE]:
        try:
            guard.write(MODE, before[MODE], found.get(MODE))
        except PeerError:
            return [f"control mode ({MODE}) stays neutral; it was {shown(MODE, before[MODE])}, without effect"]
    return []


def _backup_soc_back(guard: Guard, before: Mapping[int, int], link: ModbusLink, unit: int) -> List[str]:
    """Look whether the firmware lost the backup SOC when remote EMS was toggled (seen in the field)."""
    if BACKUP_SOC not in before:
        return []
    found = guard.read(BACKUP_SOC)
    if found is None or found == before[BACKUP_SOC]:
        return []
    try:
        guard.write(BACKUP_SOC, before[BACKUP_SOC], found)
    except (PeerError, Refused):
        return [
            f"backup SOC ({BACKUP_SOC}) was {shown(BACKUP_SOC, before[BACKUP_SOC])} and is {shown(BACKUP_SOC, found)}:"
            " set it in the mySigen app, or let the bridge do it with control.restore_backup_soc = yes"
        ]
    return []


def freeing(standing: Standing) -> List[Tuple[int, int]]:
    """Return what leads a plant out of remote EMS, in order; raises Refused when a VPP is in control."""
    if standing.native_mode == VPP:
        raise Refused("battery release --force: a virtual power plant (VPP) is in control of this plant")
    if standing.holding.get(REMOTE) != 1:
        return []
    return [*([(MODE, NEUTRAL)] if standing.holding.get(MODE) != NEUTRAL else []), (REMOTE, 0)]


def free(link: WritingLink, unit: int, note: Callable[[Wrote], None]) -> List[str]:
    """Switch remote EMS off, through neutral mode; caps that somebody left are named, not changed.

    Raises Refused when a virtual power plant is in control, and what the guard raises.
    """
    standing = read_standing(link, unit)
    holding, guard = standing.holding, Guard(link, unit, {}, {}, note)
    writes = freeing(standing)
    for address, raw in writes:
        guard.write(address, raw, holding.get(address))
    done = ["remote EMS is off; the plant is in its own mode again" if writes else "remote EMS was off already"]
    for address in CAPS:
        raw_cap = holding.get(address)
        if raw_cap is not None and raw_cap < UNLIMITED:
            done.append(
                f"{NAMES[address]} ({address}) is {shown(address, raw_cap)}; not yours? then change it in the app"
            )
    return done
