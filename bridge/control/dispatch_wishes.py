"""Whether a load's own rules want it on: window, cheap hours, deadline, sun, full battery.

Pure. Never looks at limits or minimum times; a value that is not known wants nothing.
"""

from __future__ import annotations

from typing import NamedTuple, Optional, Tuple

from bridge.control.dispatch_config import Config, Load
from bridge.control.dispatch_limits import START_LAG_S, drawn_w
from bridge.control.dispatch_state import LOCAL, Inputs, LoadState, Now, State
from bridge.control.dispatch_time import hhmm, is_cheap, is_open, local, period, window_text

SLACK_S = 300.0  # a deadline's load starts so much earlier than it would have to


class Wish(NamedTuple):
    """What a load's own rules want; ``on`` None means that they do not care."""

    on: Optional[bool]
    rule: str
    reason: str


def rolled(config: Config, load: Load, held: LoadState, now: Now) -> LoadState:
    """Begin a new count of running time when the load's day is over."""
    if not now.synced or not (load.deadline or load.cheapest_s):
        return held
    start = period(now.at, load.deadline.by if load.deadline else 0, config.tz)[0]
    if held.ran_from is not None and held.ran_from >= start:
        return held
    return held._replace(ran_from=start, ran_s=0.0)


def by_clock(config: Config, load: Load, held: LoadState, inputs: Inputs, now: Now) -> Optional[Wish]:
    """Return what window, deadline and prices want, if they want it on; these also hold with cloud data."""
    if not (load.windows or load.deadline or load.cheapest_s) or not now.synced:
        return None
    for window in load.windows:
        if is_open(window, now.at, config.tz):
            return Wish(True, "window", f"window {window_text(window)} is open ({local(now.at, config.tz):%H:%M})")
    if load.deadline:
        left_s = load.deadline.minutes * 60.0 - held.ran_s
        until = period(now.at, load.deadline.by, config.tz)[1]
        if left_s > 0 and now.at >= until - left_s - SLACK_S:
            what = f"{left_s / 60:.0f} of {load.deadline.minutes:.0f} min are left to run by {hhmm(load.deadline.by)}"
            return Wish(True, "deadline", what)
    if load.cheapest_s:
        until = period(now.at, load.deadline.by if load.deadline else 0, config.tz)[1]
        left_s = load.cheapest_s - held.ran_s
        if left_s > 0 and is_cheap(inputs.prices, now.at, until, left_s):
            end = f"{local(until, config.tz):%H:%M}"
            return Wish(True, "cheap", f"now is among the cheapest {left_s / 3600:.1f} h until {end}")
    return None


def watched(
    config: Config, load: Load, state: State, held: LoadState, inputs: Inputs, fresh: str, now: Now,
) -> LoadState:
    """Note since when the sun is enough for a load, or not enough, and whether the battery is full enough."""
    plant = inputs.plant
    if fresh != LOCAL or plant is None or not load.follows_sun:
        return held._replace(wanted_since=None, short_since=None)
    if load.needs_soc_pct is not None:
        held = held._replace(soc_ok=_soc_ok(load.needs_soc_pct, held.soc_ok, plant.soc_pct, config))
    else:
        held = held._replace(soc_ok=True)
    spare_w = surplus_w(load, state, inputs)
    if load.needs_surplus_w is None:
        enough, short = held.soc_ok, not held.soc_ok
    elif spare_w is None:
        enough, short = False, False
    else:
        bought_w = max(0.0, load.power_w - load.needs_surplus_w)  # who asks for less than it draws buys the rest
        own_w = drawn_w(load, held) if held.on else 0.0
        enough = held.soc_ok and spare_w + own_w >= load.needs_surplus_w
        short = not held.soc_ok or spare_w < -(config.rules.import_w + bought_w)
    return held._replace(
        wanted_since=(held.wanted_since if held.wanted_since is not None else now.mono) if enough else None,
        short_since=(held.short_since if held.short_since is not None else now.mono) if short else None,
    )


def _soc_ok(needed: float, before: bool, soc_pct: Optional[float], config: Config) -> bool:
    if soc_pct is None:
        return False
    return soc_pct >= (needed - config.rules.soc_hysteresis_pct if before else needed)


def surplus_w(load: Load, state: State, inputs: Inputs) -> Optional[float]:
    """Return the watts that nobody uses: export, with the battery's charge for who goes before it.

    What we have just switched on counts as drawn before the meter shows it.
    """
    plant = inputs.plant
    if plant is None or plant.grid_w is None:
        return None
    spare_w = -plant.grid_w
    if plant.battery_w is not None:
        spare_w += plant.battery_w if load.over_battery else min(0.0, plant.battery_w)  # what it gives is not to spare
    return spare_w - sum(credit.power_w for credit in state.credits
                         if credit.power_w > 0 and plant.mono < credit.at + START_LAG_S)


def by_sun(config: Config, load: Load, held: LoadState, now: Now) -> Optional[Wish]:
    """Return what surplus and battery want of a load; None when it does not follow the sun."""
    if not load.follows_sun:
        return None
    rules = config.rules
    what = _conditions(load)
    if held.on and held.why_on == "sun":
        if held.short_since is not None and now.mono - held.short_since >= rules.surplus_until_s:
            return Wish(False, "sun", f"{what}: not met for {now.mono - held.short_since:.0f} s")
        return Wish(True, "sun", f"{what}: met")
    if held.wanted_since is None:
        return Wish(False, "sun", f"waits for {what}")
    stood_s = now.mono - held.wanted_since
    if stood_s < rules.surplus_after_s:
        return Wish(False, "sun", f"{what}: met for {stood_s:.0f} of {rules.surplus_after_s:.0f} s")
    return Wish(True, "sun", f"{what}: met for {stood_s:.0f} s")


def _conditions(load: Load) -> str:
    parts: Tuple[str, ...] = ()
    if load.needs_surplus_w is not None:
        parts += (f"{load.needs_surplus_w:.0f} W to spare",)
    if load.needs_soc_pct is not None:
        parts += (f"a battery of {load.needs_soc_pct:.0f} %",)
    return " and ".join(parts)
