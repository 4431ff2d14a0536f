"""Shelly RPC: what every road to the device shares. Calls, values, refusals, news.

Never opens anything and never decides what to write. Facts: Shelly documentation "RPC Protocol" and
"Common Errors"; a result may be ``null``, so success is the absence of ``error``.
"""

from __future__ import annotations

import json
from typing import Any, Dict, List, Mapping, Protocol, Sequence, Tuple, Union

from bridge.errors import BridgeError, PeerError, RateLimited, Rejected

SRC = "sigen-bridge"
CALL_TIMEOUT_S = 1.8  # a fault that has ended must be over for us within 2 s; a call takes 20 to 80 ms
SLOW_CODES = (429, -108)
PERMANENT_CODES = (-103, -105, -109, 403, 404)
SET_METHODS = {"number": "Number.Set", "text": "Text.Set", "boolean": "Boolean.Set"}

Value = Union[int, float, str, bool]
Pair = Tuple[str, Value]  # component key and what it is to show
Refusals = Dict[str, BridgeError]  # by component key: what was not set, and why


class Channel(Protocol):
    """One road to the device."""

    @property
    def name(self) -> str:
        """Return ws, http or script."""

    def call(self, method: str, params: Mapping[str, Any]) -> Any:
        """Return the result of one RPC call."""

    def set_values(self, pairs: Sequence[Pair]) -> Refusals:
        """Set components by key; return those that were not set."""

    def news(self) -> News:
        """Return what the device said unasked since the last time, and keep the road open."""

    def close(self) -> None:
        """Let go of the connection."""


class News:
    """What a device said unasked: values that are not ours, and whether a configuration changed."""

    __slots__ = ("values", "reconfigured")

    def __init__(self) -> None:
        self.values: List[Tuple[str, Any]] = []
        self.reconfigured = False


def rpc_error(peer: str, method: str, code: Any, message: str) -> BridgeError:
    """Return the error for an RPC error object, grouped by who has to act."""
    text = f"{peer}: {method} refused with {code} ({message[:120]})"
    if code in SLOW_CODES:
        return RateLimited(f"{text}; slowing down")
    if code in PERMANENT_CODES:
        return Rejected(text, code)
    return PeerError(text)


def set_call(key: str, value: Value) -> Tuple[str, str]:
    """Return method and parameters (JSON) that give a component a value."""
    kind, _, number = key.partition(":")
    return SET_METHODS[kind], f'{{"id":{number},"value":{json_value(value)}}}'


def json_value(value: Value) -> str:
    """Write a value as JSON; numbers the quick way."""
    kind = type(value)
    return repr(value) if kind is int or kind is float else json.dumps(value)


def params_json(params: Mapping[str, Any]) -> str:
    """Write parameters as compact JSON."""
    return json.dumps(params, separators=(",", ":"))
