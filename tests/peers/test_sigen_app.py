"""The app's API as the bridge uses it, against the simulated one."""

from __future__ import annotations

import json

import pytest

from bridge.errors import ConfigError, Rejected
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
