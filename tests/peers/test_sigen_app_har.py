"""What a browser's recording tells, and what is left in it."""

from __future__ import annotations

import json
from urllib.parse import quote, urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.errors import ConfigError
from bridge.peers.sigen_app_har import Found, found_in, redacted
from tests.peers.app_bench import ENCODED, STATION, USER, tariff
from tests.peers.har import BASE, FORM, entry, har, home, login

ALL = Found("aus", USER, ENCODED, "1767225600123", str(STATION))


def found(*entries):
    return found_in(json.dumps(har(*entries)))


def test_a_sign_in_gives_all_five():
    assert found() == ALL


@pytest.mark.parametrize("params", [
    [{"name": name, "value": text} for name, text in FORM.items()],
    [{"name": name, "value": quote(text, safe="")} for name, text in FORM.items()],
], ids=["decoded", "escaped"])
def test_fields_that_are_listed_one_by_one_are_read_either_way(params):
    assert found(entry("POST", f"{BASE}/auth/oauth/token", params=params), home()) == ALL


def test_a_plus_in_a_raw_form_is_a_plus():
    raw = urlencode({**FORM, "password": "X"}).replace("=X", f"={ENCODED}")
    assert "+" in raw and found(entry("POST", f"{BASE}/auth/oauth/token", raw), home()).password_encoded == ENCODED


def test_an_answer_in_base64_is_read():
    assert found(login(), home(encoded=True)) == ALL


def test_the_later_sign_in_counts_and_a_refresh_is_none():
    refresh = entry("POST", f"{BASE}/auth/oauth/token", "grant_type=refresh_token&refresh_token=secret")
    assert found(login(username="old"), login(), refresh, home()) == ALL


def test_a_plain_password_is_not_taken_for_an_encoded_one():
    assert found(login(password="correct horse"), home()).password_encoded is None


def test_the_station_is_also_in_a_saved_price_and_in_any_query():
    save = entry("POST", f"{BASE}/device/stationelecsetprice/save", json.dumps(tariff()))
    query = entry("GET", f"{BASE}/device/tp-device/smart-loads?stationId={STATION}&loadPath=1")
    assert found(save).station_id == found(query).station_id == str(STATION)
    other = entry("GET", "https://ads.example.invalid/x?stationId=7")
    assert found(login(), other).station_id is None
    strange = entry("GET", f"{BASE}/device/tp-device/smart-loads?stationId=%C2%B2")  # a digit, but no number
    assert found(login(), strange).station_id is None


@pytest.mark.parametrize("content", [
    "", "[]", "null", '{"log":[]}', '{"log":{"entries":7}}', '{"log":{"entries":[null,7,{"request":[]}]}}',
    '{"log":{"entries":[{"request":{"url":"https://[","postData":{"params":7}}}]}}', "[" * 100_000,
])
def test_anything_else_is_a_clear_error(content):
    with pytest.raises(ConfigError, match="--from-har"):
        found_in(content)


JSON = st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=8), lambda inner: st.lists(
    inner, max_size=3) | st.dictionaries(st.sampled_from(
        ["log", "entries", "request", "response", "url", "postData", "text", "params", "content", "encoding"]), inner,
        max_size=4), max_leaves=12)


@settings(max_examples=60, deadline=None)
@given(JSON)
def test_no_shape_of_json_breaks_it(content):
    whole = {"log": {"entries": [content, {"request": content, "response": content},
                                 {"request": {"url": f"{BASE}/auth/oauth/token", "postData": content}}]}}
    try:
        assert isinstance(found_in(json.dumps(whole)), Found)
    except ConfigError as error:
        assert "--from-har" in str(error)


@pytest.mark.parametrize("name, text, shown", [
    ("password_encoded", ENCODED, "24 characters, not shown"), ("username", USER, "o***@example.invalid"),
    ("device_id", "1767225600123", "176***123"), ("station_id", str(STATION), "920***001"), ("region", "aus", "aus"),
    ("username", "someone-long", "som***ong"),
])
def test_what_is_shown_of_a_value(name, text, shown):
    assert redacted(name, text) == shown
