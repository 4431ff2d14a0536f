"""The token keeper against the simulated Enlighten: ways, renewal, failures, what is stored."""

from __future__ import annotations

import json
import os
import stat
import threading

import pytest

from bridge.clock import ManualClock
from bridge.errors import ConfigError
from bridge.peers.enphase_errors import NoToken, TokenRefused
from bridge.peers.enphase_jwt import DAY_S
from bridge.peers.enphase_keeper import FILE
from bridge.sim.enphase_world import Account
from tests.enphase_home import Home

pytestmark = pytest.mark.needs("openssl")


@pytest.fixture
def home(tmp_path):
    with Home(tmp_path, ManualClock()) as place:
        yield place


def stored(home):
    return home.state.load(FILE)


def test_session_way_sends_the_form_and_the_cookie(home):
    keeper = home.keeper(way="session")
    token = keeper.token()
    login, fetch = home.cloud.log
    assert (login.method, login.path) == ("POST", "/login/login.json")
    assert login.form == {"user[email]": "owner@example.com", "user[password]": "s3cret&+%"}
    assert (fetch.method, fetch.path, fetch.query) == ("GET", "/entrez-auth-token", {"serial_num": home.world.serial})
    assert fetch.headers["cookie"].startswith("_enlighten_4_session=")
    assert token in home.world.tokens


def test_tokens_way_posts_session_serial_and_name(home):
    token = home.keeper(way="tokens").token()
    fetch = home.cloud.log[-1]
    assert fetch.path == "/tokens"
    assert fetch.content == {
        "session_id": next(iter(home.world.sessions)), "serial_num": home.world.serial, "username": "owner@example.com"}
    assert token in home.world.tokens


@pytest.mark.parametrize("password", ["a&b=c", "a+b c", "100%25", "ü§&#;?/", "'\"\\"])
def test_passwords_survive_whatever_is_in_them(tmp_path, password):
    with Home(tmp_path, ManualClock(), account=Account(password=password)) as home:
        assert home.keeper().token() in home.world.tokens


@pytest.mark.parametrize(("way", "fault"), [("session", "bare"), ("tokens", "json")])
def test_bare_text_and_json_are_both_a_token(home, way, fault):
    home.cloud.faults[fault] = True
    assert home.keeper(way=way).token() in home.world.tokens


@pytest.mark.parametrize(("closed", "way"), [("no-session-way", "tokens"), ("no-tokens-way", "session")])
def test_auto_takes_the_way_that_works_and_remembers_it(home, closed, way):
    home.cloud.faults[closed] = True
    keeper = home.keeper()
    keeper.token()
    assert stored(home)["way"] == way
    count = home.cloud.count("/entrez-auth-token") + home.cloud.count("/tokens")
    keeper.renew()
    assert home.cloud.count("/entrez-auth-token") + home.cloud.count("/tokens") == count + 1


def test_it_is_stored_for_the_owner_only_and_survives_the_process(home):
    text = home.keeper().token()
    path = os.path.join(home.state.path, FILE)
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    assert "s3cret" not in open(path).read()
    calls = home.cloud.count()
    assert home.keeper().token() == text and home.cloud.count() == calls


def test_another_account_or_serial_does_not_get_the_stored_token(home):
    text = home.keeper().token()
    home.world.account = home.world.account._replace(username="other@example.com")
    assert home.keeper().token() != text


def test_a_pasted_token_means_that_the_cloud_is_never_asked(home):
    text = home.world.issue(home.clock.now())
    keeper = home.keeper(pasted=text)
    assert keeper.token() == text
    for _ in range(400):
        home.clock.advance(DAY_S)
        keeper.tend()
    with pytest.raises(TokenRefused, match="paste a new one"):
        keeper.refused(text)
    with pytest.raises(NoToken, match="has ended"):
        keeper.token()
    assert home.cloud.count() == 0


def test_a_broken_paste_is_one_line_without_the_paste(home):
    with pytest.raises(ConfigError) as error:
        home.keeper(pasted="eyJhbGciOi.secret")
    assert "enphase.jwt" in str(error.value) and "secret" not in str(error.value)


def test_renewed_seven_days_before_the_end_and_not_before(home):
    keeper = home.keeper()
    first = keeper.token()
    home.clock.advance(365 * DAY_S - 7 * DAY_S - 100)
    keeper.tend()
    assert keeper.token() == first and home.cloud.count("/login/login.json") == 1
    home.clock.advance(200)
    keeper.tend()
    assert keeper.token() != first and home.cloud.count("/login/login.json") == 2


def test_a_year_of_tending_is_two_logins(home):
    keeper = home.keeper()
    for _ in range(400):
        keeper.tend()
        home.clock.advance(DAY_S)
    assert home.cloud.count("/login/login.json") == 2


def test_installer_tokens_are_renewed_a_few_times_a_day(tmp_path):
    with Home(tmp_path, ManualClock(), account=Account(user="installer")) as home:
        keeper = home.keeper()
        for _ in range(24 * 12):
            keeper.tend()
            home.clock.advance(300)
        assert 2 <= home.cloud.count("/login/login.json") <= 3


def test_notice_once_a_day_in_the_last_thirty_days(home, caplog):
    keeper = home.keeper(pasted=home.world.issue(home.clock.now() - 336 * DAY_S, 365 * DAY_S))
    with caplog.at_level("WARNING", "enphase"):
        for _ in range(48):
            keeper.tend()
            home.clock.advance(3600)
    lines = [record.message for record in caplog.records if "state=ending" in record.message]
    assert len(lines) == 2 and "paste a new token" in lines[0]


def test_who_is_refused_gets_a_new_token_once_and_others_get_the_same(home):
    keeper = home.keeper()
    old = keeper.token()
    home.clock.advance(3600)
    home.world.revoke()
    barrier, results = threading.Barrier(8), []

    def one():
        barrier.wait()
        results.append((keeper.refused(old), keeper.token()))

    threads = [threading.Thread(target=one) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(results) == {(True, keeper.token())} and keeper.token() != old
    assert home.cloud.count("/login/login.json") == 2


def test_a_brand_new_token_that_is_refused_does_not_make_a_login_loop(home):
    keeper = home.keeper()
    for _ in range(5):
        assert keeper.refused(keeper.token()) is False
    assert home.cloud.count("/login/login.json") == 1
    home.clock.advance(61)
    assert keeper.refused(keeper.token()) is True
    assert home.cloud.count("/login/login.json") == 2


def test_enlighten_down_waits_60_to_600_s_and_recovers(home):
    home.cloud.faults["down"] = True
    keeper = home.keeper()
    waits = []
    for _ in range(12):
        with pytest.raises(NoToken) as error:
            keeper.token()
        waits.append(error.value.retry_after_s)
        with pytest.raises(NoToken, match="tried again in"):
            keeper.token()  # too early: nobody is asked
        home.clock.advance(waits[-1] + 0.1)
    assert home.cloud.count("/login/login.json") == 12
    assert all(60 <= wait <= 600 for wait in waits)
    home.cloud.faults.clear()
    assert keeper.token() in home.world.tokens


def test_a_wrong_password_is_said_plainly_and_not_tried_again_soon(home):
    keeper = home.keeper(password="wr0ng&")
    with pytest.raises(NoToken) as error:
        keeper.token()
    assert "Enlighten rejects the login" in str(error.value) and "enphase.password" in str(error.value)
    assert "wr0ng" not in str(error.value)
    home.clock.advance(700)
    with pytest.raises(NoToken):
        keeper.token()
    assert home.cloud.count("/login/login.json") == 1  # more would lock the account


@pytest.mark.parametrize(("fault", "text"), [
    ("blocked", "blocked"), ("html", "no usable answer"), ("garbage-token", "is no token")])
def test_strange_answers_are_named(home, fault, text):
    home.cloud.faults[fault] = True
    with pytest.raises(NoToken, match=text):
        home.keeper().token()


def test_a_second_factor_is_said_plainly(tmp_path):
    with Home(tmp_path, ManualClock(), account=Account(mfa=True)) as home, pytest.raises(NoToken) as error:
        home.keeper().token()
    assert "second factor (MFA)" in str(error.value) and "enphase.jwt" in str(error.value)


def test_a_serial_that_is_not_the_accounts_names_the_setting(home):
    with pytest.raises(NoToken, match=r"999.*enphase\.serial"):
        home.keeper(serial="999").token()


def test_with_the_clock_in_1970_nobody_logs_in_but_a_stored_token_is_used(tmp_path):
    with Home(tmp_path, ManualClock()) as home:
        text = home.keeper().token()
        home.clock.jump_wall(-home.clock.now() + 100)
        keeper = home.keeper()
        keeper.tend()
        assert keeper.token() == text
        home.state.delete(FILE)
        calls = home.cloud.count()
        waiting = home.keeper()
        with pytest.raises(NoToken, match="waits for the clock"):
            waiting.token()
        waiting.tend()
        assert home.cloud.count() == calls
        home.clock.jump_wall(1_795_224_659.0)
        assert waiting.token() in home.world.tokens


def test_what_another_process_has_fetched_is_taken_over(home):
    one, two = home.keeper(), home.keeper()
    text = one.token()
    assert two.token() == text and home.cloud.count("/login/login.json") == 1


def test_a_state_that_cannot_be_written_is_no_reason_to_have_no_token(home, tmp_path):
    home.state.path = str(tmp_path / "state" / "x" / "y")
    (tmp_path / "state").write_text("a file is in the way")
    assert home.keeper().token() in home.world.tokens


def test_a_damaged_state_file_is_fetched_anew(home):
    home.keeper().token()
    for content in ("", "[1]", json.dumps({"label": "x", "token": "y"})):
        with open(os.path.join(home.state.path, FILE), "w") as handle:
            handle.write(content)
        assert home.keeper().token() in home.world.tokens


def test_nothing_that_is_logged_holds_a_secret(home, caplog):
    caplog.set_level("DEBUG")
    keeper = home.keeper()
    text = keeper.token()
    home.cloud.faults["down"] = True
    with pytest.raises(NoToken):
        keeper.renew()
    assert text not in caplog.text and "s3cret" not in caplog.text
    assert next(iter(home.world.sessions)) not in caplog.text
