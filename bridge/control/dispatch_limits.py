"""What fits below the limits of inverter and phases, and what has to go when it does not.

Pure. Never counts a command of ours twice: a start is added until the plant's meter must show it, a stop is
taken off only for as long as the meter may still be behind.
"""

from __future__ import annotations

from typing import Collection, List, NamedTuple, Optional, Sequence, Tuple

from bridge.control.dispatch_config import Config, Load
from bridge.control.dispatch_state import Credit, Inputs, LoadState, Now, Plant, State

START_LAG_S = 5.0  # relay, inrush and the plant's own second
STOP_LAG_S = 1.5  # after that, what is still there has to be met by the next load
SMALL_W = 20.0  # switching off what draws less helps nobody


class Overload(NamedTuple):
    """One limit that is exceeded: by how much, in words, and on which phase (None is the sum)."""

    excess_w: float
    what: str
    phase: Optional[int] = None


def drawn_w(load: Load, held: LoadState) -> float:
    """Return what a load draws while on: measured where it is, else its nominal power."""
    return held.power_w if held.power_w is not None else load.power_w


def recent(credits: Sequence[Credit], now: Now) -> Tuple[Credit, ...]:
    """Return the commands that may still matter."""
    return tuple(credit for credit in credits if now.mono - credit.at < 60.0)


def _share(credit: Credit, phase: Optional[int]) -> float:
    if phase is None:
        return credit.power_w
    return credit.power_w / len(credit.phases) if phase in credit.phases else 0.0


def _stops_w(state: State, plant: Plant, phase: Optional[int]) -> float:
    return sum(_share(credit, phase) for credit in state.credits
               if credit.power_w < 0 and plant.mono < credit.at + STOP_LAG_S)


def _starts_w(state: State, plant: Plant, phase: Optional[int]) -> float:
    return sum(_share(credit, phase) for credit in state.credits
               if credit.power_w > 0 and plant.mono < credit.at + START_LAG_S)


def overloads(config: Config, state: State, plant: Plant) -> List[Overload]:
    """Return the limits that are exceeded now."""
    rules, found = config.rules, []
    if rules.limit_w is not None and plant.load_w is not None:
        house_w = plant.load_w + _stops_w(state, plant, None)
        if house_w > rules.limit_w:
            found.append(Overload(house_w - rules.limit_w, f"the house draws {plant.load_w:.0f} W,"
                                                            f" the limit is {rules.limit_w:.0f} W"))
    if rules.phase_limit_w is not None and plant.phases is not None:
        for phase, measured_w in enumerate(plant.phases):
            power_w = measured_w + _stops_w(state, plant, phase)
            if power_w > rules.phase_limit_w:
                found.append(Overload(
                    power_w - rules.phase_limit_w,
                    f"phase {phase + 1} carries {measured_w:.0f} W, the limit is {rules.phase_limit_w:.0f} W", phase))
    return found


def blind_spots(config: Config, plant: Plant) -> List[str]:
    """Return the limits that cannot be watched, because the plant does not tell what they are about."""
    found = []
    if config.rules.limit_w is not None and plant.load_w is None:
        found.append("the house's load is not known: its limit cannot be watched, and nothing is switched on")
    if config.rules.phase_limit_w is not None and plant.phases is None:
        found.append("the phases are not known: their limit cannot be watched, and nothing is switched on")
    return found


def to_shed(config: Config, state: State, over: Overload, taken: Collection[str]) -> List[Load]:
    """Return the loads to switch off for one overload: the least important first, and no more than needed."""
    candidates = [load for load in config.loads if _may_be_shed(load, state.of(load.name), over, taken)]
    candidates.sort(key=lambda load: (state.of(load.name).manual_until is not None, -load.priority))
    chosen: List[Load] = []
    freed_w = sum(relief_w(load, state, over.phase) for load in config.loads if load.name in taken)
    for load in candidates:
        if freed_w >= over.excess_w:
            break
        chosen.append(load)
        freed_w += relief_w(load, state, over.phase)
    for load in reversed(chosen[:-1]):  # what the larger ones make needless stays on, the most important first
        if freed_w - relief_w(load, state, over.phase) >= over.excess_w:
            freed_w -= relief_w(load, state, over.phase)
            chosen.remove(load)
    return chosen


def relief_w(load: Load, state: State, phase: Optional[int]) -> float:
    power_w = drawn_w(load, state.of(load.name))
    if phase is None:
        return power_w
    return power_w / len(load.phases) if phase in load.phases else 0.0


def _may_be_shed(load: Load, held: LoadState, over: Overload, taken: Collection[str]) -> bool:
    if load.essential or not load.device or load.name in taken or held.given_up is not None:
        return False
    if not held.on or held.commanded is False or drawn_w(load, held) < SMALL_W:
        return False
    return over.phase is None or over.phase in load.phases


def why_not(config: Config, state: State, inputs: Inputs, load: Load) -> str:
    """Return why a load does not fit below the limits now, or "" when it does."""
    rules, plant = config.rules, inputs.plant
    if rules.limit_w is not None:
        if plant is None or plant.load_w is None:
            return "the house's load is not known"
        house_w = plant.load_w + _starts_w(state, plant, None)
        if house_w + load.power_w + rules.margin_w > rules.limit_w:
            return f"{house_w:.0f} W + {load.power_w:.0f} W would come too near to the limit of {rules.limit_w:.0f} W"
    if rules.phase_limit_w is not None:
        if plant is None or plant.phases is None:
            return "the phases are not known"
        for phase in load.phases:
            now_w = plant.phases[phase] + _starts_w(state, plant, phase)
            share_w = load.power_w / len(load.phases)
            if now_w + share_w + rules.margin_w > rules.phase_limit_w:
                return (f"phase {phase + 1} at {now_w:.0f} W + {share_w:.0f} W would come too near to"
                        f" {rules.phase_limit_w:.0f} W")
    return ""
