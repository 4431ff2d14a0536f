"""Readings pushed by the Sigenergy cloud over MQTT, partial updates put together.

Never zeroes what a message leaves out, never shows a value older than its validity, never derives a load
that cannot be one. Signs are those of the record already: grid + = import, storage + = charging.
"""

from __future__ import annotations

from typing import Any, Dict, Mapping, NamedTuple, Optional, Protocol, Tuple

from bridge.clock import Clock
from bridge.errors import BridgeError, ConfigError, LinkError, RateLimited
from bridge.model import VALID_REMOTE_S, Reading, invalid
from bridge.peers.sigen_mqtt import (
    ALARM,
    BATTERY,
    GRID,
    INVERTER,
    LOAD,
    PERIOD,
    PV,
    SOC,
    Push,
)
from bridge.sources.openapi import judged
from bridge.sources.plausibility import BALANCE_FLOOR_W, BALANCE_SHARE
from bridge.sources.signals import SMALL_NEGATIVE_LOAD_W

NAME = "mqtt"
NEXT_S = 1.0  # a push may come at any time
WATCHED = ("systemStatus", "onOffGridStatus", "operationalMode", "chargeCutOffSOC%", "dischargeCutOffSOC%",
           "backupCutOffSOC%", "peakShavingStatus", "stormWatchStatus")
ALARMS_KEPT = 20
AHEAD_S = 120.0  # the cloud's clock may be ahead of ours by this much


class Picture(NamedTuple):
    """What is known of one station: merged values, when they were measured and when that was (both clocks)."""

    values: Mapping[str, Any] = {}
    at: float = 0.0
    mono: float = float("-inf")
    told_at: float = 0.0  # statisticsTime of the newest message
    alarms: Tuple[Mapping[str, Any], ...] = ()

    def with_push(self, push: Push, now: float, mono: float, synced: bool) -> Picture:
        """Return the picture with one record merged in; an older record than the newest changes nothing.

        A time in the future is no time: else one wrong stamp would make all later records older ones.
        """
        if push.kind == ALARM:
            return self._replace(alarms=(*self.alarms, {"at": push.at or now, **push.values})[-ALARMS_KEPT:])
        if push.device != "system":
            return self
        if push.kind != PERIOD:
            return self._replace(values={**self.values, **push.values})
        at = push.at if push.at is not None and not (synced and push.at > now + AHEAD_S) else None
        stands = mono - self.mono <= VALID_REMOTE_S
        if stands and at is not None and at < self.told_at:
            return self
        age_s = max(0.0, now - at) if at is not None and synced else 0.0
        kept = self.values if stands else _unmeasured(self.values)
        return self._replace(
            values={**kept, **push.values}, at=at if at is not None else now,
            mono=max(self.mono, mono - age_s), told_at=at or self.told_at,
        )


def _unmeasured(values: Mapping[str, Any]) -> Dict[str, Any]:
    """Return what of the old values does not go stale: states and limits, no powers."""
    return {name: content for name, content in values.items() if name in WATCHED}


def to_reading(picture: Picture) -> Reading:
    """Return a picture as the record, judged.

    The house's load is not pushed: it is the AC side (inverter + grid) where that is known, else the DC side.
    """
    values = picture.values
    pv_w, grid_w, battery_w, inverter_w = (_float(values.get(name)) for name in (PV, GRID, BATTERY, INVERTER))
    ev_w, heat_pump_w = _float(values.get("evPowerW")), _float(values.get("heatPumpPowerW"))
    soc_pct = _float(values.get(SOC))
    extras: Dict[str, Any] = {name: values[name] for name in WATCHED if name in values}
    extras.update(ev_w=ev_w, heat_pump_w=heat_pump_w, ac_power_w=inverter_w)
    reading = Reading(
        picture.at, picture.mono, NAME, pv_w=None if pv_w is None else max(0.0, pv_w),
        soc_pct=soc_pct if soc_pct is not None and 0 <= soc_pct <= 100 else None, battery_w=battery_w, grid_w=grid_w,
        load_w=_float(values.get(LOAD)), extras=extras,
    )
    if all(one is None for one in (pv_w, reading.soc_pct, battery_w, grid_w)):
        return invalid(reading, "empty")
    if reading.load_w is not None:
        return judged(reading, ev_w, heat_pump_w)
    return _derived(reading, inverter_w, ev_w, heat_pump_w)


def _derived(
    reading: Reading, inverter_w: Optional[float], ev_w: Optional[float], heat_pump_w: Optional[float],
) -> Reading:
    pv_w, grid_w, battery_w = reading.pv_w, reading.grid_w, reading.battery_w
    dc_w = None if pv_w is None or battery_w is None else pv_w - battery_w
    if dc_w is not None and inverter_w is not None and inverter_w - dc_w > max(
            BALANCE_FLOOR_W, BALANCE_SHARE * max(abs(inverter_w), abs(dc_w))):
        return invalid(reading, "balance")  # more AC than sun and battery give: no reading of one moment
    source_w = inverter_w if inverter_w is not None else dc_w
    if source_w is None or grid_w is None:
        return reading
    load_w = source_w + grid_w - (ev_w or 0.0) - (heat_pump_w or 0.0)
    small = load_w >= SMALL_NEGATIVE_LOAD_W
    return reading._replace(load_w=max(0.0, load_w) if small else None, load_derived=True)


def _float(content: Any) -> Optional[float]:
    return None if isinstance(content, (str, bool)) or content is None else float(content)


class SigenMqttSource:
    """The newest picture of one station as readings. ``feed_for`` makes the feed that calls us back."""

    name, peer = NAME, "sigen cloud, mqtt"

    def __init__(self, feed_for: Any, system_id: str, clock: Clock) -> None:
        self._system_id, self._clock = system_id, clock
        self.picture = Picture()
        self._feed = feed_for(self.take)

    def take(self, push: Push) -> None:
        """Merge one record, in the connection's thread."""
        if push.system_id == self._system_id:
            clock = self._clock
            self.picture = self.picture.with_push(push, clock.now(), clock.monotonic(), clock.synced())

    def prepare(self) -> None:
        """Connect, so that a reading is there when it is wanted."""
        self._feed.start()

    def read(self) -> Reading:
        """Return the newest reading; raises LinkError while there is none that counts, ConfigError for settings."""
        self._feed.start()
        picture = self.picture
        if self._clock.monotonic() - picture.mono <= VALID_REMOTE_S:
            return to_reading(picture)
        health = self._feed.health()
        if isinstance(self._feed.error, ConfigError):
            raise self._feed.error
        raise LinkError(f"sigen mqtt: {health['error'] or 'no telemetry yet (' + health['state'] + ')'}")

    def next_in_s(self) -> float:
        """Return in how many seconds something new may be there."""
        return NEXT_S

    def health(self) -> Dict[str, Any]:
        """Return how the session is, and what the station last said of itself."""
        picture = self.picture
        return {"mqtt": {**self._feed.health(), "system": _unmeasured(picture.values), "alarms": list(picture.alarms)}}

    def line(self) -> None:
        """There is no Modbus line behind this source."""

    def close(self) -> None:
        """End the session."""
        self._feed.stop(2.0)


class Slow(Protocol):
    """A source that is polled; ``OpenApiSource`` is the one there is."""

    def prepare(self) -> None: ...

    def read(self) -> Reading: ...

    def close(self) -> None: ...


class PushThenPoll:
    """The pushed reading where there is one, else the polled one: one fallback for the failover."""

    def __init__(self, push: SigenMqttSource, poll: Slow) -> None:
        self._push, self._poll = push, poll

    def prepare(self) -> None:
        """Connect and log in."""
        self._push.prepare()
        self._poll.prepare()

    def read(self) -> Reading:
        """Return one; raises LinkError naming both reasons when there is neither."""
        try:
            return self._push.read()
        except BridgeError as error:
            why = str(error)
        try:
            return self._poll.read()
        except RateLimited as error:
            # as a RateLimited it would keep the push from being looked at for minutes
            raise LinkError(f"{why}; {error}") from error

    def next_in_s(self) -> float:
        """Return in how many seconds something new may be there: a push asks nobody."""
        return self._push.next_in_s()

    def health(self) -> Dict[str, Any]:
        """Return how the session is."""
        return self._push.health()

    def close(self) -> None:
        """Let go of both."""
        self._push.close()
        self._poll.close()
