"""What the Sigenergy cloud said, as lines for people; signs are spelled out in words.

Never does I/O, and never shows a missing value as 0: unknown is said.
"""

from __future__ import annotations

from datetime import datetime, timezone
from typing import List, Optional, Sequence

from bridge.peers.sigen_records import Device, DeviceRealtime, EnergyFlow, Summary, System


def amount(found: Optional[float], unit: str, digits: int = 2) -> str:
    """Return a quantity with its unit, or "unknown"."""
    return "unknown" if found is None else f"{found:.{digits}f} {unit}"


def direction(power_kw: Optional[float], positive: str, negative: str) -> str:
    """Say a signed power in kW as a word and a magnitude."""
    if power_kw is None:
        return "unknown"
    if power_kw == 0:
        return "idle"
    return f"{positive if power_kw > 0 else negative} {abs(power_kw):.2f} kW"


def exporting(grid_export_kw: Optional[float]) -> str:
    """Say a grid power, + = export."""
    return direction(grid_export_kw, "exporting", "importing")


def charging(battery_charge_kw: Optional[float]) -> str:
    """Say a battery power, + = charging."""
    return direction(battery_charge_kw, "charging", "discharging")


def duration(seconds: float) -> str:
    """Return a time such as "11 h 59 min" or "42 s"."""
    minutes = int(seconds // 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes} min" if minutes else f"{seconds:.0f} s"


def moment(at: float) -> str:
    """Return unix seconds as UTC."""
    return datetime.fromtimestamp(at, timezone.utc).strftime("%Y-%m-%d %H:%M UTC")


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> List[str]:
    """Return rows under their heads, columns aligned."""
    every = [tuple(head), *map(tuple, rows)]
    widths = [max(len(row[column]) for row in every) for column in range(len(head))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in every]


def system_lines(systems: Sequence[System]) -> List[str]:
    """Return the stations as a table; without one, what to do."""
    if not systems:
        return ["no station: onboard one (cloud onboard ID), or log in with the owner's mySigen account"]
    head = ("system id", "name", "status", "grid", "PV", "battery", "time zone")
    return table(head, [
        (one.system_id, one.name or "-", one.status or "unknown", one.on_off_grid or "unknown",
         amount(one.pv_kw, "kW"), amount(one.battery_kwh, "kWh"), one.time_zone or "-")
        for one in systems
    ])


def device_lines(devices: Sequence[Device]) -> List[str]:
    """Return the devices of a station as a table."""
    if not devices:
        return ["no device is listed for this station"]
    return table(("serial", "kind", "status", "firmware", "attributes"), [
        (one.serial, one.kind or "unknown", one.status or "unknown", one.firmware or "-",
         " ".join(f"{key}={content}" for key, content in one.attributes.items()))
        for one in devices
    ])


def flow_lines(flow: EnergyFlow, balance_w: Optional[float]) -> List[str]:
    """Return the seven values and what they leave over."""
    balance = "not known" if balance_w is None else f"{balance_w / 1000 + 0.0:.2f} kW left over"
    return [
        f"sun         {amount(flow.pv_kw, 'kW')}",
        f"battery     {amount(flow.soc_pct, '%', 1)}, {charging(flow.battery_charge_kw)}",
        f"grid        {exporting(flow.grid_export_kw)}",
        f"house       {amount(flow.load_kw, 'kW')} (without EV charger and heat pump)",
        f"EV charger  {amount(flow.ev_kw, 'kW')}",
        f"heat pump   {amount(flow.heat_pump_kw, 'kW')}",
        f"balance     {balance}",
    ]


def total_lines(totals: Summary) -> List[str]:
    """Return the energy totals."""
    return [
        f"sun today       {amount(totals.day_kwh, 'kWh')}",
        f"sun this month  {amount(totals.month_kwh, 'kWh')}",
        f"sun this year   {amount(totals.year_kwh, 'kWh')}",
        f"sun so far      {amount(totals.lifetime_kwh, 'kWh')}",
        f"spared          {amount(totals.co2_t, 't')} CO2, {amount(totals.coal_t, 't')} coal,"
        f" as much as {amount(totals.trees, 'trees', 1)}",
    ]


def device_realtime_lines(device: DeviceRealtime) -> List[str]:
    """Return the live values of one device."""
    return [
        f"device   {device.serial} ({device.kind or 'unknown kind'})",
        f"sun      {amount(device.pv_kw, 'kW')}",
        f"AC side  {direction(device.ac_kw, 'generating', 'drawing')}",
        f"battery  {amount(device.soc_pct, '%', 1)}, {charging(device.battery_charge_kw)}",
    ]
