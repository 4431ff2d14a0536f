"""The plant behind its line: one lock, the image of the second, the faults, the log, the truth.

Never owns a socket: TCP and RS485 hand in frames and play the reactions.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import Callable, Deque, Mapping, Optional, Tuple

from bridge.clock import Clock
from bridge.registers import Vendor
from bridge.sim.modbus_frames import BROADCAST, ILLEGAL_ADDRESS, WRITE_MANY, WRITE_ONE, Ask, Frame, ask_of
from bridge.sim.plant_control import CAPS
from bridge.sim.plant_device import HOLDING_FROM, Device, Served, refused
from bridge.sim.plant_faults import FaultBoard, Params, touches
from bridge.sim.plant_image import AnyImage, five_of
from bridge.sim.plant_overlays import lay_over, overlay
from bridge.sim.plant_records import Counters, Request, Rules, Truth, Write, write_of
from bridge.sim.plant_replies import NOTHING, Reaction, react
from bridge.sim.plant_world import AnyWorld

LOG_LENGTH = 20_000
TRUTH_LENGTH = 100_000  # a day and a bit at one image a second
GAP_TOLERANCE_S = 0.005  # a client that waits exactly long enough must not be punished for jitter
GATEWAY_TARGET_SILENT, BUSY = 11, 6


class Station:
    """Serves frames. Every public method may be called from any thread."""

    def __init__(
        self, clock: Clock, vendor: Vendor, image: AnyImage, world: AnyWorld, board: FaultBoard, rules: Rules,
    ) -> None:
        self.lock = threading.RLock()
        self.log: Deque[Request] = deque(maxlen=LOG_LENGTH)
        self.writes: Deque[Write] = deque(maxlen=LOG_LENGTH)
        self.truth: Deque[Truth] = deque(maxlen=TRUTH_LENGTH)
        self.counters = Counters()
        self.image = image
        self.board = board
        self._clock, self._vendor, self._world, self._rules = clock, vendor, world, rules
        self._device = Device(image, rules.strict_function, world.objection)
        self._second: Optional[int] = None
        self._last_accepted: Optional[float] = None
        self._truth_due = True

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
            met = self.board.spend(now, ask)
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

    def renew(self) -> None:
        """Have the plant act afresh, within the same second."""
        with self.lock:
            self._second = None
            self.refresh()

    def restart(self, down_s: float) -> None:
        """Start the plant again; its holding registers stay."""
        with self.lock:
            self.refresh()
            self._world.restart(self._clock.monotonic(), down_s)
            self.renew()

    def put(self, address: int, words: bytes) -> None:
        """Put words into registers: input registers keep them, holding registers until written."""
        with self.lock:
            self._tick(self._clock.monotonic())
            if address < HOLDING_FROM:
                self.image.pin(address, words)
                self._world.pinned(self._clock.monotonic())
            else:
                self.image.write(address, words)
                self._world.wrote(address, words, self._clock.monotonic())
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
        if ask.function in (WRITE_ONE, WRITE_MANY):
            return self._write(unit, frame.pdu, met, now)
        served = self._device.answer(unit, frame.pdu)
        if served.outcome != "ok" or ask.address is None:
            return served
        if self._truth_due:
            self.truth.append(Truth(now, five_of(self.image, self._rules.unit)))
            self._truth_due = False
        words = overlay(met, self.image, self._vendor) if met else []
        if not words:
            return served
        return served._replace(pdu=served.pdu[:2] + lay_over(served.pdu[2:], ask.address, words))

    def _write(self, unit: int, pdu: bytes, met: Mapping[str, Params], now: float) -> Served:
        """Execute a write, unless a fault has it that nothing happens in spite of the answer."""
        lost = met.get("write_silent")
        if lost is not None and not lost["executed"]:
            return Served(b"", "not executed")
        ignored = met.get("ack_ignored")
        before = bytes(self.image.data) if ignored else b""
        served = self._device.answer(unit, pdu)
        if not served.wrote:
            return served
        if ignored is None:
            address, words = int.from_bytes(pdu[1:3], "big"), pdu[3:] if pdu[0] == WRITE_ONE else pdu[6:]
            self._world.wrote(address, words, now)
        elif ignored["keep"] == "old":
            self.image.data[:] = before
        self._second = None  # the house follows what was written, within the same second
        return served

    def _tick(self, now: float) -> None:
        second = self._world.second_of(now)
        if second == self._second or (self._second is not None and self.board.get("frozen", now) is not None):
            return
        self._second, self._truth_due = second, True
        self._world.tick(now)
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
        write = write_of(now, frame.unit, frame.pdu, outcome)
        if write is not None:
            self.counters.write_requests += 1
            self.counters.writes_refused += outcome.startswith("exception")
            self.writes.append(write)
        self.log.append(Request(now, connection, frame.unit, ask.function, ask.address, ask.words, outcome))


def _refusal(ask: Ask, met: Mapping[str, Params]) -> Optional[int]:
    """Return the exception code that a fault answers with, if one does."""
    if "busy" in met:
        return BUSY
    if "exception" in met:
        return int(met["exception"]["code"])
    if "write_exception" in met:
        return int(met["write_exception"]["code"])
    forbidden = met.get("exception2_state")
    if forbidden is not None and (forbidden["address"] or any(touches(ask, cap.address) for cap in CAPS)):
        return ILLEGAL_ADDRESS
    there = met.get("exception_on")
    return int(there["code"]) if there is not None and touches(ask, there["address"]) else None


def _later(reaction: Reaction, delay_s: float) -> Reaction:
    if not delay_s or not reaction.chunks:
        return reaction
    (wait_s, first), rest = reaction.chunks[0], reaction.chunks[1:]
    return reaction._replace(chunks=((wait_s + delay_s, first), *rest))
