"""When Modbus counts as lost, and when it counts as back."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bridge.sources.failover import CLOUD, LOCAL, SUSPECT, Failover

RULES = Failover(10.0, 3)


def play(rules, events):
    """Feed (seconds, good) pairs; return the states after each."""
    states = []
    for now, good in events:
        rules = rules.succeeded(now) if good else rules.failed(now)
        states.append(rules.state)
    return rules, states


def test_ten_seconds_of_failure_are_a_loss():
    _, states = play(RULES, [(0, True)] + [(second, False) for second in range(1, 13)])
    assert states == [LOCAL] + [SUSPECT] * 10 + [CLOUD] * 2


def test_a_hiccup_is_not():
    _, states = play(RULES, [(0, True), (1, False), (2, False), (3, True), (4, False), (12, False), (13, True)])
    assert CLOUD not in states and states[-1] == LOCAL


def test_three_good_reads_in_a_row_return():
    rules, _ = play(RULES, [(0, True), (1, False), (11.1, False)])
    assert rules.state == CLOUD
    _, states = play(rules, [(20, True), (21, True), (22, False), (23, True), (24, True), (25, True)])
    assert states == [CLOUD] * 5 + [LOCAL]


def test_a_start_without_a_plant_ends_at_the_cloud_and_one_good_read_at_home():
    assert play(RULES, [(second, False) for second in range(12)])[1][-1] == CLOUD
    assert play(RULES, [(0, False), (5, True)])[1][-1] == LOCAL


def test_recovery_works_after_days():
    rules, _ = play(RULES, [(0, True), (1, False), (11.1, False)] + [(second, False) for second in range(12, 300_000, 997)])
    assert play(rules, [(400_000, True), (400_001, True), (400_002, True)])[1][-1] == LOCAL


def test_the_cloud_is_asked_just_before_it_is_needed():
    rules, _ = play(RULES, [(0, True), (1, False)])
    assert not rules.wants_cloud(5) and rules.wants_login()
    assert rules.wants_cloud(9.6)
    assert not play(rules, [(9.7, True)])[0].wants_cloud(9.8)


@given(st.lists(st.tuples(st.floats(0.01, 30), st.booleans()), max_size=60))
def test_the_cloud_is_only_ever_reached_by_ten_seconds_without_a_good_read(steps):
    rules, now, last_good = RULES, 0.0, 0.0
    for step, good in steps:
        now += step
        before = rules.state
        rules = rules.succeeded(now) if good else rules.failed(now)
        if good:
            last_good = now
        if rules.state == CLOUD and before != CLOUD:
            assert now - last_good >= RULES.fall_after_s
        if good and before != CLOUD:
            assert rules.state == LOCAL
