"""How many bridges are, one light each: what a snapshot and a site's availability mean from afar.

Pure; ``now`` is an argument. Never shows an old value as a new one: the age counts from the measurement.
"""

from __future__ import annotations

from typing import Any, Iterable, List, Mapping, NamedTuple, Optional

from bridge.model import battery_text, grid_text, validity_s

GREEN, YELLOW, RED = "green", "yellow", "red"
SLACK_S = 70.0  # a quiet bridge repeats itself once a minute, and clocks differ


class Site(NamedTuple):
    """One line of the report; the numbers are None where they are not known or too old."""

    name: str
    light: str
    note: str
    source: Optional[str] = None
    age_s: Optional[float] = None
    pv_w: Optional[float] = None
    soc_pct: Optional[float] = None
    battery_charge_w: Optional[float] = None
    grid_import_w: Optional[float] = None
    load_w: Optional[float] = None


def unreachable(name: str, why: str) -> Site:
    """Return a site of which nothing is known."""
    return Site(name, RED, why)


def judged(name: str, snapshot: Optional[Mapping[str, Any]], now: float, online: Optional[bool] = None) -> Site:
    """Return a site by its snapshot; ``online`` is its availability on a broker, None where that is not known.

    Green reads the plant itself, yellow has something to say (cloud, an odd balance), red shows nothing.
    """
    if online is False:
        return Site(name, RED, "offline")
    if snapshot is None:
        return Site(name, RED, "says nothing" if online else "unknown")
    if snapshot.get("schema") != 1:
        return Site(name, RED, f"speaks another version (schema {snapshot.get('schema')})")
    source, at = snapshot.get("source"), snapshot.get("at")
    age_s = None if not isinstance(at, (int, float)) else max(0.0, round(now - at, 1))
    if not snapshot.get("valid"):
        return Site(name, RED, str(snapshot.get("reason") or "no valid reading"), source, age_s)
    if age_s is None or age_s > validity_s(str(source)) + SLACK_S:
        said = "of unknown age" if age_s is None else f"{age_s:.0f} s old"
        return Site(name, RED, f"stale: the last value is {said}", source, age_s)
    remote = str(source).partition("-")[0] in ("cloud", "mqtt")
    light, note = GREEN, ""
    if snapshot.get("reason"):
        light, note = YELLOW, str(snapshot["reason"])
    elif remote:
        light, note = YELLOW, "not read locally"
    values = {key: snapshot.get(key) for key in ("pv_w", "soc_pct", "battery_charge_w", "grid_import_w", "load_w")}
    return Site(name, light, note, source, age_s, **values)


def line(site: Site, width: int) -> str:
    """Return one site as a line."""
    head = f"{site.light:<6} {site.name:<{width}}"
    if site.light == RED:
        return f"{head}  {site.note}"

    def watts(power: Optional[float]) -> str:
        return "unknown" if power is None else f"{power:.0f} W"

    soc = "unknown" if site.soc_pct is None else f"{site.soc_pct:.1f} %"
    text = (f"{head}  sun {watts(site.pv_w)} | battery {soc} {battery_text(site.battery_charge_w)}"
            f" | grid {grid_text(site.grid_import_w)} | house {watts(site.load_w)} | {site.source}")
    return f"{text} | {site.note}" if site.note else text


def report(sites: Iterable[Site]) -> List[str]:
    """Return the lines, the worst first, and a last one that counts."""
    order = {RED: 0, YELLOW: 1, GREEN: 2}
    rows = sorted(sites, key=lambda site: (order[site.light], site.name))
    width = max((len(site.name) for site in rows), default=0)
    counts = {light: sum(site.light == light for site in rows) for light in (GREEN, YELLOW, RED)}
    return [*(line(site, width) for site in rows),
            f"{len(rows)} site{'' if len(rows) == 1 else 's'}:"
            f" {counts[GREEN]} green, {counts[YELLOW]} yellow, {counts[RED]} red"]
