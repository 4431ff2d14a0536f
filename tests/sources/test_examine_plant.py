"""Knocking at simulated plants: what was seen, and that nothing was written."""

from __future__ import annotations

import pytest

from bridge.clock import Clock, ManualClock
from bridge.registers import sigenergy, vendor_from
from bridge.sim.plant import PlantSim
from bridge.sources import examine_plant
from bridge.sources.examine_plant import Asked, PacedLink, PlantExam

VENDOR = vendor_from(sigenergy)


@pytest.fixture(autouse=True)
def little_patience(monkeypatch):
    monkeypatch.setattr(examine_plant, "PATIENCE_S", 0.5)


def exam(plant, clock, unit=247, timeout_s=0.15, until_s=60.0, **more):
    asked = Asked("127.0.0.1", plant.port, unit, timeout_s, None, 0, plant.port, {"127.0.0.1": "AA"})
    return PlantExam(asked._replace(**more), VENDOR, clock, clock.monotonic() + until_s)


def test_a_healthy_plant_is_asked_twice(clock):
    with PlantSim(clock, scenario="s3") as plant:
        seen = exam(plant, clock).knock()
        assert (seen.outcome, seen.answer, seen.own_address, seen.mac) == ("answers", "ok", "127.0.0.1", "AA")
        assert [(each.function, each.address, each.count) for each in plant.log] == [(4, 30005, 2)] * 2
        assert plant.counters.writes == 0


def test_one_lost_answer_is_asked_again_and_only_counted(clock):
    with PlantSim(clock) as plant:
        plant.fault("silent", count=1)
        seen = exam(plant, clock).knock()
    assert (seen.outcome, seen.answer, seen.failures, seen.slow_s) == ("answers", "ok", 1, None)


def test_never_two_connections_at_once():
    clock = Clock()  # the plant sees the first connection go in time of its own
    with PlantSim(clock) as plant:
        plant.fault("connection_limit", n=1)
        assert exam(plant, clock).knock().answer == "ok"


def test_a_silent_plant_is_asked_for_by_its_likely_units(clock):
    with PlantSim(clock) as plant:
        seen = exam(plant, clock, unit=7).knock()
    assert (seen.outcome, seen.other_unit) == ("silent", 247)


def test_a_plant_that_wants_pauses_is_told_from_a_flaky_one(clock):
    with PlantSim(clock, min_gap_ms=1000) as plant:
        seeing = exam(plant, clock)
        seen = seeing.knock()
        assert (seen.answer, seen.needs_gap) == ("ok", True)
        assert isinstance(seeing.link, PacedLink)
        before = plant.counters.gaps_violated
        seeing.link.read("input", 30005, 2, 247)
        seeing.link.read("input", 30005, 2, 247)
        assert plant.counters.gaps_violated == before
        seeing.link.close()


def test_the_other_function_is_tried_only_when_the_function_was_refused(clock):
    with PlantSim(clock, strict_function=True) as plant:
        seen = exam(plant, clock, function_code=3).knock()
        assert (seen.answer, seen.exception, seen.other_function) == ("exception", 1, 4)
        plant.fault("exception", code=4)
        del seen
        assert exam(plant, clock).knock().other_function is None


def test_the_usual_port_is_looked_at_when_another_is_closed(clock):
    with PlantSim(clock) as plant, PlantSim(clock) as closed:
        closed.fault("refuse")
        seen = exam(closed, clock, usual_port=plant.port).knock()
    assert (seen.outcome, seen.usual_port) == ("refused", plant.port)


def test_no_further_question_once_the_time_is_up(clock):
    with PlantSim(clock) as plant:
        plant.fault("silent")
        exam(plant, clock, until_s=-1.0).knock()
        assert len(plant.log) == 2


def test_a_paced_link_waits_before_every_question():
    clock = ManualClock()

    class Link:
        wire = None
        asked = []

        def read(self, *_):
            self.asked.append(clock.monotonic())
            return []

    paced = PacedLink(Link(), clock, 1.05)
    paced.read("input", 30005, 2, 247)
    paced.read("input", 30005, 2, 247)
    assert [round(at - 1000.0, 2) for at in Link.asked] == [1.05, 2.1]
