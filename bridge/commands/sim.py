"""Run a simulator for demos, tests and others: plant, Shelly, Sigenergy cloud, Amber, Enphase."""

from __future__ import annotations

import argparse
from typing import Any, Callable, Tuple

from bridge.clock import Clock
from bridge.config import Settings
from bridge.errors import EXIT_OK, ConfigError
from bridge.service import stop_on_signals
from bridge.wiring_sim import ENLIGHTEN_PORT, PORTS, SETTINGS_OF, SIMULATORS, port_of

HELP = "run a simulator: plant, shelly, cloud, amber or enphase"
REPORT_S = 3600.0  # only bounds the wait; Ctrl-C ends it at once


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of each simulator."""
    kinds = parser.add_subparsers(dest="kind", required=True, metavar="plant|shelly|cloud|amber|enphase")
    plant = kinds.add_parser("plant", help="a SigenStor plant on Modbus TCP, or RTU on a pty", allow_abbrev=False)
    plant.add_argument("--listen", default="127.0.0.1", metavar="ADDRESS", help="address to serve on")
    plant.add_argument("--rtu", nargs="?", const="", metavar="PATH", help="serve RTU on a new pty, linked at PATH")
    plant.add_argument("--level", default="2.9", help="protocol level, 1.8 to 2.9")
    plant.add_argument("--scenario", default="home", help="home, steady, s3, night, export, v2h, ...")
    plant.add_argument("--native-mode", type=int, default=0, metavar="N", help="30003 at the start: 0, 1, 2, 5 or 9")
    plant.add_argument("--soc", type=float, metavar="PCT", help="state of charge to begin with")
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
    cloud = kinds.add_parser("cloud", help="the Sigenergy cloud: OpenAPI and app", allow_abbrev=False)
    cloud.add_argument("--listen", default="127.0.0.1", metavar="ADDRESS", help="address to serve on")
    cloud.add_argument("--scenario", default="home", help="the power flow: home, live, night, ev, unbalanced")
    cloud.add_argument("--approval", action="store_true", help="the owner has to confirm an onboarding")
    cloud.add_argument("--app-modes", choices=("both", "v3", "v0"), default="both",
                       help="by which paths the app shows the modes: newer, older or both")
    cloud.add_argument("--token-s", type=float, default=43199.0, metavar="S", help="lifetime of a token")
    cloud.add_argument("--mqtt-broker", metavar="HOST:PORT", help="also push telemetry through this broker (mosquitto)")
    cloud.add_argument("--mqtt-ca", metavar="FILE", default="", help="CA of that broker; without it plain TCP is used")
    cloud.add_argument("--mqtt-layout", choices=("openapi", "appkey"), default="openapi", help="spelling of the topics")
    cloud.add_argument("--mqtt-period", type=float, default=20.0, metavar="S", help="seconds between two pushes")
    _fault_option(cloud, "status,status=424,endpoint=energyFlow,times=3 or hang (any endpoint, for good)")
    amber = kinds.add_parser("amber", help="the Amber price API, limits included", allow_abbrev=False)
    amber.add_argument("--listen", default="127.0.0.1", metavar="ADDRESS", help="address to serve on")
    amber.add_argument("--scenario", default="normal", help="normal, negative, spike, gaps, mixed, flat, estimate")
    amber.add_argument("--network", default="Ausgrid", help="network company of the site; tells its time zone")
    amber.add_argument("--billing", type=int, choices=(5, 30), default=5, help="minutes the meter is billed by")
    amber.add_argument("--no-feed-in", action="store_true", help="a site without an export channel")
    amber.add_argument("--two-sites", action="store_true", help="an account with a second site")
    _fault_option(amber, "throttled,times=2 or limited,endpoint=prices or unauthorized (any endpoint, for good)")
    enphase = kinds.add_parser("enphase", help="an Envoy with its Enlighten", allow_abbrev=False)
    enphase.add_argument("--listen", default="127.0.0.1", metavar="ADDRESS", help="address to serve on")
    enphase.add_argument("--cloud-port", type=int, default=ENLIGHTEN_PORT, metavar="N", help="port of Enlighten")
    enphase.add_argument("--firmware", default="D8.2.4345", help="D8.2.4345, D7.0.88, D5.0.62 (no token), ...")
    enphase.add_argument("--no-meter", action="store_true", help="an Envoy without meters")
    enphase.add_argument("--power", type=float, default=4200.0, metavar="W", help="what the roof makes")
    _fault_option(enphase, "slow,s=20, certificate, revoke, cloud-down or cloud-html")
    for kind, port in PORTS.items():
        kinds.choices[kind].epilog = f"--port N serves on another port than {port}."


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
        where = f"{args.listen}:{port_of(args.kind, settings)}"
        raise ConfigError(f"sim {args.kind} on {where}: {reason}; choose another --port") from error
    pushes: Any = None
    try:
        for word in args.fault:
            name, params = _fault(word)
            if args.kind in ("cloud", "amber"):
                _cloud_fault(simulator, name, params)
            else:
                simulator.fault(name, **params)
        where = getattr(simulator, "tty", "") or f"{args.listen}:{simulator.port}"
        print(f"simulated {args.kind} on {where}; Ctrl-C ends it", flush=True)
        if args.kind in SETTINGS_OF:
            print(SETTINGS_OF[args.kind](simulator), flush=True)
        pushes = _pushes(args, simulator, clock) if getattr(args, "mqtt_broker", None) else None
        while not clock.wait(REPORT_S):
            continue
    finally:
        if pushes is not None:
            pushes.stop()
        simulator.stop()
    return EXIT_OK


def _pushes(args: argparse.Namespace, simulator: Any, clock: Clock) -> Any:
    """Return the running MQTT side of a simulated cloud."""
    from bridge.link.broker import Tls, broker_at
    from bridge.sim.sigen_mqtt import SigenMqttSim

    broker = broker_at(args.mqtt_broker, 8883 if args.mqtt_ca else 1883, Tls(args.mqtt_ca) if args.mqtt_ca else None)
    pushes = SigenMqttSim(clock, broker, simulator.world, simulator.flow, layout=args.mqtt_layout,
                          period_s=args.mqtt_period).start()
    trust = f"CA={args.mqtt_ca}" if args.mqtt_ca else "TLS=no"
    print(f"export SIGEN_BRIDGE_SIGEN_MQTT_HOST={broker.host} SIGEN_BRIDGE_SIGEN_MQTT_PORT={broker.port}"
          f" SIGEN_BRIDGE_SIGEN_MQTT_{trust}", flush=True)
    return pushes


def _cloud_fault(simulator: Any, name: str, params: dict) -> None:
    details = {key: str(value) if key in ("msg", "retry_after") else value for key, value in params.items()}
    try:
        simulator.fail(details.pop("endpoint", "*"), name, details.pop("times", 0), **details)
    except (ValueError, TypeError) as error:
        raise ConfigError(f"sim --fault {name}: {error}") from error


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
