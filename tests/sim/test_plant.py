"""The simulated plant on TCP, asked by bare bytes, by mbpoll and by pymodbus."""

from __future__ import annotations

import gc
import json
import os
import re
import subprocess
import threading
import time
from pathlib import Path

import pytest

from bridge.clock import Clock
from bridge.errors import ConfigError
from bridge.registers import decode, sigenergy, vendor_from
from bridge.sim.home import HOUSE
from bridge.sim.plant import PlantSim
from tests.sim.plant_wire import PLANT, READ_GRID, Wire, at_unit, read_pdu, s32, words

FIXTURES = Path(__file__).parent.parent / "fixtures"
VENDOR = vendor_from(sigenergy)
EXCEPTION_2 = b"\x84\x02"


@pytest.fixture
def s3(clock):
    with PlantSim(clock, scenario="s3") as plant:
        yield plant


@pytest.fixture
def wire(s3):
    with Wire(s3.port) as wire:
        yield wire


def value(wire, name, unit=PLANT, scope="plant"):
    row = VENDOR.row(name, scope)
    return decode(row, words(wire.ask(read_pdu(row.address, row.count), unit)))


# --- what an outside program reads ---

def mbpoll(*arguments):
    done = subprocess.run(
        ["mbpoll", *arguments], capture_output=True, text=True, timeout=10, check=False
    )
    return {int(at): int(number) for at, number in re.findall(r"\[(\d+)\]:\s+(-?\d+)", done.stdout)}


@pytest.mark.needs("mbpoll")
@pytest.mark.parametrize(("scenario", "grid_w"), [("s3", 8540), ("export", -1100)])
def test_mbpoll_reads_the_grid_with_its_sign(clock, scenario, grid_w):
    with PlantSim(clock, scenario=scenario) as plant:
        seen = mbpoll("-m", "tcp", "-a", "247", "-p", str(plant.port), "-t", "3:int", "-B", "-0",
                      "-r", "30005", "-c", "1", "-1", "127.0.0.1")
        assert seen == {30005: grid_w}


@pytest.mark.needs("mbpoll")
def test_mbpoll_reads_a_negative_override(clock):
    with PlantSim(clock, scenario="s3") as plant:
        plant.set(30005, -8540)
        seen = mbpoll("-m", "tcp", "-a", "247", "-p", str(plant.port), "-t", "3:int", "-B", "-0",
                      "-r", "30005", "-c", "1", "-1", "127.0.0.1")
        assert seen == {30005: -8540}


def test_pymodbus_reads_writes_and_is_refused(clock):
    from pymodbus.client import ModbusTcpClient

    with PlantSim(clock, scenario="s3") as plant:
        client = ModbusTcpClient("127.0.0.1", port=plant.port, timeout=2, retries=0)
        assert client.connect()
        try:
            block = client.read_input_registers(30003, count=36, **at_unit(client, PLANT))
            assert block.registers[2:4] == [0x0000, 0x215C]
            assert block.registers[30014 - 30003] == 150
            assert client.read_holding_registers(30005, count=2, **at_unit(client, PLANT)).registers == [0, 0x215C]
            assert client.read_input_registers(30284, count=2, **at_unit(client, PLANT)).registers == [0, 0x2C4C]
            assert client.read_input_registers(30500, count=15, **at_unit(client, 1)).registers[0] == 0x5369
            assert not client.write_registers(40032, [0, 3000], **at_unit(client, PLANT)).isError()
            assert client.read_holding_registers(40032, count=2, **at_unit(client, PLANT)).registers == [0, 3000]
            assert client.read_input_registers(30287, count=1, **at_unit(client, PLANT)).exception_code == 2
        finally:
            client.close()


# --- the bytes of the vendor's document ---

def test_fast_block_of_the_document_has_its_bytes(s3, wire):
    wire.socket.sendall(bytes.fromhex("0001 0000 0006 F7 04 7533 0024"))
    reply = wire.receive()
    assert reply[:9] == bytes.fromhex("0001 0000 004B F7 04 48")
    fast = words(reply[7:])
    assert fast[2:4] == [0x0000, 0x215C]  # 30005: +8540, buying
    assert fast[11] == 150
    assert fast[28:30] == fast[32:34] == [0, 2800]  # 30031, 30035


def test_written_mode_is_echoed_and_kept(s3, wire):
    wire.socket.sendall(bytes.fromhex("0002 0000 0006 F7 06 9C5F 0002"))
    assert wire.receive() == bytes.fromhex("0002 0000 0006 F7 06 9C5F 0002")
    wire.socket.sendall(bytes.fromhex("0003 0000 000B F7 10 9C60 0002 04 0000 0BB8"))
    assert wire.receive() == bytes.fromhex("0003 0000 0006 F7 10 9C60 0002")
    assert words(wire.ask(read_pdu(40031, 3, 3))) == [2, 0, 3000]
    assert s3.counters.writes == 2


def test_both_read_functions_read_both_spaces(wire):
    for address in (30005, 40032):
        assert words(wire.ask(read_pdu(address, 2, 3))) == words(wire.ask(read_pdu(address, 2, 4)))


def test_strict_plant_refuses_inputs_with_function_3(clock):
    with PlantSim(clock, scenario="s3", strict_function=True) as plant, Wire(plant.port) as wire:
        assert wire.ask(read_pdu(30005, 2, 3)) == b"\x83\x01"
        assert s32(wire.ask(read_pdu(30005, 2, 4))) == 8540


def test_unknown_function_gets_exception_1(wire):
    assert wire.ask(b"\x2b\x0e\x01\x00") == b"\xab\x01"


@pytest.mark.parametrize(("pdu", "reply"), [
    (read_pdu(30000, 124), None),
    (read_pdu(30000, 125), b"\x84\x03"),
    (read_pdu(30000, 0), b"\x84\x03"),
    (read_pdu(30200, 88), EXCEPTION_2),
    (read_pdu(29999, 2), EXCEPTION_2),
    (read_pdu(65535, 1), EXCEPTION_2),
    (b"\x04\x75\x35", b"\x84\x03"),
])
def test_ranges_are_served_whole_or_refused_whole(wire, pdu, reply):
    got = wire.ask(pdu)
    assert len(words(got)) == 124 if reply is None else got == reply


LAST = {"1.8": 30071, "2.0": 30072, "2.5": 30087, "2.6": 30193, "2.7": 30271, "2.8": 30285, "2.9": 30286}


@pytest.mark.parametrize("level", sorted(LAST))
def test_level_ends_the_readable_range(clock, level):
    with PlantSim(clock, level=level) as plant, Wire(plant.port) as wire:
        last = LAST[level]
        assert len(words(wire.ask(read_pdu(last, 1)))) == 1
        assert wire.ask(read_pdu(last + 1, 1)) == EXCEPTION_2
        assert wire.ask(read_pdu(last - 1, 3)) == EXCEPTION_2
        assert words(wire.ask(read_pdu(30000, 2)))[0] > 0


def test_level_hides_later_holding_and_inverter_rows(clock):
    with PlantSim(clock, level="2.0") as plant, Wire(plant.port) as wire:
        assert wire.ask(read_pdu(40038, 2, 3)) == b"\x83\x02"
        assert len(words(wire.ask(read_pdu(40032, 2, 3)))) == 2
        assert wire.ask(read_pdu(30620, 1), unit=1) == EXCEPTION_2


def test_rows_of_a_later_level_inside_the_range_are_reserved_words(clock):
    with PlantSim(clock, level="2.8") as plant, Wire(plant.port) as wire:
        assert words(wire.ask(read_pdu(30272, 4))) == [0xFFFF] * 4


def test_reserved_words_answer_all_ones_inside_a_good_block(wire):
    block = words(wire.ask(read_pdu(30064, 40)))
    assert block[9:19] == [0xFFFF] * 10  # 30073..30082
    assert 0xFFFF not in block[:9]
    assert words(wire.ask(read_pdu(40026, 3, 3))) == [0xFFFF] * 3


def test_unknown_level_is_refused(clock):
    with pytest.raises(ConfigError, match=r"2\.8"):
        PlantSim(clock, level="3.0")


# --- who answers ---

def test_units_answer_for_their_own_registers_only(wire):
    assert wire.ask(read_pdu(30500, 1), unit=PLANT) == EXCEPTION_2
    assert wire.ask(READ_GRID, unit=1) == EXCEPTION_2
    assert len(words(wire.ask(read_pdu(31500, 27), unit=1))) == 27


def test_foreign_unit_gets_no_answer(s3, wire):
    wire.send(READ_GRID, unit=9)
    assert wire.silent_for(0.15)
    assert s32(wire.ask(READ_GRID)) == 8540
    assert [entry.outcome for entry in s3.log] == ["ignored: not our unit", "ok"]


def test_foreign_unit_may_get_the_gateway_exception(clock):
    with PlantSim(clock, unknown_unit="exception11") as plant, Wire(plant.port) as wire:
        assert wire.ask(READ_GRID, unit=9) == b"\x84\x0b"


def test_broadcast_is_executed_and_not_answered(s3, wire):
    wire.send(bytes.fromhex("06 9C5F 0004"), unit=0)
    assert wire.silent_for(0.1)
    assert words(wire.ask(read_pdu(40031, 1, 3))) == [4]


def test_foreign_protocol_id_is_ignored(wire):
    wire.send(READ_GRID, protocol=7)
    assert wire.silent_for(0.1)


def test_stream_that_is_no_modbus_ends_the_connection(wire):
    wire.socket.sendall(b"GET / HTTP/1.0\r\n\r\n")
    assert wire.receive() == b""


def test_request_may_come_in_pieces_and_two_in_one(wire):
    request = bytes.fromhex("0001 0000 0006 F7 04 7535 0002 0002 0000 0006 F7 04 753E 0001")
    for byte in request[:9]:
        wire.socket.sendall(bytes([byte]))
    wire.socket.sendall(request[9:])
    assert s32(wire.receive()[7:]) == 8540
    assert words(wire.receive()[7:]) == [150]


# --- writes ---

@pytest.mark.parametrize(("pdu", "reply"), [
    ("06 9C40 0001", "06 9C40 0001"),  # start: write-only, by function 6
    ("10 9C40 0001 02 0001", "90 02"),  # and by function 6 alone
    ("06 9C60 0BB8", "86 03"),  # half of a two-word value
    ("10 9C60 0001 02 0BB8", "90 02"),
    ("06 7535 0001", "86 02"),  # read-only
    ("06 9C5D 0002", "86 03"),  # 40029 is 0 or 1
    ("10 9C60 0002 04 0000 1069", "90 02"),  # 4201 W, one above the rated 4200
    ("10 9C60 0002 04 FFFF FFFF", "10 9C60 0002"),  # no limit
    ("10 9C60 0002 03 0000 0B", "90 03"),
    ("10 9C5A 0003 06 0000 0000 0000", "90 02"),  # reserved 40026..40028
])
def test_writes_follow_access_and_limits(s3, wire, pdu, reply):
    assert wire.ask(bytes.fromhex(pdu)) == bytes.fromhex(reply)
    assert s3.counters.writes == (bytes.fromhex(reply)[0] < 0x80)


def test_too_many_words_are_not_written(wire):
    assert wire.ask(b"\x10" + bytes.fromhex("C353 007C F8") + bytes(200)) == b"\x90\x03"


def test_write_only_register_cannot_be_read(wire):
    assert wire.ask(read_pdu(40000, 1, 3)) == b"\x83\x02"


def test_remote_ems_shows_in_the_work_mode_and_ends_in_self_consumption(wire):
    wire.ask(bytes.fromhex("06 9C5D 0001"))
    assert words(wire.ask(read_pdu(30003, 1))) == [7]
    wire.ask(bytes.fromhex("06 9C5D 0000"))
    assert words(wire.ask(read_pdu(30003, 1))) == [0]


def test_cutoff_settings_are_read_back(wire):
    wire.ask(bytes.fromhex("06 9C70 00C8"))
    assert words(wire.ask(read_pdu(30085, 2))) == [1000, 200]


def test_limits_read_all_ones_until_somebody_sets_them(wire):
    assert words(wire.ask(read_pdu(40032, 14, 3))) == [0xFFFF] * 14


# --- values ---

@pytest.mark.parametrize(("scenario", "expected"), [
    ("s3", (2800, 15.0, 0, 8540, 11340)),
    ("export", (4300, 98.0, 0, -1100, 3070)),
    ("night", (-4, 47.3, -1320, 12, 1272)),
    ("offgrid", (3100, 52.0, 1400, 0, 1620)),
])
def test_scenarios_reach_the_registers(clock, scenario, expected):
    with PlantSim(clock, scenario=scenario) as plant, Wire(plant.port) as wire:
        names = ("pv_power", "ess_soc", "ess_power", "grid_active_power", "total_load_power")
        assert tuple(value(wire, name) for name in names) == expected
        assert value(wire, "on_off_grid_status") == (scenario == "offgrid")


def test_third_party_scenario_has_its_sun_in_30194(clock):
    with PlantSim(clock, scenario="third_party") as plant, Wire(plant.port) as wire:
        assert (value(wire, "pv_power"), value(wire, "third_party_pv_power")) == (0, 4200)


def test_v2h_scenario_shows_the_vehicle_on_the_inverters_unit(clock):
    with PlantSim(clock, scenario="v2h") as plant, Wire(plant.port) as wire:
        assert value(wire, "output_power", 1, "dc_charger") == -1680
        assert value(wire, "running_state", 1, "dc_charger") == 8
        assert value(wire, "plant_active_power") == 1620


def test_scenario_stands_still_but_its_clock(clock, s3, wire):
    before = words(wire.ask(read_pdu(30000, 72)))
    clock.advance(3600)
    after = words(wire.ask(read_pdu(30000, 72)))
    assert after[2:] == before[2:]
    assert ((after[0] << 16) + after[1]) - ((before[0] << 16) + before[1]) == 3600


def test_plant_clock_ignores_a_step_of_the_machines_clock(clock, s3, wire):
    before = value(wire, "system_time")
    clock.jump_wall(-1_000_000)
    clock.advance(5)
    assert value(wire, "system_time") == before + 5


def test_ratings_read_one_watt_short_and_phases_miss_the_total(wire):
    assert value(wire, "max_active_power") == 9999
    phases = sum(value(wire, f"phase_{phase}_active_power") for phase in "abc")
    assert 7 <= abs(value(wire, "plant_active_power") - phases) <= 19


def test_strings_name_model_serial_and_firmware(wire):
    assert value(wire, "model", 1, "inverter").startswith("SigenStor")
    assert value(wire, "serial_number", 1, "inverter")
    assert "SPC" in value(wire, "firmware_version", 1, "inverter")


def test_hidden_counters_stand_in_the_reserved_hole_of_the_inverter(wire):
    hole = words(wire.ask(read_pdu(30554, 12), unit=1))
    assert hole[:2] == [0, 321] and hole[6:8] == [0, 789]
    assert words(wire.ask(read_pdu(30610, 3), unit=1)) == [0xFFFF] * 3


def test_moving_home_on_the_wire_is_the_pure_home(clock):
    with PlantSim(clock, seed=7) as plant, Wire(plant.port) as wire:
        for _ in range(50):
            clock.advance(997.3)
            state = plant.home.at(plant.plant_time())
            block = words(wire.ask(read_pdu(30000, 40)))
            tail = words(wire.ask(read_pdu(30194, 92)))
            at = dict(enumerate(block, 30000))
            at.update(enumerate(tail, 30194))

            def signed(first, at=at):
                number = (at[first] << 16) | at[first + 1]
                return number - (1 << 32) if number >> 31 else number

            assert (at[30000] << 16) | at[30001] == int(plant.plant_time())
            assert signed(30031) + signed(30194) + signed(30005) - signed(30284) == 0
            assert (signed(30035), signed(30037), at[30014]) == (
                state.pv_w, state.battery_w, state.soc_permille)
            assert (signed(30005), signed(30284)) == (state.grid_w, state.load_w)


def test_reads_within_one_second_come_from_one_image(clock):
    with PlantSim(clock) as plant, Wire(plant.port) as wire:
        clock.advance(1 - clock.now() % 1)
        first = wire.ask(read_pdu(30000, 100))
        clock.advance(0.9)
        assert wire.ask(read_pdu(30000, 100)) == first
        clock.advance(0.2)
        assert wire.ask(read_pdu(30000, 100)) != first


def test_truth_holds_what_was_served_and_since_when(clock):
    with PlantSim(clock, house=HOUSE._replace(third_party_peak_w=3000)) as plant, Wire(plant.port) as wire:
        moments = []
        for _ in range(5):
            clock.advance(1)
            moments.append((clock.monotonic(), value(wire, "grid_active_power"), value(wire, "ess_soc")))
            wire.ask(READ_GRID)
        assert [(t.at_mono, t.five["grid_w"], t.five["soc_pct"]) for t in plant.truth] == moments
        state = plant.home.at(plant.plant_time())
        assert plant.truth[-1].five["pv_w"] == state.pv_w + state.third_party_pv_w
        assert set(plant.truth[-1].five) == {"pv_w", "soc_pct", "battery_w", "grid_w", "load_w"}


def test_truth_of_an_old_firmware_has_no_load(clock):
    with PlantSim(clock, level="2.6") as plant, Wire(plant.port) as wire:
        wire.ask(READ_GRID)
        assert plant.truth[-1].five["load_w"] is None


def test_overrides_win_by_name_value_and_words(clock):
    with PlantSim(clock) as plant, Wire(plant.port) as wire:
        plant.set("ess_soc", 42.5)
        plant.set(30005, [0xFFFF, 0xFBB4])
        plant.set(40032, 2500)
        clock.advance(10)
        assert value(wire, "ess_soc") == 42.5
        assert s32(wire.ask(READ_GRID)) == -1100
        assert plant.truth[-1].five["grid_w"] == -1100
        wire.ask(bytes.fromhex("10 9C60 0002 04 0000 0BB8"))
        assert value(wire, "ess_max_charging_limit") == 3000
        with pytest.raises(ConfigError):
            plant.set("no_such_row", 1)


# --- recordings ---

@pytest.mark.parametrize("name", ["real-1.json", "real-2.json", "real-3.json", "real-4.json"])
def test_recording_is_served_word_for_word_and_nothing_else(clock, name):
    recording = json.loads((FIXTURES / name).read_text("utf-8"))
    with PlantSim(clock, replay=str(FIXTURES / name)) as plant, Wire(plant.port) as wire:
        for block in recording["blocks"]:
            first, expected = block["address"], block["words"]
            unit = block.get("unit", recording["unit"])
            got = []
            for start in range(0, len(expected), 124):
                size = min(124, len(expected) - start)
                got += words(wire.ask(read_pdu(first + start, size), unit))
            assert got == expected
            if first + len(expected) not in {other["address"] for other in recording["blocks"]}:
                assert wire.ask(read_pdu(first + len(expected), 1), unit) == EXCEPTION_2
            assert wire.ask(bytes.fromhex("06 9C5D 0001"), unit) == b"\x86\x02"


def test_recording_without_meter_data_leaves_gaps_in_the_truth(clock):
    with PlantSim(clock, replay=str(FIXTURES / "real-4.json")) as plant, Wire(plant.port) as wire:
        assert s32(wire.ask(READ_GRID)) == -417
        assert plant.home is None
        assert plant.truth[-1].five == {
            "pv_w": 0, "battery_w": -341, "grid_w": -417, "load_w": None, "soc_pct": None}


def test_recorded_clock_moves_on(clock):
    with PlantSim(clock, replay=str(FIXTURES / "real-2.json")) as plant, Wire(plant.port) as wire:
        first = value(wire, "system_time")
        clock.advance(90)
        assert value(wire, "system_time") == first + 90


def test_file_that_is_no_recording_is_refused(clock, tmp_path):
    path = tmp_path / "x.json"
    path.write_text('{"blocks": [{"address": 1, "words": [70000]}]}')
    with pytest.raises(ConfigError, match="replay"):
        PlantSim(clock, replay=str(path))
    with pytest.raises(ConfigError, match="replay"):
        PlantSim(clock, replay=str(tmp_path / "none.json"))


# --- several clients, the log, the end ---

def test_several_clients_are_served_at_once(clock):
    with PlantSim(clock, scenario="s3") as plant:
        wrong = []

        def hammer():
            with Wire(plant.port) as wire:
                wrong.extend(1 for _ in range(200) if s32(wire.ask(READ_GRID)) != 8540)

        threads = [threading.Thread(target=hammer) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
        assert not wrong
        assert plant.counters.requests == 1600
        assert plant.counters.connections == 8


def test_slow_client_does_not_hold_up_another(clock):
    with PlantSim(clock, scenario="s3", delay_s=0.3) as plant, Wire(plant.port) as a, Wire(plant.port) as b:
        begun = time.monotonic()
        a.send(READ_GRID)
        b.send(READ_GRID)
        assert s32(a.receive()[7:]) == s32(b.receive()[7:]) == 8540
        assert 0.29 < time.monotonic() - begun < 0.55
        assert plant.counters.max_in_flight == 2


def test_requests_in_flight_on_one_connection_are_counted(clock):
    with PlantSim(clock, scenario="s3", delay_s=0.05) as plant, Wire(plant.port) as wire:
        for _ in range(3):
            wire.ask(READ_GRID)
        assert plant.counters.max_in_flight == 1
        wire.send(READ_GRID)
        time.sleep(0.02)
        wire.send(READ_GRID)
        wire.receive()
        wire.receive()
        assert plant.counters.max_in_flight == 2
        assert plant.counters.in_flight == 0


def test_log_says_who_asked_what_and_how_it_went(clock, s3, wire):
    wire.ask(READ_GRID)
    clock.advance(2.5)
    wire.ask(read_pdu(30500, 15), unit=1)
    wire.ask(bytes.fromhex("06 9C5D 0002"))
    first, second, third = s3.log
    assert first == (1000.0, 1, 247, 4, 30005, 2, "ok")
    assert (second.at_mono, second.unit, second.count) == (1002.5, 1, 15)
    assert (third.function, third.address, third.count, third.outcome) == (6, 40029, 1, "exception 3")


def test_requests_too_soon_are_ignored_by_a_strict_plant(clock):
    with PlantSim(clock, scenario="s3", min_gap_ms=1000) as plant, Wire(plant.port) as wire:
        wire.ask(READ_GRID)
        clock.advance(0.5)
        wire.send(READ_GRID)
        assert wire.silent_for(0.1)
        clock.advance(0.5)
        assert s32(wire.ask(READ_GRID)) == 8540
        assert plant.counters.gaps_violated == 1
        assert [entry.outcome for entry in plant.log] == ["ok", "ignored: too early", "ok"]


def test_stop_ends_clients_threads_and_descriptors_within_a_second(clock):
    gc.collect()  # what other tests left to the collector is not ours
    threads, files = threading.active_count(), len(os.listdir("/proc/self/fd"))
    plant = PlantSim(clock, delay_s=30).start()
    wires = [Wire(plant.port) for _ in range(20)]
    for wire in wires[:10]:
        wire.send(READ_GRID)
    time.sleep(0.05)
    begun = time.monotonic()
    plant.stop()
    assert time.monotonic() - begun < 1.0
    for wire in wires:
        assert wire.receive() == b""
        wire.socket.close()
    assert threading.active_count() == threads
    assert len(os.listdir("/proc/self/fd")) <= files
    with pytest.raises(ConnectionRefusedError):
        Wire(plant.port)


def test_taken_port_is_one_line_for_the_operator(clock, s3):
    with pytest.raises(ConfigError, match="choose another"):
        PlantSim(clock, port=s3.port).start()


def test_constructing_opens_nothing(clock):
    files = len(os.listdir("/proc/self/fd"))
    PlantSim(clock)
    PlantSim(clock, serial=True)
    assert len(os.listdir("/proc/self/fd")) <= files


def test_real_clock_serves_a_plausible_time():
    clock = Clock()
    with PlantSim(clock) as plant, Wire(plant.port) as wire:
        assert abs(value(wire, "system_time") - clock.now()) < 2


def test_a_day_of_cycles_is_cheap_to_serve(clock):
    """A bench runs 86,400 cycles: the simulator's share of one must stay well below a millisecond."""
    with PlantSim(clock) as plant, Wire(plant.port) as wire:
        wire.ask(READ_GRID)
        begun = time.process_time()
        for _ in range(1000):
            clock.advance(1)
            wire.ask(read_pdu(30000, 39))
            wire.ask(read_pdu(30194, 92))
        assert (time.process_time() - begun) / 1000 < 0.001
