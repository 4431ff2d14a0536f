"""The bodies of the simulated app API: names and types as public clients of the mySigen app read them.

Never invents a sign: kW, buySellPower + = export, batteryPower + = charging (a balanced public sample).
"""

from __future__ import annotations

from typing import Any, Dict, List, Mapping

from bridge.sim.sigen_cloud_app_world import DEFAULT_MODES, Home, SmartLoad


def token_body(access: str, refresh: str, lifetime_s: float) -> Dict[str, Any]:
    """Return a pair of tokens."""
    return {
        "access_token": access, "refresh_token": refresh, "token_type": "bearer", "expires_in": int(lifetime_s),
        "scope": "server",
    }


def home_body(home: Home) -> Dict[str, Any]:
    """Return what the app opens with."""
    return {
        "stationId": home.number, "stationName": home.station.name, "hasPv": True, "hasEv": False,
        "hasAcCharger": False, "onGrid": True, "pvCapacity": 10.3, "batteryCapacity": 16.12, "acSnList": [],
        "dcSnList": [], "timeZone": "Australia/Adelaide", "currency": home.currency,
    }


def flow_of_app(flow: Mapping[str, Any]) -> Dict[str, Any]:
    """Return the power flow under the app's names."""
    names = (
        ("pvPower", "pvPower"), ("buySellPower", "gridPower"), ("evPower", "evPower"),
        ("loadPower", "loadPower"), ("batteryPower", "batteryPower"), ("batterySoc", "batterySoc"),
    )
    body: Dict[str, Any] = {name: flow[key] for name, key in names if key in flow}
    return {"pvDayNrg": 30.43, "acPower": 0.0, **body}


def modes_body(home: Home) -> Dict[str, Any]:
    """Return the modes by the newer path: numbers as strings, and the owner's own profiles."""
    return {
        "defaultWorkingModes": [{"label": label, "value": str(number)} for number, label in DEFAULT_MODES],
        "energyProfileItems": [{"name": name, "profileId": one} for one, name in home.profiles.items()],
    }


def modes_body_v0() -> List[Dict[str, Any]]:
    """Return the modes by the older path."""
    return [
        {"label": label, "sortOrder": 0, "remarks": "", "value": str(number)} for number, label in DEFAULT_MODES
    ]


def instant_body(home: Home, now: float) -> Dict[str, Any]:
    """Return the manual override; it ends by itself."""
    if home.instant["enable"] and now >= home.instant_ends_at:
        home.instant = {"enable": False, "mode": "", "endTime": None, "powerLimitation": ""}
    return dict(home.instant)


def device_cards(home: Home) -> List[Dict[str, Any]]:
    """Return the cards of the loads page; a client in wide use cannot start where one has no path."""
    return [
        {"path": one.path, "name": one.name, "valueWithUnit": f"{one.power_kw if one.on else 0:.2f} kW"}
        for one in home.loads
    ]


def load_body(load: SmartLoad) -> Dict[str, Any]:
    """Return the detail of a smart load."""
    return {
        "smartLoadId": load.load_id, "loadPath": load.path, "name": load.name,
        "controlMode": 1 if load.manual else 0, "manualModeSwitch": 1 if load.on else 0,
    }


def consumption(load: SmartLoad) -> Dict[str, str]:
    """Return the energy of a smart load, as texts with their unit."""
    return {
        "todayConsumption": f"{load.today_kwh:.2f} kWh", "monthConsumption": f"{load.month_kwh:.2f} kWh",
        "lifetimeConsumption": f"{load.lifetime_kwh:.2f} kWh",
    }
