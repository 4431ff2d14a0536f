"""When a broken connection is tried again."""

from __future__ import annotations

from bridge.link.backoff import JITTER, Backoff, luck


def test_pauses_double_up_to_the_most_and_begin_anew_after_a_success():
    backoff, now, pauses = Backoff(30.0, 100.0), 1000.0, []
    for _ in range(4):
        assert backoff.due(now)
        pauses.append(backoff.failed(now, 0.0))
        assert not backoff.due(now + pauses[-1] - 0.1)
        now += pauses[-1]
    assert pauses == [30.0, 60.0, 100.0, 100.0]
    backoff.worked()
    assert backoff.due(now) and backoff.failed(now, 0.0) == 30.0


def test_a_fault_that_needs_more_time_gets_it_and_jitter_only_adds():
    backoff = Backoff(30.0, 600.0)
    assert backoff.failed(0.0, 0.0, at_least_s=60.0) == 60.0
    assert backoff.failed(0.0, 1.0, at_least_s=300.0) == 300.0 * (1 + JITTER)
    assert backoff.in_s(10.0) == 300.0 * (1 + JITTER) - 10.0


def test_luck_is_between_0_and_1_and_not_always_the_same():
    drawn = {luck() for _ in range(50)}
    assert all(0 <= each <= 1 for each in drawn) and len(drawn) > 10
