"""The desk that hands out the plant's registers, and its two doors: /v1/registers and the Modbus server.

Never connects to anything: the desk asks through the loop's errands.
"""

from __future__ import annotations

from typing import Any

from bridge.clock import Clock
from bridge.config import Settings
from bridge.link.httpd import Answer, Request
from bridge.sinks.registers import RegistersRoute
from bridge.sources.register_budget import Allowance, spare_rate
from bridge.sources.register_desk import RegisterDesk
from bridge.sources.register_facts import RegisterFacts
from bridge.wiring import gap_s, offset, vendor

ALIVE_S = 7.0  # polling falls back to once in 5 s when answers are lost
POLLED = 2  # requests a period of the poll itself, at most


class Share:
    """The register desk of a service; ``heard`` is when its plant is taken to have spoken last."""

    def __init__(self, service: Any, settings: Settings, clock: Clock, heard: float) -> None:
        self._source, self._clock = service.source, clock
        self._plant = vendor(settings)
        self._offset = offset(settings, self._plant)
        interval_s = settings["poll.interval_s"]
        self._desk = RegisterDesk(
            RegisterFacts(self._plant, self._offset), service.loop.errands, clock,
            Allowance(spare_rate(gap_s(settings), POLLED, interval_s), clock.monotonic()), self._plant.unit_tcp,
            max(ALIVE_S, 2.0 * interval_s + 2.0), heard,
        )
        there = service.loop.where()
        if there is not None:
            self._desk.line_unit = there[1]
        self._source.watch(self._desk.take)

    def registers(self, request: Request) -> Answer:
        """Answer /v1/registers."""
        source = self._source
        route = RegistersRoute(self._desk, self._plant, self._offset, self._clock, source.name, source.peer)
        return route.answer(request)

    def reserver(self, listen: str) -> Any:
        """Return the Modbus server on ``listen``."""
        from bridge.sinks.modbus_server import Reserver  # a bridge may be asked by HTTP alone

        return Reserver(listen, self._desk, self._plant.max_read, self._clock)
