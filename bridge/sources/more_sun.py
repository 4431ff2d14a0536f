"""Adds the sun that only an Envoy knows to the readings of the plant.

Never waits for the Envoy (a thread of its own reads it) and never adds an old value: while the Envoy's sun is
needed and not known, the sun as a whole is unknown, and so is a load that lacks it; the parts are named.
"""

from __future__ import annotations

from typing import Any, Callable, Dict, Mapping, NamedTuple, Optional

from bridge.clock import Clock
from bridge.model import Reading
from bridge.sources.background import Background
from bridge.sources.topology import PV, SAYS, UNSEEN, Finder, adds, with_sun

STEP_S = 0.05


class Addition(NamedTuple):
    """The plant's values with the sun in them, those to judge the reading by, and what finishes the reading."""

    values: Mapping[str, Any]
    judged: Mapping[str, Any]
    completed: Callable[[Reading], Reading]


class MoreSun:
    """What ``background`` reads (an EnvoySource), added where the plant lacks it.

    ``patience_s`` is how long the very first call may wait for the Envoy: for commands that read once.
    """

    def __init__(self, background: Background, clock: Clock, told: str = "", patience_s: float = 0.0) -> None:
        self._background, self._clock, self._patience_s = background, clock, patience_s
        self._finder = Finder(told)
        self.topology: Optional[str] = self._finder.found

    def of(self, values: Mapping[str, Any], now: float) -> Addition:
        """Return what the Envoy adds to one sample of the plant's values by role."""
        self._background.want_reading()
        if self._patience_s:
            self._wait()
        latest = self._background.latest
        age_s = None if latest is None else now - latest.mono
        power_w: Optional[float] = None
        if latest is not None and age_s is not None and age_s <= latest.extras["valid_s"]:
            power_w = latest.pv_w
        topology = self._finder.note(values, power_w, now)
        self.topology = topology
        parts: Dict[str, Any] = {
            "envoy_w": power_w, "envoy_age_s": None if age_s is None else round(age_s, 1),
            "envoy_by": None if latest is None else latest.extras["by"], "envoy_topology": topology,
        }
        if power_w is not None:
            mixed = with_sun(values, power_w, topology)
            return Addition(mixed, mixed, lambda reading: named(reading, values, parts))
        if not adds(topology) and not (topology == PV and values.get("load_w") is None):
            return Addition(values, values, lambda reading: named(reading, values, parts))
        reason = self._missing(latest, age_s)
        judged = {role: value for role, value in values.items() if role not in ("load_w", "ac_power_w")}
        return Addition(values, judged, lambda reading: named(without(reading, topology, reason), values, parts))

    def close(self) -> None:
        """Let go of the Envoy."""
        self._background.close()

    def _wait(self) -> None:
        until = self._clock.monotonic() + self._patience_s
        self._patience_s = 0.0
        while self._background.latest is None and self._background.error is None:
            if self._clock.monotonic() >= until or self._clock.wait(STEP_S):
                return

    def _missing(self, latest: Optional[Reading], age_s: Optional[float]) -> str:
        if self._background.error is not None:
            return self._background.error
        if latest is None or age_s is None:
            return "no answer yet"
        return latest.reason or f"no value for {age_s:.0f} s"


def named(reading: Reading, values: Mapping[str, Any], parts: Mapping[str, Any]) -> Reading:
    """Return the reading with its parts told apart: the plant's registers as they were, the Envoy beside them."""
    extras = {**reading.extras, **parts, "pv_dc_w": values.get("pv_w")}
    for name in ("third_party_pv_w", "ac_power_w"):
        if name in values:
            extras[name] = values[name]
        else:
            extras.pop(name, None)
    return reading._replace(extras=extras)


def without(reading: Reading, topology: Optional[str], reason: str) -> Reading:
    """Return the reading of a moment in which the Envoy's sun is not known: what lacks it is unknown."""
    load_lacks_it = topology in (None, UNSEEN) or reading.load_derived
    if topology == PV:
        return reading._replace(load_w=None, balance_w=None, reason=reading.reason or f"house: {reason}")
    return reading._replace(
        pv_w=None, balance_w=None, load_w=None if load_lacks_it else reading.load_w,
        reason=reading.reason or f"the Envoy's sun is not known: {reason}",
    )


def sentence(topology: Optional[str]) -> str:
    """Return in one line which topology was found."""
    if topology is None:
        return "not found yet: it needs some sun (300 W); until then the Envoy's sun is added while 30194 says 0"
    return SAYS[topology]
