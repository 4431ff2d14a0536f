"""The procd script, run under real shells with stand-ins that write down what it asks procd for.

What procd makes of it (respawning, comparing, watchdog) is not shown here.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from bridge import config, uci
from bridge.settings import SETTINGS

ROOT = Path(__file__).parent.parent
SCRIPT = ROOT / "init" / "procd" / "sigen-bridge"
STUB = Path(__file__).parent / "procd_stub" / "rc.common"
SHELLS = [
    pytest.param(["busybox", "ash"], id="busybox", marks=pytest.mark.needs("busybox")),
    pytest.param(["dash"], id="dash", marks=pytest.mark.needs("dash")),
]
ON = "config sigen-bridge 'main'\n\toption enabled '1'\n"


class Router:
    """A directory of UCI files with a blank in its name, and a program that checks settings as told."""

    def __init__(self, tmp_path, shell):
        self.shell, self.tmp = shell, tmp_path
        self.config = tmp_path / "et c" / "config"
        self.config.mkdir(parents=True)
        self.program = tmp_path / "sigen-bridge"
        self.checks(0)
        self.path = os.environ["PATH"]
        self.crontab, self.cron = tmp_path / "crontab", tmp_path / "cron"
        self.cron.write_text(f'#!/bin/sh\necho "$@" >>"{tmp_path}/cron-calls"\n')
        self.cron.chmod(0o755)

    def checks(self, code, text=""):
        self.program.write_text(
            f'#!/bin/sh\nprintf "%s\\037" "$@" >>"{self.tmp}/checked"\necho "{text}" >&2\nexit {code}\n'
        )
        self.program.chmod(0o755)

    def plant(self, name, content):
        (self.config / name).write_text(content)
        return str(self.config / name)

    def run(self, action):
        log = self.tmp / "calls"
        log.write_text("")
        environment = {
            "PATH": self.path,
            "STUB_LOG": str(log),
            "STUB_PROG": str(self.program),
            "UCI_CONFIG_DIR": str(self.config),
            "SIGEN_BRIDGE_LEASES": str(self.tmp / "leases"),
            "SIGEN_BRIDGE_CRONTAB": str(self.crontab),
            "SIGEN_BRIDGE_CRON_INIT": str(self.cron),
        }
        self.done = subprocess.run(
            [*self.shell, str(STUB), str(SCRIPT), action],
            env=environment,
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
        return [line.split("\x1f")[:-1] for line in log.read_text().splitlines()]


@pytest.fixture(params=SHELLS)
def router(tmp_path, request):
    return Router(tmp_path, request.param)


def instances(calls):
    """Return {instance: {parameter: words}} out of the recorded calls."""
    found, current = {}, None
    for name, *words in calls:
        if name == "procd_open_instance":
            current = found.setdefault(words[0], {})
        elif name == "procd_set_param":
            current[words[0]] = words[1:]
        elif name == "procd_append_param":
            current[words[0]] += words[1:]
        elif name == "procd_close_instance":
            current = None
    assert current is None, "an instance was left open"
    return found


def logged(calls):
    return [words[-1] for name, *words in calls if name == "logger"]


@pytest.mark.needs("shellcheck")
@pytest.mark.parametrize("dialect", ["sh", "dash"])
def test_shellcheck_has_nothing_to_say(dialect):
    done = subprocess.run(
        ["shellcheck", "-s", dialect, str(SCRIPT)], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("shell", SHELLS)
def test_shells_accept_the_syntax(shell):
    subprocess.run([*shell, "-n", str(SCRIPT)], check=True, timeout=20)


def test_it_is_a_procd_script_that_starts_late_and_stops_early():
    text = SCRIPT.read_text()
    assert text.startswith("#!/bin/sh /etc/rc.common\n")
    assert SCRIPT.stat().st_mode & 0o111
    for line in ("START=95", "STOP=10", "USE_PROCD=1", "PROG=/usr/bin/sigen-bridge"):
        assert f"\n{line}\n" in text


def test_the_command_is_our_own_executable_with_blanks_kept(router):
    file = router.plant("sigen-bridge", ON)
    assert instances(router.run("start"))["main"]["command"] == [
        str(router.program),
        "run",
        "--config",
        file,
        "--run-watchdog",
        "procd",
    ]


def test_procd_never_gives_up_and_logs_both_outputs(router):
    file = router.plant("sigen-bridge", ON)
    main = instances(router.run("start"))["main"]
    assert main["respawn"] == ["3600", "5", "0"]
    assert main["stdout"] == main["stderr"] == ["1"]
    assert main["term_timeout"] == ["30"]
    assert main["file"] == [file]
    assert main["env"] == ["PYTHONUNBUFFERED=1", "SIGEN_BRIDGE_INSTANCE=main"]
    assert main["watchdog"] == ["1", "60"]
    assert "reload_signal" not in main and "user" not in main


def test_the_environment_it_gives_is_accepted_by_the_bridge(router):
    router.plant("sigen-bridge", ON)
    pairs = instances(router.run("start"))["main"]["env"]
    assert config.from_environment(dict(pair.split("=", 1) for pair in pairs)) == {}


def test_the_flags_it_gives_are_accepted_by_the_bridge(router):
    router.plant("sigen-bridge", ON)
    words = instances(router.run("start"))["main"]["command"][1:]
    settings, path, rest = config.take_flags(words)
    assert rest == ["run"] and path == str(router.config / "sigen-bridge")
    assert settings["run.watchdog"].raw == "procd"


@pytest.mark.parametrize("content", ["", "config sigen-bridge 'main'\n", ON.replace("1", "0")])
def test_nothing_is_started_when_disabled(router, content):
    router.plant("sigen-bridge", content)
    assert router.run("start") == []
    assert router.done.returncode == 0


@pytest.mark.parametrize("word", ["1", "on", "yes", "true", "enabled"])
def test_every_uci_spelling_of_yes_enables(router, word):
    router.plant("sigen-bridge", ON.replace("'1'", f"'{word}'"))
    assert list(instances(router.run("start"))) == ["main"]


def test_a_watchdog_switched_off_stays_off(router):
    router.plant("sigen-bridge", ON + "config run\n\toption watchdog 'off'\n")
    main = instances(router.run("start"))["main"]
    assert "watchdog" not in main and "--run-watchdog" not in main["command"]


def test_loads_are_an_instance_of_their_own_where_a_file_describes_some(router):
    file = router.plant("sigen-bridge", ON + "config loads 'loads'\n\toption file '/etc/sigen-bridge/my loads.ini'\n")
    found = instances(router.run("start"))
    assert set(found) == {"main", "main-loads"}
    loads = found["main-loads"]
    assert loads["command"] == [str(router.program), "loads", "run", "--config", file, "--run-watchdog", "off"]
    assert loads["respawn"] == ["3600", "5", "0"] and loads["file"] == [file, "/etc/sigen-bridge/my loads.ini"]
    assert "watchdog" not in loads, "that would feed the bridge's instance"
    rest = config.take_flags(loads["command"][1:])[2]
    assert rest == ["loads", "run"]


def test_loads_without_their_package_are_told_and_do_not_keep_the_bridge_down(router):
    router.plant("sigen-bridge", ON + "config loads 'loads'\n\toption file '/etc/sigen-bridge/loads.ini'\n")
    router.program.write_text('#!/bin/sh\n[ "$1" = loads ] && exit 2\nexit 0\n')
    calls = router.run("start")
    assert set(instances(calls)) == {"main"}
    assert ["sigen-bridge-control" in text for text in logged(calls)] == [True]


def test_each_copy_of_the_file_is_a_plant_of_its_own(router):
    router.plant("sigen-bridge", ON)
    barn = router.plant("sigen-bridge-barn", ON + "config run 'run'\n\toption watchdog 'off'\n")
    router.plant("sigen-bridge-shed", "config modbus 'modbus'\n\toption host '10.0.0.9'\n")
    found = instances(router.run("start"))
    assert sorted(found) == ["barn", "main"]
    assert found["barn"]["command"] == [str(router.program), "run", "--config", barn]
    assert found["barn"]["env"][1] == "SIGEN_BRIDGE_INSTANCE=barn"
    assert "watchdog" in found["main"]


def test_the_envoys_proxy_is_an_instance_of_its_own_when_it_is_wanted(router):
    enphase = "config enphase 'enphase'\n\toption local_url 'https://192.168.8.20'\n"
    router.plant("sigen-bridge", ON + enphase)
    assert list(instances(router.run("start"))) == ["main"]
    file = router.plant("sigen-bridge", ON + enphase + "\toption serve '1'\n")
    found = instances(router.run("start"))
    assert sorted(found) == ["main", "main-enphase"]
    proxy = found["main-enphase"]
    assert proxy["command"] == [str(router.program), "enphase", "serve", "--config", file]
    assert proxy["respawn"] == ["3600", "5", "0"] and proxy["stdout"] == proxy["stderr"] == ["1"]
    assert proxy["env"][1] == "SIGEN_BRIDGE_INSTANCE=main", "it shares the plant's state: token and certificate"
    assert "watchdog" not in proxy and proxy["file"] == [file]
    assert config.from_file(file)["enphase.serve"].raw == "1"


def test_with_wrong_settings_the_proxy_is_not_started_either(router):
    router.plant("sigen-bridge", ON + "config enphase 'enphase'\n\toption serve '1'\n")
    router.checks(2, "setting enphase.local_url: wrong")
    assert instances(router.run("start")) == {}


@pytest.mark.parametrize(
    "left_over",
    [
        "sigen-bridge-opkg",
        "sigen-bridge-barn-opkg",
        "sigen-bridge.apk-new",
        "sigen-bridge-barn.apk-new",
        "sigen-bridge-main",
    ],
)
def test_what_package_managers_leave_beside_a_file_is_no_plant(router, left_over):
    router.plant(left_over, ON)
    assert router.run("start") == []


def test_wrong_settings_are_logged_once_and_not_started(router):
    file = router.plant("sigen-bridge", ON)
    router.checks(2, "setting modbus.port: 70000 is too high")
    calls = router.run("start")
    assert instances(calls) == {}
    assert logged(calls) == ["main is not started: setting modbus.port: 70000 is too high"]
    checked = (router.tmp / "checked").read_text().split("\x1f")[:-1]
    assert checked == ["config", "check", "--config", file]


def test_a_check_that_could_not_run_does_not_keep_the_bridge_down(router):
    router.plant("sigen-bridge", ON)
    router.checks(137)
    calls = router.run("start")
    assert "main" in instances(calls)
    assert "could not be checked (exit 137)" in logged(calls)[0]


@pytest.mark.parametrize("manager", ["opkg", "apk"])
def test_a_missing_interpreter_is_logged_with_what_to_install(router, tmp_path, manager):
    router.plant("sigen-bridge", ON)
    tools = tmp_path / "tools"
    tools.mkdir()
    for tool in (router.shell[0], "cat"):
        (tools / tool).symlink_to(shutil.which(tool))
    if manager == "apk":
        (tools / "apk").write_text("")
        (tools / "apk").chmod(0o755)
    router.path = str(tools)
    calls = router.run("start")
    assert instances(calls) == {} and router.done.returncode == 1
    (line,) = logged(calls)
    assert line.startswith("python3 is missing") and "python3-light python3-logging" in line
    assert ("apk add" in line) == (manager == "apk")
    assert ("python3-email" in line) == (manager == "opkg")


def test_a_committed_change_of_any_plant_reloads_and_nothing_else_does(router):
    for name in ("sigen-bridge", "sigen-bridge-barn", "sigen-bridge-opkg"):
        router.plant(name, ON)
    assert router.run("triggers") == [
        ["procd_add_reload_trigger", "sigen-bridge"],
        ["procd_add_reload_trigger", "sigen-bridge-barn"],
    ]


def test_the_shipped_uci_file_is_off_and_names_only_real_settings(tmp_path):
    text = (ROOT / "init" / "conf" / "sigen-bridge.uci").read_text()
    assert [option[:3] for option in uci.parse(text)] == [("main", "enabled", "0")]
    known = {row.key for row in SETTINGS} | {"main.enabled", "main.tariff"}
    everything = uci.parse(re.sub(r"(?m)^(\s*)#option", r"\1option", text))
    assert len(everything) > 10
    for option in everything:
        assert f"{option.section}.{option.name}" in known
    path = tmp_path / "sigen-bridge"
    path.write_text(text)
    assert config.from_file(str(path)) == {}


def test_the_shipped_uci_file_has_a_section_for_every_setting():
    """``uci set sigen-bridge.cloud.region=aus`` is an invalid argument while there is no section of that name."""
    text = (ROOT / "init" / "conf" / "sigen-bridge.uci").read_text()
    named = dict(re.findall(r"(?m)^config (\S+) '(\S+)'$", text))
    assert {kind: kind for kind in dict.fromkeys(row.key.partition(".")[0] for row in SETTINGS)}.items() <= named.items()


def test_what_uci_is_told_is_committed_before_a_command_reads_the_file():
    """What ``uci set`` says stands in /tmp until the commit; the bridge reads the file."""
    for page in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        for block in re.findall(r"(?ms)^```console\n(.*?)^```", page.read_text("utf-8")):
            pending = ""
            for line in block.splitlines():
                assert not (pending and re.search(r"sigen-bridge (?!\.)[a-z]", line.partition("uci ")[0])), (page.name, pending, line)
                last = max(line.rfind("uci set"), -1)
                pending = line if last > line.rfind("uci commit") else "" if "uci commit" in line else pending


def test_a_value_with_a_blank_in_the_uci_file_reaches_the_bridge(tmp_path):
    path = tmp_path / "sigen-bridge"
    path.write_text(ON + "config run 'run'\n\toption state_dir '/mnt/usb disk/sigen'\n")
    assert config.from_file(str(path))["run.state_dir"].raw == "/mnt/usb disk/sigen"


TARIFF = "config sigen-bridge 'main'\n\toption enabled '1'\n\toption tariff '1'\n"


def crontab(router):
    return router.crontab.read_text().splitlines() if router.crontab.exists() else None


def test_a_plant_with_a_tariff_gets_its_line_in_the_crontab_and_others_do_not(router):
    router.crontab.write_text("0 4 * * * reboot\n")
    path = router.plant("sigen-bridge", TARIFF)
    router.plant("sigen-bridge-barn", ON)
    router.run("start")
    assert crontab(router)[0] == "0 4 * * * reboot" and len(crontab(router)) == 2
    line = crontab(router)[1]
    assert line.startswith("*/5 * * * * ") and f'tariff push --scheduled --config "{path}"' in line
    assert "SIGEN_BRIDGE_INSTANCE=main" in line and "%" not in line
    assert oct(router.crontab.stat().st_mode)[-3:] == "600"
    assert (router.tmp / "cron-calls").read_text() == "restart\n"


def test_the_line_runs_the_job_of_its_plant_and_the_log_gets_what_it_says(router):
    path = router.plant("sigen-bridge-barn", TARIFF)
    router.run("start")
    (line,) = crontab(router)
    stub = router.tmp / "bin"
    stub.mkdir()
    (stub / "logger").write_text(f'#!/bin/sh\n(echo "$@"; cat) >"{router.tmp}/logged"\n')
    (stub / "logger").chmod(0o755)
    router.program.write_text('#!/bin/sh\necho "$SIGEN_BRIDGE_INSTANCE:$*"\necho problem >&2\n')
    subprocess.run([*router.shell, "-c", line.split(None, 5)[5]], timeout=20, check=True,
                   env={"PATH": f"{stub}:{router.path}"})
    logged_lines = (router.tmp / "logged").read_text().splitlines()
    assert logged_lines == ["-t sigen-bridge", f"barn:tariff push --scheduled --config {path}", "problem"]


def test_the_crontab_is_written_only_when_a_line_changes_and_the_line_goes_with_its_switch(router):
    router.plant("sigen-bridge", TARIFF)
    router.run("start")
    first = router.crontab.stat()
    router.run("start")
    assert router.crontab.stat().st_ino == first.st_ino, "the same file: nothing was written"
    router.plant("sigen-bridge", ON)
    router.run("start")
    assert crontab(router) == [] and (router.tmp / "cron-calls").read_text() == "restart\nrestart\n"


@pytest.mark.parametrize("content", [ON, TARIFF.replace("enabled '1'", "enabled '0'"), ""])
def test_without_the_switch_the_crontab_is_not_touched(router, content):
    router.plant("sigen-bridge", content)
    router.run("start")
    assert crontab(router) is None


def test_a_router_without_cron_still_starts(router):
    router.crontab = router.tmp / "no cron here" / "root"
    router.plant("sigen-bridge", TARIFF)
    assert instances(router.run("start")) and crontab(router) is None


CONTROL = ON + "config control 'control'\n\toption enabled '1'\n"


def asked(router):
    """Return the command lines that the program was started with."""
    path = router.tmp / "checked"
    words = path.read_text().split("\x1f")[:-1] if path.exists() else []
    starts = [index for index, word in enumerate(words) if word in ("battery", "config")]
    return [words[at:end] for at, end in zip(starts, [*starts[1:], len(words)])]


def test_a_stop_takes_back_a_command_that_is_still_in_force_and_costs_nothing_without_one(router):
    file = router.plant("sigen-bridge", CONTROL)
    barn = router.plant("sigen-bridge-barn", CONTROL)
    router.run("stop")
    assert asked(router) == []
    for place in ("leases", "leases/barn"):
        (router.tmp / place).mkdir()
        (router.tmp / place / "lease.json").write_text("{}")
    router.run("stop")
    assert asked(router) == [["battery", "watch", "--config", file], ["battery", "watch", "--config", barn]]
    router.run("watch")
    assert len(asked(router)) == 4


def test_cron_looks_every_minute_once_control_is_allowed(router):
    crontab = router.tmp / "crontab"
    router.plant("sigen-bridge", ON)
    router.run("start")
    assert not crontab.exists()
    crontab.write_text("0 4 * * * reboot\n")
    router.plant("sigen-bridge", CONTROL)
    for _ in range(2):
        router.run("start")
    assert crontab.read_text().splitlines() == ["0 4 * * * reboot", "* * * * * /etc/init.d/sigen-bridge watch"]
