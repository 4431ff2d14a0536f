"""The plant behind its line: one lock, the image of the second, the faults, the log, the truth.

Never owns a socket: TCP and RS485 hand in frames and play the reactions.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import Callable, Deque, Dict, Mapping, NamedTuple, Optional, Tuple, Union

from bridge.clock import Clock
from bridge.registers import Vendor
from bridge.sim.modbus_frames import BROADCAST, Ask, Frame, ask_of
from bridge.sim.plant_device import HOLDING_FROM, Device, Served, refused
from bridge.sim.plant_faults import FaultBoard, Params, lay_over, overlay
from bridge.sim.plant_image import PlantImage, ReplayImage, five_of
from bridge.sim.plant_replies import NOTHING, Reaction, react
from bridge.sim.plant_scenarios import AnyHome

LOG_LENGTH = 20_000
TRUTH_LENGTH = 100_000  # a day and a bit at one image a second
COUNTERS_EVERY_S = 10  # an energy counter's step takes longer than this at 3.6 kW
GAP_TOLERANCE_S = 0.005  # a client that waits exactly long enough must not be punished for jitter
GATEWAY_TARGET_SILENT, BUSY = 11, 6


class Request(NamedTuple):
    """One request as the plant saw it; ``outcome`` is ok, exception N, or why nothing was said."""

    at_mono: float
    connection: int
    unit: int
    function: int
    address: Optional[int]
    count: Optional[int]  # type: ignore[assignment]  # hides tuple.count, which nobody needs
    outcome: str


class Truth(NamedTuple):
    """The five values from the moment they were first served; value faults are not in them."""

    at_mono: float
    five: Dict[str, Optional[float]]


class Counters:
    """What happened since the start."""

    def __init__(self) -> None:
        self.requests = 0
        self.writes = 0
        self.connections = 0
        self.open_connections = 0
        self.in_flight = 0
        self.max_in_flight = 0
        self.gaps_violated = 0
        self.silence_violated = 0  # RS485: less than t3.5 between our answer and the next request
        self.line_errors = 0  # RS485: what stood between two silences was no frame


class Rules(NamedTuple):
    """How strict the plant is; ``unknown_unit`` is silent or exception11."""

    unit: int
    min_gap_ms: float
    delay_s: float
    strict_function: bool
    unknown_unit: str


class Station:
    """Serves frames. Every public method may be called from any thread."""

    def __init__(
        self, clock: Clock, vendor: Vendor, image: Union[PlantImage, ReplayImage],
        home: Optional[AnyHome], board: FaultBoard, rules: Rules,
    ) -> None:
        self.lock = threading.RLock()
        self.log: Deque[Request] = deque(maxlen=LOG_LENGTH)
        self.truth: Deque[Truth] = deque(maxlen=TRUTH_LENGTH)
        self.counters = Counters()
        self.image = image
        self.board = board
        self._clock, self._vendor, self._home, self._rules = clock, vendor, home, rules
        self._device = Device(image, rules.strict_function)
        self._began = (clock.now(), clock.monotonic())
        self._second: Optional[int] = None
        self._counted: Optional[int] = None
        self._last_accepted: Optional[float] = None
        self._truth_due = True

    def plant_time(self) -> float:
        """Return the plant's own clock, unix seconds: it runs on when the machine's is stepped."""
        return self._began[0] + self._clock.monotonic() - self._began[1]

    def arrived(self, connection: int, frame: Frame) -> bool:
        """Note a request the moment it is complete; False when a strict plant ignores it."""
        with self.lock:
            now = self._clock.monotonic()
            if frame.unit in self.image.reach:
                why = self._too_early(now)
                if why is not None:
                    self._note(now, connection, frame, ask_of(frame.pdu), why)
                    return False
                self._last_accepted = now
            self.counters.in_flight += 1
            self.counters.max_in_flight = max(self.counters.max_in_flight, self.counters.in_flight)
            return True

    def finished(self) -> None:
        """Note that a request which had arrived is dealt with."""
        with self.lock:
            self.counters.in_flight -= 1

    def handle(
        self, connection: int, frame: Frame, previous: bytes, encode: Callable[[Frame], bytes]
    ) -> Tuple[Reaction, bytes]:
        """Serve one request; return what the line does, and the PDU a healthy plant had answered."""
        with self.lock:
            now, ask = self._clock.monotonic(), ask_of(frame.pdu)
            if frame.protocol:
                self._note(now, connection, frame, ask, "ignored: protocol id")
                return NOTHING, b""
            if frame.unit != BROADCAST and frame.unit not in self.image.reach:
                return self._stranger(now, connection, frame, ask, encode), b""
            met = self.board.spend(now)
            if "silent" in met:
                self._note(now, connection, frame, ask, "silent")
                return NOTHING, b""
            served = self._serve(frame, ask, met, now)
            self.counters.writes += served.wrote
            self._note(now, connection, frame, ask, " + ".join((served.outcome, *met)))
            if frame.unit == BROADCAST:
                return NOTHING, b""
            reaction = react(frame._replace(pdu=served.pdu), previous, met, encode, self.board)
            return _later(reaction, self._rules.delay_s), served.pdu

    def refresh(self) -> None:
        """Let the registers follow the plant's clock; once a second at most."""
        with self.lock:
            self._tick(self._clock.monotonic())

    def put(self, address: int, words: bytes) -> None:
        """Put words into registers: input registers keep them, holding registers until written."""
        with self.lock:
            self._tick(self._clock.monotonic())
            if address < HOLDING_FROM:
                self.image.pin(address, words)
            else:
                self.image.write(address, words)
            self._second = None
            self._truth_due = True

    def _stranger(
        self, now: float, connection: int, frame: Frame, ask: Ask, encode: Callable[[Frame], bytes]
    ) -> Reaction:
        if self._rules.unknown_unit == "silent":
            self._note(now, connection, frame, ask, "ignored: not our unit")
            return NOTHING
        served = refused(frame.pdu[0], GATEWAY_TARGET_SILENT)
        self._note(now, connection, frame, ask, served.outcome)
        return Reaction(((0.0, encode(frame._replace(pdu=served.pdu))),))

    def _serve(self, frame: Frame, ask: Ask, met: Mapping[str, Params], now: float) -> Served:
        code = _refusal(ask, met)
        if code is not None:
            return refused(ask.function, code)
        self._tick(now)
        unit = self._rules.unit if frame.unit == BROADCAST else frame.unit
        served = self._device.answer(unit, frame.pdu)
        if served.wrote:
            self._second = None  # 30003, 30085 and 30086 follow what was written
            return served
        if served.outcome != "ok" or ask.address is None:
            return served
        if self._truth_due:
            self.truth.append(Truth(now, five_of(self.image, self._rules.unit)))
            self._truth_due = False
        words = overlay(met, self.image, self._vendor) if met else []
        if not words:
            return served
        return served._replace(pdu=served.pdu[:2] + lay_over(served.pdu[2:], ask.address, words))

    def _tick(self, now: float) -> None:
        second = int(self._began[0] + now - self._began[1])
        if second == self._second or (self._second is not None and self.board.get("frozen", now) is not None):
            return
        self._second, self._truth_due = second, True
        if isinstance(self.image, ReplayImage):
            self.image.move_on(second - int(self._began[0]))
        elif self._home is not None:
            self.image.show(self._home.at(second))
            self.image.clock(second)
            if self._counted is None or abs(second - self._counted) >= COUNTERS_EVERY_S:
                self._counted = second
                self.image.count(*self._home.energy(second))
        self.image.again()

    def _too_early(self, now: float) -> Optional[str]:
        if self.counters.in_flight and self.board.get("one_in_flight", now) is not None:
            return "ignored: another request in flight"
        fault = self.board.get("min_gap", now)
        gap_s = (fault["ms"] if fault is not None else self._rules.min_gap_ms) / 1000
        if not gap_s or self._last_accepted is None or now - self._last_accepted >= gap_s - GAP_TOLERANCE_S:
            return None
        self.counters.gaps_violated += 1
        return "ignored: too early"

    def _note(self, now: float, connection: int, frame: Frame, ask: Ask, outcome: str) -> None:
        self.counters.requests += 1
        self.log.append(Request(now, connection, frame.unit, ask.function, ask.address, ask.words, outcome))


def _refusal(ask: Ask, met: Mapping[str, Params]) -> Optional[int]:
    """Return the exception code that a fault answers with, if one does."""
    if "busy" in met:
        return BUSY
    if "exception" in met:
        return int(met["exception"]["code"])
    there = met.get("exception_on")
    if there is None or ask.address is None or ask.words is None:
        return None
    return int(there["code"]) if ask.address <= there["address"] < ask.address + ask.words else None


def _later(reaction: Reaction, delay_s: float) -> Reaction:
    if not delay_s or not reaction.chunks:
        return reaction
    (wait_s, first), rest = reaction.chunks[0], reaction.chunks[1:]
    return reaction._replace(chunks=((wait_s + delay_s, first), *rest))
