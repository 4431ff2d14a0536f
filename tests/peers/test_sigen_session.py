"""The token: cached, renewed in time, shared; and passwords that are never tried twice in a row."""

from __future__ import annotations

import json
import logging
import stat
import threading
from pathlib import Path

import pytest

from bridge.clock import ManualClock
from bridge.errors import EXIT_CLOUD, ConfigError, LinkError, RateLimited
from bridge.peers.envelope import EnvelopeError
from bridge.peers.sigen_errors import ApiAuthError, ApiUnavailable
from bridge.peers.sigen_session import LOGIN_FILE, TOKEN_FILE, Credentials, Login
from bridge.sim.sigen_cloud_world import Account
from tests.peers.cloud_bench import ACCOUNT, KEY, STATION, cloud_bench

LIFETIME_S = 43199
WRONG = ACCOUNT._replace(password="wrong")
ENCODED = "2XgqjWOYS8wesGPH8+9zTA=="


@pytest.fixture
def bench(tmp_path):
    with cloud_bench(tmp_path) as made:
        yield made


def accounts(*spellings, **options):
    return [Account(spellings=spellings, **options)]


def last_login(bench):
    return [entry for entry in bench.sim.log if entry.endpoint == "login"][-1]


def test_the_key_login_sends_exactly_the_documented_bytes(bench):
    assert bench.client().login() == Login("key", LIFETIME_S)
    assert last_login(bench).body == b'{"key":"QUtfREVNTzpBU19ERU1P"}'
    assert last_login(bench).path == "/openapi/auth/login/key"
    assert "authorization" not in last_login(bench).headers
    assert last_login(bench).headers["content-type"] == "application/json"


def test_the_token_file_is_for_the_owner_only_and_survives_a_restart(bench):
    bench.client().login()
    path = Path(bench.path, TOKEN_FILE)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    bench.client().systems()
    assert bench.sim.count("login") == 1


@pytest.mark.parametrize("restart", [False, True])
def test_a_token_is_renewed_five_minutes_before_it_expires(bench, restart):
    client = bench.client()
    client.token()
    bench.clock.advance(LIFETIME_S - 301)
    client = bench.client() if restart else client
    client.token()
    assert bench.sim.count("login") == 1
    bench.clock.advance(2)
    client = bench.client() if restart else client
    client.token()
    assert bench.sim.count("login") == 2


def test_within_a_process_a_clock_step_does_not_age_the_token(bench):
    client = bench.client()
    client.token()
    bench.clock.jump_wall(10 * LIFETIME_S)
    client.token()
    bench.clock.jump_wall(-20 * LIFETIME_S)
    client.token()
    assert bench.sim.count("login") == 1


def test_a_cached_token_of_unknown_age_is_tried_and_renewed_on_401(bench):
    bench.client().token()
    bench.sim.revoke_tokens()
    booted = ManualClock(now=60.0, monotonic=60.0)
    client = bench.client(clock=booted)
    bench.clock.advance(600)
    assert client.energy_flow().pv_kw == 3.4
    assert bench.sim.count("energyFlow") == 2 and bench.sim.count("login") == 2


def test_a_revoked_token_is_renewed_once_and_the_call_repeated_once(bench):
    client = bench.client()
    client.token()
    bench.sim.revoke_tokens()
    client.energy_flow()
    assert bench.sim.counts() == {"login": 2, "energyFlow": 2}


def test_code_11003_on_a_data_call_renews_the_token_too(bench):
    client = bench.client()
    bench.sim.fail("energyFlow", "code", code=11003)
    client.energy_flow()
    assert bench.sim.counts() == {"login": 2, "energyFlow": 2}


def test_a_second_401_is_an_error_and_not_a_loop(bench):
    bench.sim.fail("energyFlow", "status", times=0, status=401)
    with pytest.raises(ApiAuthError, match="refused with a new token as well") as problem:
        bench.client().energy_flow()
    assert problem.value.exit_code == EXIT_CLOUD
    assert bench.sim.counts() == {"login": 2, "energyFlow": 2}


def test_another_process_that_has_renewed_already_is_noticed(bench):
    first, second = bench.client(), bench.client()
    first.token(), second.token()
    bench.sim.revoke_tokens()
    first.mode()
    second.energy_flow()
    assert bench.sim.count("login") == 2


def test_two_calls_refused_with_the_same_token_cost_one_login(bench):
    client = bench.client()
    old = client.token()
    session = client._session
    bench.sim.revoke_tokens()
    assert session.renew(old) == session.renew(old) != old
    assert bench.sim.count("login") == 2


def test_threads_share_one_login(bench):
    client = bench.client()
    tokens, barrier = [], threading.Barrier(6)

    def ask():
        barrier.wait(5)
        tokens.append(client.token())

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len(tokens) == 6 and len(set(tokens)) == 1 and bench.sim.count("login") == 1


def test_the_old_token_serves_while_its_renewal_fails(bench, caplog):
    client = bench.client()
    token = client.token()
    bench.clock.advance(LIFETIME_S - 200)
    bench.sim.fail("login", "status", status=503)
    assert client.token() == token and "cloud-renewal-failed" in caplog.text
    bench.clock.advance(250)
    assert client.token() != token


def test_a_token_of_another_account_or_host_is_not_used(bench):
    bench.client().token()
    bench.client(ACCOUNT).token()
    assert bench.sim.count("login") == 2


@pytest.mark.parametrize("content", [[], {}, {"who": "x"}, {"token": 7}, "text"])
def test_a_damaged_token_file_means_a_login(bench, content):
    bench.client().token()
    known = json.loads(Path(bench.path, TOKEN_FILE).read_text())
    damaged = {**known, "token": None, "wall": "x"} if content == {} else content
    Path(bench.path, TOKEN_FILE).write_text(json.dumps(damaged))
    bench.client().token()
    assert bench.sim.count("login") == 2


def test_short_lived_tokens_do_not_cause_a_login_at_every_call(bench):
    bench.sim.world.lifetime_s = 60.0
    client = bench.client()
    client.token()
    bench.clock.advance(29)
    client.token()
    assert bench.sim.count("login") == 1


@pytest.mark.parametrize("content", [
    '{"code":0,"data":null}', '{"code":0,"data":"{}"}', '{"code":0,"data":{"accessToken":""}}',
    '{"code":0,"data":{"accessToken":"a\\nb"}}', '{"code":0,"data":{"accessToken":["x"]}}',
])
def test_a_success_without_a_usable_token_is_an_error(bench, content, monkeypatch):
    from bridge.sim import sigen_cloud
    from bridge.sim.sigen_cloud_faults import Answer

    monkeypatch.setattr(sigen_cloud, "damaged", lambda fault, good: Answer(200, content, 0))
    bench.sim.fail("login", "null")
    with pytest.raises(EnvelopeError, match="without a usable token"):
        bench.client().login()


def test_an_unnamed_lifetime_is_taken_as_an_hour(bench, monkeypatch):
    from bridge.sim import sigen_cloud
    from bridge.sim.sigen_cloud_faults import Answer

    body = '{"code":0,"data":{"accessToken":"t","expiresIn":null}}'
    monkeypatch.setattr(sigen_cloud, "damaged", lambda fault, good: Answer(200, body, 0))
    bench.sim.fail("login", "null")
    assert bench.client().login().expires_in_s == 3600


def test_a_wrong_key_stops_for_a_quarter_of_an_hour_across_restarts(bench):
    wrong = Credentials("AK_DEMO", "no")
    with pytest.raises(ApiAuthError, match="code 11003.*check app key and secret") as problem:
        bench.client(wrong).login()
    assert problem.value.exit_code == EXIT_CLOUD
    for _ in range(50):
        with pytest.raises(RateLimited, match="login"):
            bench.client(wrong).token()
        bench.clock.advance(17)
    assert bench.sim.count("login") == 1
    bench.clock.advance(60)
    with pytest.raises(ApiAuthError):
        bench.client(wrong).token()


def test_http_401_on_the_login_is_a_refusal_not_a_renewal(bench):
    bench.sim.fail("login", "status", status=401)
    with pytest.raises(ApiAuthError, match="HTTP 401; check app key and secret"):
        bench.client().login()
    assert bench.sim.count("login") == 1


def test_the_account_login_is_json_with_the_plain_password_first(bench):
    assert bench.client(ACCOUNT).login().method == "account/json-plain"
    assert json.loads(last_login(bench).body) == {"username": ACCOUNT.username, "password": "correct horse"}
    assert last_login(bench).path == "/openapi/auth/login/password"


@pytest.mark.parametrize(("accepted", "attempts"), [
    ("json-plain", 1), ("json-aes", 2), ("form-plain", 3), ("form-aes", 4),
])
def test_spellings_are_tried_one_every_quarter_of_an_hour_and_remembered(tmp_path, accepted, attempts):
    with cloud_bench(tmp_path, accounts=accounts(accepted)) as bench:
        both = ACCOUNT._replace(password_encoded=ENCODED)
        for number in range(1, attempts):
            with pytest.raises(ApiAuthError):
                bench.client(both).login()
            assert bench.sim.count("login") == number
            with pytest.raises(RateLimited):
                bench.client(both).login()
            bench.clock.advance(900)
        assert bench.client(both).login().method == f"account/{accepted}"
        bench.clock.advance(60)
        assert bench.client(both).login().method == f"account/{accepted}"
        assert json.loads(Path(bench.path, LOGIN_FILE).read_text())["works"] is True


def test_only_an_encoded_password_uses_only_the_encoded_spellings(tmp_path):
    with cloud_bench(tmp_path, accounts=accounts("form-aes")) as bench:
        coded = Credentials(username=ACCOUNT.username, password_encoded=ENCODED)
        with pytest.raises(ApiAuthError):
            bench.client(coded).login()
        bench.clock.advance(900)
        assert bench.client(coded).login().method == "account/form-aes"


def test_an_encoder_makes_the_encoded_spelling_possible(tmp_path):
    with cloud_bench(tmp_path, accounts=accounts("json-aes")) as bench:
        client = bench.client(ACCOUNT, encode={"correct horse": ENCODED}.get)
        with pytest.raises(ApiAuthError):
            client.login()
        bench.clock.advance(900)
        assert client.login().method == "account/json-aes"


def test_a_day_of_wrong_passwords_never_locks_the_account(bench):
    for _ in range(24 * 12):
        with pytest.raises((ApiAuthError, RateLimited)):
            bench.client(WRONG).login()
        bench.clock.advance(300)
    codes = {entry.code for entry in bench.sim.log if entry.endpoint == "login"}
    assert codes == {11003}
    times = bench.sim.times("login")
    assert min(later - earlier for earlier, later in zip(times, times[1:])) >= 900


def test_a_locked_account_is_left_alone(bench):
    bench.sim.fail("login", "code", code=11002)
    with pytest.raises(ApiAuthError, match="locked after five wrong passwords"):
        bench.client(ACCOUNT).login()
    with pytest.raises(RateLimited):
        bench.client(ACCOUNT).login()
    bench.clock.advance(900)
    assert bench.client(ACCOUNT).login().method == "account/json-plain"


def test_a_crash_during_an_unproven_login_does_not_lead_to_a_second_try(bench):
    """A hang stands for the crash: the answer is never seen."""
    bench.sim.fail("login", "hang")
    with pytest.raises(LinkError):
        bench.client(WRONG).login()
    for _ in range(20):
        with pytest.raises(RateLimited):
            bench.client(WRONG).login()
        bench.clock.advance(40)
    assert bench.sim.count("login") == 1


def test_a_proven_password_is_tried_again_soon_after_a_broken_line(bench):
    bench.client(ACCOUNT).login()
    bench.clock.advance(60)
    bench.sim.fail("login", "drop")
    with pytest.raises(LinkError):
        bench.client(ACCOUNT).login()
    bench.clock.advance(30)
    assert bench.client(ACCOUNT).login()


def test_a_cloud_in_trouble_does_not_cost_the_account_its_next_login(bench):
    bench.sim.fail("login", "status", status=500)
    with pytest.raises(ApiUnavailable):
        bench.client(ACCOUNT).login()
    bench.clock.advance(30)
    assert bench.client(ACCOUNT).login()


def test_a_thousand_restarts_during_a_cloud_outage_are_a_handful_of_logins(bench):
    bench.sim.fail("login", "status", times=0, status=500)
    for _ in range(1000):
        with pytest.raises((ApiUnavailable, RateLimited)):
            bench.client(patience_s=0).login()
        bench.clock.advance(0.3)
    assert bench.sim.count("login") <= 4


def test_missing_credentials_name_the_settings(bench):
    for given in (Credentials(), Credentials(app_key="only"), Credentials(username="only")):
        with pytest.raises(ConfigError, match=r"cloud\.app_key.*cloud\.password"):
            bench.client(given).login()
    assert bench.sim.counts() == {}


def test_an_account_without_api_access_is_told_so(tmp_path):
    with cloud_bench(tmp_path, accounts=accounts("json-plain", api_access=False)) as bench, \
            pytest.raises(ApiAuthError, match="may lack API access"):
        bench.client(ACCOUNT).login()


def test_no_secret_is_shown_by_repr_error_or_log(bench, caplog):
    caplog.set_level(logging.DEBUG)
    secrets = ("AS_DEMO", "QUtfREVNTzpBU19ERU1P", "correct horse", ENCODED)
    shown = repr(KEY) + repr(ACCOUNT._replace(password_encoded=ENCODED))
    client = bench.client()
    token = client.token()
    words = f"AS_DEMO QUtfREVNTzpBU19ERU1P {token} accessToken={token}"
    bench.sim.fail("energyFlow", "code", code=1000, msg=words)
    with pytest.raises(Exception, match="code 1000") as problem:
        client.energy_flow()
    shown += str(problem.value) + caplog.text + repr(problem.value)
    for secret in (*secrets, token):
        assert secret not in shown
    assert "AK_DEMO" not in repr(KEY) and STATION in str(problem.value)
