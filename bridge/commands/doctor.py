"""Say what is wrong with plant, line, Shelly, cloud and this machine, and the one thing to do about each.

Never writes to the plant or the Shelly, and asks nothing beyond the local network without --cloud.
"""

from __future__ import annotations

import argparse
import json
from typing import Any, List, Optional

from bridge.clock import Clock
from bridge.config import Settings
from bridge.control.diagnosis import PROBLEM, Finding, finding
from bridge.control.diagnosis_host import (
    CloudSeen,
    bridge_findings,
    cloud_findings,
    cloud_settings_findings,
    machine_findings,
)
from bridge.control.diagnosis_plant import DataSeen, data_findings, link_findings, neighbour_findings
from bridge.control.diagnosis_serial import line_findings
from bridge.control.diagnosis_shelly import Wanted, shelly_findings
from bridge.errors import EXIT_DOCTOR, EXIT_OK, AuthError, ConfigError, LinkError, PeerError, RateLimited
from bridge.link.modbus import ModbusLink
from bridge.registers.plan import TCP_COST, Cost, rtu_cost
from bridge.sinks.examine_shelly import Access, ShellyExam
from bridge.sources.examine_data import DataExam
from bridge.sources.examine_host import has, look_at_bridge, look_at_machine, modules_for, neighbours
from bridge.sources.examine_plant import Asked, PlantExam
from bridge.sources.examine_serial import SerialExam
from bridge.wiring import offset, vendor
from bridge.wiring_exam import cloud_settings
from bridge.wiring_link import serial_unit

HELP = "say what is wrong and what to do about it; never writes"
PLANT_S = 8.0  # what looking at the plant may take; its last step may end some seconds later
SERIAL_S = 11.0
SHELLY_S = 6.0  # together they stay below 20 s, which is as long as anybody waits
MOST_TIMEOUT_S = 1.5  # a longer modbus.timeout_s would use the time up on one question
CLOUD_PATIENCE_S = 10.0  # the limiter leaves 6 s between the login and the question
USUAL_PORT = 502


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this verb."""
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--cloud", action="store_true", help="also ask the cloud once (takes 10 s more)")
    parser.add_argument("--root", default="/", metavar="DIR",
                        help="read system files (neighbours, mounts) below DIR")


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Look at everything, print the findings, exit 10 when there is a problem."""
    clock = Clock()
    begun = clock.monotonic()
    findings = Doctor(settings, clock, args.root, cloud=args.cloud).examine()
    problems = sum(each.level == PROBLEM for each in findings)
    if args.json:
        print(json.dumps({
            "schema": 1, "ok": not problems, "took_s": round(clock.monotonic() - begun, 1),
            "findings": [each._asdict() for each in findings],
        }))
    else:
        print(text(findings))
    return EXIT_DOCTOR if problems else EXIT_OK


def text(findings: List[Finding]) -> str:
    """Return the report: a line for each finding, below it what to do."""
    lines = []
    for each in findings:
        lines.append(f"{each.level:<8} {each.what} [{each.code}]")
        if each.advice:
            lines.append(f"{'':<8} -> {each.advice}")
    problems = sum(each.level == PROBLEM for each in findings)
    lines.append("no problem found" if not problems else f"{problems} problem{'s' if problems > 1 else ''} found")
    return "\n".join(lines)


class Doctor:
    """One visit. ``usual_port`` is where a plant is looked for when it does not answer at its own port."""

    def __init__(
        self, settings: Settings, clock: Clock, root: str = "/", cloud: bool = False, usual_port: int = USUAL_PORT,
    ) -> None:
        self._settings, self._clock, self._root = settings, clock, root
        self._cloud, self._usual_port = cloud, usual_port
        self._vendor = vendor(settings)
        self._timeout_s = min(settings["modbus.timeout_s"], MOST_TIMEOUT_S)
        code = settings["modbus.function_code"]
        self._function_code: Optional[int] = None if code == "auto" else int(code)

    def examine(self) -> List[Finding]:
        """Return all findings, in the order in which things depend on each other."""
        settings = self._settings
        found = self._machine()
        self._bridge = look_at_bridge(settings["status.listen"], settings["status.token"])
        found += bridge_findings(self._bridge)
        if settings["modbus.serial"]:
            found += self._serial()
        elif settings["run.source"] not in ("cloud", "mqtt"):
            found += self._plant()
        found += self._shelly()
        found += self._cloud_access()
        found += self._mqtt()
        found += self._enphase()
        return list(dict.fromkeys(found))

    def _machine(self) -> List[Finding]:
        settings = self._settings
        transport, host = settings["shelly.transport"], settings["shelly.host"]
        cloud = cloud_settings(settings)
        asks_cloud = cloud.app_key or cloud.username or bool(settings["enphase.local_url"])
        needed = modules_for({
            "serial": bool(settings["modbus.serial"]), "pymodbus": settings["modbus.engine"] == "pymodbus",
            "ws": bool(host) and transport == "ws", "cloud": asks_cloud,
            "mqtt": settings["mqtt.host"] or settings["sigen_mqtt.host"] or settings["run.source"] == "mqtt",
            "account": bool(settings["cloud.password"]) and not cloud.app_key,
        })
        websocket = bool(host) and transport == "auto"
        path = self._state_path()
        return machine_findings(look_at_machine(self._root, path, needed, websocket, self._clock))

    def _state_path(self) -> str:
        if self._settings["run.state_dir"] or not has("bridge.wiring_cloud"):
            return str(self._settings["run.state_dir"] or "/tmp/sigen-bridge")
        from bridge.wiring_cloud import state_dir  # a router may not have the package of the cloud side

        return state_dir(self._settings).path

    def _plant(self) -> List[Finding]:
        settings = self._settings
        near = neighbours(self._root)
        found = neighbour_findings(near)
        if not settings["modbus.host"]:
            return [*found, finding("plant_not_set", "plant: none is configured")]
        plant = self._vendor
        unit = settings["modbus.unit"] if settings.is_set("modbus.unit") else plant.unit_tcp
        until = self._clock.monotonic() + PLANT_S
        exam = PlantExam(Asked(
            settings["modbus.host"], settings["modbus.port"], unit, self._timeout_s, self._function_code,
            offset(settings, plant), self._usual_port, near), plant, self._clock, until)
        if self._bridge.reads_plant:
            return found + self._beside_the_bridge(exam.link, unit, until)
        seen = exam.knock()
        found += link_findings(seen)
        if seen.answer == "ok":
            found += [] if found else [finding("plant_ok", f"plant {seen.peer}: answers at unit {unit}")]
            data = self._data(exam.link, unit, TCP_COST, until).examine()
            found += _judged(data._replace(asked=data.asked + 1, failed=data.failed + seen.failures))
        exam.link.close()
        return found

    def _beside_the_bridge(self, link: ModbusLink, unit: int, until: float) -> List[Finding]:
        """Read the plant once and briefly: the running bridge must not be disturbed."""
        try:
            seen = self._data(link, unit, TCP_COST, until).glance()
        except LinkError:
            return [finding("plant_second", f"plant {link.wire.peer}: does not answer a second client")]
        finally:
            link.close()
        if not self._bridge.snapshot.get("reason"):  # the bridge has seen more than one sample and is content
            seen = seen._replace(looks=tuple(look._replace(kind="", inverted=None) for look in seen.looks))
        answers = f"plant {link.wire.peer}: answers; asked once only, as the running bridge is reading it"
        return [finding("plant_ok", answers), *_judged(seen)]

    def _serial(self) -> List[Finding]:
        if self._bridge.reads_plant or not has("serial"):
            return []  # listening would take the running bridge's answers away
        exam, until = self._line()
        seen = exam.examine()
        found = line_findings(seen)
        if seen.found:
            link = exam.link(seen.found)
            found += _judged(self._data(link, seen.found.unit, rtu_cost(seen.found.baud), until).examine())
            link.close()
        return found

    def _line(self) -> Any:
        settings, until = self._settings, self._clock.monotonic() + SERIAL_S
        return SerialExam(
            settings["modbus.serial"], serial_unit(settings), settings["modbus.baud"], self._vendor, self._clock,
            until, self._function_code, offset(settings, self._vendor), self._root), until

    def _data(self, link: ModbusLink, unit: int, cost: Cost, until: float) -> DataExam:
        sign = -1 if self._settings["modbus.grid_sign"] == "inverted" else 1
        return DataExam(link, self._vendor, unit, cost, self._clock, until, offset(self._settings, self._vendor), sign)

    def _shelly(self) -> List[Finding]:
        settings = self._settings
        if not settings["shelly.host"]:
            return [finding("shelly_not_set", "shelly: none is configured")]
        wanted = Wanted(settings["shelly.first_id"], settings["shelly.freshness"], settings["shelly.adopt"])
        access = Access(settings["shelly.host"], settings["shelly.password"], settings["shelly.transport"],
                        settings["shelly.mac"], self._bridge.runs)
        exam = ShellyExam(access, wanted, self._clock, self._clock.monotonic() + SHELLY_S)
        return shelly_findings(exam.examine(), wanted)

    def _enphase(self) -> List[Finding]:
        settings = self._settings
        if not settings["enphase.local_url"] or not has("bridge.wiring_enphase"):
            return []
        from bridge.wiring_enphase import examine  # a router may not have the package of the cloud side

        return examine(settings, self._clock, self._cloud)

    def _cloud_access(self) -> List[Finding]:
        found = cloud_settings_findings(cloud_settings(self._settings))
        if not self._cloud or found[0].level != "ok":
            return found
        seen = self._ask_cloud()
        return cloud_findings(seen, self._settings["cloud.system_id"], bool(self._settings["cloud.app_key"]))

    def _mqtt(self) -> List[Finding]:
        if not has("bridge.wiring_mqtt") or not has("paho"):
            return []
        from bridge.control.diagnosis_mqtt import mqtt_findings
        from bridge.wiring_mqtt_exam import brokers_seen

        seen = brokers_seen(self._settings, self._clock, self._bridge.health, self._cloud)
        return [each for broker in seen for each in mqtt_findings(broker)]

    def _ask_cloud(self) -> CloudSeen:
        from bridge.wiring_cloud import openapi

        cloud = openapi(self._settings, self._clock, CLOUD_PATIENCE_S)
        try:
            return CloudSeen("ok", systems=tuple(system.system_id for system in cloud.systems()))
        except RateLimited as error:
            return CloudSeen("limited", str(error), error.retry_after_s)
        except AuthError as error:
            return CloudSeen("login", str(error))
        except LinkError as error:
            return CloudSeen("unreachable", str(error))
        except (PeerError, ConfigError) as error:
            return CloudSeen("refused", str(error))
        finally:
            cloud.close()


def _judged(seen: DataSeen) -> List[Finding]:
    """Return what is to be said of the values, or that they are fine."""
    found = data_findings(seen)
    if seen.looks and not any(each.level == PROBLEM for each in found):
        protocol = f"protocol {seen.protocol or 'not asked for'}"
        found.insert(0, finding("data_ok", f"plant: the values are plausible ({protocol})"))
    return found
