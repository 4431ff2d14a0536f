"""Both engines on both media against a simulated plant: strict about replies, quick to recover."""

from __future__ import annotations

import json
import socket
import threading
from contextlib import suppress
from pathlib import Path

import pytest

from bridge.clock import Clock
from bridge.errors import ConfigError, DeviceException, LinkError, LinkTimeout
from bridge.link.modbus import BuiltinLink, check_written, make_link, write_pdu
from bridge.link.modbus_pymodbus import PymodbusLink
from bridge.link.modbus_rtu import RtuWire
from bridge.link.modbus_tcp import TcpWire
from bridge.link.rtu_frame import crc16, frame_length
from bridge.registers import sigenergy
from bridge.sim.plant import PlantSim

TIMEOUT_S = 0.15
FIXTURES = Path(__file__).parent.parent / "fixtures"
S3_GRID = [0x0000, 0x215C]
GRID_REPLY = bytes((1, 4, 4, 0, 0, 0x21, 0x5C))
GRID_REPLY += crc16(GRID_REPLY).to_bytes(2, "little")


def pymodbus_link(*args):
    return PymodbusLink(*args)


@pytest.fixture(params=["builtin", "pymodbus"])
def engine(request):
    return request.param


@pytest.fixture
def tcp_plant():
    with PlantSim(Clock(), scenario="s3") as plant:
        yield plant


@pytest.fixture
def tcp(engine, tcp_plant):
    wire = TcpWire("127.0.0.1", tcp_plant.port, TIMEOUT_S, Clock().monotonic)
    link = make_link(wire, engine, None, TIMEOUT_S, pymodbus_link)
    yield link
    link.close()


@pytest.fixture
def rtu_plant():
    with PlantSim(Clock(), serial=True, unit=1, scenario="s3", turnaround_s=0.002) as plant:
        yield plant


@pytest.fixture
def rtu(engine, rtu_plant):
    clock = Clock()
    wire = RtuWire(rtu_plant.tty, 38400, TIMEOUT_S, clock.monotonic, clock.wait)
    link = make_link(wire, engine, None, TIMEOUT_S, pymodbus_link)
    yield link
    link.close()


def test_tcp_reads_the_printed_number(tcp, tcp_plant):
    assert tcp.read("input", 30005, 2, 247) == S3_GRID
    assert tcp_plant.log[-1].address == 30005 == 0x7535


def test_rtu_reads_the_same_words(rtu):
    assert rtu.read("input", 30005, 2, 1) == S3_GRID
    assert len(rtu.read("input", 30000, 39, 1)) == 39


def test_holding_registers_are_read_with_function_3(tcp, tcp_plant):
    tcp.read("holding", 40029, 3, 247)
    assert tcp_plant.log[-1].function == 3


def test_the_function_code_can_be_overridden(engine, tcp_plant):
    wire = TcpWire("127.0.0.1", tcp_plant.port, TIMEOUT_S, Clock().monotonic)
    link = make_link(wire, engine, 3, TIMEOUT_S, pymodbus_link)
    assert link.read("input", 30005, 2, 247) == S3_GRID
    assert tcp_plant.log[-1].function == 3
    link.close()


def test_exceptions_carry_their_code_and_the_address(tcp):
    with pytest.raises(DeviceException) as caught:
        tcp.read("input", 30900, 2, 247)
    assert caught.value.code == 2
    assert "30900+2" in str(caught.value) and "247" in str(caught.value)


def test_one_connection_serves_many_reads(tcp, tcp_plant):
    for _ in range(50):
        tcp.read("input", 30000, 39, 247)
    assert tcp_plant.counters.connections == 1 and tcp_plant.counters.max_in_flight == 1


WRONG = ["reset", "close", "silent", "truncate", "garbage", "wrong_transaction", "wrong_unit", "wrong_function",
         "short", "bad_byte_count", "wrong_protocol"]


@pytest.mark.parametrize("fault", WRONG)
def test_a_wrong_reply_is_an_error_and_the_next_read_is_right(tcp, tcp_plant, fault):
    tcp.read("input", 30005, 2, 247)
    tcp_plant.fault(fault, count=1 if fault not in ("reset", "close") else 2)
    with pytest.raises(LinkError) as caught:
        tcp.read("input", 30014, 1, 247)
    assert "\n" not in str(caught.value) and "127.0.0.1" in str(caught.value)
    assert tcp.read("input", 30005, 2, 247) == S3_GRID


@pytest.mark.parametrize("fault", ["crc", "silent", "truncate", "garbage", "wrong_unit", "wrong_function", "short",
                                   "bad_byte_count"])
def test_a_wrong_reply_on_the_line_is_an_error_and_the_next_read_is_right(rtu, rtu_plant, fault):
    rtu.read("input", 30005, 2, 1)
    rtu_plant.fault(fault, count=1)
    with pytest.raises(LinkError):
        rtu.read("input", 30014, 1, 1)
    assert rtu.read("input", 30005, 2, 1) == S3_GRID


@pytest.mark.parametrize("fault", ["dribble", "duplicate", "delay"])
def test_slow_or_doubled_answers_are_good_answers(tcp, tcp_plant, fault):
    tcp_plant.fault(fault, **{"delay": {"s": 0.05}, "dribble": {"s": 0.001}}.get(fault, {}))
    for _ in range(3):
        assert tcp.read("input", 30005, 2, 247) == S3_GRID
    assert tcp_plant.counters.connections == 1


def test_the_previous_answers_body_is_not_taken_for_this_one(tcp, tcp_plant):
    tcp.read("input", 30005, 2, 247)
    tcp_plant.fault("stale_reply", count=1)
    with pytest.raises(LinkError):
        tcp.read("input", 30014, 1, 247)


def test_a_late_answer_is_never_taken_for_the_next_one(tcp, tcp_plant):
    tcp_plant.fault("late_reply", s=TIMEOUT_S * 1.5, count=1)
    with pytest.raises(LinkTimeout):
        tcp.read("input", 30014, 1, 247)
    assert tcp.read("input", 30005, 2, 247) == S3_GRID
    assert tcp_plant.counters.connections == 2


def test_a_connection_closed_while_idle_is_reopened_within_the_same_read(tcp, tcp_plant):
    tcp.read("input", 30005, 2, 247)
    tcp_plant.fault("idle_close", after_s=0.05)
    Clock().wait(0.2)
    assert tcp.read("input", 30005, 2, 247) == S3_GRID
    assert tcp_plant.counters.connections == 2


def test_a_thousand_errors_leave_one_connection(tcp, tcp_plant):
    tcp_plant.fault("wrong_function")
    for _ in range(1000):
        with pytest.raises(LinkError):
            tcp.read("input", 30005, 2, 247)
    tcp_plant.clear()
    assert tcp.read("input", 30005, 2, 247) == S3_GRID
    clock = Clock()
    deadline = clock.monotonic() + 2
    while tcp_plant.counters.open_connections > 1 and clock.monotonic() < deadline:
        clock.wait(0.01)  # the plant hears of a reset a moment later
    assert tcp_plant.counters.open_connections == 1


@pytest.mark.timing
def test_a_foreign_master_on_the_line_is_skipped(rtu, rtu_plant):
    rtu_plant.fault("foreign_master", period_s=0.05)
    good = 0
    for _ in range(20):
        try:
            assert rtu.read("input", 30005, 2, 1) == S3_GRID
            good += 1
        except LinkError:
            pass
    assert good >= 8  # a busy machine lets frames collide; the next test counts in a time of its own


class TalkingLine:
    """A serial port in a time of its own: another master talks on it every 50 ms, in three frames 2 ms apart.

    The plant answers after 4 ms, and only what was asked while nobody else talked.
    """

    PERIOD_S, FRAME_S, GAP_S = 0.05, 0.002, 0.002

    def __init__(self, now: float, keeps: Path) -> None:
        self.now, self._reply_at = now, None
        self._unread = b""
        self._file = keeps.open("wb")

    def fileno(self) -> int:
        return self._file.fileno()

    def close(self) -> None:
        self._file.close()

    def monotonic(self) -> float:
        return self.now

    def talk(self, since: float):
        """Yield when each frame of the other master's begins, from the period ``since`` is in."""
        period = int(since / self.PERIOD_S)
        while True:
            for index in range(3):
                yield period * self.PERIOD_S + index * (self.FRAME_S + self.GAP_S)
            period += 1

    def write(self, request: bytes) -> None:
        ends = self.now + len(request) * 10 / 38400
        begun = next(at for at in self.talk(self.now) if at + self.FRAME_S > self.now)
        self._reply_at = ends + 0.004 if begun >= ends else None

    def select(self, _read, _write, _other, left_s: float):
        until = self.now + left_s
        heard = next(at for at in (frame + self.FRAME_S for frame in self.talk(self.now)) if at > self.now)
        if self._reply_at is not None and self._reply_at <= min(until, heard):
            self.now, self._reply_at = self._reply_at, None
            self._unread += GRID_REPLY
        elif heard <= until:
            self.now = heard
            self._unread += bytes((0, 6, 0x9C, 0x5F, 0, 2, 0x16, 0x4C))
        else:
            self.now = until
        return ([self] if self._unread else [], [], [])

    def rest(self, until: float) -> None:
        while self.now < until:
            self.select([], [], [], until - self.now)

    def read(self, _count: int) -> bytes:
        data, self._unread = self._unread, b""
        return data


@pytest.mark.parametrize("every_s, least", [(0, 11), (1, 17)])
@pytest.mark.parametrize("timeout_s", [0.048 - 8 / 3840, 0.1 - 8 / 3840, 0.15 - 8 / 3840, 0.25])
@pytest.mark.parametrize("phase_s", [index / 1000 for index in range(0, 50, 2)])
def test_a_foreign_masters_period_is_never_met_at_the_same_place_for_ever(
        monkeypatch, tmp_path, every_s, least, timeout_s, phase_s):
    line = TalkingLine(10 + phase_s, tmp_path / "port")
    monkeypatch.setattr("bridge.link.modbus_rtu.open_port", lambda *_: line)
    monkeypatch.setattr("bridge.link.modbus_rtu.select.select", line.select)
    link = BuiltinLink(RtuWire("ttyFAKE", 38400, timeout_s, line.monotonic, lambda _s: False))
    good = 0
    for index in range(1, 21):
        with suppress(LinkTimeout):
            assert link.read("input", 30005, 2, 1) == S3_GRID
            good += 1
        line.rest(10 + phase_s + index * every_s)
    link.close()
    assert good >= least


def test_the_adapters_own_echo_is_skipped(rtu, rtu_plant):
    rtu_plant.fault("echo")
    for _ in range(3):
        assert rtu.read("input", 30005, 2, 1) == S3_GRID


@pytest.mark.timing
def test_noise_never_becomes_a_value(rtu, rtu_plant):
    rtu_plant.fault("noise", p=0.02)
    for _ in range(30):
        try:
            assert rtu.read("input", 30005, 2, 1) == S3_GRID
        except (LinkError, DeviceException):
            pass


@pytest.mark.timing
def test_the_line_is_silent_between_frames(rtu, rtu_plant):
    for _ in range(20):
        rtu.read("input", 30014, 1, 1)
    assert rtu_plant.counters.silence_violated == 0


@pytest.mark.timing
def test_two_programs_share_one_port(rtu_plant):
    clock, problems = Clock(), []

    def poll():
        link = BuiltinLink(RtuWire(rtu_plant.tty, 38400, 0.5, clock.monotonic, clock.wait))
        for _ in range(20):
            words = link.read("input", 30005, 2, 1)
            if words != S3_GRID:
                problems.append(words)
        link.close()

    threads = [threading.Thread(target=poll) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert not problems and not any(thread.is_alive() for thread in threads)


def test_an_unplugged_adapter_is_an_error_and_comes_back(rtu, rtu_plant):
    rtu.read("input", 30005, 2, 1)
    tty = rtu_plant.tty
    rtu_plant.fault("unplug")
    with pytest.raises(LinkError):
        rtu.read("input", 30005, 2, 1)
    rtu_plant.clear()
    rtu.wire.peer = rtu_plant.tty or tty
    assert rtu.read("input", 30005, 2, 1) == S3_GRID


def test_a_missing_device_and_a_forbidden_one_say_what_to_do(tmp_path):
    clock = Clock()
    link = BuiltinLink(RtuWire("/dev/ttyNOTHERE", 38400, 0.1, clock.monotonic, clock.wait))
    with pytest.raises(LinkError, match="no such serial device"):
        link.read("input", 30005, 2, 1)
    ordinary = tmp_path / "file"
    ordinary.write_text("x")
    link = BuiltinLink(RtuWire(str(ordinary), 38400, 0.1, clock.monotonic, clock.wait))
    with pytest.raises(LinkError, match="serial"):
        link.read("input", 30005, 2, 1)


def test_a_closed_port_is_refused_in_words(engine):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    link = make_link(TcpWire("127.0.0.1", port, 0.2, Clock().monotonic), engine, None, 0.2, pymodbus_link)
    with pytest.raises(LinkError, match="refused; check that Modbus TCP is switched on"):
        link.read("input", 30005, 2, 247)


def test_a_silent_port_names_the_allow_list(tcp, tcp_plant):
    tcp_plant.fault("silent")
    with pytest.raises(LinkTimeout, match="allow-list"):
        tcp.read("input", 30005, 2, 247)


def test_an_unknown_name_and_an_unknown_engine():
    with pytest.raises(LinkError, match="no address|cannot connect"):
        BuiltinLink(TcpWire("no.such.host.invalid", 502, 0.2, Clock().monotonic)).read("input", 30005, 2, 247)
    with pytest.raises(ConfigError, match="auto, builtin, pymodbus"):
        make_link(TcpWire("127.0.0.1", 1, 0.2, Clock().monotonic), "fast", None, 0.2, pymodbus_link)


def replay_wire(response):
    """Return a wire whose peer answers any request with fixed bytes, transaction id filled in."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve():
        connection, _ = server.accept()
        with connection:
            while True:
                request = connection.recv(260)
                if not request:
                    return
                connection.sendall(request[:2] + response[2:])

    threading.Thread(target=serve, daemon=True).start()
    return TcpWire("127.0.0.1", server.getsockname()[1], TIMEOUT_S, Clock().monotonic), server


@pytest.mark.parametrize("index", [0, 1, 2])
def test_frames_of_real_plants(index, engine):
    frame = json.loads((FIXTURES / "real-frames.json").read_text())["frames"][index]
    truncated = frame.get("truncated")
    wire, server = replay_wire(bytes.fromhex(frame.get("response_hex") or frame["response_prefix_hex"]))
    link = make_link(wire, engine, None, TIMEOUT_S, pymodbus_link)
    try:
        request = bytes.fromhex(frame["request_hex"] or "000000000006010475300001")
        address, count = int.from_bytes(request[8:10], "big"), int.from_bytes(request[10:12], "big")
        if truncated:
            with pytest.raises(LinkTimeout, match="half an answer"):
                link.read("input", address, count, frame["unit"])
        else:
            assert link.read("input", address, count, frame["unit"]) == ([0, 1] if count == 2 else [0])
    finally:
        link.close()
        server.close()


def test_request_frames_are_the_documents():
    wire = TcpWire("127.0.0.1", 502, 1, Clock().monotonic)
    assert wire.frame(247, bytes.fromhex("0475330024")).hex() == "000100000006f70475330024"
    rtu_wire = RtuWire("x", 38400, 1, Clock().monotonic, Clock().wait)
    assert rtu_wire.frame(1, bytes.fromhex("0475350002")).hex().startswith("010475350002")


def test_crc_of_the_standards_example():
    assert crc16(bytes.fromhex("0207")) == 0x1241


def test_reply_lengths_by_function():
    assert frame_length(bytes.fromhex("0104"), 0) is None
    assert frame_length(bytes.fromhex("010404"), 0) == 9
    assert frame_length(bytes.fromhex("018402"), 0) == 5
    assert frame_length(bytes.fromhex("010602"), 0) == 8


def test_the_vendors_plant_unit_is_247():
    assert (sigenergy.UNIT_TCP, sigenergy.UNIT_RTU) == (247, 1)


def test_a_write_is_function_6_for_one_word_and_one_function_16_for_two(tcp, tcp_plant):
    tcp.write(40031, [2], 247)
    tcp.write(40032, [0, 3000], 247)
    assert tcp.read("holding", 40031, 3, 247) == [2, 0, 3000]
    written = [(one.function, one.address, one.count, one.outcome) for one in tcp_plant.log if one.function in (6, 16)]
    assert written == [(6, 40031, 1, "ok"), (16, 40032, 2, "ok")]


def test_a_write_on_the_line_arrives_as_well(rtu, rtu_plant):
    rtu.write(40031, [2], 1)
    rtu.write(40032, [0, 3000], 1)
    assert rtu.read("holding", 40031, 3, 1) == [2, 0, 3000]


def test_a_write_through_an_adapter_that_hears_itself_is_confirmed_by_the_plant_alone(rtu, rtu_plant):
    rtu_plant.fault("echo")
    rtu.read("holding", 40031, 1, 1)
    rtu.write(40031, [2], 1)
    rtu.write(40032, [0, 3000], 1)
    assert rtu.read("holding", 40031, 3, 1) == [2, 0, 3000]
    rtu_plant.fault("silent", count=1)
    with pytest.raises(LinkTimeout):
        rtu.write(40031, [4], 1)


def test_a_refused_write_says_so_and_that_it_may_be_the_state(tcp):
    with pytest.raises(DeviceException, match="not in this state") as caught:
        tcp.write(40032, [0x7000, 0], 247)
    assert caught.value.code in (2, 3)


@pytest.mark.parametrize("unit, words", [(0, [1]), (248, [1]), (247, []), (247, [0] * 124)])
def test_broadcasts_and_absurd_writes_are_refused_before_a_frame_exists(tcp, tcp_plant, unit, words):
    with pytest.raises(ConfigError):
        tcp.write(40031, words, unit)
    assert not tcp_plant.counters.requests


def test_write_frames_are_the_documents():
    assert write_pdu(40031, [2], 247) == bytes.fromhex("069C5F0002")
    assert write_pdu(40032, [0, 3000], 247) == bytes.fromhex("109C6000020400000BB8")


def test_a_reply_that_confirms_another_write_is_an_error():
    request = write_pdu(40031, [2], 247)
    with pytest.raises(LinkError, match="confirms another"):
        check_written(request, bytes.fromhex("069C5F0004"), "x", 247, 40031, 1)
