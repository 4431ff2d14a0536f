"""The systemd units under systemd's own tools, and what they promise the bridge."""

from __future__ import annotations

import configparser
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from bridge import config
from bridge.errors import EXIT_USAGE
from bridge.settings import SETTINGS

ROOT = Path(__file__).parent.parent
UNITS = ROOT / "init" / "systemd"
SERVICES = (
    "sigen-bridge.service",
    "sigen-bridge-tariff.service",
    "sigen-bridge-watch.service",
    "sigen-bridge-loads.service",
    "sigen-bridge-enphase.service",
)
SYSTEM_UNITS = Path("/lib/systemd/system")
SECURITY_THRESHOLD = "20"  # 2.0 of 10; a unit without any hardening has 9.6


def read(name):
    """Return {section: {key: [values]}} of a unit; keys may stand several times."""
    found, section = {}, ""
    for line in (UNITS / name).read_text().splitlines():
        if line.startswith("["):
            section = line.strip("[]")
        elif "=" in line and not line.startswith("#"):
            key, _, value = line.partition("=")
            found.setdefault(section, {}).setdefault(key, []).append(value)
    return found


@pytest.fixture
def root(tmp_path):
    """Return a root directory with systemd's own units, ours, and a program to start."""
    place = tmp_path / "etc" / "systemd" / "system"
    place.mkdir(parents=True)
    for path in UNITS.glob("sigen-bridge*"):
        shutil.copy(path, place)
    program = tmp_path / "usr" / "bin" / "sigen-bridge"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    shutil.copytree(SYSTEM_UNITS, tmp_path / "lib" / "systemd" / "system", symlinks=True)
    return tmp_path


def verify(root, *units):
    done = subprocess.run(
        ["systemd-analyze", "verify", f"--root={root}", *units],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.needs("systemd-analyze")
def test_verify_prints_nothing(root):
    assert verify(root, *SERVICES, "sigen-bridge-tariff.timer", "sigen-bridge-watch.timer") == (0, "")


@pytest.mark.needs("systemd-analyze")
def test_verify_would_have_found_a_misspelt_key(root):
    unit = root / "etc" / "systemd" / "system" / "sigen-bridge.service"
    unit.write_text(unit.read_text().replace("WatchdogSec", "WatchDogSek"))
    assert "WatchDogSek" in verify(root, "sigen-bridge.service")[1]


@pytest.mark.needs("systemd-analyze")
@pytest.mark.parametrize("name", SERVICES)
def test_little_is_left_exposed(name):
    command = [
        "systemd-analyze",
        "security",
        "--offline=true",
        f"--threshold={SECURITY_THRESHOLD}",
        "--no-pager",
    ]
    done = subprocess.run(
        [*command, str(UNITS / name)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout[-400:] + done.stderr


@pytest.mark.needs("systemd-analyze")
def test_the_timer_fires_every_five_minutes():
    calendar = read("sigen-bridge-tariff.timer")["Timer"]["OnCalendar"][0]
    done = subprocess.run(
        ["systemd-analyze", "calendar", "--iterations=3", calendar],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    times = re.findall(r"\d\d:(\d\d):(\d\d) UTC", done.stdout)
    assert len(times) >= 3 and all(int(minute) % 5 == 0 and second == "20" for minute, second in times)


@pytest.mark.needs("systemd-sysusers")
def test_the_user_cannot_log_in_and_may_open_serial_ports(tmp_path):
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "group").write_text("dialout:x:20:\n")
    subprocess.run(
        ["systemd-sysusers", f"--root={tmp_path}", str(UNITS / "sysusers.d" / "sigen-bridge.conf")],
        check=True,
        timeout=30,
        capture_output=True,
    )
    passwd = (tmp_path / "etc" / "passwd").read_text()
    assert re.search(r"^sigen-bridge:.*:/var/lib/sigen-bridge:/usr/sbin/nologin$", passwd, re.M)
    assert re.search(r"^dialout:x:20:.*\bsigen-bridge$", (tmp_path / "etc" / "group").read_text(), re.M)


def test_it_never_gives_up_but_waits_for_the_owner_when_settings_are_wrong():
    unit = read("sigen-bridge.service")
    assert unit["Unit"]["StartLimitIntervalSec"] == ["0"]
    assert unit["Service"]["Restart"] == ["always"]
    assert unit["Service"]["RestartPreventExitStatus"] == [str(EXIT_USAGE)]


def test_the_proxy_says_when_it_serves_and_never_gives_up():
    unit = read("sigen-bridge-enphase.service")
    assert unit["Service"]["Type"] == ["notify"] and unit["Service"]["Restart"] == ["always"]
    assert unit["Unit"]["StartLimitIntervalSec"] == ["0"]
    assert unit["Service"]["RestartPreventExitStatus"] == [str(EXIT_USAGE)]
    assert "time-sync.target" not in unit["Unit"]["After"][0], "a stored token serves without a clock"
    assert unit["Service"]["ExecStart"] == ["/usr/bin/sigen-bridge enphase serve"]
    assert unit["Install"]["WantedBy"] == ["multi-user.target"]


def test_the_watchdog_is_fed_by_the_main_process():
    service = read("sigen-bridge.service")["Service"]
    assert service["Type"] == ["notify"] and service["NotifyAccess"] == ["main"]
    assert int(service["WatchdogSec"][0]) <= 60
    assert "AF_UNIX" in service["RestrictAddressFamilies"][0], "the notify socket is a Unix socket"


def test_the_loads_follow_the_bridge_are_watched_and_wait_for_the_owner():
    unit = read("sigen-bridge-loads.service")
    assert "sigen-bridge.service" in unit["Unit"]["After"][0], "it asks the bridge"
    service = unit["Service"]
    assert service["Type"] == ["notify"] and int(service["WatchdogSec"][0]) <= 60
    assert service["RestartPreventExitStatus"] == [str(EXIT_USAGE)] and service["Restart"] == ["always"]
    words = service["ExecStart"][0].split()[1:]
    assert words == ["loads", "run"]


def test_the_network_is_wanted_but_never_required():
    for name in SERVICES:
        unit = read(name)["Unit"]
        assert "network-online.target" in unit["Wants"][0] and "Requires" not in unit
    assert "time-sync.target" not in read("sigen-bridge.service")["Unit"]["After"][0]
    assert "time-sync.target" in read("sigen-bridge-tariff.service")["Unit"]["After"][0]


def test_serial_ports_and_no_other_device_are_allowed():
    service = read("sigen-bridge.service")["Service"]
    assert service["DevicePolicy"] == ["closed"]
    assert all(re.fullmatch(r"char-tty(USB|ACM|AMA|S) rw", value) for value in service["DeviceAllow"])
    assert "PrivateDevices" not in service, "that would hide the RS485 adapter"
    assert service["SupplementaryGroups"] == ["dialout"]


@pytest.mark.parametrize("name", SERVICES[1:])
def test_each_service_is_the_same_user_with_the_same_state_and_confinement(name):
    main, other = read(SERVICES[0])["Service"], read(name)["Service"]
    own = {
        "Type",
        "NotifyAccess",
        "ExecStart",
        "ExecStopPost",
        "WatchdogSec",
        "SupplementaryGroups",
        "DevicePolicy",
        "DeviceAllow",
        "Restart",
        "RestartSec",
        "RestartPreventExitStatus",
        "TimeoutStartSec",
        "TimeoutStopSec",
    }
    if name == "sigen-bridge-watch.service":
        own -= {"DeviceAllow", "SupplementaryGroups"}  # it may have to reach the plant over the same serial line
    assert {key: value for key, value in main.items() if key not in own} == {
        key: value for key, value in other.items() if key not in own | {"PrivateDevices"}
    }


def test_the_watch_outlives_the_service_and_costs_nothing_without_a_command():
    main, watch, timer = (read(f"sigen-bridge{name}") for name in (".service", "-watch.service", "-watch.timer"))
    assert "sigen-bridge-watch.timer" in main["Unit"]["Wants"]
    assert not {"PartOf", "BindsTo", "Requires"} & set(timer["Unit"]), "it would be stopped with the service"
    assert watch["Unit"]["ConditionPathExists"] == ["/var/lib/sigen-bridge/lease.json"]
    assert timer["Timer"]["OnCalendar"] == ["*:*:0/10"], "ruling 11: every 10 s under systemd"
    assert main["Service"]["ExecStopPost"] == ["-/usr/bin/sigen-bridge battery watch"]
    assert watch["Service"]["StateDirectory"] == main["Service"]["StateDirectory"]


def test_what_older_systemd_warns_about_stands_in_a_drop_in():
    assert "RestartSteps" not in (UNITS / "sigen-bridge.service").read_text()
    assert set(read("restart-steps.conf")["Service"]) == {"RestartSteps", "RestartMaxDelaySec"}


def test_the_flags_of_the_credentials_drop_in_exist():
    words = read("credentials.conf")["Service"]["ExecStart"][1].split()[1:]
    assert words[0] == "run" and set(words[1::2]) <= set(config.flag_names())


def test_the_shipped_ini_sets_nothing_and_names_only_real_settings(tmp_path):
    text = (ROOT / "init" / "conf" / "sigen-bridge.ini").read_text()
    path = tmp_path / "sigen-bridge.ini"
    path.write_text(text)
    assert config.from_file(str(path)) == {}
    book = configparser.ConfigParser(interpolation=None)
    book.read_string(re.sub(r"(?m)^#(\w+ =)", r"\1", text))
    named = [f"{section}.{key}" for section in book.sections() for key in book[section]]
    assert len(named) > 10 and set(named) <= {row.key for row in SETTINGS}


def test_the_configuration_is_one_that_the_bridge_reads_by_itself():
    rules = (UNITS / "tmpfiles.d" / "sigen-bridge.conf").read_text()
    assert "/etc/sigen-bridge/sigen-bridge.ini" in config.DEFAULT_FILES
    assert "z /etc/sigen-bridge/sigen-bridge.ini 0640 root sigen-bridge" in rules
