"""Who may look, who may write, and what a cookie is good for."""

from __future__ import annotations

import pytest

from bridge.link.http_gate import COOKIE_S, Gate
from bridge.link.http_words import Request

HERE, LAN, LOCKED = Gate(True, 8502, ""), Gate(False, 8502, ""), Gate(False, 8502, "sesame")


def asked(path="/x", query=None, **headers):
    return Request("GET", path, query or {}, {name.replace("_", "-"): text for name, text in headers.items()})


def status(answer):
    return None if answer is None else answer.status


@pytest.mark.parametrize("gate, host, expected", [
    (HERE, "127.0.0.1:8502", None), (HERE, "localhost", None), (HERE, "[::1]:8502", None), (HERE, "LOCALHOST.", None),
    (HERE, "evil.example", 403), (HERE, "192.168.1.5:8502", 403), (HERE, "", 403),
    (LAN, "192.168.1.5:8502", None), (LAN, "[fe80::1]:8502", None), (LAN, "bridge", None), (LAN, "bridge.lan:8502", None),
    (LAN, "pi.local", None), (LAN, "pi.fritz.box", None),
    (LAN, "evil.example:8502", 403), (LAN, "127.0.0.1.evil.example", 403), (LAN, "evil.local.example", 403),
])
def test_a_foreign_name_is_refused_and_names_of_home_are_not(gate, host, expected):
    assert status(gate.reading(asked(host=host))) == expected
    assert status(gate.writing(asked(host=host))) == 403, "nobody writes without a token, whatever the name"


def test_with_a_token_any_name_will_do():
    """A page of a rebound name has neither the token nor the cookie of the real one."""
    assert LOCKED.reading(asked(host="bridge.example.org", authorization="Bearer sesame")) is None


@pytest.mark.parametrize("headers, expected", [
    ({"origin": "http://127.0.0.1:8502"}, None), ({"origin": "http://127.0.0.1:3000"}, 403), ({"origin": "null"}, 403),
    ({"origin": "https://evil.example"}, 403),
    ({"sec_fetch_site": "cross-site", "sec_fetch_mode": "no-cors"}, 403),
    ({"sec_fetch_site": "same-site", "sec_fetch_mode": "cors"}, 403),
    ({"sec_fetch_site": "cross-site", "sec_fetch_mode": "navigate"}, None),
    ({"sec_fetch_site": "same-origin", "sec_fetch_mode": "cors"}, None), ({"sec_fetch_site": "none"}, None),
])
def test_pages_of_other_origins_may_link_here_and_nothing_more(headers, expected):
    assert status(HERE.reading(asked(host="127.0.0.1:8502", **headers))) == expected


@pytest.mark.parametrize("path, headers, expected", [
    ("/x", {}, 401), ("/healthz", {}, None), ("/x", {"authorization": "Bearer sesame"}, None),
    ("/x", {"authorization": "bearer sesame"}, None), ("/x", {"authorization": "Basic sesame"}, 401),
    ("/x", {"authorization": "Bearer Sesame"}, 401), ("/x", {"authorization": "Bearer "}, 401),
    ("/x", {"cookie": "sigen_bridge_8502="}, 401), ("/x", {"cookie": "sigen_bridge_8502=sesame"}, 401),
    ("/x", {"authorization": "Bearer s\u00e9same"}, 401),
])
def test_beyond_this_machine_reading_needs_the_token_if_there_is_one(path, headers, expected):
    answer = LOCKED.reading(asked(path, host="192.168.1.5:8502", **headers))
    assert status(answer) == expected
    if answer is not None:
        assert dict(answer.headers)["WWW-Authenticate"] == "Bearer" and b"sesame" not in answer.body


def test_the_page_asks_for_the_token_and_takes_it_once():
    form = LOCKED.reading(asked("/", host="h"))
    assert form.status == 401 and b'name="token"' in form.body and "html" in form.content_type
    assert LOCKED.reading(asked("/", {"token": "wrong"}, host="h")).status == 401
    assert LOCKED.reading(asked("/x", {"token": "sesame"}, host="h")).status == 401, "no other address takes it"
    answer = LOCKED.reading(asked("/", {"token": "sesame"}, host="h"))
    headers = dict(answer.headers)
    assert answer.status == 303 and headers["Location"] == "/"
    crumb, *rules = [part.strip() for part in headers["Set-Cookie"].split(";")]
    assert set(rules) == {"Path=/", f"Max-Age={COOKIE_S}", "HttpOnly", "SameSite=Strict"}
    assert "sesame" not in crumb
    assert LOCKED.reading(asked(host="h", cookie=f"other=1; {crumb}")) is None
    assert Gate(False, 8502, "another").reading(asked(host="h", cookie=crumb)).status == 401, "a new token ends old cookies"
    assert Gate(False, 8503, "sesame").reading(asked(host="h", cookie=crumb)).status == 401, "the neighbour's is not ours"


def test_a_cookie_never_writes():
    crumb = dict(LOCKED.reading(asked("/", {"token": "sesame"}, host="h")).headers)["Set-Cookie"].partition(";")[0]
    assert LOCKED.writing(asked(host="h", cookie=crumb)).status == 401
    assert LOCKED.writing(asked(host="h", authorization=f"Bearer {crumb.partition('=')[2]}")).status == 401
    assert LOCKED.writing(asked(host="h", authorization="Bearer sesame")) is None
    assert LOCKED.writing(asked(host="h", authorization="Bearer sesame", origin="http://h")).status == 403


def test_on_this_machine_the_token_is_for_writing_only():
    gate = Gate(True, 8502, "sesame")
    assert gate.reading(asked(host="localhost")) is None
    assert gate.writing(asked(host="localhost")).status == 401
