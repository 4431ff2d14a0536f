"""Single decisions, each with the state that leads to it: what is shed, what a look at a relay means, what waits."""

from __future__ import annotations

from pathlib import Path

import pytest

from bridge import ini
from bridge.control.dispatch import decide
from bridge.control.dispatch_config import read
from bridge.control.dispatch_house import EVENTS, FIELDS
from bridge.control.dispatch_keys import LOAD_KEYS, RULE_KEYS
from bridge.control.dispatch_limits import Overload, to_shed
from bridge.control.dispatch_memory import restored, saved
from bridge.control.dispatch_state import Inputs, LoadState, Now, Plant, Relay, State, freshness
from bridge.control.dispatch_time import (
    Price,
    is_cheap,
    is_open,
    parse_deadline,
    parse_prices,
    parse_windows,
    period,
    zone,
)
from bridge.errors import ConfigError

SUNDAY = 1_795_910_400.0  # 2026-11-29 00:00 UTC
DOCS = Path(__file__).parent.parent.parent / "docs" / "loads.md"
HOUSE = """
[rules]
limit_w = 10000
timezone = UTC
[lamp]
device = a
power_w = 100
priority = 9
[heater]
device = b
power_w = 3000
priority = 8
[boiler]
device = c
power_w = 2000
priority = 3
min_off = 60s
windows = 00:00-24:00
[stove]
device = d
power_w = 2500
priority = 1
essential = yes
"""


def config(text=HOUSE):
    return read(ini.parse(text), "here")


def on(mono=1000.0, **more):
    return Relay(True, mono, "init", **more)


def all_on(mono=1000.0):
    return {name: on(mono) for name in ("lamp", "heater", "boiler", "stove")}


def step(book, state, mono, plant, relays, at=SUNDAY):
    return decide(book, state, Inputs(plant, relays), Now(mono, at + mono))


def act(outcome):
    return {each.load: each.want for each in outcome.decisions if each.act}


@pytest.mark.parametrize("load_w, shed", [
    (9_999, {}), (10_050, {"lamp"}), (10_200, {"heater"}), (12_950, {"heater"}), (13_050, {"lamp", "heater"}),
    (14_500, {"heater", "boiler"}), (15_050, {"lamp", "heater", "boiler"}),
])
def test_the_smallest_set_that_helps_goes_the_least_important_first(load_w, shed):
    outcome = step(config(), State(), 1000.0, Plant(1000.0, load_w=load_w), all_on())
    assert act(outcome) == dict.fromkeys(shed, "off")
    assert not outcome.warnings


def test_what_cannot_be_helped_is_said():
    outcome = step(config(), State(), 1000.0, Plant(1000.0, load_w=16_000), all_on())
    assert set(act(outcome)) == {"lamp", "heater", "boiler"}, "the essential one stays"
    assert "nothing is left" in outcome.warnings[0]


def test_a_load_whose_thermostat_is_off_is_not_shed_for_nothing():
    relays = {**all_on(), "heater": on(power_w=3.0)}
    assert act(step(config(), State(), 1000.0, Plant(1000.0, load_w=11_000), relays)) == {"boiler": "off"}


def test_a_load_that_does_not_answer_is_not_counted_on():
    relays = {**all_on(), "heater": Relay(None, 1000.0, error="away")}
    assert act(step(config(), State(), 1000.0, Plant(1000.0, load_w=11_000), relays)) == {"boiler": "off"}


def test_the_next_load_goes_when_the_first_stop_did_not_help():
    book, plant = config(), Plant(1000.0, load_w=11_000)
    first = step(book, State(), 1000.0, plant, all_on())
    assert act(first) == {"heater": "off"}
    second = step(book, first.state, 1001.0, plant._replace(mono=1001.0), all_on(1001.0))
    assert act(second) == {}, "the meter may be behind"
    third = step(book, second.state, 1002.0, plant._replace(mono=1002.0), all_on(1002.0))
    assert act(third) == {"boiler": "off"}


def test_what_was_switched_by_hand_is_shed_last():
    book = config()
    state = State({"heater": LoadState(on=True, seen_on=True, manual_until=9000.0, manual_on=True)})
    observed = decide(book, state, Inputs(Plant(1000.0, load_w=11_500), all_on()), Now(1000.0, SUNDAY))
    assert act(observed) == {"boiler": "off"}


def test_a_three_phase_load_helps_each_phase_by_a_third():
    book = config("[rules]\nphase_limit_w=3000\n[car]\ndevice=a\npower_w=6000\nphase=123\npriority=2\n"
                  "[pump]\ndevice=b\npower_w=1500\nphase=2\npriority=5")
    state = State({name: LoadState(on=True, seen_on=True) for name in ("car", "pump")})
    names = [load.name for load in to_shed(book, state, Overload(1_400.0, "", 1), ())]
    assert names == ["pump"]
    assert [load.name for load in to_shed(book, state, Overload(1_800.0, "", 1), ())] == ["car"]
    assert [load.name for load in to_shed(book, state, Overload(100.0, "", 0), ())] == ["car"]


@pytest.mark.parametrize("source, manual", [("UI", True), ("input", True), ("SHC", True), ("HTTP_in", True),
                                            ("WS_in", True), ("timer", False), ("init", False)])
def test_who_switched_a_relay_off_is_told_by_its_source(source, manual):
    book = config()
    first = step(book, State(), 1000.0, Plant(1000.0, load_w=500), {"boiler": Relay(False, 1000.0)})
    assert act(first) == {"boiler": "on"}
    held = on(1100.0, applied_mono=1000.0)
    second = step(book, first.state, 1100.0, Plant(1100.0, load_w=500), {"boiler": held})
    third = step(book, second.state, 1101.0, Plant(1101.0, load_w=500),
                 {"boiler": Relay(False, 1101.0, source, applied_mono=1000.0)})
    state = third.state.of("boiler")
    assert (state.manual_until is not None) is manual
    assert {each.load: each.rule for each in third.decisions}["boiler"] == ("manual" if manual else "window")


def test_an_answer_from_before_the_command_is_not_somebody_elses_hand():
    book = config()
    first = step(book, State(), 1000.0, Plant(1000.0, load_w=500), {"boiler": Relay(False, 1000.0)})
    late = step(book, first.state, 1001.0, Plant(1001.0, load_w=500), {"boiler": Relay(False, 1000.5, "init")})
    assert late.state.of("boiler").manual_until is None and act(late) == {}


def test_a_command_that_never_arrived_is_void_and_nobody_is_blamed():
    book = config()
    first = step(book, State(), 1000.0, Plant(1000.0, load_w=500), {"boiler": Relay(False, 1000.0)})
    later = step(book, first.state, 1011.0, Plant(1011.0, load_w=500), {"boiler": Relay(False, 1011.0, "init")})
    held = later.state.of("boiler")
    assert held.undone == 0 and held.manual_until is None and not held.ours


def test_a_load_on_its_own_timer_from_before_is_not_taken_for_ours_when_it_is_off():
    state = State({"boiler": LoadState(ours=True)})
    outcome = step(config(), state, 1000.0, Plant(1000.0, load_w=500), {"boiler": Relay(False, 1000.0, "timer")})
    assert act(outcome) == {"boiler": "on"}, "it is off, and starts like any other"
    stale = step(config(), state, 1000.0, Plant(970.0, load_w=500), {"boiler": Relay(False, 1000.0, "timer")})
    assert {each.load: each.want for each in stale.decisions}["boiler"] == "leave"


@pytest.mark.parametrize("plant, fresh", [
    (None, "lost"), (Plant(991.0), "local"), (Plant(985.0), "stale"), (Plant(900.0), "lost"),
    (Plant(200.0, remote=True), "remote"), (Plant(50.0, remote=True), "lost"),
])
def test_how_long_data_are_good_for_what(plant, fresh):
    assert freshness(plant, config(), Now(1000.0, SUNDAY)) == fresh


@pytest.mark.parametrize("plant, started", [
    (Plant(1000.0, load_w=500), True), (Plant(980.0, load_w=500), False), (Plant(900.0, load_w=500), False),
    (None, False), (Plant(700.0, remote=True, load_w=500), True),
])
def test_old_data_start_nothing_and_cloud_data_start_windows(plant, started):
    outcome = step(config(), State(), 1000.0, plant, {"boiler": Relay(False, 1000.0)})
    assert act(outcome) == ({"boiler": "on"} if started else {})


def test_cloud_data_start_nothing_by_the_sun_and_shed_nothing():
    book = config("[rules]\nlimit_w=3000\n[boiler]\ndevice=a\npower_w=1000\nneeds_surplus_w=1200\nmin_on=0s\n"
                  "[lamp]\ndevice=b\npower_w=100")
    state, plant = State(), Plant(900.0, remote=True, load_w=9000.0, grid_w=-5000.0)
    for mono in range(1000, 1200):
        outcome = step(book, state, float(mono), plant, {"boiler": Relay(False, mono), "lamp": on(float(mono))})
        state = outcome.state
        assert act(outcome) == {}


def test_a_limit_without_a_known_load_starts_nothing():
    outcome = step(config(), State(), 1000.0, Plant(1000.0, load_w=None), {"boiler": Relay(False, 1000.0)})
    assert act(outcome) == {}
    assert "not known" in {each.load: each.reason for each in outcome.decisions}["boiler"]
    assert "cannot be watched" in outcome.warnings[0]


def test_a_clock_that_is_not_set_opens_no_window():
    outcome = decide(config(), State(), Inputs(Plant(1000.0, load_w=500), {"boiler": Relay(False, 1000.0)}),
                     Now(1000.0, 5.0, synced=False))
    assert act(outcome) == {}
    assert "clock is not set" in {each.load: each.reason for each in outcome.decisions}["boiler"]


def test_what_is_remembered_survives_a_restart_with_another_monotonic_clock():
    book = config()
    first = step(book, State(), 1000.0, Plant(1000.0, load_w=500), {"boiler": Relay(False, 1000.0)})
    told = saved(first.state, Now(1000.0, SUNDAY + 1000.0))
    again = restored(told, book, Now(50.0, SUNDAY + 1100.0)).of("boiler")
    assert again.ours and again.changed == -50.0 and again.starts == (-50.0,)
    assert restored(told, book, Now(50.0, SUNDAY + 200_000.0)) == State(), "too old"
    assert restored(told, book, Now(50.0, 100.0, synced=False)) == State()
    assert restored({"schema": 99}, book, Now(50.0, SUNDAY)) == State()


# ---- times ----------------------------------------------------------------------------------------------------


def utc(hour, minute=0, day=0):
    return SUNDAY + day * 86_400 + hour * 3600 + minute * 60


@pytest.mark.parametrize("text, at, expected", [
    ("22:00-06:00", utc(22), True), ("22:00-06:00", utc(5, 59), True), ("22:00-06:00", utc(6), False),
    ("22:00-06:00", utc(12), False), ("00:00-24:00", utc(23, 59), True),
    ("sat 22:00-06:00", utc(5), True), ("sun 22:00-06:00", utc(5), False), ("sun 22:00-06:00", utc(5, day=1), True),
    ("mon-fri 08:00-09:00", utc(8, 30), False), ("fri-mon 08:00-09:00", utc(8, 30), True),
])
def test_windows(text, at, expected):
    assert any(is_open(window, at, zone("UTC")) for window in parse_windows(text)) is expected


@pytest.mark.parametrize("text", ["22-06", "22:00", "25:00-26:00", "22:60-23:00", "someday 22:00-23:00", "a b 1:00-2:00"])
def test_what_is_no_window_is_refused(text):
    with pytest.raises(ValueError):
        parse_windows(text)


def test_a_deadline_has_its_day_also_when_that_has_25_hours():
    berlin = zone("Europe/Berlin")
    start, end = period(1_792_900_000.0, parse_deadline("90m by 07:00").by, berlin)  # 24 October 2026
    assert end - start == 25 * 3600.0
    with pytest.raises(ValueError):
        parse_deadline("long by 07:00")


def test_an_unknown_zone_is_said():
    with pytest.raises(ConfigError, match="Mars/Base"):
        zone("Mars/Base")


def test_a_missing_price_is_neither_cheap_nor_zero():
    prices = (Price(0, 3600, None), Price(3600, 7200, 30.0), Price(7200, 10_800, 10.0))
    assert is_cheap(prices, 1800, 10_800, 3600) is None
    assert is_cheap(prices, 3700, 10_800, 3600) is False
    assert is_cheap(prices, 8000, 10_800, 3600) is True
    assert is_cheap((), 8000, 10_800, 3600) is None


def test_prices_are_read_as_numbers_or_iso_times_with_an_offset():
    row = {"start": "2026-11-29T10:00:00+10:00", "end": "2026-11-29T00:30:00Z", "buy_c_kwh": None}
    assert parse_prices({"prices": [row]}) == (Price(SUNDAY, SUNDAY + 1800, None),)
    amber = {"start": SUNDAY, "end": SUNDAY + 1800, "channel": "general", "per_kwh": -2.5}
    told = parse_prices({"rows": [amber, {**amber, "channel": "feedIn", "per_kwh": 9.0}], "live": []})
    assert told == (Price(SUNDAY, SUNDAY + 1800, -2.5),)
    for wrong in ({}, [3], [{"start": 1}], [{**row, "start": "2026-11-29T10:00:00"}]):
        with pytest.raises(ValueError):
            parse_prices(wrong)


# ---- the loads file -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text, word", [
    ("[a]\npower_w = 5\n", "needs a device"), ("[a]\ndevice = x\n", "no power_w"), ("", "no load"),
    ("[a]\ndevice = x\npower_w = 5\nprio = 3\n", "did you mean priority"),
    ("[a]\ndevice = x\npower_w = 5\nphase = 4\n", "line 4"), ("[a]\ndevice = x\npower_w = 5\nwindows = now\n", "window"),
    ("[a]\ndevice = x\npower_w = 5\n[b]\ndevice = x\npower_w = 5\n", "same device"),
    ("[rules]\nphase_limit_a = 16\n[a]\ndevice = x\npower_w = 5\n", "needs a phase"),
    ("[rules]\ndead_man = 1s\n[a]\ndevice = x\npower_w = 5\n", "dead_man"),
    ("[rules]\ntimezone = Mars/Base\n[a]\ndevice = x\npower_w = 5\n", "Mars"),
    ("[a]\ndevice = x\npower_w = 5\npower_w = 6\n", "twice"),
    ("[a]\ndevice = x\npower_w = 5\nlimit_w = 9\n", "line 4: .*belongs to .rules."),
    ("[rules]\npower_w = 9\n[a]\ndevice = x\npower_w = 5\n", "belongs to a load"),
    ("[a]\ndevice = x\npower_w = 5\nmac = kitchen\n", "line 4: .*twelve digits"),
    ("[a]\ndevice = x\npower_w = 5\nchannel = \u00b2\n", "not a whole number within 0..7"),
])
def test_mistakes_in_a_loads_file_name_their_place(text, word):
    with pytest.raises(ConfigError, match=word):
        config(text)


def test_the_file_in_the_documentation_is_one_and_every_key_is_documented():
    text = DOCS.read_text("utf-8")
    book = config(text.partition("```ini\n")[2].partition("```")[0])
    assert [load.name for load in book.loads] == ["oven", "boiler"] and book.rules.limit_w == 10_000
    for key in (*LOAD_KEYS, *RULE_KEYS):
        assert f"`{key}`" in text, key
    for word in (*EVENTS, *FIELDS, "base_phases", "data"):
        assert f"`{word}`" in text, word


def test_defaults_are_those_of_a_careful_house():
    book = config("[rules]\nphase_limit_a = 16\nmanual_hold = 90m\n[a]\ndevice = x\npower_w = 5\nphase = 2\nkind = heater\n"
                  "[o]\nkind = oven\npower_w = 4000\nphase = 1\n")
    load = book.load("a")
    assert (load.manual_hold_s, load.pauses_for, load.essential) == (5400.0, ("oven",), False)
    assert book.load("o").essential and book.rules.phase_limit_w == 3680.0 and book.rules.dead_man_s == 120.0
