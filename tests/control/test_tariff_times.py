"""When the job runs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.control.tariff_times import next_runs, offset_s, period_s, wait_s
from bridge.errors import ConfigError


@given(st.floats(1.7e9, 2e9), st.text(), st.sampled_from((300, 1800)), st.integers(1, 6))
def test_runs_lie_20_to_30_s_into_intervals_one_period_apart(now, name, every, count):
    times = next_runs(now, offset_s(name), every, count)
    assert len(times) == count and now < times[0] <= now + every
    assert all(20 <= at % every <= 30 for at in times)
    assert all(two - one == every for one, two in zip(times, times[1:]))


@pytest.mark.parametrize(("into", "wait"), [(0, 25), (24.5, 0.5), (25, 0), (60, 0), (299, 0)])
def test_a_job_started_early_waits_for_the_price(into, wait):
    assert wait_s(1_768_443_000 + into, 25) == wait


def test_installations_differ_but_each_stays_the_same():
    offsets = [offset_s(f"site {index}") for index in range(200)]
    assert set(offsets) == set(range(20, 31)) and offset_s("site 1") == offsets[1]


@pytest.mark.parametrize("seconds", [0, 60, 299, 3600])
def test_other_periods_are_refused(seconds):
    with pytest.raises(ConfigError, match="5m or 30m"):
        period_s(seconds)
