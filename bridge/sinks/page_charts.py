"""The five small charts of the page: what each is called, drawn and said to be, by element id.

Pure. Never draws what it does not also put in words.
"""

from __future__ import annotations

from typing import Dict, NamedTuple, Optional

from bridge.sinks.charts import Chart, chart, columns, window_min
from bridge.sinks.history import STEP_S, History
from bridge.sinks.page_view import power

WORDS = {1: "last minute", 60: "last hour"}


class Row(NamedTuple):
    """One chart; ``least`` is the smallest span of its scale, so that noise is not drawn as mountains."""

    id: str
    field: str
    name: str
    least: float
    full: Optional[float] = None
    up: str = ""
    down: str = ""


CHARTS = (
    Row("c_sun", "pv_w", "Sun", 400),
    Row("c_soc", "soc_pct", "Battery level", 100, 100),
    Row("c_bat", "battery_w", "Battery", 400, None, "charging", "discharging"),
    Row("c_grid", "grid_w", "Grid", 400, None, "importing", "exporting"),
    Row("c_house", "load_w", "House", 400),
)


def worth_s(history: History, now: float) -> float:
    """Return after how long new charts are worth their price: a few columns."""
    return max(15.0, min(60.0, 2.0 * window_min(history.spans(now))))


def chart_values(history: History, now: float) -> Dict[str, str]:
    """Return paths, scales and sentences of all charts."""
    minutes = window_min(history.spans(now))
    slots = int(minutes * 60 / STEP_S)
    values = {"c_window": WORDS.get(minutes, f"last {minutes} minutes")}
    for row in CHARTS:
        drawn = chart(columns(history.window(row.field, now, slots)), row.least, row.full)
        values.update({
            f"{row.id}_line:d": drawn.line, f"{row.id}_up:d": drawn.above, f"{row.id}_down:d": drawn.below,
            f"{row.id}_zero:d": f"M0 {drawn.zero}H240",
            f"{row.id}_range": _range(row, drawn),
            f"{row.id}:aria-label": f"{row.name}, {values['c_window']}: {_range(row, drawn)}",
        })
    return values


def _range(row: Row, drawn: Chart) -> str:
    """Say between what the values were."""
    if not drawn.known:
        return "nothing known yet"
    lo, hi = min(drawn.known), max(drawn.known)
    if row.full is not None:
        return f"{lo:.0f} to {hi:.0f} %" if round(lo) != round(hi) else f"{hi:.0f} %"
    if not row.up:
        return f"{power(lo)} to {power(hi)}" if power(lo) != power(hi) else power(hi)
    parts = [f"{row.up} up to {power(hi)}"] if hi >= 0.5 else []
    parts += [f"{row.down} up to {power(lo)}"] if lo <= -0.5 else []
    return ", ".join(parts) or "idle"
