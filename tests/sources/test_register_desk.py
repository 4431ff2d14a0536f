"""The desk asks the plant as little as it can and never says more than the plant did."""

from __future__ import annotations

import threading

import pytest

from bridge.clock import Clock, ManualClock
from bridge.errands import Errands
from bridge.errors import DeviceException
from bridge.link.modbus import BuiltinLink
from bridge.link.modbus_tcp import TcpWire
from bridge.registers import sigenergy, vendor_from
from bridge.sim.plant import PlantSim
from bridge.sources.register_budget import BURST, Allowance
from bridge.sources.register_desk import PATIENCE_S, RegisterDesk
from bridge.sources.register_facts import CHANGING, CONSTANT, RegisterFacts

VENDOR = vendor_from(sigenergy)
FACTS = RegisterFacts(VENDOR, 0)
ALIVE_S = 7.0
GRID = b"\0\0\x21\x5c"


class Bench:
    """A desk, a simulated plant, and a thread that does the errands as the loop would; the time is the test's."""

    def __init__(self, plant, line_unit=247, rate=1.0, timeout_s=0.3):
        self.plant, self.clock = plant, ManualClock()
        self.link = BuiltinLink(TcpWire("127.0.0.1", plant.port, timeout_s, Clock().monotonic))
        self.errands = Errands(self.clock)
        self.line_unit = line_unit
        allowance = Allowance(rate, self.clock.monotonic())
        self.desk = RegisterDesk(FACTS, self.errands, self.clock, allowance, 247, ALIVE_S, self.clock.monotonic())
        self.where = (self.link, line_unit)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self):
        while not self._stop.is_set():
            if self.errands.came.wait(0.02):
                self.errands.serve(self.where, self.clock.monotonic() + 1, 0.0)

    def poll(self):
        """Do what the source does every second."""
        data = self.link.read_bytes("input", 30000, 39, self.line_unit)
        self.desk.take(self.line_unit, "input", 30000, data, self.clock.monotonic())

    def asked(self):
        """Return (unit, address, count) of what the plant was asked since the last call."""
        found = [(request.unit, request.address, request.count) for request in self.plant.log]
        self.plant.log.clear()
        return found

    def code(self, *question):
        """Return the exception code that a question is answered with."""
        with pytest.raises(DeviceException) as caught:
            self.desk.read(*question)
        return caught.value.code

    def close(self):
        self._stop.set()
        self.errands.close()
        self._thread.join(5)
        self.link.close()


@pytest.fixture
def make():
    benches = []

    def bench(plant, **options):
        benches.append(Bench(plant, **options))
        return benches[-1]

    yield bench
    for each in benches:
        each.close()


@pytest.fixture
def plant():
    with PlantSim(Clock(), scenario="s3") as simulator:
        yield simulator


@pytest.fixture
def bench(make, plant):
    made = make(plant)
    made.poll()
    made.asked()
    return made


def test_what_the_poll_has_read_costs_the_plant_nothing(bench):
    for space in ("input", "holding"):  # evcc and openWB read 3xxxx with function 3
        assert bench.desk.read(247, space, 30005, 2).data == GRID
    assert bench.desk.read(247, "input", 30000, 39).mono == bench.clock.monotonic()
    assert bench.asked() == [] and bench.desk.health()["answered"] == 3


def test_what_it_has_not_is_asked_for_once_a_page_and_then_remembered(bench):
    first = bench.desk.read(247, "input", 30088, 4)
    asked = bench.asked()
    assert len(asked) == 1 and asked[0][0] == 247 and asked[0][2] <= 124
    for address, count in ((30088, 4), (30092, 4), (30096, 4), (30120, 2)):
        assert bench.desk.read(247, "input", address, count).mono == first.mono
    assert bench.asked() == []
    bench.clock.advance(CHANGING.fresh_s + 0.1)
    bench.poll()
    bench.asked()
    assert bench.desk.read(247, "input", 30088, 4).mono > first.mono
    assert len(bench.asked()) == 1


def test_constants_are_asked_for_once_in_ten_minutes(bench):
    assert bench.desk.read(1, "input", 30500, 15).data.startswith(b"SigenStor")
    bench.asked()
    for _ in range(59):
        bench.clock.advance(10)
        bench.poll()
        bench.desk.read(1, "input", 30500, 15)
    assert {unit for unit, _, _ in bench.asked()} == {247}
    bench.clock.advance(CONSTANT.fresh_s)
    bench.poll()
    bench.asked()
    bench.desk.read(1, "input", 30500, 15)
    assert len(bench.asked()) == 1


def test_many_who_ask_for_one_page_at_once_cost_one_request(bench):
    bench.plant.fault("delay", s=0.2)
    found, start = [], threading.Barrier(10)

    def ask(number):
        start.wait()
        found.append(bench.desk.read(247, "input", 30088 + 4 * (number % 3), 4))

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(5)
    assert len(found) == 10 and len({piece.mono for piece in found}) == 1
    assert len(bench.asked()) == 1 and bench.plant.counters.max_in_flight == 1


def test_a_range_across_two_pages_is_one_request_of_one_moment(bench):
    pages = FACTS.pages()
    fetch = pages.fetch("input", 30200, 1, ())
    edge = fetch.address
    piece = bench.desk.read(247, "input", edge - 10, 20)
    assert bench.asked() == [(247, edge - 10, 20)] and len(piece.data) == 40


@pytest.mark.parametrize("level, address, count", [("2.8", 30284, 2), ("2.7", 30270, 2), ("2.6", 30192, 2), ("1.8", 30070, 2)])
def test_old_firmware_says_what_it_has_and_what_it_has_not(make, level, address, count):
    with PlantSim(Clock(), level=level, scenario="s3") as old:
        bench = make(old)
        bench.poll()
        bench.asked()
        assert len(bench.desk.read(247, "input", address, count).data) == 2 * count
        assert bench.code(247, "input", address + count, 1) == 2
        asked = len(bench.asked())
        assert asked <= 5
        for _ in range(20):
            assert bench.code(247, "input", address + count, 1) == 2
            bench.desk.read(247, "input", address, count)
        assert bench.asked() == []


def test_a_page_of_old_firmware_becomes_smaller_ones_that_answer(make):
    with PlantSim(Clock(), level="2.8", scenario="s3") as old:
        bench = make(old)
        bench.poll()
        rows = [row for row in VENDOR.rows if row.scope == "plant" and 30194 <= row.address <= 30284]
        for _ in range(12):
            bench.clock.advance(10)
            bench.poll()
            bench.asked()
            for row in rows:
                bench.desk.read(247, "input", row.address, row.count)
            settled = bench.asked()
        assert len(settled) <= 6 < len(rows) / 4 and max(count for _, _, count in settled) > 40


def test_exceptions_of_the_plant_are_passed_on_and_not_asked_for_again_at_once(bench):
    assert bench.code(247, "input", 30900, 2) == 2
    assert len(bench.asked()) == 1
    assert bench.code(247, "input", 30900, 2) == 2
    assert bench.asked() == []
    bench.clock.advance(301)
    bench.poll()
    bench.asked()
    assert bench.code(247, "input", 30900, 2) == 2
    assert len(bench.asked()) == 1
    bench.plant.fault("exception", code=4)
    assert bench.code(247, "input", 30100, 2) == 4
    bench.plant.clear()
    bench.asked()
    assert bench.code(247, "input", 30104, 2) == 4 and bench.asked() == []
    bench.clock.advance(2.1)
    assert len(bench.desk.read(247, "input", 30100, 2).data) == 4


def test_a_passing_failure_is_over_after_two_seconds(bench):
    bench.plant.fault("busy", count=1)
    assert bench.code(247, "input", 30100, 2) == 6
    bench.clock.advance(2.1)
    assert len(bench.desk.read(247, "input", 30100, 2).data) == 4


def test_beyond_the_allowance_older_words_and_then_busy(make, plant):
    bench = make(plant, rate=0.01)
    bench.poll()
    bench.desk.read(247, "input", 30088, 4)
    for number in range(int(BURST) - 1):
        bench.code(247, "input", 20000 + number, 1)
    bench.clock.advance(CHANGING.fresh_s + 0.5)
    bench.poll()
    bench.asked()
    assert bench.clock.monotonic() - bench.desk.read(247, "input", 30088, 4).mono > CHANGING.fresh_s
    assert bench.code(247, "input", 20100, 1) == 6
    bench.clock.advance(CHANGING.bound_s - CHANGING.fresh_s)
    bench.poll()
    assert bench.code(247, "input", 30088, 4) == 6
    assert bench.asked() == [(247, 30000, 39)] and bench.desk.health()["no_turn"] >= 2


def test_a_client_waits_a_moment_for_its_turn(make, plant):
    bench = make(plant)
    bench.poll()
    before = bench.clock.monotonic()
    for number in range(int(BURST) + 3):
        assert bench.code(247, "input", 20000 + number, 1) == 2
        bench.desk._heard = bench.clock.monotonic()
    assert bench.clock.monotonic() - before == pytest.approx(3.0)


def test_a_plant_that_is_gone_is_exception_11_and_is_not_asked(bench):
    bench.desk.read(1, "input", 30500, 15)
    bench.asked()
    bench.clock.advance(ALIVE_S - 0.1)
    assert bench.desk.read(1, "input", 30500, 15)
    bench.clock.advance(0.2)
    for question in ((247, "input", 30005, 2), (1, "input", 30500, 15), (247, "input", 30100, 2)):
        assert bench.code(*question) == 11
    assert bench.asked() == []
    bench.poll()
    assert bench.desk.read(247, "input", 30005, 2).data == GRID


def test_before_the_plant_has_spoken_there_is_nothing_to_say(plant, clock):
    desk = RegisterDesk(FACTS, Errands(clock), clock, Allowance(1.0, 0.0), 247, ALIVE_S)
    with pytest.raises(DeviceException) as caught:
        desk.read(247, "input", 30005, 2)
    assert caught.value.code == 11


def test_a_lost_answer_is_exception_11_or_slightly_older_words(bench):
    bench.desk.read(247, "input", 30088, 4)
    bench.clock.advance(6)
    bench.plant.fault("silent")
    assert len(bench.desk.read(247, "input", 30088, 4).data) == 8
    assert bench.code(247, "input", 40029, 1) == 11


def test_a_question_that_took_too_long_is_busy_and_not_asked_on(make, plant):
    bench = make(plant)
    bench.poll()
    bench.asked()
    take = bench.errands.ask

    def slow(act, timeout_s):
        try:
            return take(act, timeout_s)
        finally:
            bench.clock.advance(PATIENCE_S + 0.1)

    bench.errands.ask = slow
    bench.plant.fault("exception_on", address=30090, code=2)  # the page is refused, the exact range would not be
    assert bench.code(247, "input", 30100, 2) == 6
    assert len(bench.asked()) == 1
    bench.errands.ask = take
    assert len(bench.desk.read(247, "input", 30100, 2).data) == 4


def test_a_silent_unit_is_asked_once_and_other_strangers_wait(bench):
    bench.desk.read(1, "input", 30500, 15)
    bench.asked()
    assert bench.code(5, "input", 30500, 15) == 11
    assert [unit for unit, _, _ in bench.asked()] == [5]
    for unit in (5, 6, 7, 8):
        assert bench.code(unit, "input", 30500, 15) == 11
    assert bench.asked() == []
    bench.clock.advance(1)
    bench.poll()
    assert bench.desk.read(1, "input", 30587, 2)


def test_units_that_are_nobodys_are_never_asked(bench):
    for unit in (0, 248, 255):
        assert bench.code(unit, "input", 30005, 2) == 10
    assert bench.asked() == []


def test_no_link_is_exception_11(bench):
    bench.where = None
    assert bench.code(247, "input", 40029, 1) == 11


def test_the_plant_is_247_for_clients_whatever_it_is_on_our_line(make):
    with PlantSim(Clock(), unit=3, scenario="s3") as other:
        bench = make(other, line_unit=3)
        bench.poll()
        for unit in (247, 3):
            assert bench.desk.read(unit, "input", 30005, 2).data == GRID
        bench.asked()
        bench.desk.read(247, "holding", 40029, 1)
        assert [unit for unit, _, _ in bench.asked()] == [3]


def test_a_value_of_two_words_is_never_of_two_moments(make):
    with PlantSim(Clock()) as moving:
        bench = make(moving)
        moving.set(30005, 0)
        bench.poll()
        for step in range(30):
            moving.set(30005, (step << 16 | step) if step % 2 else -(step << 16 | step) - 1)
            bench.clock.advance(0.7)
            if step % 3:
                bench.poll()
            low = bench.desk.read(247, "input", 30005, 2).data
            assert low[:2] == low[2:], low
