"""What a token says about itself."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.peers.enphase_jwt import DAY_S, read_token
from bridge.peers.enphase_keeper import day
from bridge.sim.enphase_world import Account, EnphaseWorld

NOW = 1_795_224_659.0


def issued(life_s=None, user="owner"):
    return EnphaseWorld(Account(user=user)).issue(NOW, life_s)


def test_expiry_and_owner_are_read_from_the_token_itself():
    token = read_token(issued(365 * DAY_S))
    assert token.expires_at == int(NOW + 365 * DAY_S)
    assert (token.owner, token.serial) == ("owner", "122300000001")


def test_a_year_long_token_is_renewed_seven_days_before_its_end():
    token = read_token(issued(365 * DAY_S))
    assert token.renew_at() == pytest.approx(token.expires_at - 7 * DAY_S)


def test_an_installers_token_of_12_hours_is_not_renewed_all_the_time():
    token = read_token(issued(user="installer"))
    assert token.renew_at() == pytest.approx(token.expires_at - 3 * 3600, abs=1)
    assert not token.wants_notice(NOW)


def test_notice_is_given_within_the_last_thirty_days():
    token = read_token(issued(365 * DAY_S))
    assert not token.wants_notice(token.expires_at - 31 * DAY_S)
    assert token.wants_notice(token.expires_at - 29 * DAY_S)


def test_a_token_is_of_no_use_in_its_last_minute():
    token = read_token(issued(3600))
    assert not token.ended(token.expires_at - 61) and token.ended(token.expires_at - 59)


@pytest.mark.parametrize("text", ["", "abc", "a.b.c", "a.b", "..", "<html>no</html>", "e30.e30", "a.bnVsbA.c"])
def test_what_is_no_token_is_refused(text):
    with pytest.raises(ValueError):
        read_token(text)


def test_blanks_and_quotes_of_a_paste_do_not_count():
    text = issued()
    assert read_token(f'  "{text}"\n').text == text


@pytest.mark.parametrize("exp", ["1798761600000", "1e400", "-1e15", "NaN", "true", '"soon"', "9" * 400])
def test_an_expiry_that_is_no_time_is_unknown_and_can_be_shown(exp):
    claims = base64.urlsafe_b64encode(f'{{"exp":{exp},"iat":{exp}}}'.encode()).decode().rstrip("=")
    token = read_token(f"e30.{claims}.c2ln")
    assert (token.expires_at, token.issued_at) == (None, None) and day(token.expires_at) == "unknown"


def test_a_token_without_expiry_is_taken_and_its_end_is_unknown():
    token = read_token("e30.e30.c2ln")
    assert token.expires_at is None and token.renew_at() is None and not token.ended(NOW)


@given(st.text(max_size=200))
def test_no_text_makes_it_fail_in_another_way(text):
    try:
        read_token(text)
    except ValueError as error:
        assert not text or len(text) < 12 or text not in str(error)


def test_a_token_never_shows_itself():
    text = issued()
    assert text not in repr(read_token(text)) and text[:20] not in str(read_token(text))
