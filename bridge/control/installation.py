"""What ``install`` and ``uninstall`` would do to a systemd machine, decided without touching it.

Never plans to overwrite or remove what install did not make: what it makes is recorded, and only paths of
this list can be recorded at all, so that a tampered record removes nothing else.
"""

from __future__ import annotations

import hashlib
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

USER = "sigen-bridge"
CONFIG_DIR = "/etc/sigen-bridge"
CONFIG = f"{CONFIG_DIR}/sigen-bridge.ini"
STATE_DIR = "/var/lib/sigen-bridge"
RECORD = "installed.json"
UNIT_DIR = "/etc/systemd/system"
SERVICE, TIMER = "sigen-bridge.service", "sigen-bridge-tariff.timer"
STEPS = "restart-steps.conf"
STEPS_FROM = 254  # older systemd complains about growing waits between restarts
LINK = "/usr/local/bin/sigen-bridge"
PACKAGED_UNITS = (f"/usr/lib/systemd/system/{SERVICE}", f"/lib/systemd/system/{SERVICE}")
PROGRAM_IN_UNITS = "/usr/bin/sigen-bridge"
# Where each file of init/systemd goes; the user first, since the others are his group's.
PLACES: Mapping[str, str] = {
    "sysusers.d/sigen-bridge.conf": "/etc/sysusers.d/sigen-bridge.conf",
    "tmpfiles.d/sigen-bridge.conf": "/etc/tmpfiles.d/sigen-bridge.conf",
    SERVICE: f"{UNIT_DIR}/{SERVICE}",
    "sigen-bridge-tariff.service": f"{UNIT_DIR}/sigen-bridge-tariff.service",
    TIMER: f"{UNIT_DIR}/{TIMER}",
    STEPS: f"{UNIT_DIR}/{SERVICE}.d/{STEPS}",
}
SYSUSERS = PLACES["sysusers.d/sigen-bridge.conf"]
FILES = (*PLACES.values(), CONFIG)
DIRECTORIES = (CONFIG_DIR, STATE_DIR, f"{UNIT_DIR}/{SERVICE}.d")
# ProtectHome and PrivateTmp hide these from the service.
HIDDEN_FROM_SERVICE = ("/home/", "/root/", "/run/user/", "/tmp/", "/var/tmp/")


class Machine(NamedTuple):
    """What the plan has to know. ``files`` has the fingerprint of each of FILES that is there."""

    live: bool
    root: str
    files: Mapping[str, str]
    directories: Sequence[str]
    link_free: bool
    has_user: bool
    sysusers: bool
    systemd: Optional[int]
    packaged: bool


class Record(NamedTuple):
    """What install has made here. ``pending`` is True from its first step to its last."""

    files: Dict[str, str]
    directories: List[str]
    link: bool
    user: bool
    enabled: bool
    pending: bool


class Step(NamedTuple):
    """One change: directory, file, link, user, run, remove, unlink, rmdir, userdel."""

    kind: str
    path: str
    why: str
    content: bytes = b""
    mode: int = 0
    group: str = "root"
    argv: Tuple[str, ...] = ()


class Plan(NamedTuple):
    """Steps in order, or the reasons against them; ``notes`` tell what is left as it is."""

    steps: Tuple[Step, ...]
    refusals: Tuple[str, ...]
    notes: Tuple[str, ...]


def record_from(content: Any) -> Record:
    """Return the record from its file's content; whatever is not one of ours is left out."""
    told = content if isinstance(content, dict) else {}
    files, directories = told.get("files"), told.get("directories")
    return Record(
        {path: str(mark) for path, mark in files.items() if path in FILES} if isinstance(files, dict) else {},
        [path for path in directories if path in DIRECTORIES] if isinstance(directories, list) else [],
        told.get("link") is True, told.get("user") is True, told.get("enabled") is True,
        told.get("pending") is True,
    )


def hidden_program(program: str) -> Optional[str]:
    """Say why the service could not start ``program``, or None."""
    if not program.startswith(HIDDEN_FROM_SERVICE):
        return None
    return (
        f"the service cannot see {program}; install the program where all users can, for example:"
        " sudo python3 -m venv /opt/sigen-bridge && sudo /opt/sigen-bridge/bin/pip install sigen-bridge"
        " && sudo /opt/sigen-bridge/bin/sigen-bridge install"
    )


def plan_install(
    machine: Machine, record: Record, units: Mapping[str, str], program: str, config: str, has_plant: bool,
) -> Plan:
    """Return what is left to do; nothing but systemd's own bookkeeping once everything is in place.

    ``config`` is the whole text that the settings file shall have, ``has_plant`` whether it names one.
    """
    steps: List[Step] = []
    refusals: List[str] = []
    notes: List[str] = []
    if not machine.packaged:
        for name, path in PLACES.items():
            if name != STEPS or (machine.systemd or 0) >= STEPS_FROM:
                text = units[name].replace(PROGRAM_IN_UNITS, program).encode()
                _put(machine, record, path, text, steps, refusals, notes)
            if path == SYSUSERS and not machine.has_user:
                steps.append(_make_user(machine))
        if machine.link_free and program not in (LINK, PROGRAM_IN_UNITS):
            steps.append(Step("link", LINK, f"make the command {LINK}", program.encode()))
    steps += _config_steps(machine, config)
    if refusals:
        return Plan((), tuple(refusals), ())
    changed = bool(steps) or record.pending
    steps += _service_steps(machine, changed, has_plant, notes)
    return Plan(tuple(steps), (), tuple(notes))


def _put(machine: Machine, record: Record, path: str, text: bytes, steps: List[Step], refusals: List[str],
         notes: List[str]) -> None:
    present, ours, new = machine.files.get(path), record.files.get(path), mark(text)
    if present == new:
        return
    if present is not None and ours is None:
        refusals.append(f"{path} is there and was not made by install: move it away, then run this again")
    elif present is not None and present != ours:
        notes.append(f"{path} was changed by hand and is left as it is")
    else:
        folder = path.rpartition("/")[0]
        if folder in DIRECTORIES and folder not in machine.directories:
            steps.append(Step("directory", folder, f"make the directory {folder}", mode=0o755))
        steps.append(Step("file", path, f"{'write' if present is None else 'update'} {path}", text, 0o644))


def _make_user(machine: Machine) -> Step:
    argv = (
        ["systemd-sysusers", *([f"--root={machine.root}"] if machine.root else []), SYSUSERS.rpartition("/")[2]]
        if machine.sysusers else
        ["useradd", *(["--prefix", machine.root] if machine.root else []), "--system", "--home-dir", STATE_DIR,
         "--shell", "/usr/sbin/nologin", "--groups", "dialout", USER]
    )
    return Step("user", USER, f"make the user {USER} that the service runs as", argv=tuple(argv))


def _config_steps(machine: Machine, config: str) -> List[Step]:
    steps = []
    if CONFIG_DIR not in machine.directories:
        steps.append(Step("directory", CONFIG_DIR, f"make the directory {CONFIG_DIR}", mode=0o750, group=USER))
    if machine.files.get(CONFIG) != mark(config.encode()):
        verb = "update" if CONFIG in machine.files else "write"
        steps.append(Step("file", CONFIG, f"{verb} {CONFIG}", config.encode(), 0o640, USER))
    return steps


def _service_steps(machine: Machine, changed: bool, has_plant: bool, notes: List[str]) -> List[Step]:
    if not machine.live:
        return [_run("enable the service", "systemctl", f"--root={machine.root}", "enable", SERVICE)]
    steps = [
        _run("tell systemd about it", "systemctl", "daemon-reload"),
        _run("start the service at every boot", "systemctl", "enable", SERVICE),
    ]
    if has_plant:
        steps.append(_run("start the service", "systemctl", "restart" if changed else "start", SERVICE))
    else:
        notes.append(f"put the address of the gateway into {CONFIG}, then: sudo systemctl restart sigen-bridge")
    return steps


def _run(why: str, *argv: str) -> Step:
    return Step("run", argv[0], why, argv=argv)


def plan_uninstall(machine: Machine, record: Record, remembered: Sequence[str], purge: bool) -> Plan:
    """Return what takes away what install made; ``remembered`` are the files the bridge left in STATE_DIR.

    Files that were changed since stay unless ``purge``, and with them the user who may read them.
    """
    steps: List[Step] = []
    notes: List[str] = []
    if record.enabled:
        root = [] if machine.live else [f"--root={machine.root}"]
        now = ["--now"] if machine.live else []
        steps.append(_run("stop the service", "systemctl", *root, "disable", *now, SERVICE, TIMER))
    kept = [path for path in record.files
            if not purge and machine.files.get(path, record.files[path]) != record.files[path]]
    for path in record.files:
        if path in kept:
            notes.append(f"{path} was changed since and stays; --purge removes it too")
        elif path in machine.files:
            steps.append(Step("remove", path, f"remove {path}"))
    if record.link:
        steps.append(Step("unlink", LINK, f"remove {LINK}"))
    if machine.live:
        steps.append(_run("tell systemd about it", "systemctl", "daemon-reload"))
    stays = bool(kept)
    if remembered and not purge:
        stays = True
        notes.append(f"{STATE_DIR} holds what the bridge remembered and stays; --purge removes it too")
    steps += [Step("rmdir", path, f"remove {path}") for path in record.directories if path != STATE_DIR]
    if not stays:
        if STATE_DIR in record.directories:
            steps.append(Step("rmdir", STATE_DIR, f"remove {STATE_DIR}", mode=1 if purge else 0))
        if record.user and machine.has_user:
            prefix = ["--prefix", machine.root] if machine.root else []
            steps.append(Step("userdel", USER, f"remove the user {USER}", argv=("userdel", *prefix, USER)))
    return Plan(tuple(steps), (), tuple(notes))


def mark(content: bytes) -> str:
    """Return what tells whether a file was changed."""
    return hashlib.sha256(content).hexdigest()
