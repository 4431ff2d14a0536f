"""The simulated Amber: strict as the real one, and driven by Amber's published Python client."""

from __future__ import annotations

import http.client
import json
from datetime import date, datetime, timezone
from statistics import mean

import pytest

from bridge.sim.amber import TOKEN
from bridge.sim.amber_market import FEED_IN, GENERAL, SCENARIOS, SimSite
from tests.peers.amber_bench import NOON, amber_bench

SITE = SimSite().site_id


@pytest.fixture
def bench(tmp_path):
    with amber_bench(tmp_path) as found:
        yield found


def get(bench, path, token=TOKEN, method="GET"):
    connection = http.client.HTTPConnection("127.0.0.1", bench.sim.port, timeout=5)
    headers = {} if token is None else {"Authorization": token if " " in token else f"Bearer {token}"}
    connection.request(method, f"/v1{path}", headers=headers)
    reply = connection.getresponse()
    text = reply.read().decode()
    connection.close()
    return reply, json.loads(text) if text.startswith(("{", "[")) else text


@pytest.fixture
def real(bench):
    amberelectric = pytest.importorskip("amberelectric", reason="Amber's client does not install here")
    configuration = amberelectric.Configuration(host=bench.sim.base_url, access_token=TOKEN)
    with amberelectric.ApiClient(configuration) as client:
        yield amberelectric.AmberApi(client)


def test_ambers_own_client_reads_sites(real):
    (site,) = real.get_sites()
    assert (site.id, site.nmi, site.network, site.status.value, site.interval_length) == (
        SITE, "4100000001", "Ausgrid", "active", 5)
    assert [channel.type.value for channel in site.channels] == ["general", "feedIn"]


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_ambers_own_client_accepts_every_row_of_every_scenario(real, bench, scenario):
    bench.sim.market.scenario = scenario
    found = real.get_prices(SITE, start_date=date(2026, 1, 15), end_date=date(2026, 1, 16), resolution=30)
    rows = [one.actual_instance for one in found]
    assert len(rows) > 100 and {row.channel_type.value for row in rows} == {"general", "feedIn"}
    for row in rows:
        assert row.start_time.second == 1 and row.end_time.second == 0
        assert (row.end_time - row.start_time).total_seconds() == row.duration * 60 - 1
        assert row.nem_time == row.end_time and row.nem_time.utcoffset().total_seconds() == 36000
    assert {row.duration for row in rows} == ({5, 15, 30} if scenario == "mixed" else {30})
    live = [one.actual_instance for one in real.get_current_prices(SITE, resolution=5, next=2, previous=1)]
    assert [row.type for row in live[:4]] == [
        "ActualInterval", "CurrentInterval", "ForecastInterval", "ForecastInterval"] or scenario == "mixed"


def test_ambers_own_client_meets_the_refusals(real, bench):
    from amberelectric.exceptions import ApiException, NotFoundException, UnauthorizedException

    with pytest.raises(NotFoundException):
        real.get_prices("nosuch")
    bench.sim.fail("*", "limited")
    with pytest.raises(ApiException) as caught:
        real.get_sites()
    assert caught.value.status == 429 and caught.value.headers["RateLimit-Remaining"] == "0"
    bench.sim.revoked = True
    with pytest.raises(UnauthorizedException):
        real.get_sites()


@pytest.mark.parametrize(("token", "status"), [
    (None, 401), ("Basic abc", 401), ("Bearer ", 401), ("psk_wrong", 403), (TOKEN + "x", 403), (TOKEN, 200),
])
def test_the_token_is_demanded(bench, token, status):
    reply, content = get(bench, "/sites", token)
    assert reply.status == status
    assert status != 403 or "explicit deny" in content["Message"]


@pytest.mark.parametrize("query", [
    "startDate=15.1.2026", "startDate=2026-1-15", "startDate=20260115", "startDate=2026-01-16&endDate=2026-01-15",
    "startDate=2026-01-01&endDate=2026-01-08", "resolution=15", "resolution=x", "resolution=", "days=2",
    "startDate=2026-02-30",
])
def test_bad_parameters_are_400(bench, query):
    assert get(bench, f"/sites/{SITE}/prices?{query}")[0].status == 400


@pytest.mark.parametrize("query", ["next=-1", "next=2049", "previous=x", "resolution=1", "startDate=2026-01-15"])
def test_bad_parameters_of_current_are_400(bench, query):
    assert get(bench, f"/sites/{SITE}/prices/current?{query}")[0].status == 400


@pytest.mark.parametrize(("path", "method"), [
    ("/", "GET"), ("/sites/nosuch/prices", "GET"), (f"/sites/{SITE}", "GET"), (f"/sites/{SITE}/usage", "GET"),
    (f"/sites/{SITE}/prices", "POST"), ("/nothing", "GET"),
])
def test_calls_that_do_not_exist_are_404(bench, path, method):
    assert get(bench, path, method=method)[0].status == 404


def test_limits_are_told_and_kept(bench):
    bench.sim.limit = 3
    left = [get(bench, "/sites")[0].getheader("RateLimit-Remaining") for _ in range(3)]
    assert left == ["2", "1", "0"]
    reply, _ = get(bench, "/sites")
    assert reply.status == 429 and reply.getheader("RateLimit-Policy") == "3;w=300"
    assert 0 < int(reply.getheader("RateLimit-Reset")) <= 301
    bench.clock.advance(300)
    assert get(bench, "/sites")[0].status == 200


def test_a_throttled_call_names_no_limits(bench):
    bench.sim.fail("*", "throttled")
    reply, content = get(bench, "/sites")
    assert reply.status == 429 and reply.getheader("RateLimit-Reset") is None
    assert reply.getheader("x-amzn-ErrorType") == "TooManyRequestsException" and content == {"message": "Too Many Requests"}


def test_a_half_hour_is_the_mean_of_its_six_intervals(bench):
    start = int(NOON) // 1800 * 1800 + 7200
    for channel in (GENERAL, FEED_IN):
        fine = [bench.sim.market.five_min(channel, start + index * 300) for index in range(6)]
        assert bench.sim.market.mean(channel, start, 1800) == pytest.approx(mean(fine), abs=1e-4)


def test_five_minute_forecasts_reach_three_hours_then_rows_are_longer(bench):
    _, rows = get(bench, f"/sites/{SITE}/prices?startDate=2026-01-15&endDate=2026-01-15&resolution=5")
    fine = [row for row in rows if row["duration"] == 5 and row["type"] == "ForecastInterval"]
    last = max(datetime.fromisoformat(row["nemTime"]) for row in fine)
    assert 2.5 * 3600 <= last.timestamp() - NOON <= 3 * 3600
    assert rows[-1]["duration"] == 30


def test_the_horizon_is_the_end_of_the_trading_day(bench):
    assert datetime.fromtimestamp(bench.sim.market.last_known(NOON), timezone.utc).hour == 18, "04:00 NEM time"
    later = bench.sim.market.last_known(NOON + 3600)
    assert later - bench.sim.market.last_known(NOON) == 86400, "published at 12:30 NEM time"


def test_an_estimate_flips_25_s_into_its_interval(bench):
    start = int(NOON) // 300 * 300

    def current():
        _, rows = get(bench, f"/sites/{SITE}/prices/current?resolution=5")
        return rows[0]["estimate"], rows[0]["perKwh"]

    bench.clock.jump_wall(start + 10 - NOON)
    estimate, early = current()
    bench.clock.jump_wall(20)
    final, late = current()
    assert (estimate, final) == (True, False) and early != late


def test_a_site_without_export_has_general_rows_only(tmp_path):
    with amber_bench(tmp_path, sites=[SimSite(feed_in=False)]) as bench:
        _, rows = get(bench, f"/sites/{SITE}/prices")
        assert {row["channelType"] for row in rows} == {"general"}


def test_a_thirty_minute_site_answers_by_the_half_hour_unless_asked_otherwise(tmp_path):
    with amber_bench(tmp_path, sites=[SimSite(billing_min=30)]) as bench:
        assert {row["duration"] for row in get(bench, f"/sites/{SITE}/prices")[1]} == {30}
        bench.sim.ignore_resolution = True
        assert 5 in {row["duration"] for row in get(bench, f"/sites/{SITE}/prices?resolution=30")[1]}


def test_unknown_names_are_refused(bench):
    with pytest.raises(ValueError, match="throttled"):
        bench.sim.fail("*", "gremlins")
    with pytest.raises(ValueError, match="normal"):
        type(bench.sim.market)("nosuch")


def test_gaps_are_rows_that_are_not_there(bench):
    whole = len(get(bench, f"/sites/{SITE}/prices")[1])
    bench.sim.market.scenario = "gaps"
    assert 0 < len(get(bench, f"/sites/{SITE}/prices")[1]) < whole
