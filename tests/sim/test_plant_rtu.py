"""The simulated plant on RS485: frames and their timing on the line, and what goes wrong there."""

from __future__ import annotations

import os
import re
import subprocess
import threading
import time

import pytest

from bridge.clock import Clock
from bridge.errors import ConfigError
from bridge.sim.plant import PlantSim
from tests.sim.plant_wire import READ_GRID, SerialWire, at_unit, crc, read_pdu, rtu, words

BYTE_S = 10 / 38400
SILENCE_S = 0.00175
GOOD = bytes.fromhex("04 04 0000215C")
SLACK_S = 0.060  # how late a loaded machine may wake a thread; early is never excused


@pytest.fixture
def plant(clock):
    with PlantSim(clock, serial=True, unit=1, scenario="s3") as plant:
        yield plant


@pytest.fixture
def wire(plant):
    with SerialWire(plant.tty) as wire:
        yield wire


def ask(wire, pdu, unit=1, quiet_s=0.1):
    wire.send(rtu(unit, pdu))
    return wire.read(quiet_s=quiet_s)


def healthy(wire):
    wire.send(rtu(1, READ_GRID))
    return wire.read(9, quiet_s=1.0) == rtu(1, GOOD)


# --- frames ---

def test_request_of_known_bytes_gets_the_reply_with_its_checksum(wire):
    wire.send(bytes.fromhex("01 04 7535 0002 7BC9"))
    assert rtu(1, READ_GRID) == bytes.fromhex("01 04 7535 0002 7BC9")
    reply = wire.read()
    assert reply[:7] == bytes.fromhex("01 04 04 0000 215C")
    assert reply[7:] == crc(reply[:7])


def test_users_port_answers_plant_and_inverter_at_unit_1(wire):
    assert words(ask(wire, read_pdu(30500, 2))[1:-2]) == [0x5369, 0x6765]
    assert healthy(wire)


def test_vendors_port_answers_the_plant_at_247_only(clock):
    with PlantSim(clock, serial=True, scenario="s3") as plant, SerialWire(plant.tty) as wire:
        assert ask(wire, READ_GRID, unit=247) == rtu(247, GOOD)
        assert ask(wire, READ_GRID, unit=1) == rtu(1, b"\x84\x02")


def test_foreign_units_broadcasts_and_broken_frames_get_silence(plant, wire):
    assert ask(wire, READ_GRID, unit=9, quiet_s=0.06) == b""
    assert ask(wire, bytes.fromhex("06 9C5F 0004"), unit=0, quiet_s=0.06) == b""
    wire.send(rtu(1, READ_GRID)[:-1] + b"\x00")
    assert wire.read(quiet_s=0.06) == b""
    wire.send(rtu(1, READ_GRID)[:5])
    assert wire.read(quiet_s=0.06) == b""
    assert words(ask(wire, read_pdu(40031, 1, 3))[1:-2]) == [4]
    assert plant.counters.line_errors == 2


def test_writes_work_on_the_line(wire):
    request = bytes.fromhex("10 9C60 0002 04 0000 0BB8")
    assert ask(wire, request) == rtu(1, request[:5])
    assert words(ask(wire, read_pdu(40032, 2, 3))[1:-2]) == [0, 3000]


# --- other programs' eyes ---

@pytest.mark.needs("mbpoll")
@pytest.mark.parametrize("grid_w", [8540, -8540])
def test_mbpoll_reads_the_grid_over_the_line(plant, grid_w):
    plant.set(30005, grid_w)
    done = subprocess.run(
        ["mbpoll", "-m", "rtu", "-a", "1", "-b", "38400", "-P", "none", "-t", "3:int", "-B", "-0",
         "-r", "30005", "-c", "1", "-1", plant.tty],
        capture_output=True, text=True, timeout=10, check=False,
    )
    assert re.findall(r"\[30005\]:\s+(-?\d+)", done.stdout) == [str(grid_w)]


def test_pymodbus_reads_and_writes_over_the_line(plant):
    from pymodbus.client import ModbusSerialClient

    client = ModbusSerialClient(plant.tty, baudrate=38400, timeout=1, retries=0)
    assert client.connect()
    try:
        for _ in range(3):
            block = client.read_input_registers(30003, count=36, **at_unit(client, 1))
            assert block.registers[2:4] == [0, 8540]
        assert not client.write_register(40031, 4, **at_unit(client, 1)).isError()
        assert client.read_holding_registers(40031, count=1, **at_unit(client, 1)).registers == [4]
        assert client.read_input_registers(30287, count=1, **at_unit(client, 1)).exception_code == 2
    finally:
        client.close()


# --- timing ---

@pytest.mark.parametrize(("baud", "turnaround_s", "count"), [
    (38400, 0.010, 2), (38400, 0.0, 34), (38400, 0.020, 124), (9600, 0.010, 10),
])
def test_no_byte_comes_before_the_line_could_bring_it(clock, baud, turnaround_s, count):
    byte_s = 10 / baud
    silence_s = SILENCE_S if baud > 19200 else 3.5 * byte_s
    with PlantSim(clock, serial=True, unit=1, baud=baud, turnaround_s=turnaround_s) as plant, \
            SerialWire(plant.tty, baud) as wire:
        sent = wire.send(rtu(1, read_pdu(30000, count)))
        reply = wire.read(5 + 2 * count, quiet_s=0.5)
        assert len(reply) == 5 + 2 * count
        begin = sent + 8 * byte_s + silence_s + turnaround_s
        seen = 0
        for at, size in wire.pieces:
            seen += size
            assert at >= begin + seen * byte_s - 0.0001
        assert wire.pieces[-1][0] <= begin + len(reply) * byte_s + SLACK_S
        assert len(wire.pieces) > 1 or len(reply) < 50  # in pieces, as from a UART


def test_a_client_at_another_speed_is_not_understood(clock):
    with PlantSim(clock, serial=True, unit=1, baud=9600) as plant, SerialWire(plant.tty, 38400) as wire:
        wire.send(rtu(1, read_pdu(30000, 2)))
        assert wire.read(9, quiet_s=0.2) == b""
        assert plant.counters.line_errors == 1


def test_two_block_cycle_takes_what_the_wire_limit_says(plant, wire):
    """30005 x 34 and 30284 x 2 at 10 ms turn-around: 50.8 ms with the client's t3.5 between them."""
    best = 1.0
    for _ in range(8):
        begun = wire.send(rtu(1, read_pdu(30005, 34)))
        wire.read(73)
        time.sleep(SILENCE_S)
        wire.send(rtu(1, read_pdu(30284, 2)))
        wire.read(9)
        best = min(best, time.monotonic() - begun)
        time.sleep(SILENCE_S)
    assert 0.0490 < best < 0.060


def test_request_within_the_silence_after_an_answer_is_counted(plant, wire):
    for _ in range(3):
        wire.send(rtu(1, READ_GRID))
        wire.read(9)
        time.sleep(0.01)
    assert plant.counters.silence_violated == 0
    for _ in range(30):
        wire.send(rtu(1, READ_GRID))
        wire.read(9)
        if plant.counters.silence_violated:
            break
    assert plant.counters.silence_violated == 1


# --- faults ---

def test_crc_fault_breaks_the_checksum_only(plant, wire):
    plant.fault("crc", count=1)
    reply, good = ask(wire, READ_GRID), rtu(1, GOOD)
    assert reply[:-2] == good[:-2]
    assert reply != good
    assert healthy(wire)


def test_echo_brings_the_request_back_first(plant, wire):
    plant.fault("echo")
    assert ask(wire, READ_GRID) == rtu(1, READ_GRID) + rtu(1, GOOD)
    sent = wire.pieces[0][0]
    assert wire.pieces[-1][0] - sent > 0.010


def test_foreign_master_speaks_on_its_own_and_before_our_answer(plant, wire):
    broadcast, foreign = rtu(0, bytes.fromhex("06 9C5F 0002")), rtu(3, bytes.fromhex("04 7724 0002"))
    plant.fault("foreign_master", period_s=0.05)
    heard = wire.read(200, quiet_s=0.2)
    assert heard.startswith(broadcast + foreign)
    assert heard.count(broadcast) >= 3
    plant.clear()
    wire.read(quiet_s=0.1)
    plant.fault("foreign_master", period_s=0.0)
    wire.send(rtu(1, READ_GRID))
    answered = b""
    for _ in range(40):
        answered += wire.read(40)
        if rtu(1, GOOD) in answered:
            break
        wire.send(rtu(1, READ_GRID))  # it fell into a foreign frame and was lost
    assert broadcast in answered


def test_foreign_master_costs_some_requests_and_not_all(plant, wire):
    plant.fault("foreign_master", period_s=0.1)
    good = 0
    for _ in range(10):
        wire.send(rtu(1, READ_GRID))
        good += rtu(1, GOOD) in wire.read(60, quiet_s=0.05)
    assert good >= 3


def test_noise_damages_bytes_at_about_its_rate(plant, wire):
    plant.fault("noise", p=0.05)
    outcomes = [ask(wire, READ_GRID, quiet_s=0.05) == rtu(1, GOOD) for _ in range(16)]
    assert 1 < sum(outcomes) < 15
    plant.clear()
    assert healthy(wire)


def test_unplug_takes_the_device_away_and_clear_brings_it_back(plant):
    path = plant.tty
    with SerialWire(path) as wire:
        assert healthy(wire)
        plant.fault("unplug")
        with pytest.raises(OSError):
            wire.send(b"x")
    assert not os.path.exists(path)
    plant.clear()
    with SerialWire(path) as wire:
        assert healthy(wire)


def test_unplugged_line_mends_by_itself(plant, clock):
    path = plant.tty
    plant.fault("unplug", for_s=3)
    assert not os.path.exists(path)
    clock.advance(4)
    deadline = time.monotonic() + 2
    while not os.path.exists(path) and time.monotonic() < deadline:
        time.sleep(0.01)
    with SerialWire(path) as wire:
        assert healthy(wire)


def test_silent_line_says_nothing(plant, wire):
    plant.fault("silent", count=1)
    assert ask(wire, READ_GRID, quiet_s=0.08) == b""
    assert healthy(wire)


def test_truncated_answer_does_not_deafen_the_line(plant, wire):
    plant.fault("truncate", count=1)
    assert ask(wire, READ_GRID, quiet_s=0.06) == rtu(1, GOOD)[:4]
    assert healthy(wire)


def test_late_reply_falls_into_a_later_exchange(plant, wire):
    plant.fault("late_reply", s=0.15, count=1)
    wire.send(rtu(1, READ_GRID))
    assert wire.read(quiet_s=0.05) == b""
    assert ask(wire, read_pdu(30014, 1), quiet_s=0.05) == rtu(1, bytes.fromhex("04 02 0096"))
    assert wire.read(quiet_s=0.3) == rtu(1, GOOD)


@pytest.mark.parametrize(("fault", "reply"), [
    ("wrong_unit", rtu(2, GOOD)),
    ("wrong_function", rtu(1, b"\x03" + GOOD[1:])),
    ("short", rtu(1, bytes.fromhex("04 02 0000"))),
    ("bad_byte_count", rtu(1, bytes.fromhex("04 06 0000215C"))),
    ("busy", rtu(1, b"\x84\x06")),
    ("duplicate", 2 * rtu(1, GOOD)),
    ("dribble", rtu(1, GOOD)),
], ids=lambda given: given if isinstance(given, str) else "")
def test_faults_of_both_lines_have_a_right_checksum_here(plant, wire, fault, reply):
    plant.fault(fault)
    assert ask(wire, READ_GRID) == reply


@pytest.mark.parametrize("fault", ["refuse", "reset", "wrong_transaction", "idle_close"])
def test_faults_of_tcp_do_not_exist_on_the_line(plant, fault):
    with pytest.raises(ConfigError, match="rtu"):
        plant.fault(fault)


# --- the device ---

def test_given_path_becomes_the_ptys_name(clock, tmp_path):
    path = str(tmp_path / "modem")
    with PlantSim(clock, serial=path, unit=1, scenario="s3") as plant, SerialWire(path) as wire:
        assert plant.tty == path
        assert healthy(wire)
    assert not os.path.lexists(path)


@pytest.mark.needs("socat")
def test_existing_device_is_used(clock, tmp_path):
    ours, theirs = str(tmp_path / "a"), str(tmp_path / "b")
    cable = subprocess.Popen(["socat", f"pty,raw,echo=0,link={ours}", f"pty,raw,echo=0,link={theirs}"])
    try:
        deadline = time.monotonic() + 5
        while not (os.path.exists(ours) and os.path.exists(theirs)) and time.monotonic() < deadline:
            time.sleep(0.01)
        with PlantSim(clock, serial=ours, unit=1, scenario="s3"), SerialWire(theirs) as wire:
            assert healthy(wire)
    finally:
        cable.terminate()
        cable.wait(5)


def test_path_that_is_a_file_is_refused(clock, tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("x")
    with pytest.raises(ConfigError, match=r"notes\.txt"):
        PlantSim(clock, serial=str(path)).start()


def test_client_may_come_and_go(plant):
    for _ in range(5):
        with SerialWire(plant.tty) as wire:
            assert healthy(wire)


def test_answers_nobody_reads_do_not_stop_the_line(plant):
    with SerialWire(plant.tty) as wire:
        plant.fault("garbage", length=20_000, count=1)
        plant.fault("dribble", s=0.0, count=1)
        wire.send(rtu(1, READ_GRID))
        time.sleep(0.05)
    begun = time.monotonic()
    plant.stop()
    assert time.monotonic() - begun < 1.0


def test_stop_leaves_no_thread_descriptor_or_directory():
    threads, files = threading.active_count(), len(os.listdir("/proc/self/fd"))
    plant = PlantSim(Clock(), serial=True).start()
    path = plant.tty
    plant.stop()
    assert threading.active_count() == threads
    assert len(os.listdir("/proc/self/fd")) <= files
    assert not os.path.exists(os.path.dirname(path))
