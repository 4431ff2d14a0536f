"""sigen-bridge install and uninstall into an empty root, with stand-ins that note what they are asked to do."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess

import pytest

from bridge.cli import main
from bridge.commands import install as install_verb
from bridge.commands import uninstall as uninstall_verb
from bridge.link.host import Host
from tests.commands.conftest import ROOT, one_line

UNITS = (
    "sigen-bridge-tariff.timer", "sigen-bridge-enphase.service", "sigen-bridge-loads.service", "sigen-bridge.service",
    "sigen-bridge-watch.timer",
)

PROGRAM = "/opt/sigen-bridge/bin/sigen-bridge"
CONFIG = "etc/sigen-bridge/sigen-bridge.ini"
RECORD = "var/lib/sigen-bridge/installed.json"
SERVICE = "etc/systemd/system/sigen-bridge.service"
# A stand-in notes its words; it fails while a file named FAIL-program is there, and keeps /etc/passwd.
STAND_IN = """#!/bin/sh
echo "${{0##*/}} $*" >> "{log}"
[ "$1" != --version ] || echo "systemd 257 (257.1)"
[ ! -e "{place}/FAIL-${{0##*/}}" ] || {{ echo "it broke"; exit 1; }}
case "${{0##*/}}" in
systemd-sysusers|useradd)
	echo sigen-bridge:x:990:990::/var/lib/sigen-bridge:/usr/sbin/nologin >> "{root}/etc/passwd"
	echo sigen-bridge:x:{gid}: >> "{root}/etc/group" ;;
userdel)
	: > "{root}/etc/passwd"; : > "{root}/etc/group" ;;
esac
"""


class Machine:
    """A root directory that looks like a Debian one, and the stand-ins for its commands."""

    def __init__(self, place):
        self.root, self.place, self.log = place / "root", place / "bin", place / "log"
        for name in ("etc", "usr/lib/systemd", "run/systemd/system", "opt/sigen-bridge/bin"):
            (self.root / name).mkdir(parents=True)
        for name in ("etc/passwd", "etc/group"):
            (self.root / name).write_text("")
        self.program = self.root / PROGRAM[1:]
        self.program.write_text("#!/bin/sh\n")
        self.place.mkdir()
        self.stand_ins("systemctl", "systemd-sysusers", "useradd", "userdel")

    def stand_ins(self, *names):
        for name in names:
            path = self.place / name
            path.write_text(STAND_IN.format(log=self.log, place=self.place, root=self.root, gid=os.getgid()))
            path.chmod(0o755)

    def fail(self, name, broken=True):
        path = self.place / f"FAIL-{name}"
        path.touch() if broken else path.unlink()

    def asked(self):
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        self.log.write_text("")
        return [line.replace(str(self.root), "ROOT") for line in lines if "--version" not in line]

    def files(self):
        return {str(path.relative_to(self.root)) for path in self.root.rglob("*") if not path.is_dir()}


@pytest.fixture
def machine(tmp_path, monkeypatch):
    one = Machine(tmp_path)
    monkeypatch.setenv("PATH", f"{one.place}:{os.environ['PATH']}")
    return one


@pytest.fixture
def image(machine, bridge):
    """Return a function that runs a verb on the machine as on an image that is not running."""

    def run(verb, *options):
        program = ("--program", PROGRAM) if verb == "install" else ()
        env = {"PATH": f"{machine.place}:{os.environ['PATH']}"}
        return bridge(verb, "--root", str(machine.root), *program, *options, env=env)

    return run


@pytest.fixture
def live(machine, monkeypatch, capsys):
    """Return a function that runs a verb on the machine as on this one, running, as root."""

    def this_machine(root):
        host = Host(str(machine.root))
        host.live = host.privileged = True
        return host

    monkeypatch.setattr(install_verb, "machine_at", this_machine)
    monkeypatch.setattr(uninstall_verb, "machine_at", this_machine)

    def run(verb, *options):
        program = ("--program", PROGRAM) if verb == "install" else ()
        code = main([verb, *program, *options])
        return code, *capsys.readouterr()

    return run


def test_install_into_an_image_and_uninstall_leave_what_was_there(machine, image):
    before = machine.files()
    done = image("install", "--yes", "--host", "192.168.1.5", "--shelly-host", "192.168.1.6")
    assert done.returncode == 0, done.stderr
    assert machine.asked() == [
        "systemd-sysusers --root=ROOT sigen-bridge.conf", "systemctl --root=ROOT enable sigen-bridge.service"]
    assert {CONFIG, RECORD, SERVICE, "usr/local/bin/sigen-bridge"} <= machine.files()
    text = (machine.root / CONFIG).read_text()
    assert "\nhost = 192.168.1.5\n" in text
    assert "\nhost = 192.168.1.6\n" in text
    assert stat.S_IMODE((machine.root / CONFIG).stat().st_mode) == 0o640
    assert stat.S_IMODE((machine.root / CONFIG).parent.stat().st_mode) == 0o750
    assert f"ExecStart={PROGRAM} run" in (machine.root / SERVICE).read_text()
    assert os.readlink(machine.root / "usr/local/bin/sigen-bridge") == PROGRAM
    gone = image("uninstall", "--yes")
    assert gone.returncode == 0, gone.stderr
    assert machine.files() == before
    assert not (machine.root / "var/lib/sigen-bridge").exists()
    assert not (machine.root / "etc/sigen-bridge").exists()
    assert machine.asked() == [
        *(f"systemctl --root=ROOT disable {unit}" for unit in UNITS),
        "userdel --prefix ROOT sigen-bridge"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to the group")
def test_the_settings_belong_to_root_and_the_service_s_group(machine, image):
    maker = machine.place / "systemd-sysusers"
    maker.write_text(maker.read_text().replace(f"sigen-bridge:x:{os.getgid()}:", "sigen-bridge:x:4242:"))
    assert image("install", "--yes", "--host", "192.168.1.5").returncode == 0
    for path in (machine.root / CONFIG, (machine.root / CONFIG).parent):
        assert (path.stat().st_uid, path.stat().st_gid) == (0, 4242)


def test_a_running_machine_has_the_service_started(machine, live):
    code, out, err = live("install", "--yes", "--host", "192.168.1.5")
    assert (code, err) == (0, "")
    assert machine.asked() == [
        "systemd-sysusers sigen-bridge.conf", "systemctl daemon-reload", "systemctl enable sigen-bridge.service",
        "systemctl restart sigen-bridge.service"]
    assert "etc/systemd/system/sigen-bridge.service.d/restart-steps.conf" in machine.files()
    assert "make the user sigen-bridge" in out
    assert live("install", "--yes")[0] == 0
    assert machine.asked() == [
        "systemctl daemon-reload", "systemctl enable sigen-bridge.service", "systemctl start sigen-bridge.service"]
    assert live("uninstall", "--yes")[0] == 0
    assert machine.asked() == [
        *(f"systemctl disable --now {unit}" for unit in UNITS),
        "systemctl daemon-reload", "userdel sigen-bridge"]


@pytest.mark.parametrize("broken", ["systemd-sysusers", "systemctl"])
def test_a_run_that_breaks_off_is_completed_by_the_next(machine, live, broken):
    before = machine.files()
    machine.fail(broken)
    code, _, err = live("install", "--yes", "--host", "192.168.1.5")
    assert code == 2
    line = one_line(err)
    assert f"{broken}" in line
    assert "it broke" in line
    assert "running this again goes on from there" in line
    machine.fail(broken, False)
    machine.asked()
    assert live("install", "--yes", "--host", "192.168.1.5")[0] == 0
    assert machine.asked()[-1] == "systemctl restart sigen-bridge.service"
    assert {CONFIG, SERVICE} <= machine.files()
    assert live("uninstall", "--yes")[0] == 0
    assert machine.files() == before


def test_a_run_that_broke_off_can_be_taken_back(machine, live):
    before = machine.files()
    machine.fail("systemctl")
    assert live("install", "--yes", "--host", "192.168.1.5")[0] == 2
    machine.fail("systemctl", False)
    assert live("uninstall", "--yes")[0] == 0
    assert machine.files() == before


def test_without_a_plant_the_service_is_not_started_and_the_owner_told(machine, live):
    code, out, _ = live("install", "--yes")
    assert code == 0
    assert "put the address of the gateway into /etc/sigen-bridge/sigen-bridge.ini" in out
    assert "systemctl enable sigen-bridge.service" in machine.asked()


def test_settings_that_are_there_are_kept_and_changes_shown(machine, image):
    path = machine.root / CONFIG
    path.parent.mkdir(parents=True)
    path.write_text("# mine\n[modbus]\nhost = 192.168.1.9\n[shelly]\npassword = secret\n")
    path.chmod(0o600)
    done = image("install", "--yes", "--shelly-host", "192.168.1.6")
    assert done.returncode == 0, done.stderr
    assert path.read_text() == "# mine\n[modbus]\nhost = 192.168.1.9\n[shelly]\npassword = secret\nhost = 192.168.1.6\n"
    assert "+host = 192.168.1.6" in done.stdout
    assert "secret" not in done.stdout
    image("uninstall", "--yes", "--purge")
    assert path.exists()  # install did not make it


def test_a_secret_goes_into_the_file_and_nowhere_else(machine, image, tmp_path):
    (tmp_path / "word").write_text("hush hush\n")
    done = image("install", "--yes", "--host", "192.168.1.5", "--shelly-password-file", str(tmp_path / "word"))
    assert "password = hush hush" in (machine.root / CONFIG).read_text()
    assert "hush" not in done.stdout + done.stderr


def test_changed_settings_survive_uninstall_until_purged(machine, image):
    before = machine.files()
    image("install", "--yes", "--host", "192.168.1.5")
    path = machine.root / CONFIG
    path.write_text(path.read_text() + "# changed\n")
    (machine.root / "var/lib/sigen-bridge/limiter.json").write_text("{}")
    kept = image("uninstall", "--yes")
    assert f"note: /{CONFIG} was changed since and stays" in kept.stdout
    assert {CONFIG, RECORD} <= machine.files()
    assert SERVICE not in machine.files()
    assert image("uninstall", "--yes", "--purge").returncode == 0
    assert machine.files() == before


def test_dry_run_tells_and_does_nothing(machine, image):
    before = machine.files()
    done = image("install", "--dry-run", "--host", "192.168.1.5")
    assert done.returncode == 0
    assert "would make the user sigen-bridge" in done.stdout
    assert machine.files() == before
    image("install", "--yes", "--host", "192.168.1.5")
    after = machine.files()
    assert f"would remove /{SERVICE}" in image("uninstall", "--dry-run").stdout
    assert machine.files() == after


def test_uninstall_where_nothing_was_installed_says_so(machine, image):
    done = image("uninstall", "--yes")
    assert done.returncode == 0
    assert "nothing to remove" in done.stdout
    assert machine.asked() == []


def test_somebody_else_s_unit_stops_it(machine, image):
    path = machine.root / SERVICE
    path.parent.mkdir(parents=True)
    path.write_text("[Service]\nExecStart=/my/own\n")
    done = image("install", "--yes", "--host", "192.168.1.5")
    assert done.returncode == 2
    assert "was not made by install: move it away" in one_line(done.stderr)
    assert path.read_text() == "[Service]\nExecStart=/my/own\n"
    assert machine.asked() == []


def test_the_record_is_for_root_alone(machine, image):
    image("install", "--yes", "--host", "192.168.1.5")
    record = machine.root / RECORD
    assert stat.S_IMODE(record.stat().st_mode) == 0o600
    content = json.loads(record.read_text())
    assert content["user"] is True
    assert content["pending"] is False


def test_nobody_to_ask_is_one_line(machine, image):
    done = image("install", "--host", "192.168.1.5")
    assert done.returncode == 2
    assert "add --yes" in one_line(done.stderr)


def test_on_a_terminal_the_owner_is_asked_and_shown_what_will_be_done(machine, live, monkeypatch):
    questions, answers = [], iter(["192.168.1.5", "", "y", "no"])

    def ask(question):
        questions.append(question)
        return next(answers)

    monkeypatch.setattr("builtins.input", ask)
    monkeypatch.setattr(install_verb.sys, "stdin", type("Terminal", (), {"isatty": lambda self: True})())
    code, out, _ = live("install")
    assert code == 0
    assert ["gateway" in questions[0], "Shelly" in questions[1], questions[2]] == [True, True, "Set the service up? [Y/n] "]
    assert out.index("will start the service") < out.index("done;")
    text = (machine.root / CONFIG).read_text()
    assert "\nhost = 192.168.1.5\n" in text
    assert "#host = 192.168.1.110" in text
    code, out, err = live("uninstall")
    assert code == 2
    assert one_line(err) == "sigen-bridge: uninstall: nothing was done"
    assert SERVICE in machine.files()


def test_not_root_is_one_line(machine, live, monkeypatch):
    def this_machine(root):
        host = Host(str(machine.root))
        host.live, host.privileged = True, False
        return host

    monkeypatch.setattr(install_verb, "machine_at", this_machine)
    monkeypatch.setattr(uninstall_verb, "machine_at", this_machine)
    for verb in ("install", "uninstall"):
        code, _, err = live(verb, "--yes")
        assert code == 2
        assert one_line(err) == f"sigen-bridge: {verb}: this needs root: sudo sigen-bridge {verb}"
    assert live("install", "--dry-run")[0] == 0


def test_openwrt_is_told_which_package_to_use(machine, image):
    (machine.root / "etc/openwrt_release").write_text("DISTRIB_ID='OpenWrt'\n")
    done = image("install", "--yes")
    assert done.returncode == 2
    assert "opkg install sigen-bridge_*.ipk" in one_line(done.stderr)
    assert "sh sigen-bridge.run" in done.stderr


def test_a_machine_without_systemd_is_told(machine, live, image):
    shutil.rmtree(machine.root / "run")
    shutil.rmtree(machine.root / "usr/lib/systemd")
    assert "there is no systemd here" in live("install", "--yes")[2]
    assert "there is no systemd here" in one_line(image("install", "--yes").stderr)


@pytest.mark.parametrize(("program", "why"), [
    ("/home/pi/bin/sigen-bridge", "the service cannot see"), ("/opt/absent", "is not there to be started")])
def test_a_program_that_cannot_be_started_is_told(machine, bridge, program, why):
    there = machine.root / "home/pi/bin/sigen-bridge"
    there.parent.mkdir(parents=True)
    there.touch()
    done = bridge("install", "--yes", "--root", str(machine.root), "--program", program)
    assert done.returncode == 2
    assert why in one_line(done.stderr)


def test_a_full_disk_is_told_before_anything_is_made(machine, image):
    (machine.root / "var").write_text("")  # no directory can be made in it
    done = image("install", "--yes", "--host", "192.168.1.5")
    assert done.returncode == 2
    assert "cannot be written" in one_line(done.stderr)
    assert machine.asked() == []


def test_a_root_that_is_not_there_is_told(bridge):
    assert "there is no such directory" in one_line(bridge("install", "--root", "/nonexistent", "--yes").stderr)


@pytest.mark.needs("systemd-sysusers", "systemctl", "systemd-analyze")
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a user in an image")
def test_systemd_s_own_tools_take_what_install_makes(tmp_path, bridge):
    root = tmp_path / "root"
    for name in ("etc", "usr/lib", "opt/sigen-bridge/bin", "var/lib"):
        (root / name).mkdir(parents=True)
    shutil.copytree("/lib/systemd/system", root / "usr/lib/systemd/system", symlinks=True)
    (root / PROGRAM[1:]).write_text("#!/bin/sh\n")
    (root / PROGRAM[1:]).chmod(0o755)
    done = bridge("install", "--root", str(root), "--program", PROGRAM, "--yes", "--host", "192.168.1.5")
    assert done.returncode == 0, done.stderr
    [user] = [line for line in (root / "etc/passwd").read_text().splitlines() if line.startswith("sigen-bridge:")]
    assert user.endswith(":/var/lib/sigen-bridge:/usr/sbin/nologin")
    groups = dict(line.split(":")[0::2][:2] for line in (root / "etc/group").read_text().splitlines())
    assert (root / CONFIG).stat().st_gid == int(groups["sigen-bridge"])
    assert (root / "etc/systemd/system/multi-user.target.wants/sigen-bridge.service").is_symlink()
    checked = subprocess.run(["systemd-analyze", "verify", f"--root={root}", "sigen-bridge.service"],
                             capture_output=True, text=True, timeout=60, check=False)
    assert (checked.returncode, checked.stderr) == (0, "")
    again = bridge("install", "--root", str(root), "--program", PROGRAM, "--yes")
    assert again.returncode == 0
    assert "make the user" not in again.stdout


def test_the_units_come_from_the_program_s_own_files():
    from bridge.link.host import init_files

    there = {path.name for path in (ROOT / "init" / "systemd").rglob("*") if path.is_file()}
    assert {name.rpartition("/")[2] for name in init_files("systemd")} == there
    assert "sigen-bridge.ini" in init_files("conf")
