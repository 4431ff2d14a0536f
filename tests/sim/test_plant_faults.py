"""Every fault of the simulated plant, looked at as bytes and sockets on the wire."""

from __future__ import annotations

import os
import socket
import struct
import threading
import time
from pathlib import Path

import pytest

from bridge.errors import ConfigError
from bridge.sim.plant import PlantSim
from bridge.sim.plant_faults import FAULTS
from tests.sim.plant_wire import READ_GRID, Wire, read_pdu, s32, words

GOOD = bytes.fromhex("04 04 0000215C")
COVERED_ELSEWHERE = {"crc", "echo", "foreign_master", "noise", "unplug"}  # test_plant_rtu.py
OF_CONTROL = {
    "ack_ignored", "write_exception", "exception2_state", "write_silent", "slow_write", "crash_after_write",
    "off_grid", "not_running", "vpp_takeover", "other_master", "backup_reset", "restart",
}  # test_plant_control_faults.py


@pytest.fixture
def plant(clock):
    with PlantSim(clock, scenario="s3") as plant:
        yield plant


@pytest.fixture
def wire(plant):
    with Wire(plant.port) as wire:
        yield wire


def raw(wire, pdu=READ_GRID, transaction=0x0102):
    """Ask, and return the whole frame that comes back."""
    wire.send(pdu, transaction=transaction)
    return wire.receive()


def healthy(wire):
    return raw(wire) == bytes.fromhex("0102 0000 0007 F7") + GOOD


def was_reset(wire, timeout_s=2.0):
    wire.socket.settimeout(timeout_s)
    try:
        return wire.socket.recv(1) is None
    except ConnectionResetError:
        return True


# --- connections ---

def test_refuse_resets_what_is_open_and_refuses_what_comes(plant, wire):
    assert healthy(wire)
    plant.fault("refuse")
    assert was_reset(wire)
    with pytest.raises(ConnectionRefusedError):
        Wire(plant.port)
    plant.clear("refuse")
    with Wire(plant.port) as again:
        assert healthy(again)


def test_refuse_ends_by_itself_on_the_same_port(plant, clock):
    port = plant.port
    plant.fault("refuse", for_s=5)
    clock.advance(6)
    deadline = time.monotonic() + 2
    while time.monotonic() < deadline:
        try:
            with Wire(port) as again:
                assert healthy(again)
                return
        except ConnectionRefusedError:
            time.sleep(0.01)
    pytest.fail("the port did not come back")


def test_silent_accepts_and_never_answers(plant, wire):
    plant.fault("silent")
    wire.send(READ_GRID)
    with Wire(plant.port) as another:
        another.send(READ_GRID)
        assert another.silent_for(0.1)
    assert wire.silent_for(0.05)
    plant.clear()
    assert healthy(wire)
    assert [entry.outcome for entry in plant.log] == ["silent", "silent", "ok"]


def test_silent_executes_no_write(plant, wire):
    plant.fault("silent", count=1)
    wire.send(bytes.fromhex("06 9C5D 0001"))
    assert wire.silent_for(0.05)
    assert words(wire.ask(read_pdu(40029, 1, 3))) == [0]


def test_reset_answers_with_rst(plant, wire):
    plant.fault("reset")
    wire.send(READ_GRID)
    assert was_reset(wire)


def test_close_answers_with_fin(plant, wire):
    plant.fault("close")
    wire.send(READ_GRID)
    assert wire.receive() == b""


def test_idle_close_ends_an_idle_connection_only(plant, clock):
    plant.fault("idle_close", after_s=5)
    with Wire(plant.port) as wire:
        for _ in range(3):
            clock.advance(4)
            assert healthy(wire)
        clock.advance(6)
        assert wire.receive() == b""


def test_connection_limit_closes_the_one_too_many(plant):
    plant.fault("connection_limit", n=2)
    with Wire(plant.port) as one, Wire(plant.port) as two:
        assert healthy(one) and healthy(two)
        with Wire(plant.port) as three:
            assert three.receive() == b""
        assert healthy(one)
    assert plant.counters.connections == 3


def test_one_in_flight_ignores_what_comes_before_the_answer(plant, wire):
    plant.fault("one_in_flight")
    plant.fault("delay", s=0.1)
    wire.send(READ_GRID)
    with Wire(plant.port) as another:
        time.sleep(0.03)
        another.send(READ_GRID)
        assert wire.receive()[7:] == GOOD
        assert another.silent_for(0.15)
    assert "ignored: another request in flight" in [entry.outcome for entry in plant.log]


def test_min_gap_ignores_a_hasty_request(plant, wire, clock):
    plant.fault("min_gap", ms=1000)
    assert healthy(wire)
    clock.advance(0.2)
    wire.send(READ_GRID)
    assert wire.silent_for(0.05)
    clock.advance(0.8)
    assert healthy(wire)
    assert plant.counters.gaps_violated == 1


# --- time ---

def test_delay_makes_the_answer_late(plant, wire):
    plant.fault("delay", s=0.15)
    begun = time.monotonic()
    assert healthy(wire)
    assert 0.15 <= time.monotonic() - begun < 0.4


def test_dribble_sends_byte_by_byte(plant, wire):
    plant.fault("dribble", s=0.004)
    wire.send(READ_GRID)
    wire.socket.settimeout(1)
    pieces = [wire.socket.recv(100) for _ in range(13)]
    assert all(len(piece) == 1 for piece in pieces)
    assert b"".join(pieces)[7:] == GOOD


def test_late_reply_comes_after_the_next_answer_under_its_own_id(plant, wire):
    plant.fault("late_reply", s=0.15, count=1)
    wire.send(READ_GRID, transaction=1)
    wire.send(read_pdu(30014, 1), transaction=2)
    assert wire.receive() == bytes.fromhex("0002 0000 0005 F7 04 02 0096")
    assert wire.receive() == bytes.fromhex("0001 0000 0007 F7") + GOOD


def test_late_reply_to_a_client_that_left_does_no_harm(plant):
    plant.fault("late_reply", s=0.02)
    with Wire(plant.port) as wire:
        wire.send(READ_GRID)
    time.sleep(0.1)
    plant.clear()
    with Wire(plant.port) as again:
        assert healthy(again)


# --- bytes ---

def test_truncate_sends_half_and_goes_deaf(plant, wire):
    plant.fault("truncate", count=1)
    wire.send(READ_GRID, transaction=0x0102)
    assert wire.socket.recv(100) == bytes.fromhex("0102 0000 0007")
    wire.send(READ_GRID)
    assert wire.silent_for(0.1)
    with Wire(plant.port) as again:
        assert healthy(again)


def test_garbage_is_random_but_repeatable(clock):
    seen = []
    for _ in range(2):
        with PlantSim(clock, scenario="s3", seed=9) as plant, Wire(plant.port) as wire:
            plant.fault("garbage", length=31)
            wire.send(READ_GRID)
            time.sleep(0.02)
            seen.append(wire.socket.recv(100))
    assert len(seen[0]) == 31
    assert seen[0] == seen[1]
    assert seen[0][7:13] != GOOD


def test_duplicate_answers_twice(plant, wire):
    plant.fault("duplicate")
    assert healthy(wire)
    assert wire.receive() == bytes.fromhex("0102 0000 0007 F7") + GOOD


@pytest.mark.parametrize(("fault", "frame"), [
    ("wrong_transaction", "0103 0000 0007 F7 04 04 0000215C"),
    ("wrong_protocol", "0102 5347 0007 F7 04 04 0000215C"),
    ("wrong_unit", "0102 0000 0007 01 04 04 0000215C"),
    ("wrong_function", "0102 0000 0007 F7 03 04 0000215C"),
    ("short", "0102 0000 0005 F7 04 02 0000"),
    ("bad_byte_count", "0102 0000 0007 F7 04 06 0000215C"),
    ("busy", "0102 0000 0003 F7 84 06"),
    ("exception", "0102 0000 0003 F7 84 04"),
])
def test_frame_is_wrong_in_one_place(plant, wire, fault, frame):
    plant.fault(fault, count=1)
    assert raw(wire) == bytes.fromhex(frame)
    assert healthy(wire)


def test_stale_reply_carries_the_previous_body_under_the_right_ids(plant, wire):
    assert raw(wire, read_pdu(30014, 1), 1) == bytes.fromhex("0001 0000 0005 F7 04 02 0096")
    plant.fault("stale_reply")
    assert raw(wire, READ_GRID, 2) == bytes.fromhex("0002 0000 0005 F7 04 02 0096")
    assert raw(wire, read_pdu(30035, 2), 3) == bytes.fromhex("0003 0000 0007 F7") + GOOD


def test_stale_reply_of_equal_length_looks_right_and_is_wrong(plant, wire):
    raw(wire, read_pdu(30035, 2))
    plant.fault("stale_reply")
    assert s32(wire.ask(READ_GRID)) == 2800


# --- exceptions ---

def test_exception_code_is_chosen(plant, wire):
    plant.fault("exception", code=11)
    assert wire.ask(READ_GRID) == b"\x84\x0b"
    assert plant.log[-1].outcome == "exception 11 + exception"


def test_exception_on_meets_ranges_that_touch_the_address(plant, wire):
    plant.fault("exception_on", address=30284, code=2)
    assert wire.ask(read_pdu(30194, 92)) == b"\x84\x02"
    assert wire.ask(read_pdu(30284, 2)) == b"\x84\x02"
    assert s32(wire.ask(read_pdu(30282, 2))) == 11340
    assert wire.ask(READ_GRID) == GOOD


def test_flaky_fails_some_requests_in_several_ways_and_repeats_itself(clock):
    histories = []
    for _ in range(2):
        with PlantSim(clock, scenario="s3", seed=5) as plant:
            plant.fault("flaky", p=0.3)
            good = 0
            for _ in range(120):
                with Wire(plant.port) as wire:
                    try:
                        wire.send(READ_GRID)
                        good += wire.receive(0.01)[7:] == GOOD
                    except (socket.timeout, ConnectionResetError):
                        continue
            histories.append([entry.outcome for entry in plant.log])
            assert 60 < good < 110
    assert histories[0] == histories[1]
    assert len(set(histories[0])) > 4


# --- values ---

@pytest.mark.parametrize(("fault", "params", "address", "expected"), [
    ("sentinel", {"address": 30005}, 30005, [0x7FFF, 0xFFFF]),
    ("sentinel", {"address": 30014}, 30014, [0xFFFF]),
    ("sentinel", {"address": 30010}, 30010, [0xFFFF, 0xFFFF]),
    ("spike", {}, 30005, [0x7FFF, 0xFA24]),
    ("spike", {"w": 4294965796}, 30005, [0xFFFF, 0xFA24]),
    ("imbalance", {"w": 5000}, 30284, [0, 16340]),
    ("soc_jump", {"pct": 45}, 30014, [600]),
    ("soc_jump", {"pct": -10}, 30014, [50]),
    ("clock_zero", {}, 30000, [0, 0]),
    ("no_meter", {}, 30004, [0, 0, 0]),
    ("no_meter", {}, 30284, [0, 2800]),
    ("inverted_grid", {}, 30005, [0xFFFF, 0xDEA4]),
])
def test_value_faults_change_what_is_served_and_not_the_truth(plant, wire, fault, params, address, expected):
    before = words(wire.ask(read_pdu(address, len(expected))))
    plant.fault(fault, count=2, **params)
    assert words(wire.ask(read_pdu(address, len(expected)))) == expected
    block = words(wire.ask(read_pdu(30000, 40) if address < 30040 else read_pdu(30194, 92)))
    at = address - (30000 if address < 30040 else 30194)
    assert block[at:at + len(expected)] == expected
    assert words(wire.ask(read_pdu(address, len(expected)))) == before
    assert [truth.five["grid_w"] for truth in plant.truth] == [8540]


def test_value_laid_over_half_a_register_of_a_block_is_cut(plant, wire):
    plant.fault("spike")
    assert words(wire.ask(read_pdu(30006, 1))) == [0xFA24]
    assert words(wire.ask(read_pdu(30007, 2))) != [0x7FFF, 0xFA24]


def test_inverted_grid_inverts_the_phases_too(clock):
    with PlantSim(clock) as plant, Wire(plant.port) as wire:
        before = [s32(wire.ask(read_pdu(address, 2))) for address in (30005, 30052, 30054, 30056)]
        plant.fault("inverted_grid")
        after = [s32(wire.ask(read_pdu(address, 2))) for address in (30005, 30052, 30054, 30056)]
        assert after == [-number for number in before]


def test_one_turned_clamp_turns_its_phase_and_not_the_total(clock):
    with PlantSim(clock) as plant, Wire(plant.port) as wire:
        before = [s32(wire.ask(read_pdu(address, 2))) for address in (30005, 30052, 30054, 30056)]
        plant.fault("phase_turned", phase=2)
        after = [s32(wire.ask(read_pdu(address, 2))) for address in (30005, 30052, 30054, 30056)]
        assert after == [*before[:3], -before[3]]


def test_a_shift_between_phases_leaves_their_sum(clock):
    with PlantSim(clock) as plant, Wire(plant.port) as wire:
        before = [s32(wire.ask(read_pdu(address, 2))) for address in (30052, 30054, 30056)]
        plant.fault("phase_shift", w=1500)
        after = [s32(wire.ask(read_pdu(address, 2))) for address in (30052, 30054, 30056)]
        assert after == [before[0] + 1500, before[1] - 1500, before[2]]


def test_frozen_plant_stands_still_with_its_clock_and_wakes_up(clock):
    with PlantSim(clock) as plant, Wire(plant.port) as wire:
        first = wire.ask(read_pdu(30000, 100))
        plant.fault("frozen", for_s=120)
        clock.advance(119)
        assert wire.ask(read_pdu(30000, 100)) == first
        clock.advance(2)
        assert wire.ask(read_pdu(30000, 100)) != first


# --- the faults' own rules ---

def test_faults_end_by_count_and_by_time(plant, wire, clock):
    plant.fault("busy", count=2)
    assert [wire.ask(READ_GRID)[:1] for _ in range(3)] == [b"\x84", b"\x84", b"\x04"]
    plant.fault("busy", for_s=10)
    assert wire.ask(READ_GRID) == b"\x84\x06"
    clock.advance(10)
    assert wire.ask(READ_GRID) == GOOD


def test_two_faults_may_be_in_force(plant, wire):
    plant.fault("delay", s=0.05)
    plant.fault("exception", code=4)
    begun = time.monotonic()
    assert wire.ask(READ_GRID) == b"\x84\x04"
    assert time.monotonic() - begun >= 0.05
    plant.clear("exception")
    assert wire.ask(READ_GRID) == GOOD


@pytest.mark.parametrize(("name", "params"), [
    ("nonsense", {}), ("crc", {}), ("busy", {"code": 1}), ("refuse", {"count": 1}),
])
def test_fault_that_does_not_exist_here_is_refused(plant, name, params):
    with pytest.raises(ConfigError):
        plant.fault(name, **params)


def test_every_fault_of_the_table_is_tested_in_one_of_the_three_files():
    here = Path(__file__).read_text("utf-8")
    there = Path(__file__).with_name("test_plant_rtu.py").read_text("utf-8")
    control = Path(__file__).with_name("test_plant_control_faults.py").read_text("utf-8")
    for kind in FAULTS:
        text = there if kind.name in COVERED_ELSEWHERE else control if kind.name in OF_CONTROL else here
        assert f'"{kind.name}"' in text, kind.name


def test_thousands_of_errors_leak_neither_threads_nor_descriptors(clock):
    with PlantSim(clock, scenario="s3") as plant:
        threads, files = threading.active_count(), len(os.listdir("/proc/self/fd"))
        plant.fault("flaky", p=0.7)
        linger = struct.pack("ii", 1, 0)
        for turn in range(2000):
            wire = Wire(plant.port)
            try:
                wire.send(READ_GRID)
                if turn % 3:
                    wire.receive(0.0005)
                if turn % 2:
                    wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            except OSError:
                pass
            finally:
                wire.socket.close()
        deadline = time.monotonic() + 2
        while plant.counters.open_connections and time.monotonic() < deadline:
            time.sleep(0.01)
        assert plant.counters.open_connections == 0
        assert plant.counters.in_flight == 0
        assert plant.counters.connections == 2000
        assert threading.active_count() <= threads
        assert len(os.listdir("/proc/self/fd")) <= files
        plant.clear()
        with Wire(plant.port) as wire:
            assert wire.ask(READ_GRID) == GOOD
