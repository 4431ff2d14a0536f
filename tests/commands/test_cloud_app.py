"""``cloud ... --via app``, and what a whole run with the app leaves in sight."""

from __future__ import annotations

import json
import os
import stat
import sys
from pathlib import Path

import pytest

from bridge.clock import Clock
from bridge.sim.sigen_cloud import SigenCloudSim
from bridge.sim.sigen_cloud_app_world import Home
from bridge.sim.sigen_cloud_world import Station
from tests.commands.app_desk import AMBER, ENCODED, NEVER_SHOWN, PASSWORD, STATION, USER, AppDesk
from tests.commands.conftest import one_line, until


@pytest.fixture
def sim():
    with SigenCloudSim(Clock()) as simulator:
        yield simulator


@pytest.fixture
def desk(bridge, sim, tmp_path):
    return AppDesk(sim, tmp_path / "state", bridge)


def test_login_says_where_the_tokens_are_and_keeps_them_for_the_owner_only(desk):
    done = desk("cloud", "login", "--via", "app")
    assert done.returncode == 0 and "valid for 11 h 59 min" in done.stdout and str(desk.path) in done.stdout
    content = json.loads(desk("cloud", "login", "--via", "app", "--json").stdout)
    assert content["ok"] is True and content["valid_s"] == 43199
    for key in ("token_file", "refresh_file"):
        assert stat.S_IMODE(os.stat(content[key]).st_mode) == 0o600


def test_systems_shows_the_number_that_the_tariff_needs(desk):
    assert f"{STATION}  Home" in desk("cloud", "systems", "--via", "app").stdout
    (station,) = json.loads(desk("cloud", "systems", "--via", "app", "--json").stdout)["stations"]
    assert station["station_id"] == STATION and station["timezone"] == "Australia/Adelaide"


def test_of_several_stations_the_used_one_is_marked(desk, sim):
    sim.app_world.homes[STATION + 1] = Home(Station("FGHIJ1700000002", "Beach house"), STATION + 1)
    lines = desk("cloud", "systems", "--via", "app", env={"STATION_ID": str(STATION + 1)}).stdout.splitlines()
    assert [line.split()[0] for line in lines[1:]] == [str(STATION + 1), str(STATION)]
    assert lines[1].endswith("<- used") and not lines[2].endswith("<- used")
    sim.switch_off("appStations")
    stations = json.loads(desk("cloud", "systems", "--via", "app", "--json").stdout)["stations"]
    assert [(one["station_id"], one["used"]) for one in stations] == [(STATION, True)]


def test_without_the_cipher_one_line_says_what_to_do(desk, monkeypatch):
    for name in ("Crypto", "Crypto.Cipher", "Crypto.Cipher.AES", "Cryptodome.Cipher.AES"):
        monkeypatch.setitem(sys.modules, name, None)
    done = desk("cloud", "flow", "--via", "app")
    assert done.returncode == 2 and "pycryptodome" in one_line(done.stderr) and "cloud.password_encoded" in done.stderr
    assert desk("cloud", "flow", "--via", "app", without=("SIGEN_PASS",), env={"SIGEN_PASS_ENC": ENCODED}).returncode == 0


def test_flow_says_the_signs_in_words(desk):
    out = desk("cloud", "flow", "--via", "app").stdout
    assert "exporting 1.10 kW" in out and "charging 1.40 kW" in out and "sun today   30.43 kWh" in out
    content = json.loads(desk("cloud", "flow", "--via", "app", "--json").stdout)
    assert content["grid_export_kw"] == 1.1 and content["source"] == "app" and content["heat_pump_kw"] is None


def test_a_bearer_makes_no_login_and_an_expired_one_is_exit_6(desk, sim):
    desk("cloud", "login", "--via", "app")
    (token,) = sim.app_world.tokens
    sim.log.clear()
    bearer = {"SIGEN_BEARER": token}
    assert desk("cloud", "systems", "--via", "app", without=("SIGEN_USER", "SIGEN_PASS"), env=bearer).returncode == 0
    sim.revoke_tokens()
    done = desk("cloud", "systems", "--via", "app", env=bearer)
    assert done.returncode == 6 and "paste a new bearer or use user/password" in one_line(done.stderr)
    assert sim.count("appLogin") == 0


@pytest.mark.parametrize("env, code, words", [
    ({"SIGEN_PASS": "wrong horse"}, 6, "login at 127.0.0.1"),
    ({"SIGEN_BRIDGE_CLOUD_USER_AGENT": "python-requests/2"}, 6, "web firewall"),
    ({"SIGEN_BRIDGE_CLOUD_APP_BASE_URL": "http://127.0.0.1:9"}, 6, "no connection"),
    ({"SIGEN_BRIDGE_CLOUD_APP_BASE_URL": "nonsense"}, 2, "https://host"),
    ({"STATION_ID": "ABCDE1700000001"}, 2, "three ways"),
    ({"STATION_ID": "12025061000219"}, 2, "not a station of this account"),
    ({"SIGEN_REGION": "mars"}, 2, "aus"),
])
def test_what_is_wrong_is_one_line_with_its_exit_code(desk, env, code, words):
    done = desk("cloud", "flow", "--via", "app", env=env)
    assert done.returncode == code and words in one_line(done.stderr) and "wrong horse" not in done.stderr


def test_without_a_login_it_says_what_to_set(desk):
    done = desk("cloud", "flow", "--via", "app", without=("SIGEN_PASS",))
    assert done.returncode == 2 and "cloud.password_encoded" in one_line(done.stderr)


@pytest.mark.timing
def test_commands_that_start_at_once_log_in_once(desk, sim):
    """As a timer, a cron job and a person do; the lock is between processes."""
    start = [desk.bridge.start("cloud", "flow", "--via", "app", env=desk.environment()) for _ in range(5)]
    assert [process.wait(60) for process in start] == [0] * 5
    assert sim.count("appLogin") == 1 and sim.count("appFlow") == 5


def test_a_full_run_shows_no_secret_anywhere(desk, sim, tmp_path):
    """Every verb, going well and going wrong, at the loudest log level; then the files that are for others."""
    loud = {"SIGEN_BRIDGE_RUN_LOG_LEVEL": "debug", "AMBER_TOKEN": AMBER, "SIGEN_PASS_ENC": ENCODED}
    verbs = [
        ("config", "show"), ("cloud", "login", "--via", "app"),
        ("cloud", "systems", "--via", "app"), ("cloud", "flow", "--via", "app", "--json"), ("mode", "list"),
        ("mode", "set", "tou"), ("mode", "set", "ffg", "--dry-run", "--json"), ("loads", "cloud", "list"),
        ("loads", "cloud", "on", "1"), ("env", "make", "--non-interactive", "--dry-run"),
        ("env", "make", "--non-interactive", "--out", str(tmp_path / "made.env")),
    ]
    for verb in verbs:
        done = desk.apart(*verb, env=loud)
        assert done.returncode == 0, done.stderr
    assert "DEBUG" in desk.apart("mode", "get", env=loud).stderr
    sim.fail("*", "code", times=0, code=1502, msg=f"{PASSWORD} {ENCODED} token=abc")
    for verb in verbs[1:9]:
        assert desk(*verb, env=loud).returncode == 6
    ours = {path.name for path in tmp_path.rglob("*") if path.is_file() and any(
        secret in path.read_text() for secret in NEVER_SHOWN[:4])}
    assert ours == {"app-token.json", "app-refresh.json", "made.env"}
    for path in tmp_path.rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0 or path.is_dir(), path


def test_no_secret_is_in_the_process_list(desk, sim, tmp_path):
    sim.fail("appHome", "hang")
    secret = tmp_path / "password"
    secret.write_text(PASSWORD + "\n")
    words = ("cloud", "flow", "--via", "app", "--cloud-password-file", str(secret))
    process = desk.bridge.start(*words, env=desk.environment(without=("SIGEN_PASS",)))
    assert until(lambda: "appHome" in desk.asked(), 20)
    line = Path(f"/proc/{process.pid}/cmdline").read_text().replace("\0", " ")
    assert "--cloud-password-file" in line and USER not in line
    for one in NEVER_SHOWN:
        assert one not in line
    process.kill()


def test_an_offered_flag_for_a_secret_does_not_exist(desk):
    done = desk("cloud", "flow", "--via", "app", "--cloud-password", "x")
    assert done.returncode == 2 and "--cloud-password" in one_line(done.stderr)
