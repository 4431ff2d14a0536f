"""Print registers of the plant with raw words, values, units and what they mean; never writes."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any, Dict, List, Optional, Sequence, Tuple

from bridge.clock import Clock
from bridge.config import Settings
from bridge.errors import EXIT_OK, ConfigError, DeviceException, LinkError, LinkTimeout, PeerError
from bridge.link.bridge_http import get_json, somebody_listens
from bridge.link.modbus import ModbusLink
from bridge.model import Reading
from bridge.registers import Register, Vendor
from bridge.registers.meaning import text as meaning
from bridge.registers.plan import TCP_COST, Cost, rtu_cost
from bridge.sources.dump import Dumper, Sample
from bridge.sources.plausibility import drop_impossible
from bridge.sources.signals import Moment, reading_from
from bridge.sources.units import answering_unit
from bridge.wiring import offset, serial_line, tcp_link, vendor

HELP = "print registers of the plant; never writes"
FIVE_ROLES = ("grid_w", "soc_pct", "pv_w", "battery_w", "load_w")
WATCH_S = 1.0
LOOK_S = 0.5  # the bridge answers from memory


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this verb."""
    parser.add_argument("registers", nargs="*", metavar="ADDRESS[@UNIT]",
                        help="register numbers, such as 30005 40029 30500@1; default: the five signals")
    parser.add_argument("--all", action="store_true", help="every register of the plant")
    parser.add_argument("--scope", choices=("plant", "inverter", "ac_charger", "dc_charger"),
                        help="every register of this kind of device")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--csv", action="store_true", help="print CSV")
    parser.add_argument("--watch", action="store_true", help="again every second until Ctrl-C")
    parser.add_argument("--device-unit", type=int, default=1, metavar="N",
                        help="unit number of the device for --scope other than plant (default 1)")
    parser.add_argument("--phases", action="store_true", help="power of each phase, and which of them cannot be true")
    parser.add_argument("--em", metavar="HOST", help="with --phases: a Shelly Pro 3EM at the grid to compare with")
    parser.add_argument("--direct", action="store_true", help="do not look whether a bridge is polling this plant")


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Dump once, or every second with --watch."""
    clock, plant = Clock(), vendor(settings)
    wanted = _wanted(args, plant)
    link, unit, cost = _connect(settings, clock, plant)
    if not args.direct:
        _say_if_shared(settings, link.wire.peer)
    units = {row.scope: unit if row.scope == "plant" else args.device_unit for row in plant.rows}
    dumper = Dumper(link, plant, cost, units, offset(settings, plant))
    if args.em and not args.phases:
        raise ConfigError("dump: --em is for --phases")
    try:
        while True:
            if args.phases:
                _phases(args, settings, clock, link, plant, cost, unit)
                if not args.watch or clock.wait(WATCH_S):
                    return EXIT_OK
                continue
            try:
                content = _read(dumper, plant, wanted, args, link, unit, clock)
            except LinkTimeout as error:
                raise _wrong_unit(error, link, plant, unit, offset(settings, plant)) from error
            _print(content, args)
            if not args.watch or clock.wait(WATCH_S):
                return EXIT_OK
    finally:
        link.close()


def _connect(settings: Settings, clock: Clock, plant: Vendor) -> Tuple[ModbusLink, int, Cost]:
    if settings["modbus.serial"]:
        link, unit, baud = serial_line(settings, clock, plant).find()
        return link, unit, rtu_cost(baud)
    unit = settings["modbus.unit"] if settings.is_set("modbus.unit") else plant.unit_tcp
    return tcp_link(settings, clock), unit, TCP_COST


def _say_if_shared(settings: Settings, peer: str) -> None:
    """Warn when a running bridge polls the same plant: some gateways serve few connections."""
    listen = settings["status.listen"]
    if listen == "off" or not somebody_listens(listen, LOOK_S):
        return
    try:
        health = get_json(listen, "/healthz", LOOK_S, settings["status.token"])
    except (LinkError, PeerError):
        return  # something else listens there
    if health.get("peer") == peer:
        sys.stderr.write(f"sigen-bridge: a bridge is polling {peer}; this dump opens a second connection beside it\n")


def _wrong_unit(error: LinkError, link: ModbusLink, plant: Vendor, unit: int, shift: int) -> LinkError:
    other = answering_unit(link, plant, unit, shift)
    if other is None:
        return error
    return LinkError(
        f"modbus {link.wire.peer}: unit {unit} does not answer as a plant, but unit {other} does; use --unit {other}"
    )


def _wanted(args: argparse.Namespace, plant: Vendor) -> List[Tuple[Register, Optional[int]]]:
    """Return (row, unit or None) for what was asked; [] stands for the five signals."""
    if args.all or args.scope:
        scope = args.scope or "plant"
        return [(row, None) for row in plant.rows if row.scope == scope and row.access != "wo"]
    return [_one(word, plant) for word in args.registers]


def _one(word: str, plant: Vendor) -> Tuple[Register, Optional[int]]:
    number, at, unit = word.partition("@")
    if not number.isdigit() or (at and not (unit.isdigit() and 1 <= int(unit) <= 247)):
        raise ConfigError(f"dump: {word!r} is not ADDRESS or ADDRESS@UNIT, such as 30005 or 30500@1")
    address = int(number)
    if address > 0xFFFF:
        raise ConfigError(f"dump: {address} is not a register number (0..65535)")
    row = plant.at(address, "plant" if not at or int(unit) == plant.unit_tcp else None) or plant.at(address)
    if row is None:
        space = "holding" if address >= 40000 else "input"
        row = Register("plant", address, 1, space, "u16", 1, "", "ro", "", None, None, "", "unlisted", "")
    if row.access == "wo":
        raise ConfigError(f"dump: {address} {row.name} can only be written, and dump never writes")
    return row, int(unit) if at else None


def _read(
    dumper: Dumper, plant: Vendor, wanted: Sequence[Tuple[Register, Optional[int]]],
    args: argparse.Namespace, link: ModbusLink, unit: int, clock: Clock,
) -> Dict[str, Any]:
    content: Dict[str, Any] = {"schema": 1, "source": link.wire.protocol, "unit": unit, "protocol": None}
    if wanted:
        samples: List[Sample] = []
        for chosen in dict.fromkeys(at for _, at in wanted):
            samples += dumper.read([row for row, at in wanted if at == chosen], chosen)
        content["registers"] = [_entry(sample, plant) for sample in samples]
        content["balance_w"] = None
        return content
    roles = {role: plant.role(role) for role in plant.roles}
    known = {role: row for role, row in roles.items() if row is not None}
    samples = dumper.read(list(known.values()))
    by_role = dict(zip(known, samples))
    grid = by_role["grid_w"]
    if grid.error:
        other = answering_unit(link, plant, unit)
        advice = f"unit {other} has them: use --unit {other}" if other else "check the unit number"
        raise DeviceException(
            f"modbus {link.wire.peer} unit {unit}: answers, but has no plant registers ({grid.error}); {advice}", 2)
    moment = Moment(clock.now(), clock.monotonic(), link.wire.protocol)
    values = {role: sample.value for role, sample in by_role.items() if not sample.error}
    reading, dropped = drop_impossible(reading_from(values, moment), values)
    content["protocol"] = dumper.protocol()
    content["registers"] = [_entry(by_role[role], plant, reading) for role in FIVE_ROLES if role in by_role]
    content["balance_w"] = reading.balance_w
    content["load_w"], content["load_derived"] = reading.load_w, reading.load_derived
    if "ems_mode" in by_role:
        content["ems_mode"] = _entry(by_role["ems_mode"], plant)["text"]
    content["warnings"] = [f"impossible: {what}" for what in dropped]
    return content


def _entry(sample: Sample, plant: Vendor, reading: Optional[Reading] = None) -> Dict[str, Any]:
    row = sample.row
    reserved = row.name == "unlisted" and sample.value is None and not sample.error
    text = "reserved" if reserved else sample.error or meaning(row, sample.value, plant.meanings)
    if reading is not None and row.name == plant.roles.get("load_w") and sample.error:
        derived = "unknown" if reading.load_w is None else f"{reading.load_w:.0f} W"
        text = f"{sample.error}; derived load {derived}"
    return {
        "address": row.address, "name": row.name, "raw": [f"{word:04X}" for word in sample.words],
        "value": sample.value, "unit": row.unit, "text": text,
    }


def _phases(
    args: argparse.Namespace, settings: Settings, clock: Clock, link: ModbusLink, plant: Vendor, cost: Cost, unit: int,
) -> None:
    """Print what each phase carries, and which of them cannot be true."""
    from bridge.sources.phase_table import content, lines  # few want it
    from bridge.sources.phases import read_phases

    sign = -1 if settings["modbus.grid_sign"] == "inverted" else 1
    device = args.device_unit if plant.name == "sigenergy" else None
    try:
        seen = read_phases(link, plant, cost, unit, offset(settings, plant), sign, device)
    except LinkTimeout:  # no inverter answers at that unit: the plant alone then
        seen = read_phases(link, plant, cost, unit, offset(settings, plant), sign)
    meter = None
    if args.em:
        from bridge.peers.shelly import ShellyClient
        from bridge.peers.shelly_switch import em_status

        meter = em_status(ShellyClient(args.em, clock, settings["shelly.password"] or None, needed=()))
    told = content(seen, meter)
    print(json.dumps(told) if args.json else "\n".join(lines(told)), flush=True)


def _print(content: Dict[str, Any], args: argparse.Namespace) -> None:
    if args.json:
        print(json.dumps(content), flush=True)
        return
    rows = content["registers"]
    if args.csv:
        import csv

        writer = csv.writer(sys.stdout)
        writer.writerow(("address", "name", "raw", "value", "unit", "text"))
        for entry in rows:
            writer.writerow((entry["address"], entry["name"], " ".join(entry["raw"]),
                             "" if entry["value"] is None else entry["value"], entry["unit"], entry["text"]))
        return
    for entry in rows:
        value = "-" if entry["value"] is None else entry["value"]
        raw = " ".join(entry["raw"])
        raw = raw if len(raw) <= 19 else raw[:16] + "..."
        line = f"{entry['address']}  {entry['name']:<42} {raw:<19}  {value!s:>12} {entry['unit']:<5} {entry['text']}"
        print(line.rstrip())
    if "load_w" in content:
        _print_summary(content)


def _print_summary(content: Dict[str, Any]) -> None:
    load = "unknown" if content["load_w"] is None else f"{content['load_w']:.0f} W"
    balance = content["balance_w"]
    print(f"house load {load}{' (derived)' if content['load_derived'] else ''}"
          f" | balance {'not known with a derived load' if balance is None else f'{balance:.0f} W'}"
          f" | EMS mode {content.get('ems_mode', 'unknown')} | protocol {content['protocol'] or 'unknown'}"
          f" | {content['source']} unit {content['unit']}")
    for warning in content["warnings"]:
        print(f"warning: {warning}")
