"""The one-slot outbox: never blocks, never dies, keeps only the newest."""

from __future__ import annotations

import threading

import pytest

from bridge.clock import Clock
from bridge.errors import LinkError
from bridge.model import Reading
from bridge.sinks.outbox import Outbox

PATIENCE_S = 5.0


def reading(number):
    return Reading(at=float(number), mono=float(number), source="test", pv_w=number)


class Faults:
    def __init__(self):
        self.bads, self.goods = [], 0

    def bad(self, text):
        self.bads.append(text)

    def good(self):
        self.goods += 1


class SlowSink:
    """Holds each write until it is let go."""

    name = "slow"

    def __init__(self):
        self.let_go, self.begun, self.shown = threading.Semaphore(0), threading.Semaphore(0), []
        self.closed = threading.Event()
        self.errors = []

    def write(self, reading):
        self.begun.release()
        assert self.let_go.acquire(timeout=PATIENCE_S)
        if self.errors:
            raise self.errors.pop(0)
        self.shown.append(reading.pv_w)

    def close(self):
        self.closed.set()


@pytest.fixture
def sink():
    return SlowSink()


@pytest.fixture
def faults():
    return Faults()


@pytest.fixture
def outbox(sink, faults):
    box = Outbox(sink, Clock(), faults)
    yield box
    for _ in range(10):
        sink.let_go.release()
    assert box.close(PATIENCE_S)


def test_offers_return_at_once_and_the_newest_wins(outbox, sink):
    outbox.offer(reading(1))
    assert sink.begun.acquire(timeout=PATIENCE_S)  # the first is being written and hangs
    clock = Clock()
    begun = clock.monotonic()
    for number in range(2, 100):
        outbox.offer(reading(number))
    assert clock.monotonic() - begun < 0.5
    sink.let_go.release()
    assert sink.begun.acquire(timeout=PATIENCE_S)
    sink.let_go.release()
    assert outbox.close(PATIENCE_S)
    assert sink.shown == [1, 99]
    assert (outbox.offered, outbox.written, outbox.dropped) == (99, 2, 97)


def test_a_failure_is_reported_and_the_next_reading_is_written(outbox, sink, faults):
    sink.errors.append(LinkError("shelly x: gone"))
    for number in (1, 2):
        sink.let_go.release()
        outbox.offer(reading(number))
        assert sink.begun.acquire(timeout=PATIENCE_S)
        while outbox.errors + outbox.written < number:
            Clock().wait(0.005)
    assert sink.shown == [2] and outbox.errors == 1
    assert faults.bads == ["shelly x: gone"] and faults.goods == 1
    assert outbox.health()["ok"] is True and outbox.health()["error"] is None
    assert outbox.last_ok is not None


def test_a_bug_in_a_sink_is_named_by_its_type_only_and_does_not_end_the_thread(outbox, sink, faults):
    sink.errors.append(KeyError("a secret"))
    sink.let_go.release()
    outbox.offer(reading(1))
    assert sink.begun.acquire(timeout=PATIENCE_S)
    while not outbox.errors:
        Clock().wait(0.005)
    assert outbox.health()["ok"] is False and outbox.last_error == faults.bads[0]
    assert "KeyError" in faults.bads[0] and "secret" not in faults.bads[0]
    sink.let_go.release()
    outbox.offer(reading(2))
    while not outbox.written:
        Clock().wait(0.005)
    assert sink.shown == [2]


def test_closing_writes_what_waits_and_then_closes_the_sink(sink, faults):
    box = Outbox(sink, Clock(), faults)
    sink.let_go.release()
    box.offer(reading(7))
    assert box.close(PATIENCE_S)
    assert sink.shown == [7] and sink.closed.is_set()


def test_an_outbox_that_never_had_a_reading_closes_its_sink(sink, faults):
    assert Outbox(sink, Clock(), faults).close(0.1)
    assert sink.closed.is_set()


def test_a_sink_that_hangs_does_not_hold_up_the_end(sink, faults):
    box = Outbox(sink, Clock(), faults)
    box.offer(reading(1))
    assert sink.begun.acquire(timeout=PATIENCE_S)
    assert box.close(0.05) is False
    sink.let_go.release()
    assert box.close(PATIENCE_S)


def test_nothing_is_taken_after_the_end(sink, faults):
    box = Outbox(sink, Clock(), faults)
    box.close(1.0)
    box.offer(reading(1))
    assert box.offered == 0
