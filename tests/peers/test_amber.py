"""The Amber client against the simulated API: answers, refusals, limits."""

from __future__ import annotations

from datetime import date

import pytest

from bridge.errors import AuthError, ConfigError, LinkError, PeerError, RateLimited, Rejected
from bridge.peers.amber import Amber
from bridge.sim.amber import TOKEN
from tests.peers.amber_bench import amber_bench

DAY = date(2026, 1, 15)
SITE = "01J0SIMSITE00000000000001"


@pytest.fixture
def bench(tmp_path):
    with amber_bench(tmp_path) as found:
        yield found


def prices(client, period_s=0.0):
    return client.prices(SITE, DAY, DAY, 30, period_s)


def test_sites_prices_and_the_current_interval(bench):
    client = bench.client()
    (site,) = client.sites()
    assert (site.site_id, site.network, site.status, site.billing_min) == (SITE, "Ausgrid", "active", 5)
    rows = prices(client)
    assert not rows.odd and len(rows.rows) == 2 * 48 and {row.minutes for row in rows.rows} == {30}
    live = client.current(SITE, 5, 0.0)
    assert [(row.channel, row.kind, row.minutes) for row in live.rows] == [
        ("general", "current", 5), ("feedIn", "current", 5)]
    assert all(row.start <= bench.clock.now() < row.end for row in live.rows)
    around = client.current(SITE, 5, 0.0, following=2, previous=1)
    assert [row.kind for row in around.rows[:4]] == ["actual", "current", "forecast", "forecast"]


def test_what_is_sent(bench):
    prices(bench.client())
    (entry,) = bench.sim.log
    assert entry.target == f"/v1/sites/{SITE}/prices?startDate=2026-01-15&endDate=2026-01-15&resolution=30"
    assert entry.headers["authorization"] == f"Bearer {TOKEN}" and "python" not in entry.headers["user-agent"].lower()


@pytest.mark.parametrize(("fault", "kind", "words", "code"), [
    ({"kind": "unauthorized"}, AuthError, "token was not accepted", 6),
    ({"kind": "forbidden"}, AuthError, "explicit deny", 6),
    ({"kind": "status", "status": 404}, Rejected, "amber sites lists yours", 6),
    ({"kind": "status", "status": 400}, Rejected, "refused", 6),
    ({"kind": "status", "status": 500}, PeerError, "Amber has trouble", 6),
    ({"kind": "status", "status": 302}, Rejected, "redirect", 6),
    ({"kind": "waf"}, Rejected, "web firewall, not by the token", 6),
    ({"kind": "garbage"}, PeerError, "no JSON", 6),
    ({"kind": "page"}, PeerError, "a web page", 6),
    ({"kind": "truncated"}, PeerError, "no JSON", 6),
    ({"kind": "drop"}, LinkError, "cut", 6),
    ({"kind": "hang"}, LinkError, "no complete answer in time", 6),
    ({"kind": "limited"}, RateLimited, "Amber asks to wait 122 s", 7),
    ({"kind": "throttled"}, RateLimited, "throttled without a time", 7),
])
def test_each_trouble_has_its_error_and_none_holds_the_token(bench, fault, kind, words, code):
    bench.sim.fail("prices", times=1, **fault)
    with pytest.raises(kind) as caught:
        prices(bench.client())
    assert words in str(caught.value) and caught.value.exit_code == code
    assert TOKEN not in str(caught.value) and "amber prices" in str(caught.value) or kind is LinkError


def test_an_empty_answer_holds_no_rows(bench):
    bench.sim.fail("prices", "nothing")
    assert prices(bench.client()).rows == ()
    bench.sim.fail("prices", "empty")
    assert prices(bench.client()).rows == ()


def test_a_429_with_headers_is_obeyed_to_the_second_and_by_every_process(bench):
    bench.sim.fail("*", "limited")
    with pytest.raises(RateLimited):
        prices(bench.client())
    bench.clock.advance(120)
    with pytest.raises(RateLimited, match="possible again in 2 s"):
        prices(bench.client())
    assert len(bench.sim.log) == 1, "the second was not sent"
    bench.clock.advance(2.1)
    assert prices(bench.client()).rows


def test_a_429_without_headers_is_waited_for_longer_each_time_up_to_five_minutes(bench):
    bench.sim.fail("*", "throttled", times=6)
    waits = []
    for _ in range(6):
        with pytest.raises(RateLimited) as caught:
            prices(bench.client())
        waits.append(round(caught.value.retry_after_s))
        bench.clock.advance(caught.value.retry_after_s + 0.1)
    assert waits == [30, 60, 120, 240, 300, 300]
    assert prices(bench.client()).rows
    bench.sim.fail("*", "throttled")
    with pytest.raises(RateLimited) as caught:
        prices(bench.client())
    assert round(caught.value.retry_after_s) == 30, "a good answer ends the row"


def test_the_period_is_kept_across_processes_and_clock_jumps(bench):
    prices(bench.client(), 300.0)
    bench.clock.advance(299)
    with pytest.raises(RateLimited, match="amber prices: not asked"):
        prices(bench.client(), 300.0)
    bench.clock.jump_wall(86400)
    with pytest.raises(RateLimited):
        prices(bench.client(), 300.0)
    bench.clock.advance(1.1)
    assert prices(bench.client(), 300.0).rows


def test_the_last_calls_of_a_window_are_left_to_the_owners_other_tools(bench):
    bench.sim.limit = 50
    client, asked = bench.client(), 0
    for _ in range(60):
        try:
            prices(client)
        except RateLimited:
            break
        asked += 1
        bench.clock.advance(4)
    assert asked == 45, "at 5 left"
    assert all(entry.status == 200 for entry in bench.sim.log)


def test_a_call_that_never_left_costs_nothing(bench, tmp_path):
    client = bench.client(base_url="http://127.0.0.1:9/v1")
    with pytest.raises(LinkError):
        prices(client, 300.0)
    bench.clock.advance(31)
    assert prices(bench.client(), 300.0).rows


@pytest.mark.parametrize("token", ["", None])
def test_without_a_token_it_says_where_to_get_one(bench, token):
    with pytest.raises(ConfigError, match="Amber app"):
        Amber(None, token, bench.clock, None)


def test_a_token_of_another_shape_is_named_in_the_refusal_only(bench):
    with pytest.raises(AuthError, match="begin with psk_; this one does not") as caught:
        prices(bench.client(token="my secret"))
    assert "my secret" not in str(caught.value)


def test_a_token_with_stray_characters_is_one_line_without_it(bench):
    with pytest.raises(ConfigError) as caught:
        prices(bench.client(token="psk_\nabc"))
    assert "psk_" not in str(caught.value)


def test_ids_are_quoted_in_the_path(bench):
    with pytest.raises(Rejected):
        bench.client().prices("../x?y#z", DAY, DAY, 30, 0.0)
    assert bench.sim.log[0].target.startswith("/v1/sites/..%2Fx%3Fy%23z/prices?")
