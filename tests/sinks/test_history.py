"""An hour in a fixed piece of memory: nothing invented, nothing lost that was there, whatever the clock does."""

from __future__ import annotations

import sys

from bridge.model import FIVE, Reading
from bridge.sinks.history import SLOTS, STEP_S, History


def reading(mono, source="modbus-tcp", **values):
    return Reading(0.0, mono, source, **{"pv_w": mono, **values})


def test_one_sample_in_five_seconds_is_kept():
    history = History()
    for mono in range(1000, 1020):
        history.write(reading(mono))
    assert history.series("pv_w", 1019.9, 4) == (1020.0, STEP_S, (1000.0, 1005.0, 1010.0, 1015.0))


def test_what_is_unknown_or_not_valid_is_none_and_never_zero():
    history = History()
    history.write(reading(1000, soc_pct=0.0))
    history.write(reading(1005, pv_w=None, soc_pct=None))
    history.write(reading(1010, valid=False))
    assert history.series("pv_w", 1014, 3).values == (1000.0, None, None)
    assert history.series("soc_pct", 1014, 3).values == (0.0, None, None)
    assert history.series("grid_w", 1014, 3).values == (None, None, None)


def test_an_outage_is_a_gap_and_a_cloud_value_stands_for_minutes():
    history = History()
    history.write(reading(1000))
    history.write(reading(1020))
    assert history.series("pv_w", 1020, 5).values == (1000.0, None, None, None, 1020.0)
    cloud = History()
    cloud.write(reading(1000, "cloud-openapi"))
    cloud.write(reading(1020, "cloud-openapi"))
    assert cloud.series("pv_w", 1020, 5).values == (1000.0, 1000.0, 1000.0, 1000.0, 1020.0)
    cloud.write(reading(1020 + 1000, "cloud-openapi"))
    assert set(cloud.series("pv_w", 2015, 199).values) == {None}, "too old to stand for that long"


def test_the_same_old_cloud_value_again_changes_nothing():
    history = History()
    for _ in range(3):
        history.write(reading(1000, "cloud-openapi"))
    assert history.series("pv_w", 1010, 3).values == (1000.0, None, None)


def test_an_hour_is_kept_and_no_more():
    history = History()
    for step in range(2 * SLOTS + 7):
        history.write(reading(1000.0 + step * STEP_S))
    end = 1000.0 + (2 * SLOTS + 6) * STEP_S
    values = history.series("pv_w", end).values
    assert len(values) == SLOTS and values[-1] == end and values[0] == end - (SLOTS - 1) * STEP_S
    assert history.series("pv_w", end, SLOTS + 5).values[:5] == (None,) * 5
    assert set(history.series("pv_w", end + 3600 + STEP_S).values) == {None}


def test_a_gap_longer_than_the_ring_leaves_nothing_of_before():
    history = History()
    for step in range(SLOTS):
        history.write(reading(1000.0 + step * STEP_S))
    later = 1000.0 + 5 * SLOTS * STEP_S
    history.write(reading(later))
    assert history.series("pv_w", later).values == (None,) * (SLOTS - 1) + (later,)


def test_spans_count_from_the_first_reading():
    history = History()
    assert history.spans(1000.0) == 0 and history.series("pv_w", 1000.0, 2).values == (None, None)
    history.write(reading(1000))
    assert history.spans(1000.0) == 1 and history.spans(1059.0) == 12 and history.spans(1e6) == SLOTS


def test_it_takes_a_fixed_and_small_piece_of_memory():
    history = History()
    size = sum(sys.getsizeof(ring) for ring in history._rings)
    for step in range(3 * SLOTS):
        history.write(reading(step * STEP_S))
    assert sum(sys.getsizeof(ring) for ring in history._rings) == size < 16_384
    assert len(history._rings) == len(FIVE)
