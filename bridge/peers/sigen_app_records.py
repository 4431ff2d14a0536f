"""What the mySigen app's API says, as records; power in kW with the grid's sign + = EXPORT.

Never fills in a value that is missing: unknown is None. Field names: public clients (cloud-apis section 4.3).
"""

from __future__ import annotations

import re
from typing import Any, List, Mapping, NamedTuple, Optional, Tuple

from bridge.peers.envelope import flag, integer, number, text_of, unix_s
from bridge.peers.sigen_codes import mode_row
from bridge.peers.sigen_modes import folded
from bridge.peers.sigen_records import EnergyFlow

CUSTOM = 9
DEFAULT_PROFILE = -1


class AppStation(NamedTuple):
    """A station as the app sees it; ``station_id`` is the number that the tariff needs."""

    station_id: int
    name: Optional[str]
    timezone: Optional[str]
    currency: Optional[str]
    on_grid: Optional[bool]
    pv_kw: Optional[float]
    battery_kwh: Optional[float]
    has_pv: Optional[bool]
    has_ev: Optional[bool]
    has_ac_charger: Optional[bool]


class AppMode(NamedTuple):
    """One operating mode of a station; ``profile_id`` is -1 but for the owner's own profiles (mode 9)."""

    number: int
    word: str
    label: str
    profile_id: int


class AppFlow(NamedTuple):
    """Power now, and the sun's energy of the day in kWh."""

    flow: EnergyFlow
    pv_day_kwh: Optional[float]


class Instant(NamedTuple):
    """The manual override: ``mode`` as its word, None while it is off; ``ends_at`` in unix seconds."""

    enabled: bool
    mode: Optional[str]
    ends_at: Optional[float]


class SmartLoad(NamedTuple):
    """A load that the plant switches; ``manual`` says whether it follows the switch or a rule of the app."""

    path: str
    name: str
    load_id: Optional[str] = None
    power_kw: Optional[float] = None
    on: Optional[bool] = None
    manual: Optional[bool] = None
    today_kwh: Optional[float] = None
    month_kwh: Optional[float] = None
    lifetime_kwh: Optional[float] = None


def station_of(row: Mapping[str, Any]) -> Optional[AppStation]:
    """Return a station; None without its number, which comes as a number or as digits."""
    found = integer(row.get("stationId"))
    if found is None or found <= 0:
        return None
    return AppStation(
        found, text_of(row.get("stationName")), text_of(row.get("timeZone")), text_of(row.get("currency")),
        flag(row.get("onGrid")), number(row.get("pvCapacity")), number(row.get("batteryCapacity")),
        flag(row.get("hasPv")), flag(row.get("hasEv")), flag(row.get("hasAcCharger")),
    )


def app_flow_of(content: Mapping[str, Any]) -> AppFlow:
    """Return the power flow; both kinds of EV charger together, and buySellPower is + export."""
    chargers = [number(content.get(key)) for key in ("evPower", "acPower")]
    known = [one for one in chargers if one is not None]
    return AppFlow(EnergyFlow(
        number(content.get("pvPower")), number(content.get("buySellPower")), number(content.get("batteryPower")),
        number(content.get("batterySoc")), number(content.get("loadPower")), sum(known) if known else None,
        number(content.get("heatPumpPower")),
    ), number(content.get("pvDayNrg")))


def default_mode(number_: int, label: str = "") -> AppMode:
    """Return a mode by its number, under the label that the app gives it."""
    row = mode_row(number_)
    return AppMode(number_, row.word, label or row.label, DEFAULT_PROFILE)


def default_modes_of(rows: Any) -> List[AppMode]:
    """Return the modes of a list of {label, value}; rows without a number are left out."""
    found = []
    for row in rows if isinstance(rows, list) else ():
        value = integer(row.get("value")) if isinstance(row, dict) else None
        if value is not None:
            found.append(default_mode(value, text_of(row.get("label")) or ""))
    return found


def profiles_of(rows: Any) -> List[AppMode]:
    """Return the owner's own profiles: mode 9 with their id."""
    found = []
    for row in rows if isinstance(rows, list) else ():
        profile = integer(row.get("profileId")) if isinstance(row, dict) else None
        if profile is not None:
            name = text_of(row.get("name")) or f"profile {profile}"
            found.append(AppMode(CUSTOM, mode_row(CUSTOM).word, name, profile))
    return found


def instant_of(content: Mapping[str, Any], words: Mapping[str, str]) -> Optional[Instant]:
    """Return the override; None where the answer does not say whether it is on."""
    enabled = flag(content.get("enable"))
    if enabled is None:
        return None
    spelled = {number_: word for word, number_ in words.items()}
    mode = text_of(content.get("mode")) or ""
    return Instant(enabled, spelled.get(mode, mode) or None if enabled else None, unix_s(content.get("endTime")))


def load_of(row: Mapping[str, Any]) -> Optional[SmartLoad]:
    """Return a card of the device page as a load; None for a device that is none (it has no path)."""
    path = text_of(row.get("path"))
    if not path:
        return None
    amount, unit = quantity(row.get("valueWithUnit"))
    scale = {"kw": 1.0, "w": 0.001}.get(unit)
    power_kw = None if amount is None or scale is None else amount * scale
    return SmartLoad(path, text_of(row.get("name")) or f"load {path}", power_kw=power_kw)


def with_detail(load: SmartLoad, content: Mapping[str, Any]) -> SmartLoad:
    """Return a load with what its detail page says."""
    on, manual = integer(content.get("manualModeSwitch")), integer(content.get("controlMode"))
    return load._replace(
        load_id=text_of(content.get("smartLoadId")), on=None if on is None else on == 1,
        manual=None if manual is None else manual == 1,
    )


def with_consumption(load: SmartLoad, content: Mapping[str, Any]) -> SmartLoad:
    """Return a load with its energy."""
    return load._replace(
        today_kwh=kwh(content.get("todayConsumption")), month_kwh=kwh(content.get("monthConsumption")),
        lifetime_kwh=kwh(content.get("lifetimeConsumption")),
    )


def quantity(text: Any) -> Tuple[Optional[float], str]:
    """Return number and unit of a text such as "1.20 kWh"; (None, "") for anything else."""
    parts = re.fullmatch(r"\s*(-?[0-9]+(?:[.,][0-9]+)?)\s*([A-Za-z]*)\s*", text) if isinstance(text, str) else None
    return (float(parts[1].replace(",", ".")), parts[2].lower()) if parts else (None, "")


def kwh(text: Any) -> Optional[float]:
    """Return an energy text in kWh, whatever its unit; None where that is not known."""
    amount, unit = quantity(text)
    scale = {"kwh": 1.0, "wh": 0.001, "mwh": 1000.0}.get(unit)
    return None if amount is None or scale is None else amount * scale


def same_name(one: str, other: str) -> bool:
    """Say whether two names are the same but for case, blanks and signs, in any script."""
    if one.split() and one.casefold().split() == other.casefold().split():
        return True
    return bool(folded(one)) and one.isascii() and other.isascii() and folded(one) == folded(other)
