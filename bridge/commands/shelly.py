"""The Shellys of the house: set one up for the five numbers, test it, find them all, store scripts on one.

Never changes anything on a device that is not ours.
"""

from __future__ import annotations

import argparse
import importlib
import json
from typing import Any, Dict, List, Optional, Tuple

from bridge.clock import Clock
from bridge.control.provision import FRESHNESS_KINDS, Plan, plan_setup, wanted_keys
from bridge.errors import EXIT_OK, EXIT_SHELLY, BridgeError, ConfigError, ShellyError
from bridge.peers.shelly import ShellyClient
from bridge.peers.shelly_components import Component, not_ours, read_components
from bridge.sinks.display import DISPLAY
from bridge.wiring import shelly_client

HELP = "set the Shelly up (setup), test writing to it (test), find all (find, rm), scripts on it (scripts)"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of every verb."""
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="setup|test|find|rm|scripts")
    setup = verbs.add_parser("setup", help="create the five numbers and the group that shows them",
                             allow_abbrev=False)
    setup.add_argument("--dry-run", action="store_true", help="say what would be done and do nothing")
    setup.add_argument("--script", action="store_true", help="also store and start the helper script")
    setup.add_argument("--freshness", choices=FRESHNESS_KINDS,
                       help="also create a component for source and age")
    setup.add_argument("--json", action="store_true", help="print JSON")
    test = verbs.add_parser("test", help="write each number, read it back, put it back", allow_abbrev=False)
    test.add_argument("--json", action="store_true", help="print JSON")
    _add(verbs, "find", "list every Shelly by name, and who is offline and why")
    gone = verbs.add_parser("rm", help="forget a Shelly that find remembers", allow_abbrev=False)
    gone.add_argument("name", metavar="NAME", help="its name, id, MAC or address")
    gone.add_argument("--dry-run", action="store_true", help="say which one, and do nothing")
    gone.add_argument("--json", action="store_true", help="print JSON")
    _add(verbs, "scripts", "list, install, show and remove our scripts on it")


def _add(verbs: Any, name: str, what: str) -> None:
    """Declare a verb whose part may be missing; then whatever is said to it is taken, to name the package."""
    tool = _tool(name)
    prefix = "\0" if isinstance(tool, _Missing) else "-"
    tool.arguments(verbs.add_parser(name, help=what, allow_abbrev=False, prefix_chars=prefix, add_help=prefix == "-"))


class _Missing:
    """Stands for a part that this router's packages do not have."""

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("words", nargs="*")

    def run(self, *_: Any) -> int:
        raise ConfigError("shelly find, rm and scripts need the package sigen-bridge-tools")

    find = remove = run


def _tool(name: str) -> Any:
    """Return the part of this verb that lies in a file, and on a router in a package, of its own."""
    try:
        return importlib.import_module(f"bridge.commands._shelly_{name}")
    except ModuleNotFoundError as error:
        if not (error.name or "").startswith("bridge."):
            raise
        return _Missing()


def run(args: argparse.Namespace, settings: Any) -> int:
    """Run one verb; whatever fails on the Shelly is exit code 5."""
    tool = _tool("scripts" if args.verb == "scripts" else "find")
    if args.verb in ("find", "rm"):
        return int(tool.find(args, settings) if args.verb == "find" else tool.remove(args, settings))
    clock = Clock()
    if args.verb == "scripts" and isinstance(tool, _Missing):
        return tool.run()
    if args.verb == "scripts" and args.action == "list" and not settings["shelly.host"]:
        return int(tool.library(args))
    client = shelly_client(settings, clock)
    try:
        client.open()
        if args.verb == "setup":
            return _setup(args, settings, client)
        if args.verb == "scripts":
            return int(tool.run(args, settings, client))
        return _test(args, settings, client, clock)
    except ConfigError:
        raise
    except BridgeError as error:
        raise ShellyError(str(error)) from error
    finally:
        client.close()


def _setup(args: argparse.Namespace, settings: Any, client: ShellyClient) -> int:
    first_id = settings["shelly.first_id"]
    freshness = args.freshness or _kind_of(settings["shelly.freshness"], first_id)
    plan = plan_setup(read_components(client.call), first_id, freshness, settings["shelly.adopt"])
    script: Optional[str] = None
    if not plan.refusals:
        if not args.dry_run:
            for step in plan.steps:
                client.call(step.method, step.params)
            _check(client, first_id, freshness)
        if args.script:
            script = _script(client, args.dry_run)
    _print_plan(args, client, plan, script)
    if args.freshness and not args.json and not settings["shelly.freshness"]:
        print(f"now set shelly.freshness = {args.freshness}:{first_id}")
    return EXIT_SHELLY if plan.refusals else EXIT_OK


def _kind_of(key: Optional[str], first_id: int) -> Optional[str]:
    """Return "text" or "boolean" when ``shelly.freshness`` names the component that setup would create."""
    kind, _, number = (key or "").partition(":")
    return kind if kind in FRESHNESS_KINDS and number == str(first_id) else None


def _check(client: ShellyClient, first_id: int, freshness: Optional[str]) -> None:
    keys = wanted_keys(first_id, freshness)
    there = read_components(client.call, keys)
    missing = [key for key in keys if key not in there]
    if missing:
        raise ShellyError(f"{client.peer}: {', '.join(missing)} is not there after setup; try again")


def _script(client: ShellyClient, dry_run: bool) -> str:
    from bridge.peers.shelly_script import install_script, script_source

    code = script_source()
    if dry_run:
        return f"would store the helper script ({len(code)} characters), enable and start it"
    return f"helper script runs in slot {install_script(client.call, code)}; set shelly.transport = script"


def _print_plan(args: argparse.Namespace, client: ShellyClient, plan: Plan, script: Optional[str]) -> None:
    if args.json:
        device = client.device
        print(json.dumps({
            "device": device._asdict() if device else None, "dry_run": args.dry_run,
            "steps": [step._asdict() for step in plan.steps], "refusals": plan.refusals, "notes": plan.notes,
            "script": script,
        }))
        return
    if plan.refusals:
        raise ShellyError(f"{client.peer}: {'; '.join(plan.refusals)}")
    would = "would " if args.dry_run else ""
    for step in plan.steps:
        print(f"{would}{step.why}")
    if not plan.steps:
        print("components: nothing to do")
    for line in (*plan.notes, *([script] if script else [])):
        print(line)


def _test(args: argparse.Namespace, settings: Any, client: ShellyClient, clock: Clock) -> int:
    first_id = settings["shelly.first_id"]
    components = read_components(client.call, wanted_keys(first_id, None))
    reports: List[Dict[str, Any]] = []
    for row in DISPLAY:
        key = f"number:{first_id + row.offset}"
        component = components.get(key)
        error, latency_ms = _hindrance(component, key, row.unit, settings["shelly.adopt"]), None
        if component is not None and error is None:
            error, latency_ms = _write_and_restore(client, component, clock)
        reports.append({
            "key": key, "name": row.name, "ok": error is None, "latency_ms": latency_ms, "error": error,
        })
    _print_test(args, client, reports)
    return EXIT_OK if all(report["ok"] for report in reports) else EXIT_SHELLY


def _hindrance(component: Optional[Component], key: str, unit: str, adopt: bool) -> Optional[str]:
    if component is None:
        return f"{key} is not there; run: sigen-bridge shelly setup"
    return None if adopt else not_ours(component, unit)


def _write_and_restore(
    client: ShellyClient, component: Component, clock: Clock,
) -> Tuple[Optional[str], Optional[float]]:
    """Write another value, read it back, restore; returns (what went wrong, milliseconds of the write)."""
    number = component.number
    before = component.value if isinstance(component.value, (int, float)) else 0
    probe = before + 1 if component.hi is None or before + 1 <= component.hi else before - 1
    try:
        begun = clock.monotonic()
        client.call("Number.Set", {"id": number, "value": probe})
        latency_ms = round((clock.monotonic() - begun) * 1000, 1)
        try:
            status = client.call("Number.GetStatus", {"id": number})
        finally:
            client.call("Number.Set", {"id": number, "value": before})
    except BridgeError as error:
        return str(error), None
    shown = status.get("value") if isinstance(status, dict) else None
    if shown != probe:
        return f"{component.key} shows {shown} after {probe} was written; is the bridge running?", latency_ms
    return None, latency_ms


def _print_test(args: argparse.Namespace, client: ShellyClient, reports: List[Dict[str, Any]]) -> None:
    device = client.device
    if args.json:
        print(json.dumps({
            "device": device._asdict() if device else None, "transport": client.transport,
            "components": reports,
        }))
        return
    if device is not None:
        print(f"{device.name or device.id} ({device.model}, firmware {device.version}) by {client.transport}")
    for report in reports:
        outcome = f"ok {report['latency_ms']:.1f} ms" if report["ok"] else f"FAILED {report['error']}"
        print(f"{report['key']:<11} {report['name']:<8} {outcome}")
