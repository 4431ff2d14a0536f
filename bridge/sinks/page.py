"""The status page as one self-contained HTML document; the plain numbers need no JavaScript."""

from __future__ import annotations

import html
import os
from typing import Any, Dict, Mapping, Optional

from bridge import data
from bridge.model import battery_text, grid_text


def page(snapshot: Mapping[str, Any], health: Mapping[str, Any]) -> str:
    """Return the page for one snapshot and health report."""
    values: Dict[str, str] = {
        "sun": _watts(snapshot["pv_w"]),
        "soc": "unknown" if snapshot["soc_pct"] is None else f"{snapshot['soc_pct']:.1f} %",
        "battery": battery_text(snapshot["battery_charge_w"]),
        "grid": grid_text(snapshot["grid_import_w"]),
        "house": _watts(snapshot["load_w"]) + (" (derived)" if snapshot["load_derived"] else ""),
        "source": str(snapshot["source"] or "none yet"),
        "age": "unknown" if snapshot["age_s"] is None else f"{snapshot['age_s']:.0f} s",
        "state": "live" if snapshot["valid"] else str(snapshot["reason"]),
        "sinks": "; ".join(
            f"{sink['name']}: {'ok' if sink['ok'] else sink['error'] or 'waiting'}" for sink in health["sinks"]
        ) or "none",
        "version": str(health["version"]),
    }
    text = template()
    for name, value in values.items():
        text = text.replace("{{" + name + "}}", html.escape(value))
    return text


def template() -> str:
    """Return the page template of the package."""
    with open(os.path.join(os.path.dirname(data.__file__), "page.html"), encoding="utf-8") as handle:
        return handle.read()


def _watts(power_w: Optional[float]) -> str:
    return "unknown" if power_w is None else f"{power_w:.0f} W"
