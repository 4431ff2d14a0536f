"""What the page says, as short texts by the id of the element that shows them ("id" or "id:attribute").

Pure; the same dictionary fills the page on the server and is sent to an open one, so that words exist once.
Never shows a number that does not stand for the present, and never a direction by colour alone.
"""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, Optional, Tuple, Union

from bridge.model import battery_text, grid_text

Rows = List[Tuple[str, str, str]]  # class, name, text
View = Dict[str, Union[str, Rows]]

RING = 351.9  # length of the circle around the battery, radius 56
UNKNOWN = "\u2013"
SOURCES = {
    "modbus-tcp": "Modbus TCP", "modbus-rtu": "RS485", "cloud": "Sigenergy cloud", "mqtt": "Sigenergy MQTT",
}
REMOTE = ("cloud", "mqtt")  # how the names of sources begin that are no local plant
NAMES = {"mqtt": "MQTT", "jsonfile": "File"}
WIDTHS = tuple(f"{2.5 + step / 2:g}" for step in range(12))  # of a flow, one more for each 750 W
QUIET_W = 20.0  # a flow this small is not drawn as one: meters see that much in an idle house


def view(snapshot: Mapping[str, Any], health: Mapping[str, Any]) -> View:
    """Return everything but the charts."""
    return {**numbers(snapshot), **standing(snapshot, health)}


def numbers(snapshot: Mapping[str, Any], before: Optional[Mapping[str, Any]] = None) -> View:
    """Return what depends on the five values: exactly and in words, and in the picture.

    With an earlier snapshot, only what differs from it: this runs every second while a page is open.
    """
    keys = [key for key in VALUES if before is None or snapshot[key] != before[key]]
    found: View = {}
    for key in keys:
        VALUES[key](found, snapshot)
    if keys:
        found["picture:aria-label"] = (
            f"Power flow: sun {_watts(snapshot['pv_w'])}; battery {_percent(snapshot['soc_pct'])},"
            f" {battery_text(snapshot['battery_charge_w'])}; grid {grid_text(snapshot['grid_import_w'])};"
            f" house {_watts(snapshot['load_w'])}"
        )
    return found


def standing(snapshot: Mapping[str, Any], health: Mapping[str, Any]) -> View:
    """Return what changes seldom: state, connections, a battery command, counters."""
    return {**_state(snapshot, health), "links": _links(snapshot, health), **_lease(health.get("control"))}


def power(power_w: Optional[float]) -> str:
    """Say the size of a power as people read it: 341 W, 8.54 kW, 11.3 kW."""
    if power_w is None:
        return UNKNOWN
    size = abs(power_w)
    if size < 999.5:
        return f"{size:.0f} W"
    return f"{size / 1000:.2f} kW" if size < 9995 else f"{size / 1000:.1f} kW"


def lasting(seconds: float) -> str:
    """Say a duration: 12 s, 4 min, 2 h 05 min."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = int(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60:02d} min"


def _watts(power_w: Optional[float]) -> str:
    return "unknown" if power_w is None else f"{power_w:.0f} W"


def _percent(soc_pct: Optional[float]) -> str:
    return "unknown" if soc_pct is None else f"{soc_pct:.1f} %"


def _sun(found: View, snapshot: Mapping[str, Any]) -> None:
    pv_w = snapshot["pv_w"]
    found["sun"], found["p_sun"] = _watts(pv_w), power(pv_w)
    _flow(found, "sun", pv_w)


def _level(found: View, snapshot: Mapping[str, Any]) -> None:
    soc = snapshot["soc_pct"]
    found["soc"], found["p_soc"] = _percent(soc), UNKNOWN if soc is None else f"{soc:.0f} %"
    found["ring:stroke-dasharray"] = f"{RING * (soc or 0) / 100:.0f} {RING:.0f}"


def _battery(found: View, snapshot: Mapping[str, Any]) -> None:
    battery_w = snapshot["battery_charge_w"]
    found["battery"] = text = battery_text(battery_w)
    found["w_bat"] = text.partition(" ")[0] + (f" {power(battery_w)}" if battery_w else "")
    _flow(found, "bat", None if battery_w is None else -battery_w)


def _grid(found: View, snapshot: Mapping[str, Any]) -> None:
    grid_w = snapshot["grid_import_w"]
    found["grid"] = text = grid_text(grid_w)
    found["w_grid"], found["p_grid"] = text.partition(" ")[0], power(grid_w)
    found["n_grid:class"] = "node c-exp" if _way(grid_w) == "out" else "node c-grid"
    _flow(found, "grid", grid_w)


def _house(found: View, snapshot: Mapping[str, Any]) -> None:
    load_w = snapshot["load_w"]
    found["house"] = _watts(load_w) + (" (derived)" if snapshot["load_derived"] else "")
    found["p_house"] = power(load_w)
    _flow(found, "house", None if load_w is None else -load_w)


def _alive(found: View, snapshot: Mapping[str, Any]) -> None:
    found["picture:class"] = "live" if snapshot["valid"] else "dim"


VALUES = {
    "pv_w": _sun, "soc_pct": _level, "battery_charge_w": _battery, "grid_import_w": _grid, "load_w": _house,
    "load_derived": _house, "valid": _alive,
}


def _flow(found: View, name: str, inward_w: Optional[float]) -> None:
    """Draw one flow; inward, towards the middle, go the sun, an importing grid, a discharging battery."""
    found[f"f_{name}:class"] = "flow " + _way(inward_w)
    found[f"l_{name}:stroke-width"] = WIDTHS[min(11, int(abs(inward_w or 0) / 750))]


def _way(inward_w: Optional[float]) -> str:
    if inward_w is None or abs(inward_w) < QUIET_W:
        return "none"
    return "in" if inward_w > 0 else "out"


def _state(snapshot: Mapping[str, Any], health: Mapping[str, Any]) -> View:
    """Whether the numbers are live, where they come from and how old they are."""
    source, age_s = snapshot["source"], snapshot["age_s"]
    if snapshot["valid"]:
        from_cloud = str(source).partition("-")[0] in REMOTE
        state = ("warn", "From the cloud") if from_cloud else ("ok", "Live")
    else:
        state = ("wait", "Waiting") if source is None else ("bad", "Not live")
    return {
        "state:class": f"pill {state[0]}", "state": state[1],
        "reason": _sentence(str(snapshot["reason"] or "")),
        "reason:class": "reason" if snapshot["reason"] else "none",
        "source": SOURCES.get(str(source), str(source or "none yet")),
        "peer": str(health.get("peer") or health["plant"]),
        "age": "no reading yet" if age_s is None else f"{lasting(age_s)} ago",
        "age:data-s": "" if age_s is None else f"{age_s:.1f}",
        "health": "healthy" if health["ok"] else "not healthy",
        "cycles": f"{health['cycles']} cycles", "late": f"{health['late']} late",
        "failed": f"{health['failed']} failed", "dropped": f"{health['dropped']} dropped",
        "version": str(health["version"]),
    }


def _links(snapshot: Mapping[str, Any], health: Mapping[str, Any]) -> Rows:
    """A row for the plant, the cloud, and each place the values go to."""
    failover = health.get("failover")
    local = snapshot["valid"] and str(snapshot["source"]).startswith("modbus")
    away = failover["local_error"] if failover else None
    rows = [("ok", "Plant", "answers") if local else ("bad", "Plant", str(away or _trouble(health)))]
    if _cloud_alone(health):
        rows = []  # nobody asks the plant itself
    rows.append(_cloud(snapshot, health, failover))
    rows += [_sink(sink) for sink in health["sinks"]]
    return rows


def _cloud_alone(health: Mapping[str, Any]) -> bool:
    return str(health["plant"]).partition("-")[0] in REMOTE


def _trouble(health: Mapping[str, Any]) -> str:
    return str(health.get("last_error") or health["reason"] or "no answer yet")


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _cloud(
    snapshot: Mapping[str, Any], health: Mapping[str, Any], failover: Optional[Mapping[str, Any]]
) -> Tuple[str, str, str]:
    if failover is None:
        if _cloud_alone(health):
            return ("ok", "Cloud", "answers") if snapshot["valid"] else ("bad", "Cloud", _trouble(health))
        return "off", "Cloud", "no fallback set up"
    if failover["cloud_error"]:
        return "bad" if failover["state"] == "cloud" else "warn", "Cloud", str(failover["cloud_error"])
    if failover["state"] == "cloud":
        return "warn", "Cloud", f"stands in for the plant, for {lasting(failover['for_s'])}"
    return "ok", "Cloud", "ready" if failover["state"] == "local" else "is being asked: the plant does not answer"


def _sink(sink: Mapping[str, Any]) -> Tuple[str, str, str]:
    name = NAMES.get(str(sink["name"])) or _sentence(str(sink["name"]))
    if sink["ok"]:
        return "ok", name, "up to date"
    return ("bad", name, str(sink["error"])) if sink["error"] else ("wait", name, "nothing delivered yet")


def _lease(control: Optional[Mapping[str, Any]]) -> View:
    """The battery command in force; without one there is nothing to see."""
    if not control:
        return {"lease:class": "none", "lease_text": "", "lease_end": ""}
    ends_in_s, trouble = control.get("ends_in_s"), control.get("error")
    ending = "" if ends_in_s is None else f"ends in {lasting(ends_in_s)}"
    return {
        "lease:class": "card lease",
        "lease_text": str(control.get("text") or control.get("action") or control.get("state") or ""),
        "lease_end": f"{ending}; {trouble}".lstrip("; ") if trouble else ending,
    }
