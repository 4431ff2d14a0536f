"""What is known of each load, and what a look at its relay means: ours, somebody's hand, a timer, a rival.

Pure. Never decides what a load should do, and never takes a relay that did not answer for one that is off.
"""

from __future__ import annotations

from typing import Mapping, NamedTuple, Optional, Tuple

from bridge.control.dispatch_config import Config, Load
from bridge.control.dispatch_time import Price

HELD_S = 60.0  # a command that stood for so long was not undone
UNDONE_MOST = 3
GIVEN_UP_S = 86_400.0
IDLE_W = 50.0  # unloaded metering channels read a few watts
OWN_SOURCES = ("timer", "init")  # the device itself: nobody's hand
REMOTE_VALID_S = 900.0
LOCAL, REMOTE, STALE, LOST = "local", "remote", "stale", "lost"
HOUR_S = 3600.0
ORDER_LIFE_S = 10.0  # a command that could not be carried out by then is void


class Now(NamedTuple):
    """This moment: monotonic seconds, unix seconds, and whether the latter can be trusted."""

    mono: float
    at: float
    synced: bool = True


class Plant(NamedTuple):
    """What the plant measured at ``mono``; W and %, ``grid_w`` + imports, ``battery_w`` + charges.

    ``phases`` is the power per phase that ``phase_limit_w`` is about.
    """

    mono: float
    remote: bool = False
    load_w: Optional[float] = None
    grid_w: Optional[float] = None
    battery_w: Optional[float] = None
    soc_pct: Optional[float] = None
    phases: Optional[Tuple[float, ...]] = None


class Relay(NamedTuple):
    """What a relay said, asked at ``mono``; ``on`` None is unknown.

    ``applied_mono`` is the moment of the newest command that the device carried out before it was asked.
    """

    on: Optional[bool]
    mono: float
    source: str = ""
    power_w: Optional[float] = None
    applied_mono: Optional[float] = None
    error: str = ""


class Inputs(NamedTuple):
    """Everything that is looked at from outside."""

    plant: Optional[Plant] = None
    relays: Mapping[str, Relay] = {}
    prices: Tuple[Price, ...] = ()


class LoadState(NamedTuple):
    """What is remembered of one load; moments are monotonic, None is never or long ago."""

    on: Optional[bool] = None
    seen_on: Optional[bool] = None  # the last known state, however old
    power_w: Optional[float] = None
    source: str = ""
    changed: Optional[float] = None
    commanded: Optional[bool] = None
    commanded_at: float = 0.0
    ours: bool = False  # on because we switched it on
    why_on: str = ""
    paused: str = ""  # "limit" or "pause" switched it off, and it is to come back
    manual_until: Optional[float] = None
    manual_on: bool = False
    undone: int = 0  # commands in a row that somebody undid
    given_up: Optional[float] = None
    starts: Tuple[float, ...] = ()
    ran_s: float = 0.0
    ran_from: Optional[float] = None  # unix time of the period that ran_s is about
    looked: Optional[float] = None
    running: bool = False
    ran_last: Optional[float] = None  # when it last drew power
    wanted_since: Optional[float] = None  # surplus was enough from then on
    short_since: Optional[float] = None  # surplus is not enough for it since then
    fits_since: Optional[float] = None
    soc_ok: bool = False


class Credit(NamedTuple):
    """A command of ours that the plant's meter may not show yet."""

    at: float
    name: str
    power_w: float  # above 0 for a start, below for a stop
    phases: Tuple[int, ...]


class State(NamedTuple):
    """Everything that is remembered between two decisions."""

    loads: Mapping[str, LoadState] = {}
    credits: Tuple[Credit, ...] = ()
    last_start: Optional[float] = None
    last_stop: Optional[float] = None  # of a load that followed the sun
    load_w: Optional[float] = None  # of the plant, one reading ago, for steps
    load_at: Optional[float] = None

    def of(self, name: str) -> LoadState:
        """Return what is remembered of a load."""
        return self.loads.get(name, LoadState())


def freshness(plant: Optional[Plant], config: Config, now: Now) -> str:
    """Say what the plant's data are good for: local, remote (windows only), stale, lost."""
    if plant is None:
        return LOST
    age_s = now.mono - plant.mono
    if plant.remote:
        return REMOTE if age_s <= REMOTE_VALID_S else LOST
    if age_s <= config.rules.stale_after_s:
        return LOCAL
    return STALE if age_s <= config.rules.lost_after_s else LOST


def observe(config: Config, state: State, inputs: Inputs, now: Now) -> State:
    """Return the state with everything in it that the relays and the plant's load show."""
    loads = {load.name: _look(load, state.of(load.name), inputs.relays.get(load.name), now) for load in config.loads}
    state = state._replace(loads=loads)
    plant = inputs.plant
    if plant is None or plant.load_w is None or plant.remote or plant.mono == state.load_at:
        return state
    if state.load_w is not None and state.load_at is not None:
        state = _steps(config, state, plant.load_w - state.load_w, now)
    return state._replace(load_w=plant.load_w, load_at=plant.mono)


def _look(load: Load, held: LoadState, relay: Optional[Relay], now: Now) -> LoadState:
    if held.looked is not None and held.seen_on and (held.on or relay is None):
        held = held._replace(ran_s=held.ran_s + max(0.0, now.mono - held.looked))
    held = held._replace(looked=now.mono)
    if held.given_up is not None and now.mono - held.given_up >= GIVEN_UP_S:
        held = held._replace(given_up=None, undone=0)
    if held.manual_until is not None and now.mono >= held.manual_until:
        held = held._replace(manual_until=None)
    if not load.device:
        return held  # known by its steps only
    if relay is None or relay.on is None:
        return held._replace(on=None, power_w=None)
    if held.commanded is not None and (relay.applied_mono is None or relay.applied_mono < held.commanded_at):
        if now.mono - held.commanded_at < ORDER_LIFE_S:
            return held  # the command is still on its way
        held = held._replace(commanded=None, ours=False, seen_on=relay.on, changed=now.mono)  # it never got there
    held = _judged(load, held, relay, now)
    if held.commanded is not None and now.mono - held.commanded_at >= HELD_S:
        held = held._replace(undone=0)
    held = held._replace(
        on=relay.on, seen_on=relay.on, power_w=relay.power_w, source=relay.source, ours=held.ours and relay.on)
    return _metered(load, held, now)


def _judged(load: Load, held: LoadState, relay: Relay, now: Now) -> LoadState:
    """Find out who made the relay what it is."""
    expected = held.commanded if held.commanded is not None else held.seen_on
    if expected is None or relay.on == expected:
        if held.seen_on is not None and relay.on != held.seen_on:
            held = held._replace(changed=now.mono)
        return held
    held = held._replace(changed=now.mono, ours=False, wanted_since=None, short_since=None)
    if relay.source in OWN_SOURCES:
        return held._replace(commanded=None)
    undone = held.undone + 1 if held.commanded is not None else held.undone
    until = now.mono + load.manual_hold_s if load.manual_hold_s > 0 else None
    held = held._replace(
        commanded=None, undone=undone, manual_until=until, manual_on=bool(relay.on), paused="")
    return held._replace(given_up=now.mono) if undone >= UNDONE_MOST and held.given_up is None else held


def _metered(load: Load, held: LoadState, now: Now) -> LoadState:
    """Say whether it draws power: by its own meter, or because an output without one is on."""
    if held.power_w is None:
        running = bool(held.on)
    else:
        running = bool(held.on) and held.power_w >= (IDLE_W if held.running else load.running_w)
    return held._replace(running=running, ran_last=now.mono if running else held.ran_last)


STEP_LOW, STEP_HIGH = 0.8, 1.25  # of the nominal power; a step within is that load


def _steps(config: Config, state: State, step_w: float, now: Now) -> State:
    """Notice loads without a device by the step they make in the house's load, if it is nobody else's."""
    known_w = sum(credit.power_w for credit in state.credits if now.mono - credit.at < 5.0)
    for load in config.loads:
        held = state.of(load.name)
        if load.essential and not load.device:
            if abs(known_w) < STEP_LOW * load.power_w:  # one of ours would look the same
                size = step_w / load.power_w
                if not held.running and STEP_LOW <= size <= STEP_HIGH:
                    held = held._replace(running=True, on=True, seen_on=True)
                elif held.running and STEP_LOW <= -size <= STEP_HIGH:
                    held = held._replace(running=False, on=False, seen_on=False)
            if held.running:
                held = held._replace(ran_last=now.mono)
            state = state._replace(loads={**state.loads, load.name: held})
    return state
