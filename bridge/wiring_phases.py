"""What the running bridge tells of the phases: a route that reads them when somebody asks; imported only when wanted.

Never reads unasked, and never beside the plant's one connection: it is an errand of the loop.
"""

from __future__ import annotations

from typing import Any, List, Tuple

from bridge.clock import Clock
from bridge.config import Settings
from bridge.errors import BridgeError
from bridge.registers.plan import TCP_COST, rtu_cost
from bridge.sources.phases import PhasesSeen, phases_answer, read_phases, trouble
from bridge.wiring import offset, vendor

PHASES_AGAIN_S = 0.8  # who asks once a second gets a new look each time, two who ask share one
ERRAND_S = 2.0


def attach(service: Any, settings: Settings, clock: Clock) -> None:
    """Let a running bridge tell the power of each phase, read from the plant when somebody asks."""
    from bridge.link.httpd import Answer, Request, json_answer

    plant, sign = vendor(settings), -1 if settings["modbus.grid_sign"] == "inverted" else 1
    cost = rtu_cost(settings["modbus.baud"]) if settings["modbus.serial"] else TCP_COST
    latest: List[Tuple[float, PhasesSeen]] = []

    def look(link: Any, unit: int) -> PhasesSeen:
        return read_phases(link, plant, cost, unit, offset(settings, plant), sign)

    def answer(request: Request) -> Answer:
        asked = clock.monotonic()
        if not latest or asked - latest[0][0] > PHASES_AGAIN_S:
            try:
                latest[:] = [(asked, service.loop.errands.ask(look, ERRAND_S))]
            except BridgeError as error:
                return json_answer(trouble(error), 503)
        return json_answer(phases_answer(latest[0][1], clock.monotonic() - latest[0][0]))

    service.more_routes["/v1/phases"] = answer
