"""One simulated Shelly without a network: its parts put together, and the call of a method.

Never opens a socket: shelly_server.py carries the calls. Everything happens in turns of the board, one
at a time, as the firmware's one task does.
"""

from __future__ import annotations

from collections import deque
from typing import Any, Callable, Deque, Dict, Iterable, List, Mapping, Optional

from bridge.clock import Clock
from bridge.sim.shelly_auth import Digest, Verdict
from bridge.sim.shelly_board import Board, Job, Timer
from bridge.sim.shelly_components import Components, Initial
from bridge.sim.shelly_engine import Runner, ScriptHost
from bridge.sim.shelly_relays import Relays
from bridge.sim.shelly_rpc import Methods, Outcome, RpcError
from bridge.sim.shelly_scripts import Scripts
from bridge.sim.shelly_system import Identity, Parts, System

OUTPUTS = 2  # a Pro 2
LOG_LINES = 200  # of script output kept for tests
SHUTTING_DOWN = 418
SHUTTING_DOWN_S = 0.1  # calls in the last moments before a reboot are refused
OPEN_METHODS = ("Shelly.GetDeviceInfo",)
OUTSIDE_TURNS = ("Script.Eval",)  # the script may call back into the device


class Device:
    """A Shelly's identity, components, relays, scripts and password."""

    def __init__(self, clock: Clock, identity: Identity, components: Iterable[Initial],
                 password: Optional[str], runner: Optional[Runner], lockout_after: int, out_of_range: str,
                 notify: str) -> None:
        self.board = Board(clock)
        self.identity = identity
        self.components = Components(self.board, out_of_range, notify)
        self.relays = Relays(self.board, OUTPUTS, metered="PM" in identity.app)
        self.scripts = Scripts(self.board, runner, self._script_host)
        self.digest = Digest(clock, identity.version, lockout_after)
        self.on_reboot: Job = lambda: None  # the server drops its connections then
        self.script_log: Deque[str] = deque(maxlen=LOG_LINES)
        self._password = password
        self._reboot_at: Optional[float] = None
        self._methods = Methods()
        parts = Parts(identity, self.board, self.components, self.relays, self.scripts)
        self._system = System(parts, self._methods, self._reboot_in, self._set_ha1,
                              lambda: self.digest.ha1 is not None)
        self._methods.add(self._system.methods())
        self._methods.add(self.relays.methods())
        self._methods.add(self.scripts.methods())
        if identity.virtual:
            self._methods.add(self.components.methods())
            self.components.load(components)
        self.digest.protect(identity.id, password)

    @property
    def info(self) -> Dict[str, Any]:
        """Return what GET /shelly tells."""
        return self._system.device_info()

    def canonical(self, method: str) -> str:
        """Return a method's documented name; case does not matter."""
        return self._methods.canonical(method)

    def admit_http(self, verb: str, target: str, header: Optional[str]) -> Verdict:
        """Judge an HTTP request's Authorization."""
        with self.board.turn():
            return self._counted(self.digest.check_http(verb, target, header))

    def admit_frame(self, method: str, auth: Any) -> Verdict:
        """Judge a frame's ``auth`` object."""
        if method in OPEN_METHODS or self.digest.ha1 is None:
            return Verdict(200)
        with self.board.turn():
            return self._counted(self.digest.check_frame(auth))

    def call(self, method: str, params: Any, origin: str, answer: Callable[[Outcome], None]) -> None:
        """Carry out one call; ``answer`` is told the outcome before its notifications leave."""
        if origin != "script":  # a script must not run the timers that wait for its own turn
            self.board.tick()
        if method in OUTSIDE_TURNS:
            answer(self._outcome(method, params, origin))
            return
        with self.board.turn():
            answer(self._outcome(method, params, origin))

    def write_as_other(self, key: str, value: Any, source: str = "UI") -> None:
        """Write a component as somebody else does: the web page, an app, a script."""
        with self.board.turn():
            self.components.write(key, value, source)

    def delete(self, key: str) -> None:
        """Delete a component, as somebody does in the web page."""
        with self.board.turn():
            self.components.delete(key)

    def press(self, number: int) -> None:
        """Throw the wall switch of an output."""
        with self.board.turn():
            self.relays.press(number)

    def reboot(self) -> None:
        """Restart now: connections die, values return to their defaults, nonces are forgotten."""
        with self.board.turn():
            self._reboot()

    def become(self, mac: str) -> None:
        """Be another device of the same kind, as after DHCP gave the address away."""
        with self.board.turn():
            self.identity.mac = mac.upper()
            self.digest.protect(self.identity.id, self._password)

    def _outcome(self, method: str, params: Any, origin: str) -> Outcome:
        counters = self.board.counters
        try:
            self._refuse_while_going_down()
            name, handler = self._methods.find(method)
            with counters.lock:
                counters.rpc[name] += 1
            if params is not None and not isinstance(params, dict):
                raise RpcError(-103, "Missing or bad argument 'params'!")
            return Outcome(handler(params or {}, origin), None)
        except RpcError as error:
            with counters.lock:
                counters.rpc_errors += 1
            return Outcome(None, error)

    def _refuse_while_going_down(self) -> None:
        if self._reboot_at is not None:
            left_s = self._reboot_at - self.board.clock.monotonic()
            if left_s <= SHUTTING_DOWN_S:
                raise RpcError(SHUTTING_DOWN, f"shutting down in {max(0, int(left_s * 1000))} ms")

    def _counted(self, verdict: Verdict) -> Verdict:
        counters, digest = self.board.counters, self.digest
        counters.auth_challenges = digest.challenges
        counters.auth_failures = digest.failures
        counters.auth_throttled = digest.throttled
        return verdict

    def _reboot_in(self, delay_s: float) -> None:
        self._reboot_at = self.board.clock.monotonic() + delay_s
        self.board.after(delay_s, self._reboot)

    def _reboot(self) -> None:
        self._reboot_at = None
        self.board.drop_timers()
        self.board.booted_mono = self.board.clock.monotonic()
        with self.board.counters.lock:
            self.board.counters.reboots += 1
        self.on_reboot()
        self.components.reboot()
        self.relays.reboot()
        self.digest.reboot()
        self.scripts.reboot()

    def _set_ha1(self, ha1: Optional[str]) -> None:
        self.digest.ha1 = ha1
        self.digest.reboot()

    def _script_host(self, number: int) -> ScriptHost:
        return ScriptHost(
            script_id=number, call=self._script_call, component=self._script_component,
            set_value=lambda key, value: self.write_as_other(key, value, "script"),
            later=self._script_timer, log=self.script_log.append,
        )

    def _script_call(self, method: str, params: Any) -> Mapping[str, Any]:
        outcomes: List[Outcome] = []
        self.call(self.canonical(method), params, "script", outcomes.append)
        result, error = outcomes[0]
        return {"result": result} if error is None else {"error": error.body()}

    def _script_component(self, key: str) -> Optional[Mapping[str, Any]]:
        with self.board.turn():
            component = self.components.by_key.get(key)
            if component is None:
                return None
            return {"status": component.status(), "config": dict(component.config)}

    def _script_timer(self, delay_s: float, job: Job) -> Timer:
        return self.board.after(delay_s, lambda: self.board.defer(job))
