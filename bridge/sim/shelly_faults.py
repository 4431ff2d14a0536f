"""What can go wrong with a simulated Shelly, switched on by name, ended by time, count or hand.

Never acts by itself: the server and the device ask here at the moment where a fault would strike.
"""

from __future__ import annotations

import threading
from typing import Any, Callable, Dict, Mapping, NamedTuple, Optional

from bridge.clock import Clock
from bridge.sim.shelly_rpc import EXHAUSTED, INVALID_ARGUMENT, RpcError

# name: what it does, and the parameters it takes beside for_s and count
FAULTS: Mapping[str, str] = {
    "offline_refused": "nothing listens on the port; open connections die",
    "offline_reset":   "connections are accepted and reset at once; open ones are reset",
    "silent":          "connections are accepted, nothing is ever answered",
    "hang":            "calls of `method` (all) are never answered",
    "http_500":        "calls of `method` (all) fail with 500",
    "http_429":        "calls of `method` (all) fail with 429",
    "drop_before":     "the connection closes before the call of `method` (all) is carried out",
    "drop_after":      "the call of `method` (all) is carried out, then the connection closes: reply lost",
    "garbage":         "replies to `method` (all) are not JSON",
    "truncated":       "replies to `method` (all) end in the middle, then the connection closes",
    "slow":            "each call of `method` (all) takes `delay_s` real seconds longer",
    "rate_limited":    "Number.Set (or `method`) answers -108",
    "reject_value":    "Number.Set (or `method`) answers -103",
    "ws_drop":         "all WebSockets close, and new ones while it lasts; `code` sends a close frame",
    "ws_half_open":    "WebSockets stay open but nothing is answered, not even pings",
    "ws_refused":      "the WebSocket upgrade fails with `status` (503), HTTP works",
    "wrong_mac":       "another device has this address: `mac` (112233445566)",
    "second_writer":   "somebody else writes `key` (number:203) with `value` (0) every `period_s` (1)",
    "relay_reverted":  "another controller undoes each Switch.Set after `after_s` (1)",
    "nan":             "numbers report null as their value",
}
ALL_METHODS = ""
HTTP_TEXTS: Mapping[int, str] = {429: "Too Many Requests", 500: "Internal Server Error"}
DEFAULT_METHODS: Mapping[str, str] = {"rate_limited": "Number.Set", "reject_value": "Number.Set"}

GARBAGE = b"\x7f\x00garbage{"  # what the "garbage" fault puts in place of JSON


class Plan(NamedTuple):
    """How one call is to go wrong."""

    delay_s: float = 0.0
    drop: str = ""  # "before", "after"
    hang: bool = False
    error: Optional[RpcError] = None
    http_status: int = 0  # the error shows as this HTTP status in every form
    mangle: str = ""  # "garbage", "truncated"


NOTHING_WRONG = Plan()
Changed = Callable[[str, bool, Mapping[str, Any]], None]  # (name, active, params)


class _Active:
    def __init__(self, params: Mapping[str, Any], until_mono: Optional[float], count: Optional[int]) -> None:
        self.params = params
        self.until_mono = until_mono
        self.count = count


class Faults:
    """The faults that are on now; several may be."""

    def __init__(self, clock: Clock, changed: Changed) -> None:
        self._clock = clock
        self._changed = changed
        self._active: Dict[str, _Active] = {}
        self._lock = threading.Lock()

    def set(self, name: str, for_s: Optional[float], count: Optional[int], params: Mapping[str, Any]) -> None:
        """Switch a fault on; it ends after ``for_s`` seconds of the clock or ``count`` strikes."""
        if name not in FAULTS:
            raise ValueError(f"no fault named {name}; there are {', '.join(FAULTS)}")
        until = None if for_s is None else self._clock.monotonic() + for_s
        with self._lock:
            self._active[name] = _Active(params, until, count)
        self._changed(name, True, params)

    def clear(self, name: Optional[str] = None) -> None:
        """Switch one fault off, or all."""
        with self._lock:
            names = [name] if name else list(self._active)
            ended = [(each, self._active.pop(each)) for each in names if each in self._active]
        for each, fault in ended:
            self._changed(each, False, fault.params)

    def tick(self) -> None:
        """End what has lasted long enough; cheap when no fault is on."""
        if self._active:
            for name, fault in list(self._active.items()):
                if self._over(fault):
                    self.clear(name)

    def on(self, name: str) -> bool:
        """Say whether a fault is on, without using up its count; changes nothing, so callable anywhere."""
        fault = self._active.get(name) if self._active else None
        return fault is not None and not self._over(fault)

    def take(self, name: str, method: str = ALL_METHODS) -> Optional[Mapping[str, Any]]:
        """Return the fault's parameters when it strikes now, and count the strike; None otherwise."""
        if not self._active:
            return None
        self.tick()
        with self._lock:
            fault = self._active.get(name)
            if fault is None:
                return None
            wanted = fault.params.get("method", DEFAULT_METHODS.get(name, ALL_METHODS))
            if wanted not in (ALL_METHODS, method):
                return None
            if fault.count is None:
                return fault.params
            fault.count -= 1
            last = fault.count <= 0
        if last:
            self.clear(name)
        return fault.params

    def _over(self, fault: _Active) -> bool:
        return fault.until_mono is not None and self._clock.monotonic() >= fault.until_mono

    def plan(self, method: str) -> Plan:
        """Say how a call of ``method`` is to go wrong, and count those strikes."""
        if not self._active:
            return NOTHING_WRONG
        slow = self.take("slow", method)
        plan = Plan(delay_s=float(slow.get("delay_s", 1.0)) if slow else 0.0)
        if self.take("hang", method) is not None:
            return plan._replace(hang=True)
        for when in ("before", "after"):
            if self.take(f"drop_{when}", method) is not None:
                return plan._replace(drop=when)
        for status in (500, 429):
            if self.take(f"http_{status}", method) is not None:
                return plan._replace(error=RpcError(status, HTTP_TEXTS[status]), http_status=status)
        if self.take("rate_limited", method) is not None:
            return plan._replace(error=RpcError(EXHAUSTED, "Resource exhausted"))
        if self.take("reject_value", method) is not None:
            return plan._replace(error=RpcError(INVALID_ARGUMENT, "Missing or bad argument 'value'!"))
        for how in ("garbage", "truncated"):
            if self.take(how, method) is not None:
                return plan._replace(mangle=how)
        return plan
