"""One register read tells a plant that may be read from one that may not."""

from __future__ import annotations

import socket

import pytest

from bridge.clock import Clock
from bridge.link.modbus import BuiltinLink
from bridge.link.modbus_tcp import TcpWire
from bridge.registers import sigenergy, vendor_from
from bridge.sim.plant import PlantSim
from bridge.sources.confirm import AWAY, NO_PLANT, REACHABLE, REFUSED, SILENT, STRANGE, Verdict, confirm

VENDOR = vendor_from(sigenergy)
TIMEOUT_S = 0.2


def link(port, host="127.0.0.1"):
    return BuiltinLink(TcpWire(host, port, TIMEOUT_S, Clock().monotonic))


@pytest.fixture
def plant():
    with PlantSim(Clock(), scenario="s3") as simulator:
        yield simulator


def test_a_plant_that_answers_gives_its_grid_power_in_one_request(plant):
    one = link(plant.port)
    assert confirm(one, VENDOR, 247) == Verdict(REACHABLE, 8540.0, "")
    assert one.wire.stats.requests == 1


def test_a_plant_that_connects_and_stays_silent_does_not_know_us(plant):
    plant.fault("silent")
    assert confirm(link(plant.port), VENDOR, 247).state == SILENT


def test_a_plant_that_refuses_has_modbus_switched_off(plant):
    plant.fault("refuse")
    verdict = confirm(link(plant.port), VENDOR, 247)
    assert verdict.state == REFUSED
    assert "connection refused" in verdict.error


def test_a_device_number_is_no_plant(plant):
    assert confirm(link(plant.port), VENDOR, 1).state == NO_PLANT


def test_who_hangs_up_is_no_plant_that_can_be_used(plant):
    plant.fault("close")
    assert confirm(link(plant.port), VENDOR, 247).state == STRANGE


def test_an_address_where_nobody_is_gives_no_connection(mocker):
    mocker.patch("socket.create_connection", side_effect=socket.timeout("timed out"))
    assert confirm(link(502), VENDOR, 247).state == AWAY
