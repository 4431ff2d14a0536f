"""HTTP to one device: bounded in time and size, one connection at a time, errors that say what to check."""

from __future__ import annotations

import socket
import threading

import pytest

from bridge.clock import Clock
from bridge.errors import AuthError, LinkError, LinkTimeout
from bridge.link.dial import split_host
from bridge.link.digest import Digest
from bridge.link.lan import LanHttp
from bridge.link.stream import MAX_TAKE
from bridge.sim.shelly import ShellySim

TIMEOUT_S = 0.3


class Server:
    """Answers each connection with the next of some raw byte strings."""

    def __init__(self):
        self.answers, self.requests, self.connections = [], [], 0
        self.hold = threading.Event()
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._socket.settimeout(5)
        self.port = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def start(self, *answers):
        self.answers = list(answers)
        self._thread.start()
        return self

    def _serve(self):
        for answer in self.answers:
            try:
                peer, _ = self._socket.accept()
            except OSError:
                return
            self.connections += 1
            pieces = answer if isinstance(answer, list) else [answer]
            with peer:
                for piece in pieces:
                    self.requests.append(peer.recv(65536))
                    if callable(piece):
                        piece(peer)
                    elif piece is not None:
                        peer.sendall(piece)

    def stop(self):
        self.hold.set()
        self._socket.close()


@pytest.fixture
def server():
    made = Server()
    yield made
    made.stop()


def ok(body=b"null", extra=b"Connection: close\r\n"):
    return (b"HTTP/1.1 200 OK\r\nContent-Type: application/json; charset=utf-8\r\nContent-Length: %d\r\n%s\r\n%s"
            % (len(body), extra, body))


def http(port, timeout_s=TIMEOUT_S, signer=None):
    return LanHttp("shelly", "127.0.0.1", port, Clock(), signer, timeout_s)


def test_an_answer_is_status_media_and_body(server):
    server.start(ok())
    answer = http(server.port).request("POST", "/rpc", b"{}")
    assert answer == (200, "application/json", b"null")
    assert b"POST /rpc HTTP/1.1" in server.requests[0] and b"Content-Type: application/json" in server.requests[0]


def test_a_failure_keeps_its_body_because_it_says_why(server):
    server.start(b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 11\r\nConnection: close\r\n\r\n{\"code\":-1}")
    answer = http(server.port).request("GET", "/rpc/X")
    assert answer.status == 500 and answer.excerpt() == '{"code":-1}'


def test_each_request_is_one_packet_on_a_connection_of_its_own(server):
    server.start(*[ok(extra=b"")] * 3)
    client = http(server.port)
    for _ in range(3):
        assert client.request("POST", "/rpc", b'{"id":1}').body == b"null"
    assert server.connections == 3
    assert all(request.endswith(b'\r\n\r\n{"id":1}') for request in server.requests)


@pytest.mark.parametrize("raw, body", [
    (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nnull\r\n3;x=y\r\n!!!\r\n0\r\n\r\n", b"null!!!"),
    (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length:4\r\n\r\nnull", b"null"),
    (b"HTTP/1.1 200 OK\r\n\r\nuntil the end", b"until the end"),
    (b"HTTP/1.0 200\r\nContent-Length: 0\r\n\r\n", b""),
    (b"HTTP/1.1 204 No Content\r\nX: y\r\n\r\n", b""),
])
def test_a_body_is_read_in_every_form_it_may_have(server, raw, body):
    server.start(raw)
    assert http(server.port).request("GET", "/").body == body


@pytest.mark.parametrize("raw, words", [
    (b"", "without an answer"),
    (b"\x00\x01\x02 garbage\r\n\r\n", "not HTTP"),
    (b"HTTP/1.1 abc\r\n\r\n", "not HTTP"),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 1e9\r\n\r\n", "not HTTP"),
    (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "not HTTP"),
    (b"HTTP/1.1 200 OK\r\nContent-", "in the middle of an answer"),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\nConnection: close\r\n\r\nhalf", "in the middle of an answer"),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n", "more than"),
    (b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + b"x" * (MAX_TAKE + 70_000), "more than"),
    (b"x" * (MAX_TAKE + 70_000), "more than"),
])
def test_what_is_no_answer_is_one_line_that_names_the_device(server, raw, words):
    server.start(raw)
    with pytest.raises(LinkError, match=words) as caught:
        http(server.port).request("GET", "/")
    assert f"127.0.0.1:{server.port}" in str(caught.value) and "\n" not in str(caught.value)


def test_a_silent_device_costs_the_time_out_and_no_more(server):
    server.start(lambda peer: server.hold.wait(3))
    clock = Clock()
    begun = clock.monotonic()
    with pytest.raises(LinkTimeout, match="no answer in time"):
        http(server.port).request("GET", "/")
    assert clock.monotonic() - begun < 3 * TIMEOUT_S


@pytest.mark.parametrize("head", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\nConnection: close\r\n\r\n"])
def test_an_answer_that_drips_does_not_hold_us_longer_than_the_time_out(server, head):
    def drip(peer):
        peer.sendall(head)
        while not server.hold.wait(0.05):
            try:
                peer.sendall(b"x")
            except OSError:
                return

    server.start(drip)
    clock = Clock()
    begun = clock.monotonic()
    with pytest.raises(LinkTimeout):
        http(server.port).request("GET", "/")
    assert clock.monotonic() - begun < 4 * TIMEOUT_S


def test_a_closed_port_says_what_to_check():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(LinkError, match="connection refused; check the address and the port"):
        http(port).request("GET", "/")


def test_a_name_without_an_address_is_said(monkeypatch):
    def nothing(*args, **kwargs):
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", nothing)
    with pytest.raises(LinkError, match="this name has no address"):
        LanHttp("shelly", "nosuch.invalid", 80, Clock()).request("GET", "/")


@pytest.mark.parametrize("firmware", ["1.7.4", "2.0.0", "2.0.1"])
def test_one_challenge_is_enough_for_many_requests(clock, firmware):
    with ShellySim(clock, password="pw", firmware=firmware) as sim:
        digest = Digest("pw", clock.monotonic, sim.address, lambda: 0.0)
        client = http(sim.port, 1.0, digest)
        for number in range(40):
            assert client.request("GET", f"/rpc/Sys.GetStatus?x={number}").status == 200
        assert sim.counters.auth_challenges == 1 and sim.counters.auth_failures == 0


def test_a_wrong_password_is_tried_once(clock):
    with ShellySim(clock, password="pw", firmware="2.0.1") as sim:
        client = http(sim.port, 1.0, Digest("no", clock.monotonic, sim.address, lambda: 0.0))
        for _ in range(5):
            with pytest.raises(AuthError):
                client.request("GET", "/rpc/Sys.GetStatus")
        assert sim.counters.auth_failures == 1


@pytest.mark.parametrize("text, expected", [
    ("192.0.2.7", ("192.0.2.7", 80)), ("shelly.local:8080", ("shelly.local", 8080)),
    ("[2001:db8::1]:81", ("2001:db8::1", 81)), ("2001:db8::1", ("2001:db8::1", 80)), (" x ", ("x", 80)),
])
def test_addresses_are_split(text, expected):
    assert split_host(text, 80) == expected


@pytest.mark.parametrize("text", ["", "x:0", "x:70000", "x:y", ":80"])
def test_a_bad_address_is_refused(text):
    with pytest.raises(ValueError, match="host:port"):
        split_host(text, 80)
