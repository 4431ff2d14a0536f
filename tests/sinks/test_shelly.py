"""The Shelly sink on a simulated Shelly: what it writes, what it never writes, and what it says about it."""

from __future__ import annotations

import copy

import pytest

from bridge.errors import ConfigError
from bridge.model import invalid
from bridge.sim.shelly import s3_components
from bridge.sinks.shelly import ShellySink
from bridge.sinks.shelly_pace import Pace, Patience
from tests.sim.quickjs_runner import QuickJsRun
from tests.sinks.shelly_desk import Desk, reading

ALL = pytest.mark.parametrize("transport", ["ws", "http", "script"])


def components(**changes):
    """Return the five components with the configuration of some changed: number_203={"owner": "x"}."""
    found = [copy.deepcopy(dict(each)) for each in s3_components()]
    for each in found:
        each["config"].update(changes.get(each["key"].replace(":", "_"), {}))
    return found


def unit_of(unit):
    return {"meta": {"ui": {"view": "label", "unit": unit, "step": 1}}}


@ALL
def test_the_first_reading_writes_all_five_and_grid_export_is_positive(clock, transport):
    with Desk(clock, transport) as desk:
        desk.write(reading(pv_w=2800, soc_pct=15.0, battery_w=0, grid_w=8540, load_w=11340))
        assert desk.sim.values == {200: 2800, 201: 15.0, 202: 0, 203: -8540, 204: 11340}
        assert desk.sets() == 5


@ALL
def test_only_what_changed_is_written(clock, transport):
    with Desk(clock, transport) as desk:
        desk.write(reading())
        desk.write(reading(grid_w=100.0))
        assert desk.sets() == 6 and desk.sim.values[203] == -100
        for _ in range(5):
            clock.advance(1.0)
            desk.write(reading(grid_w=100.0))
        assert desk.sets() == 6


def test_a_dead_band_is_against_what_stands_on_the_device_and_is_for_powers_only(clock):
    with Desk(clock, deadband_w=10) as desk:
        desk.write(reading(pv_w=1000, soc_pct=50.0))
        for watts in (1004, 1008, 1010):
            clock.advance(1.0)
            desk.write(reading(pv_w=watts, soc_pct=50.0))
        assert desk.sim.values[200] == 1000
        desk.write(reading(pv_w=1011, soc_pct=50.1))
        assert desk.sim.values[200] == 1011 and desk.sim.values[201] == 50.1


def test_the_heartbeat_writes_all_five_again(clock):
    with Desk(clock, heartbeat_s=60) as desk:
        desk.write(reading())
        clock.advance(59)
        desk.write(reading())
        assert desk.sets() == 5
        clock.advance(2)
        desk.write(reading())
        assert desk.sets() == 10


def test_an_unknown_value_leaves_the_last_number_standing(clock):
    with Desk(clock) as desk:
        desk.write(reading(pv_w=500, load_w=700))
        desk.write(reading(pv_w=None, load_w=800))
        assert desk.sim.values[200] == 500 and desk.sim.values[204] == 800


@ALL
def test_an_invalid_reading_writes_no_number(clock, transport):
    with Desk(clock, transport) as desk:
        desk.write(reading(pv_w=500))
        before = desk.sets()
        desk.write(invalid(reading(pv_w=9999), "balance off by 7000 W"))
        clock.advance(120)
        desk.write(invalid(reading(pv_w=9999), "balance off by 7000 W"))
        assert desk.sets() == before and desk.sim.values[200] == 500


def test_a_value_beyond_the_range_is_clamped_and_said_once(clock, caplog):
    with Desk(clock, components=components(number_200={"max": 3000})) as desk:
        for watts in (5000, 5001, 2999):
            desk.write(reading(pv_w=watts))
            assert desk.sim.values[200] == min(watts, 3000)
            clock.advance(1.0)
        desk.write(reading(pv_w=7000))
        assert desk.sim.values[200] == 3000
        assert caplog.text.count("clamped_to=3000") == 1
        assert desk.sim.counters.rpc_errors == 0


def test_a_component_of_somebody_else_is_left_alone_and_the_other_four_go_on(clock, caplog):
    with Desk(clock, components=components(number_201={"owner": "service:0"})) as desk:
        for _ in range(40):
            desk.step()
        assert desk.sim.values[201] == 0 and desk.sim.values[200] == round(2800.4 + 40)
        assert caplog.text.count("belongs to service:0") == 1


def test_another_unit_means_not_ours(clock, caplog):
    with Desk(clock, components=components(number_202=unit_of("°C"))) as desk:
        desk.step()
        assert desk.sim.values[202] == 0 and desk.sim.values[203] != 0
        assert "number:202 is in °C, not in W" in caplog.text


def test_adopt_writes_it_all_the_same(clock):
    with Desk(clock, components=components(number_202=unit_of("")), adopt=True) as desk:
        desk.step()
        assert desk.shows_newest


def test_a_device_where_everything_is_somebody_elses_is_an_error_that_says_what_to_do(clock):
    owned = {f"number_{number}": {"owner": "service:0"} for number in range(200, 205)}
    with Desk(clock, components=components(**owned)) as desk:
        assert "run: sigen-bridge shelly setup" in desk.step()
        assert desk.sets() == 0


def test_a_missing_component_is_said_once_and_shown_when_it_comes_back(clock, caplog):
    with Desk(clock, components=[each for each in s3_components() if each["key"] != "number:204"][:4]) as desk:
        for _ in range(5):
            desk.step()
        assert caplog.text.count("component=number:204 state=missing") == 1
        assert desk.sim.values[203] == round(-(8540.2 + 5))
        desk.client.call("Virtual.Add", {"type": "number", "id": 204, "config": {
            "max": 100000, "meta": {"ui": {"unit": "W"}}}})
        desk.step()
        desk.step()
        assert desk.shows_newest


@ALL
def test_a_component_deleted_in_flight_stops_alone_and_is_not_hammered(clock, transport, caplog):
    with Desk(clock, transport) as desk:
        desk.step()
        desk.sim.delete("number:202")
        for _ in range(120):
            desk.step()
        assert desk.sim.values[203] == round(-(8540.2 + 121)) and 202 not in desk.sim.values
        assert desk.sim.counters.rpc_errors <= 2
        assert caplog.text.count("number:202") <= 2


@pytest.mark.parametrize("notify", ["full", "value"])
def test_another_writer_is_said_once_and_overwritten_at_once(clock, caplog, notify):
    with Desk(clock, device={"notify": notify}) as desk:
        desk.write(reading())
        for _ in range(3):
            desk.sim.write_as_other("number:203", 42)
            clock.advance(1.0)
            clock.wait(0)
            for _ in range(50):  # the notification is on its way
                desk.write(reading())
                if desk.sim.values[203] == -8540:
                    break
                _settle()
            assert desk.sim.values[203] == -8540
        assert caplog.text.count("other_writer=yes") == 1


@pytest.mark.parametrize("notify", ["full", "value"])
def test_our_own_echoes_are_not_another_writer(clock, caplog, notify):
    with Desk(clock, device={"notify": notify}) as desk:
        for _ in range(30):
            desk.step()
            _settle()
        assert "other_writer" not in caplog.text
        assert desk.sets() == 30 * 5


def test_over_http_another_writer_is_found_within_ten_seconds(clock, caplog):
    with Desk(clock, "http") as desk:
        desk.write(reading())
        desk.sim.write_as_other("number:203", 42)
        for _ in range(11):
            clock.advance(1.0)
            desk.write(reading())
        assert desk.sim.values[203] == -8540 and "other_writer=yes" in caplog.text


@pytest.mark.parametrize("transport, within_s", [("ws", 2), ("http", 11), ("script", 11)])
def test_after_a_reboot_all_five_are_written_again_although_nothing_changed(clock, transport, within_s):
    with Desk(clock, transport) as desk:
        desk.write(reading())
        shown = dict(desk.sim.values)
        desk.sim.reboot()
        assert desk.sim.values != shown
        _settle()
        for _ in range(within_s):
            clock.advance(1.0)
            desk.write(reading())
        assert desk.sim.values == shown


def test_a_reboot_that_takes_a_while_is_over_two_seconds_after_it(clock):
    with Desk(clock, device={"boot_s": 8.0}) as desk:
        desk.step()
        desk.sim.reboot()
        for _ in range(8):
            desk.step()
        desk.step()
        desk.step()
        assert desk.shows_newest


def test_another_device_at_the_address_gets_nothing(clock):
    with Desk(clock) as desk:
        desk.step()
        desk.sim.fault("wrong_mac", mac="112233445566")
        _settle()  # the old connection has to die first, as it would with another device
        before = desk.sets()
        for _ in range(10):
            desk.step()
        assert desk.sets() == before
        assert "is 112233445566, not AABBCCDDEEFF; nothing is written to it" in desk.errors[-1]


def test_a_bound_mac_is_checked_at_the_first_contact_in_any_spelling(clock):
    with Desk(clock, mac="aa:bb:cc:dd:ee:00") as desk:
        assert "not AABBCCDDEE00" in desk.step() and desk.sets() == 0
    with Desk(clock, mac="aa-bb-cc-dd-ee-ff") as desk:
        assert desk.step() is None


def test_with_a_wrong_password_the_device_is_left_in_peace(clock):
    with Desk(clock, password="right", login="wrong", firmware="2.0.1") as desk:
        for _ in range(120):
            desk.step()
        assert desk.sets() == 0 and desk.sim.counters.auth_failures == 1
        assert "set shelly.password" in desk.errors[-1] and "wrong" not in desk.errors[-1]


@pytest.mark.parametrize("transport", ["ws", "http"])
@pytest.mark.parametrize("firmware", ["1.7.4", "2.0.0", "2.0.1"])
def test_one_challenge_serves_an_hour_of_signed_writes(clock, transport, firmware):
    with Desk(clock, transport, password="pw", firmware=firmware) as desk:
        for _ in range(60):
            desk.step()
        assert desk.shows_newest and desk.errors == []
        assert desk.sim.counters.auth_challenges == 1 and desk.sim.counters.auth_failures == 0


@pytest.mark.parametrize("firmware", ["1.7.4", "2.0.0", "2.0.1"])
def test_a_nonce_that_has_grown_old_is_replaced_without_an_error(clock, firmware):
    with Desk(clock, password="pw", firmware=firmware) as desk:
        desk.step()
        desk.step(3601)
        desk.step()
        assert desk.shows_newest and desk.errors == []
        assert desk.sim.counters.auth_challenges == 2


@pytest.mark.parametrize("firmware", ["2.0.0", "2.0.1"])
def test_a_full_login_table_is_escaped_from_by_an_unsigned_request(clock, firmware):
    from tests.sim.shelly_wire import get

    with Desk(clock, "http", password="pw", firmware=firmware) as desk:
        for _ in range(40):
            get(desk.sim, "/rpc/Sys.GetStatus")
        for _ in range(25):
            desk.step()
        assert desk.shows_newest


def test_a_password_set_while_we_run_is_asked_for_and_named(clock):
    with Desk(clock) as desk:
        desk.step()
        desk.sim.device.digest.protect(desk.sim.device.identity.id, "pw")
        assert "shelly.password is not set" in desk.step()


def test_a_burst_is_one_round_trip(clock):
    """All five frames are on the wire before the first answer is."""
    with Desk(clock) as desk:
        desk.step()
        desk.sim.fault("slow", delay_s=0.02, method="Number.Set", count=5)
        assert desk.step() is None
        assert desk.sim.counters.ws_connections == 1 and desk.sim.counters.http_requests == 0


def test_a_device_that_says_enough_is_written_half_as_often_and_recovers(clock):
    with Desk(clock) as desk:
        desk.step()
        desk.sim.fault("rate_limited", count=1)
        desk.step()
        before = desk.sets()
        for _ in range(20):
            desk.step()
        assert desk.sets() - before == 50
        for _ in range(60):
            desk.step()
        before = desk.sets()
        for _ in range(10):
            desk.step()
        assert desk.sets() - before == 50


def test_a_websocket_that_is_refused_gives_way_to_http_at_half_rate_and_is_tried_again(clock, caplog):
    caplog.set_level("INFO")
    with Desk(clock, "auto") as desk:
        desk.sim.fault("ws_refused")
        desk.step()
        assert desk.shows_newest and desk.client.transport == "http" and desk.client.degraded
        before = desk.sets()
        for _ in range(10):
            desk.step()
        assert desk.sets() - before == 25
        desk.sim.clear()
        for _ in range(31):
            desk.step()
        assert desk.client.transport == "ws" and not desk.client.degraded


def test_a_websocket_that_keeps_breaking_gives_way_to_http(clock):
    with Desk(clock, "auto") as desk:
        for _ in range(8):
            desk.step()
            desk.sim.fault("ws_drop")
        assert desk.client.transport == "http"


def test_a_half_open_websocket_is_found_by_a_ping_although_nothing_changes(clock):
    with Desk(clock, "ws", heartbeat_s=3600) as desk:
        desk.write(reading())
        desk.sim.fault("ws_half_open")
        desk.sim.device.board.counters.ws_connections = 0
        for _ in range(40):
            clock.advance(1.0)
            desk.write(reading())
        assert any("a ping got no answer" in error for error in desk.errors)


@ALL
def test_freshness_text_says_source_then_stale_and_why(clock, transport):
    text = {"key": "text:200", "config": {"name": "Data"}}
    with Desk(clock, transport, components=[*s3_components(), text], freshness="text:200") as desk:
        shown = desk.sim.device.components.by_key["text:200"]
        desk.step()
        assert shown.value == "live modbus-tcp"
        clock.advance(1.0)
        desk.write(invalid(reading(), "stale: no reading for 6 s"))
        assert shown.value.startswith("stale: ") and "no reading for 6 s" in shown.value
        desk.step()
        assert shown.value == "live modbus-tcp" and desk.shows_newest


def test_freshness_names_the_age_of_old_values_in_minutes(clock):
    text = {"key": "text:200", "config": {"name": "Data"}}
    with Desk(clock, components=[*s3_components(), text], freshness="text:200") as desk:
        desk.write(reading(mono=clock.monotonic() - 290)._replace(source="cloud-openapi"))
        assert desk.sim.device.components.by_key["text:200"].value == "cloud-openapi, 5 min old"


def test_freshness_boolean_is_true_while_valid_and_the_reason_is_not_rewritten_each_second(clock):
    boolean = {"key": "boolean:200", "config": {"name": "Data"}}
    with Desk(clock, components=[*s3_components(), boolean], freshness="boolean:200") as desk:
        shown = desk.sim.device.components.by_key["boolean:200"]
        desk.step()
        assert shown.value is True
        for age in range(10):
            clock.advance(1.0)
            desk.write(invalid(reading(), f"no answer for {age} s"))
        assert shown.value is False and desk.sim.counters.rpc["Boolean.Set"] == 2


def test_a_stale_text_with_an_age_in_it_is_written_twice_a_minute(clock):
    text = {"key": "text:200", "config": {"name": "Data"}}
    with Desk(clock, components=[*s3_components(), text], freshness="text:200", heartbeat_s=3600) as desk:
        desk.step()
        for age in range(60):
            clock.advance(1.0)
            desk.write(invalid(reading(), f"no answer for {age} s"))
            _settle()
        assert desk.sim.counters.rpc["Text.Set"] <= 4


def test_a_missing_freshness_component_does_not_stop_the_numbers(clock, caplog):
    with Desk(clock, freshness="text:200") as desk:
        for _ in range(5):
            desk.step()
        assert desk.shows_newest and caplog.text.count("text:200 state=missing") == 1


@pytest.mark.parametrize("key", ["number:205", "text", "text:", "text:x", "foo:200"])
def test_a_freshness_component_must_be_a_text_or_a_boolean(clock, key):
    with pytest.raises(ConfigError, match="is not text:ID or boolean:ID"):
        ShellySink(None, 200, clock, freshness=key)


class TestScript:
    """The helper script, executed by a real JavaScript engine."""

    @pytest.fixture
    def desk(self, clock):
        from bridge.peers.shelly_script import install_script, script_source

        text = {"key": "text:200", "config": {"name": "Data"}}
        with Desk(clock, "script", components=[*s3_components(), text], freshness="text:200",
                  device={"script_runner": QuickJsRun}) as desk:
            install_script(desk.client.call, script_source())
            yield desk

    def test_a_cycle_is_one_request_and_all_values_change_together(self, desk):
        desk.step()
        before = desk.sim.counters.http_requests
        for _ in range(5):
            desk.step()
        assert desk.shows_newest and desk.sim.counters.http_requests - before == 5
        assert desk.sets() == 0

    def test_the_device_itself_says_stale_when_the_bridge_dies(self, desk, clock):
        desk.step()
        shown = desk.sim.device.components.by_key["text:200"]
        numbers = dict(desk.sim.values)
        for _ in range(20):
            clock.advance(1.0)
        assert shown.value == "stale: the bridge is silent" and desk.sim.values == numbers

    def test_a_bridge_with_nothing_new_to_show_is_not_called_stale(self, desk, clock):
        for _ in range(40):
            clock.advance(1.0)
            desk.write(reading(mono=clock.monotonic()))
        assert desk.sim.device.components.by_key["text:200"].value == "live modbus-tcp"

    def test_a_script_that_stops_is_replaced_by_single_calls_and_used_again_when_it_runs(self, desk, caplog):
        desk.step()
        desk.client.call("Script.Stop", {"id": 1})
        desk.step()
        assert desk.shows_newest and desk.sets() > 0
        assert desk.step() is None and caplog.text.count("helper_script=missing") == 1
        desk.client.call("Script.Start", {"id": 1})
        for _ in range(61):
            desk.step()
        before = desk.sets()
        desk.step()
        assert desk.shows_newest and desk.sets() == before

    def test_a_component_that_is_gone_does_not_hold_up_the_others(self, desk):
        desk.step()
        desk.sim.delete("number:202")
        for _ in range(3):
            desk.step()
        assert desk.sim.values[204] == 11340 + desk.number


def test_pace_goes_down_for_lasting_complaints_and_comes_back():
    pace = Pace()
    for second in range(0, 120, 2):
        if pace.due(second):
            pace.slow(second)
    assert not pace.due(121)
    now = 200.0
    while now < 700:
        if pace.due(now):
            pace.good(now)
        now += 1
    pace.good(now)
    assert pace.due(now)


def test_patience_tries_a_dead_link_each_second_and_a_wrong_device_seldom():
    from bridge.errors import LinkError, ShellyError

    def attempts(error):
        patience, count = Patience(), 0
        for second in range(600):
            try:
                patience.check(float(second))
            except type(error):
                continue
            patience.failed(error, float(second))
            count += 1
        return count

    assert attempts(LinkError("gone")) == 600
    assert 30 < attempts(ShellyError("wrong")) < 70


def _settle():
    """Give the simulator's thread the moment it needs to send what it has queued."""
    from bridge.clock import Clock

    Clock().wait(0.01)
