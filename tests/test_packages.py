"""Packages, installed into empty directories and run there: .ipk, .deb and the self-contained installer.

Nothing here ran on OpenWrt: .ipk files are unpacked by the format's own rules, not by opkg.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import re
import shutil
import stat
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from bridge import __version__
from bridge.clock import Clock
from firmware_targets import __main__ as tool
from firmware_targets import contents, deb, installer, ipk, sizes, vendor, wheel

from .conftest import STRICT

ROOT = Path(__file__).parent.parent
FEED_PYTHON = Path(__file__).parent / "procd_stub" / "feed_python.py"
PARTS = tuple(contents.parts())
EPOCH = 1_700_000_000
VERSIONS = ("3.9", "3.10", "3.11", "3.12", "3.13", "3.14")
SHELLS = [
    pytest.param(["busybox", "ash"], id="busybox", marks=pytest.mark.needs("busybox")),
    pytest.param(["dash"], id="dash", marks=pytest.mark.needs("dash")),
]


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


def members(content):
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        return [(member, archive.extractfile(member).read() if member.isfile() else b"") for member in archive]


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
        text = re.sub(rf'(?<![\w/]){place}', f"{root}{place}", text.replace("${IPKG_INSTROOT:-}/lib", "/lib"))
    script = root.parent / f"{path.name}.{step}"
    script.write_text(text)
    done = subprocess.run(["busybox", "ash", str(script), "configure"], capture_output=True, text=True, timeout=60,
                          env={"PATH": os.environ["PATH"], "CALLS": str(root.parent / "calls")}, check=False)
    assert done.returncode == 0, done.stderr
    return done.stderr


def files_below(root):
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if not path.is_dir())


def on_router(root, packages, *words, python=sys.executable):
    """Run the installed bridge with only the Python packages of a router."""
    return subprocess.run([python, "-S", "-E", str(FEED_PYTHON), " ".join(packages),
                           str(root / "usr/bin/sigen-bridge"), *words],
                          capture_output=True, text=True, timeout=60, check=False, cwd="/", stdin=subprocess.DEVNULL,
                          env={"PATH": os.environ["PATH"]})


def dumped(done):
    assert done.returncode == 0, done.stderr
    content = json.loads(done.stdout)
    return {row["name"]: row["value"] for row in content["registers"]}, content


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


# ---- what is in them --------------------------------------------------------------------------------------


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
    modes = {member.name: member.mode for member, _ in members(opened(dist / ipk.filename("sigen-bridge"))["./data.tar.gz"])}
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
    for name in ("etc/config/sigen-bridge", "etc/config/sigen-bridge-barn", "etc/config/network",
                 "etc/sigen-bridge/lease.json", "usr/bin/sigen-bridge"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    keep = (core / "lib/upgrade/keep.d/sigen-bridge").read_text()
    script = f"find $(echo '{keep}' | sed 's|^/|{tmp_path}/|') -type f"
    listed = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True, timeout=20).stdout
    assert sorted(line[len(str(tmp_path)):] for line in listed.split()) == [
        "/etc/config/sigen-bridge", "/etc/config/sigen-bridge-barn", "/etc/sigen-bridge/lease.json"]


@pytest.mark.needs("shellcheck")
@pytest.mark.parametrize("name", ["bytecode", "deb-postinst", "deb-postrm", "deb-prerm", "installer", "ipk-postinst",
                                  "ipk-prerm"])
def test_shellcheck_has_nothing_to_say(name):
    text = contents.script(f"{name}.sh").decode()
    text = text.replace("@HEADER@", "4096").replace("@PACKAGES@", "one two")
    text = re.sub(r"@[A-Z0-9_]+@", "x", text)
    done = subprocess.run(["shellcheck", "-s", "sh", "-"], input=text, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "")


def test_core_modules_never_import_at_the_top_what_another_package_holds():
    everyone = contents.parts()
    where = {contents.module_name(path): contents.owner(path, everyone)
             for path, _ in contents.read_tree(ROOT / "bridge", "*.py")}
    assert set(where.values()) == {"sigen-bridge", "sigen-bridge-cloud", "sigen-bridge-sim"}
    for path, content in contents.read_tree(ROOT / "bridge", "*.py"):
        own = where[contents.module_name(path)]
        for module in contents.top_imports(content.decode()):
            other = where.get(module, "sigen-bridge")
            assert other in (own, "sigen-bridge"), f"{path} ({own}) imports {module} ({other}): see packages.ini"


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
    subprocess.run(["sh", str(root / "usr/lib/sigen-bridge/bytecode"), "compile", "sigen-bridge"], check=True, timeout=60,
                   env={"PATH": os.environ["PATH"], "PYTHON": sys.executable})
    real = sum(path.stat().st_size for path in root.rglob("*.pyc")) / 1024
    counted = next(sizes.installed(tool.CACHE)).compiled_kib
    assert abs(real - counted) < 0.1 * real


def test_the_same_sources_give_the_same_bytes(dist, distributions, tmp_path):
    environment = {**os.environ, "PYTHONHASHSEED": "7", "TZ": "Australia/Sydney", "SOURCE_DATE_EPOCH": str(EPOCH),
                   "PYTHONPATH": str(ROOT)}
    script = f"umask 077; exec {sys.executable} -m firmware_targets packages --out {tmp_path}"
    done = subprocess.run(["sh", "-c", script], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300,
                          check=False)
    assert done.returncode == 0, done.stderr + done.stdout
    again = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in tmp_path.iterdir()}
    first = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in dist.iterdir()}
    first.update({name: hashlib.sha256(content).hexdigest() for name, content in distributions.items()})
    assert again == first
    for name in first:
        assert re.search(rf"\d+ KiB .*{re.escape(name)}", done.stdout), "sizes are printed"


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
    assert names[-1].endswith(".dist-info/RECORD") and any(name.endswith("entry_points.txt") for name in names)
    packed = {member.name.partition("/")[2] for member, _ in members(distributions[sdist_name])}
    assert wanted | {"setup.cfg", "pyproject.toml"} <= packed


# ---- .ipk, installed --------------------------------------------------------------------------------------


@pytest.mark.needs("busybox")
def test_an_ipk_is_compiled_on_the_router_and_leaves_nothing_behind(dist, tmp_path):
    root = tmp_path / "root"
    (root / "lib").mkdir(parents=True)
    (root / "lib/functions.sh").write_text(
        'default_postinst() { echo "postinst $#" >>"$CALLS"; }\ndefault_prerm() { echo "prerm $#" >>"$CALLS"; }\n')
    (root / "etc/init.d").mkdir(parents=True)
    packages = [dist / ipk.filename(name) for name in PARTS]
    for path in packages:
        unpack(path, root)
        assert run_step(path, "postinst", root) == ""
    compiled = {path for path in files_below(root) if path.endswith(".pyc")}
    modules = {path for path in files_below(root) if path.endswith(".py")}
    assert len(compiled) == len(modules)
    listed = "".join((root / f"usr/lib/sigen-bridge/{name}.compiled").read_text() for name in PARTS)
    assert {f"usr/lib/sigen-bridge/{line}" for line in listed.split()} == {re.sub(r"/\./", "/", path) for path in compiled}
    for path in reversed(packages):
        run_step(path, "prerm", root)
        for member, _ in members(opened(path)["./data.tar.gz"]):
            if member.isfile():
                (root / member.name).unlink()
    assert files_below(root) == ["lib/functions.sh"]
    assert (tmp_path / "calls").read_text().split("\n") == ["postinst 2"] * 4 + ["prerm 2"] * 4 + [""]


@pytest.mark.needs("busybox")
def test_an_image_builder_does_not_compile_with_its_own_python(dist, tmp_path):
    """IPKG_INSTROOT is set there, and the Python of the build machine is another one."""
    root = tmp_path / "root"
    unpack(dist / ipk.filename("sigen-bridge"), root)
    before = files_below(root)
    script = tmp_path / "postinst"
    script.write_bytes(control_files(dist / ipk.filename("sigen-bridge"))["postinst"])
    subprocess.run(["busybox", "ash", str(script), "configure"], check=True, timeout=60,
                   env={"PATH": os.environ["PATH"], "IPKG_INSTROOT": str(root)})
    assert files_below(root) == before


def core_depends():
    return contents.parts()["sigen-bridge"].depends


def test_the_core_runs_on_the_python_of_a_router(core):
    done = on_router(core, core_depends(), "--version")
    assert (done.returncode, done.stdout) == (0, f"sigen-bridge {__version__}\n")
    overview = on_router(core, core_depends(), "--help")
    assert overview.returncode == 0 and "dump" in overview.stdout and "demo" not in overview.stdout.split("usage")[1].split("COMMAND --help")[0]


def test_dump_works_on_the_python_of_a_router(core, plant):
    values, content = dumped(on_router(core, core_depends(), "dump", "--json", "--host", f"127.0.0.1:{plant.port}"))
    assert content["source"] == "modbus-tcp" and len(values) == 5
    assert content["load_w"] == 11340


def test_the_bridge_runs_and_shows_on_a_shelly_with_the_python_of_a_router(core, plant):
    from bridge.sim.shelly import ShellySim, s3_components

    for transport in ("ws", "http"):
        with ShellySim(Clock(), components=s3_components()) as shelly:
            done = on_router(core, core_depends(), "run", "--cycles", "2", "--poll-interval-s", "0.2", "--host",
                             f"127.0.0.1:{plant.port}", "--shelly-host", f"127.0.0.1:{shelly.port}",
                             "--shelly-transport", transport, "--status-listen", "127.0.0.1:0")
            assert done.returncode == 0, done.stderr
            assert shelly.values[204] == 11340, done.stderr


@pytest.mark.parametrize("missing", ["python3-logging", "python3-urllib", "python3-email"])
def test_a_missing_feed_package_is_one_line(core, plant, missing):
    """The reverse check: the core does need what it declares, and says so without a traceback."""
    rest = [name for name in core_depends() if name != missing]
    done = on_router(core, rest, "run", "--cycles", "1", "--host", f"127.0.0.1:{plant.port}", "--shelly-host", "127.0.0.1:9")
    assert done.returncode == 2
    assert re.fullmatch(r"sigen-bridge: Python module \S+ is missing; .*\n", done.stderr), done.stderr


def test_a_command_of_another_package_names_the_package(core):
    done = on_router(core, core_depends(), "demo")
    assert (done.returncode, done.stderr) == (2, "sigen-bridge: demo needs the package sigen-bridge-sim; install it\n")


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
        f"import sys\nsys.path.insert(0, {str(root / contents.LIBRARY)!r})\nimport bridge.link.cloud\nimport requests\n"
        "assert requests.__file__.startswith(sys.path[0]), requests.__file__\nprint(requests.__version__)\n")
    done = subprocess.run([sys.executable, "-S", "-E", "-W", "error", str(FEED_PYTHON), " ".join(core_depends()), str(script)],
                          capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, vendor.pins()["requests"].version), done.stderr


def interpreter(version):
    """Return a Python of this version, or None; version managers' stand-ins do not count."""
    places = [*Path.home().glob(f".pyenv/versions/{version}.*/bin/python{version}"), shutil.which(f"python{version}")]
    for place in places:
        if place and subprocess.run([str(place), "-c", ""], capture_output=True, timeout=20).returncode == 0:
            return str(place)
    return None


@pytest.mark.parametrize("version", VERSIONS)
def test_the_core_runs_on_every_python(core, plant, version):
    python = interpreter(version)
    if python is None:
        pytest.skip(f"there is no Python {version} here")
    values, _ = dumped(on_router(core, core_depends(), "dump", "--json", "--host", f"127.0.0.1:{plant.port}", python=python))
    assert len(values) == 5


def test_running_it_writes_no_bytecode(core, plant):
    before = files_below(core)
    subprocess.run([sys.executable, str(core / "usr/bin/sigen-bridge"), "dump", "--host", f"127.0.0.1:{plant.port}"],
                   check=True, capture_output=True, timeout=60, env={"PATH": os.environ["PATH"]})
    assert files_below(core) == before


# ---- .deb -------------------------------------------------------------------------------------------------


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
            ["dpkg", f"--root={root}", "--force-script-chrootless,depends,confdef,confold,not-root,bad-path", *map(str, words)],
            capture_output=True, text=True, timeout=120, check=False, stdin=subprocess.DEVNULL,
            env={"PATH": os.environ["PATH"] + ":/usr/sbin:/sbin", "DPKG_FRONTEND_LOCKED": "1"})
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
    values, content = dumped(subprocess.run(
        [sys.executable, "-S", "-E", str(root / "usr/bin/sigen-bridge"), "dump", "--json", "--host", f"127.0.0.1:{plant.port}"],
        capture_output=True, text=True, timeout=60, check=False))
    assert content["load_w"] == 11340
    compiled = [path for path in own_files(root) if path.endswith(".pyc")]
    assert len(compiled) > 150

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
        name, length = content[at:at + 16].decode().strip(), int(content[at + 48:at + 58])
        yield name, content[at + 60:at + 60 + length]
        at += 60 + length + length % 2


def _newer(path):
    """Yield the members of the package with a later version and another default configuration."""
    for name, content in _deb_members(path):
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as archive:
            for member, body in members(content) if name.endswith(".gz") else ():
                if member.name == "./control":
                    body = body.replace(f"Version: {__version__}".encode(), f"Version: {__version__}+1".encode())
                elif member.name == f"./{deb.CONFIG}":
                    body += b"# newer\n"
                member.size = len(body)
                archive.addfile(member, io.BytesIO(body))
        yield name, gzip.compress(buffer.getvalue()) if name.endswith(".gz") else content


@pytest.mark.needs("dpkg-deb")
def test_dpkg_deb_reads_what_we_packed(dist):
    path = str(dist / deb.filename())
    shown = subprocess.run(["dpkg-deb", "--info", path], capture_output=True, text=True, check=True, timeout=60).stdout
    assert "Architecture: all" in shown and "Depends: python3 (>= 3.9)" in shown
    listed = subprocess.run(["dpkg-deb", "--contents", path], capture_output=True, text=True, check=True, timeout=60).stdout
    assert all(" root/root " in line for line in listed.splitlines())
    for wanted in ("./usr/lib/systemd/system/sigen-bridge.service", "./usr/lib/sigen-bridge/pymodbus/__init__.py",
                   "./usr/lib/sigen-bridge/requests/__init__.py", "./usr/lib/sysusers.d/sigen-bridge.conf"):
        assert wanted in listed
    assert "dist-packages" not in listed and "site-packages" not in listed


# ---- the installer ----------------------------------------------------------------------------------------


class Installer:
    """The .run file under one shell, below one root."""

    def __init__(self, shell, path, root):
        self.shell, self.path, self.root = shell, path, root
        self.environment = {"PATH": os.environ["PATH"], "PYTHON": sys.executable}

    def __call__(self, *words, code=0):
        done = subprocess.run([*self.shell, str(self.path), "--root", str(self.root), *words], capture_output=True,
                              text=True, timeout=120, env=self.environment, stdin=subprocess.DEVNULL, check=False)
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
    assert {"etc/config/sigen-bridge", "etc/init.d/sigen-bridge", "usr/bin/sigen-bridge",
            "lib/upgrade/keep.d/sigen-bridge"} <= set(found)
    assert stat.S_IMODE((run_file.root / "etc/config/sigen-bridge").stat().st_mode) == 0o600
    assert any(path.endswith(".pyc") for path in found)
    _, content = dumped(on_router(run_file.root, core_depends(), "dump", "--json", "--host", f"127.0.0.1:{plant.port}"))
    assert content["load_w"] == 11340


@pytest.mark.parametrize("options", [(), ("--all",), ("--rs485", "--service", "systemd"), ("--service=none",)])
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
    assert files_below(run_file.root) == ["etc/config/network", "etc/config/sigen-bridge-barn", "usr/lib/other/file"]
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


def test_the_systemd_form_brings_units_and_an_ini(run_file):
    run_file("--yes", "--service", "systemd")
    found = files_below(run_file.root)
    assert {"usr/lib/systemd/system/sigen-bridge.service", "etc/sigen-bridge/sigen-bridge.ini"} <= set(found)
    assert not any(path.startswith("etc/init.d") for path in found)


def test_missing_feed_packages_are_named(run_file, tmp_path):
    python = tmp_path / "python3"
    python.write_text(f'#!/bin/sh\ncase "$*" in *logging* | *encodings.idna*) exit 1 ;; esac\nexec {sys.executable} "$@"\n')
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
    python.write_text('#!/bin/sh\ncase "$*" in *version_info*) exit 1 ;; --version) echo "Python 3.7.1" ;; esac\nexit 0\n')
    python.chmod(0o755)
    run_file.environment["PYTHON"] = str(python)
    assert "Python 3.7.1 is too old" in run_file("--yes", code=1)


def test_too_little_space_is_said_before_anything_is_written(run_file, tmp_path):
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "df").write_text("#!/bin/sh\necho 'Filesystem 1024-blocks Used Available Capacity Mounted on'\necho '/dev/x 9 8 100 99% /'\n")
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
