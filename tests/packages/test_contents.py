"""What is in the packages, how large it is, and that the same sources give the same bytes."""

from __future__ import annotations

import hashlib
import io
import os
import re
import shutil
import subprocess
import sys
import zipfile

import pytest

from bridge import __version__
from firmware_targets import __main__ as tool
from firmware_targets import contents, ipk, sizes, vendor

from .roots import EPOCH, PARTS, ROOT, control_files, fields, members, opened


@pytest.mark.parametrize("name", PARTS)
def test_an_ipk_has_its_three_members_in_order(dist, name):
    outer = [member for member, _ in members((dist / ipk.filename(name)).read_bytes())]
    assert [member.name for member in outer] == ["./debian-binary", "./data.tar.gz", "./control.tar.gz"]
    assert opened(dist / ipk.filename(name))["./debian-binary"] == b"2.0\n"


@pytest.mark.parametrize("name", PARTS)
def test_everything_in_an_ipk_belongs_to_root_and_has_plain_modes(dist, name):
    parts = opened(dist / ipk.filename(name))
    for archive in ("./data.tar.gz", "./control.tar.gz"):
        for member, _ in members(parts[archive]):
            assert (member.uid, member.gid, member.uname, member.gname) == (0, 0, "root", "root")
            assert member.mtime == EPOCH
            assert member.isdir() or member.isfile()
            assert member.name == "." or member.name.startswith("./")
            assert member.mode in ((0o755,) if member.isdir() else (0o644, 0o755, 0o600)), member.name
            assert "__pycache__" not in member.name and not member.name.endswith(".pyc")


def test_modes_of_what_runs_and_of_what_holds_secrets(dist):
    modes = {
        member.name: member.mode
        for member, _ in members(opened(dist / ipk.filename("sigen-bridge"))["./data.tar.gz"])
    }
    assert modes["./usr/bin/sigen-bridge"] == modes["./etc/init.d/sigen-bridge"] == 0o755
    assert modes["./etc/config/sigen-bridge"] == 0o600


@pytest.mark.parametrize("name", PARTS)
def test_control_fields_of_an_ipk(dist, name):
    path = dist / ipk.filename(name)
    files = control_files(path)
    shown = fields(files["control"])
    assert (shown["Package"], shown["Architecture"]) == (name, "all")
    assert shown["Version"] == f"{__version__}-1" and path.name == f"{name}_{__version__}-1_all.ipk"
    needed = shown["Depends"].split(", ")
    assert (needed[0] == "sigen-bridge") == (name != "sigen-bridge")
    assert all(re.fullmatch(r"python3-\w+|sigen-bridge", word) for word in needed)
    installed = [content for member, content in members(opened(path)["./data.tar.gz"]) if member.isfile()]
    assert int(shown["Installed-Size"]) == sum(map(len, installed))


def test_configuration_survives_package_and_firmware_upgrades(dist):
    path = dist / ipk.filename("sigen-bridge")
    assert control_files(path)["conffiles"] == b"/etc/config/sigen-bridge\n"
    kept = {member.name: content for member, content in members(opened(path)["./data.tar.gz"])}
    assert kept["./lib/upgrade/keep.d/sigen-bridge"] == b"/etc/config/sigen-bridge*\n/etc/sigen-bridge/\n"


def test_a_faked_sysupgrade_keeps_settings_and_state_of_every_plant(core, tmp_path):
    """As sysupgrade does: the lines of keep.d, expanded by the shell, are what find lists."""
    for name in (
        "etc/config/sigen-bridge",
        "etc/config/sigen-bridge-barn",
        "etc/config/network",
        "etc/sigen-bridge/lease.json",
        "usr/bin/sigen-bridge",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    keep = (core / "lib/upgrade/keep.d/sigen-bridge").read_text()
    script = f"find $(echo '{keep}' | sed 's|^/|{tmp_path}/|') -type f"
    listed = subprocess.run(
        ["sh", "-c", script], capture_output=True, text=True, check=True, timeout=20
    ).stdout
    assert sorted(line[len(str(tmp_path)) :] for line in listed.split()) == [
        "/etc/config/sigen-bridge",
        "/etc/config/sigen-bridge-barn",
        "/etc/sigen-bridge/lease.json",
    ]


@pytest.mark.needs("shellcheck")
@pytest.mark.parametrize(
    "name", ["bytecode", "deb-postinst", "deb-postrm", "deb-prerm", "installer", "ipk-postinst", "ipk-prerm"]
)
def test_shellcheck_has_nothing_to_say(name):
    text = contents.script(f"{name}.sh").decode()
    text = text.replace("@HEADER@", "4096").replace("@PACKAGES@", "one two")
    text = re.sub(r"@[A-Z0-9_]+@", "x", text)
    done = subprocess.run(
        ["shellcheck", "-s", "sh", "-"], input=text, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout) == (0, "")


def test_core_modules_never_import_at_the_top_what_another_package_holds():
    everyone = contents.parts()
    where = {
        contents.module_name(path): contents.owner(path, everyone)
        for path, _ in contents.read_tree(ROOT / "bridge", "*.py")
    }
    assert {"sigen-bridge", "sigen-bridge-cloud", "sigen-bridge-tools", "sigen-bridge-sim"} <= set(where.values())
    for path, content in contents.read_tree(ROOT / "bridge", "*.py"):
        own = where[contents.module_name(path)]
        for module in contents.top_imports(content.decode()):
            other = where.get(module, "sigen-bridge")
            assert other in (own, "sigen-bridge"), (
                f"{path} ({own}) imports {module} ({other}): see packages.ini"
            )


def test_a_module_is_in_exactly_one_package(dist):
    seen = {}
    for name in PARTS:
        for member, _ in members(opened(dist / ipk.filename(name))["./data.tar.gz"]):
            if member.isfile():
                assert seen.setdefault(member.name, name) == name, member.name
    ours = {name for name in seen if name.startswith("./usr/lib/sigen-bridge/bridge/")}
    assert len(ours) == len(list(contents.read_tree(ROOT / "bridge")))


def test_everything_stays_within_its_budget(dist):
    shown = list(sizes.installed(tool.CACHE))
    assert [row.name for row in shown][-1] == "sigen-bridge + sigen-bridge-rs485"
    assert shown[0].budget_kib == 1536 and shown[-1].budget_kib == 4096
    for row in shown:
        assert row.total_kib <= row.budget_kib, f"{row.name}: {row.total_kib:.0f} KiB"


def test_the_budget_counts_what_is_really_compiled(core, tmp_path):
    root = tmp_path / "root"
    shutil.copytree(core, root)
    subprocess.run(
        ["sh", str(root / "usr/lib/sigen-bridge/bytecode"), "compile", "sigen-bridge"],
        check=True,
        timeout=60,
        env={"PATH": os.environ["PATH"], "PYTHON": sys.executable},
    )
    real = sum(path.stat().st_size for path in root.rglob("*.pyc")) / 1024
    counted = next(sizes.installed(tool.CACHE)).compiled_kib
    assert abs(real - counted) < 0.1 * real


def test_the_same_sources_give_the_same_bytes(dist, tmp_path):
    """Two builds at once, with nothing in common but the sources and the time that files get."""
    builds = []
    for name, umask, surroundings in (
        ("one", "077", {"PYTHONHASHSEED": "7", "TZ": "Australia/Sydney"}),
        ("two", "022", {"PYTHONHASHSEED": "8", "TZ": "UTC", "LC_ALL": "C"}),
    ):
        environment = {**os.environ, "SOURCE_DATE_EPOCH": str(EPOCH), **surroundings}
        script = f"umask {umask}; exec {sys.executable} -m firmware_targets packages --out {tmp_path / name}"
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        builds.append(subprocess.Popen(["sh", "-c", script], cwd=ROOT, env=environment, text=True, **pipes))
    for build in builds:
        printed, complaints = build.communicate(timeout=300)
        assert build.returncode == 0, complaints + printed
    one, two = (
        {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in (tmp_path / name).iterdir()}
        for name in ("one", "two")
    )
    assert one == two
    assert len(one) == len(PARTS) + 4
    for name in one:
        assert re.search(rf"\d+ KiB .*{re.escape(name)}", printed), "sizes are printed"


def test_wheels_are_taken_by_their_hashes_only(dist, tmp_path):
    shutil.copytree(tool.CACHE, tmp_path / "cache")
    victim = next((tmp_path / "cache").glob("websocket_client-*.whl"))
    victim.write_bytes(victim.read_bytes() + b"x")
    with pytest.raises(vendor.VendorError, match="websocket-client"):
        vendor.entries(tmp_path / "cache", "websocket-client", contents.LIBRARY)


def test_wheel_and_sdist_hold_the_program(distributions):
    (wheel_name,) = [name for name in distributions if name.endswith(".whl")]
    (sdist_name,) = [name for name in distributions if name.endswith(".tar.gz")]
    with zipfile.ZipFile(io.BytesIO(distributions[wheel_name])) as archive:
        names = archive.namelist()
        assert archive.testzip() is None
    wanted = {f"bridge/{path}" for path, _ in contents.read_tree(ROOT / "bridge", "*.py")}
    assert wanted <= set(names)
    assert names[-1].endswith(".dist-info/RECORD") and any(
        name.endswith("entry_points.txt") for name in names
    )
    packed = {member.name.partition("/")[2] for member, _ in members(distributions[sdist_name])}
    assert wanted | {"setup.cfg", "pyproject.toml"} <= packed
