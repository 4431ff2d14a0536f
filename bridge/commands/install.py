"""Set the bridge up as a systemd service: user, settings, units; run again, it only does what is missing."""

from __future__ import annotations

import argparse
import os
import sys
from typing import Any, Dict, Mapping, Optional

from bridge import ini
from bridge.config import Settings
from bridge.control.installation import PACKAGED_UNITS, Machine, Plan, hidden_program, plan_install
from bridge.control.installed import (
    CONFIG,
    DIRECTORIES,
    FILES,
    LINK,
    RECORD,
    STATE_DIR,
    USER,
    Record,
    content_of,
    record_from,
    with_change,
)
from bridge.control.settings_text import secret_names, shown_changes, with_settings
from bridge.errors import EXIT_OK, ConfigError
from bridge.link.host import Host, fingerprint, init_files
from bridge.settings import SETTINGS
from bridge.state import StateDir

HELP = "set the bridge up as a service (systemd: Raspberry Pi OS, Debian)"
EXAMPLE = "sigen-bridge.ini"
PLANT_KEYS = ("modbus.host", "modbus.serial")
QUESTIONS = (
    ("modbus.host", "Address of the Sigenergy gateway (sigen-bridge discover finds it; empty: later): "),
    ("shelly.host", "Address of the Shelly (empty: none): "),
)
ON_OPENWRT = (
    "this is OpenWrt or GL.iNet, which has no systemd: install the package instead, with"
    " opkg install sigen-bridge_*.ipk, or with sh sigen-bridge.run"
)
NO_SYSTEMD = "there is no systemd here: let your own init system or container start 'sigen-bridge run'"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this verb."""
    parser.add_argument("--dry-run", action="store_true", help="say what would be done and do nothing")
    parser.add_argument("--yes", action="store_true", help="ask nothing")
    parser.add_argument("--root", default="", metavar="DIR", help="install into a system image at DIR")
    parser.add_argument("--program", metavar="FILE", help="what the service starts (default: this program)")


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Do what is missing; settings given as flags go into the configuration file."""
    host = machine_at(args.root)
    check_machine(host, "install", args.dry_run)
    program = _program(host, args.program)
    state, record = load_record(host)
    answers = _answers(args, settings, host)
    before, config = _config(host, answers)
    machine = look(host)
    plan = plan_install(machine, record, {} if machine.packaged else init_files("systemd"), program, config,
                        _has_plant(config))
    if plan.refusals:
        raise ConfigError(f"install: {'; '.join(plan.refusals)}")
    if before and before != config:
        print("\n".join(shown_changes(before, config, CONFIG, secret_names(SETTINGS))))
    if args.dry_run:
        tell(plan, "would ")
        return EXIT_OK
    if not args.yes:
        tell(plan, "will ")
    confirm(args.yes, "install", "Set the service up?")
    _carry_out(host, state, record, machine, plan)
    print(f"done; settings: {CONFIG}, log: journalctl -u sigen-bridge, remove: sudo sigen-bridge uninstall")
    return EXIT_OK


def machine_at(root: str) -> Host:
    """Return the machine to work on; raises ConfigError for a root that is no directory."""
    if root and not os.path.isdir(root):
        raise ConfigError(f"--root {root}: there is no such directory")
    return Host(os.path.abspath(root) if root else "")


def check_machine(host: Host, verb: str, dry_run: bool) -> None:
    """Raise ConfigError, saying what to do instead, on a machine where this cannot work."""
    if host.exists("/etc/openwrt_release"):
        raise ConfigError(f"{verb}: {ON_OPENWRT}")
    signs = ("/run/systemd/system",) if host.live else ("/usr/lib/systemd", "/lib/systemd")
    if not host.exists(*signs):
        raise ConfigError(f"{verb}: {NO_SYSTEMD}")
    if host.live and not dry_run and not host.privileged:
        raise ConfigError(f"{verb}: this needs root: sudo sigen-bridge {verb}")


def load_record(host: Host) -> "tuple[StateDir, Record]":
    """Return where the record is kept and what it says."""
    state = StateDir(host.where(STATE_DIR))
    return state, record_from(state.load(RECORD))


def look(host: Host) -> Machine:
    """Gather what a plan has to know."""
    contents = {path: host.read(path) for path in FILES}
    return Machine(
        "" if host.live else host.root,
        {path: fingerprint(content) for path, content in contents.items() if content is not None},
        [path for path in DIRECTORIES if host.exists(path)], not host.exists(LINK, "/usr/bin/sigen-bridge"),
        host.has_user(USER), host.has_program("systemd-sysusers"), host.systemd_version(),
        host.exists(*PACKAGED_UNITS),
    )


def save_record(state: StateDir, record: Record) -> None:
    """Write the record; raises ConfigError when that fails, since nothing may be made that it misses."""
    if not state.save(RECORD, content_of(record), durable=True):
        raise ConfigError(f"{state.path}: cannot be written; is the disk full or read-only?")


def tell(plan: Plan, would: str = "") -> None:
    """Print what a plan does, and what it leaves alone."""
    for change in plan.changes:
        print(f"{would}{change.why}")
    for note in plan.notes:
        print(f"note: {note}")


def confirm(yes: bool, verb: str, question: str) -> None:
    """Ask on a terminal; raises ConfigError when the answer is no or nobody can be asked."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise ConfigError(f"{verb}: nobody is there to be asked; add --yes, or --dry-run to see it first")
    if input(f"{question} [Y/n] ").strip().lower() not in ("", "y", "yes"):
        raise ConfigError(f"{verb}: nothing was done")


def _carry_out(host: Host, state: StateDir, record: Record, machine: Machine, plan: Plan) -> None:
    """Make the changes, each noted before it is made, so that uninstall and a second run know of it."""
    if STATE_DIR not in machine.directories:
        record = record._replace(directories=(*record.directories, STATE_DIR))
    record = record._replace(pending=True)
    for change in plan.changes:
        foreign = change.path in machine.files and change.path not in record.files
        record = with_change(record, change, foreign)
        save_record(state, record)
        host.apply(change)
        print(change.why, flush=True)
    save_record(state, record._replace(pending=False))
    for note in plan.notes:
        print(f"note: {note}")


def _program(host: Host, wanted: Optional[str]) -> str:
    """Return the path, on the machine, of what the service is to start."""
    here = os.path.abspath(sys.argv[0])
    places = [wanted] if wanted else [
        here if os.path.basename(here) == "sigen-bridge" else "", LINK,
        os.path.join(os.path.dirname(sys.executable), "sigen-bridge"), "/usr/bin/sigen-bridge",
    ]
    for place in places:
        if place and host.exists(place) and not (place == LINK and os.path.islink(host.where(LINK))):
            reason = hidden_program(place)
            if reason:
                raise ConfigError(f"install: {reason}")
            return place
    what = wanted or "the program"
    raise ConfigError(f"install: {what} is not there to be started; name it with --program FILE")


def _answers(args: argparse.Namespace, settings: Settings, host: Host) -> Dict[str, str]:
    """Return the settings given as flags or, on a terminal, as answers."""
    given: Dict[str, str] = {}
    for row, text, where in settings.shown():
        if where.startswith("flag"):
            given[row.key] = settings[row.key] if row.secret else text
    if args.yes or args.dry_run or given or host.exists(CONFIG) or not sys.stdin.isatty():
        return given
    for key, question in QUESTIONS:
        answer = input(question).strip()
        if answer:
            given[key] = answer
    return given


def _config(host: Host, answers: Mapping[str, str]) -> "tuple[str, str]":
    """Return the settings file as it is (empty when there is none) and as it shall be."""
    present = host.read(CONFIG)
    before = present.decode("utf-8", "replace") if present is not None else ""
    if before and not answers:
        return before, before
    try:
        return before, with_settings(before or init_files("conf")[EXAMPLE], answers)
    except ValueError as error:
        raise ConfigError(f"install: {error}") from None


def _has_plant(config: str) -> bool:
    try:
        options: Any = ini.parse(config)
    except ValueError as error:
        raise ConfigError(f"{CONFIG}: {error}") from None
    return any(f"{option.section}.{option.name}" in PLANT_KEYS and option.value for option in options)
