"""Listening on a line without a word."""

from __future__ import annotations

import fcntl
import os

import pytest

from bridge.clock import Clock
from bridge.errors import LinkError
from bridge.link.modbus_rtu import PortLocked
from bridge.link.serial_listen import listen
from tests.serial_line import Talk


def hear(device, seconds=0.3):
    return listen(device, 38400, seconds, Clock().monotonic)


def test_what_is_said_is_heard_and_nothing_is_answered():
    with Talk(b"\x01\x02\x03") as line:
        heard = hear(line.tty)
        assert heard and set(heard) == {1, 2, 3}
        with pytest.raises(BlockingIOError):
            os.read(line._ours, 10)


def test_silence_ends_with_the_time():
    with Talk(b"") as line:
        begun = Clock().monotonic()
        assert hear(line.tty) == b""
        assert 0.2 < Clock().monotonic() - begun < 1.0


def test_a_line_that_goes_away_is_an_error_with_a_number():
    with Talk(gone_after_s=0.1) as line, pytest.raises(LinkError) as caught:
        hear(line.tty, 2.0)
    assert caught.value.__cause__.errno == 5


def test_a_port_in_use_is_left_alone():
    with Talk(b"x") as line, open(line.tty, "rb", buffering=0) as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(PortLocked):
            hear(line.tty)
