"""Put a house into service from a file of answers, check it again later, and leave a report.

Never writes to the plant, never over an owner's loads file, and with --check or --dry-run nothing at all.
"""

from __future__ import annotations

import argparse
import json
import os
from datetime import datetime
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

from bridge import __version__, ini
from bridge.clock import Clock
from bridge.commands._commission_visit import Met, PlantSeen, Visit
from bridge.commands.discover import begin, by_mdns, new_browser, search_arguments
from bridge.config import Settings
from bridge.control import commission_report
from bridge.control.commission import TEMPLATE, Answers, Device, read
from bridge.control.commission_steps import (
    FAILED,
    Mode,
    Step,
    consent_step,
    inverter_step,
    link_loss_step,
    loads,
    loads_step,
    loads_text,
    phases_step,
    record_of,
)
from bridge.control.discovery import Plant, Shelly
from bridge.control.discovery_progress import Progress
from bridge.control.phases import judge
from bridge.errors import EXIT_DOCTOR, EXIT_OK, ConfigError
from bridge.sources.search import Search
from bridge.wiring_state import durable_dir

HELP = "put a house into service from an answers file, with a report; --check looks again"
RECORD = "commission.json"


class Findings(NamedTuple):
    """What a search of the network brought."""

    plants: Sequence[Plant] = ()
    shellys: Sequence[Shelly] = ()


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this verb."""
    parser.add_argument("file", metavar="FILE", help="answers file (INI)")
    parser.add_argument("--template", action="store_true", help="write an answers file to fill in, then stop")
    parser.add_argument("--check", action="store_true", help="look whether everything is still so; write nothing")
    parser.add_argument("--dry-run", action="store_true", help="say what would be done; write nothing")
    parser.add_argument("--report", metavar="BASE",
                        help="write BASE.txt and BASE.html (FILE-report; with --check only when given)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    search_arguments(parser)


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Go through the steps, report; exit 10 when one failed."""
    if args.template:
        return _template(args.file)
    if args.check and args.dry_run:
        raise ConfigError("commission: --check and --dry-run are one or the other")
    answers = read(_options(args.file), args.file)
    mode = Mode(writes=not (args.check or args.dry_run), dry=args.dry_run)
    clock = Clock()
    base = os.path.dirname(os.path.abspath(args.file))
    found = _look_around(args, settings, answers, clock)
    report = _visit(args, settings, answers, mode, clock, base, found)
    _write_report(args, mode, report)
    if args.json:
        print(json.dumps(commission_report.data(report)))
    else:
        print(commission_report.text(report), end="")
    return EXIT_DOCTOR if report.failed else EXIT_OK


def _template(path: str) -> int:
    try:
        with open(path, "x", encoding="utf-8") as handle:
            handle.write(TEMPLATE)
    except FileExistsError:
        raise ConfigError(f"commission --template {path}: is there already; nothing was written") from None
    except OSError as error:
        raise ConfigError(f"commission --template {path}: cannot be written ({error.strerror})") from None
    print(f"{path} is written: fill it in, then run: sigen-bridge commission {path}")
    return EXIT_OK


def _options(path: str) -> List[Any]:
    content = _content(path)
    if content is None:
        raise ConfigError(f"commission {path}: cannot be read; to begin one: sigen-bridge commission {path} --template")
    try:
        return ini.parse(content)
    except ValueError as error:
        raise ConfigError(f"commission {path}: {error}") from None


def _content(path: str) -> Optional[str]:
    """Return what a file holds, or None when it is not there or not text."""
    try:
        with open(path, encoding="utf-8") as handle:
            return handle.read()
    except (OSError, UnicodeDecodeError):
        return None


def _look_around(args: argparse.Namespace, settings: Settings, answers: Answers, clock: Clock) -> Findings:
    """Search the network for what has no address; where all have one, only this machine's tables are read."""
    progress = Progress(clock)
    search, hosts = begin(args, settings, clock, progress, [])
    gateway_known = bool(answers.host or settings["modbus.host"])
    if gateway_known and all(device.host for device in answers.devices):
        return Findings(search.tables_only())
    search.look(hosts)
    if not args.no_mdns and not all(device.host or _has(search, device) for device in answers.devices):
        browser = by_mdns(search.listen, new_browser(args), [])
        if browser is not None:
            browser.close()
    progress.done(search.shellys, search.plants)
    return Findings(search.plants, search.shellys)


def _has(search: Search, device: Device) -> bool:
    return any(each.mac == device.mac for each in search.shellys)


def _visit(
    args: argparse.Namespace, settings: Settings, answers: Answers, mode: Mode, clock: Clock, base: str,
    found: Findings,
) -> commission_report.Report:
    visit = Visit(answers, settings, clock, mode, base, found.plants, found.shellys, args.shelly_port)
    plant = visit.plant()
    steps: List[Step] = list(plant.steps)
    if plant.host:
        steps.append(inverter_step(answers, plant.inverters))
        if plant.phases is not None:
            steps.append(phases_step(plant.phases, judge))
    met = []
    for number, device in enumerate(answers.devices, 1):
        more, one = visit.shelly(device, f"shelly_{number}")
        steps += more
        met.append(one)
    places = {one.device.name: (one.shelly.ip, one.shelly.mac) for one in met if one.shelly is not None}
    state = durable_dir(settings)
    record = state.load(RECORD)
    record = record if isinstance(record, dict) else {}
    path = os.path.join(base, answers.loads_file) if answers.loads_file else ""
    steps += _loads(answers, path, places, mode)
    answered = [consent_step(answers, settings["control.enabled"], record, mode),
                link_loss_step(answers, record, mode)]
    if mode.writes and not state.save(RECORD, record_of(answers, [*steps, *answered], clock.now()), durable=True):
        answered = [step._replace(status=FAILED, what=f"{step.what}: {state.path} cannot be written",
                                  advice="run this as the owner of that directory, or set run.state_dir")
                    for step in answered]
    steps += answered
    when = datetime.fromtimestamp(clock.now()).astimezone().strftime("%Y-%m-%d %H:%M %Z")
    word = "check" if args.check else "dry run" if args.dry_run else ""
    return commission_report.Report(answers.site, when, word, steps, _tables(plant, met),
                                    _settings(plant.host, met, path), __version__)


def _loads(
    answers: Answers, path: str, places: Dict[str, Tuple[str, str]], mode: Mode,
) -> List[Step]:
    """Write the skeleton of the loads file where there is none."""
    if not loads(answers):
        return []
    if not path:
        return [Step("loads", "Loads file", FAILED, "there are loads, but no file for them",
                     "answer [loads] file, such as loads.ini")]
    content = _content(path)
    sections: Optional[List[str]] = None
    if content is not None:
        try:
            sections = [option.section for option in ini.parse(content)]
        except ValueError as error:
            return [Step("loads", "Loads file", FAILED, f"{path}: {error}", "put that line right")]
    step = loads_step(answers, path, sections, mode)
    if sections is None and mode.writes:
        try:
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as handle:
                handle.write(loads_text(answers, places))  # 0600: passwords may be added
        except OSError as error:
            return [Step("loads", "Loads file", FAILED, f"{path}: cannot be written ({error.strerror})",
                         "make the directory, or name another file")]
    return [step]


def _tables(plant: PlantSeen, met: Sequence[Met]) -> List[Tuple[str, Sequence[str], Sequence[Sequence[str]]]]:
    tables: List[Tuple[str, Sequence[str], Sequence[Sequence[str]]]] = []
    if plant.inverters:
        tables.append(("Inverters", ("Unit", "Model", "Serial number", "Firmware"), [
            (str(each.unit), each.model or "-", each.serial or "-", each.firmware or "-") for each in plant.inverters]))
    if met:
        tables.append(("Shellys", ("Name", "Role", "Model", "Firmware", "Address", "MAC"), [
            (one.device.name, one.device.role, *((one.shelly.model, one.shelly.version, one.shelly.ip, one.shelly.mac)
             if one.shelly else ("not reached", "-", one.device.host or "-", one.device.mac or "-")))
            for one in met]))
    return tables


def _settings(host: str, met: Sequence[Met], path: str) -> List[str]:
    """Return the settings that this house stands for."""
    lines = [f"modbus.host = {host}"] if host else []
    for one in met:
        if one.device.role == "display" and one.shelly is not None:
            lines += [f"shelly.host = {one.shelly.ip}", f"shelly.mac = {one.shelly.mac}"]
    return lines + ([f"loads.file = {path}"] if path else [])


def _write_report(args: argparse.Namespace, mode: Mode, report: commission_report.Report) -> None:
    base = args.report or (f"{os.path.splitext(args.file)[0]}-report" if mode.writes else "")
    if not base:
        return
    for ending, content in (("txt", commission_report.text(report)), ("html", commission_report.page(report))):
        try:
            with open(f"{base}.{ending}", "w", encoding="utf-8") as handle:
                handle.write(content)
        except OSError as error:
            raise ConfigError(f"commission: {base}.{ending} cannot be written ({error.strerror})") from None
