"""From settings to the battery's desk, and the desk in a running service; imported only when it is wanted.

Never writes: constructing reads the lease on disk, the first tick acts on it.
"""

from __future__ import annotations

import json
from typing import Any, Dict, Optional

from bridge.clock import Clock
from bridge.config import Settings
from bridge.control.battery_desk import Desk
from bridge.control.battery_journal import Journal
from bridge.control.battery_keeper import Keeper
from bridge.control.battery_limits import Rules
from bridge.control.battery_plant import Site
from bridge.control.lease_book import LeaseBook
from bridge.control.timetable import Timetable
from bridge.errors import EXIT_PLANT, BridgeError, ConfigError
from bridge.wiring import offset, vendor
from bridge.wiring_state import durable_dir

ANSWER_S = 20.0  # a command is some twenty requests
STATUS_OF_EXIT = {2: 400, EXIT_PLANT: 502, 7: 429, 8: 409}


def rules(settings: Settings) -> Rules:
    """Return what the owner allows."""
    plant = vendor(settings)
    hindrance = ""
    if plant.name != "sigenergy":
        hindrance = f"the register map {plant.name!r} has no battery commands"
    elif offset(settings, plant) != 0:
        hindrance = "with modbus.address_offset a write could hit an unrelated register"
    site = Site(*(settings[f"control.{name}"] for name in Site._fields))
    return Rules(settings["control.enabled"], site, settings["control.restore_backup_soc"], hindrance)


def desk(settings: Settings, clock: Clock) -> Desk:
    """Return the desk of the plant of the settings; its state is in the durable directory."""
    state = durable_dir(settings)
    journal = Journal(state, clock)
    keeper = Keeper(clock, LeaseBook(state, clock, journal), rules(settings))
    return Desk(clock, keeper, Timetable(state, journal))


def attach(service: Any, settings: Settings, clock: Clock) -> Desk:
    """Let a running service take battery commands: /v1/battery, the page, and the lease's end with the service."""
    from bridge.link.httpd import Answer, Request, json_answer

    counter = desk(settings, clock)
    loop = service.loop

    def shown(request: Request) -> Answer:
        return json_answer(counter.report())

    def asked(request: Request) -> Answer:
        try:
            wish = json.loads(request.body)
            if not isinstance(wish, dict):
                raise ConfigError("battery: a JSON object is wanted")
        except ValueError:
            return json_answer({"error": "battery: a JSON object is wanted", "exit": 2}, 400)
        except ConfigError as error:
            return json_answer({"error": str(error), "exit": 2}, 400)
        who = str(wish.get("who") or "http")[:40]
        try:
            report = loop.errands.ask(lambda link, unit: counter.serve(link, unit, wish, who), ANSWER_S)
        except BridgeError as error:
            code = STATUS_OF_EXIT.get(error.exit_code, 500)
            return json_answer({"error": str(error), "exit": error.exit_code}, code)
        return json_answer(report)

    loop.before_step = lambda: counter.tick(loop.where())
    service.more_routes["/v1/battery"] = shown
    service.writers["/v1/battery"] = asked
    service.more_health["control"] = lambda: brief(counter.report())
    service.closers.append(lambda: counter.stop(loop.where(), Clock().wait))
    return counter


def brief(report: Dict[str, Any]) -> Optional[Dict[str, Any]]:
    """Return what a page or a health report shows of a command, or None."""
    if report["state"] == "none":
        return None
    return {name: report.get(name) for name in ("state", "action", "power_w", "ends_in_s", "text", "reason", "error")}
