"""``sim plant`` as another program meets it: options, faults, and the page that tells of them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bridge import cli
from bridge.config import take_flags
from bridge.sim.home import HOUSE
from bridge.sim.plant import PlantSim
from tests.ports import free_port
from tests.sim.plant_wire import Wire, read_pdu, s32, words, write_one

PAGE = (Path(__file__).parent.parent.parent / "docs" / "simulator.md").read_text("utf-8")


@pytest.fixture
def started(bridge):
    """Return a function that starts ``sim plant`` and gives a wire to it."""
    wires = []

    def start(*argv):
        port = free_port()
        process = bridge.start("sim", "plant", "--port", str(port), *argv)
        assert process.stdout.readline() == f"simulated plant on 127.0.0.1:{port}; Ctrl-C ends it\n"
        wires.append(Wire(port))
        return wires[-1]

    yield start
    for wire in wires:
        wire.socket.close()


def test_plant_starts_with_the_mode_and_charge_it_is_told(started):
    wire = started("--scenario", "steady", "--native-mode", "9", "--soc", "30")
    assert words(wire.ask(read_pdu(30003, 1))) == [9]
    assert words(wire.ask(read_pdu(30014, 1)))[0] in (300, 301)
    wire.ask(write_one(40029, 1))
    wire.ask(write_one(40029, 0))
    assert words(wire.ask(read_pdu(30003, 1))) == [0]


def test_plant_ignores_writes_when_told_so(started):
    wire = started("--scenario", "steady", "--fault", "ack_ignored,keep=old", "--fault", "off_grid,kind=2")
    assert wire.ask(write_one(40029, 1)) == write_one(40029, 1)
    assert words(wire.ask(read_pdu(40029, 1))) == [0]
    assert words(wire.ask(read_pdu(30009, 1))) == [2]


@pytest.mark.parametrize(("argv", "said"), [
    (("--native-mode", "7"), "Sigen AI"), (("--soc", "140"), "0 to 100"),
    (("--fault", "ack_ignored,keep=both"), "new or old"), (("--fault", "other_master,address=30005,value=1"), "30005"),
])
def test_plant_that_cannot_be_is_refused_in_one_line(bridge, argv, said):
    done = bridge("sim", "plant", "--port", str(free_port()), *argv)
    assert done.returncode == 2
    assert said in done.stderr and len(done.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize("line", [
    line for block in re.findall(r"```sh\n(.*?)```", PAGE, re.S) for line in block.strip().splitlines()
])
def test_command_lines_of_the_page_can_be_run(line, clock, tmp_path):
    from bridge import wiring_sim as sim
    from bridge.commands.sim import _fault
    from bridge.config import Settings

    _, _, rest = take_flags(line.split()[1:])
    parser = cli._Parser(prog="x")
    cli.command(rest[0]).arguments(parser)
    args = parser.parse_args(rest[1:])
    plant = sim.plant_sim(args, Settings({}), clock)
    for word in args.fault:
        name, params = _fault(word)
        plant.fault(name, **params)


@pytest.mark.parametrize(("mode", "flow"), [
    (int(mode), tuple(map(int, flow)))
    for mode, *flow in re.findall(r"^\| (\d) [^|]+\| (-?\d+) \| (-?\d+) \| (-?\d+) \|$", PAGE, re.M)
])
def test_numbers_of_the_page_are_those_of_the_plant(clock, mode, flow):
    with PlantSim(clock, scenario="steady") as plant, Wire(plant.port) as wire:
        wire.ask(write_one(40029, 1))
        wire.ask(write_one(40031, mode))
        clock.advance(5)
        assert tuple(s32(wire.ask(read_pdu(at, 2))) for at in (30035, 30037, 30005)) == flow
    assert f"rated {HOUSE.charge_w} W in, {HOUSE.discharge_w} W out" in PAGE
