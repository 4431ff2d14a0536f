"""Relays of the Shelly simulator."""

from __future__ import annotations

import pytest

from bridge.sim.shelly import ShellySim
from tests.sim.shelly_wire import WebSocket, call, get


@pytest.fixture
def sim(clock):
    with ShellySim(clock) as device:
        yield device


def output(sim, number=0):
    return call(sim, "Switch.GetStatus", {"id": number})["result"]


def test_switch_set_tells_the_state_before(sim):
    assert call(sim, "Switch.Set", {"id": 0, "on": True})["result"] == {"was_on": False}
    assert get(sim, "/rpc/Switch.Set?id=0&on=false").json() == {"was_on": True}
    assert call(sim, "Switch.Toggle", {"id": 0})["result"] == {"was_on": False}
    assert output(sim)["output"] is True and output(sim, 1)["output"] is False


def test_source_names_the_channel(sim):
    call(sim, "Switch.Set", {"id": 0, "on": True})
    assert output(sim)["source"] == "HTTP_in"
    with WebSocket(sim) as ws:
        ws.call("Switch.Set", {"id": 0, "on": False})
        assert ws.next_notification()["params"]["switch:0"]["source"] == "WS_in"


def test_pro_2_has_no_meter_and_a_2pm_has(clock, sim):
    assert "apower" not in output(sim)
    with ShellySim(clock, app="Pro2PM", model="SPSW-202PE16EU") as metered:
        assert output(metered)["apower"] == -3.5
        metered.device.relays.relays[0].load_w = 2_000.0
        call(metered, "Switch.Set", {"id": 0, "on": True})
        clock.advance(1_800)
        status = output(metered)
        assert (status["apower"], status["aenergy"]["total"]) == (2_000.0, 1_000.0)


def test_toggle_after_falls_back_by_the_clock(sim, clock):
    call(sim, "Switch.Set", {"id": 0, "on": True, "toggle_after": 120})
    assert (output(sim)["timer_duration"], output(sim)["output"]) == (120, True)
    clock.advance(119)
    assert output(sim)["output"] is True
    clock.advance(2)
    assert (output(sim)["output"], output(sim)["source"]) == (False, "timer")
    assert "timer_duration" not in output(sim)


def test_renewed_toggle_after_holds_the_load(sim, clock):
    for _ in range(5):
        assert "result" in call(sim, "Switch.Set", {"id": 0, "on": True, "toggle_after": 120})
        clock.advance(60)
    assert output(sim)["output"] is True
    clock.advance(61)
    assert output(sim)["output"] is False


def test_plain_set_ends_the_timer(sim, clock):
    call(sim, "Switch.Set", {"id": 0, "on": True, "toggle_after": 10})
    call(sim, "Switch.Set", {"id": 0, "on": True})
    clock.advance(20)
    assert output(sim)["output"] is True


def test_timer_flip_is_notified(sim, clock):
    with WebSocket(sim) as ws:
        ws.call("Switch.Set", {"id": 1, "on": True, "toggle_after": 5})
        ws.next_notification()
        clock.advance(5)
        assert ws.next_notification()["params"]["switch:1"]["source"] == "timer"


def test_wall_switch_does_what_in_mode_says(sim):
    sim.press(0)
    assert (output(sim)["output"], output(sim)["source"]) == (True, "input")
    call(sim, "Switch.SetConfig", {"id": 0, "config": {"in_mode": "flip"}})
    sim.press(0)
    sim.press(0)
    assert output(sim)["output"] is True
    call(sim, "Switch.SetConfig", {"id": 0, "config": {"in_mode": "detached"}})
    sim.press(0)
    assert output(sim)["output"] is True
    assert call(sim, "Input.GetStatus", {"id": 0})["result"]["state"] is False
    call(sim, "Switch.SetConfig", {"id": 1, "config": {"in_locked": True}})
    sim.press(1)
    assert output(sim, 1)["output"] is False


@pytest.mark.parametrize("initial, after", [("off", False), ("on", True), ("restore_last", True),
                                            ("match_input", False)])
def test_reboot_brings_the_initial_state(sim, initial, after):
    call(sim, "Switch.SetConfig", {"id": 0, "config": {"initial_state": initial}})
    call(sim, "Switch.Set", {"id": 0, "on": True})
    sim.reboot()
    assert (output(sim)["output"], output(sim)["source"]) == (after, "init")


@pytest.mark.parametrize("method, params, code", [
    ("Switch.Set", {"id": 2, "on": True}, -105), ("Switch.Set", {"id": 0}, -103),
    ("Switch.Set", {"id": 0, "on": 1}, -103),
    ("Switch.Set", {"id": 0, "on": True, "toggle_after": "5"}, -103),
    ("Switch.GetStatus", {}, -103), ("Input.GetStatus", {"id": 9}, -105),
    ("Switch.SetConfig", {"id": 0, "config": {"initial_state": "maybe"}}, -103),
    ("Switch.SetConfig", {"id": 0, "config": {"colour": "red"}}, -103)])
def test_bad_arguments_are_refused(sim, method, params, code):
    assert call(sim, method, params)["error"]["code"] == code


def test_another_controller_takes_its_relay_back(sim, clock):
    sim.fault("relay_reverted", after_s=1.5)
    call(sim, "Switch.Set", {"id": 0, "on": True})
    clock.advance(1.0)
    assert output(sim)["output"] is True
    clock.advance(1.0)
    assert (output(sim)["output"], output(sim)["source"]) == (False, "SHC")
    sim.clear()
    call(sim, "Switch.Set", {"id": 0, "on": True})
    clock.advance(10)
    assert output(sim)["output"] is True
