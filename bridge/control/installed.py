"""What install has made on this machine: the record by which uninstall removes that and nothing else.

Never trusts its own file: only paths that install can make are taken from it, so that a tampered record
removes nothing else.
"""

from __future__ import annotations

from typing import Any, Dict, Mapping, NamedTuple, Tuple

from bridge.link.host import Change, fingerprint

USER = "sigen-bridge"
CONFIG_DIR = "/etc/sigen-bridge"
CONFIG = f"{CONFIG_DIR}/sigen-bridge.ini"
STATE_DIR = "/var/lib/sigen-bridge"
RECORD = "installed.json"
UNIT_DIR = "/etc/systemd/system"
SERVICE, TIMER = "sigen-bridge.service", "sigen-bridge-tariff.timer"
ENPHASE, LOADS, WATCH_TIMER = "sigen-bridge-enphase.service", "sigen-bridge-loads.service", "sigen-bridge-watch.timer"
# The owner's to enable, or started by the service: stopped one by one, the watch over the battery last.
OPTIONAL = (TIMER, ENPHASE, LOADS)
STEPS = "restart-steps.conf"
STEPS_DIR = f"{UNIT_DIR}/{SERVICE}.d"
LINK = "/usr/local/bin/sigen-bridge"
# Where each file of init/systemd goes; the user first, since the settings are his group's.
PLACES: Mapping[str, str] = {
    "sysusers.d/sigen-bridge.conf": "/etc/sysusers.d/sigen-bridge.conf",
    "tmpfiles.d/sigen-bridge.conf": "/etc/tmpfiles.d/sigen-bridge.conf",
    SERVICE:                        f"{UNIT_DIR}/{SERVICE}",
    "sigen-bridge-tariff.service":  f"{UNIT_DIR}/sigen-bridge-tariff.service",
    TIMER:                          f"{UNIT_DIR}/{TIMER}",
    "sigen-bridge-watch.service":   f"{UNIT_DIR}/sigen-bridge-watch.service",
    WATCH_TIMER:                    f"{UNIT_DIR}/{WATCH_TIMER}",
    ENPHASE:                        f"{UNIT_DIR}/{ENPHASE}",
    STEPS:                          f"{STEPS_DIR}/{STEPS}",
}
SYSUSERS = PLACES["sysusers.d/sigen-bridge.conf"]
FILES = (*PLACES.values(), CONFIG)
DIRECTORIES = (CONFIG_DIR, STATE_DIR, STEPS_DIR)


class Record(NamedTuple):
    """Files with their fingerprints, directories, the command's link, the user; all made by install.

    ``enabled`` is True once the service was, ``pending`` from install's first step to its last.
    """

    files: Mapping[str, str]
    directories: Tuple[str, ...]
    link: bool = False
    user: bool = False
    enabled: bool = False
    pending: bool = False

    @property
    def empty(self) -> bool:
        """True when there is nothing left to take away."""
        return not (self.files or self.directories or self.link or self.user or self.enabled)


def record_from(content: Any) -> Record:
    """Return the record from what its file holds; what install could not have made is left out."""
    told = content if isinstance(content, dict) else {}
    files, directories = told.get("files"), told.get("directories")
    return Record(
        {path: str(mark) for path, mark in files.items() if path in FILES} if isinstance(files, dict) else {},
        tuple(path for path in directories if path in DIRECTORIES) if isinstance(directories, list) else (),
        *(told.get(name) is True for name in ("link", "user", "enabled", "pending")),
    )


def content_of(record: Record) -> Dict[str, Any]:
    """Return what the record's file holds."""
    return {"schema": 1, **record._asdict(), "directories": list(record.directories)}


def with_change(record: Record, change: Change, foreign: bool) -> Record:
    """Return the record with what ``change`` will make; ``foreign`` is True for somebody else's file."""
    if change.kind == "file" and not foreign:
        return record._replace(files={**record.files, change.path: fingerprint(change.content)})
    if change.kind == "directory" and change.path not in record.directories:
        return record._replace(directories=(*record.directories, change.path))
    if change.kind == "link":
        return record._replace(link=True)
    if change.kind == "run" and change.path == USER:
        return record._replace(user=True)
    if change.kind == "run" and "enable" in change.argv:
        return record._replace(enabled=True)
    return record


def without_change(record: Record, change: Change) -> Record:
    """Return the record without what ``change`` has taken away."""
    if change.kind == "remove":
        files = {path: mark for path, mark in record.files.items() if path != change.path}
        return record._replace(files=files, link=record.link and change.path != LINK)
    if change.kind in ("rmdir", "rmtree"):
        return record._replace(directories=tuple(path for path in record.directories if path != change.path))
    if change.kind == "run" and change.path == USER:
        return record._replace(user=False)
    if change.kind == "run" and "disable" in change.argv:
        return record._replace(enabled=False)
    return record
