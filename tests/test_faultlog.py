"""A fault is said once, counted, and its end is said."""

from __future__ import annotations

import logging

from bridge.faultlog import FaultLog


def test_an_hour_of_outage_is_at_most_ten_lines(clock, caplog):
    caplog.set_level(logging.INFO)
    faults = FaultLog(clock, "source")
    for _ in range(3600):
        faults.bad("no answer")
        clock.advance(1)
    for _ in range(120):
        faults.good()
        clock.advance(1)
    assert len(caplog.records) <= 10
    assert "no answer" in caplog.records[0].getMessage()
    assert "count=" in caplog.records[1].getMessage()
    assert "state=ok" in caplog.records[-1].getMessage()


def test_a_flapping_fault_is_said_within_the_bound(clock, caplog):
    caplog.set_level(logging.INFO)
    faults = FaultLog(clock, "source")
    for second in range(3600):
        (faults.bad if second % 3 else lambda _: faults.good())("reset")
        clock.advance(1)
    assert len(caplog.records) <= 10


def test_a_single_hiccup_ends_at_once(clock, caplog):
    caplog.set_level(logging.INFO)
    faults = FaultLog(clock, "source")
    faults.bad("reset")
    clock.advance(1)
    faults.good()
    faults.good()
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]


def test_ten_hiccups_in_an_hour_stay_within_the_bound(clock, caplog):
    caplog.set_level(logging.INFO)
    faults = FaultLog(clock, "source")
    for second in range(3600):
        if second % 20 == 0:
            faults.bad("reset")
        else:
            faults.good()
        clock.advance(1)
    assert len(caplog.records) <= 10
