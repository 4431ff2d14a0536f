"""Packages opened and installed into empty directories, and the installed bridge run as on a router."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from firmware_targets import contents

ROOT = Path(__file__).parent.parent.parent
FEED_PYTHON = ROOT / "tests" / "procd_stub" / "feed_python.py"
PARTS = tuple(contents.parts())
EPOCH = 1_700_000_000
SHELLS = [
    pytest.param(["busybox", "ash"], id="busybox", marks=pytest.mark.needs("busybox")),
    pytest.param(["dash"], id="dash", marks=pytest.mark.needs("dash")),
]


def members(content):
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        return [
            (member, archive.extractfile(member).read() if member.isfile() else b"") for member in archive
        ]


def opened(path):
    """Return the three members of an .ipk by name."""
    return {member.name: content for member, content in members(path.read_bytes())}


def control_files(path):
    return {member.name[2:]: content for member, content in members(opened(path)["./control.tar.gz"])}


def fields(text):
    return dict(line.split(": ", 1) for line in text.decode().splitlines())


def unpack(path, root):
    """Do what opkg does with the files of an .ipk."""
    for member, content in members(opened(path)["./data.tar.gz"]):
        if member.isfile():
            target = root / member.name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
            target.chmod(member.mode)


def run_step(path, step, root):
    """Run a maintainer script of an .ipk under busybox ash, its absolute paths moved below ``root``."""
    text = control_files(path)[step].decode()
    for place in ("/usr/lib/", "/lib/functions.sh", "/etc/init.d/"):
        text = re.sub(rf"(?<![\w/]){place}", f"{root}{place}", text.replace("${IPKG_INSTROOT:-}/lib", "/lib"))
    script = root.parent / f"{path.name}.{step}"
    script.write_text(text)
    done = subprocess.run(
        ["busybox", "ash", str(script), "configure"],
        capture_output=True,
        text=True,
        timeout=60,
        env={"PATH": os.environ["PATH"], "CALLS": str(root.parent / "calls")},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stderr


def files_below(root):
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if not path.is_dir())


def on_router(root, packages, *words, python=sys.executable):
    """Run the installed bridge with only the Python packages of a router."""
    return subprocess.run(
        [
            python,
            "-S",
            "-E",
            str(FEED_PYTHON),
            " ".join(packages),
            str(root / "usr/bin/sigen-bridge"),
            *words,
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd="/",
        stdin=subprocess.DEVNULL,
        env={"PATH": os.environ["PATH"]},
    )


def dumped(done):
    assert done.returncode == 0, done.stderr
    content = json.loads(done.stdout)
    return {row["name"]: row["value"] for row in content["registers"]}, content


def core_depends():
    return contents.parts()["sigen-bridge"].depends
