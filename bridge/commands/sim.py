"""Run a simulator for demos, tests and others: a Sigenergy plant, a Shelly, the Sigenergy cloud, Enphase."""

from __future__ import annotations

import argparse
from typing import Any, Callable, List, Mapping, Optional, Tuple

from bridge.clock import Clock
from bridge.config import Settings
from bridge.errors import EXIT_OK, ConfigError
from bridge.service import stop_on_signals
from bridge.sinks.display import DISPLAY

HELP = "run a simulator: plant, shelly, cloud or enphase"
PLANT_PORT, SHELLY_PORT, CLOUD_PORT, ENVOY_PORT = 1502, 8180, 8190, 8443  # unless --port says; below 1024 needs root
REPORT_S = 3600.0  # only bounds the wait; Ctrl-C ends it at once


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of each simulator."""
    kinds = parser.add_subparsers(dest="kind", required=True, metavar="plant|shelly|cloud|enphase")
    plant = kinds.add_parser("plant", help="a SigenStor plant on Modbus TCP, or RTU on a pty", allow_abbrev=False)
    plant.add_argument("--listen", default="127.0.0.1", metavar="ADDRESS", help="address to serve on")
    plant.add_argument("--rtu", nargs="?", const="", metavar="PATH", help="serve RTU on a new pty, linked at PATH")
    plant.add_argument("--level", default="2.9", help="protocol level, 1.8 to 2.9")
    plant.add_argument("--scenario", default="home", help="home, s3, night, export, third_party, v2h, ...")
    plant.add_argument("--replay", metavar="FILE", help="serve a capture of a real plant")
    plant.add_argument("--min-gap-ms", type=float, default=0, help="ignore requests that come sooner than this")
    plant.add_argument("--delay-s", type=float, default=0.0, help="answer this much later")
    plant.add_argument("--seed", type=int, default=1, help="another house, another day")
    _fault_option(plant)
    shelly = kinds.add_parser("shelly", help="a Shelly Pro 2 with the five components", allow_abbrev=False)
    shelly.add_argument("--listen", default="127.0.0.1", metavar="ADDRESS", help="address to serve on")
    shelly.add_argument("--firmware", default="1.7.4", help="1.7.4, 2.0.0 or 2.0.1")
    shelly.add_argument("--with-password", metavar="FILE", help="protect it with the password in FILE")
    shelly.add_argument("--empty", action="store_true", help="without the five components")
    _fault_option(shelly)
    cloud = kinds.add_parser("cloud", help="the Sigenergy OpenAPI, limits included", allow_abbrev=False)
    cloud.add_argument("--listen", default="127.0.0.1", metavar="ADDRESS", help="address to serve on")
    cloud.add_argument("--scenario", default="home", help="the power flow: home, live, night, ev, unbalanced")
    cloud.add_argument("--approval", action="store_true", help="the owner has to confirm an onboarding")
    cloud.add_argument("--token-s", type=float, default=43199.0, metavar="S", help="lifetime of a token")
    _fault_option(cloud, "status,status=424,endpoint=energyFlow,times=3 or hang (any endpoint, for good)")
    enphase = kinds.add_parser("enphase", help="an Envoy with its Enlighten", allow_abbrev=False)
    enphase.add_argument("--listen", default="127.0.0.1", metavar="ADDRESS", help="address to serve on")
    enphase.add_argument("--cloud-port", type=int, default=8191, metavar="N", help="port of Enlighten")
    enphase.add_argument("--firmware", default="D8.2.4345", help="D8.2.4345, D7.0.88, D5.0.62 (no token), ...")
    enphase.add_argument("--no-meter", action="store_true", help="an Envoy without meters")
    enphase.add_argument("--power", type=float, default=4200.0, metavar="W", help="what the roof makes")
    _fault_option(enphase, "slow,s=20, certificate, revoke, cloud-down or cloud-html")


def _fault_option(parser: argparse.ArgumentParser, example: str = "silent or delay,s=0.5,for_s=60") -> None:
    parser.add_argument("--fault", action="append", default=[], metavar="NAME[,KEY=VALUE...]",
                        help=f"misbehave, for example {example}")


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Serve until Ctrl-C."""
    clock = Clock()
    stop_on_signals(clock)
    simulator = SIMULATORS[args.kind](args, settings, clock)
    try:
        simulator.start()
    except OSError as error:
        reason = error.strerror or str(error)
        raise ConfigError(f"sim {args.kind} on {args.listen}: {reason}; choose another --port") from error
    try:
        for word in args.fault:
            name, params = _fault(word)
            if args.kind == "cloud":
                _cloud_fault(simulator, name, params)
            else:
                simulator.fault(name, **params)
        where = getattr(simulator, "tty", "") or f"{args.listen}:{simulator.port}"
        print(f"simulated {args.kind} on {where}; Ctrl-C ends it", flush=True)
        if args.kind in SETTINGS_OF:
            print(SETTINGS_OF[args.kind](simulator), flush=True)
        while not clock.wait(REPORT_S):
            continue
    finally:
        simulator.stop()
    return EXIT_OK


def plant_sim(args: argparse.Namespace, settings: Settings, clock: Clock) -> Any:
    """Return the plant simulator that the options describe."""
    from bridge.sim.plant import PlantSim

    serial = args.rtu is not None
    unit = settings["modbus.unit"] if settings.is_set("modbus.unit") else 1 if serial else 247
    port = settings["modbus.port"] if settings.is_set("modbus.port") else PLANT_PORT
    try:
        return PlantSim(
            clock, host=args.listen, port=port, serial=(args.rtu or True) if serial else False,
            baud=settings["modbus.baud"], unit=unit, level=args.level, scenario=args.scenario, replay=args.replay,
            min_gap_ms=args.min_gap_ms, delay_s=args.delay_s, seed=args.seed,
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
    port = settings["modbus.port"] if settings.is_set("modbus.port") else SHELLY_PORT
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
    port = settings["modbus.port"] if settings.is_set("modbus.port") else CLOUD_PORT
    simulator = SigenCloudSim(
        clock, host=args.listen, port=port, scenario=args.scenario, apps=(App(approval=args.approval),),
        stations=(Station(onboarded=not args.approval),),
    )
    simulator.world.lifetime_s = args.token_s
    return simulator


def enphase_sim(args: argparse.Namespace, settings: Settings, clock: Clock) -> Any:
    """Return the simulator of Envoy and Enlighten that the options describe."""
    from bridge.sim.enphase import EnphaseSim
    from bridge.sim.enphase_world import EnphaseWorld

    port = settings["modbus.port"] if settings.is_set("modbus.port") else ENVOY_PORT
    metered = not args.no_meter
    world = EnphaseWorld(firmware=args.firmware, metered=metered, ct=metered, produce_w=args.power)
    return EnphaseSim(clock, world, args.listen, port, args.cloud_port)


def _enphase_settings(simulator: Any) -> str:
    """Return how to point the bridge at the simulator; its credentials are no secret."""
    who = simulator.world.account
    return "\n".join((
        f"export ENPHASE_LOCAL_API_URL={simulator.envoy.url} ENPHASE_REMOTE_API_URL={simulator.cloud.url}",
        f"export ENPHASE_TOKEN_URL={simulator.cloud.url} ENPHASE_REMOTE_API_SERIALNO={simulator.world.serial}",
        f"export ENPHASE_REMOTE_API_USERNAME={who.username} ENPHASE_REMOTE_API_PASSWORD='{who.password}'",
    ))


def _cloud_fault(simulator: Any, name: str, params: dict) -> None:
    details = {key: str(value) if key in ("msg", "retry_after") else value for key, value in params.items()}
    try:
        simulator.fail(details.pop("endpoint", "*"), name, details.pop("times", 0), **details)
    except (ValueError, TypeError) as error:
        raise ConfigError(f"sim cloud --fault {name}: {error}") from error


def _cloud_settings(simulator: Any) -> str:
    """Return how to point the bridge at the simulator; its credentials are no secret."""
    world = simulator.world
    app, account = next(iter(world.apps.values())), next(iter(world.accounts.values()))
    station = next(iter(world.stations.values()))
    return "\n".join((
        f"export SIGEN_BRIDGE_CLOUD_BASE_URL={simulator.base_url} SIGEN_SYSTEM_ID={station.system_id}",
        f"export SIGEN_APP_KEY={app.key} SIGEN_APP_SECRET={app.secret}",
        f"or, instead of the key: export SIGEN_USER={account.username} SIGEN_PASS='{account.password}'",
    ))


def five_components(first_id: int = 200) -> Tuple[Any, ...]:
    """Return the five numbers as ``shelly setup`` leaves them on a device."""
    found: List[Any] = []
    for row in DISPLAY:
        meta = {"ui": {"view": row.view, "unit": row.unit, "step": row.step}, "cloud": ["measurement"]}
        config = {"name": row.name, "min": row.lo, "max": row.hi, "default_value": 0, "persisted": False, "meta": meta}
        found.append({"key": f"number:{first_id + row.offset}", "config": config})
    return tuple(found)


def _fault(word: str) -> Tuple[str, dict]:
    name, *pairs = word.split(",")
    params = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals:
            raise ConfigError(f"--fault {word}: {pair!r} is not KEY=VALUE")
        params[key] = _number(value)
    return name, params


def _number(value: str) -> Any:
    for kind in (int, float):
        convert: Callable[[str], Any] = kind
        try:
            return convert(value)
        except ValueError:
            continue
    return value


SIMULATORS: Mapping[str, Callable[[argparse.Namespace, Settings, Clock], Any]] = {
    "plant": plant_sim, "shelly": shelly_sim, "cloud": cloud_sim, "enphase": enphase_sim,
}
SETTINGS_OF: Mapping[str, Callable[[Any], str]] = {"cloud": _cloud_settings, "enphase": _enphase_settings}
