"""``dump`` as a user runs it."""

from __future__ import annotations

import csv
import io
import json
import sys
from pathlib import Path

import pytest

from bridge.clock import Clock
from bridge.link.httpd import HttpServer, json_answer
from bridge.sim.plant import PlantSim
from tests.commands.conftest import one_line, until
from tests.ports import free_port

FIXTURES = Path(__file__).parent.parent / "fixtures"


def at(plant):
    return ("--host", f"127.0.0.1:{plant.port}")


def test_the_five_signals_and_the_balance(bridge, plant):
    clock = Clock()
    begun = clock.monotonic()
    done = bridge("dump", *at(plant), "--json")
    assert clock.monotonic() - begun < 2
    content = json.loads(done.stdout)
    assert done.returncode == 0 and content["schema"] == 1
    assert content["source"] == "modbus-tcp" and content["unit"] == 247 and content["protocol"] == "2.9"
    assert content["balance_w"] == 0
    by_address = {entry["address"]: entry for entry in content["registers"]}
    assert list(by_address) == [30005, 30014, 30035, 30037, 30284]
    assert by_address[30005]["raw"] == ["0000", "215C"] and by_address[30005]["value"] == 8540
    assert by_address[30005]["unit"] == "W" and "importing" in by_address[30005]["text"]
    assert by_address[30014]["raw"] == ["0096"] and by_address[30014]["value"] == 15.0
    assert by_address[30035]["value"] == 2800 and by_address[30037]["value"] == 0
    assert by_address[30284]["raw"] == ["0000", "2C4C"] and by_address[30284]["value"] == 11340


def test_a_dump_only_ever_reads(bridge, plant):
    assert bridge("dump", *at(plant), "--all").returncode == 0
    assert {request.function for request in plant.log} <= {3, 4}
    assert plant.counters.writes == 0


def test_the_table_says_the_direction_in_words(bridge, plant):
    done = bridge("dump", *at(plant))
    assert "importing 8540 W" in done.stdout and "balance 0 W" in done.stdout


def test_addresses_units_and_unlisted_registers(bridge, plant):
    done = bridge("dump", *at(plant), "30005", "40029", "30500@1", "30075", "--json")
    entries = {entry["address"]: entry for entry in json.loads(done.stdout)["registers"]}
    assert entries[40029]["text"] == "disabled"
    assert entries[30500]["value"].startswith("SigenStor")
    assert entries[30075]["text"] == "reserved" and entries[30075]["value"] is None


def test_csv_is_csv(bridge, plant):
    rows = list(csv.DictReader(io.StringIO(bridge("dump", *at(plant), "--csv").stdout)))
    assert rows[0] == {"address": "30005", "name": "grid_active_power", "raw": "0000 215C", "value": "8540", "unit": "W",
                       "text": "importing 8540 W"}


def test_scope_reads_the_device(bridge, plant):
    done = bridge("dump", *at(plant), "--scope", "inverter", "--json")
    names = {entry["name"] for entry in json.loads(done.stdout)["registers"]}
    assert {"model", "serial_number", "pv_power"} <= names


def test_rtu_prints_the_same_registers_as_tcp(bridge, plant):
    tcp = json.loads(bridge("dump", *at(plant), "--json").stdout)
    with PlantSim(Clock(), serial=True, unit=1, scenario="s3") as line:
        done = bridge("dump", "--serial", line.tty, "--unit", "1", "--baud", "38400", "--json")
    rtu = json.loads(done.stdout)
    assert rtu.pop("source") == "modbus-rtu" and tcp.pop("source") == "modbus-tcp"
    assert (rtu.pop("unit"), tcp.pop("unit")) == (1, 247)
    assert json.dumps(rtu) == json.dumps(tcp)


def test_a_real_plant_without_the_new_registers(bridge):
    with PlantSim(Clock(), replay=str(FIXTURES / "real-2.json")) as replay:
        done = bridge("dump", *at(replay))
    assert done.returncode == 0
    for words in ("73.3 %", "importing 1 W", "charging 43 W", "1621 W (derived)", "remote EMS"):
        assert words in done.stdout, words
    assert "-42" not in done.stdout


@pytest.mark.parametrize("level, protocol", [("1.8", "1.8"), ("2.6", "2.6"), ("2.8", "2.8")])
def test_the_protocol_level_is_told(bridge, level, protocol):
    with PlantSim(Clock(), level=level, scenario="s3") as plant:
        assert json.loads(bridge("dump", *at(plant), "--json").stdout)["protocol"] == protocol


def test_the_pymodbus_engine_prints_the_same(bridge, plant):
    ours = bridge("dump", *at(plant), "--json").stdout
    assert bridge("dump", *at(plant), "--json", "--modbus-engine", "pymodbus").stdout == ours


def test_no_third_party_package_is_needed(bridge, plant):
    done = bridge("dump", *at(plant), "--json", python=("-S", "-E"), env={}, cwd=str(FIXTURES.parent.parent))
    assert done.returncode == 0 and json.loads(done.stdout)["balance_w"] == 0


@pytest.mark.parametrize("argv, code, words", [
    (["--host", "127.0.0.1:1"], 3, "refused"),
    (["--host", "no.such.host.invalid"], 3, "no.such.host.invalid"),
    (["--serial", "/dev/ttyNONE"], 3, "no such serial device"),
    ([], 2, "--host"),
    (["--host", "127.0.0.1", "40000"], 2, "never writes"),
    (["--host", "127.0.0.1", "grid"], 2, "30005"),
    (["--host", "127.0.0.1", "--hots", "x"], 2, "did you mean --host"),
    (["--host", "127.0.0.1", "--port", "x"], 2, "whole number"),
])
def test_bad_input_is_one_line_and_the_right_code(bridge, argv, code, words):
    done = bridge("dump", *argv)
    assert done.returncode == code, done.stderr
    assert words in one_line(done.stderr)
    assert done.stdout == ""


def test_the_wrong_unit_is_told_which_one_answers(bridge, plant):
    for unit in ("5", "1"):
        done = bridge("dump", *at(plant), "--unit", unit)
        assert done.returncode == 3 and "--unit 247" in one_line(done.stderr)


def test_a_silent_plant_is_told_about_the_allow_list(bridge, plant):
    plant.fault("silent")
    done = bridge("dump", *at(plant))
    assert done.returncode == 3 and "allow-list" in one_line(done.stderr)


def test_an_exception_is_told(bridge, plant):
    plant.fault("exception", code=4)
    done = bridge("dump", *at(plant))
    assert done.returncode == 3 and "exception 4" in one_line(done.stderr)


def still(text):
    """Return a dump without the digits of the plant's clock and of its energy counters, which move on meanwhile."""
    if not text.startswith("{"):
        return text
    content = json.loads(text)
    for entry in content["registers"]:
        if entry["name"] == "system_time" or entry["unit"] == "kWh":
            entry.update(raw=len(entry["raw"]), value=type(entry["value"]).__name__, text=len(entry["text"]))
    return content, [list(entry) for entry in content["registers"]]


@pytest.fixture
def polled(bridge, plant):
    """Return (plant, where its bridge listens) while a bridge polls the plant."""
    listen = f"127.0.0.1:{free_port()}"
    bridge.start("run", *at(plant), "--status-listen", listen)
    assert until(lambda: bridge("status", "--status-listen", listen).returncode == 0, 8)
    return plant, listen


@pytest.mark.parametrize("words", [
    ("--json",), (), ("--csv",), ("--all", "--json"), ("30005", "40029", "30500@1", "30075", "30900", "--json"),
    ("--scope", "inverter", "--json"),
], ids=" ".join)
def test_a_running_bridge_on_the_same_plant_is_asked_and_the_output_is_the_same(bridge, polled, words):
    plant, listen = polled
    through = bridge("dump", *at(plant), *words, "--status-listen", listen)
    assert through.returncode == 0 and through.stderr == "" and plant.counters.connections == 1
    direct = bridge("dump", *at(plant), *words, "--status-listen", listen, "--direct")
    assert direct.returncode == 0 and direct.stderr == "" and plant.counters.connections == 2
    assert still(through.stdout) == still(direct.stdout)
    assert plant.counters.writes == 0 and plant.counters.max_in_flight == 1


def test_another_plant_is_not_asked_for_at_the_bridge(bridge, polled):
    with PlantSim(Clock(), scenario="s3") as other:
        assert bridge("dump", *at(other), "--status-listen", polled[1]).stderr == ""
        assert other.counters.connections == 1


def test_a_bridge_on_a_serial_line_is_asked_and_keeps_the_port(bridge):
    with PlantSim(Clock(), serial=True, unit=1, scenario="s3", turnaround_s=0.002) as line:
        listen = f"127.0.0.1:{free_port()}"
        bridge.start("run", "--serial", line.tty, "--status-listen", listen)
        assert until(lambda: bridge("status", "--status-listen", listen).returncode == 0, 8)
        through = bridge("dump", "--serial", line.tty, "--status-listen", listen, "--json")
        direct = bridge("dump", "--serial", line.tty, "--status-listen", listen, "--json", "--direct")
    assert through.returncode == 0 and through.stderr == ""
    assert json.loads(through.stdout) == json.loads(direct.stdout)
    assert json.loads(through.stdout)["source"] == "modbus-rtu" and json.loads(through.stdout)["unit"] == 1


def old_bridge(plant, registers=None):
    """Return a bridge of an earlier version: it says what it polls, and has no registers to give."""
    routes = {"/healthz": lambda request: json_answer({"ok": True, "peer": f"127.0.0.1:{plant.port}"})}
    if registers is not None:
        routes["/v1/registers"] = registers
    server = HttpServer("127.0.0.1:0", routes)
    server.start()
    return server, "%s:%d" % server.address


NO_ANSWER = {"schema": 1, "source": "modbus-tcp", "peer": "x", "unit": 247, "registers": [
    {"address": 30005, "raw": [], "value": None, "text": "no answer of the plant", "exception": 11}]}


@pytest.mark.parametrize("registers, why", [
    (None, "status 404"), (lambda request: json_answer({"error": "this needs the package sigen-bridge-reserver"}, 501), "status 501"),
    (lambda request: json_answer(NO_ANSWER), "no answer of the plant"), (lambda request: json_answer({"error": "x"}, 400), "status 400"),
    (lambda request: json_answer({"unit": 247, "registers": []}), "no registers"),
], ids=["too-old", "no-package", "plant-gone", "refused", "nothing"])
def test_a_bridge_that_cannot_say_is_told_of_and_the_plant_is_asked(bridge, plant, registers, why):
    server, listen = old_bridge(plant, registers)
    try:
        done = bridge("dump", *at(plant), "--status-listen", listen, "--json")
        assert done.returncode == 0 and json.loads(done.stdout)["balance_w"] == 0
        assert why in one_line(done.stderr) and "second connection" in done.stderr
        assert bridge("dump", *at(plant), "--status-listen", listen, "--direct").stderr == ""
    finally:
        server.close()


def test_a_bridge_that_wants_its_token_gets_it(bridge, plant):
    listen = f"127.0.0.1:{free_port()}"
    secret = {"SIGEN_BRIDGE_STATUS_TOKEN": "sesame"}
    bridge.start("run", *at(plant), "--status-listen", listen.replace("127.0.0.1", "0.0.0.0"), env=secret)
    assert until(lambda: bridge("status", "--status-listen", listen, env=secret).returncode == 0, 8)
    assert bridge("dump", *at(plant), "--status-listen", listen, env=secret).stderr == ""
    assert plant.counters.connections == 1
    assert "token" in one_line(bridge("dump", *at(plant), "--status-listen", listen).stderr)


def test_a_router_without_that_part_asks_the_plant_itself(polled, monkeypatch, capsys):
    from bridge.cli import main

    plant, listen = polled
    monkeypatch.setitem(sys.modules, "bridge.link.bridge_modbus", None)
    assert main(["dump", *at(plant), "--status-listen", listen, "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["balance_w"] == 0 and "second connection" in one_line(err)
