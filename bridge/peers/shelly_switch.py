"""The outputs and the energy meter of one Shelly: Switch.* and EM.GetStatus, over the road its client has.

Never decides whether to switch. A value that the device does not tell is None: an output without a meter
has no power, not 0 W. Facts: shelly.md 4.1; vendor pages "Switch" and "EM".
"""

from __future__ import annotations

from typing import Any, Mapping, NamedTuple, Optional, Protocol, Tuple

from bridge.errors import PeerError

PHASES = "abc"


class Caller(Protocol):
    """What carries calls; ``bridge.peers.shelly.ShellyClient`` is the one there is."""

    def call(self, method: str, params: Mapping[str, Any]) -> Any:
        """Return the result of one RPC call."""


class OutputStatus(NamedTuple):
    """One output: on or off, who moved it last, W where there is a meter, seconds of its running timer."""

    on: Optional[bool]
    source: str
    power_w: Optional[float]
    timer_s: Optional[float]
    errors: Tuple[str, ...]


class EmStatus(NamedTuple):
    """A three-phase meter: W of each phase and of all; + imports, by convention of whoever hung the clamps."""

    phases: Tuple[Optional[float], ...]
    total_w: Optional[float]
    errors: Tuple[str, ...]


def output_status(client: Caller, channel: int) -> OutputStatus:
    """Return what Switch.GetStatus says. Raises as the client's ``call`` does."""
    told = _object(client.call("Switch.GetStatus", {"id": channel}), "Switch.GetStatus")
    on = told.get("output")
    return OutputStatus(
        on if isinstance(on, bool) else None, str(told.get("source") or ""), _number(told.get("apower")),
        _number(told.get("timer_duration")), _words(told.get("errors")),
    )


def put(client: Caller, channel: int, on: bool, off_after_s: Optional[float] = None) -> Optional[bool]:
    """Move an output and return whether it was on before; ``off_after_s`` arms the device's own timer.

    Every call replaces the timer that was running. Raises as the client's ``call`` does.
    """
    params: dict = {"id": channel, "on": on}
    if off_after_s is not None:
        params["toggle_after"] = off_after_s
    told = client.call("Switch.Set", params)
    was_on = told.get("was_on") if isinstance(told, dict) else None
    return was_on if isinstance(was_on, bool) else None


def em_status(client: Caller) -> EmStatus:
    """Return what the three-phase meter measures: a 3EM as one meter, or its three single-phase ones."""
    try:
        told = _object(client.call("EM.GetStatus", {"id": 0}), "EM.GetStatus")
    except PeerError:
        rows = [_object(client.call("EM1.GetStatus", {"id": number}), "EM1.GetStatus") for number in range(3)]
        powers = tuple(_number(row.get("act_power")) for row in rows)
        known = [power_w for power_w in powers if power_w is not None]
        return EmStatus(powers, sum(known) if len(known) == len(powers) else None,
                        tuple(word for row in rows for word in _words(row.get("errors"))))
    errors = _words(told.get("errors")) + tuple(
        word for phase in PHASES for word in _words(told.get(f"{phase}_errors")))
    powers = tuple(_number(told.get(f"{phase}_act_power")) for phase in PHASES)
    return EmStatus(powers, _number(told.get("total_act_power")), errors)


def _object(told: Any, method: str) -> Mapping[str, Any]:
    if not isinstance(told, dict):
        raise PeerError(f"{method}: the answer is not an object; is it a Shelly of Gen2 or later?")
    return told


def _number(told: Any) -> Optional[float]:
    return told if isinstance(told, (int, float)) and not isinstance(told, bool) else None


def _words(told: Any) -> Tuple[str, ...]:
    return tuple(str(word) for word in told) if isinstance(told, list) else ()
