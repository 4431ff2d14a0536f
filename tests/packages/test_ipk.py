"""The .ipk files, unpacked by the rules of the format and run with the Python of a router.

Nothing here ran on OpenWrt, nor under opkg.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bridge import __version__
from bridge.clock import Clock
from firmware_targets import contents, ipk, vendor
from tests.mqtt_broker import Mosquitto, tls_lines

from .roots import (
    FEED_PYTHON,
    PARTS,
    control_files,
    core_depends,
    dumped,
    files_below,
    members,
    on_router,
    opened,
    run_step,
    unpack,
)

VERSIONS = ("3.9", "3.10", "3.11", "3.12", "3.13", "3.14")


@pytest.mark.needs("busybox")
def test_an_ipk_is_compiled_on_the_router_and_leaves_nothing_behind(dist, tmp_path):
    root = tmp_path / "root"
    (root / "lib").mkdir(parents=True)
    (root / "lib/functions.sh").write_text(
        'default_postinst() { echo "postinst $#" >>"$CALLS"; }\n'
        'default_prerm() { echo "prerm $#" >>"$CALLS"; }\n'
    )
    (root / "etc/init.d").mkdir(parents=True)
    packages = [dist / ipk.filename(name) for name in PARTS]
    for path in packages:
        unpack(path, root)
        assert run_step(path, "postinst", root) == ""
    compiled = {path for path in files_below(root) if path.endswith(".pyc")}
    modules = {path for path in files_below(root) if path.endswith(".py")}
    assert len(compiled) == len(modules)
    listed = "".join((root / f"usr/lib/sigen-bridge/{name}.compiled").read_text() for name in PARTS)
    assert {f"usr/lib/sigen-bridge/{line}" for line in listed.split()} == {
        re.sub(r"/\./", "/", path) for path in compiled
    }
    for path in reversed(packages):
        run_step(path, "prerm", root)
        for member, _ in members(opened(path)["./data.tar.gz"]):
            if member.isfile():
                (root / member.name).unlink()
    assert files_below(root) == ["lib/functions.sh"]
    assert (tmp_path / "calls").read_text().split("\n") == ["postinst 2"] * len(PARTS) + ["prerm 2"] * len(PARTS) + [""]


@pytest.mark.needs("busybox")
def test_an_image_builder_does_not_compile_with_its_own_python(dist, tmp_path):
    """IPKG_INSTROOT is set there, and the Python of the build machine is another one."""
    root = tmp_path / "root"
    unpack(dist / ipk.filename("sigen-bridge"), root)
    before = files_below(root)
    script = tmp_path / "postinst"
    script.write_bytes(control_files(dist / ipk.filename("sigen-bridge"))["postinst"])
    subprocess.run(
        ["busybox", "ash", str(script), "configure"],
        check=True,
        timeout=60,
        env={"PATH": os.environ["PATH"], "IPKG_INSTROOT": str(root)},
    )
    assert files_below(root) == before


def test_the_core_runs_on_the_python_of_a_router(core):
    done = on_router(core, core_depends(), "--version")
    assert (done.returncode, done.stdout) == (0, f"sigen-bridge {__version__}\n")
    overview = on_router(core, core_depends(), "--help")
    assert (
        overview.returncode == 0
        and "dump" in overview.stdout
        and "demo" not in overview.stdout
    )


def test_dump_works_on_the_python_of_a_router(core, plant):
    values, content = dumped(
        on_router(core, core_depends(), "dump", "--json", "--host", f"127.0.0.1:{plant.port}")
    )
    assert content["source"] == "modbus-tcp" and len(values) == 5
    assert content["load_w"] == 11340


def test_the_bridge_runs_and_shows_on_a_shelly_with_the_python_of_a_router(core, plant):
    from bridge.sim.shelly import ShellySim, s3_components

    for transport in ("ws", "http"):
        with ShellySim(Clock(), components=s3_components()) as shelly:
            done = on_router(
                core,
                core_depends(),
                "run",
                "--cycles",
                "2",
                "--poll-interval-s",
                "0.2",
                "--host",
                f"127.0.0.1:{plant.port}",
                "--shelly-host",
                f"127.0.0.1:{shelly.port}",
                "--shelly-transport",
                transport,
                "--status-listen",
                "127.0.0.1:0",
            )
            assert done.returncode == 0, done.stderr
            assert shelly.values[204] == 11340, done.stderr


@pytest.mark.parametrize("missing", ["python3-logging", "python3-urllib", "python3-email"])
def test_a_missing_feed_package_is_one_line(core, plant, missing):
    """The reverse check: the core does need what it declares, and says so without a traceback."""
    rest = [name for name in core_depends() if name != missing]
    done = on_router(
        core,
        rest,
        "run",
        "--cycles",
        "1",
        "--host",
        f"127.0.0.1:{plant.port}",
        "--shelly-host",
        "127.0.0.1:9",
    )
    assert done.returncode == 2
    assert re.fullmatch(r"sigen-bridge: Python module \S+ is missing; .*\n", done.stderr), done.stderr


def test_a_command_of_another_package_names_the_package(core):
    done = on_router(core, core_depends(), "demo")
    assert (done.returncode, done.stderr) == (
        2,
        "sigen-bridge: demo needs the package sigen-bridge-sim; install it\n",
    )


def test_rs485_runs_with_what_its_package_declares(dist, core, tmp_path):
    from bridge.sim.plant import PlantSim

    root = tmp_path / "root"
    shutil.copytree(core, root)
    unpack(dist / ipk.filename("sigen-bridge-rs485"), root)
    needed = [*core_depends(), *contents.parts()["sigen-bridge-rs485"].depends]
    with PlantSim(Clock(), scenario="s3", serial=True, unit=1) as simulator:
        words = ("dump", "--json", "--serial", simulator.tty)
        for engine in ("pymodbus", "builtin"):
            values, content = dumped(on_router(root, needed, *words, "--modbus-engine", engine))
            assert content["source"] == "modbus-rtu" and content["load_w"] == 11340


def test_without_the_rs485_package_a_serial_line_is_a_clear_error(core):
    done = on_router(core, core_depends(), "dump", "--serial", "/dev/null")
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert "sigen-bridge-rs485" in done.stderr or "pymodbus" in done.stderr or "pyserial" in done.stderr


def test_the_cloud_package_imports_with_what_it_declares(dist, core, tmp_path):
    root = tmp_path / "root"
    shutil.copytree(core, root)
    unpack(dist / ipk.filename("sigen-bridge-cloud"), root)
    script = tmp_path / "use.py"
    script.write_text(
        f"import sys\nsys.path.insert(0, {str(root / contents.LIBRARY)!r})\n"
        "import bridge.link.cloud\nimport requests\n"
        "assert requests.__file__.startswith(sys.path[0]), requests.__file__\nprint(requests.__version__)\n"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-E", "-W", "error", str(FEED_PYTHON), " ".join(core_depends()), str(script)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout.strip()) == (0, vendor.pins()["requests"].version), done.stderr


@pytest.mark.needs("mosquitto", "mosquitto_sub", "openssl")
def test_the_mqtt_package_publishes_with_what_it_declares(dist, core, plant, pki, tmp_path):
    root = tmp_path / "root"
    shutil.copytree(core, root)
    words = ("mqtt", "publish", "--host", f"127.0.0.1:{plant.port}", "--status-listen", "off", "--mqtt-site", "home")
    done = on_router(root, core_depends(), *words)
    assert done.returncode == 2 and "mqtt needs the package sigen-bridge-mqtt" in done.stderr
    unpack(dist / ipk.filename("sigen-bridge-mqtt"), root)
    needed = [*core_depends(), *contents.parts()["sigen-bridge-mqtt"].depends]
    with Mosquitto(tmp_path / "broker", *tls_lines(pki, "allow_anonymous true")) as broker:
        there = (*words, "--mqtt-host", f"127.0.0.1:{broker.port}", "--mqtt-ca", pki.ca)
        done = on_router(root, needed, *there)
        assert done.returncode == 0 and "published 2 messages" in done.stdout, done.stderr
        assert "sigen-bridge/home/state" in broker.retained("#", "--cafile", pki.ca)
        done = on_router(root, core_depends(), *there)
        assert done.returncode == 2 and done.stderr.count("\n") == 1 and "python3-uuid" in done.stderr
    licences = {path.name for path in (root / contents.LIBRARY / "licenses").iterdir()}
    assert {"paho-mqtt.txt", "paho-mqtt-edl.txt"} <= licences


def interpreter(version):
    """Return a Python of this version, or None; version managers' stand-ins do not count."""
    places = [
        *Path.home().glob(f".pyenv/versions/{version}.*/bin/python{version}"),
        shutil.which(f"python{version}"),
    ]
    for place in places:
        if place and subprocess.run([str(place), "-c", ""], capture_output=True, timeout=20).returncode == 0:
            return str(place)
    return None


@pytest.mark.parametrize("version", VERSIONS)
def test_the_core_runs_on_every_python(core, plant, version):
    python = interpreter(version)
    if python is None:
        pytest.skip(f"there is no Python {version} here")
    values, _ = dumped(
        on_router(core, core_depends(), "dump", "--json", "--host", f"127.0.0.1:{plant.port}", python=python)
    )
    assert len(values) == 5


def test_running_it_writes_no_bytecode(core, plant):
    before = files_below(core)
    subprocess.run(
        [sys.executable, str(core / "usr/bin/sigen-bridge"), "dump", "--host", f"127.0.0.1:{plant.port}"],
        check=True,
        capture_output=True,
        timeout=60,
        env={"PATH": os.environ["PATH"]},
    )
    assert files_below(core) == before
