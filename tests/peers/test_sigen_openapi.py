"""The OpenAPI client against the simulated cloud: every call, every code, every fault."""

from __future__ import annotations

import json
import logging

import pytest

from bridge.errors import (
    EXIT_CLOUD,
    EXIT_RATE_LIMIT,
    EXIT_REFUSED,
    AuthError,
    ConfigError,
    LinkError,
    LinkTimeout,
    RateLimited,
    Refused,
)
from bridge.peers.envelope import EnvelopeError
from bridge.peers.sigen_codes import CODES
from bridge.peers.sigen_errors import (
    ApiAuthError,
    ApiError,
    ApiRateLimited,
    ApiRejected,
    ApiUnavailable,
)
from bridge.peers.sigen_records import EnergyFlow, Mode, ModeSwitch, Summary
from bridge.sim.sigen_cloud_bodies import DOUBLE_ALL
from bridge.sim.sigen_cloud_world import App, Station
from tests.peers.cloud_bench import ACCOUNT, STATION, cloud_bench

FLOW = EnergyFlow(3.4, 1.1, 1.4, 57.2, 0.9, 0.0, 0.0)


@pytest.fixture
def bench(tmp_path):
    with cloud_bench(tmp_path) as made:
        yield made


def last(bench, endpoint):
    return [entry for entry in bench.sim.log if entry.endpoint == endpoint][-1]


@pytest.mark.parametrize("double", [(), DOUBLE_ALL], ids=["plain", "all-double-encoded"])
def test_every_read_understands_plain_and_double_encoded_answers(tmp_path, double):
    with cloud_bench(tmp_path, double=double) as bench:
        client = bench.client()
        (system,) = client.systems()
        assert (system.system_id, system.status, system.grid_connected_at) == (STATION, "normal", 1711814399)
        inverter, battery = client.devices()
        assert (inverter.kind, inverter.attributes["ratedActivePower"]) == ("Inverter", 10.0)
        assert (battery.kind, battery.status) == ("Battery", "normal")
        assert client.energy_flow() == FLOW
        assert client.summary() == client.realtime() == Summary(12.3, 210.0, 3100.5, 5000.1, 2.3, 1.9, 3.1)
        live = client.device_realtime("110A000X0001")
        assert (live.pv_kw, live.ac_kw, live.battery_charge_kw, live.soc_pct) == (3.4, 2.0, 1.4, 57.2)
        assert client.mode() == Mode(0, "msc", "Maximum self-consumption")
        assert client.onboard([STATION])[0].codes == (1401,)


def test_every_call_carries_token_region_and_agent(bench):
    client = bench.client(region="anz")
    client.systems(), client.energy_flow(), client.realtime(), client.set_mode(5)
    for entry in bench.sim.log:
        assert entry.headers["sigen-region"] == "aus" and entry.user_agent == "Mozilla/5.0 test"
        assert entry.headers["content-type"] == "application/json"
        assert (entry.endpoint == "login") != ("authorization" in entry.headers)
    assert last(bench, "realtime").body == b'{"systemId":"ABCDE1700000001"}'


def test_the_account_login_reads_too(bench):
    assert bench.client(ACCOUNT).energy_flow() == FLOW


def test_a_thousand_restarts_in_five_minutes_make_one_energy_flow_call(bench):
    values = 0
    for _ in range(1000):
        try:
            values += bench.client().energy_flow() == FLOW
        except RateLimited:
            pass
        bench.clock.advance(0.29)
    assert values == 1
    assert bench.sim.counts() == {"energyFlow": 1, "login": 1}
    bench.clock.advance(20)
    assert bench.client().energy_flow() == FLOW
    assert bench.sim.counts() == {"energyFlow": 2, "login": 1}


def test_a_day_of_polling_never_meets_the_vendors_limits(bench):
    client = bench.client()
    for _ in range(24 * 12):
        assert client.energy_flow() == FLOW
        bench.clock.advance(300)
    assert {entry.code for entry in bench.sim.log} == {0}
    assert bench.sim.counts() == {"energyFlow": 288, "login": 3}


def test_all_endpoints_in_a_row_never_meet_the_vendors_limits(bench):
    client = bench.client()
    for _ in range(3):
        client.systems(), client.devices(), client.energy_flow(), client.summary(), client.realtime()
        client.mode(), client.device_realtime("110A000X0001"), client.device_realtime("110B000X0002")
        client.set_mode(5), client.set_mode(0)
        bench.clock.advance(300)
    assert {entry.code for entry in bench.sim.log} == {0}


def test_a_refused_turn_costs_no_login(bench):
    client = bench.client()
    client.energy_flow()
    bench.sim.revoke_tokens()
    with pytest.raises(RateLimited) as problem:
        bench.client().energy_flow()
    assert problem.value.exit_code == EXIT_RATE_LIMIT and bench.sim.count("login") == 1


@pytest.mark.parametrize("row", [row for row in CODES if row.code != 11003], ids=lambda row: str(row.code))
def test_every_code_reaches_the_user_as_one_actionable_line(bench, row):
    bench.sim.fail("energyFlow", "code", code=row.code)
    with pytest.raises(ApiError) as problem:
        bench.client().energy_flow()
    text = str(problem.value)
    assert f"code {row.code}" in text and row.meaning in text and row.advice in text and "\n" not in text
    assert text.startswith(f"sigen energyFlow {STATION} at 127.0.0.1:") and problem.value.status == 200
    assert problem.value.exit_code == (EXIT_RATE_LIMIT if row.code in (1110, 1201) else EXIT_CLOUD)
    assert bench.sim.count("energyFlow") == 1, "a code is not retried at once"


@pytest.mark.parametrize(("fault", "details", "kind", "words"), [
    ("waf", {}, ApiRejected, "web firewall"),
    ("status", {"status": 403}, ApiRejected, "not granted"),
    ("status", {"status": 404}, ApiRejected, "no such call"),
    ("status", {"status": 424}, ApiRateLimited, "left alone for 30 min"),
    ("status", {"status": 429}, ApiRateLimited, "waiting 300 s"),
    ("status", {"status": 429, "retry_after": "77"}, ApiRateLimited, "asks to wait 77 s"),
    ("status", {"status": 500}, ApiUnavailable, "tried again later"),
    ("status", {"status": 301}, ApiRejected, "redirect"),
    ("empty", {}, EnvelopeError, "no data in it"),
    ("null", {}, EnvelopeError, "no data in it"),
    ("page", {}, EnvelopeError, "a web page instead of JSON"),
    ("garbage", {}, EnvelopeError, "not JSON"),
    ("truncated", {}, EnvelopeError, "not JSON"),
    ("not-object", {}, EnvelopeError, "not an object"),
    ("hang", {}, LinkTimeout, "no complete answer in time"),
    ("drop", {}, LinkError, "the connection was cut"),
])
def test_every_fault_is_one_line_and_the_next_period_works(bench, fault, details, kind, words):
    client = bench.client()
    bench.sim.fail("energyFlow", fault, **details)
    with pytest.raises(kind) as problem:
        client.energy_flow()
    assert words in str(problem.value) and "\n" not in str(problem.value)
    assert problem.value.exit_code == (EXIT_RATE_LIMIT if kind is ApiRateLimited else EXIT_CLOUD)
    bench.clock.advance(6 * 3600)
    assert client.energy_flow() == FLOW


def test_a_slow_answer_is_still_an_answer(bench):
    bench.sim.fail("energyFlow", "slow", interval_s=0.001)
    assert bench.client().energy_flow() == FLOW


def test_an_absent_list_is_not_an_empty_one(bench):
    for endpoint in ("system", "devices"):
        bench.sim.fail(endpoint, "null")
    with pytest.raises(EnvelopeError):
        bench.client().systems()
    with pytest.raises(EnvelopeError):
        bench.client().devices()


def held_for(bench, seconds, call, count):
    """Check that nothing at all is sent until ``seconds`` after now, and then again."""
    for share in (0.02, 0.5, 0.47):
        with pytest.raises(RateLimited):
            call()
        bench.clock.advance(seconds * share)
    with pytest.raises(RateLimited):
        call()
    before = sum(bench.sim.counts().values())
    bench.clock.advance(seconds * 0.011)
    assert before == count
    call()


@pytest.mark.parametrize(("fault", "seconds"), [
    ({"kind": "code", "code": 1201}, 900),
    ({"kind": "status", "status": 424}, 1800),
    ({"kind": "status", "status": 429}, 300),
    ({"kind": "status", "status": 429, "retry_after": "1000"}, 1000),
    ({"kind": "waf"}, 900),
])
def test_account_wide_blocks_silence_every_endpoint_across_restarts(bench, fault, seconds):
    bench.sim.fail("energyFlow", **fault)
    with pytest.raises(ApiError):
        bench.client().energy_flow()
    held_for(bench, seconds, lambda: bench.client(patience_s=0).summary(), count=2)


def test_1110_silences_only_the_station_and_endpoint_and_grows(bench):
    client = bench.client()
    bench.sim.fail("energyFlow", "code", times=2, code=1110)
    with pytest.raises(ApiRateLimited, match="do not run a second client"):
        client.energy_flow()
    assert client.summary()
    bench.clock.advance(300)
    with pytest.raises(ApiRateLimited):
        client.energy_flow()
    bench.clock.advance(500)
    with pytest.raises(RateLimited):
        client.energy_flow()
    bench.clock.advance(100)
    assert client.energy_flow() == FLOW


def test_repeated_424_backs_off_for_hours_but_not_for_ever(bench):
    client = bench.client(patience_s=0)
    client.login()
    bench.clock.advance(6)
    bench.sim.fail("energyFlow", "status", times=0, status=424)
    for _ in range(48 * 12):
        with pytest.raises(RateLimited):
            client.energy_flow()
        bench.clock.advance(300)
    times = bench.sim.times("energyFlow")
    gaps = [later - earlier for earlier, later in zip(times, times[1:])]
    assert gaps[:3] == [1800, 3600, 7200] and max(gaps) <= 6 * 3600 + 300 and len(times) < 13
    bench.sim.faults.clear()
    bench.clock.advance(6 * 3600)
    assert bench.client().energy_flow() == FLOW


def test_another_client_that_uses_up_the_budget_is_noticed(tmp_path, bench):
    """Two state directories play two programs on one account."""
    bench.client().energy_flow()
    other = cloud_bench(tmp_path / "other")
    with other as second:
        client = second.client(base_url=bench.sim.base_url, clock=bench.clock)
        bench.clock.advance(10)
        with pytest.raises(ApiRateLimited, match="code 1110"):
            client.energy_flow()


def test_a_retry_after_date_is_understood(bench):
    from email.utils import formatdate

    date = formatdate(bench.clock.now() + 500, usegmt=True)
    bench.sim.fail("energyFlow", "status", status=429, retry_after=date)
    client = bench.client(patience_s=0)
    client.login()
    bench.clock.advance(6)
    with pytest.raises(ApiRateLimited) as problem:
        client.energy_flow()
    assert problem.value.retry_after_s == pytest.approx(494, abs=1)


@pytest.mark.parametrize("text", ["soon", "", "nan", "Thu, 99 Foo 2026", "inf"])
def test_an_unusable_retry_after_counts_as_none(bench, text):
    bench.sim.fail("energyFlow", "status", status=429, retry_after=text)
    with pytest.raises(ApiRateLimited) as problem:
        bench.client().energy_flow()
    assert problem.value.retry_after_s == 300


def test_no_connection_costs_no_budget(bench):
    client = bench.client()
    client.token()
    port = bench.sim.port
    bench.sim.stop()
    for _ in range(3):
        with pytest.raises(LinkError) as problem:
            client.energy_flow()
        assert problem.value.exit_code == EXIT_CLOUD
        with pytest.raises(RateLimited):
            bench.client(base_url=f"http://127.0.0.1:{port}", patience_s=0).energy_flow()
        bench.clock.advance(31)
    bench.sim.start()
    assert client.energy_flow() == FLOW


def test_the_firewall_refuses_library_agents_and_the_remedy_is_named(bench):
    with pytest.raises(ApiRejected, match="set cloud.user_agent") as problem:
        bench.client(user_agent="python-requests/2.31").login()
    assert not isinstance(problem.value, AuthError)


def test_the_mode_is_put_first_and_the_post_spelling_is_not_needed(bench):
    assert bench.client().set_mode(5) == ModeSwitch(STATION, 5, "put-settings")
    assert last(bench, "setMode").body == b'{"systemId":"ABCDE1700000001","energyStorageOperationMode":5}'
    assert bench.sim.world.stations[STATION].mode == 5 and bench.sim.count("switchMode") == 0


@pytest.mark.parametrize("status", [404, 405])
def test_the_post_spelling_is_found_after_404_or_405_and_remembered(bench, status):
    bench.sim.switch_off("setMode", status)
    assert bench.client().set_mode(8).spelling == "post-switch"
    assert last(bench, "switchMode").path == "/openapi/system/operationMode/switch"
    body = json.loads(last(bench, "switchMode").body)
    assert body == {"systemId": STATION, "energyStorageOperationMode": 8}
    assert bench.client().set_mode(0).spelling == "post-switch"
    assert bench.sim.count("setMode") == 1 and bench.sim.count("switchMode") == 2


def test_a_remembered_spelling_that_stops_working_is_replaced(bench):
    bench.sim.switch_off("setMode")
    bench.client().set_mode(8)
    bench.sim.service.disabled.clear()
    bench.sim.switch_off("switchMode", 405)
    assert bench.client().set_mode(0).spelling == "put-settings"
    bench.client().set_mode(5)
    assert bench.sim.count("switchMode") == 2


def test_no_spelling_at_all_is_a_refusal(bench):
    bench.sim.switch_off("setMode")
    bench.sim.switch_off("switchMode")
    with pytest.raises(ApiRejected, match="no such call"):
        bench.client().set_mode(8)


@pytest.mark.parametrize("fault", [{"kind": "status", "status": 500}, {"kind": "code", "code": 1402}])
def test_other_errors_do_not_lead_to_the_second_spelling(bench, fault):
    bench.sim.fail("setMode", **fault)
    with pytest.raises(ApiError):
        bench.client().set_mode(8)
    assert bench.sim.count("switchMode") == 0


def test_an_empty_answer_to_a_mode_change_is_accepted(bench):
    bench.sim.fail("setMode", "empty")
    assert bench.client().set_mode(8).number == 8


@pytest.mark.parametrize("number", [1, 2, 6, 7, 9, 42, -1])
def test_modes_that_are_not_ours_to_set_are_refused_before_any_call(bench, number):
    with pytest.raises(Refused, match="0 msc, 5 ffg, 8 nbi") as problem:
        bench.client().set_mode(number)
    assert problem.value.exit_code == EXIT_REFUSED and bench.sim.counts() == {}


def test_a_mode_that_is_absent_is_not_mode_0(bench):
    bench.sim.world.stations[STATION].mode = None
    with pytest.raises(EnvelopeError, match="names no mode"):
        bench.client().mode()


def test_an_owner_switch_is_seen_in_the_next_read(bench):
    client = bench.client()
    assert client.mode().number == 0
    bench.sim.world.stations[STATION].mode = 2
    bench.clock.advance(300)
    assert client.mode() == Mode(2, "tou", "Time of use")


def test_onboard_and_offboard_send_bare_arrays(tmp_path):
    with cloud_bench(tmp_path, stations=[Station(onboarded=False)]) as bench:
        client = bench.client()
        (result,) = client.onboard([STATION, STATION])
        assert result.done is True and last(bench, "onboard").body == b'["ABCDE1700000001"]'
        (result,) = client.offboard([STATION])
        assert result.done is True and last(bench, "offboard").path == "/openapi/board/offboard"
        assert bench.sim.count("system") == 0, "nothing ambiguous, nothing to read"


def test_1401_on_onboard_is_fine_only_when_the_station_is_listed(tmp_path):
    other = Station("OTHER", onboarded=False)
    with cloud_bench(tmp_path, stations=[Station(), other]) as bench:
        bench.sim.world.onboard = lambda app, system_id: 1401
        mine, theirs = bench.client().onboard([STATION, "OTHER"])
    assert (mine.done, mine.note) == (True, "was so already")
    assert theirs.done is False and "no permission to operate" in theirs.note


def test_1401_on_offboard_is_fine_only_when_the_station_is_not_listed(tmp_path):
    with cloud_bench(tmp_path, stations=[Station(), Station("GONE", onboarded=False)]) as bench:
        bench.sim.world.offboard = lambda system_id: 1401
        kept, gone = bench.client().offboard([STATION, "GONE"])
    assert kept.done is False and gone.done is True


def test_1401_as_the_code_of_the_whole_answer_is_judged_too(bench):
    bench.sim.fail("onboard", "code", code=1401)
    (result,) = bench.client().onboard([STATION])
    assert result.done is True and result.codes == (1401,)


def test_1401_that_cannot_be_verified_stays_open(bench):
    client = bench.client()
    client.systems()
    (result,) = client.onboard([STATION])
    assert result.done is None and "not verified" in result.note


def test_pending_approval_is_told_and_done_after_the_owners_click(tmp_path):
    apps = [App(approval=True)]
    with cloud_bench(tmp_path, apps=apps, stations=[Station(onboarded=False)]) as bench:
        client = bench.client()
        (result,) = client.onboard([STATION])
        assert result.pending and result.done is False and "owner must click" in result.note
        with pytest.raises(ApiRejected, match="code 1401"):
            client.energy_flow()
        bench.sim.approve(STATION)
        bench.clock.advance(300)
        (result,) = client.onboard([STATION])
        assert result.done is True and client.energy_flow() == FLOW


def test_foreign_and_unknown_stations_are_told_apart(tmp_path):
    stations = [Station("VPP", onboarded=False)]
    stations[0].other_vpp = True
    with cloud_bench(tmp_path, stations=stations) as bench:
        foreign, unknown = bench.client().onboard(["VPP", "NOSUCH"])
    assert foreign.codes == (1103,) and "leave the other VPP" in foreign.note
    assert unknown.codes == (1106,) and "cloud.region" in unknown.note


def test_a_station_the_answer_does_not_name_is_unknown(bench):
    bench.sim.fail("onboard", "null")
    (result,) = bench.client().onboard([STATION])
    assert result.done is None and "does not name" in result.note


def test_another_code_of_the_whole_answer_is_an_error(bench):
    bench.sim.fail("onboard", "code", code=1604)
    with pytest.raises(ApiRejected, match="1604"):
        bench.client().onboard([STATION])


@pytest.mark.parametrize("count", [0, 200])
def test_batches_outside_the_vendors_size_are_not_sent(bench, count):
    with pytest.raises(ConfigError, match="1 to 199"):
        bench.client().onboard([f"S{index}" for index in range(count)])
    assert bench.sim.counts() == {}


@pytest.mark.parametrize("system_id", [None, "", "  ", "a b", "a\nb", "é"])
def test_a_missing_or_odd_system_id_says_where_to_find_it(bench, system_id):
    with pytest.raises(ConfigError, match="cloud systems"):
        bench.client(system_id=system_id).energy_flow()


def test_a_system_id_cannot_change_the_path(bench):
    with pytest.raises(ApiRejected, match="code 1106"):
        bench.client(system_id="../x/y").energy_flow()
    assert last(bench, "energyFlow").path == "/openapi/systems/..%2Fx%2Fy/energyFlow"


def test_region_or_base_url_is_needed_and_checked_without_a_connection(bench):
    with pytest.raises(ConfigError, match="cloud.region"):
        bench.client(region=None, base_url=None)
    with pytest.raises(ConfigError, match="not known"):
        bench.client(region="mars", base_url=None)
    with pytest.raises(ConfigError, match="base URL"):
        bench.client(base_url="nonsense")
    assert bench.client(region=None).energy_flow() == FLOW


def test_a_healthy_day_logs_logins_only(bench, caplog):
    caplog.set_level(logging.INFO)
    client = bench.client()
    for _ in range(24 * 12):
        client.energy_flow()
        bench.clock.advance(300)
    assert [record.name for record in caplog.records] == ["cloud"] * 3
    assert all("event=login method=key" in record.getMessage() for record in caplog.records)


def test_a_wrong_region_is_reported_as_an_unknown_station(bench):
    bench.sim.service.region = "aus"
    with pytest.raises(ApiRejected, match=r"1106.*cloud\.region"):
        bench.client().energy_flow()


def test_a_second_login_is_not_hidden_by_a_working_token(bench):
    client = bench.client()
    client.energy_flow()
    bench.clock.advance(60)
    assert client.login().method == "key" and bench.sim.count("login") == 2


def test_the_login_lock_out_on_a_data_call_is_not_renewed(bench):
    bench.sim.fail("energyFlow", "code", code=11002)
    with pytest.raises(ApiAuthError, match="locked"):
        bench.client().energy_flow()
    assert bench.sim.count("login") == 1
