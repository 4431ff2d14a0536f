"""Topics, activation and messages of the Sigenergy cloud's MQTT."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.errors import ConfigError, Refused
from bridge.peers.sigen_mqtt import (
    ALARM,
    APPKEY,
    CHANGE,
    KNOWN,
    OPENAPI,
    PERIOD,
    activation,
    alias_map,
    decode,
    kind_and_order,
    topic,
    topics,
)
from bridge.peers.sigen_mqtt_commands import BATCH_MAX, batch, checked, mode_switch
from tests.conftest import FIXTURES

REAL = json.loads((FIXTURES / "sigen-mqtt-real.json").read_text("utf-8"))
NAME = "openapi/period/AK/SYSTEM0001"
NOW = 1_767_225_600.0


def one(payload, name=NAME, aliases=None):
    """Return the only record of a message."""
    (push,) = decode(name, payload if isinstance(payload, bytes) else json.dumps(payload).encode(), aliases or {})
    return push


def row(**values):
    return [{"deviceType": "system", "systemId": "SYSTEM0001", "value": values}]


def test_both_spellings_of_the_topics():
    assert topic(PERIOD, "AK", "S", OPENAPI) == "openapi/period/AK/S"
    assert topic(PERIOD, "AK", "S", APPKEY) == "AK/openapi/period/S"
    both = topics("AK", ["S1", "S2"], (OPENAPI, APPKEY))
    assert len(both) == 12 and len(set(both)) == 12 and not any(set("#+") & set(each) for each in both)
    assert {kind_and_order(each) for each in both} == {
        (kind, order) for kind in ("period", "change", "alarm") for order in (OPENAPI, APPKEY)}
    assert kind_and_order("openapi/subscription/period") == kind_and_order("a/b/c/d") == ("", "")


@pytest.mark.parametrize("bad", ["", "#", "a/b", "+", "a b"])
def test_a_name_that_would_be_a_wildcard_is_refused(bad):
    for app_key, system in ((bad, "S"), ("AK", bad)):
        with pytest.raises(ConfigError):
            topics(app_key, [system], (OPENAPI,))


def test_the_activation_is_what_the_sources_show():
    sent = dict(activation("tok-demo-1", ["ABCDE1700000001"]))
    assert set(sent) == {f"openapi/subscription/{kind}" for kind in ("period", "change", "alarm")}
    assert json.loads(sent["openapi/subscription/period"]) == {
        "accessToken": "tok-demo-1", "systemIdList": ["ABCDE1700000001"]}


def test_the_vendors_own_example():
    push = one(REAL["payloads"][0])
    assert (push.kind, push.order, push.system_id, push.at, push.odd) == (PERIOD, OPENAPI, "SYSTEM0001", 1757407020.0, ())
    assert push.values["pvPowerW"] == 1740.0 and push.values["gridActivePowerW"] == -4151.0
    assert push.values["storageChargeDischargePowerW"] == -2464.0 and push.values["storageSOC%"] == 24.4
    assert set(push.values) == set(REAL["payloads"][0][0]["value"]) <= set(KNOWN)
    assert all(isinstance(content, float) for content in push.values.values())


def test_every_wrapping_gives_the_same_record():
    rows = REAL["payloads"][0]
    inner = [{**rows[0], "value": json.dumps(rows[0]["value"])}]
    for payload in (rows[0], json.dumps(rows), inner, {"code": 0, "data": rows}, {"code": 0, "data": json.dumps(rows)}):
        assert one(payload) == one(rows)


def test_names_changed_in_the_portal():
    push = one(row(**{"PV power": "1740.0", "Grid Active Power": "-5", "Sun of ours": "3", "storageSOC%": "24.4"}))
    assert push.values["pvPowerW"] == 1740.0 and push.values["gridActivePowerW"] == -5.0
    assert push.odd == ("Sun of ours",)
    told = one(row(**{"Sun of ours": "3"}), aliases=alias_map("Sun of ours=pvPowerW, x = storageSOC%"))
    assert told.values == {"pvPowerW": 3.0} and told.odd == ()
    for bad in ("Sun", "Sun=", "Sun=nothing"):
        with pytest.raises(ConfigError, match="sigen_mqtt.aliases"):
            alias_map(bad)


@pytest.mark.parametrize(("numeric", "word"), [
    ({"systemStatus": "1.0", "onOffGridStatus": "0.0", "operationalMode": "6.0"},
     {"systemStatus": "running", "onOffGridStatus": "on", "operationalMode": "vpp"})])
def test_enumerations_come_as_numbers_or_words(numeric, word):
    for given_as in (numeric, {"systemStatus": "running", "onOffGridStatus": "on", "operationalMode": 6}):
        assert dict(one(row(**given_as), "openapi/change/AK/SYSTEM0001").values) == word
    assert one(row(systemStatus="99")).values["systemStatus"] == "99"


@pytest.mark.parametrize("nothing", ["", "--", None, "NaN", "inf", [], True])
def test_what_is_no_number_is_unknown_and_never_0(nothing):
    assert one(row(pvPowerW=nothing)).values["pvPowerW"] is None


def test_changes_alarms_and_single_devices():
    change = one([{"systemId": "S", "value": {"backupCutOffSOC%": "15.0"}}], "AK/openapi/change/S")
    assert (change.kind, change.order, change.at) == (CHANGE, APPKEY, None) and change.values == {"backupCutOffSOC%": 15.0}
    alarm = one({"systemId": "S", "alarmCode": "1010", "status": "generation", "changeTime": 1767225600123},
                "openapi/alarm/AK/S")
    assert (alarm.kind, alarm.at) == (ALARM, 1767225600.123)
    assert alarm.values == {"alarmCode": "1010", "status": "generation"}
    inverter = one([{"deviceType": "Inverter", "systemId": "S", "value": {"pvPowerW": "5"}}])
    assert inverter.device == "inverter"


def test_a_message_without_a_station_is_its_topics():
    assert one([{"value": {"pvPowerW": "1"}}], "openapi/period/AK/OTHER").system_id == "OTHER"


@pytest.mark.parametrize("payload", [b"", b"\xff\xfe", b"null", b"[[", b"17", b'"x"', b"[" * 5000, b"x" * 300_000])
def test_rubbish_is_no_record(payload):
    assert decode(NAME, payload, {}) == []


@given(st.recursive(st.none() | st.booleans() | st.floats() | st.text() | st.integers(),
                    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
                        st.sampled_from(["value", "data", "systemId", "pvPowerW", "statisticsTime", "x"]), inner, max_size=4)))
def test_no_json_of_any_shape_breaks_the_decoder(content):
    for push in decode(NAME, json.dumps(content).encode(), {}):
        assert push.kind == PERIOD and isinstance(push.system_id, str)


def command(**more):
    return {"activeMode": "charge", "startTime": NOW + 60, "duration": 30, "chargingPower": 5.0, **more}


def test_a_batch_of_commands_is_what_the_sources_show():
    rows = checked([command(maxSellPower=5.0, dischargePriorityType="BATTERY")], "ABCDE1700000001", NOW)
    body = json.loads(batch(rows, "tok-demo-1"))
    assert body == {"accessToken": "tok-demo-1", "commands": [{
        "systemId": "ABCDE1700000001", "activeMode": "charge", "startTime": int(NOW) + 60, "duration": 30,
        "chargingPower": 5.0, "maxSellPower": 5.0, "dischargePriorityType": "BATTERY"}]}
    assert json.loads(mode_switch("S", "NBI", "t")) == {"accessToken": "t", "systemId": "S", "mode": "NBI"}


def test_24_commands_pass_and_25_are_refused():
    assert len(checked([command()] * BATCH_MAX, "S", NOW)) == BATCH_MAX == 24
    with pytest.raises(Refused, match="25"):
        checked([command()] * 25, "S", NOW)


@pytest.mark.parametrize(("change", "error"), [
    ({"chargingPower": None}, Refused), ({"startTime": NOW - 3600}, Refused), ({"startTime": NOW * 1000}, Refused),
    ({"duration": 0}, Refused), ({"duration": None}, Refused), ({"duration": 100_000}, Refused),
    ({"activeMode": "sell"}, ConfigError), ({"startTime": "now"}, ConfigError), ({"maxSellPower": -1}, ConfigError),
    ({"chargePriorityType": "SUN"}, ConfigError), ({"maxSellPowr": 1}, ConfigError), ({"startTime": None}, ConfigError),
])
def test_what_must_not_be_sent(change, error):
    with pytest.raises(error):
        checked([command(**change)], "S", NOW)


def test_a_command_names_its_station_and_an_empty_batch_is_none():
    with pytest.raises(ConfigError, match="systemId"):
        checked([command()], "", NOW)
    with pytest.raises(ConfigError):
        checked([], "S", NOW)
    assert checked([command(activeMode="selfConsumption-grid", chargingPower=0)], "S", NOW)[0]["systemId"] == "S"


def test_the_simulated_cloud_accepts_what_is_built_here():
    from bridge.sim.sigen_cloud_commands import command_problem

    for mode in ("charge", "discharge", "idle", "selfConsumption", "selfConsumption-grid"):
        body = json.loads(batch(checked([command(activeMode=mode)], "S", NOW), "tok"))
        assert command_problem(body, "tok") == 0
