"""What a device with loads on it does for us, on simulated Shellys: armed, renewed, never against somebody's hand."""

from __future__ import annotations

import pytest

from bridge.clock import ManualClock
from bridge.faultlog import FaultLog
from bridge.peers.shelly import ShellyClient
from bridge.peers.shelly_switch import em_status
from bridge.sim.shelly import ShellySim
from bridge.sinks.relays import Order, RelayDevice
from bridge.sources.em import EmMeter

PASSWORD = "open sesame"
DEAD_MAN_S = 120.0


class Bench:
    """A Shelly and our device on one manual clock; ``pass_s`` lets the device's thread take its turns."""

    def __init__(self, password=None, firmware="1.7.4", app="Pro2", transport="http"):
        self.clock = ManualClock()
        self.sim = ShellySim(self.clock, firmware=firmware, password=password, app=app).start()
        client = ShellyClient(self.sim.address, self.clock, password, transport, needed=())
        self.device = RelayDevice(client, {"boiler": 0, "pump": 1}, self.clock, FaultLog(self.clock, "loads.boiler"),
                                  DEAD_MAN_S, 2.0)
        self.kept = set()
        self.next_at = 0.0

    def pass_s(self, seconds, step_s=1.0):
        until = self.clock.monotonic() + seconds
        while self.clock.monotonic() < until:
            for name in ("boiler", "pump"):
                self.device.keep(name, name in self.kept)
            if self.clock.monotonic() >= self.next_at:
                self.step()
            self.clock.advance(step_s)

    def on(self, channel=0):
        return self.sim.device.relays.relays[channel].on

    def order(self, name, on):
        at = self.clock.monotonic()
        self.device.order(name, Order(on, at))
        self.step()
        return at

    def step(self):
        self.device.step()
        self.next_at = self.clock.monotonic() + self.device.due_in_s()


@pytest.fixture(params=[("1.7.4", None, "http"), ("1.7.4", PASSWORD, "http"), ("2.0.0", PASSWORD, "http"),
                        ("2.0.1", PASSWORD, "ws")], ids=lambda each: "-".join(str(part) for part in each if part))
def bench(request):
    firmware, password, transport = request.param
    made = Bench(password, firmware, transport=transport)
    yield made
    made.device.close()
    made.sim.stop()


@pytest.fixture
def plain():
    made = Bench()
    yield made
    made.device.close()
    made.sim.stop()


def test_a_start_is_armed_and_told_with_the_order_it_answers(bench):
    at = bench.order("boiler", True)
    seen = bench.device.seen()["boiler"]
    assert seen.on is True and seen.applied_mono == at and bench.on()
    assert bench.sim.device.relays.relays[0].timer_duration == DEAD_MAN_S


def test_who_falls_silent_loses_the_load_to_its_own_timer(bench):
    bench.order("boiler", True)
    bench.clock.advance(DEAD_MAN_S - 1)
    assert bench.on()
    bench.clock.advance(2)
    assert not bench.on()
    bench.device.step()
    assert bench.device.seen()["boiler"].source == "timer"


def test_a_load_that_is_kept_stays_on_for_an_hour_without_the_relay_moving(bench):
    bench.order("boiler", True)
    bench.kept.add("boiler")
    bench.pass_s(3600)
    assert bench.on()
    moves = [written for written in bench.sim.history if written.key == "switch:0"]
    assert {written.value for written in moves} == {True}
    assert 55 <= len(moves) <= 66, "renewed once a minute"
    assert bench.sim.counters.auth_failures == 0 and bench.sim.counters.auth_throttled == 0


def test_no_renewal_without_a_fresh_decision(plain):
    plain.order("boiler", True)
    plain.kept.add("boiler")
    plain.pass_s(20)
    plain.kept.clear()
    for _ in range(70):  # the loop that decides hangs; the device's thread lives on
        plain.clock.advance(2.0)
        plain.device.step()
    assert not plain.on()


def test_what_somebody_switched_off_is_not_renewed(bench):
    bench.order("boiler", True)
    bench.kept.add("boiler")
    bench.pass_s(58)
    bench.sim.device.relays.put(0, False, "UI")
    bench.pass_s(120)
    assert not bench.on() and bench.device.seen()["boiler"].source == "UI"
    assert [w.source for w in bench.sim.history if w.key == "switch:0"][-1] == "UI"


def test_a_hand_between_look_and_renewal_has_its_way(plain, monkeypatch):
    plain.order("boiler", True)
    plain.kept.add("boiler")
    plain.pass_s(55)
    real = plain.device._client.call

    def quicker(method, params):
        if method == "Switch.Set":
            plain.sim.device.relays.put(0, False, "input")
            monkeypatch.setattr(plain.device._client, "call", real)
        return real(method, params)

    monkeypatch.setattr(plain.device._client, "call", quicker)
    plain.pass_s(20)
    assert not plain.on() and plain.device.seen()["boiler"].on is False


def test_a_stop_takes_the_timer_away(plain):
    plain.order("boiler", True)
    plain.order("boiler", False)
    assert not plain.on()
    plain.clock.advance(500)
    assert not plain.on(), "a timer that was left would have flipped it"


def test_an_unreachable_device_is_unknown_and_an_old_order_is_not_carried_out(plain):
    plain.sim.fault("offline_refused")
    at = plain.order("boiler", True)
    assert plain.device.seen()["boiler"].on is None
    plain.pass_s(20)
    plain.sim.clear()
    plain.pass_s(60)
    seen = plain.device.seen()["boiler"]
    assert seen.on is False and not plain.on() and seen.applied_mono != at


def test_an_order_is_tried_again_while_it_is_fresh(plain):
    plain.sim.fault("offline_refused", for_s=3.0)
    at = plain.order("boiler", True)
    assert not plain.on()
    plain.pass_s(6)
    assert plain.on() and plain.device.seen()["boiler"].applied_mono == at


def test_another_device_at_the_address_is_not_switched(plain):
    plain.pass_s(3)
    plain.sim.fault("wrong_mac")
    plain.order("boiler", True)
    assert not plain.on() and plain.device.seen()["boiler"].on is None


def test_an_output_without_a_meter_has_no_power_and_one_with_a_meter_has(plain):
    plain.pass_s(3)
    assert plain.device.seen()["boiler"].power_w is None
    metered = Bench(app="Pro2PM")
    metered.sim.device.relays.relays[0].load_w = 2000.0
    metered.order("boiler", True)
    assert metered.device.seen()["boiler"].power_w == 2000.0
    metered.device.close()
    metered.sim.stop()


def test_looks_are_two_seconds_apart_and_far_apart_while_it_is_away(plain):
    plain.pass_s(60)
    assert 28 * 2 <= plain.sim.counters.rpc["Switch.GetStatus"] <= 31 * 2
    plain.sim.fault("http_500")
    before = plain.sim.counters.http_requests
    plain.pass_s(300)
    assert plain.sim.counters.http_requests - before <= 30


class Em:
    """What answers EM calls as a Pro 3EM's pages describe it."""

    def __init__(self, **answers):
        self.answers = answers

    def call(self, method, params):
        from bridge.errors import Rejected

        name = method.partition(".")[0]
        if name not in self.answers:
            raise Rejected("no handler", 404)
        told = self.answers[name]
        return told[params["id"]] if isinstance(told, list) else told


def test_a_three_phase_meter_is_read_with_its_errors():
    told = {"a_act_power": 1200.5, "b_act_power": -300.0, "c_act_power": None, "total_act_power": 900.0,
            "errors": ["phase_sequence"], "a_errors": ["out_of_range:voltage"]}
    status = em_status(Em(EM=told))
    assert status.phases == (1200.5, -300.0, None) and status.total_w == 900.0
    assert status.errors == ("phase_sequence", "out_of_range:voltage")


def test_three_single_meters_stand_in_for_one():
    status = em_status(Em(EM1=[{"act_power": 1.0}, {"act_power": 2.0}, {"act_power": 3.5}]))
    assert status.phases == (1.0, 2.0, 3.5) and status.total_w == 6.5


def test_a_meter_shows_only_what_is_whole(clock):
    meter = EmMeter(Em(EM={"a_act_power": 1.0, "b_act_power": None, "c_act_power": 2.0}), clock, FaultLog(clock, "em"))
    assert meter.step() and meter.latest is None
    assert not EmMeter(Em(), clock, FaultLog(clock, "em")).step()
