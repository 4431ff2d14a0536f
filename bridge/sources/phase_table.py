"""The table of ``dump --phases``: what each phase carries by plant, inverter and second meter, and what is wrong.

Never asks a device and never prints; a value that is not known is shown as such.
"""

from __future__ import annotations

from typing import Any, Dict, List, Optional, Sequence

from bridge.control.phases import NAMES, judge
from bridge.sources.phases import PhasesSeen


def content(seen: PhasesSeen, meter: Optional[Any] = None) -> Dict[str, Any]:
    """Return everything as JSON; ``meter`` is a ``bridge.peers.shelly_switch.EmStatus``."""
    powers = meter.phases if meter is not None else None
    findings = judge(seen.grid, seen.grid_w, seen.inverter, seen.inverter_w, powers,
                     meter.errors if meter is not None else ())
    rows = []
    for phase, name in enumerate(NAMES):
        rows.append({
            "phase": name, "grid_w": seen.grid[phase], "inverter_w": seen.inverter[phase],
            "house_w": seen.house[phase], "meter_w": powers[phase] if powers is not None else None,
            "inverter_v": seen.volts[phase], "inverter_a": seen.amps[phase],
            "findings": [each.code for each in findings if each.phase == phase],
        })
    return {
        "schema": 1, "phases": rows, "grid_w": seen.grid_w, "inverter_w": seen.inverter_w,
        "meter_w": meter.total_w if meter is not None else None, "output_type": seen.output_type,
        "findings": [each._asdict() for each in findings],
    }


def lines(told: Dict[str, Any]) -> List[str]:
    """Return the table for people; powers + into the house."""
    found = [f"{'phase':<7}{'grid':>10}{'inverter':>10}{'house':>10}{'meter':>10}{'volt':>9}{'ampere':>9}  finding"]
    for row in told["phases"]:
        numbers = _watts(row["grid_w"], row["inverter_w"], row["house_w"], row["meter_w"])
        volts = "-" if row["inverter_v"] is None else f"{row['inverter_v']:.1f}"
        amps = "-" if row["inverter_a"] is None else f"{row['inverter_a']:.2f}"
        found.append(f"{row['phase']:<7}{numbers}{volts:>9}{amps:>9}  {' '.join(row['findings'])}".rstrip())
    total = _watts(told["grid_w"], told["inverter_w"], None, told["meter_w"])
    found.append(f"{'total':<7}{total}".rstrip())
    found += [f"warning: {each['what']} [{each['code']}]" for each in told["findings"]]
    if all(row["grid_w"] is None for row in told["phases"]):
        found.append("this plant does not tell the phases of the grid")
    elif not told["findings"]:
        found.append("the phases agree")
    return found


def _watts(*powers: Optional[float]) -> str:
    shown: Sequence[str] = ["-" if power is None else f"{power:.0f} W" for power in powers]
    return "".join(f"{text:>10}" for text in shown)
