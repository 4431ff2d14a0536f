"""Answers questions for registers: from the bridge's memory, else through the plant's one connection, sparingly.

Never asks for one thing twice at once, never asks a plant that is gone, and never hands out words that are
older than their bound or makes any up: then it is exception 6 or 11.
"""

from __future__ import annotations

import threading
from typing import Any, Dict, List, Mapping, Optional, Tuple

from bridge.clock import Clock
from bridge.errands import Errands
from bridge.errors import DeviceException, LinkError, LinkTimeout, RateLimited
from bridge.sources.register_budget import Allowance
from bridge.sources.register_facts import Fetch, Pages, RegisterFacts
from bridge.sources.register_memory import Piece, RegisterMemory
from bridge.sources.register_refusals import Range, Refusals

ILLEGAL_ADDRESS, ILLEGAL_VALUE, BUSY, NO_PATH, NO_ANSWER = 2, 3, 6, 10, 11
TURN_S = 1.2  # how long a question waits for its turn; Modbus clients give up after one to five seconds
ERRAND_S = 2.0  # the loop may be in a reading that times out (0.8 s), then this may (0.8 s)
FLIGHT_S = TURN_S + ERRAND_S + 0.5  # how long the others wait for whoever asks for them
ROUNDS = 4  # the page, the exact range, and what other threads change meanwhile
PATIENCE_S = 3.0  # after this the next round would come too late for the client
MOST_UNITS = 16


class _Flight:
    """A request under way, and who waits for it."""

    __slots__ = ("fetch", "done", "error")

    def __init__(self, fetch: Fetch) -> None:
        self.fetch = fetch
        self.done = threading.Event()
        self.error: Optional[DeviceException] = None


class RegisterDesk:
    """Where the re-server and /v1/registers ask; ``read`` may be called from any thread but the loop's.

    ``plant_unit`` is the unit number that clients use for the plant, whatever it is on our own line;
    ``alive_s`` is how long after its last word the plant still counts as there, ``heard`` when that was.
    """

    def __init__(
        self, facts: RegisterFacts, errands: Errands, clock: Clock, allowance: Allowance,
        plant_unit: int, alive_s: float, heard: float = float("-inf"),
    ) -> None:
        self._facts, self._errands, self._clock, self._allowance = facts, errands, clock, allowance
        self._plant, self._alive_s, self._heard = plant_unit, alive_s, heard
        self.line_unit = plant_unit  # the plant's unit on our own line
        self._memory = RegisterMemory()
        self._refusals = Refusals(plant_unit)
        self._lock = threading.Lock()
        self._flights: Dict[Tuple[int, str], List[_Flight]] = {}
        self._pages: Dict[int, Pages] = {}
        self.answered = self.asked = self.failed = self.late = 0

    def take(self, unit: int, space: str, address: int, data: bytes, mono: float) -> None:
        """Remember a block that the poll has read; called by the loop's thread for every block."""
        self.line_unit, self._heard = unit, mono
        self._memory.remember(self._plant, space, address, data, mono)

    def read(self, unit: int, space: str, address: int, count: int) -> Piece:
        """Return registers at a wire address; raises DeviceException with the code that a client is to get."""
        if not 1 <= unit <= 247:
            raise _refusal(NO_PATH, unit, address, "0 is the plant's broadcast, above 247 is nobody")
        unit = self._plant if unit in (self._plant, self.line_unit) else unit
        asked = (unit, self._facts.space(address, space), address, count)
        ages = self._facts.ages(address, count)
        give_up = self._clock.monotonic() + PATIENCE_S
        for _ in range(ROUNDS):
            now = self._clock.monotonic()
            if now > give_up:
                break
            if now - self._heard > self._alive_s:
                raise _refusal(NO_ANSWER, unit, address, "the bridge gets no answer of the plant at the moment")
            piece = self._memory.find(*asked, now - ages.fresh_s)
            if piece is None:
                try:
                    self._bring(asked)
                    continue
                except DeviceException as error:
                    piece = self._older(asked, ages.bound_s) if error.code in (BUSY, NO_ANSWER) else None
                    if piece is None:
                        raise
            self.answered += 1
            return piece
        raise _refusal(BUSY, unit, address, "too much is asked for at once")

    def health(self) -> Mapping[str, Any]:
        """Return counts: answers given, requests made to the plant for them, failed there, turns that were too far."""
        return {"answered": self.answered, "asked": self.asked, "failed": self.failed, "no_turn": self.late}

    def _older(self, asked: Range, bound_s: float) -> Optional[Piece]:
        return self._memory.find(*asked, self._clock.monotonic() - bound_s)

    def _bring(self, asked: Range) -> None:
        """Have a range brought into memory, by us or by whoever is at it already; raises DeviceException."""
        flight, ours = self._board(asked)
        unit, space, address, count = asked
        if not ours:
            if not flight.done.wait(FLIGHT_S):
                raise _refusal(BUSY, unit, address, "the request for it is still under way")
            same = flight.fetch[:2] == (address, count)
            if flight.error is not None and (same or flight.error.code not in (ILLEGAL_ADDRESS, ILLEGAL_VALUE)):
                raise flight.error
            return
        try:
            self._fly(unit, space, flight.fetch)
        except DeviceException as error:
            flight.error = error
            raise
        finally:
            with self._lock:
                self._flights[unit, space].remove(flight)
            flight.done.set()

    def _board(self, asked: Range) -> Tuple[_Flight, bool]:
        """Return the flight that will bring a range, and whether it is ours to make; raises a known refusal."""
        unit, space, address, count = asked
        with self._lock:
            now = self._clock.monotonic()
            flights = self._flights.setdefault((unit, space), [])
            for flight in flights:
                if flight.fetch.covers(address, count):
                    return flight, False
            fetch = self._pages_of(unit).fetch(space, address, count, self._refusals.pages(unit, now))
            for question in (asked, (unit, space, fetch.address, fetch.count)):
                code = self._refusals.code(question, now)
                if code is not None:
                    raise _refusal(code, unit, address, "the plant said so a moment ago")
            flights.append(_Flight(fetch))
            return flights[-1], True

    def _pages_of(self, unit: int) -> Pages:
        if unit not in self._pages:
            if len(self._pages) >= MOST_UNITS:
                self._pages.clear()
            self._pages[unit] = self._facts.pages()
        return self._pages[unit]

    def _fly(self, unit: int, space: str, fetch: Fetch) -> None:
        """Make one request; its words, or the refusal of a page, are remembered; raises DeviceException otherwise."""
        with self._lock:
            wait_s = self._allowance.turn(self._clock.monotonic(), TURN_S)
        if wait_s is None:
            self.late += 1
            raise _refusal(BUSY, unit, fetch.address, "the plant has been asked as much as it may be")
        self._clock.wait(wait_s)
        begun: List[int] = []

        def act(link: Any, line_unit: int) -> Tuple[bytes, float]:
            self.line_unit = line_unit
            begun.append(line_unit)
            self.asked += 1
            at = line_unit if unit == self._plant else unit
            return link.read_bytes(space, fetch.address, fetch.count, at), self._clock.monotonic()

        try:
            data, mono = self._errands.ask(act, ERRAND_S)
        except DeviceException as error:
            self._refused(unit, space, fetch, error)
            return
        except RateLimited as error:
            raise _refusal(BUSY, unit, fetch.address, "too much is waiting for the plant") from error
        except LinkError as error:
            self.failed += 1
            with self._lock:
                if begun and isinstance(error, LinkTimeout):
                    self._refusals.silent(unit, self._clock.monotonic())
            raise _refusal(NO_ANSWER, unit, fetch.address, str(error)) from error
        self._heard = mono
        self._memory.remember(unit, space, fetch.address, data, mono, fetch.page is not None)
        with self._lock:
            self._refusals.answered(unit)
            if fetch.refused is not None:
                self._pages_of(unit).halve(fetch.refused)

    def _refused(self, unit: int, space: str, fetch: Fetch, error: DeviceException) -> None:
        """Note an exception of the plant; that of a page only sends everybody to their own range."""
        self.failed += 1
        now = self._heard = self._clock.monotonic()
        with self._lock:
            if fetch.page is not None and error.code in (ILLEGAL_ADDRESS, ILLEGAL_VALUE):
                self._refusals.page_refused(unit, fetch.page, now)
                return
            self._refusals.refused((unit, space, fetch.address, fetch.count), error.code, now)
        raise error


def _refusal(code: int, unit: int, address: int, why: str) -> DeviceException:
    return DeviceException(f"registers from {address} at unit {unit}: exception {code} ({why})", code)
