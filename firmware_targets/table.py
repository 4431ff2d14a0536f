"""The README's table of targets, made from the descriptors.

Never says that something was tried on a device: it says what a target has, and what that is known from.
"""

from __future__ import annotations

from typing import List, Sequence, Tuple

from firmware_targets.targets import Target

HEAD = ("Target", "Chip, RAM, flash", "Firmware", "Packages", "Python", "Runs the bridge?", "Known from")
FORMATS = {"ipk": "`.ipk`, `.run`", "apk": "`.run`", "deb": "`.deb`"}
EVIDENCE = {"run": "tools run", "src": "sources", "docs": "vendor pages", "rec": "recollection"}
VERDICTS = {"yes": "yes", "tight": "just", "no": "**no**"}


def table(targets: Sequence[Target]) -> str:
    """Return a markdown table of all targets that run programs."""
    rows: List[Tuple[str, ...]] = [HEAD, ("---",) * len(HEAD)]
    rows += [_row(target) for target in targets if target.kind != "display"]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def _row(target: Target) -> Tuple[str, ...]:
    return (
        target.get("target.name") or "",
        _hardware(target),
        target.get("software.firmware") or "-",
        FORMATS.get(target.get("software.package_format") or "", "-"),
        target.get("software.python") or "-",
        _verdict(target),
        ", ".join(EVIDENCE[word] for word in (target.get("target.evidence") or "").split()),
    )


def _hardware(target: Target) -> str:
    found: List[str] = []
    if target.get("hardware.soc"):
        found.append(target.get("hardware.soc") or "")
    for key, word in (("ram_mb", "RAM"), ("flash_mb", (target.get("hardware.flash_kind") or "").upper())):
        value = target.get(f"hardware.{key}")
        if value is None and key == "flash_mb" and target.kind == "router":
            found.append(word.replace("EMMC", "eMMC"))
        elif value is not None:
            found.append(f"{_size(int(value))} {word.replace('EMMC', 'eMMC')}")
    return ", ".join(found) or "-"


def _size(megabytes: int) -> str:
    return f"{megabytes // 1024} GB" if megabytes >= 1024 and megabytes % 1024 == 0 else f"{megabytes} MB"


def _verdict(target: Target) -> str:
    runs = target.get("verdict.runs")
    if runs is None:
        return f"{target.need_flash_mb} MB flash, {target.get('need.ram_mb')} MB RAM"
    advice = target.get("verdict.advice")
    return VERDICTS[runs] + (f": {advice}" if advice else f" ({target.need_flash_mb} MB flash)")
