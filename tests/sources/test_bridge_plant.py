"""What the running bridge tells becomes a plant of the right age, or none."""

from __future__ import annotations

import pytest

from bridge.faultlog import FaultLog
from bridge.link.httpd import HttpServer, json_answer
from bridge.sources.bridge_plant import BridgePlant, plant_from, three_from

GOOD = {"schema": 1, "valid": True, "age_s": 1.5, "source": "modbus-tcp", "load_w": 1200, "grid_import_w": -300,
        "battery_charge_w": None, "soc_pct": 81.5}


def test_a_snapshot_is_as_old_as_it_says():
    plant = plant_from(GOOD, 1000.0)
    assert plant.mono == 998.5 and not plant.remote
    assert (plant.load_w, plant.grid_w, plant.battery_w, plant.soc_pct) == (1200.0, -300.0, None, 81.5)


@pytest.mark.parametrize("source", ["cloud", "cloud-openapi", "mqtt"])
def test_what_comes_from_the_cloud_is_told_as_such(source):
    assert plant_from({**GOOD, "source": source}, 1000.0).remote


@pytest.mark.parametrize("change", [{"valid": False}, {"valid": None}, {"age_s": None}])
def test_what_the_bridge_does_not_believe_is_no_plant(change):
    assert plant_from({**GOOD, **change}, 1000.0) is None


def test_a_bridge_that_falls_silent_leaves_its_last_plant_to_grow_old(clock):
    answers = {"/v1/snapshot": lambda request: json_answer(GOOD)}
    server = HttpServer("127.0.0.1:0", answers)
    server.start()
    source = BridgePlant("%s:%d" % server.address, "", clock, FaultLog(clock, "plant"))
    first = source.read()
    server.close()
    clock.advance(30)
    assert source.read() == first and "sigen-bridge run" in source.error


def test_a_token_is_shown_and_a_wrong_one_is_said(clock):
    server = HttpServer("127.0.0.1:0", {"/v1/snapshot": lambda request: json_answer({}, 401)})
    server.start()
    source = BridgePlant("%s:%d" % server.address, "x", clock, FaultLog(clock, "plant"))
    assert source.read() is None and "token" in source.error
    server.close()


@pytest.mark.parametrize("told", [{}, {"house_w": [1, 2]}, {"house_w": [1, None, 3]}, {"house_w": None}])
def test_phases_are_three_numbers_or_none(told):
    assert three_from(told, "house") is None
    assert three_from({"house_w": [1, 2, 3.5]}, "house") == (1.0, 2.0, 3.5)
