"""The cloud link against a raw loopback server: bounds, failures and what it must not say."""

from __future__ import annotations

import json
import logging
import socket
import sys
import threading
from contextlib import contextmanager

import pytest

from bridge.clock import Clock
from bridge.errors import EXIT_CLOUD, ConfigError, LinkError, LinkTimeout
from bridge.link.cloud import (
    MAX_BODY_BYTES,
    CloudGarbled,
    CloudHttp,
    CloudReply,
    CloudTimeout,
    CloudUnreachable,
    host_of,
    path_part,
)

SECRET = "tok-very-secret"


@contextmanager
def server(*answers):
    """Serve one raw answer a connection; a callable gets the socket. Yields (base URL, heard requests)."""
    listener = socket.create_server(("127.0.0.1", 0))
    heard, done = [], threading.Event()

    def serve():
        for answer in answers:
            try:
                peer, _ = listener.accept()
            except OSError:
                return
            with peer:
                peer.settimeout(0.8)
                heard.append(request_from(peer))
                if callable(answer):
                    answer(peer, done)
                else:
                    peer.sendall(answer)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", heard
    finally:
        done.set()
        listener.close()
        thread.join(5)


def request_from(peer):
    """Return the text of one request with its body."""
    text = b""
    while b"\r\n\r\n" not in text:
        try:
            piece = peer.recv(4096)
        except OSError:
            piece = b""
        if not piece:
            return text.decode("latin-1")
        text += piece
    head, _, body = text.partition(b"\r\n\r\n")
    lines = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    while lines and len(body) < int(lines[0].split(b":")[1]):
        body += peer.recv(4096)
    return (head + b"\r\n\r\n" + body).decode()


def ok(body, extra=b""):
    """Return a complete answer."""
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n" % len(body)
    return head + extra + b"\r\n" + body


def http(**options):
    """Return a link with short timeouts."""
    options.setdefault("read_timeout_s", 0.5)
    options.setdefault("connect_timeout_s", 0.5)
    return CloudHttp(Clock(), **options)


def test_a_reply_carries_status_lower_case_headers_and_text():
    raw = b"HTTP/1.1 429 Slow\r\nRetry-After: 7\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}"
    with server(raw) as (url, _):
        assert http().request("GET", url + "/x") == CloudReply(
            429, {"retry-after": "7", "content-length": "2", "connection": "close"}, "{}")


def test_the_user_agent_is_ours_and_json_is_compact():
    with server(ok(b"{}")) as (url, heard):
        link = http(user_agent="Mozilla/5.0 me")
        link.request("POST", url + "/x", {"Authorization": "Bearer t"}, json_body={"a": [1]})
    head, _, body = heard[0].partition("\r\n\r\n")
    assert "User-Agent: Mozilla/5.0 me" in head and "Authorization: Bearer t" in head
    assert "Content-Type: application/json" in head and body == '{"a":[1]}'


def test_the_default_user_agent_names_no_library():
    with server(ok(b"{}")) as (url, heard):
        http().request("GET", url + "/x")
    assert "User-Agent: Mozilla/5.0" in heard[0] and "python" not in heard[0].lower()


def test_a_form_and_a_query_are_encoded():
    with server(ok(b"{}")) as (url, heard):
        http().request("POST", url + "/x", query={"q": "a b"}, form={"user": "ä&b"})
    assert heard[0].startswith("POST /x?q=a+b ") and heard[0].endswith("user=%C3%A4%26b")
    assert "application/x-www-form-urlencoded" in heard[0]


def test_nothing_is_opened_before_the_first_request():
    assert http()._session is None
    http().close()


def test_a_missing_requests_package_is_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "requests", None)
    with pytest.raises(ConfigError, match="requests, which is not installed") as problem:
        http().request("GET", "http://127.0.0.1:1/")
    assert "\n" not in str(problem.value)


def test_a_refused_connection_was_not_sent():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(CloudUnreachable, match="no connection") as problem:
        http().request("GET", f"http://127.0.0.1:{port}/x?secret={SECRET}")
    assert problem.value.sent is False and problem.value.exit_code == EXIT_CLOUD
    assert isinstance(problem.value, LinkError) and SECRET not in str(problem.value)


def test_a_cut_connection_may_have_been_acted_on():
    with server(lambda peer, _done: None) as (url, _), \
            pytest.raises(CloudUnreachable, match="cut") as problem:
        http().request("GET", url + "/x")
    assert problem.value.sent is True


def test_silence_is_a_timeout():
    with server(lambda _peer, done: done.wait(5)) as (url, _), pytest.raises(CloudTimeout) as problem:
        http().request("GET", url + "/x")
    assert isinstance(problem.value, LinkTimeout) and problem.value.exit_code == EXIT_CLOUD


def test_silence_in_the_middle_of_a_body_is_a_timeout():
    def half(peer, done):
        peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc")
        done.wait(5)

    with server(half) as (url, _), pytest.raises(CloudTimeout):
        http().request("GET", url + "/x")


def test_a_dripping_body_ends_at_the_total_timeout():
    def drip(peer, done):
        peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
        while not done.wait(0.005):
            peer.sendall(b"x" * 8)

    with server(drip) as (url, _), pytest.raises(CloudTimeout):
        http(total_timeout_s=0.3).request("GET", url + "/x")


def test_an_endless_body_is_cut_off():
    def flood(peer, _done):
        peer.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        try:
            for _ in range(MAX_BODY_BYTES // 65536 + 4):
                peer.sendall(b"x" * 65536)
        except OSError:
            return

    with server(flood) as (url, _), pytest.raises(CloudGarbled, match="larger than"):
        http(read_timeout_s=5).request("GET", url + "/x")


def test_a_body_that_breaks_off_is_named():
    with server(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\nabc") as (url, _), \
            pytest.raises(CloudGarbled, match="broke off"):
        http().request("GET", url + "/x")


def test_false_compression_is_named():
    with server(ok(b"not gzip", b"Content-Encoding: gzip\r\n")) as (url, _), pytest.raises(CloudGarbled):
        http().request("GET", url + "/x")


def test_bytes_that_are_not_utf8_do_not_raise():
    with server(ok(b"\xff\xfe{")) as (url, _):
        assert http().request("GET", url + "/x").text.endswith("{")


def test_a_redirect_is_not_followed():
    redirect = (
        b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n"
        b"Connection: close\r\n\r\n"
    )
    with server(redirect) as (url, heard):
        assert http().request("GET", url + "/x", {"Authorization": f"Bearer {SECRET}"}).status == 302
    assert len(heard) == 1


def test_a_server_without_proper_tls_is_named_as_such():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        def serve():
            peer, _ = listener.accept()
            with peer:
                peer.recv(4096)
                peer.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        with pytest.raises(CloudUnreachable, match="certificate was not accepted; check this") as problem:
            http().request("GET", f"https://127.0.0.1:{listener.getsockname()[1]}/x")
        thread.join(5)
    assert problem.value.sent is False


def test_a_token_with_a_line_break_is_refused_without_quoting_it():
    with pytest.raises(ConfigError) as problem:
        http().request("GET", "http://127.0.0.1:9/", {"Authorization": f"Bearer {SECRET}\r\nX: y"})
    assert SECRET not in str(problem.value) and problem.value.__cause__ is None


def test_a_token_outside_latin_1_is_refused_without_quoting_it():
    with pytest.raises(ConfigError) as problem:
        http().request("GET", "http://127.0.0.1:9/", {"Authorization": f"Bearer {SECRET}\u4e2d"})
    assert SECRET not in str(problem.value)


def test_netrc_and_proxies_of_the_machine_are_not_used(monkeypatch, tmp_path):
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login someone password else\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    with server(ok(b"{}")) as (url, heard):
        assert http().request("GET", url + "/x", {"Authorization": "Bearer mine"}).status == 200
    assert "Bearer mine" in heard[0] and "Basic" not in heard[0]


def test_bodies_and_headers_are_not_logged(caplog):
    caplog.set_level(logging.DEBUG)
    with server(ok(json.dumps({"accessToken": SECRET}).encode())) as (url, _):
        headers = {"Authorization": f"Bearer {SECRET}"}
        reply = http().request("POST", url + "/x", headers, json_body={"key": SECRET})
    assert SECRET not in caplog.text and SECRET not in repr(reply)


@pytest.mark.parametrize("url", ["", "example.org", "ftp://example.org", "http://", "http://h:notaport", "http://[::1"])
def test_an_unusable_base_url_is_a_configuration_error(url):
    with pytest.raises(ConfigError, match="base URL"):
        host_of(url)


def test_a_host_is_shown_without_credentials():
    assert host_of("https://user:pass@example.org:8443/x") == "example.org:8443"


def test_a_part_of_a_path_cannot_leave_its_place():
    assert path_part("../a b?c#d") == "..%2Fa%20b%3Fc%23d"
