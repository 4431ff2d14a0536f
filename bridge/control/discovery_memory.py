"""The Shellys that were found before: remembered by MAC, called offline only after several failed polls.

Pure. Never forgets one by itself, and never calls one offline without the reason.
"""

from __future__ import annotations

from typing import Any, Dict, Iterable, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from bridge.control.discovery import Shelly
from bridge.control.discovery_report import table
from bridge.values import plain_mac

OFFLINE_AFTER = 3  # a Shelly that is busy or restarting misses one poll, not three


class Poll(NamedTuple):
    """What one question to a remembered device brought; ``reason`` is empty when it answered as itself."""

    mac: str
    reason: str = ""


class Event(NamedTuple):
    """Something the owner wants to hear once: kind is new, offline, back or moved."""

    kind: str
    shelly: Shelly
    text: str


class Memory:
    """Remembered devices by MAC, and how many polls of each have failed in a row."""

    def __init__(self, content: Any = None, polls: Any = None) -> None:
        self.devices: Dict[str, Shelly] = {}
        self.failed: Dict[str, Tuple[int, str]] = {}
        for row in content.get("devices", ()) if isinstance(content, dict) else ():
            known = _shelly(row)
            if known is not None:
                self.devices[known.mac] = known
        for mac, row in polls.items() if isinstance(polls, dict) else ():
            if mac in self.devices and isinstance(row, list) and len(row) == 2 and isinstance(row[0], int):
                self.failed[mac] = (row[0], str(row[1]))

    def content(self) -> Dict[str, Any]:
        """Return what is to be stored of the devices; equal content means that nothing needs storing."""
        rows = [{name: value for name, value in self.devices[mac]._asdict().items() if name in KEPT}
                for mac in sorted(self.devices)]
        return {"schema": 1, "devices": rows}

    def polls(self) -> Dict[str, Any]:
        """Return what is to be stored of the polls."""
        return {mac: list(entry) for mac, entry in self.failed.items()}

    def saw(self, found: Iterable[Shelly]) -> List[Event]:
        """Take in devices that have answered; returns what is news. One without a MAC is not remembered."""
        events: List[Event] = []
        for each in found:
            if not each.mac:
                continue
            known = self.devices.get(each.mac)
            self.devices[each.mac] = each
            count, _ = self.failed.pop(each.mac, (0, ""))
            if known is None:
                events.append(Event("new", each, ""))
            elif count >= OFFLINE_AFTER:
                events.append(Event("back", each, f"{each.name} is back at {each.ip}"))
            elif known.ip != each.ip:
                events.append(Event("moved", each, f"{each.name} moved from {known.ip} to {each.ip}"))
        return events

    def polled(self, results: Iterable[Poll]) -> List[Event]:
        """Count polls of remembered devices; returns those that are offline from now on, or back."""
        events: List[Event] = []
        for poll in results:
            known = self.devices.get(poll.mac)
            if known is None:
                continue
            count, _ = self.failed.get(poll.mac, (0, ""))
            if not poll.reason:
                self.failed.pop(poll.mac, None)
                if count >= OFFLINE_AFTER:
                    events.append(Event("back", known, f"{known.name} is back at {known.ip}"))
                continue
            self.failed[poll.mac] = (count + 1, poll.reason)
            if count + 1 == OFFLINE_AFTER:
                events.append(Event("offline", known, f"{known.name} is offline: {self.state(poll.mac)}"))
        return events

    def offline(self, mac: str) -> bool:
        """Say whether enough polls in a row have failed."""
        return self.failed.get(mac, (0, ""))[0] >= OFFLINE_AFTER

    def state(self, mac: str) -> str:
        """Return how a remembered device stands, in words."""
        count, reason = self.failed.get(mac, (0, ""))
        return "online" if not count else f"{count} poll{'s' if count > 1 else ''} failed, {reason}"

    def named(self, word: str) -> List[Shelly]:
        """Return the remembered devices that a word stands for: name, id, MAC or address."""
        wanted = word.strip().lower()
        mac = plain_mac(word)
        return [each for each in self.devices.values()
                if wanted in (each.name.lower(), each.id.lower(), each.ip.lower()) or mac == each.mac]

    def forget(self, mac: str) -> None:
        """Forget one; it comes back when it is found again."""
        self.devices.pop(mac, None)
        self.failed.pop(mac, None)


KEPT = ("ip", "mac", "id", "announced", "nick", "model", "app", "gen", "version")


def _shelly(row: Any) -> Optional[Shelly]:
    """Return a stored device, or None for what is damaged."""
    if not isinstance(row, Mapping) or not isinstance(row.get("mac"), str) or not row["mac"]:
        return None
    fields = {name: row[name] for name in KEPT
              if isinstance(row.get(name), int if name == "gen" else str)}
    return Shelly(**fields) if "ip" in fields else None


def found_lines(memory: Memory, found: Sequence[Shelly], there: Iterable[str], new: Iterable[str]) -> List[str]:
    """Return the list for people; ``there`` and ``new`` are the MACs of who answered and who is new."""
    fresh, online = frozenset(new), frozenset(there)
    rows = []
    for each in sorted([*found, *_absent(memory, found)], key=lambda one: (one.name.lower(), one.ip)):
        state = "online" if each.mac in online else _absence(memory, each.mac)
        if each.auth:
            state += ", has a password"
        rows.append((each.name, each.model or each.app or "model unknown", each.version or "-", each.ip,
                     each.mac or "MAC unknown", state + (", new" if each.mac in fresh else "")))
    return table(rows) or ["  nothing found"]


def found_data(memory: Memory, found: Sequence[Shelly], there: Iterable[str], new: Iterable[str],
               ) -> List[Dict[str, Any]]:
    """Return the same for programs; unknown is null."""
    fresh, online = frozenset(new), frozenset(there)
    return [{
        "name": each.name, "id": each.id or None, "mac": each.mac or None, "ip": each.ip,
        "model": each.model or None, "app": each.app or None, "gen": each.gen or None,
        "firmware": each.version or None, "password": each.auth, "new": each.mac in fresh,
        "online": True if each.mac in online else False if memory.offline(each.mac) else None,
        "failed_polls": memory.failed.get(each.mac, (0, ""))[0],
        "reason": memory.failed.get(each.mac, (0, ""))[1] or None,
    } for each in [*found, *_absent(memory, found)]]


def _absent(memory: Memory, found: Sequence[Shelly]) -> List[Shelly]:
    here = {each.mac for each in found}
    return [each for mac, each in memory.devices.items() if mac not in here]


def _absence(memory: Memory, mac: str) -> str:
    if mac not in memory.devices:
        return "announces itself, but does not answer"
    state = memory.state(mac)
    return f"offline: {state}" if memory.offline(mac) else f"not seen: {state}" if mac in memory.failed else state
