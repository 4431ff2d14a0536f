"""One virtual component of a simulated Shelly: its type, configuration, value and status.

Never stores, notifies or counts: shelly_components.py does. Facts: vendor pages "Virtual Components",
"Number", "Boolean", "Text", "Enum", "Group" and captures.
"""

from __future__ import annotations

import copy
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Tuple

from bridge.sim.shelly_rpc import bad_argument, is_number, merge

MAX_TEXT = 255
READ_ONLY = ("id", "owner", "access", "role")


class Kind(NamedTuple):
    """What a type of component holds."""

    title: str  # as in method names
    default: Any  # of default_value; None = has no value
    extra: Tuple[Tuple[str, Any], ...]  # further configuration
    ui: Tuple[Tuple[str, Any], ...]  # of meta.ui


KINDS: Mapping[str, Kind] = {
    "number":  Kind("Number", 0, (("min", 0), ("max", 100)),
                    (("view", "slider"), ("unit", ""), ("step", 1), ("icon", ""))),
    "boolean": Kind("Boolean", False, (), (("view", "label"), ("titles", ("false", "true")))),
    "text":    Kind("Text", "", (("max_len", MAX_TEXT),), (("view", "label"),)),
    "enum":    Kind("Enum", None, (("options", ()),), (("view", "label"), ("titles", ()))),
    "button":  Kind("Button", None, (), (("view", "button"),)),
    "group":   Kind("Group", None, (), (("view", "group"),)),
}
PERSISTABLE = ("number", "boolean", "text", "enum")

class Component:
    """One virtual component."""

    def __init__(self, kind: str, number: int) -> None:
        self.kind = kind
        self.key = f"{kind}:{number}"
        self.config = fresh_config(kind, number)
        self.value: Any = [] if kind == "group" else self.config.get("default_value")
        self.source = ""  # never written
        self.updated_at: float = 0

    def status(self) -> Dict[str, Any]:
        """Return the status object; a button has an empty one."""
        if self.kind == "button":
            return {}
        return {"value": self.value, "source": self.source, "last_update_ts": int(self.updated_at)}

    def described(self) -> Dict[str, Any]:
        """Return the component as Shelly.GetComponents lists it."""
        return {"key": self.key, "status": self.status(), "config": self.config}


def fresh_config(kind: str, number: int) -> Dict[str, Any]:
    """Return the configuration a new component has when none is given."""
    row = KINDS[kind]
    config: Dict[str, Any] = {"id": number, "name": None}
    config.update({name: _plain(value) for name, value in row.extra})
    config["meta"] = {"ui": {name: _plain(value) for name, value in row.ui}}
    if kind in PERSISTABLE:
        config["persisted"] = False
        config["default_value"] = row.default
    config["owner"] = ""
    config["access"] = "*"
    return config


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def configured(kind: str, config: Mapping[str, Any], changes: Mapping[str, Any]) -> Dict[str, Any]:
    """Return ``config`` with the writable ``changes``; raises RpcError -103 when they make no sense."""
    new = copy.deepcopy(dict(config))
    merge(new, {name: value for name, value in changes.items() if name not in READ_ONLY})
    wrong: List[Optional[str]] = [
        None if new["name"] is None or isinstance(new["name"], str) else "name",
        None if isinstance(new.get("persisted", False), bool) else "persisted",
    ]
    if kind == "number":
        wrong += [None if is_number(new[name]) else name for name in ("min", "max", "default_value")]
        if not any(wrong) and not new["min"] <= new["default_value"] <= new["max"]:
            wrong.append("default_value")
    for name in wrong:
        if name:
            raise bad_argument(name)
    return new
