"""The Envoy as a source of sun: which of its figures is taken, and when none is."""

from __future__ import annotations

import pytest

from bridge.clock import Clock, ManualClock
from bridge.errors import BridgeError, LinkError, PeerError
from bridge.sources.background import Background
from bridge.sources.envoy import EnvoySource, by_production, by_v1, checked, metering
from bridge.sources.more_sun import MoreSun
from tests.enphase_home import Home

pytestmark = pytest.mark.needs("openssl")


@pytest.fixture
def home(tmp_path):
    with Home(tmp_path, ManualClock()) as place:
        yield place


def source(home, period_s=5.0):
    return EnvoySource(home.envoy(), home.clock, period_s)


def test_the_production_meter_is_what_counts(home):
    home.world.produce_w, home.world.inverters_w = 812.34, 2600.0  # real ones differ as much: the second is older
    reading = source(home).read()
    assert reading.pv_w == 812.3 and reading.extras["by"] == "meter" and reading.source == "envoy"
    assert [entry.target for entry in home.device.log if "ivp" in entry.target] == ["/ivp/meters", "/ivp/meters/readings"]


def test_the_meter_is_asked_alone_after_the_first_time(home):
    one = source(home)
    for _ in range(10):
        one.read()
        home.clock.advance(5)
    assert home.device.count("/ivp/meters") == 1 and home.device.count("/ivp/meters/readings") == 10
    assert home.device.count("/production.json") == 0
    assert one.next_in_s() == 5.0


@pytest.mark.parametrize("state", [("enabled", "not-metering"), ("disabled", "normal")])
def test_a_meter_without_its_clamp_is_not_the_sun(home, state):
    home.world.ct = False
    home.world.meter_state, home.world.metering = state
    reading = source(home).read()
    assert reading.pv_w == 4200.0 and reading.extras["by"] == "inverters"


def test_an_envoy_without_meters_tells_what_its_inverters_said(tmp_path):
    with Home(tmp_path, ManualClock(), metered=False, ct=False) as home:
        one = source(home)
        reading = one.read()
        assert (reading.pv_w, reading.extras["by"], one.next_in_s()) == (4200.0, "inverters", 60.0)


def test_old_firmware_by_plain_http(tmp_path):
    with Home(tmp_path, ManualClock(), firmware="D5.0.62", metered=False, ct=False) as home:
        assert source(home).read().pv_w == 4200.0


def test_production_json_missing_falls_back_to_the_v1_figure(home, monkeypatch):
    one = source(home)
    monkeypatch.setattr(one._envoy, "json", lambda target: {
        "/api/v1/production": {"wattHoursLifetime": 7, "wattsNow": 321}}.get(target))
    reading = one.read()
    assert (reading.pv_w, reading.extras["by"]) == (321.0, "v1")


def test_a_figure_of_the_inverters_that_stands_still_for_half_an_hour_is_unknown(tmp_path):
    with Home(tmp_path, ManualClock(), metered=False, ct=False) as home:
        home.world.inverters_at = home.clock.now()
        one = source(home)
        assert one.read().pv_w == 4200.0
        home.clock.advance(1790)
        assert one.read().pv_w == 4200.0
        home.clock.advance(20)
        stale = one.read()
        assert stale.pv_w is None and "nothing new" in stale.reason
        home.world.inverters_at = home.clock.now()
        assert one.read().pv_w == 4200.0
        home.world.inverters_w = 0.0  # at night they report no more, and 0 is right
        one.read()
        home.clock.advance(7200)
        assert one.read().pv_w == 0.0


@pytest.mark.parametrize(("said", "taken"), [(-3.2, 0.0), (0.0, 0.0), (-50.0, 0.0), (-51.0, None), (-4200.0, None)])
def test_a_small_negative_is_night_and_a_large_one_is_unknown(said, taken):
    assert checked(said) == taken


def test_a_clamp_the_wrong_way_round_is_named(home):
    home.world.produce_w = -4200.0
    reading = source(home).read()
    assert reading.pv_w is None and "wrong way round" in reading.reason


def test_figures_that_count_nothing_are_not_taken_for_0():
    assert by_v1({"wattHoursToday": 0, "wattHoursSevenDays": 0, "wattHoursLifetime": 0, "wattsNow": 0}) is None
    assert by_production({"production": [{"type": "eim", "activeCount": 0, "wNow": 0}]}, False) is None
    assert by_production({"production": [{"type": "inverters", "activeCount": 0, "wNow": 0}]}, True) is None
    assert by_production({"error": "busy"}, False) is None and by_production([], False) is None


def test_a_list_of_meters_is_told_from_none():
    assert metering(None) is None and metering({"error": 1}) is None and metering([]) == ()


def test_a_power_that_is_no_number_is_not_taken_for_0(home):
    one = source(home)
    one.read()
    home.device.files["/ivp/meters/readings"] = b'[{"eid": 704643328, "activePower": NaN}]'
    home.device.files["/production.json"] = b'{"production": [{"type": "inverters", "activeCount": 1, "wNow": NaN}]}'
    assert one.read().pv_w is None


@pytest.mark.parametrize("body", [b"[" * 100_000, b'[{"eid": [], "activePower": 1}, {"eid": {}}]', b'{"eid": 1}', b"\xff"])
def test_an_answer_of_wrong_types_is_no_meters_power_and_no_crash(home, body):
    one = source(home)
    one.read()
    home.device.files["/ivp/meters/readings"] = body
    home.device.files["/production.json"] = b'{"production": [{"type": [], "activeCount": 1, "wNow": 5}]}'
    try:
        assert one.read().extras["by"] == "v1"
    except PeerError as error:
        assert "not JSON" in str(error)


def test_no_production_at_all_is_an_error(home, monkeypatch):
    one = source(home)
    monkeypatch.setattr(one._envoy, "json", lambda target: None)
    with pytest.raises(PeerError, match="no production"):
        one.read()


def test_faults_are_errors_with_a_name_and_no_numbers(home):
    one = source(home)
    one.read()
    home.device.fault("busy")
    with pytest.raises(PeerError, match="status 503"):
        one.read()
    home.device.fault("gone")
    with pytest.raises(LinkError):
        one.read()
    home.device.clear()
    assert one.read().pv_w == 4200.0


def test_a_changed_certificate_stops_the_source(home):
    one = source(home)
    one.read()
    home.device.fault("certificate")
    with pytest.raises(BridgeError, match="certificate has changed"):
        one.read()


@pytest.mark.timing
def test_a_slow_envoy_never_delays_the_plant(tmp_path):
    with Home(tmp_path) as home:
        home.device.fault("slow", s=0.5)
        clock = Clock()
        more = MoreSun(Background(EnvoySource(home.envoy(), clock, 5.0), clock, "envoy"), clock)
        plant = {"pv_w": 0, "third_party_pv_w": 0, "ac_power_w": 0, "grid_w": -3100, "load_w": -3100, "grid_sensor": 1}
        begun = clock.monotonic()
        for _ in range(20):
            more.of(plant, clock.monotonic())
        assert clock.monotonic() - begun < 0.2
        until = clock.monotonic() + 10
        while more.of(plant, clock.monotonic()).values["third_party_pv_w"] == 0 and clock.monotonic() < until:
            clock.wait(0.05)
        assert more.of(plant, clock.monotonic()).values["third_party_pv_w"] == 4200.0
        more.close()


def test_what_reads_once_waits_for_the_first_answer_and_no_longer(tmp_path):
    with Home(tmp_path) as home:
        clock = Clock()
        more = MoreSun(Background(EnvoySource(home.envoy(), clock, 5.0), clock, "envoy"), clock, patience_s=8.0)
        plant = {"pv_w": 0, "third_party_pv_w": 0, "ac_power_w": 0, "grid_w": 0, "load_w": 0, "grid_sensor": 1}
        assert more.of(plant, clock.monotonic() + 1).values["third_party_pv_w"] == 4200.0
        more.close()


def test_a_year_and_a_half_of_reading_renews_the_token_before_it_ends(home):
    one = source(home)
    for _ in range(550):
        assert one.read().pv_w == 4200.0
        home.clock.advance(86_400.0)
    assert home.cloud.count("/login/login.json") == 2
    assert [entry for entry in home.device.log if entry.status == 401] == []
