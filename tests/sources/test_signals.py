"""From values by role to a Reading."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.registers import decode, sigenergy, vendor_from
from bridge.sources.signals import Moment, reading_from

VENDOR = vendor_from(sigenergy)
MOMENT = Moment(1_795_224_659.0, 10.0, "modbus-tcp")
FIXTURES = Path(__file__).parent.parent / "fixtures"
S3 = {"grid_w": 8540, "soc_pct": 15.0, "pv_w": 2800, "battery_w": 0, "load_w": 11340, "ac_power_w": 2800,
      "third_party_pv_w": 0, "grid_sensor": 1}


def captured(name):
    """Return the roles of a capture from a real plant."""
    words = {}
    for block in json.loads((FIXTURES / name).read_text())["blocks"]:
        if block.get("unit", 247) == 247:
            words.update({block["address"] + i: word for i, word in enumerate(block["words"])})
    values = {}
    for role in VENDOR.roles:
        row = VENDOR.role(role)
        if all(address in words for address in range(row.address, row.end)):
            values[role] = decode(row, [words[address] for address in range(row.address, row.end)])
    return values


def test_the_measured_house_is_importing_and_balances():
    reading = reading_from(S3, MOMENT)
    assert (reading.pv_w, reading.soc_pct, reading.battery_w, reading.grid_w, reading.load_w) == (2800, 15.0, 0, 8540, 11340)
    assert reading.balance_w == 0 and not reading.load_derived


def test_third_party_sun_is_added():
    reading = reading_from({**S3, "pv_w": 0, "third_party_pv_w": 4200, "ac_power_w": -1400}, MOMENT)
    assert reading.pv_w == 4200 and reading.balance_w == 0


def test_night_offset_of_the_sun_is_zero():
    assert reading_from({**S3, "pv_w": -12}, MOMENT).pv_w == 0


def test_unknown_stays_unknown():
    reading = reading_from({}, MOMENT)
    assert reading[3:8] == (None,) * 5
    assert reading_from({**S3, "soc_pct": None}, MOMENT).soc_pct is None


@pytest.mark.parametrize("without", [{"grid_sensor": 0}, {"plant_alarm": 1}, {"plant_alarm": 2}])
def test_without_a_meter_grid_and_load_are_unknown(without):
    reading = reading_from({**S3, **without}, MOMENT)
    assert reading.grid_w is None and reading.load_w is None and reading.balance_w is None
    assert reading.pv_w == 2800


def test_old_firmware_derives_the_load_from_the_ac_side():
    values = {**S3, "ac_power_w": 2700}
    del values["load_w"]
    reading = reading_from(values, MOMENT)
    assert reading.load_w == 11240 and reading.load_derived and reading.balance_w is None


def test_without_inverter_power_the_dc_side_must_do():
    values = {key: S3[key] for key in ("grid_w", "soc_pct", "pv_w", "battery_w")}
    assert reading_from(values, MOMENT).load_w == 11340


def test_a_slightly_negative_derived_load_is_zero_and_a_clearly_negative_one_unknown():
    base = {"grid_w": -417, "pv_w": 0, "battery_w": -341}
    assert reading_from(base, MOMENT).load_w == 0
    assert reading_from({**base, "grid_w": -4250}, MOMENT).load_w is None


def test_a_plant_with_a_car_discharging_shows_the_house_and_not_minus_42_w():
    reading = reading_from(captured("real-2.json"), MOMENT)
    assert (reading.soc_pct, reading.grid_w, reading.battery_w, reading.pv_w) == (73.3, 1, 43, 0)
    assert reading.load_w == 1621 and reading.load_derived


def test_the_ac_coupled_capture_gives_no_negative_house():
    assert reading_from(captured("real-4.json"), MOMENT).load_w == 0


WATTS = st.none() | st.integers(-60_000, 60_000)


@given(st.fixed_dictionaries({}, optional={
    "grid_w": WATTS, "pv_w": WATTS, "battery_w": WATTS, "load_w": WATTS, "ac_power_w": WATTS, "third_party_pv_w": WATTS,
    "grid_sensor": st.sampled_from([None, 0, 1]), "soc_pct": st.none() | st.floats(0, 100)}))
def test_no_input_makes_a_negative_sun_or_house_or_crashes(values):
    reading = reading_from(values, MOMENT)
    assert reading.pv_w is None or reading.pv_w >= 0
    assert reading.load_w is None or reading.load_w >= 0
    assert values.get("grid_w") is not None or reading.grid_w is None
    if reading.load_derived:
        assert reading.balance_w is None
