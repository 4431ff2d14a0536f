"""Schedule files and what is due of them: strict about times and units, never late, never twice."""

from __future__ import annotations

import sys
from datetime import datetime, timezone

import pytest

from bridge.control.battery import Command, checked, checked_batch, from_record, said
from bridge.control.battery_journal import Journal
from bridge.control.schedule import due, moment, parse
from bridge.control.timetable import Timetable
from bridge.errors import ConfigError, Refused
from bridge.state import StateDir

NOW = 1_795_224_659.0  # 2026-11-21 01:30:59 UTC


def zone(name):
    if sys.version_info < (3, 9):
        pytest.fail("3.9 or later")
    from zoneinfo import ZoneInfo

    return ZoneInfo(name)


def line(minutes, text="30m charge 3kW"):
    return f"{datetime.fromtimestamp(NOW + 60 * minutes, timezone.utc).isoformat()} {text}"


def test_a_line_says_start_length_action_and_power():
    found = parse("# a comment\n2026-12-01T01:00Z 2h charge 5kW priority=grid  # night\n2026-12-01 04:00+00:00 30m hold", None, NOW)
    assert found[0] == Command("charge", 7200.0, 5000.0, 1796086800.0, priority="grid")
    assert found[1].action == "idle" and found[1].start == 1796097600.0


def test_json_says_the_same():
    text = '{"commands": [{"action": "discharge", "start": 1796086800, "minutes": 30, "power_kw": 2.5, "max_export_w": 1000}]}'
    assert parse(text, None, NOW) == [Command("discharge", 1800.0, 2500.0, 1796086800.0, max_export_w=1000.0)]


@pytest.mark.parametrize("text, words", [
    ("", "no command"), ("2026-12-01T01:00Z 2h", "ACTION"), ("tomorrow 2h charge 5kW", "not a time"),
    ("2026-12-01T01:00Z 2 charge 5kW", "not a length"), ("2026-12-01T01:00Z 2h charge 5", "not a power"),
    ("2026-12-01T01:00Z 2h charge 5MW", "not a power"), ("2026-12-01T01:00Z 2h explode 5kW", "not one of"),
    ("2026-12-01T01:00Z 2h charge", "power is missing"), ("2026-12-01T01:00Z 2h hold 5kW", "takes no power"),
    ("2026-12-01T01:00Z -2h charge 5kW", "not a length"), ("2026-12-01T01:00Z 7h charge 5kW", "not within"),
    ("2026-12-01T01:00Z 2h charge 5kW foo=1", "neither"), ("2026-12-01T01:00Z 2h charge 5kW priority=battery", "priority"),
    ("[1]", "not an object"), ("[{}]", "missing"), ("{", "not JSON"), ('{"a": 1}', "list"),
    ('[{"action": "charge", "start": 1796086800, "minutes": 30, "power": 1}]', "unknown"),
    ('[{"action": "charge", "start": 1796086800, "minutes": "x", "power_w": 1}]', "not a number"),
    ('[{"action": "charge", "start": 1796086800, "minutes": -5, "power_w": 1000}]', "not within"),
    ('[{"action": "charge", "start": 1796086800000, "minutes": 5, "power_w": 1000}]', "milliseconds"),
    ('[{"action": "charge", "start": true, "minutes": 5, "power_w": 1000}]', "not a number"),
])
def test_a_file_that_is_wrong_says_where_and_why(text, words):
    with pytest.raises(ConfigError, match=words):
        parse(text, None, NOW)


def test_the_line_is_named():
    with pytest.raises(ConfigError, match="line 2"):
        parse(f"{line(5)}\nnonsense 1 2", None, NOW)


def test_24_commands_are_taken_and_25_are_refused():
    lines = [line(40 * index + 1) for index in range(25)]
    assert len(parse("\n".join(lines[:24]), None, NOW)) == 24
    with pytest.raises(Refused, match="at most 24"):
        parse("\n".join(lines), None, NOW)


def test_a_start_in_the_past_and_an_overlap_are_refused():
    with pytest.raises(Refused, match=r"lies \S+ (s|min|h)\b.* in the past"):
        parse(line(-1), None, NOW)
    with pytest.raises(ConfigError, match="before charge ends"):
        parse(f"{line(1)}\n{line(20)}", None, NOW)


def test_local_times_on_the_nights_when_clocks_change():
    """Sydney puts clocks forward on 2026-10-04 at 02:00 and back on 2027-04-04 at 03:00."""
    sydney = zone("Australia/Sydney")
    assert moment("2026-10-04T03:30", sydney) - moment("2026-10-04T01:30", sydney) == 3600.0
    with pytest.raises(ConfigError, match="does not exist"):
        moment("2026-10-04T02:30", sydney)
    with pytest.raises(ConfigError, match="comes twice"):
        moment("2027-04-04T02:30", sydney)
    assert moment("2027-04-04T02:30+10:00", sydney) - moment("2027-04-04T02:30+11:00", sydney) == 3600.0
    adelaide = zone("Australia/Adelaide")
    assert moment("2027-04-04T03:30", adelaide) - moment("2027-04-04T01:30", adelaide) == 3 * 3600.0


def test_a_night_with_a_change_has_the_length_that_was_asked_for():
    sydney = zone("Australia/Sydney")
    (found,) = parse("2026-10-04T01:30 2h charge 3kW", sydney, moment("2026-10-03T12:00", sydney))
    assert found.end == moment("2026-10-04T04:30", sydney)


def entry(start, seconds=600.0, action="idle"):
    return Command(action, seconds, None, NOW + start)


def test_what_is_due_runs_for_the_time_that_is_left_and_what_was_missed_is_said():
    entries = [entry(0), entry(600), entry(1200)]
    assert due(entries, NOW - 1).begin is None
    assert due(entries, NOW + 100).begin.seconds == 500.0
    found = due(entries, NOW + 700)
    assert found.begin.start == NOW + 600 and found.missed == (entries[0],) and found.later == (entries[2],)
    assert due(entries, NOW + 99999).begin is None and len(due(entries, NOW + 99999).missed) == 3


def test_the_timetable_survives_a_restart_and_begins_nothing_twice(tmp_path, clock):
    state = StateDir(str(tmp_path))
    table = Timetable(state, Journal(state, clock))
    table.put([entry(0), entry(700)], "cli")
    assert table.take_due(NOW + 1).action == "idle"
    again = Timetable(state, Journal(state, clock))
    assert again.take_due(NOW + 2) is None and len(again.entries) == 1
    assert again.take_due(NOW - 86400.0) is None, "a clock put back must not begin anything"
    again.clear("cli")
    assert Timetable(state, Journal(state, clock)).entries == ()


def test_a_garbled_timetable_is_no_timetable(tmp_path, clock):
    state = StateDir(str(tmp_path))
    for content in ({"a": 1}, [1], [{"action": "explode"}], "x"):
        state.save("schedule.json", content)
        assert Timetable(state, Journal(state, clock)).entries == ()


@pytest.mark.parametrize("command, words", [
    (Command("explode", 60.0), "not one of"), (Command("idle", 5.0), "not within"), (Command("idle", 7 * 3600.0), "not within"),
    (Command("charge", 60.0, -5.0), "not within"), (Command("charge", 60.0, float("nan")), "not within"),
    (Command("charge", 60.0, export_w=100.0), "belongs to discharge"), (Command("charge", float("nan"), 5.0), "not within"),
    (Command("discharge", 60.0, 5.0, priority="grid"), "priority"),
])
def test_commands_that_no_plant_could_be_asked(command, words):
    with pytest.raises(ConfigError, match=words):
        checked(command)


@pytest.mark.parametrize("record, words", [
    (None, "an object"), ({}, "not one of"), ({"action": "charge", "seconds": "60"}, "not a number"),
    ({"action": "idle", "seconds": 60, "colour": 1}, "not part"), ({"action": "idle", "seconds": True}, "not a number"),
])
def test_records_that_are_no_command(record, words):
    with pytest.raises(ConfigError, match=words):
        from_record(record)


def test_a_batch_needs_starts():
    with pytest.raises(ConfigError, match="has no start"):
        checked_batch([Command("idle", 60.0)], NOW)


@pytest.mark.parametrize("command, words", [
    (Command("charge", 1800.0, 5000.0), "charge 5000 W for 30 min"), (Command("idle", 45.0), "hold (battery idle) for 45 s"),
    (Command("discharge", 7500.0, None, export_w=2000.0), "discharge 2000 W into the grid for 2 h 5 min"),
    (Command("self", 7200.0), "self-consumption for 2 h"),
])
def test_commands_in_words(command, words):
    assert said(command) == words
