"""The sun that an Envoy reports, as readings: its production meter, or what the microinverters told it.

Never takes the meter of an Envoy whose clamp is not in place for the sun (it says 0), never shows a figure of
the inverters that has stood still for half an hour, and never turns a wrong-way clamp into 0.
Facts: cloud-apis.md 8. Inverters report once in 5 to 15 minutes; a meter once a second.
"""

from __future__ import annotations

from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

from bridge.clock import Clock
from bridge.errors import PeerError
from bridge.model import Reading
from bridge.peers.enphase_envoy import Envoy

NAME = "envoy"
METER, INVERTERS, V1 = "meter", "inverters", "v1"
METER_VALID_S, INVERTERS_VALID_S = 60.0, 300.0  # since the answer: one that failed is made up for by the next
STOOD_STILL_S = 1800.0  # twice the longest pause between two reports of the inverters
INVERTERS_PERIOD_S = 60.0
LOOK_AGAIN_S = 600.0  # how often it is looked whether the Envoy has a meter
NIGHT_W = -50.0  # a clamp reads slightly negative at night
METERS, READINGS, PRODUCTION, V1_PRODUCTION = (
    "/ivp/meters", "/ivp/meters/readings", "/production.json", "/api/v1/production")


class Power(NamedTuple):
    """A power in W, by what it was measured, and when by the Envoy's own clock."""

    power_w: Optional[float]
    by: str
    at: Optional[float]
    reason: Optional[str] = None


class EnvoySource:
    """One Envoy's production; ``period_s`` is how often its meter is asked."""

    name = NAME

    def __init__(self, envoy: Envoy, clock: Clock, period_s: float) -> None:
        self._envoy, self._clock, self._period_s = envoy, clock, period_s
        self._meters: Optional[Tuple[int, ...]] = None
        self._looked_at = float("-inf")
        self._by = METER
        self._stamp: Optional[Tuple[Any, Any]] = None
        self._stamp_mono = 0.0

    def prepare(self) -> None:
        """Do nothing beforehand."""

    def read(self) -> Reading:
        """Return the sun as ``pv_w`` of a reading; raises LinkError, PeerError and what the token may raise."""
        self._envoy.tend()
        now = self._clock.monotonic()
        if now - self._looked_at >= LOOK_AGAIN_S:
            self._meters = metering(self._envoy.json(METERS))
            self._looked_at = now
        power = by_meter(self._envoy.json(READINGS), self._meters) if self._meters else None
        if power is None:
            power = self._by_inverters()
        self._by = power.by
        mono = self._clock.monotonic()
        power_w, reason = checked(power.power_w), power.reason
        if power.power_w is not None and power_w is None:
            reason = f"the Envoy says {power.power_w:.0f} W: is its production clamp the wrong way round?"
        if power.by != METER and power_w and self._still_s(power, mono) > STOOD_STILL_S:
            power_w, reason = None, "the microinverters have reported nothing new for half an hour"
        valid_s = METER_VALID_S if power.by == METER else INVERTERS_VALID_S
        return Reading(
            self._clock.now(), mono, NAME, pv_w=power_w, reason=reason,
            extras={"by": power.by, "valid_s": max(valid_s, 2 * self.next_in_s())},
        )

    def next_in_s(self) -> float:
        """Return how long to wait before the next look."""
        return self._period_s if self._by == METER else max(self._period_s, INVERTERS_PERIOD_S)

    def close(self) -> None:
        """Drop the connections."""
        self._envoy.close()

    def _by_inverters(self) -> Power:
        power = by_production(self._envoy.json(PRODUCTION), self._meters is not None)
        if power is None:
            power = by_v1(self._envoy.json(V1_PRODUCTION))
        if power is None:
            raise PeerError(f"{self._envoy.peer}: it shows no production at all; is it set up?")
        return power

    def _still_s(self, power: Power, mono: float) -> float:
        stamp = (power.at, power.power_w)
        if stamp != self._stamp:
            self._stamp, self._stamp_mono = stamp, mono
        return mono - self._stamp_mono


def metering(content: Any) -> Optional[Tuple[int, ...]]:
    """Return the ids of the production meters that measure; None where the Envoy knows no meters."""
    if not isinstance(content, list):
        return None
    return tuple(
        meter["eid"] for meter in dicts(content)
        if meter.get("measurementType") == "production" and meter.get("state") == "enabled"
        and meter.get("meteringStatus", "normal") != "not-metering" and isinstance(meter.get("eid"), int)
    )


def by_meter(content: Any, eids: Sequence[int]) -> Optional[Power]:
    """Return what the production meters say together, or None when one of them is missing."""
    found: Dict[int, Dict[str, Any]] = {
        each["eid"]: each for each in dicts(content) if isinstance(each.get("eid"), int)}
    powers = [number(found.get(eid, {}).get("activePower")) for eid in eids]
    if not powers or any(power is None for power in powers):
        return None
    return Power(sum(power for power in powers if power is not None), METER, number(found[eids[0]].get("timestamp")))


def by_production(content: Any, meters_known: bool) -> Optional[Power]:
    """Return production.json's figure: of the meter where no list of meters could tell, else of the inverters."""
    entries = dicts(content.get("production")) if isinstance(content, dict) else []
    by_type = {
        entry["type"]: entry for entry in entries if entry.get("activeCount") and isinstance(entry.get("type"), str)}
    meter, inverters = by_type.get("eim"), by_type.get("inverters")
    if meter is not None and not meters_known and number(meter.get("wNow")) is not None:
        return Power(number(meter.get("wNow")), METER, number(meter.get("readingTime")))
    if inverters is None:
        return None
    return Power(number(inverters.get("wNow")), INVERTERS, number(inverters.get("readingTime")))


def by_v1(content: Any) -> Optional[Power]:
    """Return /api/v1/production's figure; all zeros are what a firmware says that does not count there."""
    if not isinstance(content, dict):
        return None
    counted = any(content.get(name) for name in ("wattHoursToday", "wattHoursSevenDays", "wattHoursLifetime"))
    power_w = number(content.get("wattsNow"))
    return Power(power_w, V1, None) if counted and power_w is not None else None


def checked(power_w: Optional[float]) -> Optional[float]:
    """Return a power of at least 0; clearly negative is no sun, and unknown."""
    if power_w is None or power_w < NIGHT_W:
        return None
    return max(0.0, round(power_w, 1))


def dicts(content: Any) -> List[Dict[str, Any]]:
    """Return the objects in a JSON list, none for anything else."""
    return [each for each in content if isinstance(each, dict)] if isinstance(content, list) else []


def number(content: Any) -> Optional[float]:
    """Return a JSON number, or None."""
    return float(content) if isinstance(content, (int, float)) and not isinstance(content, bool) else None
