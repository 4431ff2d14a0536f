"""A strict device's pause is kept by the wire, whoever asks."""

from __future__ import annotations

from bridge.clock import Clock
from bridge.link.modbus import BuiltinLink
from bridge.link.modbus_pymodbus import PymodbusLink
from bridge.link.modbus_tcp import TcpWire
from bridge.link.spacing import spaced
from bridge.sim.plant import PlantSim


def test_requests_of_both_engines_keep_the_pause(clock):
    with PlantSim(clock, scenario="s3", min_gap_ms=1000) as plant:
        real = Clock()
        for engine in (BuiltinLink, lambda wire: PymodbusLink(wire, None, 0.3)):
            link = engine(spaced(TcpWire("127.0.0.1", plant.port, 0.3, real.monotonic), 1.0, clock))
            before = clock.monotonic()
            for _ in range(3):
                assert link.read("input", 30005, 2, 247) == [0, 0x215C]
            assert clock.monotonic() - before >= 2.0
            assert link.wire.stats.requests == 3 and link.wire.protocol == "modbus-tcp"
            link.close()
            clock.advance(1)
        assert plant.counters.gaps_violated == 0


def test_a_time_that_has_passed_anyway_is_not_waited_for_again(clock):
    with PlantSim(Clock(), scenario="s3") as plant:
        link = BuiltinLink(spaced(TcpWire("127.0.0.1", plant.port, 0.3, Clock().monotonic), 1.0, clock))
        link.read("input", 30005, 2, 247)
        clock.advance(0.75)
        before = clock.monotonic()
        link.read("input", 30005, 2, 247)
        assert clock.monotonic() - before == 0.25
        link.close()


def test_without_a_pause_the_wire_is_the_wire(clock):
    wire = TcpWire("127.0.0.1", 1, 0.3, clock.monotonic)
    assert spaced(wire, 0.0, clock) is wire


def test_a_strict_device_gets_its_pause_also_while_the_program_ends(clock):
    """What ends a battery command is some twenty requests after the signal that stopped the clock."""
    clock.stop()
    with PlantSim(clock, scenario="s3", min_gap_ms=1000) as plant:
        link = BuiltinLink(spaced(TcpWire("127.0.0.1", plant.port, 0.3, Clock().monotonic), 1.0, clock))
        for _ in range(3):
            assert link.read("input", 30005, 2, 247) == [0, 0x215C]
        assert plant.counters.gaps_violated == 0
        link.close()
