"""``cloud`` and ``sim cloud`` as a user runs them."""

from __future__ import annotations

import json
import os
import pty
import re
import shlex
import stat
import subprocess
import sys
from types import SimpleNamespace

import pytest

from bridge.clock import Clock
from bridge.peers.limiter import LEDGER_FILE
from bridge.peers.sigen_session import TOKEN_FILE
from bridge.sim.sigen_cloud import SigenCloudSim
from bridge.sim.sigen_cloud_world import App, Station
from tests.commands.cloud_desk import ENCODED, PASSWORD, STATION, USER, Desk
from tests.commands.conftest import ROOT, one_line
from tests.ports import free_port

KEY_ONLY = ("SIGEN_APP_KEY", "SIGEN_APP_SECRET")


@pytest.fixture
def sim():
    with SigenCloudSim(Clock()) as simulator:
        yield simulator


@pytest.fixture
def desk(bridge, sim, tmp_path):
    return Desk(bridge, sim, tmp_path / "state")


def test_login_says_region_account_and_validity_and_keeps_the_token_to_its_owner(desk, sim):
    done = desk("cloud", "login")
    assert done.returncode == 0 and done.stderr == ""
    host = sim.base_url.partition("//")[2]
    assert f"region   eu ({host})" in done.stdout and "application key" in done.stdout
    assert "11 h 59 min" in done.stdout and str(desk.path / TOKEN_FILE) in done.stdout
    token = desk.path / TOKEN_FILE
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
    assert "tok-sim-000001" in token.read_text()


def test_login_for_machines(desk):
    content = json.loads(desk("cloud", "login", "--json").stdout)
    assert content["ok"] is True and content["region"] == "eu" and content["account"] == "key"
    assert 43190 < content["valid_s"] <= 43199 and content["token_file"].endswith(TOKEN_FILE)


def test_login_with_an_account_reads_the_password_from_a_file(desk, tmp_path):
    (tmp_path / "password").write_text(PASSWORD + "\n")
    done = desk("cloud", "login", "--json", "--cloud-username", USER, "--cloud-password-file",
                str(tmp_path / "password"), without=KEY_ONLY)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["method"] == "account/json-plain"


def test_a_service_that_wants_the_encoded_password_gets_it(desk, sim):
    sim.world.accounts[USER] = sim.world.accounts[USER]._replace(spellings=("json-aes",))
    done = desk("cloud", "login", "--json", without=KEY_ONLY, env={"SIGEN_USER": USER, "SIGEN_PASS_ENC": ENCODED})
    assert done.returncode == 0 and json.loads(done.stdout)["method"] == "account/json-aes"


def test_two_commands_share_one_login_and_keep_their_distance(desk, sim):
    """The whole way without a prepared token: the second command is a process of its own."""
    assert desk("cloud", "login").returncode == 0
    done = desk("cloud", "systems")
    assert done.returncode == 0, done.stderr
    assert sim.counts() == {"login": 1, "system": 1}
    assert sim.times("system")[0] - sim.times("login")[0] >= 5.9


def test_the_power_flow_in_words(desk):
    done = desk.signed_in()("cloud", "flow")
    assert done.returncode == 0 and done.stderr == ""
    for words in ("sun         3.40 kW", "57.2 %, charging 1.40 kW", "exporting 1.10 kW", "house       0.90 kW",
                  "EV charger  0.00 kW", "heat pump   0.00 kW", "balance     0.00 kW"):
        assert words in done.stdout, words


def test_the_power_flow_says_importing_when_the_cloud_says_minus(desk, sim):
    sim.scenario = "ev"
    done = desk.signed_in()("cloud", "flow")
    assert "importing 8.20 kW" in done.stdout and "EV charger  7.40 kW" in done.stdout
    assert "heat pump   1.50 kW" in done.stdout and "40.0 %, idle" in done.stdout


def test_the_power_flow_for_machines(desk):
    content = json.loads(desk.signed_in()("cloud", "flow", "--json").stdout)
    values = {key: content[key] for key in (
        "pv_kw", "grid_export_kw", "battery_charge_kw", "soc_pct", "load_kw", "ev_kw", "heat_pump_kw")}
    assert values == {"pv_kw": 3.4, "grid_export_kw": 1.1, "battery_charge_kw": 1.4, "soc_pct": 57.2, "load_kw": 0.9,
                      "ev_kw": 0.0, "heat_pump_kw": 0.0}
    assert content["grid_text"] == "exporting 1.10 kW" and content["valid"] is True and content["balance_w"] == 0
    assert content["system_id"] == STATION


def test_what_the_cloud_does_not_say_is_unknown_and_not_0(desk, sim):
    sim.flow_override = {"pvPower": 1.0, "batterySoc": 50}
    done = desk.signed_in()("cloud", "flow")
    assert done.returncode == 0 and "grid        unknown" in done.stdout and "balance     not known" in done.stdout
    assert "0.00" not in done.stdout.replace("1.00 kW", "")


def test_a_flow_that_cannot_be_true_is_shown_and_refused(desk, sim):
    sim.scenario = "unbalanced"
    done = desk.signed_in()("cloud", "flow", "--json")
    assert done.returncode == 4 and "do not add up" in one_line(done.stderr)
    assert json.loads(done.stdout)["valid"] is False


def test_a_second_flow_within_five_minutes_is_not_asked_for(desk, sim):
    assert desk.signed_in()("cloud", "flow").returncode == 0
    done = desk("cloud", "flow")
    assert done.returncode == 7 and done.stdout == ""
    left_s = int(re.search(r"possible again in (\d+) s", one_line(done.stderr)).group(1))
    assert 280 <= left_s <= 300
    assert sim.count("energyFlow") == 1


@pytest.mark.parametrize("argv, endpoint, keys, words", [
    (("systems",), "system", {"systems"}, (STATION, "normal", "10.00 kW", "16.00 kWh", "Australia/Adelaide")),
    (("devices",), "devices", {"devices"}, ("110A000X0001", "Inverter", "Battery", "V100R001C22")),
    (("summary",), "summary", {"day_kwh", "lifetime_kwh", "co2_t"}, ("12.30 kWh", "2.30 t CO2", "3.1 trees")),
    (("realtime",), "realtime", {"day_kwh", "trees"}, ("210.00 kWh", "1.90 t coal")),
    (("realtime", "--device", "110A000X0001"), "realtimeInfo", {"serial", "ac_kw", "battery_charge_kw"},
     ("Inverter", "generating 2.00 kW", "charging 1.40 kW")),
])
def test_the_reading_verbs(desk, sim, argv, endpoint, keys, words):
    sim.world.period_s = 0.0  # the same call twice, only here
    done = desk.signed_in()("cloud", *argv)
    assert done.returncode == 0 and done.stderr == "", done.stderr
    assert all(word in done.stdout for word in words), done.stdout
    (desk.path / LEDGER_FILE).unlink()
    content = json.loads(desk("cloud", *argv, "--json").stdout)
    assert keys <= set(content)
    assert desk.asked() == [endpoint, endpoint]


def test_without_a_system_id_the_list_says_what_to_set(desk):
    done = desk.signed_in()("cloud", "systems", without=("SIGEN_SYSTEM_ID",))
    assert "set cloud.system_id" in done.stdout


def test_an_empty_list_says_what_to_do(desk, sim):
    sim.world.stations[STATION].onboarded = False
    done = desk.signed_in()("cloud", "systems")
    assert done.returncode == 0 and "cloud onboard" in done.stdout


def test_a_wrong_secret_is_tried_once(desk, sim):
    done = desk("cloud", "login", env={"SIGEN_APP_SECRET": "wrong-secret"})
    assert done.returncode == 6 and "11003" in one_line(done.stderr) and "wrong-secret" not in done.stderr
    again = desk("cloud", "login", env={"SIGEN_APP_SECRET": "wrong-secret"})
    assert again.returncode == 7 and "possible again in" in one_line(again.stderr)
    assert sim.count("login") == 1


@pytest.mark.parametrize("kind, details, code, words", [
    ("code", {"code": 1106}, 6, "station not found"),
    ("code", {"code": 1110}, 7, "1110"),
    ("code", {"code": 1201}, 7, "1201"),
    ("code", {"code": 1401}, 6, "no permission"),
    ("code", {"code": 1502}, 6, "internal error"),
    ("status", {"status": 403}, 6, "developer"),
    ("status", {"status": 424}, 7, "424"),
    ("status", {"status": 429, "retry_after": "77"}, 7, "77 s"),
    ("status", {"status": 500}, 6, "500"),
    ("waf", {}, 6, "user_agent"),
    ("page", {}, 6, "web page"),
    ("empty", {}, 6, "no data"),
    ("truncated", {}, 6, "not JSON"),
    ("drop", {}, 6, "cut"),
])
def test_what_goes_wrong_is_one_line_and_the_right_code(desk, sim, kind, details, code, words):
    desk.signed_in()
    sim.fail("energyFlow", kind, **details)
    done = desk("cloud", "flow")
    assert done.returncode == code and done.stdout == "", done.stderr
    assert words in one_line(done.stderr)


def test_a_cloud_that_is_not_there(desk):
    done = desk("cloud", "login", env={"SIGEN_BRIDGE_CLOUD_BASE_URL": "http://127.0.0.1:1"})
    assert done.returncode == 6 and "internet connection" in one_line(done.stderr)


@pytest.mark.parametrize("argv, without, words", [
    (("flow",), ("SIGEN_APP_KEY",), "cloud.app_key"),
    (("login",), ("SIGEN_APP_SECRET",), "cloud.app_secret"),
    (("flow",), ("SIGEN_SYSTEM_ID",), "cloud.system_id"),
    (("devices",), ("SIGEN_SYSTEM_ID",), "cloud systems"),
    (("login",), ("SIGEN_REGION", "SIGEN_BRIDGE_CLOUD_BASE_URL"), "cloud.region"),
    (("login", "--cloud-region", "mars"), (), "aus"),
    (("login", "--cloud-base-url", "ftp://example.invalid"), (), "https://host"),
    (("flow", "--cloud-system-id", "two words"), (), "cloud.system_id"),
    (("flou",), (), "flow"),
    ((), (), "VERB"),
    (("onboard", "--yes"), (), "SYSTEM_ID"),
    (("onboard", "A B", "--dry-run"), (), "system_id"),
    (("onboard", STATION, "--yes"), KEY_ONLY, "cloud.app_key"),
    (("flow", "--dry-run"), (), "--dry-run"),
])
def test_bad_input_is_one_line_and_exit_2_and_asks_nobody(desk, sim, argv, without, words):
    done = desk("cloud", *argv, without=without)
    assert done.returncode == 2 and done.stdout == "", done.stderr
    assert words in one_line(done.stderr)
    assert not sim.log


def test_an_account_cannot_onboard_and_is_told_so(desk, sim):
    done = desk("cloud", "onboard", STATION, "--yes", without=KEY_ONLY, env={"SIGEN_USER": USER, "SIGEN_PASS": PASSWORD})
    assert done.returncode == 2 and "only an application" in one_line(done.stderr) and not sim.log


@pytest.mark.parametrize("verb", ["onboard", "offboard"])
def test_a_dry_run_shows_the_request_and_sends_nothing(desk, sim, verb):
    done = desk("cloud", verb, "ID1", "ID2", "--yes", "--dry-run")
    assert done.returncode == 0
    assert done.stdout == f'POST {sim.base_url}/openapi/board/{verb}\n["ID1","ID2"]\n'
    content = json.loads(desk("cloud", verb, "ID1", "--dry-run", "--json").stdout)
    assert content["requests"] == [{"method": "POST", "url": f"{sim.base_url}/openapi/board/{verb}", "body": ["ID1"]}]
    assert not sim.log and not desk.path.exists()


@pytest.mark.parametrize("verb", ["onboard", "offboard"])
def test_nothing_is_onboarded_without_yes(desk, sim, verb):
    done = desk.signed_in()("cloud", verb, STATION)
    assert done.returncode == 8 and "--yes" in one_line(done.stderr) and STATION in done.stderr
    assert desk.asked() == []


def test_offboarding(desk, sim):
    done = desk.signed_in()("cloud", "offboard", STATION, "--yes")
    assert done.returncode == 0 and done.stdout == f"{STATION}  done\n"
    assert not sim.world.stations[STATION].onboarded
    assert sim.log[-1].body == f'["{STATION}"]'.encode()


def test_onboarding_that_waits_for_the_owner_is_not_done(bridge, tmp_path):
    stations = (Station(onboarded=False),)
    with SigenCloudSim(Clock(), apps=(App(approval=True),), stations=stations) as sim:
        done = Desk(bridge, sim, tmp_path).signed_in()("cloud", "onboard", STATION, "UNKNOWN", "--yes")
    assert done.returncode == 6 and done.stderr == ""
    first, second = done.stdout.splitlines()
    assert first.startswith(f"{STATION}  waiting: code 1116")
    assert second.startswith("UNKNOWN  NOT DONE: code 1106")


def test_an_unwritable_state_directory_is_said(desk, tmp_path):
    (tmp_path / "file").write_text("not a directory")
    done = desk("cloud", "login", env={"SIGEN_BRIDGE_RUN_STATE_DIR": str(tmp_path / "file")})
    assert done.returncode == 0 and "cannot be written" in done.stdout


def test_a_debug_log_shows_what_happens_and_no_secret(desk):
    done = desk("cloud", "login", "--run-log-level", "debug")
    assert done.returncode == 0 and "event=login" in done.stderr


def test_encode_password_from_a_file_and_from_standard_input(bridge, tmp_path):
    (tmp_path / "password").write_text(PASSWORD + "\n")
    done = bridge("cloud", "encode-password", "--password-file", str(tmp_path / "password"))
    assert (done.returncode, done.stdout, done.stderr) == (0, ENCODED + "\n", "")
    piped = subprocess.run([sys.executable, "-m", "bridge", "cloud", "encode-password", "--password-file", "-"],
                           input=PASSWORD + "\n", capture_output=True, text=True, cwd=ROOT, env=bridge.environment(),
                           timeout=20, check=False)
    assert (piped.returncode, piped.stdout, piped.stderr) == (0, ENCODED + "\n", "")


def test_encode_password_asks_without_echo(bridge):
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "bridge", "cloud", "encode-password"], stdin=theirs, stdout=subprocess.PIPE,
        stderr=theirs, cwd=ROOT, env=bridge.environment(), start_new_session=True)
    bridge.running.append(process)
    os.close(theirs)
    seen = os.read(ours, 100)
    assert b"password" in seen
    os.write(ours, PASSWORD.encode() + b"\n")
    out, _ = process.communicate(timeout=10)
    try:
        seen += os.read(ours, 1000)
    except OSError:
        assert process.returncode == 0  # the terminal went away with its last user
    os.close(ours)
    assert process.returncode == 0 and out.decode() == ENCODED + "\n"
    assert PASSWORD.encode() not in seen


@pytest.mark.parametrize("argv, words", [
    ((), "no terminal"), (("--password-file", "/no/such/file"), "/no/such/file"),
    (("--password-file", "/dev/null"), "empty"), (("--password", "x"), "--password"),
])
def test_encode_password_without_a_password(bridge, argv, words):
    done = bridge("cloud", "encode-password", *argv)
    assert done.returncode == 2 and words in one_line(done.stderr) and done.stdout == ""


def test_encode_password_without_the_package_says_what_to_install(bridge, tmp_path):
    (tmp_path / "password").write_text("pw\n")
    done = bridge("cloud", "encode-password", "--password-file", str(tmp_path / "password"), python=("-S", "-E"))
    assert done.returncode == 2 and "pip install pycryptodome" in one_line(done.stderr)


def start_sim(bridge, *argv):
    process = bridge.start("sim", "cloud", "--port", str(free_port()), *argv)
    assert process.stdout.readline().startswith("simulated cloud on 127.0.0.1:")
    words = [word for _ in range(3) for word in shlex.split(process.stdout.readline()) if "=" in word]
    return process, dict(word.split("=", 1) for word in words)


def test_sim_cloud_prints_what_to_paste_and_serves_it(bridge, tmp_path):
    process, env = start_sim(bridge, "--scenario", "night")
    assert {"SIGEN_APP_KEY", "SIGEN_APP_SECRET", "SIGEN_SYSTEM_ID", "SIGEN_USER", "SIGEN_PASS"} < set(env)
    desk = Desk(bridge, SimpleNamespace(base_url=env["SIGEN_BRIDGE_CLOUD_BASE_URL"]), tmp_path).signed_in()
    done = bridge("cloud", "flow", env={**env, "SIGEN_BRIDGE_RUN_STATE_DIR": str(desk.path)})
    assert done.returncode == 0 and "importing 0.42 kW" in done.stdout, done.stderr
    assert bridge.stop(process)[0] == 0


def test_sim_cloud_misbehaves_as_told(bridge, tmp_path):
    process, env = start_sim(bridge, "--fault", "status,status=429,retry_after=55,endpoint=login,times=1")
    env["SIGEN_BRIDGE_RUN_STATE_DIR"] = str(tmp_path)
    done = bridge("cloud", "login", env=env)
    assert done.returncode == 7 and "55 s" in one_line(done.stderr)
    bridge.stop(process)


@pytest.mark.parametrize("argv, words", [
    (("--scenario", "party"), "home"), (("--token-s", "0"), "above 0"), (("--fault", "mood"), "unknown fault"),
    (("--fault", "status,colour=1"), "colour"), (("--fault", "status,500"), "KEY=VALUE"),
])
def test_sim_cloud_refuses_what_it_cannot_do(bridge, argv, words):
    done = bridge("sim", "cloud", "--port", str(free_port()), *argv)
    assert done.returncode == 2 and words in one_line(done.stderr)


def test_sim_cloud_says_that_a_port_is_taken(bridge, sim):
    done = bridge("sim", "cloud", "--port", str(sim.port))
    assert done.returncode == 2 and "in use" in one_line(done.stderr)
