"""The RS485 script on a simulated Shelly with a real JavaScript engine, and a simulated plant at its MbRtuClient."""

from __future__ import annotations

import json
from functools import partial

import pytest

from bridge.clock import Clock
from bridge.errors import DeviceException, LinkError
from bridge.link.modbus import BuiltinLink
from bridge.link.modbus_tcp import TcpWire
from bridge.peers.shelly_library import configured, script_named
from bridge.sim.plant import PlantSim
from bridge.sim.shelly import ShellySim, s3_components
from tests.data.test_shelly_monitor import FLAGS, flag, fresh, let_pass, numbers, only_the_test_moves_time, running
from tests.sim.quickjs_runner import QuickJsRun
from tests.sim.shelly_wire import call

__all__ = ["only_the_test_moves_time"]  # a fixture that acts by itself
RS485 = script_named("rs485")
S3 = [2800, 15, 0, -8540, 11340]


class Line:
    """The add-on's serial port and what is wired to it; asks the simulated plant for each read."""

    def __init__(self, plant, baud=38400):
        self.plant, self.baud, self.addon, self.lost = plant, baud, True, False
        self.serial = {"mode": "disabled", "serial": {"baud": 115200, "format": "8N1"}, "mb_server": {"addr": 42}}
        self.reads, self.set = [], 0
        self.words = {}
        self.refused = set()
        self.link = BuiltinLink(TcpWire("127.0.0.1", plant.port, 1.0, Clock().monotonic))

    def call(self, method, params):
        if not self.addon:
            return error(404, f"No handler for {method}")
        if method == "Serial.GetConfig":
            return {"result": self.serial}
        if method == "Serial.SetConfig":
            self.set += 1
            self.serial = {**self.serial, **params["config"]}
            return {"result": {"restart_required": False}}
        assert method == "MbRtuClient.ReadInputRegisters" and set(params) == {"id", "sid", "addr", "qty"}
        assert params["id"] == 100 and 1 <= params["qty"] <= 123
        self.reads.append(params["addr"])
        if self.serial["mode"] != "mb_client" or self.serial["serial"]["baud"] != self.baud or params["addr"] in self.refused:
            return error(-115, "Modbus: no answer")
        try:
            words = self.link.read("input", params["addr"], params["qty"], params["sid"])
        except (DeviceException, LinkError) as problem:
            return error(-115, str(problem))
        return {"result": {"values": [self.words.get(params["addr"] + at, word) for at, word in enumerate(words)]}}


def error(code, message):
    return {"error": {"code": code, "message": message}}


class RtuRun(QuickJsRun):
    """A script engine on a device with the RS485 add-on."""

    def __init__(self, code, host, clock, line):
        self.clock, self.line = clock, line
        super().__init__(code, host)

    def _boot(self, code):
        lose = "if (__lost()) { __limit(__calls, 'calls'); __calls++; return; } return __real(method, params, callback, userdata);"
        super()._boot(f"var __real = Shelly.call; Shelly.call = function (method, params, callback, userdata) {{ {lose} }};\n{code}")

    def _call(self, method, params_text):
        if method.startswith(("Serial.", "MbRtuClient.")):
            return json.dumps(self.line.call(method, json.loads(params_text)))
        return super()._call(method, params_text)

    def _component(self, key):
        if key == "sys":
            return json.dumps({"status": {"uptime": int(self.clock.monotonic())}, "config": {}})
        if key == "lost":
            return json.dumps({"status": {"lost": self.line.lost}})
        return super()._component(key)


@pytest.fixture(params=["2.9"])
def plant(request):
    with PlantSim(Clock(), scenario="s3", unit=1, inverter_unit=2, level=request.param) as simulator:
        yield simulator


@pytest.fixture
def line(plant):
    made = Line(plant)
    yield made
    made.link.close()


@pytest.fixture
def device(clock, line):
    runner = partial(RtuRun, clock=clock, line=line)
    with ShellySim(clock, components=[*s3_components(), *FLAGS], script_runner=runner) as sim:
        yield sim


def install(sim, **options):
    code = "var __lost = function () { return Shelly.getComponentStatus('lost').lost; };\n" + configured(RS485, options)
    number = call(sim, "Script.Create", {"name": "sigen-rs485"})["result"]["id"]
    for start in range(0, len(code), 1024):
        call(sim, "Script.PutCode", {"id": number, "code": code[start:start + 1024], "append": start > 0})
    call(sim, "Script.SetConfig", {"id": number, "config": {"enable": True}})
    call(sim, "Script.Start", {"id": number})


def begun(sim, clock, seconds=70, **options):
    install(sim, **options)
    let_pass(clock, seconds)


def test_the_five_numbers_are_the_plants_in_the_displays_signs(device, clock, line):
    begun(device, clock)
    assert numbers(device) == S3 and fresh(device) and flag(device) == "live RS485"
    assert device.script_log[-1] == "sigen-rs485: live"


def test_the_port_is_set_once_and_only_where_it_differs(device, clock, line):
    begun(device, clock, 300)
    assert line.set == 1 and line.serial["mode"] == "mb_client" and line.serial["serial"] == {"baud": 38400, "format": "8N1"}
    device.reboot()
    let_pass(clock, 30)
    assert line.set == 1 and numbers(device) == S3, "it is flash: read first, then write what differs"


def test_unit_and_baud_are_settings(device, clock, line):
    line.baud = 9600
    begun(device, clock, unit=1, baud=9600)
    assert numbers(device) == S3 and line.serial["serial"]["baud"] == 9600


@pytest.mark.parametrize("options", [{"unit": 9}, {"baud": 9600}], ids=["wrong unit", "wrong baud"])
def test_without_an_answer_nothing_is_shown_and_it_is_stale(device, clock, line, options):
    begun(device, clock, 30, **options)
    let_pass(clock, 60)
    assert not [item for item in device.history if item.key.startswith("number")]
    assert flag(device) == "stale: no answer (-115)" and not fresh(device) and running(device)


def test_without_the_add_on_it_says_so_and_waits(device, clock, line):
    line.addon = False
    begun(device, clock)
    assert flag(device) == "stale: no RS485 add-on (404)" and line.reads == []
    line.addon = True
    let_pass(clock, 130)
    assert numbers(device) == S3 and fresh(device)


def test_an_outage_keeps_the_numbers_marks_them_and_ends(device, clock, line):
    begun(device, clock)
    line.baud = 1
    let_pass(clock, 20)
    assert numbers(device) == S3 and fresh(device), "a short one is none"
    let_pass(clock, 20)
    assert numbers(device) == S3 and flag(device) == "stale: no answer (-115)" and not fresh(device)
    line.baud = 38400
    let_pass(clock, 90)
    assert fresh(device) and device.script_log[-3:] == [
        "sigen-rs485: live", "sigen-rs485: no answer (-115)", "sigen-rs485: live"]


def test_a_port_that_somebody_changed_is_set_again(device, clock, line):
    begun(device, clock)
    line.serial = {"mode": "disabled", "serial": {"baud": 115200, "format": "8N1"}}
    let_pass(clock, 240)
    assert line.set == 2 and fresh(device)


@pytest.mark.parametrize("plant", ["2.6", "2.7"], indirect=True)
def test_older_firmware_has_its_load_from_the_ac_side_and_is_asked_rarely(device, clock, line):
    begun(device, clock, 120)
    assert numbers(device)[:4] == S3[:4] and numbers(device)[4] == pytest.approx(11340, abs=30)
    assert fresh(device) and flag(device) == "live RS485"
    asked = len(line.reads)
    let_pass(clock, 100)
    assert 30280 not in line.reads[asked:] and 30004 in line.reads[asked:]


def test_a_block_that_was_there_and_fails_makes_its_values_unknown_not_zero(device, clock, line):
    line.words = {30194: 0, 30195: 700}
    begun(device, clock)
    assert numbers(device)[0] == 3500, "sun of other inverters counts"
    line.refused = {30194}
    written = len(device.history)
    let_pass(clock, 120)
    assert numbers(device)[0] == 3500 and flag(device) == "live RS485, without PV"
    assert "number:200" not in {item.key for item in list(device.history)[written:]}


@pytest.mark.parametrize("words, without", [
    ({30004: 0}, "Grid Load"), ({30280: 2}, "Grid Load"), ({30014: 65535}, "SOC"), ({30014: 1001}, "SOC"),
    ({30037: 0x7FFF, 30038: 0xFFFF}, "Battery"), ({30035: 0x8000, 30036: 0}, "PV"),
    ({30284: 0xFFFF, 30285: 0xFF00}, "Load"),
], ids=str)
def test_what_cannot_be_is_left_out(device, clock, line, words, without):
    line.words = words
    begun(device, clock)
    assert flag(device) == f"live RS485, without {without}" and running(device)
    shown = {item.key for item in device.history}
    names = ["PV", "SOC", "Battery", "Grid", "Load"]
    assert not {f"number:{200 + names.index(name)}" for name in without.split()} & shown


def test_signs_export_and_discharge(device, clock, line):
    line.words = {30005: 0xFFFF, 30006: 0xFC18, 30037: 0xFFFF, 30038: 0xFE0C}
    begun(device, clock)
    assert numbers(device)[3] == 1000 and numbers(device)[2] == -500


def test_night_offsets_of_the_sun_are_zero(device, clock, line):
    line.words = {30035: 0xFFFF, 30036: 0xFFFB}
    begun(device, clock)
    assert numbers(device)[0] == 0 and "number:200" in {item.key for item in device.history}


def test_unchanged_values_are_written_once_a_minute(device, clock, line):
    begun(device, clock)
    before = sum(item.key == "number:204" for item in device.history)
    let_pass(clock, 300)
    assert 4 <= sum(item.key == "number:204" for item in device.history) - before <= 6


def test_calls_that_never_come_back_do_not_end_the_script(device, clock, line):
    begun(device, clock)
    line.lost = True
    let_pass(clock, 3600)
    assert running(device) and not fresh(device) and flag(device) == "stale: no answer"


def test_it_never_asks_two_things_at_once(device, clock, line):
    begun(device, clock, 600)
    rounds = [line.reads[start:start + 3] for start in range(0, len(line.reads), 3)]
    assert all(each == [30004, 30194, 30280] for each in rounds) and len(rounds) > 50
