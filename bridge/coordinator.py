"""The running coordination of loads: look at everything, decide, tell the devices, once a second.

Never waits for a device: each has its own thread. With ``dry_run`` it decides and tells, and moves nothing.
"""

from __future__ import annotations

import logging
import threading
from typing import Any, Callable, Dict, Mapping, NamedTuple, Optional, Protocol, Sequence, Tuple

from bridge.clock import Clock
from bridge.control.dispatch import ON, Decision, Outcome, data_text, decide
from bridge.control.dispatch_config import Config
from bridge.control.dispatch_memory import restored, saved, signature
from bridge.control.dispatch_state import Inputs, Now, Plant, Relay, State
from bridge.control.dispatch_time import Price
from bridge.sinks.relays import Order, RelayDevice
from bridge.state import StateDir

CYCLE_S = 1.0
LOOK_S = 0.1
SAVE_S = 900.0  # running times of the day, for who wants minutes; a write to flash each
STATE_FILE = "loads.json"

log = logging.getLogger("loads")


class PlantSource(Protocol):
    """Where the plant's values come from."""

    error: str

    def read(self) -> Optional[Plant]:
        """Return the newest there is."""


class Parts(NamedTuple):
    """What a coordinator is made of; ``devices`` by load name, several loads may share one."""

    plant: PlantSource
    devices: Mapping[str, RelayDevice]
    meter: Any  # an EmMeter, or None
    prices: Callable[[], Sequence[Price]]
    state: StateDir


class Coordinator:
    """Runs until its clock is stopped; ``report`` is what others may see, from any thread."""

    def __init__(self, config: Config, parts: Parts, clock: Clock, dry_run: bool = False) -> None:
        self._config, self._parts, self._clock, self._dry_run = config, parts, clock, dry_run
        self._state = restored(parts.state.load(STATE_FILE), config, self._now())
        self._saved: Tuple[Any, float] = (signature(self._state), clock.monotonic())
        self._lock = threading.Lock()
        self._outcome: Optional[Outcome] = None
        self._inputs = Inputs()
        self._since: Dict[str, Tuple[str, str, float]] = {}
        self.cycles = 0

    def run(self, cycles: Optional[int] = None, after_step: Callable[[], None] = lambda: None) -> None:
        """Coordinate until stopped, or for a number of cycles."""
        for device in set(self._parts.devices.values()):
            device.start()
        if self._parts.meter is not None:
            self._parts.meter.start()
        due = self._clock.monotonic()
        try:
            while not self._clock.stopped and (cycles is None or self.cycles < cycles):
                self.step()
                after_step()
                due = max(due + CYCLE_S, self._clock.monotonic())
                self._clock.wait(due - self._clock.monotonic())
        finally:
            self.close()

    def plan(self, patience_s: float) -> Dict[str, Any]:
        """Look once, wait for devices no longer than ``patience_s``, and report what would be decided."""
        devices = set(self._parts.devices.values())
        for device in devices:
            device.start()
        if self._parts.meter is not None:
            self._parts.meter.start()
        until = self._clock.monotonic() + patience_s
        while self._clock.monotonic() < until and len(self.look().relays) < len(self._parts.devices):
            self._clock.wait(LOOK_S)
        self.step()
        for device in devices:
            device.close()
        return self.report()

    def close(self) -> None:
        """Save what must be remembered and let the devices go; what is on ends by its own timer."""
        self._save(force=True)
        for device in set(self._parts.devices.values()):
            device.close()

    def step(self) -> Outcome:
        """Do one cycle."""
        self.cycles += 1
        inputs = self.look()
        outcome = decide(self._config, self._state, inputs, self._now())
        if self._dry_run:
            outcome = outcome._replace(state=_untold(self._state, outcome))
        self._state = outcome.state
        if not self._dry_run:
            for decision in outcome.decisions:
                self._tell(decision)
        self._log(outcome)
        with self._lock:
            self._outcome, self._inputs = outcome, inputs
        self._save()
        return outcome

    def look(self) -> Inputs:
        """Return everything that is known now."""
        plant, meter = self._parts.plant.read(), self._parts.meter
        if plant is not None and meter is not None:
            latest = meter.latest
            fresh = latest is not None and self._clock.monotonic() - latest[0] <= self._config.rules.stale_after_s
            plant = plant._replace(phases=latest[1] if fresh else None)
        relays: Dict[str, Relay] = {}
        for name, device in self._parts.devices.items():
            seen = device.seen().get(name)
            if seen is not None:
                relays[name] = seen
        return Inputs(plant, relays, tuple(self._parts.prices()))

    def _now(self) -> Now:
        return Now(self._clock.monotonic(), self._clock.now(), self._clock.synced())

    def _tell(self, decision: Decision) -> None:
        device = self._parts.devices.get(decision.load)
        if device is None:
            return
        if decision.act:
            device.order(decision.load, Order(decision.want == ON, self._state.of(decision.load).commanded_at))
        device.keep(decision.load, decision.want == ON)

    def _log(self, outcome: Outcome) -> None:
        """Write a line for each load that is switched, taken over by hand, or given up; waiting is no news."""
        for decision in outcome.decisions:
            before = self._since.get(decision.load)
            said = before is not None and before[:2] == (decision.want, decision.rule)
            if said and (self._dry_run or not decision.act):
                continue
            self._since[decision.load] = (decision.want, decision.rule, self._clock.now())
            if decision.act or decision.rule in ("manual", "given_up"):
                verb = "would switch" if self._dry_run and decision.act else "switch" if decision.act else "leave"
                log.info('load="%s" do="%s" want=%s rule=%s reason="%s"',
                         decision.load, verb, decision.want, decision.rule, decision.reason)

    def _save(self, force: bool = False) -> None:
        mark, now = signature(self._state), self._clock.monotonic()
        counts = any(load.deadline or load.cheapest_s for load in self._config.loads)
        late = counts and now - self._saved[1] >= SAVE_S
        if self._dry_run or not (force or late or mark != self._saved[0]):
            return
        self._saved = (mark, now)
        self._parts.state.save(STATE_FILE, saved(self._state, self._now()))

    def report(self) -> Dict[str, Any]:
        """Return how every load stands and why."""
        with self._lock:
            outcome, inputs = self._outcome, self._inputs
        return report(self._config, outcome, inputs, self._clock.monotonic(), self._parts.plant.error, self._dry_run)


def _untold(before: State, outcome: Outcome) -> State:
    """Return what to remember of decisions that no device was told: no load was switched, no start counts."""
    held = {each.load: before.of(each.load) for each in outcome.decisions if each.act}
    return outcome.state._replace(loads={**outcome.state.loads, **held}, credits=before.credits,
                                  last_start=before.last_start, last_stop=before.last_stop)


def report(
    config: Config, outcome: Optional[Outcome], inputs: Inputs, mono: float, error: str, dry_run: bool = False,
) -> Dict[str, Any]:
    """Return decisions and states as JSON, schema 1; unknown is null."""
    state = outcome.state if outcome is not None else State()
    plant = inputs.plant
    decisions = {each.load: each for each in outcome.decisions} if outcome is not None else {}
    rows = []
    for load in config.loads:
        held, decision, relay = state.of(load.name), decisions.get(load.name), inputs.relays.get(load.name)
        moves = decision is not None and decision.act and relay is not None
        rows.append({
            "load": load.name, "priority": load.priority, "power_w": load.power_w,
            "on": relay.on if relay is not None and moves else held.on,  # what it is, not yet what it shall be
            "measured_w": held.power_w, "source": held.source or None, "ours": held.ours,
            "want": decision.want if decision else None, "act": bool(decision and decision.act),
            "rule": decision.rule if decision else None, "reason": decision.reason if decision else None,
            "manual_s": None if held.manual_until is None else round(max(0.0, held.manual_until - mono)),
            "given_up": held.given_up is not None, "starts_last_hour": len(held.starts),
            "ran_min": round(held.ran_s / 60.0, 1), "error": (relay.error if relay else "") or None,
        })
    return {
        "schema": 1, "dry_run": dry_run, "data": outcome.fresh if outcome else None,
        "data_text": data_text(outcome.fresh) if outcome else None, "error": error or None,
        "load_w": plant.load_w if plant else None, "grid_import_w": plant.grid_w if plant else None,
        "age_s": round(mono - plant.mono, 1) if plant else None,
        "phases_w": list(plant.phases) if plant and plant.phases else None,
        "limit_w": config.rules.limit_w, "phase_limit_w": config.rules.phase_limit_w,
        "warnings": list(outcome.warnings) if outcome else [], "loads": rows,
    }
