"""Looking at a simulated plant's registers."""

from __future__ import annotations

import pytest

from bridge.link.modbus import BuiltinLink
from bridge.link.modbus_tcp import TcpWire
from bridge.registers import sigenergy, vendor_from
from bridge.registers.plan import TCP_COST
from bridge.sim.plant import PlantSim
from bridge.sources.examine_data import DataExam

VENDOR = vendor_from(sigenergy)


def exam(plant, clock, until_s=30.0, **more):
    link = BuiltinLink(TcpWire("127.0.0.1", plant.port, 0.2, clock.monotonic))
    return DataExam(link, VENDOR, 247, TCP_COST, clock, clock.monotonic() + until_s, **more)


@pytest.fixture
def plant(clock):
    with PlantSim(clock, scenario="s3") as simulator:
        yield simulator


def test_a_healthy_plant(plant, clock):
    seen = exam(plant, clock).examine()
    assert seen.protocol == "2.9" and seen.remote_ems == 0 and seen.alarms == () and seen.missing == ()
    assert seen.values["grid_w"] == 8540 and seen.values["load_w"] == 11340
    assert [look.kind for look in seen.looks] == [""] * len(seen.looks) and len(seen.looks) >= 4
    assert seen.failed == 0 and not seen.idle_closed
    assert {each.function for each in plant.log} <= {3, 4} and plant.counters.writes == 0


def test_a_glance_is_two_reads_of_input_registers(plant, clock):
    seen = exam(plant, clock).glance()
    assert len(seen.looks) == 1 and seen.protocol is None
    assert [each.function for each in plant.log] == [4, 4]


def test_what_an_old_level_never_had_is_not_missing(clock):
    with PlantSim(clock, level="2.6") as plant:
        seen = exam(plant, clock).examine()
    assert seen.protocol == "2.6" and seen.missing == ()
    assert "load_w" not in seen.values and seen.values["grid_w"] is not None


def test_what_a_level_should_have_and_has_not_is_missing(plant, clock):
    plant.fault("exception_on", address=30284, code=2)
    assert exam(plant, clock).examine().missing == ("30284 total_load_power",)


def test_alarms_are_words_and_the_meters_are_left_to_the_meter(plant, clock):
    plant.set(30027, 0b10)
    plant.set(30280, 0b1000010)
    seen = exam(plant, clock).examine()
    assert seen.alarms == ("insulation low (30027)", "feed-in hard limit tripped (30280)")
    assert seen.values["plant_alarm"] == 0b1000010


def test_remote_control_is_read_with_its_mode(plant, clock):
    plant.set(40029, 1)
    plant.set(40031, 4)
    seen = exam(plant, clock).examine()
    assert (seen.remote_ems, seen.control_mode) == (1, "charge, PV first")


def test_a_standing_clock_is_watched_until_it_counts(plant, clock):
    plant.fault("frozen")
    looks = exam(plant, clock).examine().looks
    assert looks[-1].mono - looks[0].mono >= 5.0
    assert len({look.clock for look in looks}) == 1


def test_a_moving_clock_is_not_waited_for(plant, clock):
    looks = exam(plant, clock).examine().looks
    assert looks[-1].mono - looks[0].mono < 5.0


def test_a_plant_that_falls_silent_is_counted_not_raised(plant, clock):
    plant.fault("silent")
    seen = exam(plant, clock).examine()
    assert (seen.asked, seen.failed, seen.looks) == (2, 2, ())


def test_lost_answers_in_between_are_counted(plant, clock):
    looking = exam(plant, clock)
    plant.fault("close", count=1)
    seen = looking.examine()
    assert seen.failed == 1 and seen.asked > 5


def test_the_time_that_is_up_ends_the_looking(plant, clock):
    seen = exam(plant, clock, until_s=-1.0).examine()
    assert len(seen.looks) == 1 and seen.protocol is None


def test_the_sign_that_the_settings_turn_is_turned_here_too(plant, clock):
    seen = exam(plant, clock, grid_sign=-1).examine()
    assert seen.values["grid_w"] == -8540 and seen.sign_set
    assert all(look.inverted for look in seen.looks)
