"""The verb ``loads`` as a user runs it: scenarios, plan, status, and processes that are killed."""

from __future__ import annotations

import json
import signal

import pytest

from bridge.clock import Clock
from bridge.sim.home import HomeState
from bridge.sim.plant import PlantSim
from bridge.sim.plant_scenarios import StillHome
from bridge.sim.shelly import ShellySim
from tests.commands.conftest import one_line, until
from tests.ports import free_port

FAST = """
[rules]
relay_poll = 0.2s
dead_man = 2s
settle = 0s
stale_after = 4s
lost_after = 5s
manual_hold = 1s
timezone = UTC
"""


class House:
    """A plant, two Shellys, and the commands that bring a bridge and the coordination to life."""

    def __init__(self, bridge, tmp_path, plant, shellys, rules=FAST, load_text="windows = 00:00-24:00"):
        self.bridge, self.plant = bridge, plant
        self.file = tmp_path / "loads.ini"
        sections = [rules]
        for number, shelly in enumerate(shellys):
            sections.append(f"[load {number}]\ndevice = {shelly.address}\npower_w = 1000\npriority = {number + 1}\n"
                            f"min_on = 0s\nmin_off = 0s\n{load_text}\n")
        self.file.write_text("\n".join(sections))
        self.status, self.listen = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
        self.common = ["--loads-file", str(self.file), "--status-listen", self.status, "--loads-listen", self.listen,
                       "--run-state-dir", str(tmp_path / "state")]

    def run_bridge(self):
        return self.bridge.start("run", "--host", f"127.0.0.1:{self.plant.port}", *self.common)

    def run_loads(self, *words):
        return self.bridge.start("loads", "run", *words, *self.common)

    def report(self):
        done = self.bridge("loads", "status", "--json", *self.common)
        return json.loads(done.stdout) if done.returncode == 0 else None


@pytest.fixture
def night():
    with PlantSim(Clock(), scenario="night") as simulator:
        yield simulator


@pytest.fixture
def shellys():
    with ShellySim(Clock()) as one, ShellySim(Clock(), mac="AABBCCDDEE00", firmware="2.0.1") as other:
        yield one, other


def relay(shelly):
    return shelly.device.relays.relays[0]


def both_on(shellys):
    return all(relay(shelly).on for shelly in shellys)


@pytest.mark.timing
@pytest.mark.parametrize("victim", ["loads", "bridge"])
def test_after_kill_9_every_load_falls_off_by_its_own_timer(bridge, tmp_path, night, shellys, victim):
    house = House(bridge, tmp_path, night, shellys)
    processes = {"bridge": house.run_bridge(), "loads": house.run_loads()}
    assert until(lambda: both_on(shellys), 20)
    Clock().wait(2.5)
    assert both_on(shellys), "they are renewed beyond their timer"
    processes[victim].send_signal(signal.SIGKILL)
    assert until(lambda: not any(relay(shelly).on for shelly in shellys), 25)
    assert [relay(shelly).source for shelly in shellys] == ["timer", "timer"]


@pytest.mark.timing
def test_a_rival_that_keeps_flipping_is_given_up_after_three_flips_and_reported(bridge, tmp_path, night, shellys):
    rival, peaceful = shellys
    rival.fault("relay_reverted", after_s=0.3)
    house = House(bridge, tmp_path, night, shellys)
    house.run_bridge()
    loads = house.run_loads()
    assert until(lambda: len(flips(rival)) >= 3, 30)
    Clock().wait(2.5)
    assert len(flips(rival)) == 3, "three rounds and no fourth"
    rows = {row["load"]: row for row in house.report()["loads"]}
    assert rows["load 0"]["given_up"] and "left to them" in rows["load 0"]["reason"]
    assert relay(peaceful).on and not rows["load 1"]["given_up"]
    _, _, log = bridge.stop(loads)
    assert sum("rule=given_up" in line for line in log.splitlines()) == 1


def flips(shelly):
    """Return the times somebody else undid what we had switched on."""
    return [written for written in shelly.history if written.source == "SHC"]


@pytest.mark.timing
def test_a_restart_goes_on_where_it_was(bridge, tmp_path, night, shellys):
    house = House(bridge, tmp_path, night, shellys, FAST.replace("dead_man = 2s", "dead_man = 20s"))
    house.run_bridge()
    first = house.run_loads()
    assert until(lambda: both_on(shellys), 20)
    assert bridge.stop(first)[0] == 0
    moved = [written.value for written in shellys[0].history]
    house.run_loads()
    assert until(lambda: all(row["ours"] and row["on"] for row in (house.report() or {"loads": [{"ours": 0}]})["loads"]), 20)
    assert {written.value for written in shellys[0].history} == set(moved) == {True}


class LivingHome:
    """A house that draws what its relays let through: base load and two heaters of 3 kW."""

    def __init__(self):
        self.base_w, self.shellys = 500, ()

    @property
    def load_w(self):
        return self.base_w + 3000 * sum(relay(shelly).on for shelly in self.shellys)

    def at(self, seconds):
        drawn = self.load_w
        return HomeState(0, 0, 0, 500, 0, 0, 0, drawn, drawn)

    def energy(self, seconds):
        return StillHome(self.at(0)).energy(seconds)


@pytest.mark.timing
def test_the_oven_of_a_living_house_brings_it_back_below_ten_kilowatts_within_three_seconds(
        bridge, tmp_path, shellys, monkeypatch):
    """The whole chain: plant, Modbus, bridge, HTTP, decision, Shelly, and the plant's next second."""
    home = LivingHome()
    home.shellys = shellys
    monkeypatch.setattr("bridge.sim.plant.home_for", lambda scenario, seed, house: home)
    with PlantSim(Clock()) as plant:
        house = House(bridge, tmp_path, plant, shellys, FAST + "limit_w = 10000\n")
        house.file.write_text(house.file.read_text().replace("power_w = 1000", "power_w = 3000"))
        house.run_bridge()
        house.run_loads()
        assert until(lambda: both_on(shellys), 25)
        Clock().wait(2)
        clock, home.base_w = Clock(), 4500
        begun = clock.monotonic()
        assert until(lambda: home.load_w <= 10_000, 10)
        took_s = clock.monotonic() - begun
        assert took_s <= 3.0
        clock.wait(1.5)
        assert [relay(shelly).on for shelly in shellys] == [True, False], "one was enough, the less important one"


def test_plan_says_what_and_why_and_writes_nothing(bridge, tmp_path, night, shellys):
    house = House(bridge, tmp_path, night, shellys)
    house.run_bridge()
    assert until(lambda: bridge("status", *house.common).returncode == 0, 20)
    done = bridge("loads", "plan", "--json", *house.common)
    told = json.loads(done.stdout)
    assert done.returncode == 0 and told["dry_run"] and told["data"] == "local"
    assert [(row["load"], row["want"], row["act"], row["rule"]) for row in told["loads"]] == [
        ("load 0", "on", True, "window"), ("load 1", "off", False, "window")]
    text = bridge("loads", "plan", *house.common).stdout
    assert "window 00:00-24:00 is open" in text
    for shelly in shellys:
        assert shelly.counters.rpc["Switch.Set"] == 0 and not relay(shelly).on
    assert not (tmp_path / "state" / "loads.json").exists()


def test_a_dry_run_moves_nothing_and_logs_what_it_would(bridge, tmp_path, night, shellys):
    house = House(bridge, tmp_path, night, shellys)
    house.run_bridge()
    assert until(lambda: bridge("status", *house.common).returncode == 0, 20)
    loads = house.run_loads("--dry-run", "--cycles", "4")
    _, log = loads.communicate(timeout=30)
    assert "would switch" in log and loads.returncode == 0
    assert all(shelly.counters.rpc["Switch.Set"] == 0 for shelly in shellys)


def test_plan_without_a_bridge_is_one_story_and_exit_3(bridge, tmp_path, night, shellys):
    house = House(bridge, tmp_path, night, shellys)
    done = bridge("loads", "plan", *house.common)
    assert done.returncode == 3 and "is 'sigen-bridge run' running?" in done.stdout
    assert "nothing is switched on while the plant's data are old" in done.stdout


def test_status_without_a_running_process(bridge, tmp_path):
    done = bridge("loads", "status", "--loads-listen", f"127.0.0.1:{free_port()}")
    assert done.returncode == 3 and "loads run" in one_line(done.stderr)


def test_simulate_prints_each_decision_with_its_reason(bridge):
    done = bridge("loads", "simulate", "example")
    assert done.returncode == 0
    assert "SWITCH off   pause     oven is running" in done.stdout
    assert done.stdout.rstrip().endswith("as expected")
    assert set(bridge("loads", "simulate", "list").stdout.split()) >= {"example", "oven", "rival"}


def test_a_scenario_that_goes_otherwise_is_exit_8(bridge, tmp_path):
    file = tmp_path / "mine.json"
    file.write_text(json.dumps({
        "about": "a heater that nobody wants", "start": "2026-11-28T18:00:00", "for": "10s",
        "loads": ["[heater]", "device = 192.0.2.1", "power_w = 2000", "windows = 01:00-02:00"],
        "expect": [{"at": "5s", "load": "heater", "is": "on"}]}))
    done = bridge("loads", "simulate", str(file), "--json")
    told = json.loads(done.stdout)
    assert done.returncode == 8 and not told["ok"] and "expected on" in told["failures"][0]
    assert all(each["reason"] for step in told["steps"] for each in step["decisions"])


@pytest.mark.parametrize("words, text", [
    (("loads", "plan"), "loads.file"),
    (("loads", "plan", "--loads-file", "/nowhere/loads.ini"), "cannot be read"),
    (("loads", "simulate", "moon"), "there are"),
    (("loads", "run", "--cycles", "0"), "at least 1"),
    (("loads",), "required"),
])
def test_mistakes_are_one_line_with_exit_2(bridge, words, text):
    done = bridge(*words)
    assert done.returncode == 2 and text in one_line(done.stderr)


def test_phases_come_from_the_running_bridge_over_its_one_connection(bridge, tmp_path, night, shellys):
    rules = FAST + "phase_limit_w = 3000\n"
    house = House(bridge, tmp_path, night, shellys, rules, "windows = 00:00-24:00\nphase = 1")
    house.run_bridge()
    assert until(lambda: bridge("status", *house.common).returncode == 0, 20)
    told = json.loads(bridge("loads", "plan", "--json", *house.common).stdout)
    assert told["phases_w"] is not None and abs(sum(told["phases_w"]) - told["load_w"]) < 60
    assert night.counters.connections == 1
