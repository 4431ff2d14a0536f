"""Tokens of the app: got once, renewed in time, shared, and never shown."""

from __future__ import annotations

import base64
import logging
import stat
import threading
from urllib.parse import parse_qs

import pytest

from bridge.clock import ManualClock
from bridge.errors import AuthError, ConfigError, LinkError, RateLimited
from bridge.peers.sigen_app_identity import AppCredentials, bare_bearer, new_device_id
from bridge.peers.sigen_app_turn import WAIT_S, Turn
from bridge.peers.sigen_errors import ApiRejected, ApiUnavailable
from bridge.state import StateDir
from tests.peers.app_bench import ENCODED, PASSWORD, PLAIN, USER, app_bench

BROWSER_ID = "1767225600123"


@pytest.fixture
def bench(tmp_path):
    with app_bench(tmp_path) as bench:
        yield bench


def forms(bench):
    """Return the fields of every login form that arrived."""
    bodies = [entry.body.decode() for entry in bench.sim.log if entry.endpoint == "appLogin"]
    return [{name: texts[0] for name, texts in parse_qs(body).items()} for body in bodies]


def test_the_password_grant_is_what_the_web_app_sends(bench):
    bench.client(AppCredentials(USER, PASSWORD, device_id=BROWSER_ID)).station()
    assert forms(bench) == [{
        "username": USER, "password": ENCODED, "grant_type": "password", "scope": "server",
        "userDeviceId": BROWSER_ID,
    }]
    entry = bench.sim.log[0]
    assert entry.headers["authorization"] == "Basic " + base64.b64encode(b"sigen:sigen").decode()
    assert entry.headers["content-type"] == "application/x-www-form-urlencoded"
    assert entry.headers["client-server"] == "aus" and entry.headers["auth-client-id"] == "sigen"
    assert entry.user_agent == "Mozilla/5.0 test"


def test_apac_is_called_aus_in_the_header_as_the_app_does(bench):
    bench.client(region="apac").station()
    assert {entry.headers["client-server"] for entry in bench.sim.log} == {"aus"}


def test_an_encoded_password_is_sent_as_it_is_and_needs_no_cipher(bench):
    bench.client(AppCredentials(USER, password_encoded=ENCODED), encode=None).station()
    assert forms(bench)[0]["password"] == ENCODED


def test_a_plain_password_without_the_cipher_is_one_clear_line(bench):
    with pytest.raises(ConfigError, match="pycryptodome.*cloud.password_encoded"):
        bench.client(encode=None).station()
    assert not bench.sim.log


def test_the_device_id_is_made_once_and_outlives_the_cache(bench):
    bench.client().login()
    for file in (bench.path / "cache").iterdir():
        file.unlink()
    bench.clock.advance(1)
    bench.client().login()
    first, second = bench.sim.app_world.device_ids
    assert first == second == bench.held("app-device.json")["device_id"]
    assert len(first) == 13 and first.isdigit()


def test_a_clock_that_is_not_set_still_makes_a_device_id_of_13_digits():
    made = {new_device_id(ManualClock(now=12.0)) for _ in range(20)}
    assert len(made) == 20 and all(len(one) == 13 and one.isdigit() for one in made)


def test_a_token_is_shared_by_later_commands_and_is_for_its_owner_only(bench):
    for _ in range(4):
        bench.client().station()
    assert bench.grants() == ["password"]
    for name in ("cache/app-token.json", "kept/app-refresh.json", "kept/app-device.json"):
        assert stat.S_IMODE((bench.path / name).stat().st_mode) == 0o600


def test_another_account_or_another_address_does_not_get_the_token(bench):
    bench.client().station()
    bench.client(AppCredentials(USER.upper(), PASSWORD))
    with pytest.raises(AuthError):
        bench.client(AppCredentials("someone@example.invalid", PASSWORD)).station()
    assert bench.grants() == ["password", "password"]


def test_a_token_is_renewed_before_its_end_and_both_tokens_rotate(bench):
    bench.client().station()
    seen = [bench.held("app-refresh.json")["refresh_token"]]
    for _ in range(3):
        bench.clock.advance(43199 - 299)
        bench.client().station()
        seen.append(bench.held("app-refresh.json")["refresh_token"])
    assert bench.grants() == ["password", "refresh", "refresh", "refresh"]
    assert len(set(seen)) == 4
    assert all(entry.status == 200 for entry in bench.sim.log)


def test_the_refresh_token_outlives_a_reboot_and_the_access_token_need_not(bench):
    bench.client().station()
    for file in (bench.path / "cache").iterdir():
        file.unlink()
    bench.client(clock=ManualClock(monotonic=5.0)).station()
    assert bench.grants() == ["password", "refresh"]


def test_a_refused_refresh_falls_back_to_the_password_once(bench):
    bench.client().station()
    bench.sim.revoke_tokens()
    bench.clock.advance(43000)
    bench.client().station()
    assert bench.grants() == ["password", "refresh", "password"]


def test_a_token_revoked_before_its_time_is_renewed_in_the_middle_of_the_work(bench):
    app = bench.client()
    app.station()
    bench.sim.app_world.expire_access(bench.clock.monotonic())
    assert app.energy_flow().flow.pv_kw == 3.4
    bench.sim.revoke_tokens()
    assert app.energy_flow().flow.pv_kw == 3.4
    assert bench.grants() == ["password", "refresh", "refresh", "password"]


def test_an_endpoint_that_refuses_every_token_gets_two_new_ones_and_no_more(bench):
    app = bench.client()
    app.station()
    bench.sim.fail("appFlow", "status", times=0, status=401)
    with pytest.raises(AuthError, match="refused with a new token as well") as caught:
        app.energy_flow()
    assert caught.value.exit_code == 6
    assert bench.grants() == ["password", "refresh", "password"] and bench.sim.count("appFlow") == 3


@pytest.mark.parametrize("code", [401, 403])
def test_a_code_inside_an_http_200_means_the_same(bench, code):
    app = bench.client()
    app.station()
    bench.sim.fail("appFlow", "code", code=code)
    assert app.energy_flow().flow.pv_kw == 3.4
    assert bench.grants() == ["password", "refresh"]


def test_a_bearer_makes_no_login_at_all(bench):
    bench.client().login()
    access = bench.held("app-token.json")["token"]
    bench.sim.log.clear()
    for text in (access, f"Bearer {access}", f"  bearer  {access} ", f"Authorization: Bearer {access}"):
        bench.client(AppCredentials(USER, PASSWORD, bearer=text)).station()
    assert bench.sim.counts() == {"appHome": 4}


def test_an_expired_bearer_says_what_to_do_and_asks_nothing_else(bench):
    with pytest.raises(AuthError, match="paste a new bearer or use user/password") as caught:
        bench.client(AppCredentials(USER, PASSWORD, bearer="at-old-one")).station()
    assert caught.value.exit_code == 6 and "at-old-one" not in str(caught.value)
    assert bench.sim.counts() == {"appHome": 1}
    with pytest.raises(ConfigError, match="remove it"):
        bench.client(AppCredentials(bearer="at-old-one")).login()


@pytest.mark.parametrize("text", ["two words", "schön", "a\nb"])
def test_a_bearer_that_is_no_token_is_refused_without_quoting_it(text):
    with pytest.raises(ConfigError, match="cloud.bearer") as caught:
        bare_bearer(text)
    assert text not in str(caught.value)


def test_a_wrong_password_is_tried_once_in_15_minutes_and_a_corrected_one_at_once(bench):
    wrong = AppCredentials(USER, "wrong horse")
    with pytest.raises(AuthError, match=r"login at 127.*11003.*cloud.password") as caught:
        bench.client(wrong).station()
    assert caught.value.exit_code == 6 and "wrong horse" not in str(caught.value)
    for _ in range(3):
        with pytest.raises(RateLimited) as waiting:
            bench.client(wrong).station()
        assert 800 < waiting.value.retry_after_s <= 900
    assert bench.grants() == ["password"]
    bench.client().station()
    assert bench.grants() == ["password", "password"]


def test_a_password_is_never_wrong_often_enough_to_lock_the_account(bench):
    """A program that is started once a minute with a wrong password for a day."""
    wrong = AppCredentials(USER, "wrong horse")
    for _ in range(24 * 60):
        with pytest.raises((AuthError, RateLimited)):
            bench.client(wrong).station()
        bench.clock.advance(60)
    codes = [entry.code for entry in bench.sim.log]
    assert set(codes) == {11003} and len(codes) <= 24 * 4


def test_a_locked_account_is_called_locked(bench):
    bench.sim.fail("appLogin", "code", code=11002)
    with pytest.raises(AuthError, match="locked after five wrong passwords"):
        bench.client().station()


def test_a_login_without_an_answer_is_not_repeated_at_once(bench):
    bench.sim.fail("appLogin", "hang")
    with pytest.raises(LinkError):
        bench.client().station()
    with pytest.raises(RateLimited, match="outcome of the last try is not known"):
        bench.client().station()
    assert bench.sim.count("appLogin") == 1


def test_a_login_that_meets_trouble_is_tried_again_after_a_while(bench):
    bench.sim.fail("appLogin", "status", status=500)
    with pytest.raises(ApiUnavailable):
        bench.client().station()
    with pytest.raises(RateLimited):
        bench.client().station()
    bench.clock.advance(31)
    assert bench.client().station().station_id


def test_the_firewall_is_recognised_and_the_password_not_blamed(bench):
    with pytest.raises(ApiRejected, match="web firewall, not by the password; set cloud.user_agent") as caught:
        bench.client(user_agent="python-requests/2.34").station()
    assert caught.value.exit_code == 6
    with pytest.raises(RateLimited):  # asking a firewall again makes it stricter
        bench.client().station()
    bench.clock.advance(901)
    bench.client().station()


def test_the_last_minutes_of_a_token_are_used_when_renewal_fails(bench, caplog):
    app = bench.client()
    app.station()
    bench.clock.advance(43199 - 200)
    bench.sim.fail("appLogin", "status", times=2, status=503)
    assert app.energy_flow().flow.pv_kw == 3.4
    assert "event=app-renewal-failed" in caplog.text
    bench.clock.advance(60)
    app.energy_flow()
    assert bench.sim.counts()["appLogin"] >= 3 and len(bench.sim.app_world.tokens) == 1


def test_tokens_without_an_envelope_are_taken_too(bench):
    bench.sim.app_world.wrapped = False
    bench.client().station()
    bench.clock.advance(43000)
    bench.client().station()
    assert bench.grants() == ["password", "refresh"]


def test_threads_that_need_a_token_at_once_log_in_once(bench):
    app, barrier, failures = bench.client(), threading.Barrier(8), []

    def work():
        barrier.wait(5)
        try:
            app.energy_flow()
        except Exception as error:
            failures.append(error)

    for start in (lambda: None, lambda: bench.clock.advance(43000)):
        start()
        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
    assert not failures and bench.grants() == ["password", "refresh"]


def test_a_lock_that_stays_taken_is_not_waited_for_for_ever(tmp_path, caplog):
    clock, state = ManualClock(), StateDir(str(tmp_path))
    begun = clock.monotonic()
    with Turn(state, "one.lock", clock).taken(), Turn(state, "one.lock", clock).taken():
        assert WAIT_S <= clock.monotonic() - begun < WAIT_S + 1
    assert "event=lock-busy" in caplog.text
    with Turn(state, "one.lock", clock).taken():
        pass


def test_a_directory_that_cannot_be_written_costs_logins_but_not_the_work(bench, caplog):
    bench.cache = bench.kept = "/proc/nowhere"
    bench.client().station()
    bench.client().station()
    assert bench.grants() == ["password", "password"]
    assert "event=refresh-token-not-kept" in caplog.text and "event=device-id-not-kept" in caplog.text


def test_no_secret_is_in_logs_errors_or_representations(bench, caplog):
    caplog.set_level(logging.DEBUG)
    app = bench.client()
    app.station()
    tokens = [bench.held("app-token.json")["token"], bench.held("app-refresh.json")["refresh_token"]]
    bench.sim.fail("appFlow", "code", code=1502, msg=f"trouble with {tokens[0]} and {PASSWORD}")
    with pytest.raises(ApiRejected) as caught:
        app.energy_flow()
    bench.clock.advance(43000)
    bench.sim.revoke_tokens()
    app.energy_flow()
    said = caplog.text + str(caught.value) + repr(PLAIN) + repr(AppCredentials(USER, PASSWORD, ENCODED, "1", "b"))
    for secret in (PASSWORD, ENCODED, *tokens, "Bearer", USER):
        assert secret not in said
