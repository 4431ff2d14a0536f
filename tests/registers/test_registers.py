"""Decoding and encoding registers, and the Sigenergy table itself."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.errors import ConfigError
from bridge.registers import Register, decode, encode, in_range, sigenergy, vendor_from
from bridge.registers.meaning import text

VENDOR = vendor_from(sigenergy)


def row(kind, count, gain=1, lo=None, hi=None):
    return Register("plant", 1, count, "input", kind, gain, "W", "rw", "1.7", lo, hi, "", "x", "")


@pytest.mark.parametrize("name, words, value", [
    ("grid_active_power", [0x0000, 0x215C], 8540),
    ("grid_active_power", [0xFFFF, 0xFBB4], -1100),
    ("grid_active_power", [0xFFFF, 0xDEA4], -8540),
    ("ess_soc", [150], 15.0),
    ("pv_power", [0, 0x0AF0], 2800),
    ("total_load_power", [0, 0x2C4C], 11340),
    ("system_timezone", [0xFDA8], -600),
])
def test_known_words_decode(name, words, value):
    assert decode(VENDOR.row(name), words) == value


def test_minus_one_watt_is_a_value_and_all_ones_elsewhere_is_not():
    assert decode(row("s32", 2), [0xFFFF, 0xFFFF]) == -1
    assert decode(row("u32", 2), [0xFFFF, 0xFFFF]) is None
    assert decode(row("u16", 1), [0xFFFF]) is None
    assert decode(row("u64", 4), [0xFFFF] * 4) is None
    assert decode(row("s32", 2), [0x7FFF, 0xFFFF]) is None
    assert decode(row("s32", 2), [0x8000, 0x0000]) is None


def test_strings_end_at_the_first_nul():
    words = encode(row("string", 4), "EC 5.0")
    assert decode(row("string", 4), words) == "EC 5.0"
    assert decode(row("string", 2), [0, 0]) == ""


def test_wrong_number_of_words_is_an_error():
    with pytest.raises(ValueError):
        decode(row("s32", 2), [1])


@given(st.integers(-(2**31) + 1, 2**31 - 2))
def test_s32_round_trips(value):
    assert decode(row("s32", 2), encode(row("s32", 2), value)) == value


@given(st.integers(0, 2**64 - 2))
def test_u64_round_trips_in_whole_steps(value):
    number = decode(row("u64", 4, 1), encode(row("u64", 4, 1), value)) if value < 2**53 else value
    assert number == value


@given(st.sampled_from(VENDOR.rows), st.lists(st.integers(0, 0xFFFF), min_size=16, max_size=16))
def test_any_words_decode_to_something_or_none(register, words):
    value = decode(register, (words * 2)[:register.count])
    assert value is None or isinstance(value, (int, float, str))
    assert isinstance(text(register, value, VENDOR.meanings), str)
    in_range(register, value)


@pytest.mark.parametrize("value", [-1, 101, float("nan"), float("inf")])
def test_values_outside_the_limits_are_refused(value):
    with pytest.raises(ConfigError) as caught:
        encode(VENDOR.row("ess_backup_soc"), value)
    assert "40046" in str(caught.value)


def test_a_value_that_does_not_fit_the_kind_is_refused():
    with pytest.raises(ConfigError):
        encode(row("u16", 1), 70000)


def test_the_table_is_the_whole_home_catalogue():
    scopes = {}
    for register in VENDOR.rows:
        scopes[register.scope] = scopes.get(register.scope, 0) + 1
    assert scopes == {"plant": 274, "inverter": 146, "ac_charger": 12, "dc_charger": 17}


def test_the_table_is_well_formed():
    names = set()
    previous = {}
    for register in VENDOR.rows:
        assert (register.scope, register.name) not in names
        names.add((register.scope, register.name))
        key = (register.scope, register.space)
        assert register.address >= previous.get(key, 0), f"{register.name} overlaps or is out of order"
        previous[key] = register.end
        width = {"u16": 1, "s16": 1, "u32": 2, "s32": 2, "u64": 4}.get(register.kind, register.count)
        assert register.count == width, register.name
        assert register.space == ("holding" if register.address >= 40000 else "input")
        assert register.access in ("ro", "rw", "wo")
        assert register.means == "" or register.means in VENDOR.meanings
        if isinstance(register.hi, str):
            assert VENDOR.row(register.hi, register.scope)


def test_every_role_names_a_row():
    for role in VENDOR.roles:
        assert VENDOR.role(role) is not None


def test_meanings_are_words():
    assert text(VENDOR.row("grid_active_power"), 8540, VENDOR.meanings) == "importing 8540 W"
    assert text(VENDOR.row("ess_power"), -341, VENDOR.meanings) == "discharging 341 W"
    assert text(VENDOR.row("ems_work_mode"), 7, VENDOR.meanings) == "remote EMS"
    assert text(VENDOR.row("output_type"), 4, VENDOR.meanings) == "unknown (4)"
    assert text(VENDOR.row("alarm_6"), 0b10000010, VENDOR.meanings) == "meter communication, bit 7"
    assert text(VENDOR.row("alarm_6"), 0, VENDOR.meanings) == "none"
    assert text(VENDOR.row("ess_max_charging_limit"), None, VENDOR.meanings) == "never set"
    assert text(VENDOR.row("system_time"), 0, VENDOR.meanings) == "not set"
    assert text(VENDOR.row("system_time"), 1_795_224_659, VENDOR.meanings).startswith("2026-11-2")
