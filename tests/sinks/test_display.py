"""The edge table: signs, digits and the words that are not numbers."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.model import Reading
from bridge.sinks.display import DISPLAY, display_values

ANY = st.one_of(st.none(), st.floats(allow_nan=True, allow_infinity=True), st.integers(-10**9, 10**9))


def reading(**values):
    return Reading(at=1.0, mono=1.0, source="test", **values)


def test_the_s3_vector_is_shown_with_export_positive():
    shown = display_values(reading(pv_w=2800, soc_pct=15.0, battery_w=0, grid_w=8540, load_w=11340), 200)
    assert shown == {200: 2800, 201: 15.0, 202: 0, 203: -8540, 204: 11340}


def test_export_is_positive_and_charging_is_positive():
    shown = display_values(reading(grid_w=-1100.4, battery_w=43.6), 210)
    assert shown[213] == 1100 and shown[212] == 44


def test_unknown_stays_unknown():
    assert set(display_values(reading(), 200).values()) == {None}


@pytest.mark.parametrize("poison", [float("nan"), float("inf"), -float("inf")])
def test_what_is_not_a_number_is_unknown(poison):
    assert display_values(reading(pv_w=poison, grid_w=poison), 200)[200] is None


def test_small_negative_sun_and_load_are_nothing_and_never_minus_zero():
    shown = display_values(reading(pv_w=-3.0, load_w=-0.2, battery_w=-0.2, grid_w=0.2, soc_pct=-0.01), 200)
    assert list(shown.values()) == [0, 0, 0, 0, 0]
    assert "-" not in json.dumps(list(shown.values()))


@given(ANY, ANY, ANY, ANY, ANY)
def test_every_value_can_stand_in_json_and_is_rounded(pv, soc, battery, grid, load):
    shown = display_values(reading(pv_w=pv, soc_pct=soc, battery_w=battery, grid_w=grid, load_w=load), 200)
    for row in DISPLAY:
        value = shown[200 + row.offset]
        if value is None:
            continue
        assert json.dumps(value, allow_nan=False) not in ("-0", "-0.0")
        if row.lo == 0:
            assert value >= 0
        if row.digits == 0:
            assert isinstance(value, int)


@given(st.floats(0, 100))
def test_a_state_of_charge_has_the_nearest_tenth(soc):
    shown = display_values(reading(soc_pct=soc), 200)[201]
    assert abs(shown - soc) <= 0.0500001 and shown == round(shown, 1)


def test_the_table_is_the_one_of_the_source_document():
    units = [(row.offset, row.name, row.unit, row.lo, row.sign) for row in DISPLAY]
    assert units == [
        (0, "PV", "W", 0, 1), (1, "SOC", "%", 0, 1), (2, "Battery", "W", -100_000, 1),
        (3, "Grid", "W", -100_000, -1), (4, "Load", "W", 0, 1),
    ]
    assert all(row.icon is None or row.icon.startswith("https://") for row in DISPLAY)
