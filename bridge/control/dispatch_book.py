"""What a decision to switch a load leaves in the books: who owns it, since when, and what the meter will show.

Pure. Never decides, and never takes a command for a fact: a relay has the last word.
"""

from __future__ import annotations

from bridge.control.dispatch_config import Config, Load
from bridge.control.dispatch_limits import drawn_w, why_not
from bridge.control.dispatch_state import Credit, Inputs, Now, State

PROTECTING = ("limit", "pause")  # what these stop is brought back


def started_by(state: State, load: Load, rule: str, now: Now) -> State:
    """Return the books after the decision to switch a load on."""
    held = state.of(load.name)
    held = held._replace(
        on=True, seen_on=True, changed=now.mono, commanded=True, commanded_at=now.mono, ours=True, paused="",
        why_on=rule, starts=(*held.starts, now.mono), short_since=None,
    )
    state = _with_credit(state, load, load.power_w, now)
    return state._replace(loads={**state.loads, load.name: held}, last_start=now.mono)


def stopped(state: State, load: Load, rule: str, now: Now) -> State:
    """Return the books after the decision to switch a load off; the sun's other loads begin to wait anew."""
    held = state.of(load.name)
    state = _with_credit(state, load, -drawn_w(load, held), now)
    held = held._replace(
        on=False, seen_on=False, changed=now.mono, commanded=False, commanded_at=now.mono, ours=False,
        paused=rule if rule in PROTECTING else "", wanted_since=None, short_since=None,
    )
    loads = {**state.loads, load.name: held}
    if rule == "sun":
        loads = {name: each._replace(short_since=None) for name, each in loads.items()}
        state = state._replace(last_stop=now.mono)
    return state._replace(loads=loads)


def hindered(config: Config, state: State, inputs: Inputs, load: Load, now: Now) -> str:
    """Return what a load that wants to start still waits for, or "" when nothing is in its way."""
    rules, held = config.rules, state.of(load.name)
    if state.last_start is not None and now.mono - state.last_start < rules.settle_s:
        return f"the last start was {now.mono - state.last_start:.0f} s ago"
    if held.changed is not None and now.mono - held.changed < load.min_off_s:
        return f"has to rest {load.min_off_s - (now.mono - held.changed):.0f} s more"
    if len(held.starts) >= rules.starts_per_hour:
        return f"was started {len(held.starts)} times within the last hour"
    full = why_not(config, state, inputs, load)
    if full:
        return full
    if held.paused == "limit" and held.fits_since is not None and now.mono - held.fits_since < rules.back_after_s:
        return f"there has been room for {now.mono - held.fits_since:.0f} of {rules.back_after_s:.0f} s"
    return ""


def _with_credit(state: State, load: Load, power_w: float, now: Now) -> State:
    return state._replace(credits=(*state.credits, Credit(now.mono, load.name, power_w, load.phases or (0,))))
