"""``sigen-bridge shelly scripts`` as a user runs it."""

from __future__ import annotations

import json

import pytest

from bridge.cli import main
from bridge.clock import Clock
from bridge.sim.shelly import ShellySim, s3_components
from tests.sim.quickjs_runner import QuickJsRun


@pytest.fixture
def shelly():
    with ShellySim(Clock(), components=s3_components(), script_runner=QuickJsRun) as sim:
        yield sim


@pytest.fixture
def run(capsys, shelly):
    def command(*words, host=True):
        """Return (exit code, standard output, the lines of standard error that are not logs)."""
        code = main(["shelly", "scripts", *words, *(["--shelly-host", shelly.address] if host else [])])
        out, err = capsys.readouterr()
        return code, out, [line for line in err.splitlines() if line.startswith("sigen-bridge:")]

    return command


def codes(shelly):
    return {script.name: script.code for script in shelly.device.scripts.by_id.values()}


def test_the_library_is_listed_without_a_device(run):
    code, out, _ = run(host=False)
    assert code == 0 and [line.split()[0] for line in out.splitlines()] == ["setter", "monitor", "rs485", "give"]


def test_list_tells_what_is_there_and_what_is_not_ours(run, shelly):
    run("install", "setter")
    shelly.device.call("Script.Create", {"name": "somebody"}, "test", lambda outcome: None)
    code, out, _ = run("list")
    lines = out.splitlines()
    assert code == 0 and "slot 1, running, starts on boot" in lines[0]
    assert "not on the device" in lines[1] and lines[3] == "-        slot 2 somebody: not ours, left alone"
    told = json.loads(run("list", "--json")[1])
    assert told["scripts"][0]["current"] is True and told["others"] == [{"id": 2, "name": "somebody"}]


def test_rs485_names_the_port_and_says_that_it_is_unproven(run, shelly):
    code, out, _ = run("install", "rs485", "--set", "unit=247", "--set", "baud=9600")
    assert code == 0 and "stored and verified: slot 1, running, starts on boot" in out
    assert "  unit = 247" in out and "  baud = 9600" in out
    assert "COM 15/16 (RS485-1) of the inverter" in out and "P6 is a master" in out and "unproven on hardware" in out
    assert "plug the Shelly Pro RS485 add-on in" in out, "this device has none"
    again = run("install", "rs485")[1]
    assert "was so already" in again and "  unit = 247" in again


def test_a_dry_run_stores_nothing(run, shelly):
    code, out, _ = run("install", "monitor", "--set", "url=http://192.168.8.1:8502/latest", "--dry-run")
    assert code == 0 and "would store monitor" in out and "url = http://192.168.8.1:8502/latest" in out
    assert codes(shelly) == {} and shelly.counters.flash_writes == 0


def test_the_token_comes_from_a_file_and_is_never_shown(run, shelly, tmp_path, capsys):
    (tmp_path / "token").write_text("sesame\n")
    outputs = [run("install", "monitor", "--set", "url=http://127.0.0.1:9/latest", "--token-file", str(tmp_path / "token")),
               run("show", "monitor"), run("show", "monitor", "--json"), run("show", "monitor", "--code"), run("list", "--json")]
    assert 'token: "sesame"' in codes(shelly)["sigen-monitor"]
    assert all(code == 0 and "sesame" not in out for code, out, _ in outputs)
    code, _, errors = run("install", "monitor", "--set", "token=sesame")
    assert code == 2 and "--token-file" in errors[0] and "sesame" not in errors[0]


def test_show_tells_settings_state_and_notes(run, shelly):
    run("install", "rs485", "--set", "unit=247")
    out = run("show", "rs485")[1]
    assert "slot 1, running" in out and "unit           247" in out and "note: unproven on hardware" in out
    stopped = shelly.device.scripts.by_id[1]
    stopped.running, stopped.enable = False, False
    assert "slot 1, stopped, does not start on boot" in run("show", "rs485")[1]
    told = json.loads(run("show", "rs485", "--json")[1])
    assert told["running"] is False and told["settings"]["unit"] == 247


def test_the_code_that_would_be_stored_can_be_read(run):
    out = run("show", "rs485", "--code")[1]
    assert out.startswith("// sigen-bridge:") and "MbRtuClient.ReadInputRegisters" in out


def test_remove_takes_ours_and_refuses_others(run, shelly):
    run("install", "setter")
    assert "would stop and delete" in run("remove", "setter", "--dry-run")[1] and codes(shelly)
    assert run("remove", "setter")[:2] == (0, "setter is deleted\n") and codes(shelly) == {}
    assert run("remove", "setter")[:2] == (0, "setter is not there\n")
    shelly.device.call("Script.Create", {"name": "sigen-monitor"}, "test", lambda outcome: None)
    shelly.device.call("Script.PutCode", {"id": 1, "code": "print(1);"}, "test", lambda outcome: None)
    for action in ("remove", "install"):
        code, _, errors = run(action, "monitor")
        assert code == 5 and len(errors) == 1 and "not ours" in errors[0]
    code, out, _ = run("install", "monitor", "--dry-run")
    assert code == 5 and "would refuse" in out
    assert codes(shelly) == {"sigen-monitor": "print(1);"}


@pytest.mark.parametrize("words, why", [
    (("install",), "which one?"), (("install", "nothing"), "there is no script 'nothing'"),
    (("install", "rs485", "--set", "unit"), "NAME=VALUE"), (("install", "rs485", "--set", "unit=999"), "1..247"),
    (("install", "setter", "--set", "unit=1"), "no setting 'unit'"),
    (("install", "monitor", "--token-file", "/nonexistent"), "cannot be read"),
])
def test_a_wrong_wish_is_one_line_and_changes_nothing(run, shelly, words, why):
    code, _, errors = run(*words)
    assert code == 2 and len(errors) == 1 and why in errors[0]
    assert codes(shelly) == {}


def test_a_full_device_is_one_line_and_exit_5(run, shelly):
    for number in range(1, 4):
        shelly.device.call("Script.Create", {"name": f"other {number}"}, "test", lambda outcome: None)
        shelly.device.call("Script.Start", {"id": number}, "test", lambda outcome: None)
    code, _, errors = run("install", "rs485")
    assert code == 5 and len(errors) == 1 and "maximum 3" in errors[0]


def test_first_id_of_the_settings_goes_into_the_script(run, shelly):
    assert run("install", "rs485", "--shelly-first-id", "210")[0] == 0
    assert "first_id: 210" in codes(shelly)["sigen-rs485"]


def test_a_model_without_components_is_refused_with_the_rule(capsys):
    with ShellySim(Clock(), model="SNSW-001X16EU", app="Plus1") as sim:
        code = main(["shelly", "scripts", "install", "rs485", "--shelly-host", sim.address])
        assert code == 5 and "Gen3, Gen4 or Gen2 Pro" in capsys.readouterr().err
