"""From the options of ``sim`` to simulators; they open nothing before they are started.

Never part of the bridge at work: demo, tests and other programs use them.
"""

from __future__ import annotations

import argparse
from typing import Any, Callable, List, Mapping, Optional, Tuple

from bridge.clock import Clock
from bridge.config import Settings
from bridge.errors import ConfigError
from bridge.sinks.display import DISPLAY

# No two are the same, so that all simulators can run at once.
PORTS = {"plant": 1502, "shelly": 8180, "cloud": 8190, "amber": 8191, "enphase": 8443}  # unless --port says
ENLIGHTEN_PORT = 8192  # unless --cloud-port says


def port_of(kind: str, settings: Settings) -> int:
    """Return the port that a simulator serves on: ``--port``, else its own."""
    return int(settings["modbus.port"]) if settings.is_set("modbus.port") else PORTS[kind]


def plant_sim(args: argparse.Namespace, settings: Settings, clock: Clock) -> Any:
    """Return the plant simulator that the options describe."""
    from bridge.sim.plant import PlantSim

    serial = args.rtu is not None
    unit = settings["modbus.unit"] if settings.is_set("modbus.unit") else 1 if serial else 247
    port = port_of("plant", settings)
    try:
        return PlantSim(
            clock, host=args.listen, port=port, serial=(args.rtu or True) if serial else False,
            baud=settings["modbus.baud"], unit=unit, level=args.level, scenario=args.scenario, replay=args.replay,
            min_gap_ms=args.min_gap_ms, delay_s=args.delay_s, seed=args.seed,
            native_mode=args.native_mode, soc_pct=args.soc,
        )
    except (OSError, ValueError, KeyError) as error:
        raise ConfigError(f"sim plant: {error}; see sigen-bridge sim plant --help") from error


def shelly_sim(args: argparse.Namespace, settings: Settings, clock: Clock) -> Any:
    """Return the Shelly simulator that the options describe."""
    from bridge.sim.shelly import ShellySim

    password: Optional[str] = None
    if args.with_password:
        try:
            with open(args.with_password, encoding="utf-8") as handle:
                password = handle.readline().strip()
        except OSError as error:
            raise ConfigError(f"sim shelly --with-password {args.with_password}: {error.strerror}") from error
    port = port_of("shelly", settings)
    return ShellySim(
        clock, host=args.listen, port=port, firmware=args.firmware, password=password,
        components=() if args.empty else five_components(),
    )


def cloud_sim(args: argparse.Namespace, settings: Settings, clock: Clock) -> Any:
    """Return the cloud simulator that the options describe."""
    from bridge.sim.sigen_cloud import SigenCloudSim
    from bridge.sim.sigen_cloud_bodies import SCENARIOS
    from bridge.sim.sigen_cloud_world import App, Station

    if args.scenario not in SCENARIOS:
        raise ConfigError(f"sim cloud --scenario {args.scenario}: not one of {', '.join(SCENARIOS)}")
    if not args.token_s > 0:
        raise ConfigError(f"sim cloud --token-s {args.token_s:g}: must be above 0")
    port = port_of("cloud", settings)
    simulator = SigenCloudSim(
        clock, host=args.listen, port=port, scenario=args.scenario, apps=(App(approval=args.approval),),
        stations=(Station(onboarded=not args.approval),),
    )
    simulator.world.lifetime_s = simulator.app_world.lifetime_s = args.token_s
    for home in simulator.app_world.homes.values():
        home.mode_api = args.app_modes
    return simulator


def amber_sim(args: argparse.Namespace, settings: Settings, clock: Clock) -> Any:
    """Return the Amber simulator that the options describe."""
    from bridge.sim.amber import AmberSim
    from bridge.sim.amber_market import SimSite

    site = SimSite(network=args.network, billing_min=args.billing, feed_in=not args.no_feed_in)
    second = site._replace(site_id="01J0SIMSITE00000000000002", nmi="4100000002")
    port = port_of("amber", settings)
    try:
        return AmberSim(
            clock, host=args.listen, port=port, sites=(site, second) if args.two_sites else (site,),
            scenario=args.scenario,
        )
    except ValueError as error:
        raise ConfigError(f"sim amber --scenario: {error}") from error


def enphase_sim(args: argparse.Namespace, settings: Settings, clock: Clock) -> Any:
    """Return the simulator of Envoy and Enlighten that the options describe."""
    from bridge.sim.enphase import EnphaseSim
    from bridge.sim.enphase_world import EnphaseWorld

    port = port_of("enphase", settings)
    metered = not args.no_meter
    world = EnphaseWorld(firmware=args.firmware, metered=metered, ct=metered, produce_w=args.power)
    return EnphaseSim(clock, world, args.listen, port, args.cloud_port)


def amber_settings(simulator: Any) -> str:
    """Return how to point the bridge at the simulated Amber."""
    return f"export SIGEN_BRIDGE_AMBER_BASE_URL={simulator.base_url} AMBER_TOKEN={simulator.token}"


def enphase_settings(simulator: Any) -> str:
    """Return how to point the bridge at the simulator; its credentials are no secret."""
    who = simulator.world.account
    return "\n".join((
        f"export ENPHASE_LOCAL_API_URL={simulator.envoy.url} ENPHASE_REMOTE_API_URL={simulator.cloud.url}",
        f"export ENPHASE_TOKEN_URL={simulator.cloud.url} ENPHASE_REMOTE_API_SERIALNO={simulator.world.serial}",
        f"export ENPHASE_REMOTE_API_USERNAME={who.username} ENPHASE_REMOTE_API_PASSWORD='{who.password}'",
    ))


def cloud_settings(simulator: Any) -> str:
    """Return how to point the bridge at the simulator; its credentials are no secret."""
    world = simulator.world
    app, account = next(iter(world.apps.values())), next(iter(world.accounts.values()))
    station = next(iter(world.stations.values()))
    return "\n".join((
        f"export SIGEN_BRIDGE_CLOUD_BASE_URL={simulator.base_url} SIGEN_SYSTEM_ID={station.system_id}",
        f"export SIGEN_APP_KEY={app.key} SIGEN_APP_SECRET={app.secret}",
        f"or, instead of the key: export SIGEN_USER={account.username} SIGEN_PASS='{account.password}'",
        f"for the app, with that user: export SIGEN_BRIDGE_CLOUD_APP_BASE_URL={simulator.base_url}",
    ))


def five_components(first_id: int = 200) -> Tuple[Any, ...]:
    """Return the five numbers as ``shelly setup`` leaves them on a device."""
    found: List[Any] = []
    for row in DISPLAY:
        meta = {"ui": {"view": row.view, "unit": row.unit, "step": row.step}, "cloud": ["measurement"]}
        config = {"name": row.name, "min": row.lo, "max": row.hi, "default_value": 0, "persisted": False, "meta": meta}
        found.append({"key": f"number:{first_id + row.offset}", "config": config})
    return tuple(found)


SIMULATORS: Mapping[str, Callable[[argparse.Namespace, Settings, Clock], Any]] = {
    "plant": plant_sim, "shelly": shelly_sim, "cloud": cloud_sim, "amber": amber_sim, "enphase": enphase_sim,
}
SETTINGS_OF: Mapping[str, Callable[[Any], str]] = {
    "cloud": cloud_settings, "amber": amber_settings, "enphase": enphase_settings,
}
