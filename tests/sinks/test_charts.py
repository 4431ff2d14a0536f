"""What the small charts draw, and what they say to who does not see them."""

from __future__ import annotations

import re
from array import array
from math import nan

import pytest

from bridge.model import Reading
from bridge.sinks.charts import COLUMNS, HEIGHT, MARGIN, WIDTH, chart, columns, window_min
from bridge.sinks.history import History
from bridge.sinks.page_charts import CHARTS, chart_values


def slots(*values):
    return array("f", [nan if value is None else value for value in values])


def means(*values):
    return columns(slots(*values))


def points(path):
    return [tuple(map(float, point)) for point in re.findall(r"([\d.]+) ([\d.]+)", path)]


def test_the_scale_holds_zero_and_the_largest_value():
    drawn = chart(means(0.0, 500.0, 1000.0), 400)
    assert points(drawn.line) == [(0, HEIGHT - MARGIN), (WIDTH / 2, HEIGHT / 2), (WIDTH, MARGIN)]
    assert (drawn.top, drawn.bottom, drawn.zero, drawn.below) == (1000.0, 0.0, HEIGHT - MARGIN, "")


def test_both_directions_have_their_own_area_on_their_side_of_zero():
    drawn = chart(means(1000.0, -1000.0), 400)
    assert drawn.zero == HEIGHT / 2
    assert all(y <= drawn.zero for _, y in points(drawn.above)) and all(y >= drawn.zero for _, y in points(drawn.below))
    assert drawn.above and drawn.below


def test_no_line_crosses_a_gap_and_a_lonely_value_is_seen():
    drawn = chart(means(1.0, 2.0, None, 3.0, None, 4.0, 5.0), 1)
    assert drawn.line.count("M") == 3 and all(len(points("M" + run)) == 2 for run in drawn.line.split("M")[1:])


@pytest.mark.parametrize("values", [(), (None, None), (0.0,), (0.0, 0.0)])
def test_nothing_and_flat_nothing_can_be_drawn(values):
    drawn = chart(means(*values), 400)
    assert "nan" not in drawn.line and drawn.above == drawn.below == ""


def test_noise_is_not_drawn_as_mountains():
    assert all(y > HEIGHT - 2 * MARGIN for _, y in points(chart(means(3.0, 9.0, 2.0), 400).line))


def test_many_samples_become_the_means_of_equal_shares():
    assert columns(slots(*range(720))) == [5.5 + 12 * share for share in range(COLUMNS)]
    assert columns(slots(1.0, 3.0, None, None), 2) == [2.0, None]
    assert columns(slots(1.0, None, None), 2) == [1.0, None]


@pytest.mark.parametrize("slots, minutes", [(0, 1), (12, 1), (13, 2), (60, 5), (61, 10), (720, 60), (9999, 60)])
def test_the_window_grows_with_what_there_is(slots, minutes):
    assert window_min(slots) == minutes


def test_every_chart_is_also_a_sentence():
    history = History()
    for step in range(720):
        history.write(Reading(0, 5.0 * step, "modbus-tcp", pv_w=6000, soc_pct=40 + step / 72, battery_w=-2300,
                              grid_w=1500.0 if step < 360 else -4000.0, load_w=None))
    values = chart_values(history, 3599.0)
    assert {f"{row.id}:aria-label" for row in CHARTS} <= set(values)
    assert values["c_sun:aria-label"] == "Sun, last hour: 6.00 kW"
    assert values["c_soc:aria-label"] == "Battery level, last hour: 40 to 50 %"
    assert values["c_bat:aria-label"] == "Battery, last hour: discharging up to 2.30 kW"
    assert values["c_grid:aria-label"] == "Grid, last hour: importing up to 1.50 kW, exporting up to 4.00 kW"
    assert values["c_house:aria-label"] == "House, last hour: nothing known yet" and values["c_house_line:d"] == ""
    assert sum(map(len, values.values())) < 14_000, "an open page gets this every quarter of a minute"
