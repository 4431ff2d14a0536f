"""``serial probe`` as a user runs it."""

from __future__ import annotations

import json

import pytest

from bridge.clock import Clock
from bridge.sim.plant import PlantSim
from tests.commands.conftest import one_line, until
from tests.ports import free_port
from tests.serial_line import TO_ALL, Talk


@pytest.fixture
def line_plant():
    with PlantSim(Clock(), serial=True, unit=247, inverter_unit=1) as simulator:
        yield simulator


def probe(bridge, device, *more):
    return bridge("serial", "probe", device, "--status-listen", "off", *more)


def test_what_answers_and_what_to_set(bridge, line_plant):
    done = probe(bridge, line_plant.tty)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "heard   nothing while listening",
        "   baud  unit  result",
        "  38400     1  answers, without plant registers",
        "  38400   247  the plant answers",
        f"problem  serial {line_plant.tty}: the plant answers at unit 247, 38400 baud,"
        " not at the configured unit 1, 38400 baud [serial_settings]",
        "         -> set modbus.serial_unit = 247 and modbus.baud = 38400",
    ]
    assert line_plant.counters.writes == 0 and {each.function for each in line_plant.log} == {4}


def test_json(bridge, line_plant):
    content = json.loads(probe(bridge, line_plant.tty, "--unit", "247", "--json").stdout)
    assert content["found"] == {"unit": 247, "baud": 38400} and content["heard"]["bytes"] == 0
    assert [each["code"] for each in content["findings"]] == ["serial_ok"]
    assert content["tries"][0] == {"unit": 247, "baud": 38400, "result": "plant"}


def test_a_masters_port_is_exit_3(bridge):
    with Talk(TO_ALL, 0.2) as line:
        done = probe(bridge, line.tty)
    assert done.returncode == 3
    assert "heard   a frame to unit 0, function 6" in done.stdout
    assert "this port is a master (plant broadcast address 0" in done.stdout


def test_a_line_at_ff_is_exit_3_at_once(bridge):
    with Talk(b"\xff" * 8) as line:
        done = probe(bridge, line.tty, "--json")
    content = json.loads(done.stdout)
    assert done.returncode == 3 and content["heard"]["level"] == "FF" and content["tries"] == []


def test_no_such_device_is_exit_3(bridge):
    done = probe(bridge, "/dev/ttyUSB77")
    assert done.returncode == 3
    assert done.stdout.startswith("problem  serial /dev/ttyUSB77: there is no such device [serial_no_device]")


def test_the_port_of_the_running_bridge_is_left_alone(bridge, line_plant):
    listen = ("--status-listen", f"127.0.0.1:{free_port()}", "--serial", line_plant.tty, "--modbus-serial-unit", "247")
    running = bridge.start("run", *listen)
    assert until(lambda: line_plant.counters.requests > 3)
    assert until(lambda: bridge("status", *listen).returncode == 0, 10)
    done = bridge("serial", "probe", line_plant.tty, *listen)
    assert done.returncode == 2 and "stop it before probing" in one_line(done.stderr)
    bridge.stop(running)
