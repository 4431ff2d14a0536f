"""Packages built once for all tests, and what they are installed into."""

from __future__ import annotations

import subprocess

import pytest

from bridge.clock import Clock
from firmware_targets import __main__ as tool
from firmware_targets import deb, installer, ipk, vendor, wheel

from ..conftest import STRICT
from .roots import EPOCH, PARTS, unpack


@pytest.fixture(scope="session")
def dist(tmp_path_factory):
    """Build every package but wheel and sdist, once."""
    try:
        vendor.fetch(tool.CACHE)
    except (vendor.VendorError, subprocess.TimeoutExpired) as error:
        if STRICT:
            raise
        pytest.skip(f"{error}; make vendor fetches the wheels")
    out = tmp_path_factory.mktemp("dist")
    for name in PARTS:
        (out / ipk.filename(name)).write_bytes(ipk.pack(name, tool.CACHE, EPOCH))
    (out / deb.filename()).write_bytes(deb.pack(tool.CACHE, EPOCH))
    (out / installer.FILENAME).write_bytes(installer.pack(tool.CACHE, EPOCH))
    return out


@pytest.fixture(scope="session")
def distributions():
    """Build wheel and sdist, once."""
    try:
        return wheel.pack(EPOCH)
    except wheel.BuildError as error:
        if STRICT:
            raise
        pytest.skip(str(error))


@pytest.fixture
def plant():
    from bridge.sim.plant import PlantSim

    with PlantSim(Clock(), scenario="s3") as simulator:
        yield simulator


@pytest.fixture(scope="session")
def core(dist, tmp_path_factory):
    """An empty router with the core package, its modules compiled."""
    root = tmp_path_factory.mktemp("core") / "root"
    root.mkdir()
    unpack(dist / ipk.filename("sigen-bridge"), root)
    return root
