"""The Sigenergy cloud's MQTT: topics, what activates them, and what their messages mean.

Pure: it opens nothing. Never turns an absent value into 0 and never guesses a unit: values are W and %,
grid + is import, storage + is charging (vendor's "Telemetry data push"; its sample balances).
Two sources spell the topics differently: openapi/period/KEY/ID and KEY/openapi/period/ID.
"""

from __future__ import annotations

import json
import re
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from bridge.errors import ConfigError
from bridge.peers.envelope import integer, number, parse, text_of, unix_s, unwrap
from bridge.peers.sigen_codes import mode_row

PERIOD, CHANGE, ALARM = KINDS = ("period", "change", "alarm")
OPENAPI, APPKEY = ORDERS = ("openapi", "appkey")
COMMAND_TOPIC, MODE_TOPIC = "openapi/instruction/command", "openapi/instruction/mode"
MAX_PAYLOAD = 256 * 1024  # vendor's limit

# Names of the vendor's telemetry list that the bridge itself uses.
PV, GRID, BATTERY, SOC, INVERTER, LOAD = (
    "pvPowerW", "gridActivePowerW", "storageChargeDischargePowerW", "storageSOC%", "inverterActivePowerW",
    "loadActivePowerW",  # not in the vendor's list; one client reads it
)
KNOWN: Tuple[str, ...] = (
    PV, GRID, BATTERY, SOC, INVERTER, LOAD, "evPowerW", "heatPumpPowerW",
    "gridReactivePowerVar", "inverterReactivePowerVar", "batteryMaxChargePowerW", "batteryMaxDischargePowerW",
    *(f"{side}Phase{phase}{what}" for side in ("grid", "inverter") for phase in "ABC"
      for what in ("ActivePowerW", "ReactivePowerVar")),
    "inverterMaxChargePowerW", "inverterMaxDischargePowerW", "inverterMaxFeedInActivePowerW",
    "inverterMaxAbsorptionActivePowerW", "inverterMaxFeedInReactivePowerVar", "inverterMaxAbsorptionReactivePowerVar",
    "storageChargeCapacityWh", "storageDischargeCapacityWh",
    "systemStatus", "onOffGridStatus", "operationalMode", "chargeCutOffSOC%", "dischargeCutOffSOC%",
    "backupCutOffSOC%", "peakShavingStatus", "stormWatchStatus",
)
# Enumerations arrive as words or as numbers; the numbers are those of the register map (30009, 30051).
WORDS: Mapping[str, Mapping[int, str]] = {
    "systemStatus": {0: "standby", 1: "running", 2: "fault", 3: "shutdown"},
    "onOffGridStatus": {0: "on", 1: "off", 2: "off"},
    "peakShavingStatus": {0: "off", 1: "on"},
    "stormWatchStatus": {0: "off", 1: "on"},
}
UNIT_TAIL = re.compile(r"(var|wh|w|%)$")


class Push(NamedTuple):
    """One pushed record: ``values`` by the vendor's names, ``odd`` the names that nobody knows."""

    kind: str
    order: str
    system_id: str
    at: Optional[float]
    values: Mapping[str, Any]
    odd: Tuple[str, ...] = ()
    device: str = "system"  # or the type of one device, whose powers are not the plant's


def topic(kind: str, app_key: str, system_id: str, order: str) -> str:
    """Return the exact topic of one kind of push; wildcards are refused by the broker."""
    words = (app_key, "openapi", kind) if order == APPKEY else ("openapi", kind, app_key)
    return "/".join((*words, system_id))


def topics(app_key: str, system_ids: Sequence[str], orders: Sequence[str]) -> List[str]:
    """Return every topic to subscribe to; raises ConfigError for names that would be wildcards."""
    for word in (app_key, *system_ids):
        if not word or re.search(r"[#+/\s]", word):
            raise ConfigError("sigen mqtt: cloud.app_key and cloud.system_id must be set, without / # + or blanks")
    return [topic(kind, app_key, one, order) for order in orders for one in system_ids for kind in KINDS]


def activation(token: str, system_ids: Sequence[str]) -> List[Tuple[str, bytes]]:
    """Return (topic, body) of what makes the cloud push; holds the token, never log it."""
    body = json.dumps({"accessToken": token, "systemIdList": list(system_ids)}, separators=(",", ":")).encode()
    return [(f"openapi/subscription/{kind}", body) for kind in KINDS]


def kind_and_order(name: str) -> Tuple[str, str]:
    """Return which kind of push a topic carries and how it is spelled; ("", "") for any other topic."""
    words = name.split("/")
    if len(words) == 4 and words[0] == "openapi" and words[1] in KINDS:
        return words[1], OPENAPI
    if len(words) == 4 and words[1] == "openapi" and words[2] in KINDS:
        return words[2], APPKEY
    return "", ""


def decode(name: str, payload: bytes, aliases: Mapping[str, str]) -> List[Push]:
    """Return the records of a message; [] for what is none. ``aliases`` maps portal names to the vendor's."""
    kind, order = kind_and_order(name)
    if not kind or len(payload) > MAX_PAYLOAD:
        return []
    try:
        content = unwrap(parse(payload.decode("utf-8")))
    except ValueError:
        return []
    if isinstance(content, dict) and isinstance(content.get("data"), (list, dict)):
        content = content["data"]  # one client saw the envelope of the REST side
    rows = content if isinstance(content, list) else [content]
    own = name.rsplit("/", 1)[1]
    return [_push(kind, order, own, row, aliases) for row in rows if isinstance(row, dict)]


def _push(kind: str, order: str, own: str, row: Mapping[str, Any], aliases: Mapping[str, str]) -> Push:
    if kind == ALARM:
        at = unix_s(row.get("changeTime"))
        alarm = {key: text_of(row.get(key)) for key in ("alarmCode", "status") if row.get(key) is not None}
        return Push(kind, order, text_of(row.get("systemId")) or own, at, alarm)
    given = row.get("value")
    values, odd = named(given if isinstance(given, dict) else {}, aliases)
    at, device = unix_s(row.get("statisticsTime")), (text_of(row.get("deviceType")) or "system").lower()
    return Push(kind, order, text_of(row.get("systemId")) or own, at, values, odd, device)


def to_vpp(battery: float) -> float:
    """Return a battery power in the other convention: ours and the record's + is charging, a VPP's + is discharging.

    The only place where it is turned round; twice is once too often, and gives back what it was.
    """
    return 0.0 - battery


def vpp_view(push: Push) -> Dict[str, Any]:
    """Return a telemetry record as VPP programs know it: kW and %, battery + is discharging, grid + is import.

    What the record does not hold is None; {} for what is no telemetry of the plant.
    """
    if push.kind != PERIOD or push.device != "system":
        return {}
    pv_kw, battery_kw, grid_kw, load_kw = (_kw(push.values.get(name)) for name in (PV, BATTERY, GRID, LOAD))
    soc = push.values.get(SOC)
    return {
        "system_id": push.system_id, "timestamp": push.at,
        "pv_power_kw": None if pv_kw is None else max(0.0, pv_kw),
        "battery_power_kw": None if battery_kw is None else to_vpp(battery_kw),
        "grid_power_kw": grid_kw, "load_power_kw": None if load_kw is None else max(0.0, load_kw),
        "soc_percent": soc if soc is not None and 0 <= soc <= 100 else None,
    }


def _kw(power_w: Optional[float]) -> Optional[float]:
    return None if power_w is None else power_w / 1000


def named(given: Mapping[str, Any], aliases: Mapping[str, str]) -> Tuple[Dict[str, Any], Tuple[str, ...]]:
    """Return values by the vendor's names and types, and the names that are not known."""
    values: Dict[str, Any] = {}
    odd = []
    for key, content in given.items():
        name = _NAMES.get(key) or aliases.get(_bare(key)) or _NAMES.get(_bare(key))
        if name is None:
            odd.append(key)
            name = key
        values[name] = meaning(name, content)
    return values, tuple(odd)


def meaning(name: str, content: Any) -> Any:
    """Return a value as number, word or None; enumerations as words whether they came as "1.0" or "running"."""
    if name == "operationalMode":
        mode = integer(content)
        return mode_row(mode).word if mode is not None else text_of(content)
    if name in WORDS:
        code = integer(content)
        return WORDS[name].get(code, str(code)) if code is not None else text_of(content)
    result = number(content)
    if result is None and name not in _POWERS:
        return text_of(content)
    return result


def alias_map(text: str) -> Dict[str, str]:
    """Return the aliases of a setting ``portal name=vendor name, ...``; raises ConfigError."""
    found: Dict[str, str] = {}
    for pair in filter(None, (one.strip() for one in text.split(","))):
        theirs, equals, ours = pair.partition("=")
        if not equals or ours.strip() not in KNOWN:
            raise ConfigError(f"sigen_mqtt.aliases: {pair!r} is not PORTAL NAME=VENDOR NAME, such as Solar=pvPowerW")
        found[_bare(theirs)] = ours.strip()
    return found


def _bare(name: str) -> str:
    """Return a name without case, blanks and unit: "PV power" and pvPowerW are the same."""
    return UNIT_TAIL.sub("", re.sub(r"[^a-z0-9%]", "", name.lower()))


_NAMES: Mapping[str, str] = {**{_bare(name): name for name in KNOWN}, **{name: name for name in KNOWN}}
_POWERS = frozenset(name for name in KNOWN if name.endswith(("W", "Var", "Wh", "%")))
