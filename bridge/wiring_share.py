"""The plant's registers for others: /v1/registers of a running bridge, and the Modbus server when it is asked for.

Never loads any of it before somebody asks or ``reserver.listen`` is set; routers may do without that part.
"""

from __future__ import annotations

import threading
from typing import Any, List

from bridge.clock import Clock
from bridge.config import Settings
from bridge.errors import ConfigError

PACKAGE = "sigen-bridge-reserver"


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
    lock = threading.Lock()
    made: List[Any] = []

    def share(heard: float) -> Any:
        from bridge.wiring_registers import Share

        with lock:
            if not made:
                made.append(Share(service, settings, clock, heard))
        return made[0]

    def registers(request: Any) -> Any:
        try:
            return share(clock.monotonic()).registers(request)
        except ModuleNotFoundError as error:
            from bridge.link.httpd import json_answer

            return json_answer({"error": f"this needs the package {PACKAGE} ({error.name} is missing)"}, 501)

    service.more_routes["/v1/registers"] = registers
    if listen != "off":
        service.doors.append(share(float("-inf")).reserver(listen))
