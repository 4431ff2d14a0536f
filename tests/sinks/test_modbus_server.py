"""What the re-server answers to which PDU, and that only reads ever reach the desk."""

from __future__ import annotations

import struct

import pytest

from bridge.clock import Clock
from bridge.errors import DeviceException
from bridge.sinks.modbus_server import MOST_TOLD, Reserver
from bridge.sources.register_memory import Piece


class Desk:
    """Remembers what it is asked for; answers with numbered words, or with an exception."""

    def __init__(self):
        self.asked, self.code = [], None

    def read(self, *question):
        self.asked.append(question)
        if self.code is not None:
            raise DeviceException("no", self.code)
        return Piece(struct.pack(f">{question[3]}H", *range(question[3])), 0.0)

    def health(self):
        return {"asked": len(self.asked)}


@pytest.fixture
def desk():
    return Desk()


@pytest.fixture
def reserver(desk):
    return Reserver("127.0.0.1:0", desk, 124, Clock())


def read(function, address, count):
    return struct.pack(">BHH", function, address, count)


def test_reads_of_both_kinds_reach_the_desk(reserver, desk):
    assert reserver.respond(247, read(4, 30005, 2), "c") == b"\4\4\0\0\0\1"
    assert reserver.respond(1, read(3, 30500, 1), "c") == b"\3\2\0\0"
    assert desk.asked == [(247, "input", 30005, 2), (1, "holding", 30500, 1)]


def test_every_other_function_is_refused_before_anybody_is_asked(reserver, desk):
    for function in set(range(256)) - {3, 4}:
        for rest in (b"", b"\x9c\x5d\0\1", b"\x9c\x5d\0\2\4\0\1\0\1"):
            assert reserver.respond(247, bytes((function,)) + rest, "c") == bytes((function | 0x80, 1))
    assert desk.asked == [] and reserver.health()["refused"] == 254 * 3


@pytest.mark.parametrize("pdu, code", [
    (read(4, 30000, 0), 3), (read(4, 30000, 125), 3), (read(4, 30000, 0xFFFF), 3), (read(4, 65535, 2), 2),
    (b"\4\x75\x35\0", 3), (b"\4\x75\x35\0\2\0", 3), (b"\3", 3),
])
def test_a_read_that_cannot_be_is_refused_before_anybody_is_asked(reserver, desk, pdu, code):
    assert reserver.respond(247, pdu, "c") == bytes((pdu[0] | 0x80, code))
    assert desk.asked == []


def test_the_largest_read_is_the_vendors(reserver):
    assert len(reserver.respond(247, read(4, 30000, 124), "c")) == 250


@pytest.mark.parametrize("code", [1, 2, 3, 4, 6, 10, 11])
def test_the_desks_exception_is_the_clients(reserver, desk, code):
    desk.code = code
    assert reserver.respond(247, read(3, 40029, 1), "c") == bytes((0x83, code))


def test_who_tries_to_write_is_logged_once(reserver, caplog):
    for _ in range(5):
        for client in ("192.0.2.7", "192.0.2.8"):
            reserver.respond(247, b"\6\x9c\x5d\0\1", client)
    assert [record.args for record in caplog.records] == [("192.0.2.7", 6), ("192.0.2.8", 6)]
    for number in range(1000):
        reserver.respond(247, b"\6\x9c\x5d\0\1", f"client{number}")
    assert len(caplog.records) == MOST_TOLD
