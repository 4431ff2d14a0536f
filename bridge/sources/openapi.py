"""Readings from the Sigenergy cloud, one in 300 s: the fallback when the local link is down.

Never shows a sample whose energy does not add up, never guesses a sign, never passes off an old value as
new: between two calls it returns the last reading with its own time.

Signs: OpenAPI gridPower is + export, batteryPower + charging. The load does not contain EV charger and heat
pump: of 2 457 real samples of the owner's app, which uses the same fields, 2 454 balance to 10 W that way.
"""

from __future__ import annotations

import threading
from typing import Any, Dict, Optional

from bridge.clock import Clock
from bridge.errors import RateLimited
from bridge.model import VALID_REMOTE_S, Reading, invalid
from bridge.peers.budget import PERIOD_S
from bridge.peers.sigen_openapi import OpenApi
from bridge.peers.sigen_records import EnergyFlow
from bridge.sources.plausibility import BALANCE_FLOOR_W, BALANCE_SHARE

NAME = "cloud"


class OpenApiSource:
    """The power flow of one station as readings; ``system_id`` None takes the one of ``api``."""

    name = NAME

    def __init__(self, api: OpenApi, clock: Clock, system_id: Optional[str] = None) -> None:
        self._api, self._clock, self._system_id = api, clock, system_id
        self._last: Optional[Reading] = None
        self._turn = threading.Lock()  # the loop and a relay's /refresh may both ask

    def prepare(self) -> None:
        """Log in, so that the first reading does not have to."""
        self._api.token()

    def read(self) -> Reading:
        """Return a new reading, or within the 300 s the last one with its own ``at`` and ``mono``.

        Raises RateLimited where there is none to return, and what ``OpenApi.energy_flow`` raises.
        """
        with self._turn:
            return self._read()

    def _read(self) -> Reading:
        last = self._last
        age_s = self._clock.monotonic() - last.mono if last is not None else 0.0
        if last is not None and age_s < PERIOD_S:
            return last
        try:
            flow = self._api.energy_flow(self._system_id)
        except RateLimited:
            if last is not None and age_s <= VALID_REMOTE_S:
                return last
            raise
        self._last = to_reading(flow, self._clock.now(), self._clock.monotonic())
        return self._last

    def next_in_s(self) -> float:
        """Return in how many seconds ``read`` can bring something new."""
        return self._api.energy_flow_in_s(self._system_id)

    def close(self) -> None:
        """Drop the connection."""
        self._api.close()


def to_reading(flow: EnergyFlow, at: float, mono: float) -> Reading:
    """Return a power flow in the record's units and signs (W; grid + = import), judged by its balance."""
    extras: Dict[str, Any] = {"ev_w": watts(flow.ev_kw), "heat_pump_w": watts(flow.heat_pump_kw)}
    soc_pct = flow.soc_pct if flow.soc_pct is not None and 0 <= flow.soc_pct <= 100 else None
    reading = Reading(
        at, mono, NAME, pv_w=watts(flow.pv_kw), soc_pct=soc_pct, battery_w=watts(flow.battery_charge_kw),
        grid_w=watts(flow.grid_export_kw, -1.0), load_w=watts(flow.load_kw), extras=extras,
    )
    if all(one is None for one in (reading.pv_w, soc_pct, reading.battery_w, reading.grid_w, reading.load_w)):
        return invalid(reading, "empty")
    return judged(reading, extras["ev_w"], extras["heat_pump_w"])


def judged(reading: Reading, ev_w: Optional[float], heat_pump_w: Optional[float]) -> Reading:
    """Return the reading with ``balance_w`` = pv + grid - battery - ev - heat pump - load, and its verdict.

    Where EV charger or heat pump are not reported the balance is unknown; but a consumer that is not
    reported can only explain missing power, so too much consumption stays impossible.
    """
    pv_w, grid_w, battery_w, load_w = reading.pv_w, reading.grid_w, reading.battery_w, reading.load_w
    if pv_w is None or grid_w is None or battery_w is None or load_w is None:
        return reading
    terms = (pv_w, grid_w, -battery_w, -load_w, -(ev_w or 0.0), -(heat_pump_w or 0.0))
    residual_w = round(sum(terms), 3) + 0.0
    limit_w = max(BALANCE_FLOOR_W, BALANCE_SHARE * max(map(abs, terms)))
    complete = ev_w is not None and heat_pump_w is not None
    if complete:
        reading = reading._replace(balance_w=residual_w)
    if residual_w < -limit_w or (complete and residual_w > limit_w):
        return invalid(reading, "balance")
    return reading


def watts(power_kw: Optional[float], sign: float = 1.0) -> Optional[float]:
    """Return W of kW, rounded to the mW so that 0.07 kW is 70 W; None stays None, -0.0 becomes 0.0."""
    return None if power_kw is None else round(power_kw * 1000.0 * sign, 3) + 0.0
