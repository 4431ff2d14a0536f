"""Home Assistant's demands on a device discovery message, written from its documentation.

Sources: "MQTT" integration page (device discovery payload, origin, availability), "MQTT sensor", "MQTT binary
sensor", "MQTT button", "MQTT number", and the "Sensor" page of the developer documentation (device classes,
their units, state classes). Keys that Home Assistant does not know are errors here: it drops them silently.
"""

from __future__ import annotations

import re

TOPIC = {"type": "string", "pattern": r"^[^#+\u0000]+$"}
TEXT = {"type": "string", "minLength": 1}
POWER_UNITS = ["mW", "W", "kW", "MW", "GW", "TW"]
ENERGY_UNITS = ["Wh", "kWh", "MWh", "GWh", "TWh", "J", "kJ", "MJ", "GJ"]
UNITS = {"power": POWER_UNITS, "energy": ENERGY_UNITS, "battery": ["%"]}
STATE_CLASSES = {"power": ["measurement"], "battery": ["measurement"], "energy": ["total", "total_increasing"]}
COMMON = {
    "platform": TEXT, "unique_id": TEXT, "name": TEXT, "entity_category": {"enum": ["diagnostic", "config"]},
    "icon": {"type": "string", "pattern": "^mdi:"}, "qos": {"enum": [0, 1, 2]}, "enabled_by_default": {"type": "boolean"},
}
COMPONENTS = {
    "sensor": {
        "required": ["platform", "unique_id", "state_topic"],
        "properties": {
            **COMMON, "state_topic": TOPIC, "value_template": TEXT, "expire_after": {"type": "integer", "minimum": 1},
            "device_class": {"enum": list(UNITS)}, "unit_of_measurement": TEXT, "entity_category": {"enum": ["diagnostic"]},
            "state_class": {"enum": ["measurement", "total", "total_increasing"]},
            "suggested_display_precision": {"type": "integer", "minimum": 0},
        },
    },
    "binary_sensor": {
        "required": ["platform", "unique_id", "state_topic"],
        "properties": {**COMMON, "state_topic": TOPIC, "value_template": TEXT, "device_class": {"enum": ["problem"]},
                       "expire_after": {"type": "integer", "minimum": 1}},
    },
    "button": {
        "required": ["platform", "unique_id", "command_topic"],
        "properties": {**COMMON, "command_topic": TOPIC, "payload_press": TEXT, "retain": {"type": "boolean"}},
    },
    "number": {
        "required": ["platform", "unique_id", "command_topic"],
        "properties": {
            **COMMON, "command_topic": TOPIC, "unit_of_measurement": TEXT, "min": {"type": "number"},
            "max": {"type": "number"}, "step": {"type": "number", "minimum": 0.001}, "mode": {"enum": ["auto", "box", "slider"]},
            "device_class": {"enum": list(UNITS)}, "retain": {"type": "boolean"},
        },
    },
}
DEVICE = {
    "type": "object", "additionalProperties": False, "required": ["identifiers"],
    "properties": {
        "identifiers": {"type": "array", "items": TEXT, "minItems": 1}, "name": TEXT, "manufacturer": TEXT, "model": TEXT,
        "sw_version": TEXT, "hw_version": TEXT, "serial_number": TEXT, "configuration_url": TEXT, "suggested_area": TEXT,
        "via_device": TEXT,
    },
}
ORIGIN = {
    "type": "object", "additionalProperties": False, "required": ["name"],
    "properties": {"name": TEXT, "sw_version": TEXT, "support_url": TEXT},
}
MESSAGE = {
    "type": "object", "additionalProperties": False, "required": ["device", "origin", "components"],
    "properties": {
        "device": DEVICE, "origin": ORIGIN, "components": {"type": "object", "minProperties": 1},
        "availability_topic": TOPIC, "payload_available": TEXT, "payload_not_available": TEXT, "state_topic": TOPIC,
        "command_topic": TOPIC, "qos": {"enum": [0, 1, 2]}, "encoding": TEXT,
    },
}
DISCOVERY_TOPIC = re.compile(r"^[^#+]+/device/([a-zA-Z0-9_-]+/)?[a-zA-Z0-9_-]+/config$")


def check(topic, message):
    """Raise AssertionError or ValidationError where Home Assistant would refuse or ignore something."""
    import jsonschema

    assert DISCOVERY_TOPIC.match(topic), topic
    jsonschema.validate(message, MESSAGE)
    ids = [each["unique_id"] for each in message["components"].values()]
    assert len(ids) == len(set(ids))
    for component in message["components"].values():
        rules = COMPONENTS[component["platform"]]
        jsonschema.validate(component, {"type": "object", "additionalProperties": False, **rules})
        kind = component.get("device_class")
        if component["platform"] == "sensor" and kind is not None:
            assert component["unit_of_measurement"] in UNITS[kind], component
            assert component["state_class"] in STATE_CLASSES[kind], component
        if component["platform"] == "sensor" and kind is None:
            assert "unit_of_measurement" not in component and "state_class" not in component
        if component["platform"] == "number":
            assert component["min"] < component["max"] and component["unit_of_measurement"] in UNITS[kind]


def rendered(template, payload):
    """Return what Home Assistant makes of a value template: null becomes None, which a sensor shows as unknown."""
    found = re.fullmatch(r"\{\{ value_json\.(\w+) \}\}", template)
    if found:
        return str(payload[found[1]])
    choice = re.fullmatch(r"\{\{ '(\w+)' if value_json\.(\w+) else '(\w+)' \}\}", template)
    assert choice, f"a template that this check cannot render: {template}"
    return choice[1] if payload[choice[2]] else choice[3]
