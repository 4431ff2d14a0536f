"""What the Sigenergy OpenAPI says about stations, devices and power, as records in the vendor's own signs.

Never fills in a value that is missing: unknown is None. Field names: vendor's OpenAPI documents; spellings
differ between endpoints (seconds or milliseconds, status in either case) and are evened out here.
"""

from __future__ import annotations

from typing import Any, List, Mapping, NamedTuple, Optional

from bridge.peers.envelope import flag, integer, number, text_of, unix_s
from bridge.peers.sigen_codes import mode_row


class System(NamedTuple):
    """A station; capacities in kW and kWh, ``grid_connected_at`` in unix seconds."""

    system_id: str
    name: Optional[str]
    status: Optional[str]
    activated: Optional[bool]
    on_off_grid: Optional[str]
    time_zone: Optional[str]
    grid_connected_at: Optional[float]
    pv_kw: Optional[float]
    battery_kwh: Optional[float]


class Device(NamedTuple):
    """A device of a station; ``attributes`` are the vendor's (ratedActivePower kW, ...)."""

    serial: str
    kind: Optional[str]
    status: Optional[str]
    part_number: Optional[str]
    firmware: Optional[str]
    attributes: Mapping[str, Any]


class EnergyFlow(NamedTuple):
    """Power now in kW: grid + = EXPORT, battery + = charging; load without EV charger and heat pump."""

    pv_kw: Optional[float]
    grid_export_kw: Optional[float]
    battery_charge_kw: Optional[float]
    soc_pct: Optional[float]
    load_kw: Optional[float]
    ev_kw: Optional[float]
    heat_pump_kw: Optional[float]


class Summary(NamedTuple):
    """Energy made from the sun in kWh, and what it spared: tonnes of CO2 and of coal, trees."""

    day_kwh: Optional[float]
    month_kwh: Optional[float]
    year_kwh: Optional[float]
    lifetime_kwh: Optional[float]
    co2_t: Optional[float]
    coal_t: Optional[float]
    trees: Optional[float]


class DeviceRealtime(NamedTuple):
    """One device now in kW: ``ac_kw`` + = generating; ``battery_charge_kw`` is turned to + = charging."""

    serial: str
    kind: Optional[str]
    pv_kw: Optional[float]
    ac_kw: Optional[float]
    battery_charge_kw: Optional[float]
    soc_pct: Optional[float]
    values: Mapping[str, Any]


class Mode(NamedTuple):
    """The operating mode of a station."""

    number: int
    word: str
    label: str


class ModeSwitch(NamedTuple):
    """A mode change that the cloud accepted; whether the plant followed shows only in a later read."""

    system_id: str
    number: int
    spelling: str


def system_of(row: Mapping[str, Any]) -> Optional[System]:
    """Return a row of the system list; None without an id. Connect time: s in one list, ms in the other."""
    system_id = text_of(row.get("systemId"))
    if not system_id:
        return None
    connected = row.get("gridConnectTime", row.get("gridConnectedTime"))
    status = text_of(row.get("status"))
    return System(
        system_id, text_of(row.get("systemName")), status.lower() if status else None,
        flag(row.get("isActivate")), text_of(row.get("onOffGridStatus")), text_of(row.get("timeZone")),
        unix_s(connected), number(row.get("pvCapacity")), number(row.get("batteryCapacity")),
    )


def device_of(row: Mapping[str, Any]) -> Optional[Device]:
    """Return a row of the device list; None without a serial number."""
    serial = text_of(row.get("serialNumber"))
    if not serial:
        return None
    attributes = row.get("attrMap")
    status = text_of(row.get("status"))
    return Device(
        serial, text_of(row.get("deviceType")), status.lower() if status else None, text_of(row.get("pn")),
        text_of(row.get("firmwareVersion")), attributes if isinstance(attributes, dict) else {},
    )


def energy_flow_of(content: Mapping[str, Any]) -> EnergyFlow:
    """Return the power flow; live answers of December 2025 balance with these signs."""
    return EnergyFlow(
        number(content.get("pvPower")), number(content.get("gridPower")), number(content.get("batteryPower")),
        number(content.get("batterySoc")), number(content.get("loadPower")), number(content.get("evPower")),
        number(content.get("heatPumpPower")),
    )


def summary_of(content: Mapping[str, Any]) -> Summary:
    """Return the energy totals."""
    return Summary(*(number(content.get(key)) for key in (
        "dailyPowerGeneration", "monthlyPowerGeneration", "annualPowerGeneration", "lifetimePowerGeneration",
        "lifetimeCo2", "lifetimeCoal", "lifetimeTreeEquivalent",
    )))


def device_realtime_of(serial: str, content: Mapping[str, Any]) -> DeviceRealtime:
    """Return a device's live values; ``batPower`` comes with + = discharging and is turned here."""
    inner = content.get("realTimeInfo")
    values = inner if isinstance(inner, dict) else content
    discharge_kw = number(values.get("batPower"))
    return DeviceRealtime(
        serial, text_of(content.get("deviceType")), number(values.get("pvPower")),
        number(values.get("activePower")), None if discharge_kw is None else 0.0 - discharge_kw,
        number(values.get("batSoc")), values,
    )


def mode_of(content: Mapping[str, Any]) -> Optional[Mode]:
    """Return the operating mode, None where the answer names none."""
    found = integer(content.get("energyStorageOperationMode"))
    if found is None:
        return None
    row = mode_row(found)
    return Mode(row.number, row.word, row.label)


def rows_of(content: Any) -> Optional[List[Mapping[str, Any]]]:
    """Return the objects of a list, which some answers wrap as {"records": [...]}; None without a list."""
    if isinstance(content, dict):
        content = content.get("records")
    if not isinstance(content, list):
        return None
    return [row for row in content if isinstance(row, dict)]
