"""What can go wrong while somebody commands the simulated plant, each fault looked at on the wire."""

from __future__ import annotations

import time

import pytest

from bridge.sim.plant import PlantSim
from tests.sim.plant_wire import READ_GRID, Wire, read_pdu, s32, words, write_one, write_two

REMOTE, MODE, CHARGE, DISCHARGE, EXPORT, BACKUP = 40029, 40031, 40032, 40034, 40038, 40046
REFUSED_2, REFUSED_4 = b"\x86\x02", b"\x86\x04"


@pytest.fixture
def plant(clock):
    with PlantSim(clock, scenario="steady") as plant:
        yield plant


@pytest.fixture
def wire(plant):
    with Wire(plant.port) as wire:
        yield wire


def register(wire, address):
    return words(wire.ask(read_pdu(address, 1)))[0]


def power(wire, address):
    return s32(wire.ask(read_pdu(address, 2)))


def command(wire, mode):
    assert wire.ask(write_one(REMOTE, 1)) == write_one(REMOTE, 1)
    assert wire.ask(write_one(MODE, mode)) == write_one(MODE, mode)


def reconnected(plant):
    """Return a wire to a plant that has just restarted."""
    deadline = time.monotonic() + 5
    while True:
        try:
            return Wire(plant.port)
        except ConnectionRefusedError:
            assert time.monotonic() < deadline
            time.sleep(0.01)


def outcomes(plant):
    return [write.outcome for write in plant.writes]


# --- writes ---

def test_ack_ignored_shows_the_new_value_and_does_nothing(plant, wire, clock):
    before = power(wire, 30037)
    plant.fault("ack_ignored")
    command(wire, 4)
    clock.advance(30)
    assert (register(wire, REMOTE), register(wire, MODE)) == (1, 4)
    assert register(wire, 30003) == 0
    assert power(wire, 30037) == before
    assert not plant.control.remote
    plant.restart(0)
    assert plant.control.remote  # a start acts on what the registers show
    wire = reconnected(plant)
    wire.ask(write_one(REMOTE, 0))
    assert plant.control.remote
    plant.clear()
    wire.ask(write_one(REMOTE, 0))
    command(wire, 4)
    clock.advance(5)
    assert register(wire, 30003) == 7
    assert power(wire, 30037) == 4200


def test_ack_ignored_may_keep_the_old_value(plant, wire):
    plant.fault("ack_ignored", keep="old")
    command(wire, 4)
    assert (register(wire, REMOTE), register(wire, MODE), register(wire, 30003)) == (0, 2, 0)
    plant.restart(0)
    assert not plant.control.remote
    assert outcomes(plant) == ["ok + ack_ignored"] * 2


def test_ack_ignored_may_meet_one_register_alone(plant, wire, clock):
    plant.fault("ack_ignored", address=CHARGE)
    command(wire, 4)
    wire.ask(write_two(CHARGE, 1000))
    clock.advance(5)
    assert words(wire.ask(read_pdu(CHARGE, 2))) == [0, 1000]
    assert power(wire, 30037) == 4200
    assert plant.control.caps[CHARGE] is None


def test_write_exception_refuses_a_register_with_a_code(plant, wire):
    plant.fault("write_exception", address=MODE, code=4)
    assert wire.ask(write_one(REMOTE, 1)) == write_one(REMOTE, 1)
    assert wire.ask(write_one(MODE, 4)) == REFUSED_4
    assert words(wire.ask(read_pdu(MODE, 1, 3))) == [2]
    assert outcomes(plant) == ["ok", "exception 4 + write_exception"]


def test_write_exception_may_end_after_so_many_writes_whatever_is_read_between(plant, wire):
    plant.fault("write_exception", code=6, count=2)
    for _ in range(3):
        wire.ask(READ_GRID)
    assert [wire.ask(write_one(REMOTE, 1))[0] for _ in range(3)] == [0x86, 0x86, 0x06]


def test_write_exception_may_meet_the_nth_write_alone(plant, wire):
    plant.fault("write_exception", n=3)
    assert [wire.ask(write_one(REMOTE, 1))[0] for _ in range(5)] == [0x06, 0x06, 0x86, 0x06, 0x06]


def test_exception2_state_refuses_caps_and_nothing_else(plant, wire):
    plant.fault("exception2_state")
    command(wire, 4)
    assert wire.ask(write_two(CHARGE, 1000)) == b"\x90\x02"
    assert wire.ask(write_two(EXPORT, 1000)) == b"\x90\x02"
    assert wire.ask(write_one(BACKUP, 100)) == write_one(BACKUP, 100)
    plant.fault("exception2_state", address=MODE)
    assert wire.ask(write_one(MODE, 2)) == REFUSED_2
    wire.ask(write_two(CHARGE, 1000))
    assert words(wire.ask(read_pdu(CHARGE, 2))) == [0, 1000]


def test_write_silent_executes_and_says_nothing(plant, wire):
    plant.fault("write_silent", count=1)
    wire.send(write_one(REMOTE, 1))
    assert wire.silent_for(0.1)
    assert register(wire, REMOTE) == 1
    assert plant.writes[-1].outcome == "ok + write_silent"


def test_write_silent_may_lose_the_request_itself(plant, wire):
    plant.fault("write_silent", count=1, executed=0)
    wire.send(write_one(REMOTE, 1))
    assert wire.silent_for(0.1)
    assert register(wire, REMOTE) == 0
    assert plant.writes[-1].outcome == "not executed + write_silent"
    assert plant.counters.writes == 0


@pytest.mark.timing
def test_slow_write_answers_late_and_reads_at_once(plant, wire):
    plant.fault("slow_write", s=0.2)
    begun = time.monotonic()
    wire.ask(READ_GRID)
    assert time.monotonic() - begun < 0.15
    begun = time.monotonic()
    assert wire.ask(write_one(REMOTE, 1)) == write_one(REMOTE, 1)
    assert time.monotonic() - begun >= 0.2


@pytest.mark.parametrize("n", [1, 3])
def test_crash_after_write_ends_the_connection_after_the_nth(plant, n):
    plant.fault("crash_after_write", n=n)
    with Wire(plant.port) as wire:
        for _ in range(n):
            wire.ask(READ_GRID)
            assert wire.ask(write_one(REMOTE, 1)) == write_one(REMOTE, 1)
        assert wire.receive() == b""
    with Wire(plant.port) as wire:
        assert wire.ask(write_one(MODE, 4)) == write_one(MODE, 4)
        assert wire.ask(write_one(MODE, 2)) == write_one(MODE, 2)


def test_crash_after_write_may_leave_the_answer_unsaid(plant):
    plant.fault("crash_after_write", answer=0)
    with Wire(plant.port) as wire:
        wire.send(write_one(REMOTE, 1))
        assert wire.receive() == b""
    with Wire(plant.port) as wire:
        assert register(wire, REMOTE) == 1


# --- what comes from outside ---

@pytest.mark.parametrize("kind", [1, 2])
def test_off_grid_plant_says_so_and_lives_on_sun_and_battery(plant, wire, clock, kind):
    command(wire, 4)
    clock.advance(10)
    plant.fault("off_grid", kind=kind)
    assert register(wire, 30009) == kind
    assert power(wire, 30005) == 0
    assert power(wire, 30031) + power(wire, 30194) == power(wire, 30284) == 1200
    plant.clear()
    clock.advance(10)
    assert register(wire, 30009) == 0
    assert power(wire, 30037) == 4200


def test_off_grid_plant_with_a_full_battery_takes_less_sun(clock):
    with PlantSim(clock, scenario="steady", soc_pct=100) as plant, Wire(plant.port) as wire:
        plant.fault("off_grid")
        assert power(wire, 30037) == 0
        assert 1200 < power(wire, 30035) < 1400
        assert power(wire, 30284) == 1200


def test_off_grid_plant_with_an_empty_battery_goes_dark_at_night(clock):
    with PlantSim(clock, scenario="night", soc_pct=5) as plant, Wire(plant.port) as wire:
        plant.fault("off_grid")
        assert [power(wire, at) for at in (30035, 30037, 30031, 30005, 30284)] == [0] * 5


def test_off_grid_ends_by_itself_at_its_own_second(plant, wire, clock):
    plant.fault("off_grid", for_s=5)
    clock.advance(60)
    assert register(wire, 30009) == 0
    assert 1684 * 60 / 3600 < plant.memory.stored_wh - 4030 < 1684 * 60 / 3600 + 2


def test_not_running_plant_moves_no_power(plant, wire, clock):
    command(wire, 6)
    clock.advance(10)
    plant.fault("not_running", state=2)
    assert register(wire, 30051) == 2
    assert (power(wire, 30035), power(wire, 30037), power(wire, 30005)) == (0, 0, 1200)
    plant.clear("not_running")
    assert (register(wire, 30051), power(wire, 30037)) == (1, 0)  # it comes up from rest
    clock.advance(5)
    assert power(wire, 30037) < -3000


def test_vpp_takeover_takes_remote_ems_and_gives_it_back(plant, wire, clock):
    command(wire, 4)
    wire.ask(write_two(DISCHARGE, 1000))  # the owner's cap is none of its business
    plant.fault("vpp_takeover", after_s=60, w=-1500, holds=1)
    clock.advance(59)
    assert (register(wire, 30003), power(wire, 30037)) == (7, 4200)
    clock.advance(11)
    assert (register(wire, 30003), register(wire, REMOTE), register(wire, MODE)) == (6, 0, 2)
    assert power(wire, 30037) == -1500
    command(wire, 4)  # it does not let go because somebody writes
    clock.advance(10)
    assert (register(wire, 30003), power(wire, 30037)) == (6, -1500)
    plant.clear()
    clock.advance(10)
    assert (register(wire, 30003), register(wire, REMOTE), register(wire, MODE)) == (7, 1, 4)
    assert power(wire, 30037) == 4200
    assert [write.function for write in plant.writes] == [6, 6, 16, 6, 6]  # its own writes are not in our log


def test_vpp_takeover_may_leave_the_registers_as_they_are(plant, wire, clock):
    command(wire, 4)
    plant.fault("vpp_takeover", returns=0)
    clock.advance(1)
    plant.clear()
    clock.advance(1)
    assert (register(wire, 30003), register(wire, REMOTE), register(wire, MODE)) == (0, 0, 2)


def test_vpp_takeover_ends_when_somebody_takes_the_plant_in_the_middle(plant, wire, clock):
    command(wire, 6)
    plant.fault("vpp_takeover", w=1000)
    clock.advance(10)
    assert (register(wire, 30003), power(wire, 30037)) == (6, 1000)
    wire.ask(write_one(REMOTE, 1))
    clock.advance(10)
    assert (register(wire, 30003), register(wire, MODE), power(wire, 30037)) == (7, 2, 1684)  # not mode 6
    plant.clear()
    assert (register(wire, 30003), register(wire, MODE)) == (7, 2)


@pytest.mark.parametrize(("address", "number", "shown"), [
    (MODE, 3, [3]), (REMOTE, 0, [0]), (CHARGE, 2500, [0, 2500]), (BACKUP, 400, [400]),
])
def test_other_master_changes_a_register_once_at_its_time(plant, wire, clock, address, number, shown):
    command(wire, 4)
    plant.fault("other_master", after_s=30, address=address, value=number)
    clock.advance(29)
    wire.ask(READ_GRID)
    assert words(wire.ask(read_pdu(address, len(shown)))) != shown
    clock.advance(2)
    assert words(wire.ask(read_pdu(address, len(shown)))) == shown
    wire.ask(write_one(MODE, 2))
    clock.advance(60)
    assert register(wire, MODE) == 2
    assert len(plant.writes) == 3


def test_other_master_acts_at_its_own_second_even_if_nobody_looked(plant, wire, clock):
    command(wire, 1)
    clock.advance(10)
    before = plant.memory.stored_wh
    plant.fault("other_master", after_s=100, address=MODE, value=4)
    clock.advance(3700)
    register(wire, MODE)
    assert plant.memory.stored_wh - before == pytest.approx(8060 - 4030 - 630, rel=0.2)


def test_backup_reset_meets_every_switch_of_remote_ems(plant, wire):
    wire.ask(write_one(BACKUP, 300))
    plant.fault("backup_reset")
    wire.ask(write_one(REMOTE, 1))
    assert register(wire, BACKUP) == 0
    wire.ask(write_one(BACKUP, 300))
    wire.ask(write_one(MODE, 4))
    assert register(wire, BACKUP) == 300
    wire.ask(write_one(REMOTE, 0))
    assert register(wire, BACKUP) == 0


def test_restart_ends_connections_and_keeps_the_registers(plant, wire, clock):
    command(wire, 4)
    wire.ask(write_two(CHARGE, 2000))
    clock.advance(10)
    plant.fault("restart", down_s=30)
    with pytest.raises(OSError):
        Wire(plant.port)
    clock.advance(29)
    assert plant.state.battery_w == 0
    clock.advance(6)
    with reconnected(plant) as again:
        assert (register(again, REMOTE), register(again, MODE), register(again, 30003)) == (1, 4, 7)
        assert words(again.ask(read_pdu(CHARGE, 2))) == [0, 2000]
        assert power(again, 30037) == 2000
