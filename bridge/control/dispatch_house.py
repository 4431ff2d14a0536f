"""A house with switchable loads, second by second, for scenarios: what it draws follows from its relays.

Never knows what is expected of it: relays do what they are told, timers run out, hands and rivals move them.
"""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, Optional, Tuple

from bridge.control.dispatch import OFF, ON, Decision
from bridge.control.dispatch_config import Config, Load
from bridge.control.dispatch_state import Inputs, Now, Plant, Relay, State
from bridge.control.dispatch_time import Price

FIELDS = ("base_w", "pv_w", "battery_w", "soc_pct")


class Output:
    """One relay and what hangs on it; ``runs`` is whether the appliance itself wants power."""

    def __init__(self, load: Load) -> None:
        self.load = load
        self.on = load.essential
        self.runs = not load.essential
        self.draw_w = load.power_w
        self.source = "init"
        self.off_at: Optional[float] = None
        self.rival_s: Optional[float] = None
        self.undo_at: Optional[float] = None
        self.metered = False
        self.dead = False
        self.applied: Optional[float] = None

    @property
    def power_w(self) -> float:
        """What it draws now."""
        return self.draw_w if self.on and self.runs else 0.0

    def put(self, on: bool, source: str) -> None:
        """Move the relay."""
        self.on, self.source, self.off_at = on, source, None


class House:
    """The outputs, the rest of the house in W, and what the plant says of it all."""

    def __init__(self, config: Config, start: Mapping[str, Any]) -> None:
        self.config = config
        self.outputs: Dict[str, Output] = {load.name: Output(load) for load in config.loads}
        self.values: Dict[str, Any] = {"base_w": 300.0, "pv_w": 0.0, "battery_w": 0.0, "soc_pct": 50.0}
        self.base_phases: Optional[List[float]] = None
        self.data = "local"
        self.prices: Tuple[Price, ...] = ()
        self._last: Optional[Plant] = None
        self.change(start)

    def change(self, event: Mapping[str, Any]) -> None:
        """Let something happen: see docs/loads.md for the words of an event. Raises KeyError, ValueError."""
        for word, told in event.items():
            if word in FIELDS:
                self.values[word] = told
            elif word == "base_phases":
                self.base_phases = [float(power_w) for power_w in told]
            elif word == "data":
                if told not in ("local", "cloud", "none"):
                    raise ValueError(f"data is local, cloud or none, not {told!r}")
                self.data = told
            elif word in EVENTS:
                for name, setting in told.items():
                    EVENTS[word](self.outputs[name], setting)
            elif word != "at":
                raise ValueError(f"there is no event {word!r}")

    def pass_time(self, now: Now) -> None:
        """Let timers run out and rivals act."""
        for output in self.outputs.values():
            if output.off_at is not None and now.mono >= output.off_at:
                output.put(False, "timer")
            if output.undo_at is not None and now.mono >= output.undo_at:
                output.put(not output.on, "SHC")
                output.undo_at = None

    @property
    def load_w(self) -> float:
        """What the whole house draws."""
        return self.base_w + sum(output.power_w for output in self.outputs.values())

    @property
    def base_w(self) -> float:
        """What is not a load of the file."""
        return sum(self.base_phases) if self.base_phases is not None else float(self.values["base_w"])

    @property
    def phases(self) -> Optional[Tuple[float, ...]]:
        """What each phase carries, where the scenario says how the rest is spread."""
        if self.base_phases is None:
            return None
        powers = list(self.base_phases)
        for output in self.outputs.values():
            for phase in output.load.phases:
                powers[phase] += output.power_w / len(output.load.phases)
        return tuple(powers)

    def look(self, now: Now) -> Inputs:
        """Return what the bridge and the relays say at this moment."""
        if self.data != "none":
            battery_w, soc_pct = self.values["battery_w"], self.values["soc_pct"]
            grid_w = self.load_w - self.values["pv_w"] + (battery_w or 0.0)
            self._last = Plant(now.mono, self.data == "cloud", self.load_w, grid_w, battery_w, soc_pct, self.phases)
        relays = {}
        for name, output in self.outputs.items():
            if output.load.device:
                relays[name] = Relay(
                    None if output.dead else output.on, now.mono, output.source,
                    output.power_w if output.metered else None, output.applied, "no answer" if output.dead else "")
        return Inputs(self._last, relays, self.prices)

    def obey(self, decisions: Tuple[Decision, ...], state: State, now: Now) -> None:
        """Carry out what was decided, as the devices do: armed when switched on, renewed while wanted."""
        for decision in decisions:
            output = self.outputs[decision.load]
            if output.dead:
                continue
            if decision.act and decision.want in (ON, OFF):
                output.put(decision.want == ON, "HTTP_in")
                output.applied = now.mono
                if output.rival_s is not None:
                    output.undo_at = now.mono + output.rival_s
            if decision.want == ON and output.on and state.of(decision.load).ours:
                output.off_at = now.mono + self.config.rules.dead_man_s


def _runs(output: Output, told: Any) -> None:
    output.runs = bool(told)


def _by_hand(output: Output, told: Any) -> None:
    if told not in ("on", "off"):
        raise ValueError(f"hand is on or off, not {told!r}")
    output.put(told == "on", "input")


def _draws(output: Output, told: Any) -> None:
    output.draw_w = float(told)


def _fights(output: Output, told: Any) -> None:
    output.rival_s = None if told is None else float(told)


def _metered(output: Output, told: Any) -> None:
    output.metered = bool(told)


def _dead(output: Output, told: Any) -> None:
    output.dead = bool(told)


def _on(output: Output, told: Any) -> None:
    output.on = bool(told)


EVENTS = {"runs": _runs, "hand": _by_hand, "draws_w": _draws, "rival_s": _fights, "metered": _metered,
          "dead": _dead, "on": _on}
