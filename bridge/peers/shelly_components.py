"""Virtual components of a Shelly: what the device says of them, and which of them are ours.

Never changes one. Facts: Shelly documentation "Virtual Components", "Number", "Shelly.GetComponents"
(pages by size, leaves out missing keys without a word; ``keys`` is understood since firmware 1.5).
"""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Sequence

from bridge.errors import PeerError

VIRTUAL_KINDS = ("boolean", "number", "text", "enum", "button", "group")
MAX_COMPONENTS = 10  # instances per device, groups included
MAX_PAGES = 20
AFTER_BOOT = ("sys", "default", "init")  # source of a value nobody has set since the last boot
MODEL_RULE = (
    "virtual components need a Gen3, Gen4 or Gen2 Pro Shelly (not Plus) with firmware 1.4 or later"
)

Call = Callable[[str, Mapping[str, Any]], Any]


class Component(NamedTuple):
    """One component as the device reports it; ``lo``/``hi`` are None where it states no range."""

    key: str
    config: Mapping[str, Any]
    value: Any
    source: str

    @property
    def kind(self) -> str:
        """Return the part before the colon."""
        return self.key.partition(":")[0]

    @property
    def number(self) -> int:
        """Return the id."""
        return int(self.key.partition(":")[2])

    @property
    def owner(self) -> str:
        """Return who declared the component; empty for one made by hand or by us."""
        return str(self.config.get("owner") or "")

    @property
    def unit(self) -> str:
        """Return the unit shown behind the value."""
        return str(_ui(self.config).get("unit") or "").strip()

    @property
    def lo(self) -> Optional[float]:
        """Return the least value the device takes."""
        return _limit(self.config.get("min"))

    @property
    def hi(self) -> Optional[float]:
        """Return the greatest value the device takes."""
        return _limit(self.config.get("max"))

    @property
    def writable(self) -> bool:
        """False when the device says that RPC may not set it."""
        access = str(self.config.get("access") or "*")
        return access == "*" or "w" in access


def _ui(config: Mapping[str, Any]) -> Mapping[str, Any]:
    meta = config.get("meta")
    ui = meta.get("ui") if isinstance(meta, dict) else config.get("ui")  # before 1.2 it stood one level up
    return ui if isinstance(ui, dict) else {}


def _limit(value: Any) -> Optional[float]:
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def not_ours(component: Component, unit: Optional[str]) -> Optional[str]:
    """Say why a component must be left alone, or None when it is ours: owner foreign or unit different.

    ``unit`` None does not look at the unit (components without one).
    """
    if component.owner:
        return f"{component.key} belongs to {component.owner}"
    if unit is not None and component.unit != unit:
        return f"{component.key} is in {component.unit or 'no unit'}, not in {unit}"
    if not component.writable:
        return f"{component.key} is read-only"
    return None


def read_components(call: Call, keys: Optional[Sequence[str]] = None) -> Dict[str, Component]:
    """Return the components with these keys, or all virtual ones; a missing one is simply not there.

    Raises PeerError when the answer is not a list of components.
    """
    wanted: Dict[str, Any] = {"include": ["config", "status"]}
    if keys is None:
        wanted["dynamic_only"] = True
    else:
        wanted["keys"] = list(keys)
    found: Dict[str, Component] = {}
    offset = 0
    for _ in range(MAX_PAGES):
        page = call("Shelly.GetComponents", {**wanted, "offset": offset} if offset else wanted)
        rows = page.get("components") if isinstance(page, dict) else None
        if not isinstance(rows, list):
            raise PeerError("shelly: Shelly.GetComponents answered without a list of components")
        for component in _parse(rows):
            if keys is None or component.key in keys:
                found[component.key] = component
        offset += len(rows)
        total = page.get("total")
        if not rows or not isinstance(total, int) or offset >= total or (keys and len(found) == len(keys)):
            break
    return found


def _parse(rows: Sequence[Any]) -> List[Component]:
    components = []
    for row in rows:
        key = row.get("key") if isinstance(row, dict) else None
        if not isinstance(key, str):
            continue
        kind, _, number = key.partition(":")
        if kind not in VIRTUAL_KINDS or not number.isdigit():
            continue
        config, status = row.get("config"), row.get("status")
        config = config if isinstance(config, dict) else {}
        status = status if isinstance(status, dict) else {}
        components.append(Component(key, config, status.get("value"), str(status.get("source") or "")))
    return components
