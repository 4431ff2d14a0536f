"""What ``shelly setup`` would do to a device, decided without touching it.

Never plans to delete or change a component that is not ours, and plans nothing at all when a reason
speaks against it. Facts: shelly.md 1.6 (ten components in all, shown only as members of a group).
"""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from bridge.peers.shelly_components import MAX_COMPONENTS, Component, not_ours
from bridge.sinks.display import DISPLAY, DisplayRow

FIRST_ID, LAST_ID = 200, 299
GROUP_NAME = "Sigenergy"
FRESHNESS_NAME = "Data"
EDITABLE_VIEWS = ("field", "slider")  # a finger could change them; ours only show
FRESHNESS_KINDS = ("text", "boolean")


class Step(NamedTuple):
    """One RPC call that setup makes, and why in words."""

    method: str
    params: Mapping[str, Any]
    why: str


class Plan(NamedTuple):
    """Steps in order, or the reasons against; ``notes`` tell what is left as it is."""

    steps: Tuple[Step, ...]
    refusals: Tuple[str, ...]
    notes: Tuple[str, ...]


def plan_setup(
    components: Mapping[str, Component], first_id: int, freshness: Optional[str] = None, adopt: bool = False,
) -> Plan:
    """Return what makes the device show the five numbers from ``first_id`` on, and a group that shows them.

    ``components`` are all virtual ones of the device, ``freshness`` is "text", "boolean" or None.
    Running it again on the result plans no step.
    """
    refusals = _foreign(components, first_id, freshness, adopt)
    if refusals:
        return Plan((), tuple(refusals), ())
    steps: List[Step] = []
    notes: List[str] = []
    for row in DISPLAY:
        steps += _number_steps(components.get(f"number:{first_id + row.offset}"), first_id + row.offset, row)
    if freshness:
        steps += _freshness_steps(components.get(f"{freshness}:{first_id}"), first_id, freshness)
    room = MAX_COMPONENTS - len(components) - sum(step.method == "Virtual.Add" for step in steps)
    if room < 0:
        return Plan((), (_too_many(components, -room),), ())
    steps += _group_steps(components, wanted_keys(first_id, freshness), room, notes)
    return Plan(tuple(steps), (), tuple(notes))


def wanted_keys(first_id: int, freshness: Optional[str]) -> List[str]:
    """Return the keys of the components that setup cares for, in the order of the display."""
    keys = [f"number:{first_id + row.offset}" for row in DISPLAY]
    return keys + ([f"{freshness}:{first_id}"] if freshness else [])


def free_first_id(components: Mapping[str, Component]) -> Optional[int]:
    """Return the first id of five that no number has yet; None when there are none."""
    for first_id in range(FIRST_ID, LAST_ID - len(DISPLAY) + 2):
        if not any(key in components for key in wanted_keys(first_id, None)):
            return first_id
    return None


def _foreign(
    components: Mapping[str, Component], first_id: int, freshness: Optional[str], adopt: bool,
) -> List[str]:
    if adopt:
        return []
    units: Dict[str, Optional[str]] = {f"number:{first_id + row.offset}": row.unit for row in DISPLAY}
    units[f"{freshness}:{first_id}"] = None
    there = [(components[key], unit) for key, unit in units.items() if key in components]
    reasons = [why for why in (not_ours(component, unit) for component, unit in there) if why]
    if reasons:
        free = free_first_id(components)
        other = "delete some numbers" if free is None else f"use --shelly-first-id {free}"
        reasons.append(f"{other}, or set shelly.adopt = yes to take these over")
    return reasons


def _too_many(components: Mapping[str, Component], excess: int) -> str:
    return (
        f"the device has {len(components)} of at most {MAX_COMPONENTS} virtual components"
        f" ({', '.join(sorted(components))}); delete {excess} that you do not need, setup deletes none"
    )


def number_config(row: DisplayRow) -> Dict[str, Any]:
    """Return the configuration of one number; not ``persisted``, as a write a second would wear the flash."""
    ui: Dict[str, Any] = {"view": row.view, "unit": row.unit, "step": row.step}
    if row.icon:
        ui["icon"] = row.icon
    return {
        "name": row.name, "min": row.lo, "max": row.hi, "default_value": 0, "persisted": False,
        "meta": {"ui": ui, "cloud": ["measurement"]},
    }


def _number_steps(component: Optional[Component], number: int, row: DisplayRow) -> List[Step]:
    if component is None:
        params = {"type": "number", "id": number, "config": number_config(row)}
        return [Step("Virtual.Add", params, f"create number:{number} {row.name} ({row.unit})")]
    changes = _number_changes(component, row)
    if not changes:
        return []
    params = {"id": number, "config": changes}
    return [Step("Number.SetConfig", params, f"change {', '.join(changes)} of number:{number} {row.name}")]


def _number_changes(component: Component, row: DisplayRow) -> Dict[str, Any]:
    """Return what of our own component has to change; a name or icon that the user chose stays."""
    changes: Dict[str, Any] = {}
    if component.lo is None or component.lo > row.lo:
        changes["min"] = row.lo
    if component.hi is None or component.hi < row.hi:
        changes["max"] = row.hi
    if component.config.get("persisted"):
        changes["persisted"] = False
    if not component.config.get("name"):
        changes["name"] = row.name
    meta = component.config.get("meta")
    wanted = _merged_meta(meta if isinstance(meta, dict) else {}, row)
    if wanted != meta:
        changes["meta"] = wanted
    return changes


def _merged_meta(meta: Mapping[str, Any], row: DisplayRow) -> Dict[str, Any]:
    """Return ``meta`` with our unit, step and view where it could be touched, and statistics in the cloud."""
    ui = dict(meta["ui"]) if isinstance(meta.get("ui"), dict) else {}
    ui["unit"] = row.unit
    if ui.get("view") in (None, *EDITABLE_VIEWS):
        ui["view"] = row.view
    if not isinstance(ui.get("step"), (int, float)) or ui["step"] > row.step:
        ui["step"] = row.step
    if not ui.get("icon") and row.icon:
        ui["icon"] = row.icon
    cloud = list(meta["cloud"]) if isinstance(meta.get("cloud"), list) else []
    if "measurement" not in cloud:
        cloud.append("measurement")
    return {**meta, "ui": ui, "cloud": cloud}


def _freshness_steps(component: Optional[Component], number: int, kind: str) -> List[Step]:
    if component is not None:
        return []
    config = {"name": FRESHNESS_NAME, "persisted": False, "meta": {"ui": {"view": "label"}}}
    if kind == "boolean":
        config["meta"] = {"ui": {"view": "label", "titles": ["stale", "live"]}}
    params = {"type": kind, "id": number, "config": config}
    return [Step("Virtual.Add", params, f"create {kind}:{number} {FRESHNESS_NAME} (source and age)")]


def _group_steps(
    components: Mapping[str, Component], keys: Sequence[str], room: int, notes: List[str],
) -> List[Step]:
    """Return the steps that put the keys into our group: the one that has some of them, or a new one."""
    groups = [each for each in components.values() if each.kind == "group" and not each.owner]
    ours = [each for each in groups if set(_members(each)) & set(keys)]
    ours += [each for each in groups if each.config.get("name") == GROUP_NAME]
    if ours:
        group = ours[0]
        members = _members(group)
        missing = [key for key in keys if key not in members]
        if not missing:
            return []
        params = {"id": group.number, "value": members + missing}
        return [Step("Group.Set", params, f"show {', '.join(missing)} in {group.key}")]
    if room < 1:
        notes.append(
            f"no room for a group: the device has its {MAX_COMPONENTS} components; without one the numbers"
            " do not show on its home page"
        )
        return []
    number = next(n for n in range(FIRST_ID, LAST_ID + 1) if f"group:{n}" not in components)
    return [
        Step("Virtual.Add", {"type": "group", "id": number, "config": {"name": GROUP_NAME}},
             f"create group:{number} {GROUP_NAME}"),
        Step("Group.Set", {"id": number, "value": list(keys)}, f"show the components in group:{number}"),
    ]


def _members(group: Component) -> List[str]:
    return [str(key) for key in group.value] if isinstance(group.value, list) else []
