"""What is known of one component that we show something on, and what a freshness component shows.

Never talks to the device; methods that have something worth logging return it as one line.
"""

from __future__ import annotations

from typing import Any, Optional, Tuple

from bridge.model import Reading
from bridge.peers.shelly_components import Component, not_ours
from bridge.peers.shelly_rpc import Value

FRESH_S = 30.0  # older readings (cloud, MQTT) show their age in minutes
TEXT_MOST = 120  # characters; a text component takes 255
STALE = "stale: "


class Cell:
    """One component: whether it is ours, its range, and the value that stands on the device.

    ``on_device`` None means unknown, so the next round writes it.
    """

    def __init__(self, key: str, unit: Optional[str], deadband: float) -> None:
        self.key = key
        self.kind = key.partition(":")[0]
        self.ours = False
        self.on_device: Optional[Value] = None
        self.shown: Any = None  # value and source as last read
        self.source = ""
        self._unit = unit
        self._deadband = deadband
        self._lo: Optional[float] = None
        self._hi: Optional[float] = None
        self._clamped = False
        self._reason: Optional[str] = None

    def update(self, component: Optional[Component], adopt: bool) -> Optional[str]:
        """Take in what the device says of the component; returns a line when its standing has changed."""
        if component is None:
            return self._stand(f"component={self.key} state=missing action=\"run sigen-bridge shelly setup\"")
        self.shown, self.source = component.value, component.source
        self._lo, self._hi = component.lo, component.hi
        why = None if adopt else not_ours(component, self._unit)
        if why is not None:
            return self._stand(
                f"component={self.key} state=left_alone reason=\"{why}\" action=\"another shelly.first_id or shelly.adopt\""
            )
        return self._stand(None)

    def refused(self, error: Exception) -> str:
        """Stop writing the component until it is read again; returns the line to log."""
        self.ours = False
        self._reason = f"component={self.key} state=refused error=\"{error}\""
        return self._reason

    def differs(self, wanted: Value) -> bool:
        """Say whether a number is far enough from what the device shows."""
        known = self.on_device
        if known is None:
            return True
        if not self._deadband:
            return wanted != known
        return abs(wanted - known) > self._deadband  # type: ignore[operator]

    def clamped(self, wanted: Any) -> Tuple[Any, Optional[str]]:
        """Return the value within the component's range, and a line the first time that changes it."""
        value = wanted
        if self._lo is not None and value < self._lo:
            value = self._lo
        if self._hi is not None and value > self._hi:
            value = self._hi
        if value == wanted or self._clamped:
            return value, None
        self._clamped = True
        return value, (
            f"component={self.key} value={wanted} clamped_to={value} action=\"run sigen-bridge shelly setup to widen it\""
        )

    def _stand(self, reason: Optional[str]) -> Optional[str]:
        news = reason if reason is not None and reason != self._reason else None
        self.ours = reason is None
        self._reason = reason
        if not self.ours:
            self.on_device = None
        return news


def freshness_shown(kind: str, reading: Reading, now: float) -> Value:
    """Return what a freshness component of this kind shows: source and age, or stale and why.

    A boolean is true while the reading is valid.
    """
    if kind == "boolean":
        return reading.valid
    if not reading.valid:
        return (STALE + (reading.reason or "no reading"))[:TEXT_MOST]
    age_s = now - reading.mono
    if age_s < FRESH_S:
        return f"live {reading.source}"[:TEXT_MOST]
    return f"{reading.source}, {age_s / 60:.0f} min old"[:TEXT_MOST]
