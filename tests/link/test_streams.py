"""Event streams: who listens hears everything, who does not keep up is hung up on, and nobody waits for anybody."""

from __future__ import annotations

import socket

import pytest

from bridge.clock import Clock
from bridge.link import streams
from bridge.link.streams import ALIVE, PLACES, Streams, Told, event
from tests.commands.conftest import until


class Stage:
    """Streams of one kind whose news are numbered."""

    def __init__(self, size=0):
        self.told, self.ends, self.size = 0, [], size
        self.streams = Streams(Clock(), {"n": Told(lambda: event(b"first"), self.news, lambda: ALIVE)})

    def news(self):
        self.told += 1
        return event(b"%d" % self.told + b" " * self.size)

    def reader(self, small=False):
        ours, theirs = socket.socketpair()
        if small:
            theirs.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        theirs.settimeout(5)
        self.streams.take("n", ours)
        self.ends.append(theirs)
        return theirs


@pytest.fixture
def stage():
    made = Stage()
    yield made
    made.streams.close()
    for end in made.ends:
        end.close()


def read(end, wanted):
    got = b""
    while wanted not in got:
        chunk = end.recv(65536)
        assert chunk, got
        got += chunk
    return got


def test_everybody_hears_first_and_news(stage):
    readers = [stage.reader() for _ in range(5)]
    for reader in readers:
        assert read(reader, b"first\n\n") == b"retry: 2000\n\ndata: first\n\n"
    stage.streams.news()
    for reader in readers:
        assert read(reader, b"data: 1\n\n") == b"data: 1\n\n"
    assert stage.told == 1, "rendered once for all"


def test_a_sign_of_life_comes_when_there_is_no_news(stage, monkeypatch):
    monkeypatch.setattr(streams, "BEAT_S", 0.05)
    assert ALIVE in read(stage.reader(), ALIVE)
    assert ALIVE.startswith(b":"), "a comment, which readers ignore"


def test_a_reader_that_takes_nothing_is_hung_up_on_and_the_others_hear_on():
    stage = Stage(size=1000)
    try:
        stage.reader(small=True)
        quick = stage.reader()
        for count in range(1, 400):
            stage.streams.news()
            assert until(lambda count=count: stage.told >= count)
            quick.recv(65536)
            if stage.streams.dropped:
                break
        assert until(lambda: len(stage.streams) == 1) and stage.streams.dropped == 1
        assert count * 1000 < 600_000, "hung up on, not buffered for"
        stage.streams.news()
        assert b"data: " in read(quick, b"\n\n")
    finally:
        stage.streams.close()


def test_who_is_gone_gives_the_place_back(stage):
    stage.reader().close()
    assert len(stage.streams) == 1
    stage.streams.news()
    assert until(lambda: len(stage.streams) == 0)


def test_places_are_bounded(stage):
    for _ in range(PLACES):
        stage.reader()
    assert stage.streams.full
    with pytest.raises(ConnectionError):
        stage.reader()
    assert len(stage.streams) == PLACES


def test_news_without_a_listener_wakes_nobody():
    stage = Stage()
    stage.streams.news()
    assert not stage.streams._news.is_set() and not stage.streams._running and stage.told == 0


def test_the_thread_ends_with_the_last_reader_and_comes_again(stage):
    for _ in range(2):
        reader = stage.reader()
        assert stage.streams._running
        reader.close()
        stage.streams.news()
        assert until(lambda: len(stage.streams) == 0)
        stage.streams.news()
        stage.streams._news.set()
        assert until(lambda: not stage.streams._running)


def test_close_hangs_up(stage):
    reader = stage.reader()
    stage.streams.close()
    assert read(reader, b"first\n\n") and reader.recv(10) == b""


def test_who_has_just_come_hears_all_of_it_once_and_then_changes_only():
    stage = Stage()
    stage.streams._kinds["n"] = Told(lambda: event(b"first"), stage.news, lambda: ALIVE, lambda: event(b"whole"))
    try:
        old = stage.reader()
        stage.streams.news()
        assert b"data: whole\n\n" in read(old, b"whole\n\n")
        new = stage.reader()
        stage.streams.news()
        assert b"data: 2\n\n" in read(old, b"2\n\n") and read(new, b"whole\n\n").count(b"data") == 2
        stage.streams.news()
        assert read(old, b"\n\n") == read(new, b"\n\n") == b"data: 3\n\n"
    finally:
        stage.streams.close()


def test_news_between_the_first_words_and_the_place_in_the_list_is_not_lost():
    stage = Stage()

    def first():
        stage.streams.news()
        return event(b"first")

    stage.streams._kinds["n"] = Told(first, stage.news, lambda: ALIVE)
    try:
        assert b"data: 1" in read(stage.reader(), b"data: 1\n\n")
    finally:
        stage.streams.close()
