"""The mode that a battery command took away is set again through the app, or the owner is told."""

from __future__ import annotations

import pytest

from bridge.clock import Clock
from bridge.config import Origin, Settings
from bridge.control.battery import Command
from bridge.control.battery_text import last_lines
from bridge.sim.plant import PlantSim
from bridge.sim.sigen_cloud import SigenCloudSim
from bridge.wiring_battery import give_back, own_link
from bridge.wiring_control import ControlDoor, desk
from bridge.wiring_mode_back import ModeBack
from tests.commands.app_desk import STATION
from tests.commands.cloud_desk import PASSWORD, USER
from tests.control.battery_bench import UNIT, Bench

HOME = "ABCDE1700000001"


@pytest.fixture
def sim(clock):
    with SigenCloudSim(clock) as simulator:
        yield simulator


def settings(sim, path, **more):
    told = {"cloud.app_base_url": sim.base_url, "cloud.region": "eu", "cloud.username": USER, "cloud.password": PASSWORD,
            "cloud.station_id": str(STATION), "run.state_dir": str(path), "control.enabled": "yes", **more}
    return Settings({key: Origin(value, "test") for key, value in told.items()})


def ended(tmp_path, sim, native, **more):
    """Play one command on a plant in ``native`` mode; return the desk once the app was asked."""
    bench = Bench(tmp_path, native_mode=native)
    told = settings(sim, tmp_path, **more)
    bench.desk = desk(told, bench.clock)
    asked = []
    bench.desk.keeper.on_mode_lost = lambda mode: asked.append(ModeBack(told, bench.clock, bench.desk.keeper.book).run(mode))
    bench.desk.keeper.begin(bench.link, UNIT, Command("charge", 20.0, 2000.0), "test")
    bench.run(25)
    return bench.desk, asked


def test_sigen_ai_is_set_again(tmp_path, sim):
    sim.world.stations[HOME].mode = 0
    counter, asked = ended(tmp_path, sim, 1)
    assert asked == [True] and sim.world.stations[HOME].mode == 1
    last = counter.report()["last"]
    assert last["by_hand"] == [] and "set again" in last["mode"]


def test_which_of_several_profiles_it_was_is_not_guessed(tmp_path, sim):
    counter, asked = ended(tmp_path, sim, 9)
    assert asked == [False] and sim.world.stations[HOME].mode == 0
    assert "custom (9)" in counter.report()["last"]["by_hand"][0]
    assert "Night charge" in counter.keeper.book.journal.entries()[-1]["text"]


def test_a_cloud_that_fails_leaves_the_task_with_the_owner(tmp_path, sim):
    sim.fail("*", "status", 0, status=500)
    counter, asked = ended(tmp_path, sim, 1)
    assert asked == [False] and counter.report()["last"]["by_hand"]


def test_a_plant_that_was_in_self_consumption_needs_nobody(tmp_path, sim):
    _, asked = ended(tmp_path, sim, 0)
    assert asked == [] and not sim.log


def test_a_command_that_began_meanwhile_is_not_disturbed(tmp_path, sim):
    """Entries of a schedule follow one another: the mode of the first must not end the second."""
    sim.world.stations[HOME].mode = 0
    bench = Bench(tmp_path)
    told = settings(sim, tmp_path)
    bench.desk = desk(told, bench.clock)
    bench.desk.keeper.begin(bench.link, UNIT, Command("charge", 20.0, 2000.0), "test")
    assert not ModeBack(told, bench.clock, bench.desk.keeper.book).run(1)
    assert sim.world.stations[HOME].mode == 0


class Where:
    """A loop that only knows the link."""

    def __init__(self, where):
        self.where = lambda: where


@pytest.mark.parametrize("end", ["watchdog", "stop of the service"])
def test_a_process_that_ends_waits_for_the_app(tmp_path, end):
    """The thread that asks would die with it, and the plant would stay in the other mode."""
    clock = Clock()
    with SigenCloudSim(clock) as sim, PlantSim(clock, soc_pct=50.0, native_mode=1) as plant:
        sim.world.stations[HOME].mode = 0
        told = settings(sim, tmp_path, **{"modbus.host": "127.0.0.1", "modbus.port": str(plant.port)})
        counter, where = desk(told, clock), own_link(told, clock)
        counter.keeper.begin(*where, Command("charge", 600.0, 2000.0), "test")
        if end == "watchdog":
            counter.keeper.book._lock.release()  # as the kernel does when the process dies
            where[0].close()
            last = give_back(told, clock)["last"]
        else:
            clock.stop()
            ControlDoor(counter, Where(where)).close()
            last = counter.report()["last"]
            where[0].close()
        assert sim.world.stations[HOME].mode == 1
        assert last["by_hand"] == [] and "set again" in last_lines(last)[1]
