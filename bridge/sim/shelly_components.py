"""The virtual components of a simulated Shelly: ten in all, ids 200..299, and their RPC methods.

Never decides who may call: authentication and faults are elsewhere. Facts: vendor page "Virtual Components"
and captures. What the real device answers to a number out of range is unknown, so it can be chosen:
reject (-103), clamp or accept.
"""

from __future__ import annotations

import copy
from functools import partial
from typing import Any, Dict, Iterable, Mapping, Union

from bridge.sim.shelly_board import Board
from bridge.sim.shelly_component import KINDS, PERSISTABLE, Component, configured
from bridge.sim.shelly_rpc import (
    EXHAUSTED,
    FAILED_PRECONDITION,
    INVALID_ARGUMENT,
    Handler,
    RpcError,
    bad_argument,
    integer,
    is_number,
    mapping,
    not_found,
    string,
)

MAX_COMPONENTS = 10  # "Virtual Components": instances per device, groups included
FIRST_ID, LAST_ID = 200, 299
OUT_OF_RANGE = ("reject", "clamp", "accept")
NOTIFY = ("full", "value")  # 1.2 shows value, source and time; one captured frame has the value alone

Initial = Union[str, Mapping[str, Any]]  # "number:200", or {"key", "config"?, "status"?} as captured


class Components:
    """The virtual components of one device and their RPC methods."""

    def __init__(self, board: Board, out_of_range: str = "reject", notify: str = "full",
                 notify_unchanged: bool = True) -> None:
        if out_of_range not in OUT_OF_RANGE or notify not in NOTIFY:
            raise ValueError(f"out_of_range is one of {OUT_OF_RANGE}, notify one of {NOTIFY}")
        self.by_key: Dict[str, Component] = {}
        self.nulls = False  # the "nan" fault: numbers show null
        self._board = board
        self._out_of_range = out_of_range
        self._notify = notify
        self._notify_unchanged = notify_unchanged

    def load(self, initial: Iterable[Initial]) -> None:
        """Take components over as they are described, owner and access included; for fixtures and tests."""
        for item in initial:
            described: Mapping[str, Any] = {"key": item} if isinstance(item, str) else item
            kind, _, number = described["key"].partition(":")
            component = Component(kind, int(number))
            component.config.update(copy.deepcopy(dict(described.get("config", {}))))
            component.value = component.config.get("default_value", component.value)
            status = described.get("status", {})
            component.value = status.get("value", component.value)
            component.source = status.get("source", "")
            component.updated_at = status.get("last_update_ts", 0)
            self.by_key[component.key] = component
        if len(self.by_key) > MAX_COMPONENTS:
            raise ValueError(f"a device has at most {MAX_COMPONENTS} virtual components")

    def methods(self) -> Dict[str, Handler]:
        """Return the RPC methods, by their documented names."""
        table: Dict[str, Handler] = {"Virtual.Add": self._rpc_add, "Virtual.Delete": self._rpc_delete}
        for kind, row in KINDS.items():
            table[f"{row.title}.GetStatus"] = partial(self._rpc_status, kind)
            table[f"{row.title}.GetConfig"] = partial(self._rpc_config, kind)
            table[f"{row.title}.SetConfig"] = partial(self._rpc_set_config, kind)
            if kind != "button":
                table[f"{row.title}.Set"] = partial(self._rpc_set, kind)
        table["Button.Trigger"] = self._rpc_trigger
        return table

    def write(self, key: str, value: Any, source: str) -> None:
        """Give a component a value, within the rules of its type; raises RpcError."""
        component = self.by_key.get(key)
        if component is None:
            raise not_found("key", key)
        value = self._checked(component, value)
        changed = value != component.value or source != component.source
        component.value = value
        component.source = source
        component.updated_at = self._board.clock.now()
        if component.config.get("persisted"):
            self._board.flash()
        self._board.wrote(key, value, source)
        if changed or self._notify_unchanged:
            status = self.status_of(component)
            self._board.notify_status(key, {"value": status["value"]} if self._notify == "value" else status)

    def status_of(self, component: Component) -> Dict[str, Any]:
        """Return a component's status as the device reports it now."""
        status = component.status()
        if self.nulls and component.kind == "number":
            status["value"] = None
        return status

    def delete(self, key: str) -> None:
        """Remove a component, also from the groups that show it; raises RpcError -105."""
        if self.by_key.pop(key, None) is None:
            raise not_found("key", key)
        for component in self.by_key.values():
            if component.kind == "group" and key in component.value:
                component.value = [member for member in component.value if member != key]
        self._stored("component_removed", key)

    def reboot(self) -> None:
        """Keep persisted values, return the others to default_value; all were set by ``sys`` then."""
        for component in self.by_key.values():
            if component.kind in PERSISTABLE:
                if not component.config.get("persisted"):
                    component.value = component.config["default_value"]
                component.source = "sys"
                component.updated_at = self._board.clock.now()

    def _checked(self, component: Component, value: Any) -> Any:
        config = component.config
        if component.kind == "number":
            return self._checked_number(config, value)
        if component.kind == "boolean" and isinstance(value, bool):
            return value
        if component.kind == "text" and isinstance(value, str) and len(value) <= config["max_len"]:
            return value
        if component.kind == "enum" and (value is None or value in config["options"]):
            return value
        if component.kind == "group" and isinstance(value, list):
            for member in value:
                if member not in self.by_key or member.startswith("group:"):
                    raise not_found("value", member)
            return list(value)
        raise bad_argument("value")

    def _checked_number(self, config: Mapping[str, Any], value: Any) -> Any:
        if not is_number(value):
            raise bad_argument("value")
        if config["min"] <= value <= config["max"] or self._out_of_range == "accept":
            return value
        if self._out_of_range == "clamp":
            return min(max(value, config["min"]), config["max"])
        raise RpcError(INVALID_ARGUMENT, f"Argument 'value', value {value} is out of range!")

    def _find(self, kind: str, params: Mapping[str, Any]) -> Component:
        number = integer(params, "id")
        component = self.by_key.get(f"{kind}:{number}")
        if component is None:
            raise not_found("id", number)
        return component

    def _stored(self, event: str, key: str) -> None:
        self._board.flash()
        self._board.cfg_rev += 1
        self._board.notify_event("sys", event, target=key, cfg_rev=self._board.cfg_rev)

    def _rpc_status(self, kind: str, params: Dict[str, Any], origin: str) -> Any:
        return self.status_of(self._find(kind, params))

    def _rpc_config(self, kind: str, params: Dict[str, Any], origin: str) -> Any:
        return copy.deepcopy(self._find(kind, params).config)

    def _rpc_set(self, kind: str, params: Dict[str, Any], origin: str) -> None:
        component = self._find(kind, params)
        access = component.config["access"]
        if access != "*" and "w" not in access:
            raise RpcError(FAILED_PRECONDITION, f"{component.key} is read only")
        if "value" not in params:
            raise bad_argument("value")
        self.write(component.key, params["value"], "rpc")

    def _rpc_set_config(self, kind: str, params: Dict[str, Any], origin: str) -> Any:
        component = self._find(kind, params)
        if component.config["owner"]:
            raise RpcError(FAILED_PRECONDITION, f"{component.key} is owned by {component.config['owner']}")
        component.config = configured(kind, component.config, mapping(params, "config"))
        return self._board.config_changed(component.key)

    def _rpc_trigger(self, params: Dict[str, Any], origin: str) -> None:
        component = self._find("button", params)
        event = string(params, "event")
        self._board.notify_event(component.key, event, id=component.config["id"])

    def _rpc_add(self, params: Dict[str, Any], origin: str) -> Any:
        kind = string(params, "type")
        if kind not in KINDS:
            raise bad_argument("type")
        if len(self.by_key) >= MAX_COMPONENTS:
            raise RpcError(EXHAUSTED, f"Reached the maximum {MAX_COMPONENTS} of virtual components")
        number = integer(params, "id") if "id" in params else self._free_id(kind)
        if not FIRST_ID <= number <= LAST_ID or f"{kind}:{number}" in self.by_key:
            raise bad_argument("id")
        component = Component(kind, number)
        if params.get("config") is not None:
            component.config = configured(kind, component.config, mapping(params, "config"))
            component.value = component.config.get("default_value", component.value)
        self.by_key[component.key] = component
        self._stored("component_added", component.key)
        return {"id": number}

    def _rpc_delete(self, params: Dict[str, Any], origin: str) -> None:
        key = string(params, "key")
        component = self.by_key.get(key)
        if component is not None and component.config["owner"]:
            raise RpcError(FAILED_PRECONDITION, f"{key} is owned by {component.config['owner']}")
        self.delete(key)

    def _free_id(self, kind: str) -> int:
        return next(n for n in range(FIRST_ID, LAST_ID + 1) if f"{kind}:{n}" not in self.by_key)
