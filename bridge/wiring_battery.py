"""The ways a battery command takes from the command line: a running bridge, a link of our own, the cloud.

Never prints, and never opens a second connection to a plant that a running bridge serves.
"""

from __future__ import annotations

import os
import re
import signal
from datetime import datetime, timedelta
from typing import Any, Dict, List, Optional, Tuple

from bridge.clock import Clock
from bridge.config import Settings
from bridge.control.battery_desk import Desk
from bridge.control.schedule import moment
from bridge.errors import EXIT_PLANT, EXIT_REFUSED, ConfigError, LinkError, PeerError, RateLimited, Refused
from bridge.link.bridge_http import get_json, post_json, somebody_listens
from bridge.values import duration
from bridge.wiring import serial_line, tcp_link, vendor
from bridge.wiring_control import SETTLE_S, answer_within_s, desk

LOOK_S = 0.5
REPLY_S = 2.0  # the bridge answers from memory
GONE_S = 30  # how long another process may take to give the battery back
ERROR_OF_EXIT = {2: ConfigError, EXIT_PLANT: LinkError, 7: RateLimited, EXIT_REFUSED: Refused}
Where = Tuple[Any, int]


def running_bridge(settings: Settings) -> str:
    """Return the address of a bridge that polls the plant of the settings, or ''."""
    listen = settings["status.listen"]
    if listen == "off" or not somebody_listens(listen, LOOK_S):
        return ""
    try:
        peer = get_json(listen, "/healthz", REPLY_S, settings["status.token"]).get("peer")
    except (LinkError, PeerError):
        return ""
    named = settings["modbus.host"] or settings["modbus.serial"]
    ours = settings["modbus.serial"] or f"{settings['modbus.host']}:{settings['modbus.port']}"
    return listen if peer == ours or not named else ""


def report_of(settings: Settings, address: str) -> Dict[str, Any]:
    """Return how the running bridge's battery command stands; raises Refused when it takes none."""
    try:
        return get_json(address, "/v1/battery", REPLY_S, settings["status.token"])
    except PeerError as error:
        if "404" in str(error):
            return {"state": "none", "text": "the running bridge only reads", "enabled": False, "last": None}
        raise


def ask_bridge(settings: Settings, address: str, do: str, **more: Any) -> Dict[str, Any]:
    """Have the running bridge do something; raises what it says, as the error it was there."""
    try:
        wish = {"do": do, "who": "cli", **more}
        patience_s = answer_within_s(settings) + 5
        status, answer = post_json(address, "/v1/battery", wish, patience_s, settings["status.token"])
    except PeerError as error:
        if "404" in str(error):
            raise Refused(
                f"{address}: the running bridge only reads; set control.enabled = yes in its settings and restart it"
            ) from error
        raise Refused(str(error)) from error
    if status == 200:
        return answer
    kind = ERROR_OF_EXIT.get(answer.get("exit", 1), PeerError)
    raise kind(str(answer.get("error") or f"{address}: status {status}"))


def own_link(settings: Settings, clock: Clock) -> Where:
    """Return a link of our own and the plant's unit on it."""
    plant = vendor(settings)
    if settings["modbus.serial"]:
        link, unit, _ = serial_line(settings, clock, plant).find()
        return link, unit
    return tcp_link(settings, clock), settings["modbus.unit"] if settings.is_set("modbus.unit") else plant.unit_tcp


def ask_plant(settings: Settings, clock: Clock, do: str, **more: Any) -> Dict[str, Any]:
    """Do something once over a link of our own."""
    counter, (link, unit) = desk(settings, clock), own_link(settings, clock)
    try:
        return counter.serve(link, unit, {"do": do, **more}, "cli")
    finally:
        link.close()


def free_plant(settings: Settings, clock: Clock, address: str, dry_run: bool) -> List[str]:
    """Lead the plant out of a remote EMS that a dead controller left; returns what was, or would be, done in words.

    ``address`` is of the running bridge, which does it then, or ''.
    """
    if address:
        return list(ask_bridge(settings, address, "free", dry_run=dry_run)["done"])
    return list(ask_plant(settings, clock, "free", dry_run=dry_run)["done"])


def end_other(counter: Desk, holder: int, clock: Clock) -> Dict[str, Any]:
    """Ask the process that holds a command in the foreground to end; it gives the battery back on its way out."""
    try:
        os.kill(holder, signal.SIGTERM)
    except OSError as error:
        raise Refused(
            f"battery release: process {holder} holds the command and cannot be asked to end ({error.strerror})"
        ) from error
    for _ in range(GONE_S):
        if counter.keeper.book.on_disk() is None or clock.wait(1.0):
            break
    return counter.report()


def give_back(settings: Settings, clock: Clock) -> Dict[str, Any]:
    """Give the battery back for a process that is gone, or hangs after its lease is over; returns the report."""
    counter = desk(settings, clock)
    book = counter.keeper.book
    if book.on_disk() is None:
        return counter.report()
    counter.keeper.rules.check(book.left_behind())
    where: Optional[Where] = None
    try:
        for _ in range(GONE_S):
            book.look()
            if book.lease is not None:
                where = where or own_link(settings, clock)
                counter.keeper.tick(*where)  # not the desk's: what the schedule has next is the service's to begin
            if book.on_disk() is None or clock.wait(1.0):
                break
            if book.lease is None and not book.ending():
                break  # its holder is alive and it is not over
    finally:
        if where is not None:
            where[0].close()
    counter.settle(SETTLE_S)
    return counter.report()


def seconds_asked(lasting: Optional[str], until: Optional[str], settings: Settings, clock: Clock) -> float:
    """Return how long a command is to last: ``--for``, ``--until`` (time of day or ISO time), or the default."""
    if lasting is not None:
        try:
            return duration(lasting)
        except ValueError as error:
            raise ConfigError(f"battery --for: {error}") from None
    if until is None:
        return 60.0 * float(settings["control.lease_minutes"])
    if not clock.synced():
        raise Refused("battery --until: this machine's clock is not set yet")
    now = clock.now()
    if len(until) > len("23:59"):
        return moment(until, None) - now
    if not re.fullmatch(r"([01]?\d|2[0-3]):[0-5]\d", until):
        raise ConfigError(f"battery --until: {until!r} is not a time such as 20:30 or 2026-12-01T01:00")
    today = datetime.fromtimestamp(now)
    word = until.zfill(5)
    day = today if word > f"{today:%H:%M}" else today + timedelta(days=1)  # not one that has passed, or never was
    return moment(f"{day:%Y-%m-%d}T{word}", None) - now
