"""Modes through the app: newer and older paths, the owner's own profiles, labels."""

from __future__ import annotations

import json

import pytest

from bridge.errors import ConfigError
from bridge.peers.envelope import EnvelopeError
from bridge.peers.sigen_app_modes import AppModes, listed_mode_named
from bridge.peers.sigen_app_records import AppMode
from bridge.peers.sigen_errors import ApiRejected, ApiUnavailable
from tests.peers.app_bench import STATION, app_bench

HOME = "ABCDE1700000001"


@pytest.fixture
def bench(tmp_path):
    with app_bench(tmp_path) as bench:
        yield bench


@pytest.fixture
def modes(bench):
    return AppModes(bench.client())


def test_the_list_holds_default_modes_and_profiles_with_their_ids(modes):
    assert [(one.number, one.label, one.profile_id) for one in modes.listed()] == [
        (1, "Sigen AI Mode", -1), (0, "Maximum Self-Powered", -1), (2, "TOU", -1), (5, "Fully Fed to Grid", -1),
        (9, "Night charge", 77), (9, "Holiday", 78)]


def test_a_change_sends_mode_and_profile_and_shows_in_the_next_read(bench, modes):
    for label, sent in (("tou", (2, -1)), ("1", (1, -1)), ("Night Charge", (9, 77)), ("78", (9, 78))):
        wanted = listed_mode_named(label, modes.listed())
        assert modes.set(wanted) == "v3"
        body = json.loads(bench.sim.log[-1].body)
        assert body == {"stationId": STATION, "operationMode": sent[0], "profileId": sent[1]}
        assert modes.current() == wanted


def test_a_profile_that_is_not_listed_any_more_is_shown_by_its_id(bench, modes):
    home = bench.sim.app_world.homes[STATION]
    home.station.mode, home.profile_id = 9, 5
    assert modes.current() == AppMode(9, "custom", "profile 5", 5)
    home.station.mode, home.profile_id = 33, -1
    assert modes.current() == AppMode(33, "33", "unknown mode 33", -1)


def test_the_older_paths_are_used_after_a_404_and_remembered(bench, modes):
    bench.sim.app_world.homes[STATION].mode_api = "v0"
    wanted = listed_mode_named("feed in", modes.listed())
    assert modes.set(wanted) == "v0" and modes.current() == wanted
    assert json.loads(next(one for one in bench.sim.log if one.endpoint == "appSetModeV0").body) == {
        "stationId": STATION, "operationMode": 5}
    assert bench.sim.count("appModes") == 1 and bench.sim.count("appSetMode") == 0
    later = AppModes(bench.client())
    assert later.current() == wanted and bench.sim.count("appModes") == 1
    bench.sim.app_world.homes[STATION].mode_api = "v3"  # the vendor moved the station on
    assert AppModes(bench.client()).current() == wanted
    assert bench.held("app-spelling.json")["modes"] == "v3"


@pytest.mark.parametrize("fault, details, kind", [
    ("status", {"status": 500}, ApiUnavailable), ("status", {"status": 405}, ApiRejected),
    ("status", {"status": 403}, ApiRejected), ("code", {"code": 1000}, ApiRejected), ("null", {}, EnvelopeError),
])
def test_nothing_but_a_404_leads_to_the_older_paths(bench, modes, fault, details, kind):
    bench.sim.fail("appModes", fault, **details)
    with pytest.raises(kind):
        modes.listed()
    assert bench.sim.count("appModesV0") == 0


def test_a_station_without_either_path_says_so(bench, modes):
    bench.sim.switch_off("appModes")
    bench.sim.switch_off("appModesV0")
    with pytest.raises(ApiRejected, match="HTTP 404"):
        modes.listed()


def test_a_profile_cannot_be_set_by_the_older_paths(bench, modes):
    profile = listed_mode_named("holiday", modes.listed())
    assert list(modes.calls(profile)) == ["v3"]
    bench.sim.switch_off("appSetMode")
    with pytest.raises(ApiRejected):
        modes.set(profile)
    assert bench.sim.count("appSetModeV0") == 0


LISTED = (
    AppMode(0, "msc", "Maximum Self-Powered", -1), AppMode(2, "tou", "TOU", -1), AppMode(9, "custom", "TOU", 2),
    AppMode(9, "custom", "Winter", 5), AppMode(9, "custom", "冬", 6), AppMode(9, "custom", "winter ", 7),
    AppMode(9, "custom", "Night", 77),
)


@pytest.mark.parametrize("label, number, profile", [
    ("0", 0, -1), ("msc", 0, -1), ("maximum self powered", 0, -1), ("MAXIMUM-SELF-POWERED", 0, -1), ("2", 2, -1),
    ("self", 0, -1), ("profile 5", 9, 5), ("冬", 9, 6), (" Profile  6 ", 9, 6), ("77", 9, 77),
])
def test_a_mode_goes_by_number_word_label_alias_or_profile(label, number, profile):
    found = listed_mode_named(label, LISTED)
    assert (found.number, found.profile_id) == (number, profile)


@pytest.mark.parametrize("label, words", [
    ("turbo", "is not known.*msc .0 Maximum Self-Powered.*Winter .profile 5"), ("9", "is not known"),
    ("custom", "is not known"), ("", "is not known"), ("夏", "is not known"), ("-1", "is not known"),
    ("5", "is not known"), ("6", "is not known"), ("profile 8", "is not known"),  # 5 is a mode elsewhere, not a profile
    ("tou", "name of several modes.*tou .2 TOU., TOU .profile 2"), ("winter", "profile 5.*profile 7"),
])
def test_what_is_not_one_mode_lists_the_choices(label, words):
    with pytest.raises(ConfigError, match=words):
        listed_mode_named(label, LISTED)
