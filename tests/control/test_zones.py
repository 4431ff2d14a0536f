"""Local time: the built-in rules say what the zone data says, on every turn of the clocks."""

from __future__ import annotations

import calendar
from datetime import date, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest

from bridge.control import zones
from bridge.errors import ConfigError

START, END = calendar.timegm((2020, 1, 1, 0, 0, 0)), calendar.timegm((2041, 1, 1, 0, 0, 0))


def missing(_name):
    raise LookupError("no zone data on this machine")


@pytest.mark.parametrize("name", [*zones.RULES, *zones.ALIASES])
def test_the_built_in_rules_equal_the_zone_data_from_2020_to_2040(name):
    """Every six hours, and every minute of the three hours around each turn the zone data has."""
    table, info = zones.zone(name, missing), ZoneInfo(name)
    assert table.source == "built-in table"

    def true_offset(at):
        return datetime.fromtimestamp(at, timezone.utc).astimezone(info).utcoffset().total_seconds()

    before, turns = true_offset(START), 0
    for at in range(START, END, 6 * 3600):
        now = true_offset(at)
        assert table.offset_s(at) == now, datetime.fromtimestamp(at, timezone.utc)
        if now != before:
            turns += 1
            for minute in range(at - 6 * 3600, at, 60):
                assert table.offset_s(minute) == true_offset(minute), datetime.fromtimestamp(minute, timezone.utc)
            before = now
    assert turns == (42 if zones.RULES[zones.ALIASES.get(name, name)].summer_s else 0)


def test_zone_data_is_used_where_it_is():
    assert zones.zone("Australia/Adelaide").source == "zone data"
    assert zones.zone("Europe/Berlin").offset_s(START) == 3600


@pytest.mark.parametrize("name", ["Australia/Atlantis", "", "../etc/passwd", "EST5EDT4,M3"])
def test_an_unknown_zone_is_an_error_that_says_what_to_do(name):
    with pytest.raises(ConfigError, match="IANA name such as Australia/Adelaide"):
        zones.zone(name)


def test_a_foreign_zone_without_zone_data_is_an_error():
    with pytest.raises(ConfigError, match="tzdata"):
        zones.zone("Europe/Berlin", missing)


@pytest.mark.parametrize(("network", "name"), [
    ("Ausgrid", "Australia/Sydney"), ("Endeavour Energy", "Australia/Sydney"), ("Evoenergy", "Australia/Sydney"),
    ("United Energy", "Australia/Melbourne"), ("AusNet Services", "Australia/Melbourne"),
    ("Energex", "Australia/Brisbane"), ("Ergon Energy", "Australia/Brisbane"),
    ("SA Power Networks", "Australia/Adelaide"), ("SAPN", "Australia/Adelaide"), ("SA1", "Australia/Adelaide"),
    ("TasNetworks", "Australia/Hobart"), ("Nowhere Power", None), ("", None),
])
def test_networks_and_regions_have_their_zone(network, name):
    assert zones.for_network(network) == name


@pytest.mark.parametrize("find", [None, missing], ids=["zone data", "table"])
def test_clocks_that_turn_show_some_times_twice_and_some_never(find):
    sydney, half_past_two = zones.zone("Australia/Sydney", find), 2 * 3600 + 1800
    first, second = sydney.moments(date(2026, 4, 5), half_past_two)
    assert second - first == 3600
    assert [sydney.local(at) for at in (first, second)] == [(date(2026, 4, 5), half_past_two)] * 2
    assert sydney.moments(date(2026, 10, 4), half_past_two) == []
    assert len(zones.zone("Australia/Brisbane", find).moments(date(2026, 4, 5), half_past_two)) == 1


@pytest.mark.parametrize("name", zones.RULES)
def test_every_time_that_a_clock_shows_is_found_again(name):
    here = zones.zone(name)
    for at in range(calendar.timegm((2026, 3, 28, 0, 0, 0)), calendar.timegm((2026, 4, 10, 0, 0, 0)), 1800):
        day, second = here.local(at)
        assert at in here.moments(day, second)
        expected = datetime.fromtimestamp(at, timezone.utc) + timedelta(seconds=here.offset_s(at))
        assert here.text(at, "%Y-%m-%d %H:%M") == expected.strftime("%Y-%m-%d %H:%M")
