"""The plant as the running bridge tells it, once a second over its own HTTP: five values, phases where asked for.

Never asks the plant itself, and never shows a reading as younger than it is.
"""

from __future__ import annotations

from typing import Any, Dict, Optional, Tuple

from bridge.clock import Clock
from bridge.control.dispatch_state import Plant
from bridge.errors import LinkError, PeerError
from bridge.faultlog import FaultLog
from bridge.link.bridge_http import get_json

TIMEOUT_S = 0.8  # it answers from memory; longer than a cycle is as good as not at all
REMOTE = ("cloud", "mqtt")


class BridgePlant:
    """The newest plant that the bridge at ``address`` ("host:port") told; ``phases`` asks for those too."""

    def __init__(
        self, address: str, token: str, clock: Clock, faults: FaultLog, phases: Optional[str] = None,
    ) -> None:
        self.peer = address
        self._token, self._clock, self._faults, self._phases = token, clock, faults, phases
        self.latest: Optional[Plant] = None
        self.error = ""

    def read(self) -> Optional[Plant]:
        """Return the newest plant there is, old or not; None before the first."""
        asked = self._clock.monotonic()
        try:
            snapshot = get_json(self.peer, "/v1/snapshot", TIMEOUT_S, self._token)
            fresh = plant_from(snapshot, asked)
            if fresh is not None and self._phases is not None and not fresh.remote:
                fresh = fresh._replace(phases=self._three())
        except (LinkError, PeerError) as error:
            self.error = f"the bridge at {self.peer} does not tell: {error}; is 'sigen-bridge run' running?"
            self._faults.bad(self.error)
            return self.latest
        if fresh is None:
            self.error = str(snapshot.get("reason") or "the bridge has no reading")
            self._faults.bad(self.error)
            return self.latest
        self.error = ""
        self._faults.good()
        self.latest = fresh
        return fresh

    def _three(self) -> Optional[Tuple[float, ...]]:
        """Return the phases, or None where the bridge or the plant does not tell them."""
        try:
            told = get_json(self.peer, "/v1/phases", TIMEOUT_S, self._token)
        except (LinkError, PeerError):
            return None
        return three_from(told, str(self._phases))


def three_from(told: Dict[str, Any], measure: str) -> Optional[Tuple[float, ...]]:
    """Return the phases of an answer of /v1/phases, W; None unless all three are numbers."""
    powers = told.get(f"{measure}_w")
    if not isinstance(powers, list) or len(powers) != 3 or not all(isinstance(each, (int, float)) for each in powers):
        return None
    return tuple(float(each) for each in powers)


def plant_from(snapshot: Dict[str, Any], asked_mono: float) -> Optional[Plant]:
    """Return the plant of a snapshot, or None when it shows none that can be believed."""
    age_s = snapshot.get("age_s")
    if snapshot.get("valid") is not True or not isinstance(age_s, (int, float)):
        return None

    def number(key: str) -> Optional[float]:
        told = snapshot.get(key)
        return float(told) if isinstance(told, (int, float)) and not isinstance(told, bool) else None

    source = str(snapshot.get("source") or "")
    return Plant(
        asked_mono - max(0.0, age_s), source.partition("-")[0] in REMOTE, number("load_w"), number("grid_import_w"),
        number("battery_charge_w"), number("soc_pct"),
    )
