"""Digest maths against published vectors, and the patience that keeps a device from locking us out."""

from __future__ import annotations

import hashlib

import pytest

from bridge.errors import AuthError, RateLimited
from bridge.link.digest import Challenge, Digest, answer, ha1, parse_frame, parse_header, sha256_hex

BASE64_NONCE = "QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQQ=="
MODERN = f'Digest qop="auth", realm="shellypro2-aabbccddeeff", nonce="{BASE64_NONCE}", algorithm=SHA-256'


@pytest.fixture
def digest(clock):
    return Digest("secret", clock.monotonic, "192.0.2.7:80", lambda: 0.5)


def fields_of(header):
    return {
        name: value.strip('"')
        for name, _, value in (part.strip().partition("=") for part in header[len("Digest "):].split(", "))
    }


def test_the_answer_is_that_of_rfc_7616():
    """Section 3.9.1, SHA-256: user Mufasa, so HA1 is made here and not by ha1()."""
    first = sha256_hex("Mufasa:http-auth@example.org:Circle of Life")
    second = sha256_hex("GET:/dir/index.html")
    got = answer(
        first, "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", "00000001",
        "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ", second,
    )
    assert got == "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"


def test_ha1_is_for_admin_at_the_device_id():
    assert ha1("shellypro2-x", "pw") == hashlib.sha256(b"admin:shellypro2-x:pw").hexdigest()


def test_a_quoted_nonce_keeps_its_equal_signs():
    assert parse_header(MODERN) == Challenge("shellypro2-aabbccddeeff", BASE64_NONCE, False)


def test_stale_is_understood_in_both_forms():
    assert parse_header(MODERN + ", stale=true").stale and parse_header(MODERN + ', stale="TRUE"').stale
    assert parse_frame('{"realm":"r","nonce":"n","stale":true}').stale


def test_a_frame_challenge_is_json_in_a_string_with_a_number_or_a_text_as_nonce():
    old = parse_frame('{"auth_type":"digest","nonce":1795224659,"nc":1,"realm":"r","algorithm":"SHA-256"}')
    assert old == Challenge("r", "1795224659", False)
    assert parse_frame('{"nonce":"%s","realm":"r"}' % BASE64_NONCE).nonce == BASE64_NONCE


@pytest.mark.parametrize("text", ["", "Basic realm=x", 'Digest realm="x"', "Digest"])
def test_what_is_no_digest_challenge_is_none(text):
    assert parse_header(text) is None


@pytest.mark.parametrize("text", ["", "nonsense", "[]", "{}", '{"nonce":""}', "5"])
def test_what_is_no_frame_challenge_is_none(text):
    assert parse_frame(text) is None


def test_a_nonce_is_used_again_and_counted_up(digest):
    digest.refused(MODERN, False)
    counts = []
    for _ in range(3):
        fields = fields_of(digest.header("POST", "/rpc"))
        counts.append(fields["nc"])
        assert fields["nonce"] == BASE64_NONCE and fields["uri"] == "/rpc" and fields["algorithm"] == "SHA-256"
        expected = answer(
            ha1("shellypro2-aabbccddeeff", "secret"), BASE64_NONCE, fields["nc"], fields["cnonce"],
            sha256_hex("POST:/rpc"))
        assert fields["response"] == expected
        digest.let_in()
    assert counts == ["00000001", "00000002", "00000003"]


def test_a_frame_counts_in_plain_numbers_and_gives_an_old_nonce_back_as_a_number(digest):
    digest.challenged(Challenge("r", "1795224659", False), False)
    auth = digest.frame()
    assert '"nonce":1795224659,' in auth and '"nc":1,' in auth and '"username":"admin"' in auth
    digest.let_in()
    assert '"nc":2,' in digest.frame()


def test_a_second_refusal_without_stale_is_a_wrong_password_and_silence_for_minutes(digest, clock):
    digest.refused(MODERN, False)
    digest.header("POST", "/rpc")
    with pytest.raises(AuthError, match="refused the password; set shelly.password"):
        digest.refused(MODERN, True)
    clock.advance(299)
    with pytest.raises(AuthError):
        digest.check()
    clock.advance(2)
    digest.check()
    assert not digest.ready


def test_a_stale_nonce_is_replaced_and_is_no_wrong_password(digest):
    digest.refused(MODERN, False)
    digest.header("POST", "/rpc")
    digest.refused(MODERN.replace("QUFB", "QkJC") + ", stale=true", True)
    assert fields_of(digest.header("POST", "/rpc"))["nc"] == "00000001"


def test_a_nonce_that_worked_and_dies_without_stale_is_replaced(digest):
    """Up to 1.7 a dead nonce gets a plain 401."""
    digest.refused(MODERN, False)
    digest.header("POST", "/rpc")
    digest.let_in()
    digest.refused(MODERN, True)
    assert digest.ready


def test_a_device_that_always_says_stale_does_not_keep_us_busy(digest):
    with pytest.raises(AuthError, match="again and again"):
        for _ in range(10):
            digest.refused(MODERN + ", stale=true", digest.ready)


def test_429_forgets_the_nonce_and_waits_between_2_and_5_seconds_then_longer(digest, clock):
    digest.refused(MODERN, False)
    error = digest.crowded("Too many")
    assert isinstance(error, RateLimited) and 2.0 <= error.retry_after_s <= 5.0
    assert not digest.ready
    with pytest.raises(RateLimited):
        digest.check()
    clock.advance(5.1)
    digest.check()
    assert digest.crowded("Too many").retry_after_s > error.retry_after_s


def test_without_a_password_the_operator_is_told_what_to_set(clock):
    digest = Digest(None, clock.monotonic, "192.0.2.7:80", lambda: 0.0)
    with pytest.raises(AuthError, match="shelly.password is not set"):
        digest.refused(MODERN, False)
    with pytest.raises(AuthError):
        digest.check()


def test_another_realm_is_another_device_and_gets_no_signature(digest):
    digest.refused(MODERN, False)
    digest.let_in()
    with pytest.raises(AuthError, match="is now shellyplus1-x"):
        digest.refused(MODERN.replace("shellypro2-aabbccddeeff", "shellyplus1-x"), False)


def test_the_password_is_gone_after_the_first_challenge_and_never_shown(digest):
    assert "secret" not in repr(digest)
    digest.refused(MODERN, False)
    assert "secret" not in repr(vars(digest))


def test_a_login_that_is_not_digest_is_named(digest):
    with pytest.raises(AuthError, match="not SHA-256 digest"):
        digest.refused("Basic realm=x", False)
