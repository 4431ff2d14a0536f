"""What Home Assistant is told so that it shows the plant by itself (MQTT discovery, one message a device).

Pure. Never names a command topic unless commands are wanted. Format: Home Assistant's documentation of the
MQTT integration, "device discovery payload" (Home Assistant 2024.11 and later).
"""

from __future__ import annotations

import re
from typing import Any, Dict, NamedTuple, Optional, Tuple


class Sensor(NamedTuple):
    """One sensor: key in the state (or energy) message and Home Assistant's words for it."""

    key: str
    name: str
    device_class: Optional[str]
    unit: Optional[str]
    state_class: Optional[str]
    topic: str = "state"
    digits: Optional[int] = None
    diagnostic: bool = False


# fmt: off
SENSORS: Tuple[Sensor, ...] = (
    Sensor("pv_w",                  "Solar power",              "power",     "W",   "measurement",      digits=0),
    Sensor("load_w",                "House power",              "power",     "W",   "measurement",      digits=0),
    Sensor("grid_import_w",         "Grid power",               "power",     "W",   "measurement",      digits=0),
    Sensor("battery_charge_w",      "Battery charging power",   "power",     "W",   "measurement",      digits=0),
    Sensor("soc_pct",               "Battery level",            "battery",   "%",   "measurement",      digits=1),
    Sensor("pv_kwh",                "Solar energy",             "energy",    "kWh", "total_increasing", "energy", 2),
    Sensor("load_kwh",              "House energy",             "energy",    "kWh", "total_increasing", "energy", 2),
    Sensor("grid_import_kwh",       "Grid energy imported",     "energy",    "kWh", "total_increasing", "energy", 2),
    Sensor("grid_export_kwh",       "Grid energy exported",     "energy",    "kWh", "total_increasing", "energy", 2),
    Sensor("battery_charge_kwh",    "Battery energy charged",   "energy",    "kWh", "total_increasing", "energy", 2),
    Sensor("battery_discharge_kwh", "Battery energy discharged", "energy",  "kWh", "total_increasing", "energy", 2),
    Sensor("source",                "Source",                   None,        None,  None,              diagnostic=True),
)
BUTTONS: Tuple[Tuple[str, str], ...] = (
    ("hold", "Hold the battery"), ("self", "Battery self-consumption"), ("release", "Release the battery"),
)
NUMBERS: Tuple[Tuple[str, str], ...] = (
    ("charge", "Charge the battery with"), ("discharge", "Discharge the battery with"),
)
# fmt: on
ACTIONS: Tuple[str, ...] = tuple(name for name, _ in (*NUMBERS, *BUTTONS))
MOST_W = 100_000  # of the number fields; the safety rules of the control part decide what is really allowed


class Place(NamedTuple):
    """Where a site lives on the broker: ``base`` is base_topic/site."""

    base: str
    site: str

    def topic(self, *parts: str) -> str:
        """Return a topic of this site."""
        return "/".join((self.base, *parts))


def place(base_topic: str, site: str) -> Place:
    """Return the place of a site; what a topic cannot hold becomes a dash."""
    name = safe(site) or "home"
    levels = [re.sub(r"[#+\s\x00]+", "-", part) for part in base_topic.split("/") if part]
    return Place("/".join([*(levels or ["sigen-bridge"]), name]), name)


def safe(text: str) -> str:
    """Return a text as Home Assistant takes it in identifiers: letters, digits, dash and underscore."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", text).strip("-")


def discovery_topic(prefix: str, where: Place) -> str:
    """Return the topic of the one message that announces the device."""
    return f"{prefix}/device/{safe(where.base)}/config"


def discovery(where: Place, version: str, expire_after_s: float, commands: bool) -> Dict[str, Any]:
    """Return that message; with ``commands`` it has buttons and numbers for the battery."""
    name = safe(where.base)
    components: Dict[str, Any] = {}
    for row in SENSORS:
        components[row.key] = _sensor(row, where, name, expire_after_s)
    components["problem"] = {
        "platform": "binary_sensor", "unique_id": f"{name}_problem", "name": "Readings", "device_class": "problem",
        "state_topic": where.topic("state"), "value_template": "{{ 'OFF' if value_json.valid else 'ON' }}",
        "entity_category": "diagnostic",
    }
    if commands:
        components.update(_commands(where, name))
    return {
        "device": {
            "identifiers": [name], "name": f"Sigenergy {where.site}", "manufacturer": "Sigenergy",
            "model": "SigenStor", "sw_version": version,
        },
        "origin": {"name": "sigen-bridge", "sw_version": version},
        "availability_topic": where.topic("availability"),
        "components": components,
    }


def _sensor(row: Sensor, where: Place, name: str, expire_after_s: float) -> Dict[str, Any]:
    found: Dict[str, Any] = {
        "platform": "sensor", "unique_id": f"{name}_{row.key}", "name": row.name,
        "state_topic": where.topic(row.topic), "value_template": "{{ value_json.%s }}" % row.key,
        "expire_after": int(expire_after_s),
    }
    optional = {
        "device_class": row.device_class, "unit_of_measurement": row.unit, "state_class": row.state_class,
        "suggested_display_precision": row.digits, "entity_category": "diagnostic" if row.diagnostic else None,
    }
    found.update({key: content for key, content in optional.items() if content is not None})
    return found


def _commands(where: Place, name: str) -> Dict[str, Any]:
    found: Dict[str, Any] = {}
    for action, label in NUMBERS:
        found[f"command_{action}"] = {
            "platform": "number", "unique_id": f"{name}_command_{action}", "name": label, "device_class": "power",
            "command_topic": where.topic("command", action), "unit_of_measurement": "W", "min": 0, "max": MOST_W,
            "step": 100, "mode": "box", "retain": False,
        }
    for action, label in BUTTONS:
        found[f"command_{action}"] = {
            "platform": "button", "unique_id": f"{name}_command_{action}", "name": label,
            "command_topic": where.topic("command", action), "payload_press": "{}", "retain": False,
        }
    return found
