"""From what was seen of a Shelly to findings.

Pure. Facts: shelly.md 0, 1.5 and 1.6; which models have virtual components is the vendor's page of that name.
"""

from __future__ import annotations

from typing import Any, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from bridge.control.diagnosis import Finding, finding
from bridge.control.provision import wanted_keys
from bridge.peers.shelly_components import MAX_COMPONENTS, Component, not_ours
from bridge.sinks.display import DISPLAY

BAD_FIRMWARE = "2.0.0"
NO_VIRTUAL_GENERATION = 2  # of these only the Pro models have virtual components


class Writer(NamedTuple):
    """Somebody else who wrote a component while we watched."""

    key: str
    source: str


class ShellySeen(NamedTuple):
    """What looking at one Shelly showed; ``outcome`` is a word of bridge.link.reach, "open" when it connects.

    ``kind`` is what GET /shelly answered as: silent, not_http, other, gen1 or shelly. ``login`` is "" while
    nothing was asked, else ok, none, bad or crowded. ``failure`` is the error of a call that should work.
    """

    peer: str
    host: str
    port: int
    outcome: str
    kind: str = ""
    info: Mapping[str, Any] = {}
    bound_mac: str = ""
    login: str = ""
    virtual: Optional[bool] = None
    failure: str = ""
    components: Optional[Mapping[str, Component]] = None
    transport: str = ""
    no_websocket: str = ""
    writers: Tuple[Writer, ...] = ()


class Wanted(NamedTuple):
    """What the settings want to show, and where."""

    first_id: int
    freshness: str = ""
    adopt: bool = False


UNREACHED = {
    "no_name":     ("shelly_name", "this name has no address"),
    "no_route":    ("shelly_no_route", "this machine has no route to that address"),
    "unreachable": ("shelly_unreachable", "nothing answers at that address"),
    "refused":     ("shelly_refused", "connection refused"),
}
KINDS = {
    "silent":   ("shelly_silent", "takes connections and answers nothing"),
    "not_http": ("shelly_not_http", "the answer is not HTTP"),
    "other":    ("shelly_other_device", "is not a Shelly"),
    "gen1":     ("shelly_gen1", "is a Shelly of the first generation"),
}
LOGINS = {
    "none":    ("shelly_password_none", "is protected, and no password is set"),
    "bad":     ("shelly_password_bad", "refuses the password"),
    "crowded": ("shelly_crowded", "has no login free (429)"),
}


def shelly_findings(seen: ShellySeen, wanted: Wanted) -> List[Finding]:
    """Return what keeps a Shelly from showing the values, or that nothing does."""
    peer = f"shelly {seen.peer}"
    facts = {"host": seen.host, "port": seen.port, "peer": seen.peer}
    for table, word in ((UNREACHED, seen.outcome), (KINDS, seen.kind)):
        if word in table:
            code, what = table[word]
            return [finding(code, f"{peer}: {what}", **facts)]
    mac = str(seen.info.get("mac") or "").upper()
    if seen.bound_mac and mac != seen.bound_mac:
        return [finding("shelly_wrong_mac", f"{peer}: is {mac}, not {seen.bound_mac}", mac=mac)]
    found = _firmware(seen, peer)
    if seen.login in LOGINS:
        code, what = LOGINS[seen.login]
        return [*found, finding(code, f"{peer}: {what}")]
    if seen.virtual is False:
        return [*found, _not_able(seen, peer)]
    if seen.failure:
        found.append(finding("shelly_failing", f"{peer}: {seen.failure}"))
    if seen.no_websocket:
        found.append(finding("shelly_websocket", f"{peer}: {seen.no_websocket}"))
    if seen.components is not None:
        trouble = component_findings(seen.components, wanted)
        found += trouble or [finding("shelly_ok", f"{peer}: {_name(seen)} is ready, by {seen.transport}")]
    if seen.writers:
        keys = ", ".join(writer.key for writer in seen.writers)
        source = ", ".join(sorted({writer.source or "unknown" for writer in seen.writers}))
        what = f"{peer}: {keys} changed while we watched"
        found.append(finding("shelly_other_writer", what, keys=keys, source=source))
    return found


def _name(seen: ShellySeen) -> str:
    info = seen.info
    return f"{info.get('app') or info.get('model') or 'the Shelly'} (firmware {info.get('ver') or 'unknown'})"


def _firmware(seen: ShellySeen, peer: str) -> List[Finding]:
    if seen.info.get("ver") != BAD_FIRMWARE:
        return []
    return [finding("shelly_firmware_2_0", f"{peer}: has firmware {BAD_FIRMWARE}")]


def _not_able(seen: ShellySeen, peer: str) -> Finding:
    info = seen.info
    old = isinstance(info.get("gen"), int) and info["gen"] > NO_VIRTUAL_GENERATION
    if old or str(info.get("app") or "").startswith("Pro"):
        version = f"firmware {info.get('ver')}"
        return finding("shelly_firmware_old", f"{peer}: {_name(seen)} has no virtual components yet", version=version)
    return finding("shelly_model", f"{peer}: {_name(seen)} is a Gen{info.get('gen')} model that is no Pro")


def component_findings(components: Mapping[str, Component], wanted: Wanted) -> List[Finding]:
    """Return what is wrong with the components that shall show the values; ``components`` are all of the device."""
    numbers = [f"number:{wanted.first_id + row.offset}" for row in DISPLAY]
    keys = [*numbers, *([wanted.freshness] if wanted.freshness else [])]
    found = [*_missing(components, keys, wanted), *_left_alone(components, wanted)]
    ours = [components[key] for key in numbers if key in components]
    kept = [each.key for each in ours if each.config.get("persisted")]
    if kept:
        found.append(finding("shelly_persisted", f"shelly: {', '.join(kept)} is persisted"))
    narrow = [_range(each) for each, row in _rows(components, wanted) if _too_narrow(each, row.lo, row.hi)]
    if narrow:
        found.append(finding("shelly_narrow", f"shelly: {', '.join(narrow)}"))
    shown = {key for each in components.values() if each.kind == "group" for key in _members(each)}
    hidden = [key for key in keys if key in components and key not in shown]
    if hidden:
        found.append(finding("shelly_no_group", f"shelly: {', '.join(hidden)} in no group"))
    return found


def _missing(components: Mapping[str, Component], keys: Sequence[str], wanted: Wanted) -> List[Finding]:
    missing = [key for key in keys if key not in components]
    if not missing:
        return []
    excess = len(components) + len(missing) - MAX_COMPONENTS
    if excess > 0:
        what = f"shelly: {', '.join(missing)} missing, and {len(components)} of {MAX_COMPONENTS} components are taken"
        return [finding("shelly_full", what, count=excess)]
    return [finding("shelly_missing", f"shelly: {', '.join(missing)} missing")]


def _left_alone(components: Mapping[str, Component], wanted: Wanted) -> List[Finding]:
    found = []
    if not wanted.adopt:
        why = [not_ours(each._replace(config={**each.config, "access": "*"}), row.unit)
               for each, row in _rows(components, wanted)]
        reasons = [reason for reason in why if reason]
        if reasons:
            found.append(finding("shelly_foreign", f"shelly: {'; '.join(reasons)}"))
    locked = [each.key for each, _ in _rows(components, wanted) if not each.writable and not each.owner]
    if locked:
        found.append(finding("shelly_read_only", f"shelly: {', '.join(locked)} is read-only"))
    return found


def _rows(components: Mapping[str, Component], wanted: Wanted) -> List[Tuple[Component, Any]]:
    keys = wanted_keys(wanted.first_id, None)
    return [(components[key], row) for key, row in zip(keys, DISPLAY) if key in components]


def _too_narrow(component: Component, lo: float, hi: float) -> bool:
    return (component.lo is not None and component.lo > lo) or (component.hi is not None and component.hi < hi)


def _range(component: Component) -> str:
    return f"{component.key} takes {component.lo:g} to {component.hi:g} only"


def _members(group: Component) -> List[str]:
    return [str(key) for key in group.value] if isinstance(group.value, list) else []
