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
from bridge.link.modbus import ModbusLink
from bridge.link.notify import Notifier
from bridge.registers import Vendor
from bridge.registers.plan import TCP_COST, Cost, rtu_cost
from bridge.wiring_link import gap_s, offset, serial_line, tcp_link, vendor
from bridge.wiring_state import durable_dir

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
    found: List[Any] = [shelly_sink(settings, clock)] if settings["shelly.host"] else []
    if settings["mqtt.host"]:
        from bridge.wiring_mqtt import mqtt_sink

        found.append(mqtt_sink(settings, clock))
    return found


def extras(service: Any, settings: Settings, clock: Clock) -> None:
    """Add to a service what the settings ask for beyond polling and showing."""
    if settings["control.enabled"] or durable_dir(settings).load("lease.json") is not None:
        part("bridge.wiring_control", "sigen-bridge-control", "control.enabled").attach(service, settings, clock)
    if settings["loads.file"]:
        from bridge.wiring_phases import attach  # 'loads run', a process of its own, asks for the phases

        attach(service, settings, clock)


def part(module: str, package: str, setting: str) -> Any:
    """Import a module of a part that a router may not have; raises ConfigError with the package's name."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if not (error.name or "").startswith("bridge."):
            raise
        raise ConfigError(f"{setting} is set, but the package {package} is not installed") from error


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
    if settings["run.source"] == "mqtt":
        from bridge.wiring_mqtt import PUSH_LOOK_S, push_source

        interval_s = interval_s if settings.is_set("poll.interval_s") else PUSH_LOOK_S
        return Feed(push_source(settings, clock), interval_s, PUSH_LOOK_S)
    local = modbus_source(settings, clock)
    wanted = settings["run.source"] == "auto" and settings["failover.enabled"]
    if not (wanted and cloud_configured(settings) and settings["cloud.system_id"]):
        return Feed(local, interval_s)
    from bridge.sources.background import Background
    from bridge.sources.dual import DualSource
    from bridge.sources.failover import Failover
    from bridge.wiring_cloud import cloud_source

    fallback: Any = cloud_source(settings, clock)
    if settings["sigen_mqtt.host"] or settings["sigen_mqtt.ca"] or settings["sigen_mqtt.cert"]:
        from bridge.sources.mqtt import PushThenPoll
        from bridge.wiring_mqtt import FAILOVER_IDLE_S, push_source

        fallback = PushThenPoll(push_source(settings, clock, FAILOVER_IDLE_S), fallback)
    rules = Failover(settings["failover.fall_after_s"], settings["failover.return_after_reads"])
    cloud = Background(fallback, clock, "cloud")
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

    pause_s = gap_s(settings)
    interval_s = settings["poll.interval_s"]
    serial = link.wire.protocol == "modbus-rtu"
    if budget is None:
        budget = 3 if serial else 2
        if pause_s > 0 and interval_s > 0:
            budget = max(STRICT_GAP_BUDGET, min(budget, int(interval_s / pause_s + 1e-6)))
    return ModbusSource(
        link, unit, plant, cost, clock, budget=budget, address_offset=offset(settings, plant),
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
