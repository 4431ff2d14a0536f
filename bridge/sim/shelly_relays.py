"""The relays and wall switches of a simulated Shelly: Switch.* and Input.*.

Never decides about loads. Facts: vendor page "Switch" and captures: ``was_on`` is the state before,
``toggle_after`` flips back on the device's own timer, a Pro 2 has no meter and so no ``apower``.
"""

from __future__ import annotations

from typing import Any, Callable, Dict, Optional

from bridge.sim.shelly_board import Board, Timer
from bridge.sim.shelly_rpc import (
    Handler,
    bad_argument,
    boolean,
    integer,
    is_number,
    mapping,
    merge,
    not_found,
)

# What Switch.GetStatus calls the channel that a command came by.
SOURCES = (("http", "HTTP_in"), ("ws", "WS_in"), ("script", "loopback"))
STANDBY_W = -3.5  # an unloaded metering channel was captured reading this
VOLTS = 230.0
INITIAL_STATES = ("off", "on", "restore_last", "match_input")
SECONDS_PER_HOUR = 3600.0


class Relay:
    """One output, its timer and its meter."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.key = f"switch:{number}"
        self.on = False
        self.source = "init"
        self.load_w = 0.0  # what hangs on it, drawn while on
        self.energy_wh = 0.0
        self.metered_mono: Optional[float] = None
        self.timer: Optional[Timer] = None
        self.timer_started_at = 0.0
        self.timer_duration = 0.0
        self.config: Dict[str, Any] = {
            "id": number, "name": None, "in_mode": "follow", "in_locked": False,
            "initial_state": "match_input",
            "auto_on": False, "auto_on_delay": 60.0, "auto_off": False, "auto_off_delay": 60.0,
        }


class Relays:
    """The outputs of one device, with the wall switches beside them."""

    def __init__(self, board: Board, count: int, metered: bool) -> None:
        self.relays = [Relay(number) for number in range(count)]
        self.inputs = [False] * count
        self.rival: Optional[Callable[[Relay], None]] = None  # another controller, told after each Switch.Set
        self._board = board
        self._metered = metered

    def methods(self) -> Dict[str, Handler]:
        """Return the RPC methods, by their documented names."""
        return {
            "Switch.Set": self._rpc_set, "Switch.Toggle": self._rpc_toggle,
            "Switch.GetStatus": self._rpc_status, "Switch.GetConfig": self._rpc_config,
            "Switch.SetConfig": self._rpc_set_config, "Input.GetStatus": self._rpc_input,
        }

    def statuses(self) -> Dict[str, Any]:
        """Return the status objects of all outputs and inputs, by key."""
        found: Dict[str, Any] = {relay.key: self.status(relay) for relay in self.relays}
        found.update({f"input:{i}": {"id": i, "state": state} for i, state in enumerate(self.inputs)})
        return found

    def configs(self) -> Dict[str, Any]:
        """Return the configurations of all outputs and inputs, by key."""
        found: Dict[str, Any] = {relay.key: relay.config for relay in self.relays}
        for i in range(len(self.inputs)):
            found[f"input:{i}"] = {"id": i, "name": None, "type": "switch", "invert": False}
        return found

    def status(self, relay: Relay) -> Dict[str, Any]:
        """Return one output's status object."""
        status: Dict[str, Any] = {"id": relay.number, "source": relay.source, "output": relay.on}
        if relay.timer is not None:
            status["timer_started_at"] = relay.timer_started_at
            status["timer_duration"] = relay.timer_duration
        if self._metered:
            self._meter(relay)
            power_w = relay.load_w if relay.on and relay.load_w else STANDBY_W
            status.update(apower=power_w, voltage=VOLTS, freq=50.0, current=round(abs(power_w) / VOLTS, 3),
                          pf=1.0, aenergy={"total": round(relay.energy_wh, 3)})
        status["temperature"] = {"tC": 41.5, "tF": 106.7}
        return status

    def put(self, number: int, on: bool, source: str, toggle_after_s: Optional[float] = None) -> bool:
        """Switch an output; returns the state before. A new command ends an older timer."""
        relay = self.relays[number]
        self._meter(relay)
        before = relay.on
        if relay.timer is not None:
            relay.timer.cancel()
            relay.timer = None
        relay.on = on
        relay.source = source
        if toggle_after_s is not None:
            relay.timer = self._board.after(toggle_after_s, lambda: self._flip_back(relay))
            relay.timer_started_at = self._board.stamp()
            relay.timer_duration = toggle_after_s
        self._board.wrote(relay.key, on, source)
        self._board.notify_status(relay.key, self.status(relay))
        return before

    def press(self, number: int) -> None:
        """Throw the wall switch beside an output; the output does what ``in_mode`` says."""
        state = not self.inputs[number]
        self.inputs[number] = state
        self._board.notify_status(f"input:{number}", {"id": number, "state": state})
        relay = self.relays[number]
        if relay.config["in_locked"]:
            return
        if relay.config["in_mode"] == "follow":
            self.put(number, state, "input")
        elif relay.config["in_mode"] == "flip":
            self.put(number, not relay.on, "input")

    def reboot(self) -> None:
        """Bring each output into its initial state."""
        for relay in self.relays:
            self._meter(relay)
            relay.timer = None
            wanted = relay.config["initial_state"]
            if wanted == "match_input":
                relay.on = self.inputs[relay.number]
            elif wanted in ("on", "off"):
                relay.on = wanted == "on"
            relay.source = "init"

    def _flip_back(self, relay: Relay) -> None:
        relay.timer = None
        self.put(relay.number, not relay.on, "timer")

    def _meter(self, relay: Relay) -> None:
        now = self._board.clock.monotonic()
        if relay.on and relay.metered_mono is not None:
            relay.energy_wh += relay.load_w * (now - relay.metered_mono) / SECONDS_PER_HOUR
        relay.metered_mono = now

    def _find(self, params: Dict[str, Any]) -> Relay:
        number = integer(params, "id")
        if not 0 <= number < len(self.relays):
            raise not_found("id", number)
        return self.relays[number]

    def _rpc_set(self, params: Dict[str, Any], origin: str) -> Any:
        relay = self._find(params)
        on = boolean(params, "on")
        toggle_after = params.get("toggle_after")
        if toggle_after is not None and (not is_number(toggle_after) or toggle_after < 0):
            raise bad_argument("toggle_after")
        was_on = self.put(relay.number, on, dict(SOURCES).get(origin, origin), toggle_after)
        if self.rival is not None:
            self.rival(relay)
        return {"was_on": was_on}

    def _rpc_toggle(self, params: Dict[str, Any], origin: str) -> Any:
        relay = self._find(params)
        return self._rpc_set({"id": relay.number, "on": not relay.on}, origin)

    def _rpc_status(self, params: Dict[str, Any], origin: str) -> Any:
        return self.status(self._find(params))

    def _rpc_config(self, params: Dict[str, Any], origin: str) -> Any:
        return dict(self._find(params).config)

    def _rpc_set_config(self, params: Dict[str, Any], origin: str) -> Any:
        relay = self._find(params)
        changes = mapping(params, "config")
        if changes.get("initial_state", "off") not in INITIAL_STATES:
            raise bad_argument("initial_state")
        if any(name not in relay.config for name in changes):
            raise bad_argument("config")
        merge(relay.config, {name: value for name, value in changes.items() if name != "id"})
        return self._board.config_changed(relay.key)

    def _rpc_input(self, params: Dict[str, Any], origin: str) -> Any:
        number = integer(params, "id")
        if not 0 <= number < len(self.inputs):
            raise not_found("id", number)
        return {"id": number, "state": self.inputs[number]}
