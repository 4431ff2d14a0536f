"""Knocking at a port, seen against sockets of the test's own."""

from __future__ import annotations

import contextlib
import socket
import threading

import pytest

from bridge.clock import Clock
from bridge.link import reach as module
from bridge.link.reach import reach

ASK = bytes.fromhex("000100000006f70475350002")
ANSWER = bytes.fromhex("000100000007f704040000215c")


def knock(address, request=ASK, timeout_s=0.3):
    return reach(address[0], address[1], timeout_s, Clock().monotonic, request)


@contextlib.contextmanager
def listening(serve=None):
    with contextlib.closing(socket.socket()) as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        if serve is not None:
            threading.Thread(target=lambda: serve(server.accept()[0]), daemon=True).start()
        yield server.getsockname()


def answer(*parts, then="close"):
    def serve(connection):
        with contextlib.closing(connection):
            connection.recv(100)
            for part in parts:
                connection.sendall(part)
            if then == "reset":
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

    return serve


def test_a_whole_frame_ends_the_wait():
    with listening(answer(ANSWER[:5], ANSWER[5:])) as address:
        met = knock(address, timeout_s=5.0)
    assert (met.outcome, met.reply) == ("answers", ANSWER)
    assert met.own_address == met.peer_address == "127.0.0.1"
    assert met.took_s < 1.0


def test_half_a_frame_is_an_answer_too():
    with listening(answer(ANSWER[:7])) as address:
        assert knock(address)[0] == "answers"


@pytest.mark.parametrize(("serve", "outcome"), [
    (None, "silent"),
    (answer(), "closes"),
    (answer(then="reset"), "resets"),
    (lambda connection: connection.close(), "hangs_up"),
])
def test_what_comes_back_is_one_word(serve, outcome):
    with listening(serve) as address:
        assert knock(address).outcome == outcome


def test_nothing_asked_is_open():
    with listening() as address:
        assert knock(address, b"").outcome == "open"


def test_nobody_listens():
    with listening() as address:
        pass
    met = knock(address)
    assert met.outcome == "refused" and met.peer_address == "127.0.0.1"


def test_a_broadcast_address_has_no_route():
    assert knock(("127.255.255.255", 502)).outcome == "no_route"


def test_a_name_server_that_does_not_answer_is_not_waited_for(monkeypatch):
    hold = threading.Event()
    monkeypatch.setattr(module, "RESOLVE_S", 0.1)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **options: [] if hold.wait(5) else [])
    begun = Clock().monotonic()
    assert knock(("plant.lan", 502)).outcome == "no_name"
    assert Clock().monotonic() - begun < 1.0
    hold.set()
