"""A wire that keeps the pause a strict device wants between two requests, whoever asks.

Never sends a request sooner than ``gap_s`` after the start of the one before (vendor's protocol V2.9 section 4.2:
minimum request period 1000 ms): the poll, an errand and the dump are the same to the device.
"""

from __future__ import annotations

from bridge.clock import Clock
from bridge.link.modbus import Wire


class SpacedWire:
    """Another wire, with the pause in front of every exchange."""

    def __init__(self, wire: Wire, gap_s: float, clock: Clock) -> None:
        self.peer, self.protocol, self.stats = wire.peer, wire.protocol, wire.stats
        self._wire, self._gap_s, self._clock = wire, gap_s, clock
        self._last_request = float("-inf")

    def frame(self, unit: int, pdu: bytes) -> bytes:
        """Wrap a PDU for this medium."""
        return self._wire.frame(unit, pdu)

    def exchange(self, request: bytes) -> bytes:
        """Wait for the turn, send ``request`` and return its reply; raises what the wire raises."""
        self._clock.pause(self._last_request + self._gap_s - self._clock.monotonic())
        self._last_request = self._clock.monotonic()
        return self._wire.exchange(request)

    def payload(self, reply: bytes) -> bytes:
        """Return the PDU inside a reply frame."""
        return self._wire.payload(reply)

    def close(self) -> None:
        """Let go of the socket or port."""
        self._wire.close()


def spaced(wire: Wire, gap_s: float, clock: Clock) -> Wire:
    """Return ``wire`` with the pause, or as it is when none is wanted."""
    return SpacedWire(wire, gap_s, clock) if gap_s > 0 else wire
