"""Errands: others use the plant's one connection between two readings, never beside one."""

from __future__ import annotations

import threading

import pytest

from bridge.clock import Clock
from bridge.errands import MOST_WAITING, Errands
from bridge.errors import DeviceException, LinkError, LinkTimeout, RateLimited
from bridge.faultlog import FaultLog
from bridge.loop import Loop
from bridge.model import Reading


def asked(errands, act, timeout_s=5.0):
    """Ask from another thread; return (thread, list that gets the result or the error)."""
    found = []

    def ask():
        try:
            found.append(errands.ask(act, timeout_s))
        except Exception as error:  # noqa: BLE001 - the test looks at it
            found.append(error)

    thread = threading.Thread(target=ask)
    before = len(errands._waiting)
    thread.start()
    while len(errands._waiting) == before and thread.is_alive():
        thread.join(0.001)
    return thread, found


class Source:
    """Reads nothing but counts, and says when two things happen at once."""

    name = "modbus-tcp"

    def __init__(self, clock):
        self.clock, self.busy, self.reads = clock, False, 0

    def read(self):
        assert not self.busy
        self.reads += 1
        return Reading(self.clock.now(), self.clock.monotonic(), self.name, 1, 2.0, 3, 4, 5)

    def line(self):
        return self, 247

    def close(self):
        """Nothing."""


def loop_of(clock, source, interval_s):
    loop = Loop(source, lambda reading: None, clock, interval_s, FaultLog(clock, "source"))
    loop.where = source.line
    return loop


def test_an_errand_is_done_by_the_loop_between_two_readings():
    clock = Clock()
    source = Source(clock)
    loop = loop_of(clock, source, 0.3)
    runner = threading.Thread(target=loop.run)
    runner.start()
    try:
        threads = set()

        def act(link, unit):
            threads.add(threading.current_thread())
            return link.reads, unit

        assert loop.errands.ask(act)[1] == 247
        assert threads == {runner}
    finally:
        clock.stop()
        runner.join(5)


def test_the_error_of_an_errand_reaches_who_asked_and_nobody_else(clock):
    errands = Errands(clock)

    def act(link, unit):
        raise DeviceException("exception 2", 2)

    thread, found = asked(errands, act)
    errands.serve((None, 1), clock.monotonic() + 1, 0.1)
    thread.join(5)
    assert isinstance(found[0], DeviceException) and found[0].code == 2


def test_without_a_link_the_asker_is_told(clock):
    errands = Errands(clock)
    thread, found = asked(errands, lambda link, unit: 1)
    errands.serve(None, clock.monotonic() + 1, 0.1)
    thread.join(5)
    assert isinstance(found[0], LinkError)


def test_one_errand_is_done_even_without_time_and_the_next_one_waits(clock):
    errands = Errands(clock)
    one, first = asked(errands, lambda link, unit: "one")
    two, second = asked(errands, lambda link, unit: "two")
    errands.serve((None, 1), clock.monotonic(), 0.1)
    one.join(5)
    assert first == ["one"] and second == [] and errands.waiting
    errands.serve((None, 1), clock.monotonic(), 0.1)
    two.join(5)
    assert second == ["two"]


def test_what_nobody_waits_for_any_more_is_not_done(clock):
    errands, done = Errands(clock), []
    thread, found = asked(errands, lambda link, unit: done.append(1), timeout_s=0.01)
    thread.join(5)
    assert isinstance(found[0], LinkTimeout)
    errands.serve((None, 1), clock.monotonic() + 1, 0.1)
    assert done == []


def test_too_many_are_refused_and_a_closed_queue_refuses_all(clock):
    errands = Errands(clock)
    waiting = [asked(errands, lambda link, unit: 1) for _ in range(MOST_WAITING)]
    with pytest.raises(RateLimited):
        errands.ask(lambda link, unit: 1)
    errands.close()
    for thread, found in waiting:
        thread.join(5)
        assert isinstance(found[0], LinkError)
    with pytest.raises(LinkError, match="ending"):
        errands.ask(lambda link, unit: 1)


def test_a_defect_in_an_errand_does_not_end_the_loop():
    clock = Clock()
    loop = loop_of(clock, Source(clock), 0.05)
    runner = threading.Thread(target=loop.run)
    runner.start()
    try:
        with pytest.raises(LinkError, match="inside the bridge"):
            loop.errands.ask(lambda link, unit: {}["nothing"])
        assert loop.errands.ask(lambda link, unit: "still here") == "still here"
    finally:
        clock.stop()
        runner.join(5)
    assert "KeyError" in loop.last_error or loop.failed == 1


def test_stopping_wakes_a_loop_that_waits():
    clock = Clock()
    loop = loop_of(clock, Source(clock), 3600)
    runner = threading.Thread(target=loop.run)
    runner.start()
    clock.stop()
    runner.join(2)
    assert not runner.is_alive()
