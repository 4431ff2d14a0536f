"""The descriptors: what each router, firmware and computer has, read from one INI file a target.

Never invents a value: what a model does not state comes from its base, and what neither states is None.
A model's ``base`` is the firmware it ships with (a path such as openwrt/21.02).
"""

from __future__ import annotations

import configparser
import re
from pathlib import Path
from typing import Dict, Iterator, List, NamedTuple, Optional, Tuple

from firmware_targets import contents, installer

HERE = Path(__file__).parent

# section.key -> pattern of the value; required ones by kind below.
SCHEMA = {
    "target.name": r".+",
    "target.kind": r"firmware|router|computer|display",
    "target.base": r"[a-z]+/[\w.-]+",
    "target.evidence": r"(run|src|docs|rec)( (run|src|docs|rec))*",
    "target.note": r".+",
    "hardware.soc": r".+",
    "hardware.cores": r"\d x \d+ MHz",
    "hardware.ram_mb": r"\d+",
    "hardware.flash_mb": r"\d+",
    "hardware.flash_kind": r"nor|nand|emmc|sd",
    "software.firmware": r".+",
    "software.package_manager": r"opkg|apk|apt|none",
    "software.package_format": r"ipk|apk|deb|none",
    "software.architecture": r"[\w-]+",
    "software.python": r"\d+\.\d+(\.\d+)?",
    "software.init": r"procd|systemd|none",
    "software.systemd": r"\d+",
    "packages.core": r"[\w.-]+( [\w.-]+)*",
    "packages.rs485": r"[\w.-]+( [\w.-]+)*",
    "packages.mqtt": r"[\w.-]+( [\w.-]+)*",
    "paths.config": r"/\S+",
    "paths.state": r"/\S+",
    "paths.service": r"/\S+",
    "paths.keep": r"/\S+( /\S+)*",
    "need.flash_mb": r"\d+",
    "need.flash_compressed_mb": r"\d+",
    "need.ram_mb": r"\d+",
    "verdict.runs": r"yes|tight|no",
    "verdict.advice": r".+",
}
SOFTWARE = (
    "software.package_manager",
    "software.package_format",
    "software.python",
    "software.init",
    "packages.core",
    "paths.config",
    "paths.state",
    "paths.service",
    "need.flash_mb",
    "need.ram_mb",
)
HARDWARE = ("hardware.soc", "hardware.ram_mb", "hardware.flash_kind", "software.architecture")
REQUIRED = {
    "firmware": ("target.name", "target.evidence", *SOFTWARE),
    "computer": ("target.name", "target.evidence", "verdict.runs", *SOFTWARE),
    "router": ("target.name", "target.evidence", "target.base", "verdict.runs", *SOFTWARE, *HARDWARE),
    "display": ("target.name", "target.evidence", "target.note"),
}
OLDEST_PYTHON = (3, 9)
COMPRESSING = ("nor", "nand")  # jffs2 and ubifs compress; ext4 and f2fs on eMMC do not


class TargetError(Exception):
    """A descriptor cannot be read at all."""


class Target(NamedTuple):
    """One target; ``values`` holds section.key, the base's values included."""

    ident: str
    values: Dict[str, str]

    def get(self, key: str) -> Optional[str]:
        """Return a value, or None when nobody stated it."""
        return self.values.get(key)

    @property
    def kind(self) -> str:
        """firmware, router, computer or display."""
        return self.values.get("target.kind", "")

    @property
    def python(self) -> Tuple[int, ...]:
        """The version of Python 3 that the target's packages have."""
        return tuple(int(part) for part in self.values.get("software.python", "0").split("."))

    @property
    def need_flash_mb(self) -> int:
        """What Python and the bridge take on this kind of flash."""
        key = "flash_compressed_mb" if self.get("hardware.flash_kind") in COMPRESSING else "flash_mb"
        return int(self.values.get(f"need.{key}", self.values.get("need.flash_mb", "0")))


def load() -> List[Target]:
    """Return every target, firmware first. Raises TargetError."""
    raw = {
        path.relative_to(HERE).with_suffix("").as_posix(): _read(path)
        for path in sorted(HERE.glob("*/*.ini"))
    }
    found = []
    for ident, values in raw.items():
        base = values.get("target.base")
        if base is not None and base not in raw:
            raise TargetError(f"{ident}: target.base {base}: there is no such descriptor")
        inherited = {
            key: value for key, value in raw.get(base or "", {}).items() if not key.startswith("target.")
        }
        found.append(Target(ident, {**inherited, **values}))
    return sorted(found, key=lambda target: (_order(target), target.ident))


def _order(target: Target) -> int:
    return ("firmware", "router", "computer", "display", "").index(target.kind)


def _read(path: Path) -> Dict[str, str]:
    book = configparser.ConfigParser(interpolation=None)
    try:
        book.read_string(path.read_text("utf-8"), str(path))
    except configparser.Error as error:
        raise TargetError(f"{path.name}: {' '.join(str(error).split())}") from error
    return {
        f"{section}.{key}": " ".join(value.split())
        for section in book.sections()
        for key, value in book[section].items()
    }


def problems() -> List[str]:
    """Return what is wrong with the descriptors, one line each: schema, sense, and the packers' names."""
    return [f"{target.ident}: {text}" for target in load() for text in (*_schema(target), *_sense(target))]


def _schema(target: Target) -> Iterator[str]:
    for key, value in target.values.items():
        if key not in SCHEMA:
            yield f"there is no key {key}"
        elif not re.fullmatch(SCHEMA[key], value):
            yield f"{key} = {value!r} is not {SCHEMA[key]}"
    for key in REQUIRED.get(target.kind, ()):
        if key not in target.values:
            yield f"{key} is missing"


def _sense(target: Target) -> Iterator[str]:
    runs = target.get("verdict.runs")
    if runs in ("yes", "tight") and target.python[:2] < OLDEST_PYTHON:
        yield f"runs = {runs}, but Python {target.get('software.python')} is older than 3.9"
    flash_mb, ours_mb = target.get("hardware.flash_mb"), target.need_flash_mb
    # The firmware itself takes up to three quarters of the flash.
    if runs == "yes" and flash_mb is not None and int(flash_mb) < 4 * ours_mb:
        yield f"runs = yes, but {flash_mb} MB of flash have to hold the firmware and {ours_mb} MB of ours"
    if runs not in (None, "yes") and "verdict.advice" not in target.values:
        yield f"runs = {runs} needs verdict.advice: what can the owner do?"
    yield from _packers(target)


def _packers(target: Target) -> Iterator[str]:
    """Hold the descriptor against what the packages and the installer name."""
    manager = target.get("software.package_manager")
    if manager not in ("opkg", "apk"):
        return
    core = set((target.get("packages.core") or "").split())
    wanted = set(contents.parts()[contents.CORE].depends)
    asked = set(installer.MODULES.values())
    if manager == "opkg" and core != wanted:
        yield f"packages.core differs from Depends of the .ipk: {' '.join(sorted(core ^ wanted))}"
    if not core <= asked:
        yield f"packages.core: the installer does not ask for: {' '.join(sorted(core - asked))}"
    rs485 = set((target.get("packages.rs485") or "").split())
    if rs485 != set(installer.MODULES_RS485.values()):
        yield "packages.rs485 differs from what the installer asks for"
    if set((target.get("packages.mqtt") or "").split()) != set(installer.MODULES_MQTT.values()):
        yield "packages.mqtt differs from what the installer asks for"
