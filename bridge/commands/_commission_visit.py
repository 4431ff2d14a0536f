"""A visit to a house: goes to the plant and to each Shelly, and does what the answers ask for.

Never goes on with a device that is not the one meant (MAC), never writes to the plant, and never to anything
at all when the mode says so.
"""

from __future__ import annotations

import os
from typing import List, NamedTuple, Optional, Sequence, Tuple

from bridge.clock import Clock
from bridge.config import Settings
from bridge.control.commission import Answers, Device
from bridge.control.commission_steps import (
    ALREADY,
    DONE,
    FAILED,
    Inverter,
    Mode,
    Phases,
    Step,
    gateway_step,
    name_step,
    network_step,
)
from bridge.control.discovery import HTTP_PORT, MODBUS_PORT, Plant, Shelly, from_http, is_sigenergy, warnings
from bridge.control.discovery_report import plant_text
from bridge.control.provision import plan_setup, wanted_keys
from bridge.errors import BridgeError, ConfigError, LinkError, PeerError
from bridge.link.dial import split_host
from bridge.link.digest import Digest
from bridge.link.lan import LanHttp
from bridge.link.modbus import BuiltinLink
from bridge.link.modbus_tcp import TcpWire
from bridge.link.sweep import own_address
from bridge.peers.shelly import ShellyClient, random_part
from bridge.peers.shelly_components import read_components
from bridge.peers.shelly_http import HttpChannel
from bridge.peers.shelly_identity import ask_who
from bridge.registers.plan import TCP_COST
from bridge.sources.confirm import REACHABLE, confirm
from bridge.sources.dump import Dumper
from bridge.sources.phases import read_phases
from bridge.wiring import offset, vendor

TIMEOUT_S = 3.0  # a first answer may take its time
NAME_IT = "name it in the Shelly app; this cannot be done from here"
GIVE_HOST = "give [gateway] host, the gateway's address on the home network"
IDENTITY = ("model", "serial_number", "firmware_version")


class Met(NamedTuple):
    """A Shelly that was gone to: who it is, and whether everything asked for is so."""

    device: Device
    shelly: Optional[Shelly]


class PlantSeen(NamedTuple):
    """What the plant said; ``host`` is empty when it could not be asked."""

    steps: Tuple[Step, ...]
    host: str = ""
    inverters: Tuple[Inverter, ...] = ()
    phases: Optional[Phases] = None


class Visit:
    """One visit; ``found`` are the Shellys and ``plants`` the Sigenergy devices that a search brought."""

    def __init__(self, answers: Answers, settings: Settings, clock: Clock, mode: Mode, base: str,
                 plants: Sequence[Plant], found: Sequence[Shelly], shelly_port: int) -> None:
        self._answers, self._settings, self._clock, self._mode = answers, settings, clock, mode
        self._base = base
        self._plants, self._found, self._shelly_port = plants, found, shelly_port

    def plant(self) -> PlantSeen:
        """Confirm the gateway, then read who the inverters are and what the phases carry; only reads."""
        settings, rows = self._settings, vendor(self._settings)
        host, port, by = self._gateway()
        steps: List[Step] = [network_step(warnings(self._plants))]
        if not host:
            return PlantSeen((Step("gateway", "Gateway", FAILED, by, GIVE_HOST), *steps))
        unit = settings["modbus.unit"] if settings.is_set("modbus.unit") else rows.unit_tcp
        shift = offset(settings, rows)
        link = BuiltinLink(TcpWire(host, port, TIMEOUT_S, self._clock.monotonic))
        try:
            verdict = confirm(link, rows, unit, shift)
            if verdict.state != REACHABLE:
                told = plant_text(Plant(host, "", "", by, verdict), own_address(host))
                return PlantSeen((Step("gateway", "Gateway", FAILED, f"{host}:{port} unit {unit}: {told}",
                                       "put that right and run this again; sigen-bridge doctor tells more"), *steps))
            steps.insert(0, gateway_step(f"{host}:{port} unit {unit}", by, verdict.grid_w))
            dumper = Dumper(link, rows, TCP_COST, {"plant": unit, "inverter": unit}, shift)
            inverters = tuple(self._inverter(dumper, number) for number in self._answers.inverters)
            address = host if port == MODBUS_PORT else f"{host}:{port}"
            return PlantSeen(tuple(steps), address, inverters, self._phases(link, unit, shift))
        finally:
            link.close()

    def _gateway(self) -> Tuple[str, int, str]:
        """Return address, port and how it was found; without one the third says why."""
        if self._answers.host:
            return (*split_host(self._answers.host, self._settings["modbus.port"]), "from the answers")
        if self._settings["modbus.host"]:
            return self._settings["modbus.host"], self._settings["modbus.port"], "from the settings"
        usable = [plant for plant in self._plants if plant.reachable]
        if len(usable) == 1:
            known = "its MAC is Sigenergy's" if is_sigenergy(usable[0].mac) else "by asking every address"
            return usable[0].ip, self._settings["modbus.port"], f"found: {known}"
        where = ", ".join(plant.ip for plant in usable)
        return "", 0, f"{len(usable)} plants answer ({where})" if usable else "no plant answers on this network"

    def _inverter(self, dumper: Dumper, unit: int) -> Inverter:
        rows = [vendor(self._settings).row(name, "inverter") for name in IDENTITY]
        try:
            samples = dumper.read(rows, unit)
        except (LinkError, PeerError) as error:
            return Inverter(unit, error=str(error))
        model, serial, firmware = (str(sample.value or "") for sample in samples)
        refusal = next((sample.error for sample in samples if sample.error), "")
        return Inverter(unit, model, serial, firmware, refusal)

    def _phases(self, link: BuiltinLink, unit: int, shift: int) -> Phases:
        sign = -1 if self._settings["modbus.grid_sign"] == "inverted" else 1
        try:
            seen = read_phases(link, vendor(self._settings), TCP_COST, unit, shift, sign)
        except (LinkError, PeerError) as error:
            return Phases(error=str(error))
        return Phases(seen.grid, seen.grid_w, seen.inverter, seen.inverter_w)

    def shelly(self, device: Device, code: str) -> Tuple[List[Step], Met]:
        """Find one Shelly, give it its name, and set the display up; each failure is a step that says so."""
        title = f"Shelly {device.name}"
        address = self._address(device)
        if not address:
            return [Step(code, title, FAILED, f"{device.mac} was not found on this network",
                         "is it powered and on this network? else give its address: host = ...")], Met(device, None)
        shelly: Optional[Shelly] = None
        steps: List[Step] = []
        http: Optional[LanHttp] = None
        try:
            host, port = split_host(address, self._shelly_port)
            signer = Digest(self._password(device), self._clock.monotonic, f"{host}:{port}", random_part)
            http = LanHttp("shelly", host, port, self._clock, signer)
            shelly = from_http(address, ask_who(http), None)
            wrong = self._wrong(device, shelly)
            if wrong:
                return [Step(code, title, FAILED, *wrong)], Met(device, None)
            steps.append(self._name(device, code, HttpChannel(http)))
            if device.role == "display":
                steps.append(self._display(device, f"{code}_display", address, shelly.mac))
        except (BridgeError, ValueError) as error:
            steps.append(Step(code, title, FAILED, str(error), "put it right and run this again"))
        finally:
            if http is not None:
                http.close()
        return steps, Met(device, shelly)

    def _address(self, device: Device) -> str:
        """Return where a device is, with its port where that is not the usual one; empty when nobody knows."""
        found = device.host or next((each.ip for each in self._found if each.mac == device.mac), "")
        if not found or self._shelly_port == HTTP_PORT:
            return found
        return "%s:%d" % split_host(found, self._shelly_port)

    def _password(self, device: Device) -> Optional[str]:
        if not device.password_file:
            return self._settings["shelly.password"] or None
        path = os.path.join(self._base, device.password_file)
        try:
            with open(path, encoding="utf-8") as handle:
                return handle.readline().strip() or None
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "not a text file"
            raise ConfigError(f"password_file {device.password_file}: cannot be read ({reason})") from None

    @staticmethod
    def _wrong(device: Device, shelly: Shelly) -> Optional[Tuple[str, str]]:
        if device.mac and device.mac != shelly.mac:
            return f"at {shelly.ip} is {shelly.mac}, not {device.mac}; nothing was written", "correct mac or host"
        if shelly.gen < 2:
            return f"{shelly.model} is of the first generation", NAME_IT
        return None

    def _name(self, device: Device, code: str, channel: HttpChannel) -> Step:
        step = name_step(device, code, _device_name(channel), self._mode)
        if step is not None:
            return step
        channel.call("Sys.SetConfig", {"config": {"device": {"name": device.name}}})
        now = _device_name(channel)
        title = f"Shelly {device.name}"
        if now != device.name:
            return Step(code, title, FAILED, f"took the name, but is called {now or 'nothing'}", "try again")
        return Step(code, title, DONE, "was given this name")

    def _display(self, device: Device, code: str, address: str, mac: str) -> Step:
        """Make sure that the five numbers are on it and in a group."""
        title, settings = f"Display on {device.name}", self._settings
        client = ShellyClient(address, self._clock, self._password(device), "http", mac)
        try:
            client.open()
            first_id = settings["shelly.first_id"]
            plan = plan_setup(read_components(client.call), first_id, None, settings["shelly.adopt"])
            if plan.refusals:
                return Step(code, title, FAILED, "; ".join(plan.refusals), "run: sigen-bridge shelly setup --dry-run")
            if not plan.steps:
                return Step(code, title, ALREADY, "shows the five numbers")
            whys = ", ".join(step.why for step in plan.steps)
            if not self._mode.writes:
                return self._mode.change(code, title, whys, "run this without --check to set it up")
            for step in plan.steps:
                client.call(step.method, step.params)
            there = read_components(client.call, wanted_keys(first_id, None))
            missing = [key for key in wanted_keys(first_id, None) if key not in there]
            if missing:
                return Step(code, title, FAILED, f"{', '.join(missing)} not there after setup", "try again")
            return Step(code, title, DONE, whys)
        finally:
            client.close()


def _device_name(channel: HttpChannel) -> str:
    config = channel.call("Sys.GetConfig", {})
    device = config.get("device") if isinstance(config, dict) else None
    name = device.get("name") if isinstance(device, dict) else None
    return name if isinstance(name, str) else ""
