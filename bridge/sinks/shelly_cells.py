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
INFINITY = float("inf")
CALM_S = 30.0  # a reason that changes each second (an age in it) is not worth a write each second


class Cell:
    """One component: whether it is ours, its range, and the value that stands on the device.

    ``on_device`` None means unknown, so the next round writes it.
    """

    def __init__(self, key: str, unit: Optional[str], deadband: float) -> None:
        self.key = key
        self.ours = False
        self.on_device: Optional[Value] = None
        self.shown: Any = None  # as last read
        self.source = ""
        self.lo, self.hi = -INFINITY, INFINITY
        self._unit = unit
        self._deadband = deadband
        self._clamped = False
        self._refused = False
        self._standing: Optional[str] = None

    def update(self, component: Optional[Component], adopt: bool) -> Optional[str]:
        """Take in what the device says of the component; returns a line when its standing has changed."""
        if component is None:
            return self._stand(f'component={self.key} state=missing action="run sigen-bridge shelly setup"')
        if self.on_device is not None:
            self._refused = False  # it was written since
        self.shown, self.source = component.value, component.source
        self.lo = -INFINITY if component.lo is None else component.lo
        self.hi = INFINITY if component.hi is None else component.hi
        why = None if adopt else not_ours(component, self._unit)
        if why is not None:
            todo = "set shelly.first_id to five free ones, or shelly.adopt"
            return self._stand(f'component={self.key} state=left_alone reason="{why}" action="{todo}"')
        return self._stand(None)

    def refused(self, error: Exception) -> Optional[str]:
        """Stop writing the component until it is read again; returns a line the first time."""
        self.ours = False
        self.on_device = None
        first, self._refused = not self._refused, True
        return f'component={self.key} state=refused error="{error}"' if first else None

    def same(self, wanted: Any) -> bool:
        """Say whether a number is close enough to what the device shows."""
        known: Any = self.on_device
        if known is None or not self._deadband:
            return bool(wanted == known)
        return bool(abs(wanted - known) <= self._deadband)

    def clamped(self, wanted: float) -> Tuple[float, Optional[str]]:
        """Return the value within the component's range, and a line the first time that changes it."""
        value = min(max(wanted, self.lo), self.hi)
        if value == wanted or self._clamped:
            return value, None
        self._clamped = True
        todo = "run sigen-bridge shelly setup to widen its range"
        return value, f'component={self.key} value={wanted} clamped_to={value} action="{todo}"'

    def _stand(self, standing: Optional[str]) -> Optional[str]:
        news = standing if standing != self._standing else None
        self._standing = standing
        self.ours = standing is None
        if not self.ours:
            self.on_device = None
        return news


class Flag:
    """What the freshness component of this kind ("text", "boolean") is to show."""

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._stale: Optional[str] = None
        self._said_at = 0.0

    def wanted(self, reading: Reading, now: float) -> Value:
        """Return source and age, or stale and why; for a boolean true while the reading is valid."""
        if self._kind == "boolean":
            return reading.valid
        if not reading.valid:
            return self._stale_text(reading.reason or "no reading", now)
        self._stale = None
        age_s = now - reading.mono
        if age_s < FRESH_S:
            return f"live {reading.source}"[:TEXT_MOST]
        return f"{reading.source}, {age_s / 60:.0f} min old"[:TEXT_MOST]

    def _stale_text(self, reason: str, now: float) -> str:
        if self._stale is None or now - self._said_at >= CALM_S:
            self._stale, self._said_at = (STALE + reason)[:TEXT_MOST], now
        return self._stale
