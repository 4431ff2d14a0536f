"""From an answer to the error of whoever has to act."""

from __future__ import annotations

import pytest

from bridge.errors import EXIT_CLOUD, EXIT_RATE_LIMIT, AuthError, PeerError, RateLimited, Rejected
from bridge.peers.sigen_codes import CODES
from bridge.peers.sigen_errors import (
    ApiAuthError,
    ApiError,
    ApiRateLimited,
    ApiRejected,
    ApiUnavailable,
    PendingApproval,
    TokenRejected,
    clean,
    code_error,
    http_error,
)

CLASSES = {
    **dict.fromkeys((1110, 1201), ApiRateLimited),
    **dict.fromkeys((11002, 11003), ApiAuthError),
    **dict.fromkeys((1104, 1109, 1302, 1501, 1502), ApiUnavailable),
    1116: PendingApproval,
}
HTML = {"content-type": "text/html"}


@pytest.mark.parametrize("row", CODES, ids=lambda row: str(row.code))
def test_every_code_becomes_its_class_and_an_actionable_line(row):
    error = code_error(row.code, "words of the cloud", "sigen energyFlow X at host")
    assert type(error) is CLASSES.get(row.code, ApiRejected)
    assert error.exit_code == (EXIT_RATE_LIMIT if row.code in (1110, 1201) else EXIT_CLOUD)
    assert error.code == row.code and error.status == 200 and error.kind == row.kind
    text = str(error)
    assert text.startswith(f'sigen energyFlow X at host: code {row.code} "words of the cloud": {row.meaning}')
    assert text.endswith(row.advice) and "\n" not in text


def test_an_unknown_code_is_a_refusal():
    error = code_error(4711, "", "x")
    assert type(error) is ApiRejected and "4711" in str(error) and "report it" in str(error)


def test_the_classes_answer_to_the_house_names_too():
    assert issubclass(ApiAuthError, AuthError) and issubclass(TokenRejected, AuthError)
    assert issubclass(ApiRejected, Rejected) and issubclass(ApiRateLimited, RateLimited)
    assert issubclass(ApiError, PeerError)


@pytest.mark.parametrize(("status", "headers", "text", "kind", "words"), [
    (401, {}, "", TokenRejected, "token was not accepted"),
    (403, HTML, "<html>", ApiRejected, "web firewall, not by the password; set cloud.user_agent"),
    (403, {}, "<!DOCTYPE html>", ApiRejected, "web firewall"),
    (403, {}, '{"code":1}', ApiRejected, "not granted to the account"),
    (404, {}, "", ApiRejected, "no such call"),
    (405, {}, "", ApiRejected, "no such call"),
    (408, {}, "", ApiUnavailable, "tried again later"),
    (424, {}, "", ApiRateLimited, "left alone for 30 min"),
    (429, {}, "", ApiRateLimited, "waiting 300 s"),
    (500, {}, "", ApiUnavailable, "tried again later"),
    (502, HTML, "<html>", ApiUnavailable, "tried again later"),
    (302, {}, "", ApiRejected, "redirect, which is not followed"),
    (418, {}, "", ApiRejected, "check cloud.base_url"),
])
def test_every_http_status_has_its_own_line(status, headers, text, kind, words):
    error = http_error(status, headers, text, "sigen x at host")
    assert type(error) is kind and error.status == status
    assert f"HTTP {status}" in str(error) and words in str(error) and "\n" not in str(error)


def test_the_firewall_the_424_and_the_429_hold_the_whole_account():
    assert http_error(403, HTML, "<", "x").scope == http_error(424, {}, "", "x").scope == "account"
    assert http_error(424, {}, "", "x").hold_s == 1800 and http_error(403, HTML, "<", "x").hold_s == 900
    assert http_error(403, {}, "{}", "x").hold_s == 0


def test_retry_after_is_honoured_exactly():
    error = http_error(429, {}, "", "x", retry_after_s=17.0)
    assert error.retry_after_s == error.hold_s == 17.0 and error.exact and "asks to wait 17 s" in str(error)


@pytest.mark.parametrize(("text", "cleaned"), [
    ("plain words", "plain words"),
    ("two\nlines\r\x1b[31m", "two lines [31m"),
    ("bad hunter2 given", "bad *** given"),
    ('{"accessToken":"abc.def"}', '{"accessToken":"***"}'),
    ("Bearer abc", "Bearer ***"),
    ("password=abc&x", "password=***"),
    ("\ud800 surrogate", "surrogate"),
    ("x" * 500, "x" * 120),
])
def test_words_of_the_peer_are_one_clean_line(text, cleaned):
    assert clean(text, ["hunter2", None, ""]) == cleaned
