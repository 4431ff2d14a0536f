"""Operating modes by their words."""

from __future__ import annotations

import pytest

from bridge.errors import ConfigError
from bridge.peers.sigen_codes import MODES
from bridge.peers.sigen_modes import hindrance, mode_named, names


@pytest.mark.parametrize("label, number", [
    ("msc", 0), ("MSC", 0), ("0", 0), ("max self-consumption", 0), ("Maximum self-consumption", 0), ("self", 0),
    ("tou", 2), ("time of use", 2), ("Time-of-Use", 2), ("ai", 1), ("Sigen AI", 1), ("ffg", 5),
    ("full feed-in", 5), ("vpp", 6), ("remote_ems", 7), ("nbi", 8), ("northbound", 8),
    ("Northbound interface (NBI)", 8), ("8", 8), ("custom", 9),
])
def test_a_mode_is_found_by_number_word_label_and_what_people_call_it(label, number):
    assert mode_named(label).number == number


@pytest.mark.parametrize("label", ["", "3", "self-destruct", "08", "-1", "m s c"])
def test_an_unknown_label_lists_the_choices(label):
    with pytest.raises(ConfigError) as caught:
        mode_named(label)
    assert all(f"{row.word} ({row.number} {row.label})" in str(caught.value) for row in MODES)


def test_no_name_belongs_to_two_modes():
    every = [name for row in MODES for name in set(names(row))]
    assert len(every) == len(set(every))


def test_exactly_the_modes_that_cannot_be_set_have_a_reason():
    assert {row.word for row in MODES if hindrance(row) is None} == {"msc", "ffg", "nbi"}
    assert all(hindrance(row) for row in MODES if not row.settable)
