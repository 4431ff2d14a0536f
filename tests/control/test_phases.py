"""Phases that cannot be true are named; those that can are left in peace."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bridge.control.phases import judge
from bridge.registers import decode, sigenergy, vendor_from
from bridge.sources.dump import Sample
from bridge.sources.phases import PhasesSeen, phases_from, rows_for
from tests.conftest import FIXTURES

CASES = json.loads((Path(__file__).parent.parent / "cases" / "phases.json").read_text("utf-8"))
NONE = (None, None, None)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_a_case_is_judged_as_it_should_be(case):
    found = judge(case["grid"], case["grid_w"], case.get("inverter", NONE), case.get("inverter_w"),
                  case.get("meter"), case.get("errors", ()))
    assert [each.code for each in found] == case["codes"]
    if "phase" in case:
        assert found[0].phase == case["phase"]
    if "says" in case:
        assert case["says"] in found[0].what


def test_the_phases_of_a_real_plant_agree_within_the_tolerance():
    """Only this capture tells phases at all; theirs miss the total by some watts."""
    plant = vendor_from(sigenergy)
    words = captured(json.loads((FIXTURES / "real-2.json").read_text("utf-8")))
    samples = []
    for row in rows_for(plant, False):
        own = [words.get(row.address + index) for index in range(row.count)]
        error = "" if None not in own else "not captured"
        samples.append(Sample(row, 247, own, None if error else decode(row, own), error))
    seen = phases_from(samples)
    assert None not in seen.inverter and seen.inverter_w is not None and seen.grid == NONE
    assert 0 < abs(sum(seen.inverter) - seen.inverter_w) <= 19
    assert judge(seen.grid, seen.grid_w, seen.inverter, seen.inverter_w) == ()


def captured(told):
    """Return word by address out of a capture's reads of input registers."""
    return {block["address"] + index: word for block in told["blocks"] if block["space"] == "input"
            for index, word in enumerate(block["words"])}


def test_the_house_is_what_grid_and_inverter_give_and_unknown_where_one_is():
    assert PhasesSeen((100, -50, None), (10, 60, 5)).house == (110, 10, None)
