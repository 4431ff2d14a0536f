"""Knocks at a plant on Modbus TCP for doctor: reads only, says how far it got, stops when its time is up.

Never writes a register, never holds two connections at once, and never judges: diagnosis_plant does.
"""

from __future__ import annotations

from typing import List, Mapping, NamedTuple, Optional, Tuple

from bridge.clock import Clock
from bridge.control.diagnosis_plant import ILLEGAL_FUNCTION, LinkSeen
from bridge.errors import DeviceException, LinkError, LinkTimeout
from bridge.link.modbus import READ_HOLDING, READ_INPUT, BuiltinLink, ModbusLink, Wire, read_pdu
from bridge.link.modbus_tcp import TcpWire
from bridge.link.reach import Reach, reach
from bridge.registers import Vendor
from bridge.sources.units import answering_unit

PATIENCE_S = 3.0  # who answers after this is as good as silent
AGAIN_S = 0.3  # a plant with one place needs a moment to see that the last connection has gone
GAP_S = 1.05  # document 4.2 asks for 1 s between two questions


class Asked(NamedTuple):
    """What the settings say of the plant; ``neighbours`` are MACs by IP address."""

    host: str
    port: int
    unit: int
    timeout_s: float
    function_code: Optional[int]
    offset: int
    usual_port: int
    neighbours: Mapping[str, str]


class PacedLink:
    """A link that leaves ``gap_s`` between two questions."""

    def __init__(self, link: ModbusLink, clock: Clock, gap_s: float) -> None:
        self.wire: Wire = link.wire
        self._link, self._clock, self._gap_s = link, clock, gap_s
        self._asked_at = clock.monotonic()

    def read(self, space: str, address: int, count: int, unit: int) -> List[int]:
        """Read words at a wire address, as ModbusLink does."""
        self._clock.wait(self._asked_at + self._gap_s - self._clock.monotonic())
        self._asked_at = self._clock.monotonic()
        return self._link.read(space, address, count, unit)

    def read_bytes(self, space: str, address: int, count: int, unit: int) -> bytes:
        """Read the same as bytes."""
        self._clock.wait(self._asked_at + self._gap_s - self._clock.monotonic())
        self._asked_at = self._clock.monotonic()
        return self._link.read_bytes(space, address, count, unit)

    def close(self) -> None:
        """Let go of the connection."""
        self._link.close()


class PlantExam:
    """One examination of a plant on Modbus TCP; ``until`` is the monotonic moment to be done by."""

    def __init__(self, asked: Asked, vendor: Vendor, clock: Clock, until: float) -> None:
        self._asked, self._vendor, self._clock, self._until = asked, vendor, clock, until
        row = vendor.role("grid_w")
        assert row is not None
        self._row = row
        self._wire = TcpWire(asked.host, asked.port, asked.timeout_s, clock.monotonic)
        self.link: ModbusLink = BuiltinLink(self._wire, asked.function_code)

    def knock(self) -> LinkSeen:
        """Return how far the plant can be reached; afterwards ``link`` reads it, if that is possible."""
        asked = self._asked
        first = self._reach(asked.timeout_s)
        seen = LinkSeen(self._wire.peer, asked.host, asked.port, asked.unit, first.outcome, first.own_address,
                        asked.neighbours.get(first.peer_address, ""))
        if first.outcome == "refused":
            return seen._replace(usual_port=self._usual_port())
        if first.outcome in ("silent", "resets", "closes", "hangs_up"):
            first, seen = self._again(seen)
        if first.outcome != "answers":
            return seen
        if first.reply[2:4] != b"\0\0" or len(first.reply) < 9:
            return seen._replace(modbus=False)
        return self._read(seen)

    def _reach(self, timeout_s: float) -> Reach:
        asked, row = self._asked, self._row
        pdu = read_pdu(row.space, row.address + asked.offset, row.count, asked.function_code)
        request = self._wire.frame(asked.unit, pdu)
        return reach(asked.host, asked.port, timeout_s, self._clock.monotonic, request)

    def _usual_port(self) -> Optional[int]:
        asked = self._asked
        if asked.port == asked.usual_port:
            return None
        there = reach(asked.host, asked.usual_port, asked.timeout_s, self._clock.monotonic)
        return asked.usual_port if there.outcome == "open" else None

    def _again(self, seen: LinkSeen) -> Tuple[Reach, LinkSeen]:
        """Ask a second time, with patience: one lost answer is not yet a diagnosis."""
        second = self._reach(max(PATIENCE_S, self._asked.timeout_s))
        if second.outcome == "answers":
            slow = second.took_s > self._asked.timeout_s
            if slow:
                self._wire = TcpWire(self._asked.host, self._asked.port, PATIENCE_S, self._clock.monotonic)
                self.link = BuiltinLink(self._wire, self._asked.function_code)
            return second, seen._replace(outcome="answers", slow_s=second.took_s if slow else None, failures=1)
        seen = seen._replace(outcome=second.outcome)
        if second.outcome == "silent" and self._time_left():
            seen = seen._replace(other_unit=self._other_unit())
        return second, seen

    def _read(self, seen: LinkSeen) -> LinkSeen:
        answer, code = self._try(self.link)
        if answer == "garbled" and self._time_left():
            self._clock.wait(AGAIN_S)
            answer, code = self._try(self.link)
            seen = seen._replace(failures=seen.failures + 1)
        if answer == "silent" and self._time_left():
            return self._gap(seen)
        if answer == "exception":
            seen = seen._replace(exception=code, other_function=self._other_function(code))
            if seen.other_function is None and self._time_left():
                seen = seen._replace(other_unit=self._other_unit())
        return seen._replace(answer=answer)

    def _gap(self, seen: LinkSeen) -> LinkSeen:
        """Find out whether it was the pause that was missing: with it yes, without it no, with it yes."""
        paced = PacedLink(self.link, self._clock, GAP_S)
        with_pause = self._try(paced)[0]
        without = self._try(self.link)[0]
        if (with_pause, without) == ("ok", "silent") and self._try(paced)[0] == "ok":
            self.link = paced
            return seen._replace(answer="ok", needs_gap=True)
        failures = seen.failures + 1 + (with_pause != "ok") + (without != "ok")
        return seen._replace(answer="ok" if "ok" in (with_pause, without) else "garbled", failures=failures)

    def _try(self, link: ModbusLink) -> Tuple[str, int]:
        row = self._row
        try:
            link.read(row.space, row.address + self._asked.offset, row.count, self._asked.unit)
        except DeviceException as error:
            return "exception", error.code
        except LinkTimeout:
            return "silent", 0
        except LinkError:
            return "garbled", 0
        return "ok", 0

    def _other_unit(self) -> Optional[int]:
        return answering_unit(self.link, self._vendor, self._asked.unit, self._asked.offset)

    def _other_function(self, code: int) -> Optional[int]:
        if code != ILLEGAL_FUNCTION:
            return None
        used = self._asked.function_code or (READ_INPUT if self._row.space == "input" else READ_HOLDING)
        other = READ_HOLDING if used == READ_INPUT else READ_INPUT
        return other if self._try(BuiltinLink(self._wire, other))[0] == "ok" else None

    def _time_left(self) -> bool:
        return self._clock.monotonic() < self._until
