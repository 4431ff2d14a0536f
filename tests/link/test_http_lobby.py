"""Who waits for the HTTP server: until when, and who leaves when the places are taken."""

from __future__ import annotations

import socket

import pytest

from bridge.link import http_lobby
from bridge.link.http_lobby import HEAD_S, IDLE_S, MAX_HEAD, Lobby, Visitor

WHOLE = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


class Room:
    """A lobby and callers in it; ``now`` is an argument everywhere, so nothing here waits."""

    def __init__(self):
        self.lobby, self.ends = Lobby(), []

    def caller(self, now, served=False):
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        theirs.settimeout(2)
        visitor = Visitor(ours)
        visitor.served = served
        self.lobby.enter(visitor, now)
        self.ends.append(theirs)
        return visitor, theirs

    def hear(self, now):
        return [self.lobby.hear(number, now) for number in self.lobby.wait(now)]


@pytest.fixture
def room():
    made = Room()
    yield made
    made.lobby.close()
    for end in made.ends:
        end.close()


def gone(end):
    return end.recv(200) == b""


def test_a_head_is_handed_on_once_it_is_whole_and_the_rest_stays(room):
    visitor, end = room.caller(0)
    end.sendall(WHOLE[:10])
    assert room.hear(1) == [None]
    end.sendall(WHOLE[10:] + b"more")
    assert room.hear(2) == [visitor]
    assert visitor.head() == WHOLE and visitor.head() is None and visitor.received == b"more"
    assert room.lobby.hear(visitor.connection.fileno(), 2) is None, "it no longer waits here"


def test_a_byte_now_and_then_does_not_buy_time(room):
    """The deadline counts from the first byte of a head: a slow loris has as long as anybody else."""
    _, end = room.caller(0, served=True)
    for at in range(int(HEAD_S)):
        end.sendall(WHOLE[at:at + 1])
        assert room.hear(10 + at) == [None]
    room.lobby.end_late(10 + HEAD_S - 0.1)
    end.sendall(b"x")
    assert room.hear(10 + HEAD_S - 0.05) == [None]
    room.lobby.end_late(10 + HEAD_S)
    assert end.recv(200).startswith(b"HTTP/1.1 408 ") and gone(end)


def test_who_comes_and_says_nothing_leaves_soon_and_a_kept_connection_later(room):
    _, silent = room.caller(0)
    _, kept = room.caller(0, served=True)
    room.lobby.end_late(HEAD_S)
    assert gone(silent)
    room.lobby.end_late(IDLE_S - 0.1)
    kept.sendall(WHOLE)
    assert room.hear(IDLE_S - 0.1) != [None]


@pytest.mark.parametrize("head", [b"GET / HTTP/1.1\r\nX: " + b"x" * MAX_HEAD, b"x" * MAX_HEAD + b"\r\n\r\n"])
def test_a_head_that_is_too_long_is_told_so(room, head):
    _, end = room.caller(0)
    while head:
        sent, head = head[:4096], head[4096:]
        end.sendall(sent)
        assert room.hear(0) == [None]
        if len(head) < 4096 and not room.lobby._visitors:
            break
    assert end.recv(200).startswith(b"HTTP/1.1 431 ")


def test_the_longest_waiting_leaves_for_who_comes(room, monkeypatch):
    monkeypatch.setattr(http_lobby, "PLACES", 3)
    ends = [room.caller(at)[1] for at in range(4)]
    assert gone(ends[0])
    ends[1].sendall(WHOLE)
    assert [visitor.head() for visitor in room.hear(4)] == [WHOLE]


def test_who_hangs_up_is_forgotten(room):
    visitor, end = room.caller(0)
    end.close()
    assert room.hear(0) == [None] and visitor.connection.fileno() == -1
    assert not room.lobby.make_room()


def test_the_wait_ends_when_somebody_is_over_time(room):
    room.caller(0)
    assert room.lobby.wait(HEAD_S) == []
