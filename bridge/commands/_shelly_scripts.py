"""``shelly scripts``: what of the script library is on a Shelly; install, show and remove.

Never touches a script that is not ours, and never prints a secret that is stored in one.
"""

from __future__ import annotations

import argparse
import json
from typing import Any, Dict, List

from bridge.config import Settings
from bridge.errors import EXIT_OK, EXIT_SHELLY, ConfigError
from bridge.peers.shelly import ShellyClient
from bridge.peers.shelly_library import (
    LIBRARY,
    LibraryScript,
    OnDevice,
    configured,
    install,
    look,
    merged,
    options_in,
    others,
    parsed,
    remove,
    script_named,
    shown,
    source,
)

NEEDS_ADDON = (
    "this device offers no MbRtuClient: plug the Shelly Pro RS485 add-on in, switch it on (Settings > Add-on > RS485)"
    " and reboot; the script waits for it"
)


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of list, install, remove and show."""
    parser.add_argument("action", nargs="?", choices=("list", "install", "remove", "show"), default="list")
    parser.add_argument("name", nargs="?", help=", ".join(script.name for script in LIBRARY))
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", dest="options",
                        help="with install: a setting of the script, such as unit=247")
    parser.add_argument("--token-file", metavar="FILE", help="with install monitor: file with the relay's token")
    parser.add_argument("--code", action="store_true", help="with show: print the code that install would store")
    parser.add_argument("--dry-run", action="store_true", help="say what would be done and do nothing")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace, settings: Settings, client: ShellyClient) -> int:
    """Do one action on the Shelly of shelly.host."""
    if args.action == "list":
        return _list(args, client)
    script = _wanted(args)
    if args.action == "show":
        return _show(args, script, client)
    if args.action == "remove":
        return _remove(args, script, client)
    return _install(args, settings, script, client)


def library(args: argparse.Namespace) -> int:
    """Print what there is to install; asks no device."""
    if args.json:
        print(json.dumps({"schema": 1, "device": None, "scripts": [_data(OnDevice(each)) for each in LIBRARY]}))
    else:
        print("\n".join(f"{each.name:<8} {each.what}" for each in LIBRARY))
        print("give --shelly-host ADDRESS to see which of them are on a Shelly")
    return EXIT_OK


def _wanted(args: argparse.Namespace) -> LibraryScript:
    if not args.name:
        raise ConfigError(f"shelly scripts {args.action}: which one? {', '.join(each.name for each in LIBRARY)}")
    return script_named(args.name)


def _list(args: argparse.Namespace, client: ShellyClient) -> int:
    found = [look(client.call, each) for each in LIBRARY]
    foreign = others(client.call)
    if args.json:
        print(json.dumps({"schema": 1, "device": client.device._asdict() if client.device else None,
                          "scripts": [_data(each) for each in found],
                          "others": [{"id": row.get("id"), "name": row.get("name")} for row in foreign]}))
        return EXIT_OK
    for each in found:
        print(f"{each.script.name:<8} {_state(each):<40} {each.script.what}")
    for row in foreign:
        print(f"{'-':<8} slot {row.get('id')} {row.get('name')!s:.40}: not ours, left alone")
    return EXIT_OK


def _state(each: OnDevice) -> str:
    """Return how a script stands, in words."""
    if each.number is None:
        return "not on the device"
    if not each.ours:
        return f"slot {each.number}: a script of that name that is not ours"
    words = [f"slot {each.number}", "running" if each.running else "stopped",
             "starts on boot" if each.enabled else "does not start on boot"]
    words += [] if each.current else ["differs from this version"]
    return ", ".join(words) + (f" ({each.error})" if each.error else "")


def _data(each: OnDevice) -> Dict[str, Any]:
    return {
        "name": each.script.name, "slot_name": each.script.slot, "what": each.script.what, "slot": each.number,
        "ours": each.ours if each.number is not None else None, "running": each.running, "starts_on_boot": each.enabled,
        "current": each.current, "settings": shown(each.script, each.options), "error": each.error or None,
        "notes": list(each.script.notes),
    }


def _show(args: argparse.Namespace, script: LibraryScript, client: ShellyClient) -> int:
    there = look(client.call, script)
    if args.code:
        print(configured(script, shown(script, there.options)), end="")
        return EXIT_OK
    if args.json:
        print(json.dumps({"schema": 1, **_data(there)}))
        return EXIT_OK
    print(f"{script.name}: {script.what}")
    print(f"  {_state(there)}")
    values = {**options_in(script, source(script)), **there.options}
    for option in script.options:
        print(f"  {option.name:<14} {shown(script, values).get(option.name)!s:<12}  {option.help}")
    for note in script.notes:
        print(f"  note: {note}")
    return EXIT_OK


def _options(args: argparse.Namespace, script: LibraryScript) -> Dict[str, Any]:
    given: Dict[str, str] = {}
    secret = {option.name for option in script.options if option.secret}
    for word in args.options:
        name, equals, value = word.partition("=")
        if not equals:
            raise ConfigError(f"shelly scripts: --set {name} is not NAME=VALUE")
        if name in secret:
            raise ConfigError(f"shelly scripts: {name} is a secret: put it into a file and give --{name}-file FILE")
        given[name] = value
    if args.token_file:
        try:
            with open(args.token_file, encoding="ascii") as handle:
                given["token"] = handle.readline().strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "not ASCII"
            raise ConfigError(f"--token-file {args.token_file}: cannot be read ({reason})") from None
    return parsed(script, given)


def _install(args: argparse.Namespace, settings: Settings, script: LibraryScript, client: ShellyClient) -> int:
    options = _options(args, script)
    first_id = settings["shelly.first_id"] if settings.is_set("shelly.first_id") else None
    notes: List[str] = list(script.notes)
    if script.name == "rs485" and not _offers(client, "MbRtuClient."):
        notes.append(NEEDS_ADDON)
    before = look(client.call, script)
    if args.dry_run:
        code = configured(script, merged(script, before, options, first_id))
        settled = shown(script, options_in(script, code))
        after, did = before, f"would store {script.name} ({len(code)} characters), let it start on boot, and start it"
        if not before.ours:
            did = f"would refuse: {_state(before)}"
    else:
        after = install(client.call, script, options, first_id)
        settled = shown(script, after.options)
        same = before.current and before.options == after.options and before.running and before.enabled
        did = f"{script.name}: {'was so already' if same else 'stored and verified'}: {_state(after)}"
    if args.json:
        print(json.dumps({"schema": 1, "dry_run": args.dry_run, "did": did, **_data(after), "settings": settled,
                          "notes": notes}))
    else:
        print(did)
        print("\n".join([*(f"  {name} = {value}" for name, value in settled.items()),
                         *(f"  note: {note}" for note in notes)]))
    return EXIT_SHELLY if args.dry_run and not before.ours else EXIT_OK


def _offers(client: ShellyClient, prefix: str) -> bool:
    listed = client.call("Shelly.ListMethods", {})
    methods = listed.get("methods") if isinstance(listed, dict) else None
    return any(str(method).startswith(prefix) for method in methods or ())


def _remove(args: argparse.Namespace, script: LibraryScript, client: ShellyClient) -> int:
    there = look(client.call, script)
    if args.dry_run:
        did = f"would stop and delete {script.name}: {_state(there)}" if there.number else f"{script.name} is not there"
    else:
        did = f"{script.name} is deleted" if remove(client.call, script) else f"{script.name} is not there"
    print(json.dumps({"schema": 1, "dry_run": args.dry_run, "did": did}) if args.json else did)
    return EXIT_OK
