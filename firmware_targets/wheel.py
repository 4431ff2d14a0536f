"""Builds the wheel and the sdist with setuptools, from a copy of the tree, and packs both reproducibly.

Never leaves build folders or egg-info in the working tree, and needs no network.
"""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path
from time import gmtime
from typing import Dict

from firmware_targets.contents import ROOT
from firmware_targets.entries import gzipped

SOURCES = ("bridge", "init", "setup.cfg", "pyproject.toml", "README.md", "LICENSE", "MANIFEST.in")
BUILD_TIMEOUT_S = 180
# The backend changes sys.argv, so the folder is taken before.
BACKEND = """
import sys
from setuptools import build_meta
out = sys.argv[1]
build_meta.build_sdist(out)
build_meta.build_wheel(out)
"""


class BuildError(Exception):
    """setuptools could not build the distribution."""


def pack(epoch: int) -> Dict[str, bytes]:
    """Return wheel and sdist by file name. Raises BuildError."""
    with tempfile.TemporaryDirectory() as scratch:
        tree, out = Path(scratch) / "tree", Path(scratch) / "out"
        _copy(tree)
        out.mkdir()
        environment = {**os.environ, "SOURCE_DATE_EPOCH": str(epoch)}
        done = subprocess.run(
            [sys.executable, "-c", BACKEND, str(out)],
            cwd=tree,
            env=environment,
            timeout=BUILD_TIMEOUT_S,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise BuildError(f"building the wheel: {reason}; pip install setuptools wheel")
        built = {}
        for path in sorted(out.iterdir()):
            again = _same_zip if path.suffix == ".whl" else _same_sdist
            built[path.name] = again(path.read_bytes(), epoch)
        return built


def _copy(tree: Path) -> None:
    tree.mkdir()
    for name in SOURCES:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
        elif source.exists():
            shutil.copy(source, tree / name)


def _same_sdist(content: bytes, epoch: int) -> bytes:
    """Pack a .tar.gz again: sorted, everything root's, one time."""
    buffer = io.BytesIO()
    with (
        tarfile.open(fileobj=io.BytesIO(content)) as old,
        tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as new,
    ):
        for member in sorted(old.getmembers(), key=lambda item: item.name):
            member.uid = member.gid = 0
            member.uname = member.gname = "root"
            member.mtime, member.pax_headers = epoch, {}
            member.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
            new.addfile(member, old.extractfile(member) if member.isfile() else None)
    return gzipped(buffer.getvalue())


def _same_zip(content: bytes, epoch: int) -> bytes:
    """Pack a wheel again: sorted but for RECORD, which stays last; one time, plain modes."""
    buffer = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(content)) as old,
        zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as new,
    ):
        names = sorted(old.namelist(), key=lambda name: (name.endswith("/RECORD"), name))
        for name in names:
            info = zipfile.ZipInfo(name, gmtime(epoch)[:6])
            info.external_attr, info.compress_type = 0o100644 << 16, zipfile.ZIP_DEFLATED
            new.writestr(info, old.read(name))
    return buffer.getvalue()
