"""What a house's inverter makes of sun, demand and orders: the power flow under remote control.

Pure: the same arguments give the same flow, and never a balance that is off by a watt. Facts: what
users of real plants observed in each mode ("Remote EMS: modes and what they really do"), which is not
always what the names of the modes promise.
"""

from __future__ import annotations

from typing import NamedTuple, Optional, Tuple

from bridge.sim.home import STEP_S, Conditions, HomeState, House, losses_w

PCS_REMOTE, STANDBY, SELF_CONSUMPTION, CHARGE_GRID, CHARGE_PV, DISCHARGE_PV, DISCHARGE_BATTERY, V2G = (
    0, 1, 2, 3, 4, 5, 6, 8
)
NO_EXPORT_BIAS_W = 80  # an export cap of 0 W is kept with this much import
TAPER = 6  # W for each Wh of room or stock, as in ``settle`` and in 30047 and 30049
CLOSE_WH = 1.0  # this near to the discharge cut-off the battery counts as having reached it


class Orders(NamedTuple):
    """What the plant has been told; None is no limit. Without any, the house consumes its own sun."""

    mode: int = SELF_CONSUMPTION
    set_point_w: int = 0  # the inverter's AC power, in mode 0 alone
    battery_w: Optional[int] = None  # what a VPP has the battery do, whatever the mode
    charge_w: Optional[int] = None
    discharge_w: Optional[int] = None
    pv_w: Optional[int] = None
    export_w: Optional[int] = None
    import_w: Optional[int] = None
    pcs_export_w: Optional[int] = None
    pcs_import_w: Optional[int] = None
    floor_pct: float = 5.0
    full_pct: float = 100.0
    backup_pct: float = 0.0
    off_grid: int = 0
    running: int = 1


class Battery(NamedTuple):
    """The battery as the second begins: Wh, and the range of W that it may be asked for."""

    stored_wh: float
    least_w: int
    most_w: int
    below_floor: bool


def battery(house: House, orders: Orders, stored_wh: float) -> Battery:
    """Return what the battery can do at this state of charge under these orders."""
    room_wh = house.battery_wh * orders.full_pct / 100 - stored_wh
    floor_wh = house.battery_wh * orders.floor_pct / 100
    keep_wh = floor_wh if orders.off_grid else max(floor_wh, house.battery_wh * orders.backup_pct / 100)
    minute = 3600 / STEP_S
    most = max(0, min(house.charge_w, int(TAPER * room_wh)))
    least = max(0, min(house.discharge_w, int(TAPER * stored_wh), int(minute * (stored_wh - keep_wh))))
    below = stored_wh < floor_wh - CLOSE_WH
    if below and not orders.off_grid:
        # The firmware's own rule: below the cut-off it charges, whatever caps and mode say.
        refill = max(0, min(house.charge_w, int(minute * (floor_wh - stored_wh))))
        return Battery(stored_wh, refill, refill, True)
    if orders.charge_w is not None:
        most = min(most, orders.charge_w)
    if orders.discharge_w is not None:
        least = min(least, orders.discharge_w)
    return Battery(stored_wh, -least, most, False)


def wanted_w(house: House, orders: Orders, now: Conditions, able: Battery) -> Tuple[int, int]:
    """Return the PV and the battery power that the mode aims at, W."""
    mode = orders.mode
    pv_w = now.pv_w if orders.pv_w is None else min(now.pv_w, orders.pv_w)
    if mode in (CHARGE_GRID, DISCHARGE_BATTERY):
        pv_w = 0  # seen for hours in daylight
    if orders.battery_w is not None:
        target = orders.battery_w
    elif mode == STANDBY:
        target = 0
    elif mode in (CHARGE_GRID, CHARGE_PV):
        target = able.most_w
    elif mode == DISCHARGE_PV:
        target = min(0, able.least_w + max(0, pv_w))  # the battery gives what the sun does not
    elif mode == DISCHARGE_BATTERY:
        target = able.least_w
    else:
        bias_w = NO_EXPORT_BIAS_W if orders.export_w == 0 else now.grid_target_w
        ac_w = orders.set_point_w if mode == PCS_REMOTE else now.load_w - now.third_party_w - bias_w
        ac_w = max(-house.inverter_w, min(house.inverter_w, ac_w))
        target = pv_w - now.ev_w - ac_w - losses_w(pv_w, ac_w)
    return pv_w, max(able.least_w, min(able.most_w, target))


def flow(
    house: House, orders: Orders, now: Conditions, able: Battery, pv_w: int, battery_w: int,
) -> HomeState:
    """Return the whole flow for a PV and a battery power, after every cap on the AC side.

    What a cap takes away is taken from the battery first, then from the sun; refilling a battery
    below its cut-off gives way to no cap.
    """
    spare = pv_w - now.ev_w - battery_w
    ac_w = spare - losses_w(pv_w, spare)
    lowest, highest = _ac_range(house, orders, now)
    if ac_w > highest:
        less = min(ac_w - highest, max(0, -battery_w))
        battery_w, ac_w = battery_w + less, ac_w - less
        cut = min(max(0, ac_w - highest), max(0, pv_w))
        pv_w, ac_w = pv_w - cut, ac_w - cut
    if ac_w < lowest and not able.below_floor:
        less = min(lowest - ac_w, max(0, battery_w))
        battery_w, ac_w = battery_w - less, ac_w + less
    # Without a meter the plant sees its own output alone, and takes it for the load.
    load_w = now.load_w if now.meter else ac_w + now.third_party_w
    return HomeState(
        pv_w=pv_w, third_party_pv_w=now.third_party_w, battery_w=battery_w,
        soc_permille=_permille(house, able), ev_w=now.ev_w, ac_power_w=ac_w,
        losses_w=pv_w - battery_w - now.ev_w - ac_w,
        grid_w=load_w - now.third_party_w - ac_w, load_w=load_w, meter=now.meter,
    )


def island(house: House, orders: Orders, now: Conditions, able: Battery) -> HomeState:
    """Return the flow with the grid away: battery and sun carry the house, or it goes dark."""
    load_w, third_w = now.load_w, min(now.third_party_w, now.load_w)
    pv_w, ac_w = now.pv_w, load_w - third_w
    losses = losses_w(pv_w, ac_w)
    battery_w = pv_w - ac_w - losses
    if battery_w > able.most_w:
        cut = min(battery_w - able.most_w, max(0, pv_w))
        pv_w, battery_w = pv_w - cut, battery_w - cut
    short = min(able.least_w - battery_w, ac_w)
    if short > 0:  # what cannot be carried is shed
        battery_w, load_w, ac_w = battery_w + short, load_w - short, ac_w - short
    if battery_w < able.least_w:
        return idle(house, able, orders, Conditions(0, 0, 0, 0, off_grid=now.off_grid))
    return HomeState(
        pv_w, third_w, battery_w, _permille(house, able), 0, ac_w, pv_w - battery_w - ac_w, 0, load_w,
        orders.off_grid or now.off_grid, now.meter, orders.running,
    )


def idle(house: House, able: Battery, orders: Orders, now: Conditions) -> HomeState:
    """Return the flow of a plant that does not run: the grid alone carries the house."""
    load_w = now.load_w if now.meter and not now.off_grid else now.third_party_w
    return HomeState(
        0, now.third_party_w, 0, _permille(house, able), 0, 0, 0, load_w - now.third_party_w, load_w,
        orders.off_grid or now.off_grid, now.meter, orders.running,
    )


def _ac_range(house: House, orders: Orders, now: Conditions) -> Tuple[int, int]:
    """Return the least and the most AC power that ratings and caps allow."""
    demand = now.load_w - now.third_party_w
    lows, highs = [-house.inverter_w], [house.inverter_w]
    if orders.pcs_import_w is not None:
        lows.append(-orders.pcs_import_w)
    if orders.pcs_export_w is not None:
        highs.append(orders.pcs_export_w)
    if orders.import_w is not None:
        lows.append(demand - orders.import_w)
    if orders.export_w is not None:
        highs.append(demand + (orders.export_w or -NO_EXPORT_BIAS_W))
    return max(lows), min(highs)


def _permille(house: House, able: Battery) -> int:
    return max(0, min(1000, round(1000 * able.stored_wh / house.battery_wh)))
