"""Battery commands that come over MQTT: what a message means, and a thread that has them carried out.

Never takes a retained message (a broker would repeat it after every reconnect) and never decides whether a
command is allowed: the control part does.
"""

from __future__ import annotations

import json
import logging
import queue
import threading
from typing import Any, Callable, Dict, NamedTuple, Optional, Protocol

from bridge.errors import BridgeError, ConfigError
from bridge.sinks.mqtt_discovery import ACTIONS

MOST = 1e9  # of watts or minutes: beyond that no command is meant
WAITING_MOST = 8  # more commands than that at once are no user's wish
log = logging.getLogger("mqtt")


class Control(Protocol):
    """What carries commands out; ``battery`` control is one."""

    def on_command(self, action: str, value: Dict[str, Optional[float]]) -> str:
        """Do it and say what was done; ``value`` has power_w and minutes. Raises BridgeError with the reason."""


class Wish(NamedTuple):
    """One command: ``action`` is charge, discharge, hold, self or release."""

    action: str
    value: Dict[str, Optional[float]]


def wish(action: str, payload: bytes) -> Wish:
    """Return the command of a message: a number is W, an object has power_w and minutes. Raises ConfigError."""
    if action not in ACTIONS:
        raise ConfigError(f"mqtt command {action!r}: not one of {', '.join(ACTIONS)}")
    text = payload.decode("utf-8", "replace").strip()
    try:
        content: Any = json.loads(text) if text else {}
    except (ValueError, RecursionError):
        content = {} if text.isalpha() else None  # a button may say PRESS
    if isinstance(content, (int, float)) and not isinstance(content, bool):
        content = {"power_w": content}
    if not isinstance(content, dict) or set(content) - {"power_w", "minutes"}:
        raise ConfigError(f"mqtt command {action}: neither a number of watts nor an object with power_w and minutes")
    value = {name: _number(action, name, content.get(name)) for name in ("power_w", "minutes")}
    if action in ("charge", "discharge") and value["power_w"] is None:
        raise ConfigError(f"mqtt command {action}: a power in W is missing")
    return Wish(action, value)


def _number(action: str, name: str, given: Any) -> Optional[float]:
    if given is None:
        return None
    if isinstance(given, bool) or not isinstance(given, (int, float)) or not 0 <= given < MOST:
        raise ConfigError(f"mqtt command {action}: {name} must be a number, 0 or more")
    return float(given)


class Commands:
    """The queue between the broker and ``control``; ``answer`` gets the outcome of each as an object."""

    def __init__(self, control: Control, answer: Callable[[Dict[str, Any]], None]) -> None:
        self._control, self._answer = control, answer
        self._waiting: "queue.Queue[Optional[Callable[[], Wish]]]" = queue.Queue(WAITING_MOST)
        self._thread: Optional[threading.Thread] = None

    def offer(self, action: str, payload: bytes, retained: bool) -> None:
        """Take a message; returns at once."""
        if retained:
            log.warning("event=command-ignored action=%s reason=retained", action)
            return
        if self._thread is None or not self._thread.is_alive():  # a defect in one must not take away the next
            self._thread = threading.Thread(target=self._run, name="mqtt-commands", daemon=True)
            self._thread.start()
        try:
            self._waiting.put_nowait(lambda: wish(action, payload))
        except queue.Full:
            log.warning("event=command-ignored action=%s reason=too-many", action)

    def close(self) -> None:
        """End the thread once the commands that wait are done; does not wait for it."""
        if self._thread is not None:
            try:
                self._waiting.put_nowait(None)
            except queue.Full:
                log.warning("event=commands-left count=%d", self._waiting.qsize())

    def _run(self) -> None:
        while True:
            what = self._waiting.get()
            if what is None:
                return
            action = "?"
            try:
                wanted = what()
                action = wanted.action
                outcome = {"action": action, "ok": True, "text": self._control.on_command(action, wanted.value)}
            except BridgeError as error:
                outcome = {"action": action, "ok": False, "text": str(error)}
            log.info("event=command action=%s ok=%s", action, outcome["ok"])
            try:
                self._answer(outcome)
            except BridgeError as error:
                log.warning("event=command-answer-lost error=\"%s\"", error)
