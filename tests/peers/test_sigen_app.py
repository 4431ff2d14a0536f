"""The app's API as the bridge uses it, against the simulated one."""

from __future__ import annotations

import json

import pytest

from bridge.errors import ConfigError, LinkError, RateLimited, Rejected
from bridge.peers.envelope import EnvelopeError
from bridge.peers.sigen_errors import ApiRejected, ApiUnavailable
from bridge.sim.sigen_cloud_world import Account, Station
from tests.peers.app_bench import STATION, app_bench, tariff


@pytest.fixture
def bench(tmp_path):
    with app_bench(tmp_path) as bench:
        yield bench


def test_the_station_finds_its_own_number(bench):
    station = bench.client().station()
    assert station.station_id == STATION and isinstance(station.station_id, int)
    assert (station.name, station.timezone, station.currency) == ("Home", "Australia/Adelaide", "AUD")
    assert bench.grants() == ["password"]


def test_a_tariff_is_saved_and_read_back(bench):
    app = bench.client()
    number = app.station().station_id
    assert app.read_tariff(number) is None
    payload = tariff()
    app.save_tariff(payload)
    assert bench.sim.saved_tariffs == [payload] and app.read_tariff(number) == payload
    assert json.loads(bench.sim.log[-2].body)["stationId"] == STATION


def test_a_station_number_of_digits_goes_out_as_a_number(bench):
    bench.client().save_tariff(tariff(station_id=str(STATION)))
    assert bench.sim.saved_tariffs[0]["stationId"] == STATION
    assert b'"stationId":92025000000001,' in bench.sim.log[-1].body


@pytest.mark.parametrize("number", ["ABCDE1700000001", "", None, True, 1.5])
def test_a_tariff_without_a_station_number_is_not_sent(bench, number):
    with pytest.raises(ConfigError, match="three ways.*1\\..*2\\..*3\\."):
        bench.client().save_tariff(tariff(station_id=number))
    assert not bench.sim.log


def test_a_refused_tariff_says_what_the_cloud_said(bench):
    with pytest.raises(Rejected, match='tariff save.*code 1000.*must end at 24:00'):
        bench.client().save_tariff(short())
    assert bench.sim.saved_tariffs == []


def short():
    """Return a tariff whose last half hour is missing."""
    payload = tariff()
    payload["buyPrice"]["staticPricing"]["combinedPrices"][0]["weekPrices"][0]["timeRange"].pop()
    return payload


@pytest.mark.parametrize("number", [str(STATION), STATION])
def test_a_configured_station_that_is_the_accounts_own_costs_no_further_call(bench, number):
    assert bench.client(station_id=str(number)).station().station_id == STATION
    assert bench.sim.counts() == {"appHome": 1, "appLogin": 1}


def test_a_configured_station_that_the_account_does_not_have_is_said_plainly(bench):
    with pytest.raises(ConfigError) as caught:
        bench.client(station_id="12025061000219").station()
    assert f"12025061000219 is not a station of this account, whose stations are: {STATION} (Home)" in str(caught.value)
    bench.sim.switch_off("appStations")
    with pytest.raises(ConfigError, match=f"whose stations are: {STATION}"):
        bench.client(station_id="12025061000219").station()


def test_of_several_stations_the_configured_one_is_used(tmp_path):
    stations = (Station(), Station("FGHIJ1700000002", "Beach house"))
    with app_bench(tmp_path, stations=stations) as bench:
        assert [one.name for one in bench.client().stations()] == ["Home", "Beach house"]
        assert bench.client(station_id=str(STATION + 1)).station().name == "Beach house"


def test_another_owners_station_is_refused_by_the_cloud(tmp_path):
    other = Account("other@example.invalid")
    stations = (Station(), Station("FGHIJ1700000002", owner="other@example.invalid"))
    with app_bench(tmp_path, stations=stations, accounts=(Account(), other)) as bench:
        with pytest.raises(ConfigError, match="is not a station of this account"):
            bench.client(station_id=str(STATION + 1)).station()
        with pytest.raises(ApiRejected, match="code 1401"):
            bench.client().save_tariff(tariff(station_id=STATION + 1))


def test_the_systemid_as_station_number_is_refused_before_anything_is_asked(bench):
    with pytest.raises(ConfigError, match="not the systemId of the OpenAPI; three ways"):
        bench.client(station_id="ABCDE1700000001")
    assert not bench.sim.log


def test_an_account_without_a_station_says_the_three_ways(tmp_path):
    with app_bench(tmp_path, stations=()) as bench, pytest.raises(EnvelopeError, match="no data"):
        bench.client().station()
    with app_bench(tmp_path) as bench:
        bench.sim.app_world.homes[STATION].number = 0
        with pytest.raises(ConfigError, match="1\\..*2\\..*3\\."):
            bench.client().station()


def test_the_power_has_the_signs_that_balance(bench):
    found = bench.client().energy_flow()
    flow = found.flow
    assert flow[:5] == (3.4, 1.1, 1.4, 57.2, 0.9) and found.pv_day_kwh == 30.43
    assert flow.pv_kw == pytest.approx(flow.grid_export_kw + flow.battery_charge_kw + flow.load_kw)
    assert flow.heat_pump_kw is None  # the app does not tell it: unknown, not 0


def test_the_newer_path_of_the_power_is_used_where_the_older_one_is_gone(bench):
    bench.sim.switch_off("appFlow")
    assert bench.client().energy_flow().flow.pv_kw == 3.4
    bench.sim.switch_off("appFlow", 405)
    with pytest.raises(ApiRejected):
        bench.client().energy_flow()


def test_a_tariff_that_cannot_be_read_is_none_and_not_an_error(bench):
    app = bench.client()
    app.save_tariff(tariff())
    bench.sim.switch_off("tariffStatic")
    assert app.read_tariff(STATION) == tariff()
    bench.sim.switch_off("tariffLatest", 500)
    assert app.read_tariff(STATION) is None
    for path in ("tariffStatic", "tariffLatest"):
        del bench.sim.service.disabled[path]
        bench.sim.fail(path, "page")
    assert app.read_tariff(STATION) is None


def test_a_tariff_without_a_sell_price_leaves_the_one_there_is(bench):
    app = bench.client()
    app.save_tariff(tariff(sell=-3.5))
    later = tariff(price=11.0)
    del later["sellPrice"]
    app.save_tariff(later)
    held = app.read_tariff(STATION)
    assert held["sellPrice"] == tariff(sell=-3.5)["sellPrice"] and held["buyPrice"] == later["buyPrice"]


@pytest.mark.parametrize("fault, details, kind, words", [
    ("status", {"status": 500}, ApiUnavailable, "HTTP 500"),
    ("status", {"status": 502}, ApiUnavailable, "tried again later"),
    ("status", {"status": 429}, RateLimited, "for 300 s"),
    ("code", {"code": 429}, RateLimited, "code 429"),
    ("status", {"status": 403}, ApiRejected, "may not do that"),
    ("status", {"status": 302}, ApiRejected, "redirect"),
    ("code", {"code": 5003, "msg": "price invalid"}, ApiRejected, 'code 5003 "price invalid"'),
    ("waf", {}, ApiRejected, "web firewall"),
    ("page", {}, EnvelopeError, "a web page instead of JSON"),
    ("garbage", {}, EnvelopeError, "not JSON"),
    ("not-object", {}, EnvelopeError, "not an object"),
    ("empty", {}, EnvelopeError, "empty"),
    ("truncated", {}, EnvelopeError, "not JSON"),
    ("drop", {}, LinkError, "connection was cut"),
    ("hang", {}, LinkError, "no complete answer in time"),
    ("slow", {"interval_s": 1.0}, LinkError, "no complete answer in time"),
])
def test_a_tariff_is_not_called_saved_whatever_goes_wrong(bench, fault, details, kind, words):
    app = bench.client()
    app.station()
    bench.sim.fail("tariffSave", fault, **details)
    with pytest.raises(kind, match=words) as caught:
        app.save_tariff(tariff())
    assert caught.value.exit_code in (6, 7) and "127.0.0.1" in str(caught.value)
    assert bench.sim.count("tariffSave") == 1  # a save whose outcome is not known is not repeated by itself


def test_a_pause_that_the_cloud_asks_for_is_kept_by_everybody(bench):
    bench.client().station()
    bench.sim.fail("tariffSave", "status", status=429, retry_after="17")
    with pytest.raises(RateLimited) as caught:
        bench.client().save_tariff(tariff())
    assert caught.value.retry_after_s == 17
    with pytest.raises(RateLimited):
        bench.client().station()
    assert bench.sim.count("appHome") == 1
    bench.clock.advance(17.1)
    bench.client().save_tariff(tariff())
    assert len(bench.sim.saved_tariffs) == 1


def test_a_data_that_is_missing_is_an_error_and_not_a_zero(bench):
    app = bench.client()
    app.station()
    bench.sim.fail("appFlow", "null")
    with pytest.raises(EnvelopeError, match="no data"):
        app.energy_flow()
    bench.sim.flow_override = {"batterySoc": 50.0}
    flow = app.energy_flow().flow
    assert flow.pv_kw is None and flow.load_kw is None and flow.soc_pct == 50.0


def test_the_manual_override_goes_on_ends_and_is_read(bench):
    app = bench.client()
    assert app.instant_now() == (False, None, None)
    app.instant("charge", 60, 5.0)
    body = json.loads(bench.sim.log[-1].body)
    assert body == {"enable": True, "mode": "0", "duration": "60", "powerLimitation": "5.000", "stationId": STATION}
    now = app.instant_now()
    assert (now.enabled, now.mode) == (True, "charge") and now.ends_at == int(bench.clock.now()) + 3600
    bench.clock.advance(3601)
    assert app.instant_now().enabled is False
    app.instant("discharge", 30)
    assert json.loads(bench.sim.log[-1].body)["powerLimitation"] == "4294967.295"
    app.instant("hold", 120)
    assert app.instant_now().mode == "hold"
    app.instant_off()
    assert app.instant_now() == (False, None, None)


@pytest.mark.parametrize("mode, minutes, power_kw", [
    ("burn", 60, 5.0), ("charge", 29, 5.0), ("charge", 121, 5.0), ("charge", 45.5, 5.0), ("charge", 60, 0.0),
    ("charge", 60, -1.0), ("charge", 60, float("nan")), ("charge", True, 5.0),
])
def test_an_override_that_the_app_does_not_offer_is_not_sent(bench, mode, minutes, power_kw):
    with pytest.raises(ConfigError, match="instant control"):
        bench.client().instant(mode, minutes, power_kw)
    assert not bench.sim.log


def test_without_region_and_address_nobody_is_asked(bench):
    with pytest.raises(ConfigError, match="cloud.region"):
        bench.client(base_url=None, region=None)
