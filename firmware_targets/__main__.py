"""Command line of the build-time tools: python3 -m firmware_targets check|table|vendor|packages|stage."""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Dict, Optional, Sequence

from firmware_targets import contents, deb, installer, ipk, sizes, targets, vendor, wheel
from firmware_targets.entries import write_tree
from firmware_targets.table import table

CACHE = contents.ROOT / "build" / "vendor"
STAGE = contents.ROOT / "build" / "openwrt"
DIST = contents.ROOT / "dist"
FALLBACK_EPOCH = 1_767_225_600  # 2026-01-01, for a tree that is no git checkout


def epoch() -> int:
    """Return the time that every file in a package gets: SOURCE_DATE_EPOCH, else that of the last commit."""
    asked = os.environ.get("SOURCE_DATE_EPOCH", "")
    if asked.isdigit():
        return int(asked)
    command = ["git", "-C", str(contents.ROOT), "log", "-1", "--format=%ct"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except OSError:
        return FALLBACK_EPOCH
    return int(done.stdout) if done.returncode == 0 and done.stdout.strip().isdigit() else FALLBACK_EPOCH


def build(when: int) -> Dict[str, bytes]:
    """Return every package by file name."""
    built = {ipk.filename(name): ipk.pack(name, CACHE, when) for name in contents.parts()}
    built[deb.filename()] = deb.pack(CACHE, when)
    built[installer.FILENAME] = installer.pack(CACHE, when)
    built.update(wheel.pack(when))
    return built


def packages(out: Path) -> int:
    """Write every package into ``out`` and print their sizes; returns the exit code."""
    vendor.fetch(CACHE)
    when = epoch()
    out.mkdir(parents=True, exist_ok=True)
    for name, content in build(when).items():
        (out / name).write_bytes(content)
        (out / name).chmod(0o755 if name.endswith(".run") else 0o644)
        digest = hashlib.sha256(content).hexdigest()
        print(f"{len(content) / 1024:8.0f} KiB  {digest[:16]}  {out.name}/{name}")
    return budgets()


def budgets() -> int:
    """Print what is installed, compiled modules included, against its budget; returns the exit code."""
    over = 0
    for row in sizes.installed(CACHE):
        verdict = "ok" if row.total_kib <= row.budget_kib else "OVER BUDGET"
        over += row.total_kib > row.budget_kib
        print(
            f"{row.files_kib:8.0f} KiB  + {row.compiled_kib:5.0f} KiB compiled = {row.total_kib:5.0f} KiB "
            f"of {row.budget_kib} KiB  {row.name}  {verdict}"
        )
    return 1 if over else 0


def stage() -> int:
    """Write what the OpenWrt recipe packs to build/openwrt, one tree a package."""
    vendor.fetch(CACHE)
    for name in contents.parts():
        files = ipk.data(name, CACHE)
        shutil.rmtree(STAGE / name, ignore_errors=True)
        write_tree(files, STAGE / name)
        print(f"{len(files):4d} files  build/openwrt/{name}")
    return 0


def check() -> int:
    """Print what is wrong with the descriptors; returns the exit code."""
    problems = targets.problems()
    for problem in problems:
        print(problem)
    print(f"{len(targets.load())} targets, {len(problems)} problems")
    return 1 if problems else 0


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run one command; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python3 -m firmware_targets", description=__doc__)
    parser.add_argument("what", choices=("check", "table", "vendor", "packages", "stage", "sizes"))
    parser.add_argument("--out", type=Path, default=DIST, help="where packages go (default dist/)")
    args = parser.parse_args(argv)
    try:
        if args.what == "packages":
            return packages(args.out)
        if args.what == "stage":
            return stage()
        if args.what == "check":
            return check()
        if args.what == "table":
            print(table(targets.load()))
            return 0
        vendor.fetch(CACHE)
        return budgets() if args.what == "sizes" else 0
    except (vendor.VendorError, wheel.BuildError, targets.TargetError) as error:
        print(f"firmware_targets: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
