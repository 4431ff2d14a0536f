"""The journal of what was done to the plant: who, what, before, after, result. Bounded, survives a power cut.

Never holds a secret, and never keeps a command from ending: a journal that cannot be written is said in the log.
"""

from __future__ import annotations

import logging
from typing import Any, Dict, List, Tuple

from bridge.clock import Clock
from bridge.control.battery_guard import Wrote
from bridge.control.battery_plant import NAMES, shown
from bridge.state import StateDir

FILE = "journal.jsonl"
MOST_BYTES = 64 * 1024  # some 400 entries; a router's flash holds it

log = logging.getLogger("battery")


class Journal:
    """Adds entries to one file; ``who`` of an entry is what asked for it (cli, http, schedule, mqtt, bridge)."""

    def __init__(self, state: StateDir, clock: Clock) -> None:
        self._state, self._clock = state, clock
        self._failing = False
        self._refused: Tuple[int, int, str] = (0, 0, "")

    def wrote(self, who: str, done: Wrote, durable: bool = True) -> None:
        """Note one write to a register; a refusal that is met again and again is noted once.

        Without ``durable`` the next entry takes it to the disk: for a cap that follows the house all day.
        """
        refused = (done.address, done.after, done.result)
        if refused == self._refused:
            return
        self._refused = (0, 0, "") if done.result == "ok" else refused
        self._add(durable, {
            "who": who, "what": "write", "register": done.address, "name": NAMES[done.address],
            "before": done.before, "after": done.after,
            "text": f"{shown(done.address, done.before)} -> {shown(done.address, done.after)}", "result": done.result,
        })

    def event(self, who: str, what: str, text: str, **more: Any) -> None:
        """Note a begin, a release, a yield and the like; safe on disk when this returns."""
        self._add(True, {"who": who, "what": what, "text": text, **more})

    def entries(self) -> List[Dict[str, Any]]:
        """Return what is there, oldest first."""
        return [entry for entry in self._state.lines(FILE) if isinstance(entry, dict)]

    def _add(self, durable: bool, entry: Dict[str, Any]) -> None:
        kept = self._state.append(FILE, {"at": round(self._clock.now(), 1), **entry}, MOST_BYTES, durable)
        if not kept and not self._failing:
            log.warning("journal=%s state=failed advice=\"disk full or not writable\"", FILE)
        self._failing = not kept
