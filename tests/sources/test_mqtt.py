"""Pushed telemetry as readings: partial updates, ages, signs, the derived load, and its place before the poll."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.errors import ConfigError, LinkError, RateLimited
from bridge.model import VALID_REMOTE_S, Reading
from bridge.peers.sigen_mqtt import Push, decode, to_vpp, vpp_view
from bridge.sources.mqtt import NAME, Picture, PushThenPoll, SigenMqttSource, to_reading
from tests.conftest import FIXTURES

REAL = json.loads((FIXTURES / "sigen-mqtt-real.json").read_text("utf-8"))
NOW = 1_795_224_659.0


def push(at=NOW, kind="period", device="system", **values):
    return Push(kind, "openapi", "S", at, values, (), device)


def merged(*pushes, now=NOW, mono=1000.0, synced=True):
    picture = Picture()
    for each in pushes:
        picture = picture.with_push(each, now, mono, synced)
    return picture


FULL = {"pvPowerW": 1740.0, "gridActivePowerW": -4151.0, "storageChargeDischargePowerW": -2464.0, "storageSOC%": 24.4,
        "inverterActivePowerW": 4207.0}


def test_the_vendors_example_is_the_record_in_our_signs():
    (real,) = decode("openapi/period/AK/SYSTEM0001", json.dumps(REAL["payloads"][0]).encode(), {})
    reading = to_reading(merged(real, now=real.at))
    assert (reading.source, reading.valid, reading.at) == (NAME, True, 1757407020.0)
    assert (reading.pv_w, reading.soc_pct, reading.battery_w, reading.grid_w) == (1740.0, 24.4, -2464.0, -4151.0)
    assert (reading.load_w, reading.load_derived, reading.balance_w) == (56.0, True, None)


def test_a_partial_update_keeps_what_it_leaves_out():
    picture = merged(push(**FULL), push(at=NOW + 5, pvPowerW=2000.0), now=NOW + 5)
    reading = to_reading(picture)
    assert reading.pv_w == 2000.0 and reading.soc_pct == 24.4 and reading.at == NOW + 5


def test_a_value_that_becomes_unknown_is_unknown():
    assert to_reading(merged(push(**FULL), push(at=NOW + 1, **{"storageSOC%": None}))).soc_pct is None


def test_an_older_message_changes_nothing():
    picture = merged(push(**FULL), push(at=NOW - 60, pvPowerW=9.0))
    assert to_reading(picture).pv_w == 1740.0


def test_a_time_in_the_future_does_not_hide_what_comes_later():
    picture = merged(push(at=NOW + 86_400, **FULL), push(at=NOW + 5, pvPowerW=2000.0), now=NOW + 5)
    assert to_reading(picture).pv_w == 2000.0 and picture.at == NOW + 5
    unset = merged(push(at=NOW + 1e9, **FULL), synced=False)  # our clock is not set: nobody can say what is the future
    assert unset.at == NOW + 1e9
    later = unset.with_push(push(at=NOW, pvPowerW=3.0), NOW, 1000.0 + VALID_REMOTE_S + 1, True)
    assert to_reading(later).pv_w == 3.0, "it counts again once the first one is no longer valid"


def test_a_level_that_cannot_be_is_alone_no_reading():
    reading = to_reading(merged(push(**{"storageSOC%": 150.0})))
    assert (reading.soc_pct, reading.valid, reading.reason) == (None, False, "empty")


def test_the_age_counts_from_the_measurement_when_the_clock_is_right():
    assert merged(push(at=NOW - 200, **FULL)).mono == 800.0
    assert merged(push(at=NOW - 200, **FULL), synced=False).mono == 1000.0
    assert merged(push(at=NOW + 30, **FULL)).mono == 1000.0


def test_after_a_long_silence_the_old_powers_are_not_mixed_with_new_ones():
    old = merged(push(**FULL), push(kind="change", at=None, operationalMode="vpp"))
    new = old.with_push(push(at=NOW + 4000, **{"storageSOC%": 30.0}), NOW + 4000, 5000.0, True)
    reading = to_reading(new)
    assert reading.pv_w is None and reading.grid_w is None and reading.soc_pct == 30.0
    assert reading.extras["operationalMode"] == "vpp"


def test_changes_and_alarms_are_kept_beside_the_powers():
    picture = merged(push(**FULL), push(kind="change", at=None, systemStatus="running"),
                     push(kind="alarm", alarmCode="1010", status="generation"))
    assert to_reading(picture).extras["systemStatus"] == "running" and to_reading(picture).pv_w == 1740.0
    assert [each["alarmCode"] for each in picture.alarms] == ["1010"]
    many = merged(*(push(kind="alarm", alarmCode=str(number)) for number in range(100)))
    assert len(many.alarms) == 20 and many.alarms[-1]["alarmCode"] == "99"


def test_one_devices_powers_are_not_the_plants():
    assert to_reading(merged(push(**FULL), push(device="inverter", pvPowerW=9.0))).pv_w == 1740.0


def test_without_the_inverters_power_the_load_is_the_dc_sum():
    values = {key: content for key, content in FULL.items() if key != "inverterActivePowerW"}
    assert to_reading(merged(push(**values))).load_w == 53.0


@pytest.mark.parametrize(("grid_w", "load_w"), [(-4207.0, 0.0), (-4300.0, 0.0), (-4400.0, None)])
def test_a_derived_load_below_zero_is_losses_and_then_unknown(grid_w, load_w):
    reading = to_reading(merged(push(**{**FULL, "gridActivePowerW": grid_w})))
    assert reading.load_w == load_w and reading.load_derived and reading.valid


def test_a_car_and_a_heat_pump_are_not_the_houses_load():
    assert to_reading(merged(push(**FULL, evPowerW=30.0, heatPumpPowerW=10.0))).load_w == 16.0


def test_more_ac_than_sun_and_battery_give_is_impossible():
    reading = to_reading(merged(push(**{**FULL, "inverterActivePowerW": 9000.0})))
    assert not reading.valid and reading.reason == "balance"
    dc_charger = to_reading(merged(push(**{**FULL, "inverterActivePowerW": -3000.0, "gridActivePowerW": 4000.0})))
    assert dc_charger.valid and dc_charger.load_w == 1000.0


def test_a_pushed_load_is_judged_by_its_balance():
    good = to_reading(merged(push(**FULL, loadActivePowerW=53.0, evPowerW=0.0, heatPumpPowerW=0.0)))
    assert good.valid and good.balance_w == 0.0 and not good.load_derived
    assert not to_reading(merged(push(**FULL, loadActivePowerW=9000.0))).valid


def test_nothing_at_all_is_not_a_reading():
    assert to_reading(merged(push(x=1.0))).reason == "empty"
    assert to_reading(merged(push(**{"storageSOC%": 200.0, "pvPowerW": 1.0}))).soc_pct is None


def test_the_view_of_the_vpp_turns_the_battery_round_and_back():
    """S1.20: +3000 W of charging is -3.0 kW there; the record keeps +3000."""
    told = push(**{**FULL, "storageChargeDischargePowerW": 3000.0, "inverterActivePowerW": -1260.0,
                   "gridActivePowerW": 2000.0})
    reading, view = to_reading(merged(told)), vpp_view(told)
    assert reading.battery_w == 3000.0 and reading.valid
    assert (view["battery_power_kw"], view["grid_power_kw"], view["pv_power_kw"]) == (-3.0, 2.0, 1.74)
    assert view["load_power_kw"] is None and view["soc_percent"] == 24.4, "what is not pushed is unknown, never 0"
    assert vpp_view(push(kind="change", systemStatus="running")) == vpp_view(push(device="inverter", pvPowerW=1.0)) == {}


@given(st.floats(allow_nan=False))
def test_the_view_of_the_vpp_twice_is_what_it_was(battery):
    assert to_vpp(to_vpp(battery)) == battery
    assert math.copysign(1.0, to_vpp(0.0)) == 1.0, "no minus before a zero"


@given(st.lists(st.dictionaries(st.sampled_from([*FULL, "loadActivePowerW", "x"]),
                                st.none() | st.floats(allow_nan=False, allow_infinity=False, width=32), max_size=6), max_size=6))
def test_whatever_is_pushed_unknown_never_becomes_0(updates):
    picture, known = Picture(), {}
    for values in updates:
        picture = picture.with_push(push(**values), NOW, 1000.0, True)
        known.update(values)
    reading = to_reading(picture)
    assert (reading.grid_w is None) == (known.get("gridActivePowerW") is None)
    assert (reading.battery_w is None) == (known.get("storageChargeDischargePowerW") is None)
    if known.get("loadActivePowerW") is None and known.get("gridActivePowerW") is None:
        assert reading.load_w is None


class FakeFeed:
    def __init__(self, take):
        self.take, self.started, self.error = take, 0, None

    def start(self):
        self.started += 1

    def stop(self, wait_s=0.0):
        self.started = 0

    def health(self):
        return {"state": "waiting", "error": None}


@pytest.fixture
def source(clock):
    return SigenMqttSource(FakeFeed, "S", clock)


def test_before_the_first_message_there_is_no_reading(source):
    with pytest.raises(LinkError, match="no telemetry yet"):
        source.read()
    assert source._feed.started == 1


def test_a_reading_stands_for_fifteen_minutes(source, clock):
    source.take(push(at=clock.now(), **FULL))
    assert source.read().pv_w == 1740.0
    clock.advance(VALID_REMOTE_S - 1)
    assert source.read().mono == 1000.0
    clock.advance(2)
    with pytest.raises(LinkError):
        source.read()


def test_another_stations_push_is_not_ours(source, clock):
    source.take(push(at=clock.now(), **FULL)._replace(system_id="OTHER"))
    with pytest.raises(LinkError):
        source.read()


def test_a_mistake_in_the_settings_is_told_as_such(source):
    source._feed.error = ConfigError("no certificate")
    with pytest.raises(ConfigError, match="no certificate"):
        source.read()


class FakePoll:
    def __init__(self, outcome):
        self.outcome, self.asked = outcome, 0

    def prepare(self):
        pass

    def read(self):
        self.asked += 1
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome

    def close(self):
        pass


def test_the_push_stands_before_the_poll(source, clock):
    poll = FakePoll(Reading(clock.now(), clock.monotonic(), "cloud", pv_w=1.0))
    both = PushThenPoll(source, poll)
    assert both.read().source == "cloud" and poll.asked == 1
    source.take(push(at=clock.now(), **FULL))
    assert both.read().source == "mqtt" and poll.asked == 1
    clock.advance(VALID_REMOTE_S + 1)
    assert both.read().source == "cloud"


def test_a_rate_limit_of_the_poll_does_not_hide_the_push(source):
    both = PushThenPoll(source, FakePoll(RateLimited("too soon", 290.0)))
    with pytest.raises(LinkError, match="no telemetry yet.*too soon") as caught:
        both.read()
    assert not isinstance(caught.value, RateLimited)
    assert both.next_in_s() < 5
