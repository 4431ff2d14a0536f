"""What a simulated Shelly and a JavaScript engine owe each other.

Never an engine: the simulator runs without one, the tests bring one built on QuickJS.
"""

from __future__ import annotations

from typing import Any, Callable, List, Mapping, NamedTuple, Optional, Protocol, Tuple

from bridge.sim.shelly_board import Timer

Answer = Tuple[int, List[Tuple[str, str]], str]  # code, headers, body


class ScriptCrash(Exception):
    """An exception that the script did not catch; it ends the script, as on the device."""


class ScriptHost(NamedTuple):
    """What a running script may do on its device."""

    script_id: int
    call: Callable[[str, Any], Mapping[str, Any]]  # (method, params) -> {"result"} or {"error"}
    component: Callable[[str], Optional[Mapping[str, Any]]]  # key -> {"status", "config"} or None
    set_value: Callable[[str, Any], None]  # Virtual handle's setValue; raises RpcError
    later: Callable[[float, Callable[[], None]], Timer]  # one-shot timer, seconds of the device's clock
    log: Callable[[str], None]


class ScriptRun(Protocol):
    """A script that is running; a runner returns one. Each method may raise ScriptCrash."""

    def http(self, name: str, request: Mapping[str, Any]) -> Optional[Answer]:
        """Answer a request {method, query, headers, body}; None when the endpoint is not registered."""

    def eval(self, code: str) -> str:
        """Evaluate an expression in the script and return its value as text."""

    def stop(self) -> None:
        """End the script and free its engine."""


Runner = Callable[[str, ScriptHost], ScriptRun]
