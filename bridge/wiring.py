"""From settings to objects: the one place where the parts are put together.

Never connects: what is built here opens its link at its first use. Imports what a setting asks for and
nothing else, so that the small process stays small.
"""

from __future__ import annotations

import importlib
from typing import Any, List, NamedTuple, Optional

from bridge.clock import Clock
from bridge.config import Settings, supervisor
from bridge.errors import ConfigError, RateLimited
from bridge.link.modbus import ModbusLink, make_link
from bridge.link.notify import Notifier
from bridge.registers import Vendor, vendor_from
from bridge.registers.plan import TCP_COST, Cost, rtu_cost

CLOUD_PERIOD_S = 300.0  # vendor: one energyFlow in five minutes per station
CLOUD_RETRY_S = 30.0  # the limiter decides whether a retry goes out at all
FIRST_ANSWER_S = 6.0  # how long a command that reads once waits for the Envoy
STRICT_GAP_BUDGET = 1  # with one request a second the blocks take turns


def notifier(settings: Settings) -> Notifier:
    """Return the voice to the supervisor that started us, if there is one."""
    return Notifier(supervisor(), settings["run.watchdog"])


def shelly_client(settings: Settings, clock: Clock) -> Any:
    """Return the client of the Shelly of ``shelly.host``; raises ConfigError when there is none."""
    from bridge.peers.shelly import ShellyClient

    return ShellyClient(
        settings["shelly.host"], clock, settings["shelly.password"] or None, settings["shelly.transport"],
        settings["shelly.mac"],
    )


def shelly_sink(settings: Settings, clock: Clock) -> Any:
    """Return the sink that shows readings on the Shelly."""
    from bridge.sinks.shelly import ShellySink

    return ShellySink(
        shelly_client(settings, clock), settings["shelly.first_id"], clock, settings["shelly.heartbeat_s"],
        settings["shelly.deadband_w"], settings["shelly.freshness"] or None, settings["shelly.adopt"],
    )


def sinks(settings: Settings, clock: Clock) -> List[Any]:
    """Return the network sinks that the settings ask for."""
    return [shelly_sink(settings, clock)] if settings["shelly.host"] else []


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


def tcp_link(settings: Settings, clock: Clock) -> ModbusLink:
    """Return the link to the gateway of ``modbus.host``; raises ConfigError when there is none."""
    from bridge.link.modbus_tcp import TcpWire

    host = settings["modbus.host"]
    if not host:
        raise ConfigError(
            "no plant is configured: give --host ADDRESS of the Sigenergy gateway (or --serial DEVICE for RS485)"
        )
    timeout_s = settings["modbus.timeout_s"]
    wire = TcpWire(host, settings["modbus.port"], timeout_s, clock.monotonic)
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
        return make_link(wire, settings["modbus.engine"], _function_code(settings), timeout_s, _pymodbus)

    return Line(
        settings["modbus.serial"], open_link, plant, serial_unit(settings), settings["modbus.baud"],
        offset(settings, plant),
    )


def offset(settings: Settings, plant: Vendor) -> int:
    """Return what is added to printed register numbers on the wire."""
    return settings["modbus.address_offset"] if settings.is_set("modbus.address_offset") else plant.address_offset


class Feed(NamedTuple):
    """A source and the beat it wants: seconds between readings, and after a cycle without one."""

    source: Any
    interval_s: float
    retry_s: Optional[float] = None


def feed(settings: Settings, clock: Clock) -> Feed:
    """Return where readings come from by ``run.source``: Modbus, the cloud, or Modbus with the cloud behind it."""
    interval_s = settings["poll.interval_s"]
    if settings["run.source"] == "cloud":
        return cloud_feed(settings, clock)
    local = modbus_source(settings, clock)
    wanted = settings["run.source"] == "auto" and settings["failover.enabled"]
    if not (wanted and cloud_configured(settings) and settings["cloud.system_id"]):
        return Feed(local, interval_s)
    from bridge.sources.background import Background
    from bridge.sources.dual import DualSource
    from bridge.sources.failover import Failover
    from bridge.wiring_cloud import cloud_source

    rules = Failover(settings["failover.fall_after_s"], settings["failover.return_after_reads"])
    cloud = Background(cloud_source(settings, clock), clock, "cloud")
    return Feed(DualSource(local, cloud, clock, rules), interval_s)


def cloud_configured(settings: Settings) -> bool:
    """Say whether there are credentials for the OpenAPI."""
    return bool(
        (settings["cloud.app_key"] and settings["cloud.app_secret"])
        or (settings["cloud.username"] and (settings["cloud.password"] or settings["cloud.password_encoded"]))
    )


def cloud_feed(settings: Settings, clock: Clock) -> Feed:
    """Return the cloud alone, read every 300 s; raises RateLimited for a shorter period (ruling 13)."""
    from bridge.wiring_cloud import cloud_source

    interval_s = settings["poll.interval_s"] if settings.is_set("poll.interval_s") else CLOUD_PERIOD_S
    if interval_s < CLOUD_PERIOD_S:
        raise RateLimited(
            f"setting poll.interval_s = {interval_s:g} ({settings.where('poll.interval_s')}):"
            f" the Sigenergy cloud allows one reading in {CLOUD_PERIOD_S:g} s per station;"
            f" leave it unset or set at least {CLOUD_PERIOD_S:g}"
        )
    return Feed(cloud_source(settings, clock), interval_s, CLOUD_RETRY_S)


def modbus_source(settings: Settings, clock: Clock, budget: Optional[int] = None, more: Any = None) -> Any:
    """Return the source that polls the plant over TCP or, when ``modbus.serial`` is set, RS485.

    ``more`` is sun that the plant does not measure, by default that of the Envoy that is configured.
    """
    plant = vendor(settings)
    more = more or more_sun(settings, clock, FIRST_ANSWER_S if budget is not None else 0.0)
    if settings["modbus.serial"]:
        from bridge.sources.serial import SerialSource

        line = serial_line(settings, clock, plant)
        return SerialSource(line, lambda link, unit, baud: plant_source(
            settings, clock, plant, link, unit, rtu_cost(baud), budget, more))
    unit = settings["modbus.unit"] if settings.is_set("modbus.unit") else plant.unit_tcp
    return plant_source(settings, clock, plant, tcp_link(settings, clock), unit, TCP_COST, budget, more)


def plant_source(
    settings: Settings, clock: Clock, plant: Vendor, link: ModbusLink, unit: int, cost: Cost,
    budget: Optional[int], more: Any = None,
) -> Any:
    """Return the poller of one plant on an open question of a link."""
    from bridge.sources.modbus import SLOW_ON_A_LINE, ModbusSource

    gap_s = settings["poll.min_gap_ms"] / 1000.0
    interval_s = settings["poll.interval_s"]
    serial = link.wire.protocol == "modbus-rtu"
    if budget is None:
        budget = 3 if serial else 2
        if gap_s > 0 and interval_s > 0:
            budget = max(STRICT_GAP_BUDGET, min(budget, int(interval_s / gap_s + 1e-6)))
    return ModbusSource(
        link, unit, plant, cost, clock, budget=budget, min_gap_s=gap_s, address_offset=offset(settings, plant),
        grid_sign=-1 if settings["modbus.grid_sign"] == "inverted" else 1,
        slow=SLOW_ON_A_LINE if serial else frozenset(), more_sun=more,
    )


def more_sun(settings: Settings, clock: Clock, patience_s: float) -> Any:
    """Return what adds the sun of the Envoy of ``enphase.local_url``, or None when there is none."""
    if not settings["enphase.local_url"]:
        return None
    try:
        from bridge.wiring_enphase import more_sun as of_envoy
    except ImportError as error:
        raise ConfigError(f"enphase.local_url needs the package sigen-bridge-cloud ({error.name} is missing)") from None

    return of_envoy(settings, clock, patience_s)
