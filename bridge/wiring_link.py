"""From settings to the link to a plant: the register map, the wire, the engine, the unit.

Never connects: a link opens at its first use.
"""

from __future__ import annotations

import importlib
from typing import Any, Optional

from bridge.clock import Clock
from bridge.config import Settings
from bridge.errors import ConfigError
from bridge.link.modbus import ModbusLink, make_link
from bridge.link.spacing import spaced
from bridge.registers import Vendor, vendor_from


def vendor(settings: Settings) -> Vendor:
    """Return the register map that ``modbus.vendor`` names; a dotted name is a module of its own."""
    name = settings["modbus.vendor"]
    module = name if "." in name else f"bridge.registers.{name}"
    try:
        return vendor_from(importlib.import_module(module))
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"setting modbus.vendor: there is no register map {name!r} ({error})") from error


def _function_code(settings: Settings) -> Optional[int]:
    code = settings["modbus.function_code"]
    return None if code == "auto" else int(code)


def _pymodbus(*args: Any) -> ModbusLink:
    from bridge.link.modbus_pymodbus import PymodbusLink

    return PymodbusLink(*args)


def gap_s(settings: Settings) -> float:
    """Return the pause that a strict device wants between two requests."""
    return float(settings["poll.min_gap_ms"]) / 1000.0


def tcp_link(settings: Settings, clock: Clock) -> ModbusLink:
    """Return the link to the gateway of ``modbus.host``; raises ConfigError when there is none."""
    from bridge.link.modbus_tcp import TcpWire

    host = settings["modbus.host"]
    if not host:
        raise ConfigError(
            "no plant is configured: give --host ADDRESS of the Sigenergy gateway (or --serial DEVICE for RS485)"
        )
    timeout_s = settings["modbus.timeout_s"]
    wire = spaced(TcpWire(host, settings["modbus.port"], timeout_s, clock.monotonic), gap_s(settings), clock)
    return make_link(wire, settings["modbus.engine"], _function_code(settings), timeout_s, _pymodbus)


def serial_unit(settings: Settings) -> int:
    """Return the unit to try first on a serial line; ``--unit`` sets the unit of the link in use."""
    asked = settings.where("modbus.unit").startswith("flag") and not settings.is_set("modbus.serial_unit")
    return settings["modbus.unit"] if asked else settings["modbus.serial_unit"]


def serial_line(settings: Settings, clock: Clock, plant: Vendor) -> Any:
    """Return the Line that looks for the plant on ``modbus.serial``."""
    from bridge.link.modbus_rtu import RtuWire
    from bridge.sources.serial import Line

    timeout_s = settings["modbus.timeout_s"]

    def open_link(baud: int) -> ModbusLink:
        wire = RtuWire(settings["modbus.serial"], baud, timeout_s, clock.monotonic, clock.wait)
        paced = spaced(wire, gap_s(settings), clock)
        return make_link(paced, settings["modbus.engine"], _function_code(settings), timeout_s, _pymodbus)

    return Line(
        settings["modbus.serial"], open_link, plant, serial_unit(settings), settings["modbus.baud"],
        offset(settings, plant),
    )


def offset(settings: Settings, plant: Vendor) -> int:
    """Return what is added to printed register numbers on the wire."""
    return settings["modbus.address_offset"] if settings.is_set("modbus.address_offset") else plant.address_offset
