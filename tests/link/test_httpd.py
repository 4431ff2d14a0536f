"""The small HTTP server: who may ask, what slow and many clients get, and that it really ends."""

from __future__ import annotations

import json
import socket
import threading

import pytest

from bridge.clock import Clock
from bridge.errors import ConfigError, PeerError
from bridge.link import http_lobby
from bridge.link.bridge_http import get_json, post_json
from bridge.link.httpd import Answer, HttpServer, json_answer


@pytest.fixture
def server():
    served = HttpServer("127.0.0.1:0", {"/x": lambda request: json_answer({"a": 1}), "/down": lambda request: json_answer({"ok": False}, 503)})
    served.start()
    yield served
    served.close()


def ask(server, text, timeout_s=3.0):
    """Send raw bytes and return everything that comes back."""
    with socket.create_connection(server.address, timeout_s) as connection:
        connection.sendall(text.encode())
        connection.shutdown(socket.SHUT_WR)
        received = b""
        while chunk := connection.recv(65536):
            received += chunk
    return received.decode()


def test_a_page_is_served_and_a_503_has_a_body(server):
    address = "%s:%d" % server.address
    assert get_json(address, "/x", 2.0) == {"a": 1}
    assert get_json(address, "/down", 2.0) == {"ok": False}


def test_unknown_pages_methods_and_hosts_are_refused(server):
    assert " 404 " in ask(server, "GET /nope HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    assert " 405 " in ask(server, "PUT /x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n")
    assert " 405 " in ask(server, "POST /x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n")
    assert " 403 " in ask(server, "GET /x HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n")
    assert " 200 " in ask(server, "GET /x?y=1 HTTP/1.1\r\nHost: 127.0.0.1:99\r\nConnection: close\r\n\r\n")


def test_a_write_needs_the_token_even_on_loopback_and_no_page_of_a_browser_can_send_one():
    got = []

    def take(request):
        got.append((request.method, request.path, dict(request.query), request.body))
        return json_answer({"taken": True})

    for token, extra, status in (
        ("sesame", "Authorization: Bearer sesame\r\n", 200), ("sesame", "", 401), ("", "", 403),
        ("sesame", "Authorization: Bearer sesame\r\nOrigin: http://127.0.0.1\r\n", 403),
        ("sesame", "Authorization: Bearer wrong\r\n", 401),
    ):
        served = HttpServer("127.0.0.1:0", {}, token, {"/w": take})
        served.start()
        try:
            head = f"POST /w?a=1&b= HTTP/1.1\r\nHost: localhost\r\n{extra}Content-Length: 2\r\n\r\n"
            assert f" {status} " in ask(served, head + "{}"), (token, extra)
        finally:
            served.close()
    assert got == [("POST", "/w", {"a": "1", "b": ""}, b"{}")]


def test_a_write_without_length_or_with_too_much_is_refused_unread():
    served = HttpServer("127.0.0.1:0", {}, "sesame", {"/w": lambda request: json_answer({})})
    served.start()
    head = "POST /w HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer sesame\r\n"
    try:
        assert " 411 " in ask(served, head + "\r\n")
        assert " 411 " in ask(served, head + "Content-Length: \u00b2\r\n\r\n")
        assert " 413 " in ask(served, head + "Content-Length: 99999999\r\n\r\n")
    finally:
        served.close()


def test_the_bridge_is_asked_to_write_with_its_token():
    served = HttpServer("127.0.0.1:0", {}, "sesame", {"/w": lambda request: json_answer({"got": json.loads(request.body)}, 409)})
    served.start()
    address = "%s:%d" % served.address
    try:
        assert post_json(address, "/w", {"a": 1}, 2.0, "sesame") == (409, {"got": {"a": 1}})
        with pytest.raises(PeerError, match="status.token"):
            post_json(address, "/w", {}, 2.0, "")
    finally:
        served.close()


def test_head_has_no_body(server):
    answer = ask(server, "HEAD /x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    assert "Content-Length: 8" in answer and answer.endswith("\r\n\r\n")


def test_a_connection_is_kept_for_more_than_one_question(server):
    one = "GET /x HTTP/1.1\r\nHost: localhost\r\n\r\n"
    assert ask(server, one + one).count('{"a": 1}') == 2


def test_who_only_waits_never_keeps_out_who_asks(server):
    """More idle connections than there are places: the newcomer is served, the longest waiting leaves."""
    greedy = [socket.create_connection(server.address, 2) for _ in range(http_lobby.PLACES)]
    for connection in greedy[1::2]:
        connection.sendall(b"GET /x HTTP/1.1\r\nHost: ")
    for _ in range(3):
        assert get_json("%s:%d" % server.address, "/x", 2.0) == {"a": 1}
    assert greedy[0].recv(10) == b""
    for connection in greedy:
        connection.close()


def test_a_wider_address_asks_for_the_token():
    served = HttpServer("0.0.0.0:0", {"/x": lambda request: json_answer({}), "/healthz": lambda request: Answer(200, "text/plain", b"ok")}, "sesame")
    served.start()
    try:
        address = "127.0.0.1:%d" % served.address[1]
        with pytest.raises(PeerError, match="token"):
            get_json(address, "/x", 2.0)
        assert get_json(address, "/x", 2.0, "sesame") == {}
    finally:
        served.close()


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this kernel has no IPv6")
def test_every_address_of_both_kinds_and_the_loopback_address_of_ipv6():
    for listen, hosts in (("[::]:0", ("127.0.0.1", "::1")), ("[::1]:0", ("::1",))):
        served = HttpServer(listen, {"/x": lambda request: json_answer({"a": 1})})
        served.start()
        try:
            for host in hosts:
                with socket.create_connection((host, served.address[1]), 2) as connection:
                    name = f"[{host}]" if ":" in host else host
                    connection.sendall(f"GET /x HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n".encode())
                    assert b" 200 " in connection.recv(1000)
        finally:
            served.close()


def test_a_taken_address_is_a_configuration_error(server):
    with pytest.raises(ConfigError, match="status.listen"):
        HttpServer("127.0.0.1:%d" % server.address[1], {}).start()


def test_closing_ends_the_thread_at_once_and_frees_the_port():
    before = threading.active_count()
    served = HttpServer("127.0.0.1:0", {})
    served.start()
    port = served.address[1]
    clock = Clock()
    begun = clock.monotonic()
    served.close()
    assert clock.monotonic() - begun < 1.0
    while threading.active_count() > before and clock.monotonic() - begun < 2:
        clock.wait(0.01)
    assert threading.active_count() <= before
    again = HttpServer(f"127.0.0.1:{port}", {})
    again.start()
    again.close()


def test_other_answers_are_not_a_bridge():
    listener = socket.create_server(("127.0.0.1", 0))

    def serve():
        connection, _ = listener.accept()
        with connection:
            connection.recv(1000)
            connection.sendall(b"HTTP/1.0 200 OK\r\n\r\n<html>" + json.dumps([]).encode())

    threading.Thread(target=serve, daemon=True).start()
    with pytest.raises(PeerError, match="not a bridge"):
        get_json("127.0.0.1:%d" % listener.getsockname()[1], "/x", 2.0)
    listener.close()
