"""Listening to and asking simulated RS485 lines."""

from __future__ import annotations

import errno

import pytest

from bridge.clock import Clock
from bridge.control.diagnosis_serial import DEVICE, PLANT, SILENT, Try
from bridge.errors import LinkError
from bridge.link.modbus_rtu import PortLocked
from bridge.link.rtu_frame import crc16
from bridge.registers import sigenergy, vendor_from
from bridge.sim.plant import PlantSim
from bridge.sources import examine_serial
from bridge.sources.examine_serial import SerialExam, frames_in, latency, trouble
from tests.serial_line import TO_ALL, TO_THREE, Talk

VENDOR = vendor_from(sigenergy)


@pytest.fixture(autouse=True)
def short_waits(monkeypatch):
    monkeypatch.setattr(examine_serial, "LISTEN_S", 0.3)
    monkeypatch.setattr(examine_serial, "LISTEN_SHORT_S", 0.1)
    monkeypatch.setattr(examine_serial, "ANSWER_S", 0.12)


def examine(device, unit=1, baud=38400, until_s=10.0):
    clock = Clock()
    return SerialExam(device, unit, baud, VENDOR, clock, clock.monotonic() + until_s).examine()


def test_the_line_is_listened_to_before_it_is_spoken_on():
    said = []
    with PlantSim(Clock(), serial=True, unit=1) as plant:
        clock = Clock()
        SerialExam(plant.tty, 1, 38400, VENDOR, clock, clock.monotonic() + 10, progress=said.append).examine()
        assert plant.counters.writes == 0 and {each.function for each in plant.log} == {4}
    assert said[0].startswith("listening") and said[1] == "asking unit 1 at 38400 baud"


def test_once_somebody_answers_only_the_units_at_that_speed_are_left():
    with PlantSim(Clock(), serial=True, unit=247, inverter_unit=1, baud=9600) as plant:
        seen = examine(plant.tty)
    assert seen.found == Try(247, 9600, PLANT)
    assert seen.tries == (
        Try(1, 38400, SILENT), Try(247, 38400, SILENT), Try(1, 9600, DEVICE), Try(247, 9600, PLANT))


def test_every_combination_is_tried_on_a_silent_line():
    with Talk() as line:
        seen = examine(line.tty)
    assert [(each.unit, each.baud) for each in seen.tries] == [
        (unit, baud) for baud in (38400, 9600, 19200, 115200) for unit in (1, 247)]
    assert {each.result for each in seen.tries} == {SILENT} and seen.heard == 0


def test_a_line_level_is_not_asked():
    with Talk(b"\xff" * 16) as line:
        seen = examine(line.tty)
    assert seen.level == "FF" and seen.tries == ()


def test_a_masters_talk_is_told_by_its_checksums():
    with Talk(TO_ALL + TO_THREE, 0.05) as line:
        assert set(examine(line.tty, until_s=0.4).frames) == {(0, 6), (3, 4)}


def test_the_time_that_is_up_ends_the_asking():
    with Talk() as line:
        assert len(examine(line.tty, until_s=0.4).tries) == 1


def test_frames_are_found_between_other_bytes():
    assert frames_in(b"\x55" + TO_ALL + b"\xaa\xaa" + TO_THREE) == [(0, 6), (3, 4), (3, 4)]
    assert frames_in(TO_ALL[:-1]) == [] and frames_in(b"") == []
    body = b"\xf7\x84\x02"
    assert frames_in(body + crc16(body).to_bytes(2, "little")) == [(247, 4)]


def test_noise_holds_no_frames():
    clutter = bytes((31 * number * number + 7) % 256 for number in range(2000))
    assert frames_in(clutter) == []


@pytest.mark.parametrize(("number", "word"), [
    (errno.ENOENT, "no_device"), (errno.EACCES, "permission"), (errno.EIO, "gone"), (None, "not_a_port"),
])
def test_why_a_port_cannot_be_used(number, word):
    error = LinkError("x")
    error.__cause__ = OSError(number, "x") if number else ValueError("x")
    assert trouble(error) == word
    assert trouble(PortLocked("x")) == "in_use"


def test_an_adapter_pulled_while_it_is_asked_is_gone():
    with Talk(gone_after_s=0.45) as line:
        assert examine(line.tty).trouble == "gone"


def test_the_latency_timer_is_read_below_the_root(tmp_path):
    timer = tmp_path / "sys/class/tty/ttyUSB0/device/latency_timer"
    timer.parent.mkdir(parents=True)
    timer.write_text("16\n")
    path = "/sys/class/tty/ttyUSB0/device/latency_timer"
    assert latency("/dev/ttyUSB0", str(tmp_path)) == (path, 16)
    assert latency("/dev/ttyUSB1", str(tmp_path))[1] is None
