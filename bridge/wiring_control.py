"""From settings to the battery's desk, and the desk in a running service; imported only when it is wanted.

Never writes: constructing reads the lease on disk, the first tick acts on it.
"""

from __future__ import annotations

import json
import threading
from typing import Any, Dict, List, Mapping, Optional

from bridge.clock import Clock
from bridge.config import Settings
from bridge.control.battery import IDLE, Command, as_record, checked
from bridge.control.battery_desk import Desk
from bridge.control.battery_journal import Journal
from bridge.control.battery_keeper import Keeper
from bridge.control.battery_limits import Rules
from bridge.control.battery_plant import Site
from bridge.control.battery_text import status_lines
from bridge.control.lease_book import LeaseBook
from bridge.control.timetable import Timetable
from bridge.errors import EXIT_PLANT, BridgeError, ConfigError
from bridge.wiring import offset, vendor
from bridge.wiring_state import durable_dir

ANSWER_S = 20.0  # a command is some twenty requests
MOST_GAP_MS = 1500
REQUESTS = 40  # with all that is read back; a strict device wants a pause before each
SETTLE_S, STOP_SETTLE_S = 30.0, 12.0  # what the app may need; a supervisor waits 30 s for everything
STATUS_OF_EXIT = {2: 400, EXIT_PLANT: 502, 7: 429, 8: 409}


def rules(settings: Settings) -> Rules:
    """Return what the owner allows."""
    plant = vendor(settings)
    hindrance = ""
    if plant.name != "sigenergy":
        hindrance = f"the register map {plant.name!r} has no battery commands"
    elif offset(settings, plant) != 0:
        hindrance = "with modbus.address_offset a write could hit an unrelated register"
    elif settings["poll.min_gap_ms"] > MOST_GAP_MS:
        hindrance = f"with poll.min_gap_ms above {MOST_GAP_MS} a command takes longer than a supervisor waits"
    site = Site(*(settings[f"control.{name}"] for name in Site._fields))
    return Rules(settings["control.enabled"], site, settings["control.restore_backup_soc"], hindrance)


def desk(settings: Settings, clock: Clock) -> Desk:
    """Return the desk of the plant of the settings; its state is in the durable directory."""
    state = durable_dir(settings)
    journal = Journal(state, clock)
    book = LeaseBook(state, clock, journal)
    keeper = Keeper(clock, book, rules(settings))
    counter = Desk(clock, keeper, Timetable(state, journal))
    asking: List[threading.Thread] = []

    def settle(seconds: float) -> None:
        for thread in asking:
            thread.join(seconds)

    keeper.on_mode_lost = lambda native: mode_back(settings, book, native, asking)
    counter.settle = settle
    return counter


def mode_back(settings: Settings, book: LeaseBook, native: int, asking: List[threading.Thread]) -> None:
    """Have the app set the mode that a release cannot bring back, where it is configured; returns at once.

    The thread that does it is added to ``asking``; it has a clock of its own, for it is also wanted at a stop.
    """
    try:
        from bridge.wiring_app import app_configured
        from bridge.wiring_mode_back import ModeBack
    except ModuleNotFoundError:
        return  # a router without the cloud part; the owner is told what to do
    if app_configured(settings):
        asking.append(ModeBack(settings, Clock(), book).start(native))


def attach(service: Any, settings: Settings, clock: Clock) -> Desk:
    """Let a running service take battery commands: /v1/battery, the page, and the lease's end with the service."""
    from bridge.link.httpd import Answer, Request, json_answer

    counter = desk(settings, clock)
    loop = service.loop
    answer_s = answer_within_s(settings)

    def shown(request: Request) -> Answer:
        return json_answer(counter.report())

    def asked(request: Request) -> Answer:
        try:
            wish = json.loads(request.body)
            if not isinstance(wish, dict):
                raise ConfigError("battery: a JSON object is wanted")
        except (ValueError, RecursionError):
            return json_answer({"error": "battery: a JSON object is wanted", "exit": 2}, 400)
        except ConfigError as error:
            return json_answer({"error": str(error), "exit": 2}, 400)
        who = "".join(filter(str.isprintable, str(wish.get("who") or "http")))[:40]
        try:
            report = loop.errands.ask(lambda link, unit: counter.serve(link, unit, wish, who), answer_s)
        except BridgeError as error:
            code = STATUS_OF_EXIT.get(error.exit_code, 500)
            return json_answer({"error": str(error), "exit": error.exit_code}, code)
        return json_answer(report)

    loop.before_step = lambda: counter.tick(loop.where())
    service.more_routes["/v1/battery"] = shown
    service.writers["/v1/battery"] = asked
    service.doors.append(ControlDoor(counter, loop))
    for outbox in service.outboxes:
        if outbox.name == "mqtt":
            outbox.sink.take_commands(TopicControl(counter, loop, answer_s, settings["control.lease_minutes"]))
    return counter


class TopicControl:
    """What the command topics of the MQTT sink ask for, put to the desk in the loop's thread."""

    def __init__(self, counter: Desk, loop: Any, answer_s: float, lease_minutes: float) -> None:
        self._counter, self._loop, self._answer_s, self._lease_minutes = counter, loop, answer_s, lease_minutes

    def on_command(self, action: str, value: Mapping[str, Optional[float]]) -> str:
        """Do it and say how things stand; ``value`` has power_w and minutes. Raises BridgeError with the reason."""
        if action == "release":
            wish: Dict[str, Any] = {"do": "release"}
        else:
            minutes = value.get("minutes")
            seconds = 60.0 * (self._lease_minutes if minutes is None else minutes)
            command = Command(IDLE if action == "hold" else action, seconds, value.get("power_w"))
            wish = {"do": "begin", "command": as_record(checked(command))}
        serve = self._counter.serve
        report = self._loop.errands.ask(lambda link, unit: serve(link, unit, wish, "mqtt"), self._answer_s)
        return status_lines(report)[0]


class ControlDoor:
    """The desk as a part of the service: its state in the health report, and the lease's end with the service."""

    name = "control"

    def __init__(self, counter: Desk, loop: Any) -> None:
        self._counter, self._loop = counter, loop

    def start(self) -> None:
        """Nothing to open: the desk acts in the loop."""

    def close(self) -> None:
        """Give the battery back while the link still is open."""
        self._counter.stop(self._loop.where(), Clock().wait)
        self._counter.settle(STOP_SETTLE_S)

    def health(self) -> Optional[Dict[str, Any]]:
        """Return what a page or a health report shows of the command in force, or None."""
        return brief(self._counter.report())


def answer_within_s(settings: Settings) -> float:
    """Return how long a command may take until the plant stands as it says."""
    return ANSWER_S + REQUESTS * settings["poll.min_gap_ms"] / 1000.0


def brief(report: Dict[str, Any]) -> Optional[Dict[str, Any]]:
    """Return what a page or a health report shows of a command, or None."""
    if report["state"] == "none":
        return None
    return {name: report.get(name) for name in ("state", "action", "power_w", "ends_in_s", "text", "reason", "error")}
