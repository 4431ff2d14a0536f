"""Find out what is at the other end of an RS485 line: listen, then ask each unit at each baud rate."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any, List, Tuple

from bridge.clock import Clock
from bridge.config import Settings
from bridge.control.diagnosis import Finding
from bridge.control.diagnosis_serial import DAMAGED, DEVICE, LOCKED, PLANT, SILENT, LineSeen, line_findings
from bridge.errors import EXIT_OK, EXIT_PLANT, ConfigError
from bridge.sources.examine_host import look_at_bridge
from bridge.sources.examine_serial import SerialExam
from bridge.wiring_link import offset, serial_unit, vendor

HELP = "find out what answers on an RS485 line (probe DEVICE); never writes"
PROBE_S = 30.0  # every combination, however slowly it fails
WORDS = {
    PLANT: "the plant answers", DEVICE: "answers, without plant registers", SILENT: "no answer",
    DAMAGED: "damaged or foreign bytes", LOCKED: "the port is in use",
}


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of probe."""
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="probe")
    probe = verbs.add_parser("probe", help="listen 2 s, then ask units 1 and 247 at the usual baud rates",
                             allow_abbrev=False)
    probe.add_argument("device", metavar="DEVICE", help="serial device, such as /dev/ttyUSB0")
    probe.add_argument("--json", action="store_true", help="print JSON")
    probe.add_argument("--root", default="/", metavar="DIR", help="read system files below DIR")


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Probe one device; exit 0 when a plant answered, 3 when none did."""
    _leave_the_bridge_alone(args.device, settings)
    clock, plant = Clock(), vendor(settings)
    code = settings["modbus.function_code"]
    exam = SerialExam(
        args.device, serial_unit(settings), settings["modbus.baud"], plant, clock, clock.monotonic() + PROBE_S,
        None if code == "auto" else int(code), offset(settings, plant), args.root, _progress)
    seen = exam.examine()
    findings = line_findings(seen)
    if args.json:
        print(json.dumps(_content(seen, findings)))
    else:
        _print(seen, findings)
    return EXIT_OK if seen.found else EXIT_PLANT


def _leave_the_bridge_alone(device: str, settings: Settings) -> None:
    """Refuse while the bridge reads by this device: listening would take its answers away."""
    if settings["modbus.serial"] != device:
        return
    if look_at_bridge(settings["status.listen"], settings["status.token"]).reads_plant:
        raise ConfigError(f"serial {device}: the running bridge reads the plant on this port; stop it before probing")


def _progress(words: str) -> None:
    if sys.stderr.isatty():
        print(words, file=sys.stderr, flush=True)


def _content(seen: LineSeen, findings: List[Finding]) -> Any:
    found = seen.found
    return {
        "schema": 1, "device": seen.device,
        "found": {"unit": found.unit, "baud": found.baud} if found else None,
        "heard": {"bytes": seen.heard, "level": seen.level or None,
                  "frames": [{"unit": unit, "function": function} for unit, function in dict.fromkeys(seen.frames)]},
        "tries": [each._asdict() for each in seen.tries],
        "findings": [each._asdict() for each in findings],
    }


def _print(seen: LineSeen, findings: List[Finding]) -> None:
    if not seen.trouble:
        print(f"heard   {_heard(seen)}")
    if seen.tries:
        print(f"{'baud':>7}  {'unit':>4}  result")
    for each in seen.tries:
        print(f"{each.baud:>7}  {each.unit:>4}  {WORDS[each.result]}")
    for one in findings:
        print(f"{one.level:<8} {one.what} [{one.code}]")
        if one.advice:
            print(f"{'':<8} -> {one.advice}")


def _heard(seen: LineSeen) -> str:
    if not seen.heard:
        return "nothing while listening"
    if seen.level:
        return f"nothing but {seen.level} ({seen.heard} bytes)"
    talk: Tuple[Tuple[int, int], ...] = tuple(dict.fromkeys(seen.frames))
    if not talk:
        return f"{seen.heard} bytes that are no Modbus frames"
    return "; ".join(f"a frame to unit {unit}, function {function}" for unit, function in talk)
