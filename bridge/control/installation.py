"""What ``install`` and ``uninstall`` would do to a systemd machine, decided without touching it.

Never plans to overwrite or remove a file that install did not make, or one that was changed since.
"""

from __future__ import annotations

from typing import List, Mapping, NamedTuple, Optional, Sequence, Tuple

from bridge.control.installed import (
    CONFIG,
    CONFIG_DIR,
    LINK,
    OPTIONAL,
    PLACES,
    SERVICE,
    STATE_DIR,
    STEPS,
    STEPS_DIR,
    SYSUSERS,
    USER,
    WATCH_TIMER,
    Record,
)
from bridge.link.host import Change, fingerprint

STEPS_FROM = 254  # older systemd complains about waits between restarts that grow
PACKAGED_UNITS = (f"/usr/lib/systemd/system/{SERVICE}", f"/lib/systemd/system/{SERVICE}")
PROGRAM_IN_UNITS = "/usr/bin/sigen-bridge"
# ProtectHome and PrivateTmp hide these from the service.
HIDDEN_FROM_SERVICE = ("/home/", "/root/", "/run/user/", "/tmp/", "/var/tmp/")


class Machine(NamedTuple):
    """What the plan has to know; ``files`` has the fingerprint of each of our paths that is there.

    ``root`` is empty for the running machine; ``packaged`` means that a .deb brought the service.
    """

    root: str
    files: Mapping[str, str]
    directories: Sequence[str]
    link_free: bool
    has_user: bool
    sysusers: bool
    systemd: Optional[int]
    packaged: bool


class Plan(NamedTuple):
    """Changes in order, or the reasons against them; ``notes`` tell what is left as it is."""

    changes: Tuple[Change, ...]
    refusals: Tuple[str, ...]
    notes: Tuple[str, ...]


def hidden_program(program: str) -> Optional[str]:
    """Say why the service could not start ``program``, or None."""
    if not program.startswith(HIDDEN_FROM_SERVICE):
        return None
    return (
        f"the service cannot see {program}; install the program where every user can, for example, in the checkout:"
        " sudo python3 -m venv /opt/sigen-bridge && sudo /opt/sigen-bridge/bin/pip install ."
        " && sudo /opt/sigen-bridge/bin/sigen-bridge install"
    )


def plan_install(
    machine: Machine, record: Record, units: Mapping[str, str], program: str, config: str, has_plant: bool,
) -> Plan:
    """Return what is left to do; once everything is in place that is systemd's own bookkeeping.

    ``config`` is the whole text that the settings file shall have, ``has_plant`` whether it names a plant.
    """
    changes: List[Change] = []
    refusals: List[str] = []
    notes: List[str] = []
    if not machine.packaged:
        for name, path in PLACES.items():
            if name != STEPS or (machine.systemd or 0) >= STEPS_FROM:
                text = units[name].replace(PROGRAM_IN_UNITS, program).encode()
                _put(machine, record, path, text, changes, refusals, notes)
            if path == SYSUSERS and not machine.has_user:
                changes.append(_make_user(machine))
        if machine.link_free and program not in (LINK, PROGRAM_IN_UNITS):
            changes.append(Change("link", LINK, f"make the command {LINK}", program.encode()))
    changes += _settings(machine, config)
    if refusals:
        return Plan((), tuple(refusals), ())
    changed = record.pending or any(change.kind == "file" for change in changes)
    changes += _service(machine, changed, has_plant, notes)
    return Plan(tuple(changes), (), tuple(notes))


def _put(machine: Machine, record: Record, path: str, text: bytes, changes: List[Change], refusals: List[str],
         notes: List[str]) -> None:
    present, ours = machine.files.get(path), record.files.get(path)
    if present == fingerprint(text):
        return
    if present is not None and ours is None:
        refusals.append(f"{path} is there and was not made by install: move it away, then run this again")
    elif present is not None and present != ours:
        notes.append(f"{path} was changed by hand and is left as it is")
    else:
        if path.startswith(STEPS_DIR) and STEPS_DIR not in machine.directories:
            changes.append(Change("directory", STEPS_DIR, f"make the directory {STEPS_DIR}", mode=0o755))
        verb = "write" if present is None else "update"
        changes.append(Change("file", path, f"{verb} {path}", text, 0o644))


def _make_user(machine: Machine) -> Change:
    if machine.sysusers:
        root = [f"--root={machine.root}"] if machine.root else []
        argv = ["systemd-sysusers", *root, SYSUSERS.rpartition("/")[2]]
    else:
        prefix = ["--prefix", machine.root] if machine.root else []
        argv = ["useradd", *prefix, "--system", "--home-dir", STATE_DIR, "--shell", "/usr/sbin/nologin",
                "--groups", "dialout", USER]
    return Change("run", USER, f"make the user {USER} that the service runs as", argv=tuple(argv))


def _settings(machine: Machine, config: str) -> List[Change]:
    changes = []
    if CONFIG_DIR not in machine.directories:
        changes.append(
            Change("directory", CONFIG_DIR, f"make the directory {CONFIG_DIR}", mode=0o750, group=USER))
    if machine.files.get(CONFIG) != fingerprint(config.encode()):
        verb = "update" if CONFIG in machine.files else "write"
        changes.append(Change("file", CONFIG, f"{verb} {CONFIG}", config.encode(), 0o640, USER))
    return changes


def _service(machine: Machine, changed: bool, has_plant: bool, notes: List[str]) -> List[Change]:
    later = f"put the address of the gateway into {CONFIG}, then: sudo systemctl restart sigen-bridge"
    if not has_plant:
        notes.append(later)
    if machine.root:
        return [_systemctl(machine, "start the service at every boot", "enable", SERVICE)]
    changes = [
        _systemctl(machine, "tell systemd about the service", "daemon-reload"),
        _systemctl(machine, "start the service at every boot", "enable", SERVICE),
    ]
    if has_plant:
        changes.append(_systemctl(machine, "start the service", "restart" if changed else "start", SERVICE))
    return changes


def _systemctl(machine: Machine, why: str, *words: str, may_fail: bool = False) -> Change:
    root = [f"--root={machine.root}"] if machine.root else []
    return Change("run", "systemctl", why, argv=("systemctl", *root, *words), may_fail=may_fail)


def plan_uninstall(machine: Machine, record: Record, remembered: Sequence[str], purge: bool) -> Plan:
    """Return what takes away what install made; ``remembered`` is what the bridge left in STATE_DIR.

    Files that were changed since stay unless ``purge``, and with them the user whose group may read them.
    """
    changes: List[Change] = []
    notes: List[str] = []
    if record.enabled:
        now = [] if machine.root else ["--now"]
        # What is not enabled is no reason to stop here.
        changes += [_systemctl(machine, f"stop {unit}", "disable", *now, unit, may_fail=True) for unit in OPTIONAL]
        changes.append(_systemctl(machine, "stop the service", "disable", *now, SERVICE))
        changes.append(_systemctl(machine, f"stop {WATCH_TIMER}", "disable", *now, WATCH_TIMER, may_fail=True))
    changed = [path for path, ours in record.files.items() if machine.files.get(path, ours) != ours]
    kept = [] if purge else changed
    notes += [f"{path} was changed since and stays; --purge removes it too" for path in kept]
    changes += [Change("remove", path, f"remove {path}") for path in record.files if path not in kept]
    if record.link:
        changes.append(Change("remove", LINK, f"remove {LINK}"))
    if record.enabled and not machine.root:
        changes.append(_systemctl(machine, "tell systemd that it is gone", "daemon-reload"))
    if remembered and not purge:
        notes.append(f"{STATE_DIR} holds what the bridge remembered and stays; --purge removes it too")
    changes += [
        Change("rmtree" if purge and path == CONFIG_DIR else "rmdir", path, f"remove {path}")
        for path in record.directories
        if path != STATE_DIR and not any(each.startswith(path) for each in kept)
    ]
    if kept or (remembered and not purge):
        return Plan(tuple(changes), (), tuple(notes))
    if record.user and machine.has_user:
        prefix = ["--prefix", machine.root] if machine.root else []
        changes.append(Change("run", USER, f"remove the user {USER}", argv=("userdel", *prefix, USER)))
    if STATE_DIR in record.directories:  # last: the record itself is in there
        changes.append(Change("rmtree", STATE_DIR, f"remove {STATE_DIR}"))
    return Plan(tuple(changes), (), tuple(notes))
