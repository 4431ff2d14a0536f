"""Print registers of the plant with raw words, values, units and what they mean; never writes."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

from bridge.clock import Clock
from bridge.config import Settings
from bridge.errors import EXIT_OK, BridgeRefused, ConfigError, DeviceException, LinkError, LinkTimeout, PeerError
from bridge.link.bridge_http import get_json, somebody_listens
from bridge.link.modbus import ModbusLink
from bridge.registers import Register, Vendor
from bridge.registers.plan import TCP_COST, Cost, rtu_cost
from bridge.sources.dump import Dumper, Sample, entry, register_asked_for
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
    parser.add_argument("--direct", action="store_true", help="ask the plant itself, not a running bridge")


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Dump once, or every second with --watch."""
    clock, plant = Clock(), vendor(settings)
    wanted = _wanted(args, plant)
    if args.em and not args.phases:
        raise ConfigError("dump: --em is for --phases")
    line = None if args.direct else _through_the_bridge(settings, plant)
    if line is not None:
        try:
            return _dump(line, plant, wanted, args, settings, clock)
        except BridgeRefused as refusal:
            _say_second(line.link.wire.peer, str(refusal))
    return _dump(_connect(settings, clock, plant), plant, wanted, args, settings, clock)


class _Line(NamedTuple):
    """What is asked: a link, the plant's unit there, what a request costs, what is added to printed numbers."""

    link: ModbusLink
    unit: int
    cost: Cost
    offset: int


def _dump(
    line: _Line, plant: Vendor, wanted: Sequence[Tuple[Register, Optional[int]]], args: argparse.Namespace,
    settings: Settings, clock: Clock,
) -> int:
    link, unit = line.link, line.unit
    units = {row.scope: unit if row.scope == "plant" else args.device_unit for row in plant.rows}
    dumper = Dumper(link, plant, line.cost, units, line.offset)
    try:
        while True:
            if args.phases:
                _phases(line, plant, args, settings, clock)
                if not args.watch or clock.wait(WATCH_S):
                    return EXIT_OK
                continue
            try:
                content = _read(dumper, plant, wanted, args, link, unit, clock)
            except LinkTimeout as error:
                raise _wrong_unit(error, link, plant, unit, line.offset) from error
            _print(content, args)
            if not args.watch or clock.wait(WATCH_S):
                return EXIT_OK
    finally:
        link.close()


def _phases(line: _Line, plant: Vendor, args: argparse.Namespace, settings: Settings, clock: Clock) -> None:
    """Print what each phase carries, and which of them cannot be true."""
    from bridge.sources.phase_table import content, lines  # few want it
    from bridge.sources.phases import read_phases

    sign = -1 if settings["modbus.grid_sign"] == "inverted" else 1
    device = args.device_unit if plant.name == "sigenergy" else None
    try:
        seen = read_phases(line.link, plant, line.cost, line.unit, line.offset, sign, device)
    except LinkTimeout:  # no inverter answers at that unit: the plant alone then
        seen = read_phases(line.link, plant, line.cost, line.unit, line.offset, sign)
    meter = None
    if args.em:
        from bridge.peers.shelly import ShellyClient
        from bridge.peers.shelly_switch import em_status

        meter = em_status(ShellyClient(args.em, clock, settings["shelly.password"] or None, needed=()))
    told = content(seen, meter)
    print(json.dumps(told) if args.json else "\n".join(lines(told)), flush=True)


def _connect(settings: Settings, clock: Clock, plant: Vendor) -> _Line:
    shift = offset(settings, plant)
    if settings["modbus.serial"]:
        link, unit, baud = serial_line(settings, clock, plant).find()
        return _Line(link, unit, rtu_cost(baud), shift)
    unit = settings["modbus.unit"] if settings.is_set("modbus.unit") else plant.unit_tcp
    return _Line(tcp_link(settings, clock), unit, TCP_COST, shift)


def _through_the_bridge(settings: Settings, plant: Vendor) -> Optional[_Line]:
    """Return the way through a running bridge that polls the same plant: some gateways serve few connections."""
    listen, token = settings["status.listen"], settings["status.token"]
    if listen == "off" or not somebody_listens(listen, LOOK_S):
        return None
    peer = settings["modbus.serial"] or f"{settings['modbus.host']}:{settings['modbus.port']}"
    try:
        if get_json(listen, "/healthz", LOOK_S, token).get("peer") != peer:
            return None
    except (LinkError, PeerError):
        return None  # something else listens there
    grid = plant.role("grid_w")
    try:
        from bridge.link.bridge_modbus import BridgeLink

        link = BridgeLink(listen, token, str(grid.address if grid is not None else plant.rows[0].address))
    except (BridgeRefused, ModuleNotFoundError) as refusal:  # routers may do without that part
        _say_second(peer, str(refusal))
        return None
    unit = settings["modbus.unit"] if settings.is_set("modbus.unit") else link.unit
    return _Line(link, unit, TCP_COST, 0)


def _say_second(peer: str, why: str) -> None:
    sys.stderr.write(
        f"sigen-bridge: a bridge is polling {peer} and cannot answer for it ({why});"
        " this dump opens a second connection beside it\n"
    )


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
    return [register_asked_for(word, plant) for word in args.registers]


def _read(
    dumper: Dumper, plant: Vendor, wanted: Sequence[Tuple[Register, Optional[int]]],
    args: argparse.Namespace, link: ModbusLink, unit: int, clock: Clock,
) -> Dict[str, Any]:
    content: Dict[str, Any] = {"schema": 1, "source": link.wire.protocol, "unit": unit, "protocol": None}
    if wanted:
        samples: List[Sample] = []
        for chosen in dict.fromkeys(at for _, at in wanted):
            samples += dumper.read([row for row, at in wanted if at == chosen], chosen)
        content["registers"] = [entry(sample, plant) for sample in samples]
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
    content["registers"] = [entry(by_role[role], plant, reading) for role in FIVE_ROLES if role in by_role]
    content["balance_w"] = reading.balance_w
    content["load_w"], content["load_derived"] = reading.load_w, reading.load_derived
    if "ems_mode" in by_role:
        content["ems_mode"] = entry(by_role["ems_mode"], plant)["text"]
    content["warnings"] = [f"impossible: {what}" for what in dropped]
    return content


def _print(content: Dict[str, Any], args: argparse.Namespace) -> None:
    if args.json:
        print(json.dumps(content), flush=True)
        return
    rows = content["registers"]
    if args.csv:
        import csv

        writer = csv.writer(sys.stdout)
        writer.writerow(("address", "name", "raw", "value", "unit", "text"))
        for shown in rows:
            writer.writerow((shown["address"], shown["name"], " ".join(shown["raw"]),
                             "" if shown["value"] is None else shown["value"], shown["unit"], shown["text"]))
        return
    for shown in rows:
        value = "-" if shown["value"] is None else shown["value"]
        raw = " ".join(shown["raw"])
        raw = raw if len(raw) <= 19 else raw[:16] + "..."
        line = f"{shown['address']}  {shown['name']:<42} {raw:<19}  {value!s:>12} {shown['unit']:<5} {shown['text']}"
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
