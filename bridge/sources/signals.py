"""From decoded registers to a Reading: signs and units once, load measured or derived.

Pure. Never judges whether the numbers are believable (see plausibility) and never invents one:
what is not known is None. Facts: Sigenergy Modbus Protocol V2.9 section 5.1; modbus reference 1, 13.
"""

from __future__ import annotations

from typing import Any, Dict, Mapping, NamedTuple, Optional

from bridge.model import Reading

METER_ALARM_BITS = 0b11  # 30280: bit 0 gateway, bit 1 meter communication
EXTRAS = ("clock", "ems_mode", "off_grid", "ac_power_w", "third_party_pv_w", "plant_alarm", "rated_w")
SMALL_NEGATIVE_LOAD_W = -150.0  # losses and phase timing; below it the sum is simply not the load


class Moment(NamedTuple):
    """When and by what a set of values was read: unix seconds, monotonic seconds, source name."""

    at: float
    mono: float
    source: str


class Load(NamedTuple):
    """House power in W, whether it was computed, and the AC balance in W where it can be had."""

    load_w: Optional[float]
    derived: bool
    balance_w: Optional[float]


def reading_from(values: Mapping[str, Any], moment: Moment) -> Reading:
    """Build the Reading of one poll from values by role, in W and %.

    ``values`` has an entry for each role that was read; None or absent means unknown. With
    ``grid_sensor`` 0 there is no meter, so grid and load are unknown.
    """
    grid_w = values.get("grid_w") if meter_present(values) else None
    third_party_w = values.get("third_party_pv_w")
    load = house_load(values, grid_w)
    extras: Dict[str, Any] = {name: values[name] for name in EXTRAS if name in values}
    pv_w = total_pv(values.get("pv_w"), third_party_w)
    if load.balance_w is not None and pv_w is not None and grid_w is not None and load.load_w is not None:
        extras["battery_derived_w"] = pv_w + grid_w - load.load_w
    return Reading(
        moment.at, moment.mono, moment.source,
        pv_w=pv_w, soc_pct=values.get("soc_pct"), battery_w=values.get("battery_w"),
        grid_w=grid_w, load_w=load.load_w, load_derived=load.derived,
        balance_w=load.balance_w, extras=extras,
    )


def meter_present(values: Mapping[str, Any]) -> bool:
    """Say whether grid values mean anything: 30004 is not 0 and no meter or gateway alarm is set."""
    alarm = values.get("plant_alarm") or 0
    return values.get("grid_sensor") != 0 and not alarm & METER_ALARM_BITS


def total_pv(dc_w: Optional[float], third_party_w: Optional[float]) -> Optional[float]:
    """Return DC-coupled plus AC-coupled sun in W, at least 0; night offsets read slightly negative."""
    if dc_w is None:
        return None
    return max(0, dc_w + (third_party_w or 0))


def house_load(values: Mapping[str, Any], grid_w: Optional[float]) -> Load:
    """Return the load: register 30284, else AC balance, else DC balance.

    The AC sum (30031 + 30005 + 30194) is free of conversion losses and holds with a DC charger in
    the house; the DC sum (PV + grid - battery) over-states the load by the losses.
    """
    third_party_w = values.get("third_party_pv_w") or 0
    ac_w, load_w = values.get("ac_power_w"), values.get("load_w")
    pv_w, battery_w = values.get("pv_w"), values.get("battery_w")
    if grid_w is None:
        # Without a meter the plant's own load figure rests on nothing either.
        return Load(None, False, None)
    ac_sum = None if ac_w is None else ac_w + third_party_w + grid_w
    dc_sum = None if pv_w is None or battery_w is None else pv_w + third_party_w + grid_w - battery_w
    if load_w is not None:
        total = ac_sum if ac_sum is not None else dc_sum
        return Load(max(0, load_w) if load_w > SMALL_NEGATIVE_LOAD_W else None, False,
                    None if total is None else total - load_w)
    derived = ac_sum if ac_sum is not None else dc_sum
    if derived is None:
        return Load(None, False, None)
    if derived < SMALL_NEGATIVE_LOAD_W:
        return Load(None, True, None)
    return Load(max(0, derived), True, None)


def largest_term_w(values: Mapping[str, Any]) -> float:
    """Return the largest power in the balance, in W, against which a residual is judged."""
    return max(
        (abs(values[name]) for name in ("ac_power_w", "third_party_pv_w", "grid_w", "load_w", "pv_w", "battery_w")
         if values.get(name) is not None),
        default=0.0,
    )
