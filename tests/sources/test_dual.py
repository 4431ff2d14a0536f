"""The dual source and its background thread, with sources that are told what to do."""

from __future__ import annotations

import threading

import pytest

from bridge.clock import Clock
from bridge.errors import LinkError, LinkTimeout, RateLimited
from bridge.model import Reading, invalid
from bridge.sources.background import Background
from bridge.sources.dual import DualSource
from bridge.sources.failover import Failover
from tests.commands.conftest import until


class Script:
    """A source that does what ``outcome`` says; a callable is called."""

    name, peer = "modbus-tcp", "192.0.2.7:502"

    def __init__(self, clock, source="modbus-tcp"):
        self.clock, self.source, self.outcome, self.reads, self.closed = clock, source, None, 0, False
        self.prepared = 0

    def read(self):
        self.reads += 1
        if isinstance(self.outcome, Exception):
            raise self.outcome
        if callable(self.outcome):
            self.outcome()
        return Reading(self.clock.now(), self.clock.monotonic(), self.source, pv_w=self.reads)

    def prepare(self):
        self.prepared += 1

    def next_in_s(self):
        return 300.0

    def close(self):
        self.closed = True


@pytest.fixture
def pair(clock):
    local, cloud = Script(clock), Script(clock, "cloud")
    background = Background(cloud, clock, "cloud")
    return local, cloud, DualSource(local, background, clock, Failover(10.0, 3)), background


def outage(clock, source, seconds):
    """Read once a second through an outage; return the last outcome."""
    outcome = None
    for _ in range(seconds):
        clock.advance(1)
        try:
            outcome = source.read()
        except LinkError as error:
            outcome = error
        Clock().wait(0.01)  # the background thread is a real one
    return outcome


def test_the_cloud_is_not_touched_while_modbus_is_fine(clock, pair):
    local, cloud, dual, _ = pair
    for _ in range(20):
        dual.read()
        clock.advance(1)
    assert cloud.reads == cloud.prepared == 0


def test_modbus_lost_shows_the_cloud_and_one_call_is_made(clock, pair):
    local, cloud, dual, _ = pair
    dual.read()
    local.outcome = LinkTimeout("silent")
    outcome = outage(clock, dual, 60)
    assert outcome.source == "cloud" and cloud.reads == 1 and cloud.prepared == 1
    assert local.reads == 61
    assert dual.health()["state"] == "cloud" and dual.health()["local_error"] == "silent"


def test_coming_back_takes_three_good_reads_in_one_cycle(clock, pair):
    local, _, dual, _ = pair
    dual.read()
    local.outcome = LinkTimeout("silent")
    outage(clock, dual, 20)
    local.outcome, before = None, local.reads
    clock.advance(1)
    assert dual.read().source == "modbus-tcp"
    assert local.reads == before + 3


def test_a_single_good_read_is_not_enough(clock, pair):
    local, _, dual, _ = pair
    dual.read()
    local.outcome = LinkTimeout("silent")
    outage(clock, dual, 20)

    def once():
        local.outcome = LinkTimeout("silent again")

    local.outcome = once
    clock.advance(1)
    assert dual.read().source == "cloud"


def test_readings_that_stay_invalid_are_a_loss_too(clock, pair):
    local, cloud, dual, _ = pair
    dual.read()
    real = local.read
    local.read = lambda: invalid(real(), "frozen")
    assert outage(clock, dual, 20).source == "cloud"


def test_a_cloud_value_is_shown_for_fifteen_minutes_and_no_longer(clock, pair):
    local, cloud, dual, _ = pair
    dual.read()
    local.outcome = LinkTimeout("silent")
    assert outage(clock, dual, 15).source == "cloud"
    cloud.outcome = LinkError("cloud is down")
    clock.advance(880)
    assert dual.read().source == "cloud"
    clock.advance(30)
    with pytest.raises(LinkError, match="silent.*cloud: cloud is down"):
        outcome = outage(clock, dual, 3)
        raise outcome


@pytest.mark.timing
def test_a_hanging_cloud_keeps_nobody_waiting(clock, pair):
    local, cloud, dual, background = pair
    dual.read()
    let_go = threading.Event()
    cloud.outcome = lambda: let_go.wait(5)
    local.outcome = LinkTimeout("silent")
    real = Clock()
    begun = real.monotonic()
    outage(clock, dual, 30)
    assert real.monotonic() - begun < 2 and cloud.reads == 1
    let_go.set()
    assert until(lambda: background.latest is not None)
    assert dual.read().source == "cloud"


def test_the_cloud_is_asked_again_only_after_its_own_pause(clock, pair):
    local, cloud, dual, background = pair
    local.outcome, cloud.outcome = LinkTimeout("silent"), RateLimited("1110", 250.0)
    outage(clock, dual, 100)
    assert cloud.reads == 1 and "1110" in background.error
    cloud.outcome = None
    outage(clock, dual, 200)
    assert cloud.reads == 2 and background.error is None


def test_closing_closes_both(clock, pair):
    local, cloud, dual, _ = pair
    dual.close()
    assert local.closed and cloud.closed


def test_an_hour_on_the_cloud_is_one_call_in_five_minutes(tmp_path):
    from bridge.sources.openapi import OpenApiSource
    from tests.peers.cloud_bench import cloud_bench

    with cloud_bench(tmp_path, values=lambda: (1000, 55.5, 400, -200, 400)) as bench:
        clock, local = bench.clock, Script(bench.clock)
        local.outcome = LinkTimeout("silent")
        cloud = Background(OpenApiSource(bench.client(), clock), clock, "cloud")
        dual = DualSource(local, cloud, clock, Failover(10.0, 3))
        sources = set()
        for _ in range(3600):
            clock.advance(1)
            try:
                sources.add(dual.read().source)
            except LinkError:
                pass
            until(lambda: not cloud.busy, 5)
        calls = bench.sim.times("energyFlow")
        assert sources == {"cloud"} and 11 <= len(calls) <= 13
        assert min(later - earlier for earlier, later in zip(calls, calls[1:])) >= 300
        dual.close()
