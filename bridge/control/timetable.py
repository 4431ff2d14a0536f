"""The schedule of battery commands on disk: taken over whole, worked off entry by entry.

Never begins an entry twice: it is taken from the file before it is begun, so that a crash reports it and goes on
with the next one.
"""

from __future__ import annotations

from typing import Any, Dict, List, Optional, Sequence, Tuple

from bridge.control.battery import Command, as_record, from_record, said
from bridge.control.battery_journal import Journal
from bridge.control.lease import SCHEDULE_FILE
from bridge.control.schedule import due
from bridge.errors import BridgeError, Refused
from bridge.state import StateDir


class Timetable:
    """The entries that are still to come."""

    def __init__(self, state: StateDir, journal: Journal) -> None:
        self._state, self._journal = state, journal
        self._entries: Tuple[Command, ...] = tuple(_stored(state.load(SCHEDULE_FILE)))

    @property
    def entries(self) -> Tuple[Command, ...]:
        """What is still to come, in order of time."""
        return self._entries

    def put(self, commands: Sequence[Command], who: str) -> None:
        """Replace the schedule; raises Refused when it cannot be stored."""
        if not self._save(tuple(commands)):
            raise Refused("battery schedule: it cannot be stored (disk full or not writable)")
        self._journal.event(who, "schedule", f"{len(commands)} commands")

    def clear(self, who: str) -> None:
        """Forget what is still to come."""
        if self._entries:
            self._journal.event(who, "schedule", f"{len(self._entries)} commands to come were dropped")
            self._save(())

    def take_due(self, now: float) -> Optional[Command]:
        """Return the entry to begin now and take it off the schedule; ``now`` is of a clock that was set."""
        if not self._entries or (self._entries[0].start or 0.0) > now:
            return None
        found = due(self._entries, now)
        self._save(found.later)
        for missed in found.missed:
            self._journal.event("schedule", "missed", said(missed), start=missed.start)
        return found.begin._replace(start=now) if found.begin is not None else None

    def report(self) -> List[Dict[str, Any]]:
        """Return what is still to come, as plain data with words."""
        return [{**as_record(one), "text": said(one)} for one in self._entries]

    def _save(self, entries: Tuple[Command, ...]) -> bool:
        if not entries:
            self._state.delete(SCHEDULE_FILE)
        elif not self._state.save(SCHEDULE_FILE, [as_record(one) for one in entries], durable=True):
            return False
        self._entries = entries
        return True


def _stored(content: Any) -> List[Command]:
    if not isinstance(content, list):
        return []
    try:
        return [from_record(record) for record in content]
    except BridgeError:
        return []
