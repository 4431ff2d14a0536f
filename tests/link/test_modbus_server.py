"""The Modbus server's engine: frames, places, time-outs, and that nobody can hold it up."""

from __future__ import annotations

import socket
import struct
import threading

import pytest

from bridge.clock import Clock, ManualClock
from bridge.errors import ConfigError
from bridge.link import modbus_server
from bridge.link.modbus_server import PLACES, QUIET_S, ModbusServer
from tests.commands.conftest import until


def frame(pdu, transaction=1, unit=247, protocol=0, length=None):
    return struct.pack(">HHHB", transaction, protocol, len(pdu) + 1 if length is None else length, unit) + pdu


READ = frame(struct.pack(">BHH", 4, 30005, 2))


@pytest.fixture
def serve():
    servers = []

    def start(respond=lambda unit, pdu, client: bytes((pdu[0], 2)) + b"\0\7", clock=None, listen="127.0.0.1:0"):
        server = ModbusServer(listen, respond, clock or Clock(), "reserver.listen")
        server.start()
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.close()


def connect(server):
    return socket.create_connection(server.address, 3)


def gone(connection):
    """Say whether the server ended this connection, with FIN or RST."""
    connection.settimeout(3)
    try:
        return connection.recv(100) == b""
    except ConnectionResetError:
        return True


def test_the_reply_carries_transaction_and_unit_of_its_question(serve):
    with connect(serve()) as client:
        for transaction, unit in ((0, 1), (0xFFFF, 247), (77, 0)):
            client.sendall(frame(b"\4\x75\x35\0\1", transaction, unit))
            assert client.recv(100) == frame(b"\4\2\0\7", transaction, unit)


def test_questions_in_one_packet_are_answered_in_their_order(serve):
    seen = []
    server = serve(lambda unit, pdu, client: seen.append(pdu[1]) or bytes((pdu[0], pdu[1])))
    with connect(server) as client:
        client.sendall(b"".join(frame(bytes((4, number, 0, 0, 1)), number) for number in range(5)))
        received = b""
        while len(received) < 45:
            received += client.recv(100)
    assert received == b"".join(frame(bytes((4, number)), number) for number in range(5)) and seen == list(range(5))


def test_a_question_may_come_byte_by_byte(serve):
    with connect(serve()) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in READ:
            client.sendall(bytes((byte,)))
        assert client.recv(100)[7:] == b"\4\2\0\7"


@pytest.mark.parametrize("bad", [
    frame(b"\4\x75\x35\0\2", protocol=1), frame(b"\4\x75\x35\0\2", length=0), frame(b"", length=1),
    frame(b"\4" + bytes(300), length=255), frame(b"\4", length=0xFFFF), b"GET / HTTP/1.1\r\n\r\n", bytes(range(64)),
], ids=["protocol", "length-0", "no-function", "too-long", "far-too-long", "http", "noise"])
def test_what_is_no_modbus_ends_the_connection_and_nobody_is_asked(serve, bad):
    asked = []
    server = serve(lambda unit, pdu, client: asked.append(pdu) or b"\4")
    with connect(server) as client:
        client.sendall(bad)
        assert gone(client)
    assert asked == []
    with connect(server) as other:
        other.sendall(READ)
        assert other.recv(100)


def test_half_a_frame_is_given_up_in_time(serve, monkeypatch):
    monkeypatch.setattr(modbus_server, "FRAME_S", 0.1)
    monkeypatch.setattr(modbus_server, "IDLE_S", 60.0)
    with connect(serve()) as client:
        client.sendall(READ[:9])
        assert gone(client)


def test_dripping_bytes_do_not_stretch_the_time_of_a_frame(serve, monkeypatch):
    monkeypatch.setattr(modbus_server, "FRAME_S", 0.2)
    clock = Clock()
    begun = clock.monotonic()
    with connect(serve()) as client:
        with pytest.raises(OSError):
            for _ in range(200):
                client.sendall(b"\0")
                clock.wait(0.02)
        assert clock.monotonic() - begun < 2


def test_an_idle_connection_is_given_up_in_time(serve, monkeypatch):
    monkeypatch.setattr(modbus_server, "IDLE_S", 0.1)
    server = serve()
    with connect(server) as client:
        assert gone(client)
    assert until(lambda: server.clients == 0)


def test_who_does_not_take_answers_is_let_go_and_the_others_are_served(serve, monkeypatch):
    monkeypatch.setattr(modbus_server, "FRAME_S", 0.3)
    server = serve(lambda unit, pdu, client: b"\4" + bytes(250))
    greedy = socket.socket()
    greedy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    greedy.connect(server.address)
    greedy.settimeout(0.2)
    with pytest.raises(OSError):
        while True:
            greedy.sendall(READ * 500)
    with connect(server) as client:
        client.sendall(READ)
        assert client.recv(300)
        assert until(lambda: server.clients == 1, 10)
    greedy.close()


def test_a_slow_answer_to_one_does_not_delay_another(serve):
    release = threading.Event()
    server = serve(lambda unit, pdu, client: (unit == 1 and release.wait(10)) and b"\4" or b"\4")
    with connect(server) as slow, connect(server) as quick:
        slow.sendall(frame(b"\4\0\0\0\1", unit=1))
        quick.sendall(READ)
        assert quick.recv(100)
        release.set()
        assert slow.recv(100)


def test_places_are_limited_and_the_longest_quiet_gives_its_own_away(serve):
    clock = ManualClock()
    server = serve(clock=clock)
    clients = []
    for _ in range(PLACES):
        clients.append(connect(server))
        clients[-1].sendall(READ)
        assert clients[-1].recv(100)
        clock.advance(0.1)
    with connect(server) as late:
        assert gone(late)
    assert server.turned_away == 1 and server.clients == PLACES
    clock.advance(QUIET_S - 1.0)
    clients[1].sendall(READ)
    assert clients[1].recv(100)
    clock.advance(1.1)
    with connect(server) as late:
        late.sendall(READ)
        assert late.recv(100)
        assert gone(clients[0])
        clients[1].sendall(READ)
        assert clients[1].recv(100)
    for client in clients:
        client.close()
    assert until(lambda: server.clients == 0)


@pytest.mark.parametrize("listen, words", [
    ("127.0.0.1:{port}", "reserver.listen = off"), ("192.0.2.1:1502", "192.0.2.1:1502"), ("no.such.host.invalid:1502", "no.such.host"),
])
def test_an_address_that_cannot_be_had_is_one_line(serve, listen, words):
    with pytest.raises(ConfigError, match=words) as caught:
        serve(listen=listen.format(port=serve().address[1]))
    assert "\n" not in str(caught.value) and "reserver.listen: cannot serve" in str(caught.value)


@pytest.mark.parametrize("listen, hosts", [("[::1]:0", ["::1"]), ("[::]:0", ["::1", "127.0.0.1"])])
def test_ipv6_is_an_address_too(serve, listen, hosts):
    server = serve(listen=listen)
    for host in hosts:
        with socket.create_connection((host, server.address[1]), 3) as client:
            client.sendall(READ)
            assert client.recv(100)


def test_closing_ends_every_connection_and_thread_and_frees_the_port(serve):
    before = threading.active_count()
    server = serve()
    clients = [connect(server) for _ in range(3)]
    for client in clients:
        client.sendall(READ)
        assert client.recv(100)
    port = server.address[1]
    server.close()
    server.close()
    assert all(gone(client) for client in clients)
    assert until(lambda: threading.active_count() <= before)
    for client in clients:
        client.close()
    again = serve(listen=f"127.0.0.1:{port}")
    with connect(again) as client:
        client.sendall(READ)
        assert client.recv(100)


def test_a_machine_without_threads_to_spare_turns_the_client_away_and_goes_on(serve, monkeypatch):
    server = serve()
    real = threading.Thread.start

    def start(self):
        if self.name == "modbus-client":
            raise RuntimeError("can't start new thread")
        real(self)

    monkeypatch.setattr(threading.Thread, "start", start)
    with connect(server) as client:
        assert gone(client)
    monkeypatch.undo()
    with connect(server) as client:
        client.sendall(READ)
        assert client.recv(100)
