"""From settings to the coordination of loads; imported only when that is wanted.

Never connects and never moves a relay: that begins with the coordinator's first cycle.
"""

from __future__ import annotations

import json
import string
from typing import Callable, Dict, List, Sequence, Tuple

from bridge import ini
from bridge.clock import Clock
from bridge.config import Settings, read_text
from bridge.control.dispatch_config import Config, Load, read
from bridge.control.dispatch_time import Price, parse_prices
from bridge.coordinator import Coordinator, Parts
from bridge.errors import ConfigError, LinkError
from bridge.faultlog import FaultLog
from bridge.peers.shelly import ShellyClient
from bridge.sinks.relays import RelayDevice
from bridge.sources.bridge_plant import BridgePlant
from bridge.sources.em import EmMeter
from bridge.values import plain_mac
from bridge.wiring_state import state_dir

PRICES_AGAIN_S = 60.0
EVERYWHERE = ("0.0.0.0", "", "[::]")


def load_config(settings: Settings) -> Config:
    """Return the loads that ``loads.file`` describes; raises ConfigError naming the line."""
    path = settings["loads.file"]
    if not path:
        raise ConfigError("no loads are described: set loads.file to an INI file; docs/loads.md shows one")
    try:
        options = ini.parse(read_text(path, f"loads.file {path}"))
    except ValueError as error:
        raise ConfigError(f"loads.file {path}: {error}") from None
    return read(options, path, settings["tariff.timezone"])


def local_address(listen: str) -> str:
    """Return where something that listens on ``listen`` is asked from this machine."""
    host, _, port = listen.rpartition(":")
    return f"{'127.0.0.1' if host in EVERYWHERE else host}:{port}"


def coordinator(settings: Settings, clock: Clock, dry_run: bool = False) -> Coordinator:
    """Return what runs the loads of ``loads.file``."""
    config = load_config(settings)
    return Coordinator(config, parts(config, settings, clock), clock, dry_run)


def parts(config: Config, settings: Settings, clock: Clock) -> Parts:
    """Return what a coordinator is made of."""
    rules = config.rules
    if settings["status.listen"] == "off":
        raise ConfigError("loads: status.listen is off, so the bridge cannot tell of the plant; set it to host:port")
    phases = rules.phase_measure if rules.phase_limit_w is not None and not rules.em else None
    plant = BridgePlant(local_address(settings["status.listen"]), settings["status.token"], clock,
                        FaultLog(clock, "loads.plant"), phases)
    meter = None
    if rules.em:
        meter = EmMeter(_client(rules.em, "", settings["shelly.password"], clock), clock, FaultLog(clock, "loads.em"))
    return Parts(plant, devices(config, settings, clock), meter, prices(rules.prices, clock), state_dir(settings))


def devices(config: Config, settings: Settings, clock: Clock) -> Dict[str, RelayDevice]:
    """Return the device of each load by the load's name; several loads may share one."""
    by_device: Dict[str, List[Load]] = {}
    for load in config.loads:
        if load.device:
            by_device.setdefault(load.device, []).append(load)
    found: Dict[str, RelayDevice] = {}
    for device, loads in by_device.items():
        host, mac = resolved(device)
        macs = {plain_mac(load.mac) for load in loads if load.mac} | ({mac} if mac else set())
        if len(macs) > 1:
            raise ConfigError(f"loads.file: device {device} is given with different MACs")
        password = next((load.password for load in loads if load.password), settings["shelly.password"])
        relays = RelayDevice(
            _client(host, macs.pop() if macs else "", password, clock), {load.name: load.channel for load in loads},
            clock, FaultLog(clock, f"loads.{loads[0].name}"), config.rules.dead_man_s, config.rules.relay_poll_s)
        found.update({load.name: relays for load in loads})
    return found


def resolved(device: str) -> Tuple[str, str]:
    """Return host and MAC of a device that is given by address, name or MAC; raises LinkError."""
    mac = plain_mac(device)
    if len(mac) != 12 or any(digit not in string.hexdigits for digit in mac) or "." in device:
        return device, ""
    from bridge.sources.examine_host import neighbours  # in the tools' package; who gives addresses needs it not

    for ip, seen in neighbours("/").items():
        if plain_mac(seen) == mac:
            return ip, mac
    raise LinkError(f"loads: no device with MAC {device} is known on this network yet; give its address and mac")


def _client(host: str, mac: str, password: str, clock: Clock) -> ShellyClient:
    return ShellyClient(host, clock, password or None, "auto", mac, needed=())


def prices(path: str, clock: Clock) -> Callable[[], Sequence[Price]]:
    """Return what gives the prices of a file, read anew once a minute; without a good one there are none."""
    known: Tuple[Price, ...] = ()
    due = clock.monotonic()
    faults = FaultLog(clock, "loads.prices")

    def current() -> Sequence[Price]:
        nonlocal known, due
        if not path or clock.monotonic() < due:
            return known
        due = clock.monotonic() + PRICES_AGAIN_S
        try:
            known = parse_prices(json.loads(read_text(path, f"prices {path}")))
            faults.good()
        except (ConfigError, ValueError) as error:
            known = ()
            faults.bad(f"prices {path}: {error}")
        return known

    return current
