"""The plant's registers for others: /v1/registers of a running bridge, and the re-server when it is asked for.

Never loads any of it before somebody asks or ``reserver.listen`` is set.
"""

from __future__ import annotations

import threading
from typing import Any

from bridge.clock import Clock
from bridge.config import Settings
from bridge.errors import ConfigError
from bridge.wiring import gap_s, offset, vendor

ALIVE_S = 7.0  # polling falls back to once in 5 s when answers are lost
PACKAGE = "sigen-bridge-reserver"


class Share:
    """Makes the register desk of a service at its first use."""

    def __init__(self, service: Any, settings: Settings, clock: Clock) -> None:
        self._service, self._settings, self._clock = service, settings, clock
        self._plant = vendor(settings)
        self._offset = offset(settings, self._plant)
        self._lock = threading.Lock()
        self._desk: Any = None

    def desk(self, heard: float) -> Any:
        """Return the desk; ``heard`` is when the plant is taken to have spoken last if it is made now."""
        from bridge.sources.register_budget import Allowance, spare_rate
        from bridge.sources.register_desk import RegisterDesk
        from bridge.sources.register_facts import RegisterFacts

        with self._lock:
            if self._desk is None:
                interval_s = self._settings["poll.interval_s"]
                rate = spare_rate(gap_s(self._settings), 2, interval_s)
                self._desk = RegisterDesk(
                    RegisterFacts(self._plant, self._offset), self._service.loop.errands, self._clock,
                    Allowance(rate, self._clock.monotonic()), self._plant.unit_tcp,
                    max(ALIVE_S, 2.0 * interval_s + 2.0), heard,
                )
                there = self._service.loop.where()
                if there is not None:
                    self._desk.line_unit = there[1]
                self._service.source.watch(self._desk.take)
        return self._desk

    def registers(self, request: Any) -> Any:
        """Answer /v1/registers."""
        from bridge.link.httpd import json_answer

        try:
            from bridge.sinks.registers import RegistersRoute

            desk = self.desk(self._clock.monotonic())
        except ModuleNotFoundError as error:
            return json_answer({"error": f"this needs the package {PACKAGE} ({error.name} is missing)"}, 501)
        source = self._service.source
        route = RegistersRoute(desk, self._plant, self._offset, self._clock, source.name, source.peer)
        return route.answer(request)

    def reserver(self, listen: str) -> Any:
        """Return the Modbus server on ``listen``."""
        from bridge.sinks.modbus_server import Reserver

        return Reserver(listen, self.desk(float("-inf")), self._plant.max_read, self._clock)


def share_registers(service: Any, settings: Settings, clock: Clock) -> None:
    """Add to a service what hands out registers; raises ConfigError when there is no local plant to serve."""
    listen = settings["reserver.listen"]
    if getattr(service.source, "watch", None) is None:
        if listen != "off":
            raise ConfigError(
                f"reserver.listen = {listen}: run.source = {settings['run.source']} has no registers to serve;"
                " use run.source = modbus or auto with modbus.host, or set reserver.listen = off"
            )
        return
    share = Share(service, settings, clock)
    service.more_routes["/v1/registers"] = share.registers
    if listen != "off":
        service.doors.append(share.reserver(listen))
