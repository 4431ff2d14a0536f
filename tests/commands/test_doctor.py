"""``doctor``: one simulated fault for each thing it can find, and what it prints then."""

from __future__ import annotations

import json

import pytest

from bridge.commands.doctor import text
from bridge.control.diagnosis import OK, PROBLEM, RULES, Finding
from tests.commands.conftest import one_line
from tests.commands.doctor_mqtt_cases import CASES, GOLDEN, run_case
from tests.ports import free_port

ALL_S = 20.0  # what the whole visit may take at worst


def marked(code):
    """Return the case with what it needs."""
    tools = ("mosquitto", "openssl") if "mqtt" in code else ("openssl",) if code.startswith("enphase_") else ()
    return pytest.param(code, marks=pytest.mark.needs(*tools)) if tools else code


@pytest.mark.parametrize("code", [marked(code) for code in sorted(CASES)])
def test_a_fault_is_found_by_name_and_nothing_else_is(code):
    expected = set(CASES[code][1])
    findings, report = run_case(code)
    found = {each.code for each in findings}
    problems = {each.code for each in findings if each.level == PROBLEM}
    assert expected <= found, report
    assert problems <= expected, report
    assert report == (GOLDEN / f"{code}.txt").read_text("utf-8")


def test_every_finding_has_a_simulated_fault():
    shown_elsewhere = {"machine_ok", "plant_ok", "shelly_ok"}  # in the report of everything_is_fine
    assert set(RULES) - shown_elsewhere == set(CASES)
    fine = (GOLDEN / "data_ok.txt").read_text("utf-8")
    assert all(f"[{code}]" in fine for code in shown_elsewhere)


def test_there_is_a_golden_report_of_every_fault_and_no_other():
    assert {path.stem for path in GOLDEN.glob("*.txt")} == set(CASES)


def test_no_two_faults_give_the_same_advice():
    advice_of = {}
    for code in CASES:
        if RULES[code].level == OK:
            continue
        lines = (GOLDEN / f"{code}.txt").read_text("utf-8").splitlines()
        number = next(i for i, line in enumerate(lines) if line.endswith(f"[{code}]"))
        advice = lines[number + 1]
        assert advice.strip().startswith("-> ")
        assert advice not in advice_of, f"{code} and {advice_of[advice]} give the same advice"
        advice_of[advice] = code


def test_a_finding_is_one_line_and_its_advice_another():
    report = text([Finding("problem", "x", "plant: broken", "mend it"), Finding("ok", "y", "fine", "")])
    assert report.splitlines() == [
        "problem  plant: broken [x]", "         -> mend it", "ok       fine [y]", "1 problem found"]


def arguments(plant, shelly, tmp_path, *more):
    return ("doctor", "--host", f"127.0.0.1:{plant.port}", "--shelly-host", shelly.address, "--root", str(tmp_path),
            "--status-listen", f"127.0.0.1:{free_port()}", "--run-state-dir", str(tmp_path / "state"), *more)


def test_a_healthy_home_is_exit_0_and_nothing_is_written(bridge, moving_plant, shelly, tmp_path):
    done = bridge(*arguments(moving_plant, shelly, tmp_path, "--json"))
    content = json.loads(done.stdout)
    problems = [each["code"] for each in content["findings"] if each["level"] == "problem"]
    assert problems == ["shelly_no_group"] and done.returncode == 10  # these five are in no group
    assert content["schema"] == 1 and content["ok"] is False and content["took_s"] < ALL_S
    assert moving_plant.counters.writes == 0 and {each.function for each in moving_plant.log} <= {3, 4}
    assert not [method for method in shelly.counters.rpc if "Set" in method or "Add" in method]
    assert shelly.counters.flash_writes == 0
    assert not (tmp_path / "state").exists()


def test_exit_0_without_a_problem(bridge, plant, tmp_path):
    done = bridge("doctor", "--host", f"127.0.0.1:{plant.port}", "--root", str(tmp_path), "--status-listen", "off",
                  "--run-state-dir", str(tmp_path / "state"))
    assert done.returncode == 0, done.stdout
    assert done.stdout.endswith("no problem found\n") and done.stderr == ""


def test_without_third_party_packages_doctor_names_what_is_missing(bridge, plant, tmp_path):
    done = bridge("doctor", "--serial", "/dev/ttyUSB77", "--root", str(tmp_path), "--status-listen", "off",
                  "--run-state-dir", str(tmp_path / "state"), python=("-S",))
    assert done.returncode == 10, done.stderr
    assert "install pyserial (OpenWrt: opkg install sigen-bridge-rs485)" in done.stdout


def test_a_wrong_setting_is_one_line_and_exit_2(bridge):
    done = bridge("doctor", "--shelly-host", "shelly:port", "--status-listen", "off")
    assert done.returncode == 2
    assert "shelly.host" in one_line(done.stderr)


def test_the_worst_home_is_through_within_20_s(bridge, plant, shelly, tmp_path):
    plant.fault("silent")
    shelly.fault("hang")
    done = bridge(*arguments(plant, shelly, tmp_path, "--json", "--modbus-timeout-s", "30"), timeout=30)
    content = json.loads(done.stdout)
    assert content["took_s"] < ALL_S
    found = {each["code"] for each in content["findings"]}
    assert {"plant_silent", "shelly_failing"} <= found
