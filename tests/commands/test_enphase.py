"""``enphase serve|setup|token`` and the Envoy's sun in ``once`` and ``run``, as programs."""

from __future__ import annotations

import http.client
import json
import os
import re
import socket
import stat
import subprocess
import sys

import pytest

from bridge import cli
from bridge.clock import Clock
from bridge.config import take_flags
from bridge.settings import SETTINGS
from bridge.sim.enphase_envoy import FAULTS as ENVOY_FAULTS
from bridge.sim.plant import PlantSim
from tests.commands.conftest import ROOT, one_line, until
from tests.enphase_home import Home
from tests.ports import free_port

pytestmark = pytest.mark.needs("openssl")


@pytest.fixture
def home(tmp_path):
    with Home(tmp_path) as place:
        yield place


@pytest.fixture
def sunny():
    """A plant whose gateway measures 4200 W of foreign sun in 30194; see tests for what is changed of it."""
    with PlantSim(Clock(), scenario="third_party") as simulator:
        yield simulator


def variables(home, tmp_path, **more):
    """Return the environment that points the program at the simulators, by the original's names."""
    return {
        "ENPHASE_LOCAL_API_URL": home.device.url + "/", "ENPHASE_REMOTE_API_URL": home.cloud.url,
        "ENPHASE_TOKEN_URL": home.cloud.url, "ENPHASE_REMOTE_API_USERNAME": home.world.account.username,
        "ENPHASE_REMOTE_API_PASSWORD": home.world.account.password, "ENPHASE_REMOTE_API_SERIALNO": home.world.serial,
        "SIGEN_BRIDGE_RUN_STATE_DIR": str(tmp_path / "program-state"), **more,
    }


def serving(bridge, env, *argv):
    """Start ``enphase serve`` on a free port; returns the process and host:port."""
    process = bridge.start("enphase", "serve", "--enphase-listen", "127.0.0.1:0", *argv, env=env)
    line = process.stderr.readline()
    found = re.search(r"state=serving listen=(\S+)", line)
    assert found, line
    return process, found.group(1)


def get(address, target="/production.json", method="GET"):
    connection = http.client.HTTPConnection(address, timeout=10)
    try:
        connection.request(method, target)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


@pytest.mark.parametrize("way", ["login", "jwt"])
def test_serve_with_each_set_of_variables(bridge, home, tmp_path, way):
    env = variables(home, tmp_path)
    if way == "jwt":
        env["ENPHASE_LOCAL_API_JWT"] = home.world.issue(Clock().now())
    process, address = serving(bridge, env)
    status, body = get(address)
    assert status == 200 and json.loads(body)["production"][1]["wNow"] == 4200
    assert get(address, method="POST")[0] == 200
    code, out, err = bridge.stop(process)
    assert code == 0 and out == "" and "Traceback" not in err
    assert "eyJ" not in err and "s3cret" not in err
    assert home.cloud.count() == (0 if way == "jwt" else 2)  # a pasted token: the cloud is never contacted


def test_serve_comes_up_while_enlighten_and_the_envoy_are_away(bridge, home, tmp_path):
    home.cloud.stop()
    home.device.stop()
    process, address = serving(bridge, variables(home, tmp_path))
    assert get(address)[0] in (502, 503) and get(address, "/_/health")[0] == 503
    home.device.start()
    assert until(lambda: get(address, "/info")[0] == 200)
    assert bridge.stop(process)[0] == 0


@pytest.mark.parametrize(("change", "code", "text"), [
    ({"ENPHASE_LOCAL_API_URL": ""}, 2, "no Envoy is configured: set enphase.local_url"),
    ({"ENPHASE_LOCAL_API_URL": "ftp://x"}, 2, "enphase.local_url"),
    ({"ENPHASE_REMOTE_API_PASSWORD": ""}, 2, "enphase.password"),
    ({"ENPHASE_LOCAL_API_JWT": "abc.def"}, 2, "enphase.jwt"),
    ({"SIGEN_BRIDGE_ENPHASE_CERT_FINGERPRINT": "12"}, 2, "enphase.cert_fingerprint"),
    ({"SIGEN_BRIDGE_ENPHASE_ALLOW": "production.json"}, 2, "enphase.allow"),
    ({"SIGEN_BRIDGE_ENPHASE_LISTEN": "off"}, 2, "enphase.listen"),
])
def test_wrong_settings_are_one_line_and_exit_2(bridge, home, tmp_path, change, code, text):
    done = bridge("enphase", "serve", env=variables(home, tmp_path, **change))
    assert done.returncode == code and text in one_line(done.stderr)
    assert "s3cret" not in done.stderr and "abc.def" not in done.stderr


def test_setup_without_an_address_says_that_no_envoy_is_configured(bridge, home, tmp_path):
    done = bridge("enphase", "setup", env=variables(home, tmp_path, ENPHASE_LOCAL_API_URL=""))
    assert done.returncode == 2 and "no Envoy is configured" in one_line(done.stderr)


def test_a_port_that_is_taken_is_one_line(bridge, home, tmp_path):
    done = bridge("enphase", "serve", "--enphase-listen", f"127.0.0.1:{home.device.port}", env=variables(home, tmp_path))
    assert done.returncode == 2 and "enphase.listen" in one_line(done.stderr)


def test_token_show_prints_the_date_only_and_asks_nobody(bridge, home, tmp_path):
    env = variables(home, tmp_path)
    missing = bridge("enphase", "token", "--show", env={**env, "ENPHASE_REMOTE_API_URL": "http://127.0.0.1:9"})
    assert missing.returncode == 6
    unasked = bridge("enphase", "token", "--show", env=env)
    assert unasked.returncode == 6 and "no token is stored" in one_line(unasked.stderr) and home.cloud.count() == 0
    fetched = bridge("enphase", "token", env=env)
    assert fetched.returncode == 0 and "renewed by itself" in fetched.stdout, fetched.stderr
    calls = home.cloud.count()
    shown = bridge("enphase", "token", "--show", env=env)
    assert re.fullmatch(r"\d{4}-\d\d-\d\d\n", shown.stdout) and home.cloud.count() == calls
    stored = tmp_path / "program-state" / "enphase-token.json"
    assert stat.S_IMODE(os.stat(stored).st_mode) == 0o600
    renewed = json.loads(bridge("enphase", "token", "--renew", "--json", env=env).stdout)
    assert renewed["pasted"] is False and home.cloud.count() > calls


def test_token_says_that_one_that_is_due_could_not_be_renewed(bridge, home, tmp_path):
    env = variables(home, tmp_path)
    assert bridge("enphase", "token", env=env).returncode == 0
    stored = tmp_path / "program-state" / "enphase-token.json"
    content = json.loads(stored.read_text())
    stored.write_text(json.dumps({**content, "token": home.world.issue(Clock().now() - 5.9 * 86400, 6 * 86400.0)}))
    home.cloud.stop()
    done = bridge("enphase", "token", env=env)
    assert done.returncode == 0 and "could not be renewed" in done.stdout.splitlines()[1], done.stdout + done.stderr


@pytest.mark.parametrize(("fault", "text"), [("wrong", "rejects the login"), ("mfa", "second factor")])
def test_a_login_that_fails_is_one_plain_line_and_exit_6(bridge, home, tmp_path, fault, text):
    if fault == "wrong":
        home.world.account = home.world.account._replace(password="another")
    else:
        home.world.account = home.world.account._replace(mfa=True)
    for word in ("token", "setup"):
        done = bridge("enphase", word, env=variables(home, tmp_path, ENPHASE_REMOTE_API_PASSWORD=home.world.account.password
                                                     if fault == "mfa" else "s3cret&+%"))
        assert done.returncode == 6 and text in one_line(done.stderr)


def test_setup_pins_checks_and_says_what_it_found(bridge, home, tmp_path):
    done = bridge("enphase", "setup", env=variables(home, tmp_path))
    lines = done.stdout.splitlines()
    assert done.returncode == 0, done.stderr
    assert "Envoy 122300000001, firmware D8.2.4345 metered" in lines[0]
    assert re.match(r"certificate: pinned, SHA-256 [0-9a-f]{64}$", lines[1])
    assert lines[2].startswith("token: accepted by the Envoy, ends 20") and lines[3] == "sun: 4200 W by meter"
    assert lines[4].startswith("topology: not known, no plant is configured")


def test_setup_dry_run_leaves_nothing_behind(bridge, home, sunny, tmp_path):
    env = variables(home, tmp_path)
    done = bridge("enphase", "setup", "--dry-run", "--json", "--host", f"127.0.0.1:{sunny.port}", env=env)
    facts = json.loads(done.stdout)
    assert done.returncode == 0 and facts["topology"] == "gateway" and facts["power_w"] == 4200.0
    assert not list(tmp_path.rglob("enphase-*.json"))


@pytest.mark.parametrize(("registers", "topology", "says"), [
    ({}, "gateway", "nothing is added"),
    ({30194: 0}, "load", "added to the sun"),
    ({30194: 0, 30284: -3000}, "unseen", "to the sun and to the house load"),
])
def test_setup_says_in_one_line_which_topology_it_is(bridge, home, sunny, tmp_path, registers, topology, says):
    for address, value in registers.items():
        sunny.set(address, value)
    done = bridge("enphase", "setup", "--host", f"127.0.0.1:{sunny.port}", env=variables(home, tmp_path))
    line = done.stdout.splitlines()[-1]
    assert done.returncode == 0 and line.startswith("topology: ") and says in line, done.stdout + done.stderr
    assert "Envoy 4200 W; sun shown 4200 W" in line
    assert sunny.counters.writes == 0


def test_setup_with_another_serial_is_one_line(bridge, home, tmp_path):
    done = bridge("enphase", "setup", env=variables(home, tmp_path, ENPHASE_REMOTE_API_SERIALNO="999"))
    assert done.returncode == 2 and "enphase.serial = 999" in one_line(done.stderr)


def test_a_changed_certificate_is_refused_until_it_is_accepted(bridge, home, tmp_path):
    env = variables(home, tmp_path)
    process, address = serving(bridge, env)
    assert get(address)[0] == 200
    home.device.fault("certificate")
    assert get(address)[0] == 502
    refused = bridge("enphase", "setup", env=env)
    assert refused.returncode == 8 and "--accept-certificate" in one_line(refused.stderr)
    assert bridge("enphase", "setup", "--accept-certificate", env=env).returncode == 0
    assert get(address)[0] == 200
    code, _, err = bridge.stop(process)
    assert code == 0 and err.count("state=certificate-changed") == 1


@pytest.mark.parametrize(("registers", "pv_w", "load_w"), [
    ({}, 4200, 1200), ({30194: 0}, 4200, 1200), ({30194: 0, 30284: -3000}, 4200, 1200)])
def test_once_shows_one_sun_in_each_topology(bridge, home, sunny, tmp_path, registers, pv_w, load_w):
    for address, value in registers.items():
        sunny.set(address, value)
    done = bridge("once", "--json", "--dry-run", "--host", f"127.0.0.1:{sunny.port}", env=variables(home, tmp_path))
    snapshot = json.loads(done.stdout)
    assert (snapshot["pv_w"], snapshot["vc"]["200"], snapshot["load_w"]) == (pv_w, pv_w, load_w), done.stderr
    assert snapshot["valid"] and snapshot["reason"] is None


def test_once_over_rs485_adds_the_envoys_sun_too(bridge, home, tmp_path):
    with PlantSim(Clock(), scenario="third_party", serial=True, unit=1) as plant:
        plant.set(30194, 0)
        done = bridge("once", "--json", "--dry-run", "--serial", plant.tty, env=variables(home, tmp_path))
        snapshot = json.loads(done.stdout)
        assert (snapshot["pv_w"], snapshot["load_w"]) == (4200, 1200) and snapshot["source"] == "modbus-rtu", done.stderr


def test_once_with_own_panels_beside_the_envoys(bridge, home, sunny, tmp_path):
    for address, value in {30194: 0, 30035: 2000, 30284: -3000}.items():
        sunny.set(address, value)
    done = bridge("once", "--json", "--dry-run", "--host", f"127.0.0.1:{sunny.port}", env=variables(home, tmp_path))
    assert json.loads(done.stdout)["vc"]["200"] == 6200


def test_once_with_a_silent_envoy_has_no_sun_rather_than_half_of_it(bridge, home, sunny, tmp_path):
    sunny.set(30194, 0)
    home.device.stop()
    done = bridge("once", "--json", "--dry-run", "--host", f"127.0.0.1:{sunny.port}", env=variables(home, tmp_path))
    snapshot = json.loads(done.stdout)
    assert snapshot["pv_w"] is None and snapshot["vc"]["200"] is None and snapshot["grid_import_w"] == -310
    assert "Envoy's sun is not known" in snapshot["reason"] and "connection refused" in snapshot["reason"]


def test_run_adds_the_sun_every_second_and_without_an_envoy_loads_nothing_of_it(bridge, home, sunny, tmp_path):
    sunny.set(30194, 0)
    env = variables(home, tmp_path)
    process = bridge.start("run", "--print", "--status-listen", "off", "--host", f"127.0.0.1:{sunny.port}", env=env)
    shown = ""
    for _ in range(12):
        shown = process.stdout.readline()
        if "sun 4200 W" in shown:
            break
    assert "sun 4200 W" in shown and "house 1200 W" in shown
    assert bridge.stop(process)[0] == 0
    probe = ("import sys; from bridge import cli; cli.main(['run', '--cycles', '1', '--status-listen', 'off', '--host',"
             f" '127.0.0.1:{sunny.port}']); print([m for m in sys.modules if 'enphase' in m or 'envoy' in m or m == 'ssl'])")
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, timeout=20,
                          env=bridge.environment(), check=True)
    assert done.stdout.strip() == "[]"


def test_sim_enphase_tells_how_to_be_reached(bridge, tmp_path):
    ports = [free_port(), free_port()]
    process = bridge.start("sim", "enphase", "--port", str(ports[0]), "--cloud-port", str(ports[1]), "--power", "1234")
    lines = [process.stdout.readline() for _ in range(4)]
    env = dict(re.findall(r"(ENPHASE_\w+)=('[^']*'|\S+)", "".join(lines)))
    env = {name: value.strip("'") for name, value in env.items()}
    env["SIGEN_BRIDGE_RUN_STATE_DIR"] = str(tmp_path)
    done = bridge("enphase", "setup", "--json", env=env)
    assert json.loads(done.stdout)["power_w"] == 1234.0, done.stderr
    assert bridge.stop(process)[0] == 0
    wrong = bridge("sim", "enphase", "--port", str(ports[0]), "--cloud-port", str(ports[1]), "--fault", "nonsense")
    assert wrong.returncode == 2 and "nonsense" in one_line(wrong.stderr)


def test_a_taken_port_of_a_simulator_is_named_with_the_option_that_moves_it(bridge):
    """Two ports, two options: the one that is taken is told, or its reader changes the wrong one."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        for argv, option in ((("--port", port, "--cloud-port", port), "--cloud-port"),
                             (("--port", port, "--cloud-port", "0"), "--port")):
            done = bridge("sim", "enphase", *argv)
            line = one_line(done.stderr)
            assert done.returncode == 2 and f"127.0.0.1:{port}" in line and line.endswith(f"choose another {option}"), line
    wrong = bridge("sim", "enphase", "--cloud-port", "99999")
    assert wrong.returncode == 2 and "99999" in one_line(wrong.stderr)


def test_all_simulators_can_run_at_once_on_the_ports_that_their_help_tells(bridge):
    from bridge.wiring_sim import ENLIGHTEN_PORT, PORTS

    assert len({*PORTS.values(), ENLIGHTEN_PORT}) == len(PORTS) + 1
    for kind, port in PORTS.items():
        assert f"--port N serves on another port than {port}." in bridge("sim", kind, "--help").stdout


PAGE = (ROOT / "docs" / "enphase.md").read_text("utf-8")


@pytest.mark.parametrize("line", [
    line for block in re.findall(r"```sh\n(.*?)```", PAGE, re.S) for line in block.strip().splitlines()])
def test_command_lines_of_the_page_exist(line):
    words = line.split()
    assert words[0] == "sigen-bridge"
    rest = take_flags(words[1:])[2]
    module = cli.command(rest[0])
    parser = cli._Parser(prog="x")
    module.arguments(parser)
    parser.parse_args(rest[1:])


def test_the_page_names_every_setting_of_this_part_and_no_other():
    rows = {row.key: row for row in SETTINGS if row.key.startswith("enphase.")}
    assert set(re.findall(r"`(enphase\.\w+)`", PAGE)) == set(rows)
    assert set(re.findall(r"`(ENPHASE_\w+)`", PAGE)) == {alias for row in rows.values() for alias in row.aliases}
    for name in (*ENVOY_FAULTS, "cloud-down", "cloud-html", "cloud-blocked"):
        assert name in PAGE
