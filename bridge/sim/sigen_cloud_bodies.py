"""The bodies of the simulated cloud: shapes of the vendor's documents, with JSON inside strings where it is.

Never invents a sign: kW, gridPower + = export, batteryPower + = charging (live answers, December 2025).
"""

from __future__ import annotations

import json
from typing import Any, Dict, FrozenSet, List, Mapping, Optional, Tuple

from bridge.sim.sigen_cloud_world import Station

# pv, battery (+ charging), grid (+ import), load in W and state of charge: the model's own five
Five = Tuple[Optional[float], Optional[float], Optional[float], Optional[float], Optional[float]]
DOUBLE_STANDARD: FrozenSet[str] = frozenset(("login", "system", "records"))
DOUBLE_ALL: FrozenSet[str] = DOUBLE_STANDARD | {
    "devices", "attrMap", "realTimeInfo", "energyFlow", "summary", "mode", "board", "envelope",
}

FLOW_KEYS = (
    "pvPower", "gridPower", "evPower", "loadPower", "heatPumpPower", "batteryPower", "batterySoc",
)
# fmt: off
SCENARIOS: Mapping[str, Mapping[str, float]] = {
    #                                         pv   grid    ev  load  heat  battery  soc
    "home":       dict(zip(FLOW_KEYS, (3.4,   1.1,  0.0,  0.9,  0.0,   1.4,  57.2))),
    "live":       dict(zip(FLOW_KEYS, (0.3,  3.71,  0.0, 0.89,  0.0,  -4.3,  88.3))),
    "night":      dict(zip(FLOW_KEYS, (0.0, -0.42,  0.0, 0.42,  0.0,   0.0,   8.0))),
    "ev":         dict(zip(FLOW_KEYS, (2.0,  -8.2,  7.4,  1.3,  1.5,   0.0,  40.0))),
    "unbalanced": dict(zip(FLOW_KEYS, (0.0,  11.0,  0.0,  0.5,  0.0,  10.6,  61.0))),
}
# fmt: on


def flow_of(values: Five) -> Dict[str, Any]:
    """Return the energyFlow body of the model's five values; None is left out."""
    pv_w, soc_pct, battery_w, grid_w, load_w = values
    body = {
        "pvPower": _kw(pv_w), "gridPower": _kw(grid_w, -1.0), "evPower": 0.0, "loadPower": _kw(load_w),
        "heatPumpPower": 0.0, "batteryPower": _kw(battery_w), "batterySoc": soc_pct,
    }
    return {key: value for key, value in body.items() if value is not None}


def _kw(power_w: Optional[float], sign: float = 1.0) -> Optional[float]:
    return None if power_w is None else round(power_w * sign / 1000.0, 3) + 0.0


def station_row(station: Station, paged: bool = False) -> Dict[str, Any]:
    """Return a station's row; the two lists spell the connection time differently."""
    row: Dict[str, Any] = {
        "systemId": station.system_id, "systemName": station.name, "addr": "*** Adelaide",
        "status": "Normal" if paged else "normal", "isActivate": True, "onOffGridStatus": "onGrid",
        "timeZone": "Australia/Adelaide", "pvCapacity": 10, "batteryCapacity": 16,
    }
    row["gridConnectedTime" if paged else "gridConnectTime"] = 1711814399000 if paged else 1711814399
    return row


def device_rows(station: Station, double: FrozenSet[str]) -> List[Dict[str, Any]]:
    """Return the devices of a station: one inverter, then batteries."""
    rows = []
    for index, serial in enumerate(station.serials):
        attributes: Dict[str, Any] = {"ratedEnergy": 8.06}
        if index == 0:
            attributes = {"ratedActivePower": 10.0, "maxActivePower": 10.0, "pvStringNumber": 2}
        rows.append({
            "systemId": station.system_id, "serialNumber": serial,
            "deviceType": "Inverter" if index == 0 else "Battery", "status": "Normal", "pn": "100",
            "firmwareVersion": "V100R001C22", "attrMap": nested("attrMap", attributes, double),
        })
    return rows


def realtime_row(
    station: Station, serial: str, flow: Mapping[str, Any], double: FrozenSet[str]
) -> Dict[str, Any]:
    """Return a device's live values; here batPower is + = discharging."""
    battery = flow.get("batteryPower")
    values = {
        "pvPower": flow.get("pvPower"), "activePower": round(flow.get("pvPower", 0) - (battery or 0), 3),
        "batPower": None if battery is None else -battery, "batSoc": flow.get("batterySoc"),
    }
    return {
        "systemId": station.system_id, "serialNumber": serial, "deviceType": "Inverter",
        "realTimeInfo": nested("realTimeInfo", values, double),
    }


def summary_row() -> Dict[str, float]:
    """Return energy totals."""
    return {
        "dailyPowerGeneration": 12.3, "monthlyPowerGeneration": 210.0, "annualPowerGeneration": 3100.5,
        "lifetimePowerGeneration": 5000.1, "lifetimeCo2": 2.3, "lifetimeCoal": 1.9,
        "lifetimeTreeEquivalent": 3.1,
    }


def page_of(rows: List[Dict[str, Any]], number: int, size: int, double: FrozenSet[str]) -> Dict[str, Any]:
    """Return one page; records are strings in the vendor's sample."""
    start = max(0, number - 1) * size
    records = [nested("records", row, double) for row in rows[start:start + size]]
    return {"records": records, "total": len(rows), "current": max(1, number), "size": size}


def nested(name: str, content: Any, double: FrozenSet[str]) -> Any:
    """Return the content, or its JSON text where the field is encoded twice."""
    return json.dumps(content, separators=(",", ":")) if name in double else content


def envelope(code: int, msg: str, content: Any, now: float, double: FrozenSet[str]) -> str:
    """Return the text of an answer."""
    text = json.dumps(
        {"code": code, "msg": msg, "timestamp": int(now), "data": content}, separators=(",", ":")
    )
    return json.dumps(text) if "envelope" in double else text
