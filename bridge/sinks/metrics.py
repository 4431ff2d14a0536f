"""The state as Prometheus text (exposition format 0.0.4), rendered when asked.

Never says 0 for what is not known: such a sample is left out. Names carry their units, powers in watts with the
signs of a Reading (battery + charges, grid + imports), the state of charge as a ratio.
"""

from __future__ import annotations

from typing import Any, Iterable, List, Mapping, NamedTuple, Optional, Tuple

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
PREFIX = "sigen_bridge_"
Samples = Iterable[Tuple[Mapping[str, str], Optional[float]]]


class Metric(NamedTuple):
    """One metric and its samples: labels and value, None for unknown."""

    name: str
    kind: str
    help: str
    samples: Samples


def metrics(snapshot: Mapping[str, Any], health: Mapping[str, Any], streams: int) -> str:
    """Return all metrics of one moment."""
    soc = snapshot["soc_pct"]
    return "".join(_rendered(metric) for metric in (
        _one("pv_watts", "gauge", "Power of the sun.", snapshot["pv_w"]),
        _one("battery_charge_watts", "gauge", "Power into the battery; negative while it discharges.",
             snapshot["battery_charge_w"]),
        _one("battery_soc_ratio", "gauge", "State of charge, 0 to 1.", None if soc is None else round(soc / 100, 5)),
        _one("grid_import_watts", "gauge", "Power from the grid; negative while exporting.", snapshot["grid_import_w"]),
        _one("load_watts", "gauge", "Power that the house uses.", snapshot["load_w"]),
        _one("balance_watts", "gauge", "What does not add up between the measured powers.", snapshot["balance_w"]),
        _one("reading_valid", "gauge", "1 while the values above stand for the present.", float(snapshot["valid"])),
        _one("reading_age_seconds", "gauge", "Age of the newest reading.", snapshot["age_s"]),
        _one("reading_timestamp_seconds", "gauge", "Moment of the newest reading, unix time.", snapshot["at"]),
        Metric("source_info", "gauge", "Where the newest reading comes from.", (
            ({"source": snapshot["source"], "plant": health["plant"]}, 1.0),) if snapshot["source"] else ()),
        _one("cycles_total", "counter", "Cycles of the loop.", health["cycles"]),
        _one("late_cycles_total", "counter", "Cycles that were skipped because one took too long.", health["late"]),
        _one("failed_cycles_total", "counter", "Cycles without a reading.", health["failed"]),
        _one("dropped_readings_total", "counter", "Readings that were not believed.", health["dropped"]),
        *_sinks(health["sinks"]), *_failover(health.get("failover")), *_lease(health.get("control")),
        _one("http_streams", "gauge", "Open event streams.", streams),
        Metric("build_info", "gauge", "Version of the bridge.", (({"version": health["version"]}, 1.0),)),
    ))


def _one(name: str, kind: str, help_text: str, value: Optional[float]) -> Metric:
    return Metric(name, kind, help_text, (({}, value),))


def _sinks(sinks: Iterable[Mapping[str, Any]]) -> List[Metric]:
    """Samples of one metric stand together, whatever the number of sinks."""
    each = [({"sink": sink["name"]}, sink) for sink in sinks]
    return [
        Metric(name, kind, text, [(labels, float(sink[key])) for labels, sink in each]) for name, kind, text, key in (
            ("sink_up", "gauge", "1 while the last delivery worked.", "ok"),
            ("sink_written_total", "counter", "Readings delivered.", "written"),
            ("sink_errors_total", "counter", "Deliveries that failed.", "errors"),
        )
    ]


def _failover(failover: Optional[Mapping[str, Any]]) -> List[Metric]:
    if not failover:
        return []
    states = [({"state": state}, float(state == failover["state"])) for state in ("local", "suspect", "cloud")]
    return [Metric("failover_state", "gauge", "1 for the state in force.", states)]


def _lease(control: Optional[Mapping[str, Any]]) -> List[Metric]:
    """A battery command in force; without the part for control there are no such metrics at all."""
    if control is None:
        return []
    return [
        Metric("battery_lease_info", "gauge", "The battery command in force.", (
            ({"state": str(control["state"]), "action": str(control["action"])}, 1.0),)),
        _one("battery_lease_watts", "gauge", "Power of that command.", control.get("power_w")),
        _one("battery_lease_remaining_seconds", "gauge", "Time until that command ends.", control.get("ends_in_s")),
    ]


def _rendered(metric: Metric) -> str:
    known = [(labels, value) for labels, value in metric.samples if value is not None]
    if not known:
        return ""
    name = PREFIX + metric.name
    lines = [f"# HELP {name} {metric.help}", f"# TYPE {name} {metric.kind}"]
    lines += [f"{name}{_labels(labels)} {_number(value)}" for labels, value in known]
    return "\n".join(lines) + "\n"


def _number(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else repr(float(value))


def _labels(labels: Mapping[str, str]) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{name}="{_escaped(text)}"' for name, text in labels.items()) + "}"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
