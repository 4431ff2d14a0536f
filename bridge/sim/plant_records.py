"""What a simulated plant notes down about itself: requests, writes, truth, counters, and its rules.

Never decides anything.
"""

from __future__ import annotations

from typing import Dict, NamedTuple, Optional, Tuple

from bridge.sim.modbus_frames import WRITE_MANY

WRITE_FUNCTIONS = (5, 6, 15, 16, 21, 22, 23)  # everything in Modbus that may change a register


class Request(NamedTuple):
    """One request as the plant saw it; ``outcome`` is ok, exception N, or why nothing was said."""

    at_mono: float
    connection: int
    unit: int
    function: int
    address: Optional[int]
    count: Optional[int]  # type: ignore[assignment]  # hides tuple.count, which nobody needs
    outcome: str


class Write(NamedTuple):
    """One frame that asked for a change, executed or not; ``words`` as they stood in it.

    ``outcome`` is ok, exception N or why nothing happened, with the faults that it met.
    """

    at_mono: float
    unit: int
    function: int
    address: Optional[int]
    words: Tuple[int, ...]
    outcome: str


class Truth(NamedTuple):
    """The five values from the moment they were first served; value faults are not in them."""

    at_mono: float
    five: Dict[str, Optional[float]]


class Counters:
    """What happened since the start."""

    def __init__(self) -> None:
        self.requests = 0
        self.write_requests = 0  # executed or not
        self.writes = 0  # executed, or acknowledged as if
        self.writes_refused = 0
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


def write_of(now: float, unit: int, pdu: bytes, outcome: str) -> Optional[Write]:
    """Return the note about a request that asks for a change; None for one that does not."""
    if pdu[0] not in WRITE_FUNCTIONS:
        return None
    address = int.from_bytes(pdu[1:3], "big") if len(pdu) >= 3 else None
    body = pdu[6:] if pdu[0] == WRITE_MANY else pdu[3:]
    words = tuple(int.from_bytes(body[at:at + 2], "big") for at in range(0, len(body), 2))
    return Write(now, unit, pdu[0], address, words, outcome)
