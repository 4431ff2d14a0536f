"""Shelly RPC without a network: errors, arguments, JSON, query strings, method lookup.

Never touches a socket or a component. Facts: vendor pages "RPC Protocol", "Common Errors" and captures;
the text of an error that nobody captured is ours.
"""

from __future__ import annotations

import json
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Tuple
from urllib.parse import parse_qsl

INVALID_ARGUMENT = -103
NOT_FOUND = -105
EXHAUSTED = -108
FAILED_PRECONDITION = -109
NO_HANDLER = 404

Handler = Callable[[Dict[str, Any], str], Any]  # (params, origin) -> result


class RpcError(Exception):
    """What a method answers instead of a result: ``code`` and ``message`` as on the wire."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message

    def body(self) -> Dict[str, Any]:
        """Return the bare object of the two ``/rpc/<Method>`` forms."""
        return {"code": self.code, "message": self.message}


class Outcome(NamedTuple):
    """How one call ended: a result (which may be None, that is ``null``) or an error."""

    result: Any
    error: Optional[RpcError]


def dumps(value: Any) -> str:
    """Write JSON as small as the device does; NaN and infinity are refused."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False, ensure_ascii=False)


def loads(text: str) -> Any:
    """Read strict JSON; raises ValueError for NaN and infinity too, which JSON does not have."""
    return json.loads(text, parse_constant=_refuse_constant)


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def query_params(query: str) -> Dict[str, Any]:
    """Turn ``a=1&config.device.name=Some Name`` into nested parameters.

    Values are JSON literals where they parse, otherwise plain text; dotted keys nest (since 1.0.0).
    """
    params: Dict[str, Any] = {}
    for key, text in parse_qsl(query, keep_blank_values=True):
        try:
            value = loads(text)
        except ValueError:
            value = text
        branch = params
        *path, leaf = key.split(".")
        for name in path:
            step = branch.setdefault(name, {})
            if not isinstance(step, dict):
                raise RpcError(INVALID_ARGUMENT, f"Missing or bad argument '{name}'!")
            branch = step
        branch[leaf] = value
    return params


def bad_argument(name: str) -> RpcError:
    """Return the refusal of a missing or wrongly typed argument (text seen for 'code')."""
    return RpcError(INVALID_ARGUMENT, f"Missing or bad argument '{name}'!")


def not_found(name: str, value: Any) -> RpcError:
    """Return the refusal of an id or key that does not exist (text from a capture)."""
    return RpcError(NOT_FOUND, f"Argument '{name}', value {value} not found!")


def is_number(value: Any) -> bool:
    """Say whether a JSON value is a number; true and false are not."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def integer(params: Mapping[str, Any], name: str, default: Optional[int] = None) -> int:
    """Return an integer argument; raises RpcError -103 when it is missing or something else."""
    value = params.get(name, default)
    if not is_number(value) or value != int(value):
        raise bad_argument(name)
    return int(value)


def string(params: Mapping[str, Any], name: str, default: Optional[str] = None) -> str:
    """Return a text argument; raises RpcError -103 when it is missing or something else."""
    value = params.get(name, default)
    if not isinstance(value, str):
        raise bad_argument(name)
    return value


def boolean(params: Mapping[str, Any], name: str, default: Optional[bool] = None) -> bool:
    """Return a true/false argument; raises RpcError -103 when it is missing or something else."""
    value = params.get(name, default)
    if not isinstance(value, bool):
        raise bad_argument(name)
    return value


def mapping(params: Mapping[str, Any], name: str) -> Dict[str, Any]:
    """Return an object argument; raises RpcError -103 when it is missing or something else."""
    value = params.get(name)
    if not isinstance(value, dict):
        raise bad_argument(name)
    return value


def strings(params: Mapping[str, Any], name: str) -> Optional[List[str]]:
    """Return a list-of-text argument or None when absent; raises RpcError -103 when it is something else."""
    value = params.get(name)
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise bad_argument(name)
    return value


def merge(config: Dict[str, Any], changes: Mapping[str, Any]) -> None:
    """Overlay ``changes`` on ``config``, objects deeply."""
    for name, value in changes.items():
        current = config.get(name)
        if isinstance(value, dict) and isinstance(current, dict):
            merge(current, value)
        else:
            config[name] = value


class Methods:
    """The methods a device has, found without regard to case."""

    def __init__(self) -> None:
        self._by_lower: Dict[str, Tuple[str, Handler]] = {}

    def add(self, handlers: Mapping[str, Handler]) -> None:
        """Offer methods under their documented names."""
        for name, handler in handlers.items():
            self._by_lower[name.lower()] = (name, handler)

    def find(self, name: str) -> Tuple[str, Handler]:
        """Return the documented name and the handler; raises RpcError 404."""
        found = self._by_lower.get(name.lower())
        if found is None:
            raise RpcError(NO_HANDLER, f"No handler for {name}")
        return found

    def canonical(self, name: str) -> str:
        """Return the documented name, or ``name`` itself when there is no such method."""
        found = self._by_lower.get(name.lower())
        return found[0] if found else name

    def names(self) -> List[str]:
        """List the documented names, sorted."""
        return sorted(name for name, _ in self._by_lower.values())
