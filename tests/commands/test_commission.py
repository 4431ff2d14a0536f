"""``sigen-bridge commission`` as an installer runs it: a simulated plant and three Shellys."""

from __future__ import annotations

import asyncio
import json
import os
import stat
import subprocess
import sys

import pytest

from bridge import ini
from bridge.clock import Clock
from bridge.sim.plant import PlantSim
from bridge.sim.shelly import ShellySim
from tests.commands.conftest import one_line

PASSWORD = "open sesame"
ANSWERS = """[site]
name = Example house
installer = A. Installer
[gateway]
host = 127.0.0.1:{plant}
serials = SIM0000000000247
[shelly Kitchen board]
host = {board}
mac = AABBCCDDEEFF
role = display
[shelly Hall heater]
host = {heater}
role = load
power_w = 3000
phase = 1
priority = 20
kind = heater
[shelly EV socket]
host = {ev}
mac = AABBCC000003
role = load
power_w = 11000
phase = 123
priority = 30
kind = ev
password_file = ev.pass
[loads]
file = loads.ini
limit_w = 10000
[consent]
control = yes
given_by = Ms Example
[link_loss]
set = yes
"""


class House:
    """A plant, three Shellys, the answers file of their installer, and the command on it."""

    def __init__(self, bridge, folder, plant, board, heater, ev):
        self.bridge, self.folder = bridge, folder
        self.plant, self.board, self.heater, self.ev = plant, board, heater, ev
        self.file = folder / "house.ini"
        self.file.write_text(ANSWERS.format(plant=plant.port, board=board.address, heater=heater.address, ev=ev.address))
        (folder / "ev.pass").write_text(PASSWORD + "\n")

    def __call__(self, *words):
        return self.bridge("commission", str(self.file), "--run-state-dir", str(self.folder / "state"),
                           "--lease-file", str(self.leases), *words)

    @property
    def leases(self):
        path = self.folder / "leases"
        if not path.exists():
            path.write_text("")
        return path

    def steps(self, *words):
        done = self("--json", *words)
        return {step["code"]: step for step in json.loads(done.stdout)["steps"]}, done

    def change(self, old, new):
        text = self.file.read_text()
        assert text.count(old) == 1
        self.file.write_text(text.replace(old, new))

    def names(self):
        return [each.device.identity.name for each in (self.board, self.heater, self.ev)]

    def flash(self):
        return [each.counters.flash_writes for each in (self.board, self.heater, self.ev)]


@pytest.fixture
def house(bridge, tmp_path):
    with PlantSim(Clock(), scenario="s3") as plant, ShellySim(Clock()) as board, \
            ShellySim(Clock(), mac="AABBCC000002", app="Plus1", model="SNSW-001X16EU", name="old name") as heater, \
            ShellySim(Clock(), mac="AABBCC000003", password=PASSWORD, firmware="2.0.1") as ev:
        yield House(bridge, tmp_path, plant, board, heater, ev)


def statuses(steps):
    return {code: step["status"] for code, step in steps.items()}


def test_a_house_is_commissioned_in_one_session_and_again_changes_nothing(house):
    steps, done = house.steps()
    assert done.returncode == 0, done.stdout
    assert statuses(steps) == {
        "gateway": "already so", "network": "already so", "inverters": "already so", "phases": "already so",
        "shelly_1": "done", "shelly_1_display": "done", "shelly_2": "done", "shelly_3": "done", "loads": "done",
        "consent": "done", "link_loss": "done"}
    assert house.names() == ["Kitchen board", "Hall heater", "EV socket"]
    assert {"number:200", "number:204", "group:200"} <= set(house.board.device.components.by_key)
    assert "SIM0000000000247, firmware V100R001" in steps["inverters"]["what"]
    assert len(house.plant.writes) == 0
    loads = (house.folder / "loads.ini").read_bytes()
    flash = house.flash()
    steps, done = house.steps()
    assert done.returncode == 0 and set(statuses(steps).values()) == {"already so"}
    assert house.flash() == flash and (house.folder / "loads.ini").read_bytes() == loads


def test_a_dry_run_and_a_check_write_nothing_at_all(house):
    files = sorted(os.listdir(house.folder))
    steps, done = house.steps("--dry-run")
    assert done.returncode == 0 and statuses(steps)["shelly_1"] == "would be done"
    steps, done = house.steps("--check")
    assert done.returncode == 10 and statuses(steps)["shelly_2"] == "failed" and "old name" in steps["shelly_2"]["what"]
    assert statuses(steps)["consent"] == "failed" and statuses(steps)["gateway"] == "already so"
    assert all(step["advice"] for step in steps.values() if step["status"] == "failed")
    assert house.names() == [None, "old name", None] and house.flash() == [0, 0, 0]
    assert [name for name in sorted(os.listdir(house.folder)) if name != "leases"] == files


def test_a_check_finds_what_has_changed_since(house):
    house()
    assert house("--check").returncode == 0
    house.heater.device.identity.name = "renamed"
    house.board.delete("number:202")
    steps, done = house.steps("--check")
    failed = {code for code, status in statuses(steps).items() if status == "failed"}
    assert done.returncode == 10 and failed == {"shelly_2", "shelly_1_display"}
    assert house.names()[1] == "renamed" and "number:202" not in house.board.device.components.by_key
    steps, done = house.steps()
    assert done.returncode == 0 and statuses(steps)["shelly_1_display"] == "done" and house.names()[1] == "Hall heater"


def test_the_loads_file_is_one_that_can_be_read_and_stays_the_owners(house):
    house()
    path = house.folder / "loads.ini"
    options = {(option.section, option.name): option.value for option in ini.parse(path.read_text())}
    assert options["Hall heater", "device"] == house.heater.address and options["Hall heater", "mac"] == "AABBCC000002"
    assert options["EV socket", "phase"] == "123" and stat.S_IMODE(path.stat().st_mode) == 0o600
    path.write_text("[Hall heater]\npower_w = 1\n")
    steps, done = house.steps()
    assert done.returncode == 10 and "without EV socket" in steps["loads"]["what"]
    assert path.read_text() == "[Hall heater]\npower_w = 1\n"


def test_the_reports_are_for_people_and_hold_no_secret(house):
    done = house()
    text = (house.folder / "house-report.txt").read_text()
    page = (house.folder / "house-report.html").read_text()
    assert text == done.stdout and "Example house" in page and page.startswith("<!doctype html>")
    for told in ("SIM0000000000247", "Kitchen board", "AABBCC000003", "all 11 steps are in order", "shelly.mac = AABBCCDDEEFF"):
        assert told in text and told in page
    everything = text + page + done.stderr + "".join(
        path.read_text() for path in house.folder.rglob("*") if path.is_file() and path.name != "ev.pass")
    assert PASSWORD not in everything
    named = house("--check", "--report", str(house.folder / "later"))
    assert named.returncode == 0 and "check" in (house.folder / "later.html").read_text()


@pytest.mark.parametrize("fault, told", [("refuse", "refuses: switch Modbus TCP on"), ("silent", "allow THIS address: 127.0.0.1")])
def test_a_plant_that_does_not_let_us_in_is_told_and_the_rest_is_done(house, fault, told):
    house.plant.fault(fault)
    steps, done = house.steps()
    assert done.returncode == 10 and steps["gateway"]["status"] == "failed" and told in steps["gateway"]["what"]
    assert statuses(steps)["shelly_1"] == "done" and "inverters" not in steps


def test_another_houses_inverter_fails(house):
    house.change("serials = SIM0000000000247", "serials = OTHER1")
    steps, done = house.steps()
    assert done.returncode == 10 and "expected OTHER1" in steps["inverters"]["what"]


def test_a_phase_that_contradicts_its_total_fails(house):
    house.plant.set("grid_phase_b_active_power", -2843)
    steps, done = house.steps()
    assert done.returncode == 10 and steps["phases"]["status"] == "failed" and "8540 W" in steps["phases"]["what"]


def test_a_device_that_is_not_the_one_meant_is_not_written_to(house):
    house.change("mac = AABBCC000003", "mac = AABBCC000009")
    steps, done = house.steps()
    assert done.returncode == 10 and "nothing was written" in steps["shelly_3"]["what"]
    assert house.names()[2] is None and house.ev.counters.flash_writes == 0


@pytest.mark.parametrize("content, told", [("mistyped\n", "password"), (None, "cannot be read")])
def test_a_wrong_or_missing_password_is_a_failed_step_and_not_a_lock_out(house, content, told):
    if content is None:
        (house.folder / "ev.pass").unlink()
    else:
        (house.folder / "ev.pass").write_text(content)
    steps, done = house.steps()
    assert done.returncode == 10 and steps["shelly_3"]["status"] == "failed" and told in steps["shelly_3"]["what"]
    assert "mistyped" not in done.stdout + done.stderr and statuses(steps)["shelly_2"] == "done"
    (house.folder / "ev.pass").write_text(PASSWORD)
    assert house().returncode == 0, "one wrong try locks nobody out"


def test_a_shelly_that_is_away_is_a_failed_step(house):
    house.heater.fault("offline_refused")
    steps, done = house.steps()
    assert done.returncode == 10 and "connection refused" in steps["shelly_2"]["what"]
    assert statuses(steps)["shelly_3"] == "done"


def test_unanswered_questions_fail_with_what_to_answer(house):
    house.change("control = yes", "control =")
    house.change("set = yes", "set =")
    steps, done = house.steps()
    assert done.returncode == 10
    assert "[consent] control" in steps["consent"]["advice"] and "[link_loss] set" in steps["link_loss"]["advice"]


def test_control_against_the_owners_word_fails(house):
    house.change("control = yes", "control = no")
    steps, done = house.steps("--control-enabled", "yes")
    assert done.returncode == 10 and "set control.enabled = no" in steps["consent"]["advice"]


def test_a_second_sigenergy_device_in_the_lease_table_fails(house):
    house.leases.write_text("1 0c:47:a9:9a:bc:de 127.0.0.2 * *\n1 bc:31:98:d1:02:03 127.0.0.9 * *\n")
    steps, done = house.steps()
    assert done.returncode == 10 and "daily dropouts" in steps["network"]["what"]


def test_what_has_no_address_is_searched_for(bridge, tmp_path):
    with PlantSim(Clock(), host="127.0.0.2", scenario="s3") as plant, ShellySim(Clock(), host="127.0.0.3") as board:
        leases = tmp_path / "leases"
        leases.write_text("1 0c:47:a9:9a:bc:de 127.0.0.2 Gateway *\n1 aa:bb:cc:dd:ee:ff 127.0.0.3 x *\n")
        answers = tmp_path / "house.ini"
        answers.write_text("[shelly Board]\nmac = AA:BB:CC:DD:EE:FF\n[shelly Lost]\nmac = AABBCC000009\n[consent]\ncontrol = no\n"
                           "given_by = Me\n[link_loss]\nset = no\n")
        done = bridge("commission", str(answers), "--no-mdns", "--lease-file", str(leases), "--port", str(plant.port),
                      "--shelly-port", str(board.port), "--run-state-dir", str(tmp_path / "state"), "--json")
        steps = {step["code"]: step for step in json.loads(done.stdout)["steps"]}
        assert "127.0.0.2" in steps["gateway"]["what"] and "its MAC is Sigenergy's" in steps["gateway"]["what"]
        assert board.device.identity.name == "Board"
        assert done.returncode == 10 and "AABBCC000009 was not found" in steps["shelly_2"]["what"]


def test_a_template_is_written_once(bridge, tmp_path):
    path = tmp_path / "new.ini"
    missing = bridge("commission", str(path))
    assert missing.returncode == 2 and "--template" in one_line(missing.stderr)
    assert bridge("commission", str(path), "--template").returncode == 0
    again = bridge("commission", str(path), "--template")
    assert again.returncode == 2 and "there already" in one_line(again.stderr)


@pytest.mark.parametrize("text, why", [("nonsense", "line 1"), ("[gateway]\nhosts = 1\n", "did you mean host")])
def test_a_damaged_answers_file_is_one_line(bridge, tmp_path, text, why):
    path = tmp_path / "house.ini"
    path.write_text(text)
    done = bridge("commission", str(path))
    assert done.returncode == 2 and why in one_line(done.stderr)


def test_a_state_directory_that_cannot_be_written_fails_the_answers(house):
    (house.folder / "state").write_text("a file")
    steps, done = house.steps()
    assert done.returncode == 10 and "cannot be written" in steps["consent"]["what"]


@pytest.mark.skipif(sys.version_info < (3, 11), reason="aioshelly needs Python 3.11")
def test_aioshelly_beside_us_hears_the_name_and_is_never_locked_out(house):
    from aiohttp import ClientSession
    from aioshelly.common import ConnectionOptions
    from aioshelly.rpc_device import RpcDevice

    async def beside():
        options = ConnectionOptions("127.0.0.1", "admin", PASSWORD, port=house.ev.port, device_mac="AABBCC000003")
        async with ClientSession() as session:
            device = await RpcDevice.create(session, None, options)
            await device.initialize()
            try:
                done = await asyncio.get_running_loop().run_in_executor(None, house)
                await device.update_config()
                return done, device.config["sys"]["device"]["name"]
            finally:
                await device.shutdown()

    done, name = asyncio.run(beside())
    assert done.returncode == 0 and name == "EV socket"


@pytest.mark.needs("chromium")
def test_a_browser_shows_and_prints_the_report(house, tmp_path):
    house()
    options = ["chromium", "--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    address = (house.folder / "house-report.html").as_uri()
    shown = subprocess.run([*options, "--dump-dom", address], capture_output=True, text=True, timeout=60, check=False)
    assert "all 11 steps are in order" in shown.stdout, shown.stderr[-500:]
    subprocess.run([*options, f"--print-to-pdf={tmp_path / 'report.pdf'}", address], capture_output=True, timeout=60, check=True)
    assert (tmp_path / "report.pdf").read_bytes().startswith(b"%PDF")
