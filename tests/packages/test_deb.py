"""The .deb under the real dpkg, in an empty root."""

from __future__ import annotations

import gzip
import io
import os
import subprocess
import sys
import tarfile

import pytest

from bridge import __version__
from firmware_targets import deb

from .roots import EPOCH, dumped, files_below, members


@pytest.fixture
def debian(dist, tmp_path):
    """An empty root with a dpkg database, and a way to call the real dpkg on it."""
    root = tmp_path / "root"
    (root / "var/lib/dpkg/info").mkdir(parents=True)
    (root / "var/lib/dpkg/updates").mkdir()
    (root / "var/lib/dpkg/status").write_text("")
    (root / "var/lib/dpkg/available").write_text("")

    def dpkg(*words):
        done = subprocess.run(
            [
                "dpkg",
                f"--root={root}",
                "--force-script-chrootless,depends,confdef,confold,not-root,bad-path",
                *map(str, words),
            ],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            stdin=subprocess.DEVNULL,
            env={"PATH": os.environ["PATH"] + ":/usr/sbin:/sbin", "DPKG_FRONTEND_LOCKED": "1"},
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return root, dpkg


def own_files(root):
    return [path for path in files_below(root) if not path.startswith(("var/lib/dpkg/", "var/log/"))]


@pytest.mark.needs("dpkg")
def test_dpkg_installs_runs_upgrades_and_purges(dist, debian, plant, tmp_path):
    root, dpkg = debian
    dpkg("--install", dist / deb.filename())
    assert "Status: install ok installed" in dpkg("--status", "sigen-bridge")
    values, content = dumped(
        subprocess.run(
            [
                sys.executable,
                "-S",
                "-E",
                str(root / "usr/bin/sigen-bridge"),
                "dump",
                "--json",
                "--host",
                f"127.0.0.1:{plant.port}",
            ],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    )
    assert content["load_w"] == 11340
    compiled = [path for path in own_files(root) if path.endswith(".pyc")]
    assert len(compiled) > 150
    for place in ("bash-completion/completions/sigen-bridge", "zsh/vendor-completions/_sigen-bridge"):
        assert "battery" in (root / "usr/share" / place).read_text()

    config = root / deb.CONFIG
    config.write_text("[modbus]\nhost = 10.1.2.3\n")
    newer = tmp_path / "newer.deb"
    newer.write_bytes(deb.ar([(name, content) for name, content in _newer(dist / deb.filename())], EPOCH))
    dpkg("--install", newer)
    assert f"Version: {__version__}+1" in dpkg("--status", "sigen-bridge")
    assert config.read_text() == "[modbus]\nhost = 10.1.2.3\n"

    dpkg("--remove", "sigen-bridge")
    assert own_files(root) == [deb.CONFIG, deb.CONFIG + ".dpkg-dist"]
    dpkg("--purge", "sigen-bridge")
    assert own_files(root) == []


def _deb_members(path):
    content, at = path.read_bytes(), 8
    assert content[:8] == b"!<arch>\n"
    while at < len(content):
        name, length = content[at : at + 16].decode().strip(), int(content[at + 48 : at + 58])
        yield name, content[at + 60 : at + 60 + length]
        at += 60 + length + length % 2


def _newer(path):
    """Yield the members of the package with a later version and another default configuration."""
    for name, content in _deb_members(path):
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as archive:
            for member, body in members(content) if name.endswith(".gz") else ():
                if member.name == "./control":
                    body = body.replace(
                        f"Version: {__version__}".encode(), f"Version: {__version__}+1".encode()
                    )
                elif member.name == f"./{deb.CONFIG}":
                    body += b"# newer\n"
                member.size = len(body)
                archive.addfile(member, io.BytesIO(body))
        yield name, gzip.compress(buffer.getvalue()) if name.endswith(".gz") else content


@pytest.mark.needs("dpkg-deb")
def test_dpkg_deb_reads_what_we_packed(dist):
    path = str(dist / deb.filename())
    shown = subprocess.run(
        ["dpkg-deb", "--info", path], capture_output=True, text=True, check=True, timeout=60
    ).stdout
    assert "Architecture: all" in shown and "Depends: python3 (>= 3.9)" in shown
    listed = subprocess.run(
        ["dpkg-deb", "--contents", path], capture_output=True, text=True, check=True, timeout=60
    ).stdout
    assert all(" root/root " in line for line in listed.splitlines())
    for wanted in (
        "./usr/lib/systemd/system/sigen-bridge.service",
        "./usr/lib/sigen-bridge/pymodbus/__init__.py",
        "./usr/lib/sigen-bridge/requests/__init__.py",
        "./usr/lib/sysusers.d/sigen-bridge.conf",
    ):
        assert wanted in listed
    assert "dist-packages" not in listed and "site-packages" not in listed
