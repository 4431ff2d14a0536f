"""Decides once a second which loads are on, and says why; one call, nothing else happens here.

Pure: ``now`` is an argument. Never switches on while it does not know how the house stands, never fights
whoever moves a relay, and never lets comfort wait for protection or protection for comfort. What protects
(limits, a running oven) acts at once; everything else is slow, and one load at a time.
"""

from __future__ import annotations

from typing import Dict, List, NamedTuple, Optional, Set, Tuple

from bridge.control.dispatch_book import hindered, started_by, stopped
from bridge.control.dispatch_config import Config, Load
from bridge.control.dispatch_limits import blind_spots, overloads, recent, relief_w, to_shed, why_not
from bridge.control.dispatch_state import (
    HOUR_S,
    LOCAL,
    LOST,
    REMOTE,
    STALE,
    Inputs,
    LoadState,
    Now,
    State,
    freshness,
    observe,
)
from bridge.control.dispatch_wishes import Wish, by_clock, by_sun, rolled, watched

LEAVE, ON, OFF = "leave", "on", "off"


class Decision(NamedTuple):
    """What becomes of one load: ``want`` is on, off or leave; ``act`` is True when a relay has to move.

    An ``on`` that does not move a relay means: keep it, renew its timer. ``leave`` renews nothing.
    """

    load: str
    want: str
    act: bool
    rule: str
    reason: str


class Outcome(NamedTuple):
    """The decisions, one for each load by priority, what to remember, and what is beyond our power."""

    decisions: Tuple[Decision, ...]
    state: State
    fresh: str
    warnings: Tuple[str, ...] = ()


def decide(config: Config, state: State, inputs: Inputs, now: Now) -> Outcome:
    """Return what is to be done now with every load, each with its reason."""
    state = observe(config, state._replace(credits=recent(state.credits, now)), inputs, now)
    fresh = freshness(inputs.plant, config, now)
    desk = _Desk(config, state, inputs, now, fresh)
    desk.watch()
    desk.pause()
    desk.protect()
    desk.rest()
    desk.start_one()
    ordered = tuple(desk.decisions[load.name] for load in config.loads)
    return Outcome(ordered, desk.state, fresh, tuple(desk.warnings))


class _Desk:
    """One decision in the making; lives for the length of a call."""

    def __init__(self, config: Config, state: State, inputs: Inputs, now: Now, fresh: str) -> None:
        self.config, self.state, self.inputs, self.now, self.fresh = config, state, inputs, now, fresh
        self.decisions: Dict[str, Decision] = {}
        self.waiting: List[Tuple[Load, Wish]] = []
        self.warnings: List[str] = []

    def watch(self) -> None:
        """Bring the counts and delays of every load up to this moment."""
        for load in self.config.loads:
            held = rolled(self.config, load, self.state.of(load.name), self.now)
            held = watched(self.config, load, self.state, held, self.inputs, self.fresh, self.now)
            fits = not why_not(self.config, self.state, self.inputs, load)
            since = (held.fits_since if held.fits_since is not None else self.now.mono) if fits else None
            held = held._replace(fits_since=since, starts=tuple(s for s in held.starts if self.now.mono - s < HOUR_S))
            self._put(load.name, held)

    def pause(self) -> None:
        """Stop at once what pauses for a load that has begun to run."""
        for load in self._open():
            other = self._paused_by(load)
            held = self.state.of(load.name)
            if other is None or load.essential or held.given_up is not None:
                continue
            if held.manual_until is not None and held.manual_on:
                continue  # somebody wants both, and the limit still watches
            reason = f"{other.name} is running" if self.state.of(other.name).running else f"{other.name} has just ended"
            if held.on and self.state.of(other.name).running:
                self._stop(load, "pause", reason)
            elif not held.on:
                self._say(load, LEAVE if held.on is None else OFF, "pause", f"waits: {reason}")

    def _paused_by(self, load: Load) -> Optional[Load]:
        """Return the load that this one makes room for: it runs, or has not been quiet for long enough."""
        for other in self.config.loads:
            if other.kind not in load.pauses_for or other.name == load.name:
                continue
            held = self.state.of(other.name)
            if held.running:
                return other
            if held.ran_last is not None and self.now.mono - held.ran_last < self.config.rules.back_after_s:
                return other
        return None

    def protect(self) -> None:
        """Shed what is needed to come below the limits again; minimum times and hands do not count here."""
        if self.fresh != LOCAL or self.inputs.plant is None:
            return
        self.warnings += blind_spots(self.config, self.inputs.plant)
        taken: Set[str] = set()
        for over in overloads(self.config, self.state, self.inputs.plant):
            for load in to_shed(self.config, self.state, over, taken):
                taken.add(load.name)
                self._stop(load, "limit", f"{over.what}; this one is the least important that helps")
            if over.excess_w > sum(relief_w(load, self.state, over.phase) for load in self.config.loads
                                   if load.name in taken):
                self.warnings.append(f"{over.what}, and nothing is left to switch off")

    def rest(self) -> None:
        """Decide for the loads that nothing protects: left alone, kept, stopped, or waiting for their turn."""
        for load in sorted(self._open(), key=lambda each: -each.priority):
            held = self.state.of(load.name)
            alone = self._left_alone(load, held)
            if alone is not None:
                self._say(load, ON if held.ours and held.on and alone[0] == "manual" else LEAVE, *alone)
                continue
            if self.fresh in (STALE, LOST):
                self._without_data(load, held)
                continue
            wish = self._wish(load, held)
            if wish.on is None or (held.on is False and wish.on is False):
                self._say(load, LEAVE if wish.on is None else OFF, wish.rule, wish.reason)
            elif held.on is None:
                self._say(load, ON if wish.on and held.ours else LEAVE, "unknown", "its relay does not answer")
            elif held.on and wish.on:
                self._keep(load, held, wish)
            elif held.on:
                self._maybe_stop(load, held, wish)
            else:
                self.waiting.append((load, wish))

    def _left_alone(self, load: Load, held: LoadState) -> Optional[Tuple[str, str]]:
        if held.given_up is not None:
            who = f"another controller, such as mySigen, undid {held.undone} commands in a row"
            return "given_up", f"{who}; this load is left to them"
        if load.essential or not load.device:
            return "essential", "running" if held.running else "not running"
        if held.manual_until is not None and not (held.manual_on and held.paused and held.on is False):
            left_min = (held.manual_until - self.now.mono) / 60.0
            what = "on" if held.manual_on else "off"
            return "manual", f"switched {what} by hand ({held.source or 'unknown'}); left so for {left_min:.0f} min"
        return None

    def _without_data(self, load: Load, held: LoadState) -> None:
        if not held.on and not held.ours:
            self._say(load, LEAVE, self.fresh, "nothing is switched on while the plant's data are old")
        elif self.fresh == STALE:
            self._say(load, ON if held.ours else LEAVE, "stale", "kept while the plant's data are old")
        else:
            self._say(load, LEAVE, "lost", "no data of the plant: not renewed, its own timer ends it")

    def _wish(self, load: Load, held: LoadState) -> Wish:
        """Return what hand, clock and sun want, in this order."""
        if held.paused and (held.manual_until is not None or not load.has_rules):
            return Wish(True, "back", f"comes back after {'the limit' if held.paused == 'limit' else 'the pause'}")
        clock = by_clock(self.config, load, held, self.inputs, self.now)
        if clock is not None:
            return clock
        if not load.has_rules:
            if held.ours and held.on:
                return Wish(True, "back", "was on before, and stays")
            return Wish(None, "none", "nothing asks for it, and it is left as it is")
        sun = by_sun(self.config, load, held, self.now)
        if sun is not None and self.fresh == LOCAL:
            return sun
        if sun is not None and not (load.windows or load.deadline or load.cheapest_s):
            return Wish(False, "remote", "cloud data are too old for surplus")
        return Wish(False, "clock", "outside its times" if self.now.synced else "this machine's clock is not set")

    def _keep(self, load: Load, held: LoadState, wish: Wish) -> None:
        self._put(load.name, held._replace(why_on=wish.rule))
        self._say(load, ON if held.ours else LEAVE, wish.rule, wish.reason)

    def _maybe_stop(self, load: Load, held: LoadState, wish: Wish) -> None:
        rules = self.config.rules
        on_s = self._since(held)
        if on_s is not None and on_s < load.min_on_s:
            self._say(load, ON if held.ours else LEAVE, "min_on",
                      f"has to run {load.min_on_s - on_s:.0f} s more; then: {wish.reason}")
        elif wish.rule == "sun" and self.state.last_stop is not None \
                and self.now.mono - self.state.last_stop < rules.settle_s:
            self._say(load, ON if held.ours else LEAVE, "settle", "another load has just been stopped")
        else:
            self._stop(load, wish.rule, wish.reason)

    def start_one(self) -> None:
        """Switch on the most important load that may, wants to and fits; the others say what they wait for."""
        started = ""
        for load, wish in sorted(self.waiting, key=lambda pair: pair[0].priority):
            reason = hindered(self.config, self.state, self.inputs, load, self.now)
            if reason:
                self._say(load, OFF, wish.rule, f"{wish.reason}; not yet: {reason}")
            elif started:
                self._say(load, OFF, wish.rule, f"{wish.reason}; not yet: {started} goes first")
            else:
                started = load.name
                self.state = started_by(self.state, load, wish.rule, self.now)
                self.decisions[load.name] = Decision(load.name, ON, True, wish.rule, wish.reason)

    def _since(self, held: LoadState) -> Optional[float]:
        return None if held.changed is None else self.now.mono - held.changed

    def _stop(self, load: Load, rule: str, reason: str) -> None:
        self.state = stopped(self.state, load, rule, self.now)
        self.decisions[load.name] = Decision(load.name, OFF, True, rule, reason)

    def _say(self, load: Load, want: str, rule: str, reason: str) -> None:
        self.decisions[load.name] = Decision(load.name, want, False, rule, reason)

    def _put(self, name: str, held: LoadState) -> None:
        self.state = self.state._replace(loads={**self.state.loads, name: held})

    def _open(self) -> List[Load]:
        return [load for load in self.config.loads if load.name not in self.decisions]


def data_text(fresh: str) -> str:
    """Say in words what the plant's data are good for."""
    return {
        LOCAL: "fresh", REMOTE: "from the cloud: times only, no surplus and no limit",
        STALE: "old: nothing is switched on", LOST: "lost: what we switched on ends by its own timer",
    }[fresh]
