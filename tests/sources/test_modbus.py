"""The plant source against the simulated plant: every level, every fault, and registers that are missing."""

from __future__ import annotations

from pathlib import Path

import pytest

from bridge.clock import Clock, ManualClock
from bridge.errors import BridgeError, DeviceException, LinkError
from bridge.link.modbus import BuiltinLink
from bridge.link.modbus_rtu import RtuWire
from bridge.link.modbus_tcp import TcpWire
from bridge.model import FIVE
from bridge.registers import sigenergy, vendor_from
from bridge.registers.plan import TCP_COST, rtu_cost
from bridge.sim.plant import PlantSim
from bridge.sim.plant_faults import FAULTS
from bridge.sources.modbus import SLOW_ON_A_LINE, ModbusSource
from bridge.sources.serial import Line, SerialSource

VENDOR = vendor_from(sigenergy)
FIXTURES = Path(__file__).parent.parent / "fixtures"
LEVELS = ("1.8", "2.0", "2.5", "2.6", "2.7", "2.8", "2.9")


def source_for(plant, clock, timeout_s=0.1, **options):
    real = Clock()  # the wire's time-outs are real, the cycle's time is the test's
    link = BuiltinLink(TcpWire("127.0.0.1", plant.port, timeout_s, real.monotonic))
    return ModbusSource(link, 247, VENDOR, TCP_COST, clock, **options)


def five(reading):
    return {name: getattr(reading, name) for name in FIVE}


def read_until_good(source, clock, tries=12):
    for _ in range(tries):
        try:
            reading = source.read()
        except BridgeError:
            clock.advance(1)
            continue
        clock.advance(1)
        if reading.valid:
            return reading
    raise AssertionError("no good reading")


def test_the_measured_house_reads_as_measured(clock):
    with PlantSim(clock, scenario="s3") as plant:
        source = source_for(plant, clock)
        reading = source.read()
        source.close()
    assert five(reading) == {"pv_w": 2800, "soc_pct": 15.0, "battery_w": 0, "grid_w": 8540, "load_w": 11340}
    assert reading.valid and reading.balance_w == 0 and reading.source == "modbus-tcp"
    assert plant.counters.requests == 2


@pytest.mark.parametrize("level", LEVELS)
def test_every_firmware_level_gives_five_values(clock, level):
    with PlantSim(clock, level=level, scenario="s3") as plant:
        source = source_for(plant, clock)
        for _ in range(8):
            reading = source.read()
            clock.advance(1)
        source.close()
        assert plant.counters.requests <= 16
    assert reading.valid and reading.grid_w == 8540 and reading.pv_w == 2800
    assert reading.load_derived == (level < "2.8")
    assert reading.load_w == 11340


def test_old_firmware_settles_at_one_request_a_second(clock):
    with PlantSim(clock, level="2.5") as plant:
        source = source_for(plant, clock)
        for _ in range(10):
            source.read()
            clock.advance(1)
        before = plant.counters.requests
        for _ in range(10):
            source.read()
            clock.advance(1)
        assert plant.counters.requests - before == 10
        source.close()


@pytest.mark.parametrize("scenario", ["night", "export", "third_party", "v2h", "offgrid", "no_meter", "home"])
def test_every_scenario_reads_as_the_truth(clock, scenario):
    with PlantSim(clock, scenario=scenario) as plant:
        source = source_for(plant, clock)
        for _ in range(3):
            reading = source.read()
            truth = plant.truth[-1].five
            clock.advance(1)
        source.close()
    assert reading.valid, reading.reason
    assert reading.soc_pct == truth["soc_pct"] and reading.battery_w == truth["battery_w"]
    if scenario == "no_meter":
        assert reading.grid_w is None and reading.load_w is None
    else:
        assert reading.grid_w == truth["grid_w"]
        assert abs(reading.load_w - truth["load_w"]) <= 0
        assert abs(reading.balance_w) <= 1


def test_third_party_sun_is_on_the_sun():
    clock = ManualClock()
    with PlantSim(clock, scenario="third_party") as plant:
        source = source_for(plant, clock)
        reading = source.read()
        source.close()
    assert reading.pv_w == 4200


def test_one_exception_on_the_load_is_not_a_lost_link(clock):
    with PlantSim(clock, scenario="s3") as plant:
        source = source_for(plant, clock)
        source.read()
        plant.fault("exception_on", address=30284, code=4)
        clock.advance(1)
        reading = source.read()
        source.close()
    assert reading.valid and reading.load_derived and reading.load_w == 11340


def test_the_third_party_sun_is_held_over_a_hiccup_and_not_dropped(clock):
    with PlantSim(clock, scenario="third_party") as plant:
        source = source_for(plant, clock)
        source.read()
        plant.fault("exception_on", address=30284, code=4)
        clock.advance(1)
        assert source.read().pv_w == 4200
        source.close()


WIRE_FAULTS = [kind.name for kind in FAULTS if kind.line in ("tcp", "any") and kind.name not in ("min_gap", "one_in_flight")]
HARMLESS = ("connection_limit", "idle_close", "dribble", "duplicate", "delay", "exception_on", "late_reply", "flaky",
            "stale_reply")


@pytest.mark.parametrize("fault", WIRE_FAULTS)
def test_no_wire_fault_gives_a_wrong_number_and_the_first_cycle_after_it_is_good(clock, fault):
    with PlantSim(clock, scenario="s3") as plant:
        source = source_for(plant, clock)
        truth = five(source.read())
        params = {"delay": {"s": 0.02}, "late_reply": {"s": 0.15}, "exception_on": {"address": 30005, "code": 4},
                  "idle_close": {"after_s": 0.01}}.get(fault, {})
        before = plant.counters.requests
        plant.fault(fault, **params)
        for _ in range(6):
            clock.advance(1)
            try:
                reading = source.read()
            except (LinkError, DeviceException):
                continue
            assert five(reading) == truth
        assert plant.counters.requests - before <= 13
        plant.clear()
        clock.advance(1)
        assert five(source.read()) == truth
        source.close()


VALUE_FAULTS = [kind.name for kind in FAULTS if kind.line == "values"]


@pytest.mark.parametrize("fault", VALUE_FAULTS)
def test_no_value_fault_shows_a_wrong_number_at_once(clock, fault):
    with PlantSim(clock, scenario="s3") as plant:
        source = source_for(plant, clock)
        truth = five(source.read())
        plant.fault(fault)
        for _ in range(3):
            clock.advance(1)
            reading = source.read()
            if reading.valid:
                shown = {name: value for name, value in five(reading).items() if value is not None}
                assert shown == {name: truth[name] for name in shown}
        plant.clear()
        for _ in range(2):
            clock.advance(1)
            reading = source.read()
        assert reading.valid and five(reading) == truth
        source.close()


def test_frozen_data_are_said_to_be_frozen(clock):
    with PlantSim(clock) as plant:
        source = source_for(plant, clock)
        source.read()
        plant.fault("frozen")
        for _ in range(63):
            clock.advance(1)
            reading = source.read()
        assert not reading.valid and "frozen" in reading.reason
        plant.clear()
        clock.advance(1)
        assert source.read().valid
        source.close()


def test_an_inverted_meter_is_warned_of_and_can_be_set_right(clock, caplog):
    with PlantSim(clock, scenario="s3") as plant:
        plant.fault("inverted_grid")
        source = source_for(plant, clock)
        for _ in range(40):
            reading = source.read()
            clock.advance(1)
        assert reading.grid_w == -8540
        assert sum("inverted" in record.getMessage() for record in caplog.records) == 1
        right = source_for(plant, clock, grid_sign=-1)
        assert right.read().grid_w == 8540
        source.close()
        right.close()


def test_a_strict_device_gets_one_request_a_second_and_the_load_from_the_balance(clock):
    with PlantSim(clock, min_gap_ms=1000, scenario="s3") as plant:
        source = source_for(plant, clock, budget=1)
        readings = []
        for _ in range(16):
            try:
                readings.append(source.read())
            except LinkError:
                raise AssertionError("the strict device did not answer") from None
            clock.advance(1)
        source.close()
        assert plant.counters.gaps_violated == 0
        addresses = [request.address for request in plant.log]
    assert addresses.count(30194) == 3 and len(addresses) == 16
    assert all(reading.load_w == 11340 and reading.valid for reading in readings)
    assert [reading.load_derived for reading in readings].count(False) == 3


def test_the_wrong_unit_says_where_plant_registers_are(clock):
    with PlantSim(clock, scenario="s3") as plant:
        link = BuiltinLink(TcpWire("127.0.0.1", plant.port, 0.1, Clock().monotonic))
        source = ModbusSource(link, 1, VENDOR, TCP_COST, clock)
        with pytest.raises(BridgeError, match="247"):
            for _ in range(10):
                source.read()
                clock.advance(1)
        source.close()


def test_the_capture_of_a_real_plant(clock):
    with PlantSim(clock, replay=str(FIXTURES / "real-2.json")) as plant:
        source = source_for(plant, clock)
        for _ in range(70):
            reading = source.read()
            clock.advance(1)
        source.close()
    assert five(reading) == {"pv_w": 0, "soc_pct": 73.3, "battery_w": 43, "grid_w": 1, "load_w": 1621}
    assert reading.valid and reading.load_derived and reading.extras["ems_mode"] == 7


def serial_source(plant, unit, baud, **options):
    clock = Clock()

    def open_link(speed):
        return BuiltinLink(RtuWire(plant.tty, speed, 0.2, clock.monotonic, clock.wait))

    line = Line(plant.tty, open_link, VENDOR, unit, baud)
    return SerialSource(line, lambda link, unit, baud: ModbusSource(
        link, unit, VENDOR, rtu_cost(baud), ManualClock(), budget=3, slow=SLOW_ON_A_LINE)), line


@pytest.mark.parametrize("plant_unit, baud", [(1, 38400), (247, 38400), (247, 9600), (1, 115200)])
def test_a_serial_plant_is_found_wherever_it_answers(plant_unit, baud):
    with PlantSim(Clock(), serial=True, unit=plant_unit, baud=baud, scenario="s3", turnaround_s=0.002) as plant:
        source, line = serial_source(plant, 1, 38400)
        reading = None
        for _ in range(20):
            try:
                reading = source.read()
                break
            except LinkError:
                continue
        source.close()
    assert reading is not None and reading.grid_w == 8540 and reading.source == "modbus-rtu"
    assert line.tried[-1][:2] == (plant_unit, baud)


def test_a_dead_line_says_what_was_tried():
    with PlantSim(Clock(), serial=True, unit=1) as plant:  # silent at every speed
        plant.fault("silent")
        _, line = serial_source(plant, 1, 38400)
        with pytest.raises(LinkError, match="1@38400, 247@38400.*COM 15/16"):
            line.find()


@pytest.mark.timing
def test_a_cycle_on_a_paced_line_is_within_ten_percent_of_the_wire():
    """30005 x 34 and 30284 x 2 at 38400 baud and 10 ms turn-around take 50.8 ms on the wire (performance reference)."""
    clock = Clock()
    with PlantSim(clock, serial=True, unit=1, scenario="s3", turnaround_s=0.010) as plant:
        link = BuiltinLink(RtuWire(plant.tty, 38400, 0.8, clock.monotonic, clock.wait))
        source = ModbusSource(link, 1, VENDOR, rtu_cost(38400), clock, budget=3, slow=SLOW_ON_A_LINE)
        for _ in range(3):
            source.read()
        took = []
        for _ in range(30):
            clock.wait(0.02)
            begun = clock.monotonic()
            source.read()
            took.append(clock.monotonic() - begun)
        source.close()
    assert sorted(took)[len(took) // 2] <= 0.0508 * 1.10
