"""What the simulated Envoy says, in the shapes of firmware 8.2 (and 5 for one without a token).

Never knows who asks. Numbers follow the world: wNow of the meter is the moment, wNow of the inverters is what
they reported some minutes ago.
"""

from __future__ import annotations

import json
from typing import Any, Dict, List

from bridge.sim.enphase_world import NET_EID, PRODUCTION_EID, EnphaseWorld

INVERTERS = 12
VOLT = 240.0
LIFETIME_WH = 2_000_400.5


def info(world: EnphaseWorld, now: float) -> str:
    """Return /info: XML, without authentication."""
    tokens = "\n  <web-tokens>true</web-tokens>" if world.wants_token else ""
    return (
        "<?xml version='1.0' encoding='UTF-8'?>\n<envoy_info>\n"
        f"  <time>{int(now)}</time>\n  <device>\n    <sn>{world.serial}</sn>\n    <pn>800-00654-r08</pn>\n"
        f"    <software>{world.firmware}</software>\n    <euaid>000000</euaid>\n    <seqnum>0</seqnum>\n"
        f"    <apiver>1</apiver>\n    <imeter>{'true' if world.metered else 'false'}</imeter>\n  </device>{tokens}\n"
        "  <package name='rootfs'>\n    <pn>500-00001-r01</pn>\n    <version>00.00.00</version>\n"
        "    <build>0</build>\n  </package>\n  <build_info>\n"
        "    <build_id>simulated</build_id>\n    <build_time_gmt>1700000000</build_time_gmt>\n  </build_info>\n"
        "</envoy_info>\n"
    )


def eim(kind: str, power_w: float, now: float, active: int) -> Dict[str, Any]:
    """Return one meter's entry of production.json, with its single line."""
    numbers = {
        "wNow": round(power_w, 3), "whLifetime": LIFETIME_WH, "varhLeadLifetime": 410000.25,
        "varhLagLifetime": 120000.75, "vahLifetime": 2300000.5, "rmsCurrent": round(abs(power_w) / VOLT, 3),
        "rmsVoltage": VOLT, "reactPwr": -40.0, "apprntPwr": round(abs(power_w) + 10, 3), "pwrFactor": 0.99,
        "whToday": 9000.5, "whLastSevenDays": 61000.5, "vahToday": 9800.25, "varhLeadToday": 1500.5,
        "varhLagToday": 700.25,
    }
    head = {"type": "eim", "activeCount": active, "measurementType": kind, "readingTime": int(now)}
    return {**head, **numbers, "lines": [numbers]}


def reported_w(world: EnphaseWorld) -> int:
    """Return what the microinverters said last."""
    return round(world.produce_w if world.inverters_w is None else world.inverters_w)


def production(world: EnphaseWorld, now: float) -> Dict[str, Any]:
    """Return /production.json."""
    at = int(now - 240 if world.inverters_at is None else world.inverters_at)
    inverters = {"type": "inverters", "activeCount": INVERTERS, "readingTime": at, "wNow": reported_w(world),
                 "whLifetime": int(LIFETIME_WH)}
    if not world.metered:
        return {"production": [inverters]}
    active = 1 if world.ct else 0
    made_w = world.produce_w if world.ct else 0.0
    return {
        "production": [inverters, eim("production", made_w, now, active)],
        "consumption": [
            eim("total-consumption", world.house_w, now, active),
            eim("net-consumption", world.house_w - made_w, now, active),
        ],
        "storage": [{"type": "acb", "activeCount": 0, "readingTime": 0, "wNow": 0, "whNow": 0, "state": "idle"}],
    }


def v1_production(world: EnphaseWorld) -> Dict[str, Any]:
    """Return /api/v1/production."""
    return {"wattHoursToday": 9000, "wattHoursSevenDays": 61000, "wattHoursLifetime": int(LIFETIME_WH),
            "wattsNow": reported_w(world)}


def v1_inverters(world: EnphaseWorld, now: float) -> List[Dict[str, Any]]:
    """Return /api/v1/production/inverters."""
    each = reported_w(world) // INVERTERS
    return [
        {"serialNumber": f"1223440{index:05d}", "lastReportDate": int(now - 240), "devType": 1,
         "lastReportWatts": each, "maxReportWatts": 366} for index in range(INVERTERS)
    ]


def device_data(world: EnphaseWorld, now: float) -> Dict[str, Any]:
    """Return /ivp/pdm/device_data."""
    each = reported_w(world) // INVERTERS
    found: Dict[str, Any] = {}
    for index in range(INVERTERS):
        reading = {
            "eid": 1600000000 + index, "interval_type": 0, "endDate": int(now - 240), "duration": 903, "flags": 0,
            "flags_hex": "0x0000000000000000", "joulesProduced": each * 903, "acVoltageINmV": 240000,
            "acFrequencyINmHz": 50010, "dcVoltageINmV": 32000, "dcCurrentINmA": 8000, "channelTemp": 38,
            "acCurrentInmA": 1000, "rssi": 110, "issi": 68,
        }
        found[str(553648384 + 256 * index)] = {
            "devName": "pcu", "sn": f"1223440{index:05d}", "active": True, "modGone": False,
            "channels": [{
                "chanEid": 1600000000 + index, "created": int(now - 240),
                "wattHours": {"today": 900, "yesterday": 500, "week": 5000},
                "watts": {"now": each, "nowUsed": 0, "max": 366}, "lastReading": reading,
                "lifetime": {"createdTime": 1700000000, "duration": 6000000, "joulesProduced": 300000000},
            }],
        }
    return {**found, "deviceCount": INVERTERS, "deviceDataLimit": 50}


def meters(world: EnphaseWorld) -> List[Dict[str, Any]]:
    """Return /ivp/meters; empty without meters."""
    if not world.metered:
        return []
    rest = {"phaseMode": "three", "phaseCount": 1, "statusFlags": []}
    return [
        {"eid": PRODUCTION_EID, "state": world.meter_state, "measurementType": "production",
         "meteringStatus": world.metering, **rest},
        {"eid": NET_EID, "state": "enabled", "measurementType": "net-consumption", "meteringStatus": "normal", **rest},
    ]


def readings(world: EnphaseWorld, now: float) -> List[Dict[str, Any]]:
    """Return /ivp/meters/readings."""
    if not world.metered:
        return []
    made_w = world.produce_w if world.ct else 0.0
    return [reading(PRODUCTION_EID, made_w, now), reading(NET_EID, world.house_w - made_w, now)]


def reading(eid: int, power_w: float, now: float) -> Dict[str, Any]:
    """Return one meter's reading."""
    numbers = {
        "actEnergyDlvd": 2000401.25, "actEnergyRcvd": 20.5, "activePower": round(power_w, 3),
        "apparentEnergy": 2300001.5, "apparentPower": round(abs(power_w) + 10, 3),
        "current": round(abs(power_w) / VOLT, 3), "freq": 50.01, "instantaneousDemand": round(power_w, 3),
        "pwrFactor": 0.99, "reactEnergyLagg": 120000.75, "reactEnergyLead": 410000.5, "reactivePower": -40.0,
        "timestamp": int(now), "voltage": VOLT,
    }
    return {"eid": eid, **numbers, "channels": [{"eid": 1700000001 + eid % 7, **numbers}]}


def stream_event(world: EnphaseWorld) -> bytes:
    """Return one event of /stream/meter."""
    idle = {"p": 0.0, "q": 0.0, "s": 0.0, "v": 0.0, "i": 0.0, "pf": 0.0, "f": 0.0}

    def phases(power_w: float) -> Dict[str, Any]:
        one = {"p": power_w, "q": 12.5, "s": abs(power_w), "v": VOLT, "i": round(power_w / VOLT, 2), "pf": 1.0,
               "f": 50.0}
        return {"ph-a": one, "ph-b": idle, "ph-c": idle}

    event = {"production": phases(world.produce_w), "net-consumption": phases(world.house_w - world.produce_w),
             "total-consumption": phases(world.house_w)}
    return b"data: " + json.dumps(event).encode() + b"\n\n"


def home(world: EnphaseWorld, now: float) -> Dict[str, Any]:
    """Return /home."""
    return {
        "software_build_epoch": 1700000000, "is_nonvoy": not world.metered, "db_size": "21 MB",
        "timezone": "Australia/Adelaide", "current_date": "11/29/2026", "current_time": "12:00",
        "network": {
            "web_comm": True, "ever_reported_to_enlighten": True, "last_enlighten_report_time": int(now - 300),
            "primary_interface": "eth0", "interfaces": [{
                "type": "ethernet", "interface": "eth0", "mac": "00:1D:C0:00:00:01", "dhcp": True,
                "ip": "192.0.2.10", "signal_strength": 1, "signal_strength_max": 1, "carrier": True,
            }],
        },
    }


def tariff() -> Dict[str, Any]:
    """Return /admin/lib/tariff."""
    return {"tariff": {"currency": {"code": "AUD"}, "logger": "mylogger", "date": "1700000000", "storage_settings": {
        "mode": "self-consumption", "operation_mode_sub_type": "", "reserved_soc": 0.0, "very_low_soc": 5,
        "charge_from_grid": False, "date": "1700000000"}, "single_rate": {"rate": 0.0, "sell": 0.0}, "seasons": [],
        "seasons_sell": []}, "schedule": {}}
