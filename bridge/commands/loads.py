"""Switch the loads of a house by sun, price, time and limits; and say what would be done, and why."""

from __future__ import annotations

import argparse
import json
import logging
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Dict, List, Sequence

from bridge import ini
from bridge.clock import Clock
from bridge.config import Settings, read_text
from bridge.control.dispatch_scenario import Result, Scenario, Step
from bridge.coordinator import Coordinator
from bridge.errors import EXIT_OK, EXIT_PLANT, EXIT_REFUSED, ConfigError, LinkError
from bridge.link.bridge_http import get_json
from bridge.service import stop_on_signals
from bridge.wiring import notifier
from bridge.wiring_loads import coordinator, local_address

DAEMON = True  # logs its state changes
HELP = "switch loads by sun, price, time and limits: run, plan, simulate, status; cloud list, on, off"
CLOUD = "bridge.commands._loads_cloud"  # comes with the cloud package
LOOK_S = 4.0  # what plan waits for devices that do not answer
TIMEOUT_S = 3.0


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what can be done."""
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    run_it = verbs.add_parser("run", help="coordinate until stopped; needs a running bridge", allow_abbrev=False)
    run_it.add_argument("--dry-run", action="store_true", help="decide and tell, but move no relay")
    run_it.add_argument("--cycles", type=int, metavar="N", help="stop after N cycles of a second")
    run_it.set_defaults(act=coordinate)
    plan = verbs.add_parser("plan", help="what would be decided now and why; writes nothing", allow_abbrev=False)
    plan.add_argument("--json", action="store_true", help="print JSON")
    plan.set_defaults(act=show_plan)
    simulate = verbs.add_parser("simulate", help="play a scenario and check what it expects", allow_abbrev=False)
    simulate.add_argument("file", metavar="FILE", help="a scenario (JSON), or the name of one that is shipped; "
                                                       "'list' names those")
    simulate.add_argument("--json", action="store_true", help="print JSON")
    simulate.add_argument("--every-step", action="store_true", help="print also the steps in which nothing changes")
    simulate.set_defaults(act=play)
    status = verbs.add_parser("status", help="ask the running 'loads run' how the loads stand", allow_abbrev=False)
    status.add_argument("--json", action="store_true", help="print JSON")
    status.set_defaults(act=ask)
    if find_spec(CLOUD) is not None:
        import_module(CLOUD).add_parser(verbs)


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Do what was asked for."""
    return int(args.act(args, settings))


def coordinate(args: argparse.Namespace, settings: Settings) -> int:
    """Coordinate the loads until stopped."""
    if args.cycles is not None and args.cycles < 1:
        raise ConfigError(f"loads run --cycles {args.cycles}: at least 1")
    clock = Clock()
    stop_on_signals(clock)
    desk = coordinator(settings, clock, args.dry_run)
    server = _serve(settings, desk)
    voice = notifier(settings)
    ready: List[bool] = []

    def alive() -> None:
        if not ready:
            ready.append(True)
            voice.ready("coordinating")
        voice.alive(clock.monotonic())

    try:
        desk.run(args.cycles, alive)
    finally:
        voice.stopping()
        if server is not None:
            server.close()
    return EXIT_OK


def _serve(settings: Settings, desk: Coordinator) -> Any:
    if settings["loads.listen"] == "off":
        return None
    from bridge.link.httpd import HttpServer, json_answer

    server = HttpServer(settings["loads.listen"], {"/v1/loads": lambda request: json_answer(desk.report())},
                        settings["status.token"])
    try:
        server.start()
    except ConfigError as error:
        if settings.is_set("loads.listen"):
            raise ConfigError(str(error).replace("status.listen", "loads.listen")) from error
        logging.getLogger("loads").warning("state=off reason=\"%s\"", str(error).replace("status.", "loads."))
        return None
    return server


def show_plan(args: argparse.Namespace, settings: Settings) -> int:
    """Look once at plant and relays and print what would be decided."""
    if not settings.is_set("run.log_level"):
        logging.getLogger().setLevel(logging.WARNING)  # a look is no service: its output is the report
    clock = Clock()
    desk = coordinator(settings, clock, dry_run=True)
    report = desk.plan(LOOK_S)
    if args.json:
        print(json.dumps(report))
    else:
        _show(report)
    return EXIT_PLANT if report["data"] in ("stale", "lost") else EXIT_OK


def ask(args: argparse.Namespace, settings: Settings) -> int:
    """Print how the loads stand."""
    if settings["loads.listen"] == "off":
        raise ConfigError("loads status: loads.listen is off, so 'loads run' cannot be asked; set it to host:port")
    address = local_address(settings["loads.listen"])
    try:
        report = get_json(address, "/v1/loads", TIMEOUT_S, settings["status.token"])
    except LinkError as error:
        raise LinkError(f"loads status {address}: nothing answers ({error}); is 'sigen-bridge loads run' running?") \
            from error
    if args.json:
        print(json.dumps(report))
    else:
        _show(report)
    return EXIT_OK


def _show(report: Dict[str, Any]) -> None:
    def watts(power: Any) -> str:
        return "unknown" if power is None else f"{power:.0f} W"

    print(f"house {watts(report['load_w'])}, limit {watts(report['limit_w']) if report['limit_w'] else 'none'};"
          f" data {report['data_text'] or 'none yet'}{'; dry run' if report['dry_run'] else ''}")
    for text in (report["error"], *report["warnings"]):
        if text:
            print(f"warning: {text}")
    for row in report["loads"]:
        on = "unknown" if row["on"] is None else "on" if row["on"] else "off"
        act = f" -> {row['want']}" if row["act"] else ""
        trouble = f" ({row['error']})" if row["error"] else ""
        power = row["measured_w"] if row["measured_w"] is not None else row["power_w"]
        print(f"{row['priority']:>3}  {row['load']:<20} {on + act:<10} {power:>6.0f} W  "
              f"{row['rule'] or '-':<9} {row['reason'] or ''}{trouble}".rstrip())


def play(args: argparse.Namespace, settings: Settings) -> int:
    """Play a scenario; exit 8 when it does not go as it expects."""
    if args.file == "list":
        print("\n".join(_shipped_names()))
        return EXIT_OK
    scenario = Scenario(_content(args.file), ini.parse, args.file)
    result = scenario.play()
    shown = [step for step in result.steps if args.every_step or step.changed or step.warnings]
    if args.json:
        print(json.dumps(_as_json(scenario, result, shown)))
    else:
        print(scenario.about)
        for step in shown:
            _print_step(step, args.every_step)
        print(f"{result.switches} switchings; over a limit for at most {result.longest_over_s:g} s;"
              f" {'as expected' if not result.failures else 'NOT as expected'}")
        for failure in result.failures:
            print(f"failure: {failure}")
    return EXIT_REFUSED if result.failures else EXIT_OK


def _content(name: str) -> Any:
    import importlib.resources

    if "/" not in name and not name.endswith(".json"):
        place = importlib.resources.files("bridge.data") / "scenarios" / f"{name}.json"
        if not place.is_file():
            there = ", ".join(_shipped_names())
            raise ConfigError(f"loads simulate: no scenario {name!r} is shipped; there are {there}")
        text = place.read_text("utf-8")
    else:
        text = read_text(name, f"scenario {name}")
    try:
        content = json.loads(text)
    except ValueError as error:
        raise ConfigError(f"scenario {name}: is not JSON ({error})") from error
    if not isinstance(content, dict):
        raise ConfigError(f"scenario {name}: is not a JSON object")
    return content


def _shipped_names() -> Sequence[str]:
    import importlib.resources

    place = importlib.resources.files("bridge.data") / "scenarios"
    return sorted(entry.name[:-5] for entry in place.iterdir() if entry.name.endswith(".json"))


def _print_step(step: Step, everything: bool) -> None:
    for decision in step.decisions if everything else step.changed:
        act = "SWITCH" if decision.act else ""
        print(f"{step.clock}  {step.load_w:>6.0f} W  {decision.load:<14} {act:<6} {decision.want:<5}"
              f" {decision.rule:<9} {decision.reason}")
    for warning in step.warnings:
        print(f"{step.clock}  {step.load_w:>6.0f} W  warning: {warning}")


def _as_json(scenario: Scenario, result: Result, shown: Sequence[Step]) -> Dict[str, Any]:
    return {
        "schema": 1, "about": scenario.about, "ok": not result.failures, "failures": list(result.failures),
        "longest_over_s": result.longest_over_s, "switches": result.switches,
        "steps": [{"after_s": step.after_s, "clock": step.clock, "load_w": step.load_w,
                   "phases_w": None if step.phases is None else list(step.phases), "warnings": list(step.warnings),
                   "decisions": [each._asdict() for each in step.decisions]} for step in shown],
    }
