"""The self-contained installer under busybox ash and dash, in empty roots."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
import sys

import pytest

from firmware_targets import installer

from .roots import SHELLS, core_depends, dumped, files_below, on_router


class Installer:
    """The .run file under one shell, below one root."""

    def __init__(self, shell, path, root):
        self.shell, self.path, self.root = shell, path, root
        self.environment = {"PATH": os.environ["PATH"], "PYTHON": sys.executable}

    def __call__(self, *words, code=0):
        done = subprocess.run(
            [*self.shell, str(self.path), "--root", str(self.root), *words],
            capture_output=True,
            text=True,
            timeout=120,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            check=False,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr


@pytest.fixture(params=SHELLS)
def run_file(dist, tmp_path, request):
    root = tmp_path / "the root"
    root.mkdir()
    return Installer(request.param, dist / installer.FILENAME, root)


def test_the_installer_installs_and_dump_runs_there(run_file, plant):
    run_file("--yes")
    found = files_below(run_file.root)
    assert {
        "etc/config/sigen-bridge",
        "etc/init.d/sigen-bridge",
        "usr/bin/sigen-bridge",
        "lib/upgrade/keep.d/sigen-bridge",
    } <= set(found)
    assert stat.S_IMODE((run_file.root / "etc/config/sigen-bridge").stat().st_mode) == 0o600
    assert any(path.endswith(".pyc") for path in found)
    _, content = dumped(
        on_router(run_file.root, core_depends(), "dump", "--json", "--host", f"127.0.0.1:{plant.port}")
    )
    assert content["load_w"] == 11340


@pytest.mark.parametrize(
    "options", [(), ("--all",), ("--rs485", "--service", "systemd"), ("--service=none",)]
)
def test_uninstalling_leaves_no_file_behind(run_file, options):
    run_file("--yes", *options)
    assert len(files_below(run_file.root)) > 50
    run_file("--yes", "--uninstall")
    assert list(run_file.root.iterdir()) == []


def test_uninstalling_touches_nothing_of_others(run_file):
    for name in ("etc/config/network", "usr/lib/other/file", "etc/config/sigen-bridge-barn"):
        (run_file.root / name).parent.mkdir(parents=True, exist_ok=True)
        (run_file.root / name).write_text("x")
    run_file("--yes")
    said = run_file("--yes", "--uninstall")
    assert files_below(run_file.root) == [
        "etc/config/network",
        "etc/config/sigen-bridge-barn",
        "usr/lib/other/file",
    ]
    assert "left alone: " in said and "sigen-bridge-barn" in said


def test_an_upgrade_keeps_configuration_and_parts_and_drops_obsolete_files(run_file):
    run_file("--yes", "--rs485")
    config = run_file.root / "etc/config/sigen-bridge"
    config.write_text("config modbus 'modbus'\n\toption host '10.1.2.3'\n")
    obsolete = run_file.root / "usr/lib/sigen-bridge/bridge/obsolete.py"
    obsolete.write_text("")
    manifest = run_file.root / "usr/lib/sigen-bridge/manifest"
    manifest.write_text(manifest.read_text() + "/usr/lib/sigen-bridge/bridge/obsolete.py\n")
    before = set(files_below(run_file.root))
    run_file("--yes")
    assert config.read_text() == "config modbus 'modbus'\n\toption host '10.1.2.3'\n"
    assert before - set(files_below(run_file.root)) == {"usr/lib/sigen-bridge/bridge/obsolete.py"}
    run_file("--yes", "--uninstall", "--keep-config")
    assert files_below(run_file.root) == ["etc/config/sigen-bridge"]


def test_one_command_brings_it_back_after_a_firmware_update(run_file, plant):
    """GL.iNet's update drops what was installed and keeps what keep.d names."""
    run_file("--yes", "--rs485")
    before = files_below(run_file.root)
    config = run_file.root / "etc/config/sigen-bridge"
    config.write_text("config modbus 'modbus'\n\toption host '10.1.2.3'\n")
    for place in ("usr", "lib", "etc/init.d"):
        shutil.rmtree(run_file.root / place)
    kept = run_file.root / "etc/sigen-bridge/sigen-bridge.run"
    run_file.path = kept
    run_file("--yes", "--packages")
    assert files_below(run_file.root) == before
    assert "10.1.2.3" in config.read_text()


def test_it_does_not_stay_where_it_is_not_wanted(run_file):
    run_file("--yes", "--no-keep")
    assert not (run_file.root / "etc/sigen-bridge").exists()


def test_the_systemd_form_brings_units_and_an_ini(run_file):
    run_file("--yes", "--service", "systemd")
    found = files_below(run_file.root)
    assert {"usr/lib/systemd/system/sigen-bridge.service", "etc/sigen-bridge/sigen-bridge.ini"} <= set(found)
    assert not any(path.startswith("etc/init.d") for path in found)


def test_missing_feed_packages_are_named(run_file, tmp_path):
    python = tmp_path / "python3"
    python.write_text(
        f'#!/bin/sh\ncase "$*" in *logging* | *encodings.idna*) exit 1 ;; esac\nexec {sys.executable} "$@"\n'
    )
    python.chmod(0o755)
    run_file.environment["PYTHON"] = str(python)
    said = run_file("--yes", code=1)
    assert "python3-codecs python3-logging" in said and "python3-openssl" not in said
    assert files_below(run_file.root) == []


def test_without_python_every_needed_package_is_named(run_file):
    run_file.environment["PYTHON"] = "python3-is-not-here"
    said = run_file("--yes", "--rs485", code=1)
    for package in (*core_depends(), "python3-asyncio"):
        assert package in said


def test_an_apk_router_is_not_told_the_package_that_it_lacks(run_file, tmp_path):
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("apk", "opkg"):
        (tools / name).write_text("#!/bin/sh\n")
        (tools / name).chmod(0o755)
    run_file.environment.update(PYTHON="python3-is-not-here", PATH=f"{tools}:{os.environ['PATH']}")
    assert "opkg install python3-light" in run_file("--yes", code=1)
    (tools / "opkg").unlink()
    said = run_file("--yes", code=1)
    assert "apk add" in said and "python3-email" not in said


def test_too_old_a_python_is_refused(run_file, tmp_path):
    python = tmp_path / "python3"
    python.write_text(
        '#!/bin/sh\ncase "$*" in *version_info*) exit 1 ;; --version) echo "Python 3.7.1" ;; esac\nexit 0\n'
    )
    python.chmod(0o755)
    run_file.environment["PYTHON"] = str(python)
    assert "Python 3.7.1 is too old" in run_file("--yes", code=1)


def test_too_little_space_is_said_before_anything_is_written(run_file, tmp_path):
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "df").write_text(
        "#!/bin/sh\necho 'Filesystem 1024-blocks Used Available Capacity Mounted on'\n"
        "echo '/dev/x 9 8 100 99% /'\n"
    )
    (tools / "df").chmod(0o755)
    run_file.environment["PATH"] = f"{tools}:{os.environ['PATH']}"
    if run_file.shell[0] == "busybox":
        run_file.shell = ["busybox", "ash", "-c", f'df() {{ {tools}/df; }}; script="$0"; . "$script"']
    said = run_file("--yes", code=1)
    assert re.search(r"\d+ KiB are needed in .*, 100 KiB are free", said)
    assert files_below(run_file.root) == []


def test_a_damaged_file_is_refused(run_file, tmp_path):
    content = bytearray(run_file.path.read_bytes())
    content[-2000] ^= 0xFF
    run_file.path = tmp_path / "damaged.run"
    run_file.path.write_bytes(bytes(content))
    assert "damaged" in run_file("--yes", code=1)
    assert files_below(run_file.root) == []


def test_without_a_terminal_it_does_not_guess(run_file):
    assert "give --yes" in run_file(code=2)
    assert "unknown option --quick" in run_file("--quick", code=2)
    assert files_below(run_file.root) == []


def test_checking_changes_nothing(run_file):
    assert "everything is there" in run_file("--check")
    assert files_below(run_file.root) == []


def test_the_installer_asks_for_what_the_ipk_depends_on():
    assert set(installer.MODULES.values()) == set(core_depends())
