"""The WebSocket link against a server written out byte by byte."""

from __future__ import annotations

import base64
import builtins
import hashlib
import socket
import struct
import threading

import pytest

from bridge.clock import Clock
from bridge.errors import ConfigError, LinkError, LinkTimeout
from bridge.link.websocket import UpgradeRefused, WebSocketLink, available

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
TIMEOUT_S = 0.3


def frame(payload, opcode=1, fin=True):
    head = bytes([(0x80 if fin else 0) | opcode])
    if len(payload) < 126:
        return head + bytes([len(payload)]) + payload
    return head + b"\x7e" + struct.pack(">H", len(payload)) + payload


def unmasked(raw):
    """Return the (opcode, payload) frames in what a client has sent."""
    frames = []
    while raw:
        length, at = raw[1] & 0x7F, 2
        assert raw[1] & 0x80, "a client has to mask"
        if length == 126:
            length, at = struct.unpack(">H", raw[2:4])[0], 4
        key, body = raw[at:at + 4], raw[at + 4:at + 4 + length]
        frames.append((raw[0] & 0xF, bytes(byte ^ key[i % 4] for i, byte in enumerate(body))))
        raw = raw[at + 4 + length:]
    return frames


class Server:
    """Accepts one WebSocket and then does what the test says."""

    def __init__(self):
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self.peer = None
        self.upgrade = b""
        self.refuse_with = None
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def _accept(self):
        try:
            self.peer, _ = self._listening.accept()
        except OSError:
            return
        self.peer.settimeout(5)
        while b"\r\n\r\n" not in self.upgrade:
            more = self.peer.recv(4096)
            if not more:
                return
            self.upgrade += more
        if self.refuse_with is not None:
            self.peer.sendall(self.refuse_with)
            self.peer.close()
            return
        key = self.upgrade.split(b"Sec-WebSocket-Key: ")[1].split(b"\r\n")[0]
        accept = base64.b64encode(hashlib.sha1(key + GUID).digest())
        self.peer.sendall(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                          b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n")

    def stop(self):
        self._listening.close()
        if self.peer is not None:
            self.peer.close()


@pytest.fixture
def server():
    made = Server()
    yield made
    made.stop()


@pytest.fixture
def link(server, clock):
    made = WebSocketLink("shelly", "127.0.0.1", server.port, "/rpc", clock, TIMEOUT_S)
    yield made
    made.close()


def first(link):
    return next(iter(link.receive()))


def test_texts_go_out_masked_and_in_one_piece(link, server):
    link.connect()
    link.send(["one", "two", "x" * 300])
    assert unmasked(server.peer.recv(65536)) == [(1, b"one"), (1, b"two"), (1, b"x" * 300)]
    assert b"GET /rpc HTTP/1.1" in server.upgrade and b"Origin" not in server.upgrade


def test_texts_come_in_whole_however_they_are_cut(link, server):
    link.connect()
    raw = frame(b"short") + frame(b"y" * 200) + frame(b"par", fin=False) + frame(b"ts", opcode=0)
    for index in range(0, len(raw), 7):
        server.peer.sendall(raw[index:index + 7])
    got = []
    for text in link.receive():
        got.append(text)
        if len(got) == 3:
            break
    assert got == [b"short", b"y" * 200, b"parts"]


def test_a_ping_is_answered_while_waiting(link, server):
    link.connect()
    server.peer.sendall(frame(b"hello", opcode=9) + frame(b"text"))
    assert first(link) == b"text"
    assert unmasked(server.peer.recv(4096)) == [(10, b"hello")]


@pytest.mark.timing
def test_draining_takes_what_is_there_and_does_not_wait(link, server):
    link.connect()
    assert list(link.drain()) == []
    server.peer.sendall(frame(b"a") + frame(b"b"))
    Clock().wait(0.02)
    assert list(link.drain()) == [b"a", b"b"] and list(link.drain()) == []


def test_silence_is_a_time_out_and_ends_the_connection(link, server):
    link.connect()
    clock = Clock()
    begun = clock.monotonic()
    with pytest.raises(LinkTimeout, match="no answer in time"):
        first(link)
    assert clock.monotonic() - begun < 3 * TIMEOUT_S
    with pytest.raises(LinkError, match="not connected"):
        list(link.drain())


def test_chatter_without_the_answer_does_not_hold_us_for_ever(server):
    link = WebSocketLink("shelly", "127.0.0.1", server.port, "/rpc", Clock(), TIMEOUT_S)
    link.connect()
    stop = threading.Event()

    def chatter():
        while not stop.wait(0.05):
            try:
                server.peer.sendall(frame(b"notification"))
            except OSError:
                return

    thread = threading.Thread(target=chatter, daemon=True)
    thread.start()
    with pytest.raises(LinkTimeout):
        for _ in link.receive():
            continue
    stop.set()
    thread.join(5)


@pytest.mark.parametrize("raw, words", [
    (b"", "closed the connection"),
    (frame(b"\x03\xe8", opcode=8), "closed the WebSocket"),
    (b"\x87\x00", "broken WebSocket frame"),
    (b"\x81\x7f" + struct.pack(">Q", 1 << 40), "announces"),
    (b"\xff" * 16, "broken|announces"),
])
def test_an_end_or_nonsense_is_a_link_error(link, server, raw, words):
    link.connect()
    if raw:
        server.peer.sendall(raw)
    else:
        server.peer.close()
    with pytest.raises(LinkError, match=words):
        first(link)


def test_endless_pieces_are_cut_off(link, server):
    link.connect()

    def pieces():
        try:
            server.peer.sendall(frame(b"z" * 60_000, fin=False))
            for _ in range(20):
                server.peer.sendall(frame(b"z" * 60_000, opcode=0, fin=False))
        except OSError:
            return

    thread = threading.Thread(target=pieces, daemon=True)
    thread.start()
    with pytest.raises(LinkError, match="more than"):
        first(link)
    server.peer.close()
    thread.join(5)


@pytest.mark.parametrize("answer, words", [
    (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "HTTP 404"),
    (b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n", "no WebSocket at /rpc"),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", "HTTP 200"),
    (b"garbage\r\n\r\n", "no WebSocket at /rpc"),
    (b"", "no WebSocket at /rpc"),
])
def test_a_refused_upgrade_is_told_from_a_dead_device(link, server, answer, words):
    server.refuse_with = answer
    with pytest.raises(UpgradeRefused, match=words):
        link.connect()


def test_a_closed_port_is_a_dead_device(clock):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(LinkError, match="refused") as caught:
        WebSocketLink("shelly", "127.0.0.1", port, "/rpc", clock, TIMEOUT_S).connect()
    assert not isinstance(caught.value, UpgradeRefused)


def test_an_upgrade_that_is_never_answered_is_given_up(clock):
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        link = WebSocketLink("shelly", "127.0.0.1", deaf.getsockname()[1], "/rpc", clock, TIMEOUT_S)
        with pytest.raises(UpgradeRefused, match="no answer in time"):
            link.connect()


@pytest.mark.timing
def test_a_silent_peer_is_pinged_and_then_given_up(link, server, clock):
    link.connect()
    link.keep_alive()
    clock.advance(21)
    link.keep_alive()
    assert unmasked(server.peer.recv(4096)) == [(9, b"")]
    server.peer.sendall(frame(b"", opcode=10))
    Clock().wait(0.02)
    assert list(link.drain()) == []
    clock.advance(6)
    link.keep_alive()  # the pong was heard
    clock.advance(21)
    link.keep_alive()
    clock.advance(6)
    with pytest.raises(LinkTimeout, match="a ping got no answer"):
        link.keep_alive()


def test_closing_says_goodbye(link, server):
    link.connect()
    link.close()
    assert unmasked(server.peer.recv(4096)) == [(8, b"\x03\xe8")]
    link.close()


def test_proxies_of_the_environment_are_not_used(link, server, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    link.connect()
    link.send(["x"])
    assert unmasked(server.peer.recv(4096)) == [(1, b"x")]


def test_without_the_library_one_line_says_what_to_install(link, monkeypatch):
    real = builtins.__import__

    def missing(name, *args, **kwargs):
        if name == "websocket":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", missing)
    assert not available()
    with pytest.raises(ConfigError, match="websocket-client is not installed; install it, or use script or http"):
        link.connect()
