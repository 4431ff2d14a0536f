"""The plant's power per phase: of the grid (30052..30057), of the inverters (30015..30020), and both together.

Never writes a register and never fills in a phase that the plant does not tell. Both count towards the
house: what the inverters feed in and what the grid delivers, each + into the house.
"""

from __future__ import annotations

from typing import Any, Dict, List, NamedTuple, Optional, Tuple

from bridge.errors import BridgeError
from bridge.link.modbus import ModbusLink
from bridge.registers import Register, Vendor
from bridge.registers.plan import Cost
from bridge.sources.dump import Dumper, Sample

PHASES = ("a", "b", "c")
Three = Tuple[Optional[float], Optional[float], Optional[float]]
GRID, INVERTER = "grid_phase_{}_active_power", "phase_{}_active_power"
VOLTAGE, CURRENT = "phase_{}_voltage", "phase_{}_current"
TOTALS = ("grid_active_power", "plant_active_power", "output_type")


class PhasesSeen(NamedTuple):
    """Power by phase in W, + into the house; totals of the same look; V and A of one inverter."""

    grid: Three = (None, None, None)
    inverter: Three = (None, None, None)
    grid_w: Optional[float] = None
    inverter_w: Optional[float] = None
    volts: Three = (None, None, None)
    amps: Three = (None, None, None)
    output_type: Optional[int] = None

    @property
    def house(self) -> Three:
        """What the house draws on each phase; sun that another inverter feeds in is missing from it."""
        both = [None if grid is None or inverter is None else grid + inverter
                for grid, inverter in zip(self.grid, self.inverter)]
        return both[0], both[1], both[2]


def rows_for(vendor: Vendor, device: bool) -> List[Register]:
    """Return the rows that tell the phases; with ``device`` also those of an inverter."""
    names = {("plant", form.format(phase)) for form in (GRID, INVERTER) for phase in PHASES}
    names |= {("plant", name) for name in TOTALS[:2]}
    if device:
        names |= {("inverter", form.format(phase)) for form in (VOLTAGE, CURRENT) for phase in PHASES}
        names.add(("inverter", "output_type"))
    return [row for row in vendor.rows if (row.scope, row.name) in names]


def read_phases(
    link: ModbusLink, vendor: Vendor, cost: Cost, unit: int, offset: int = 0, grid_sign: int = 1,
    device_unit: Optional[int] = None,
) -> PhasesSeen:
    """Return the phases of one look; ``device_unit`` is asked for voltages too. Raises LinkError."""
    dumper = Dumper(link, vendor, cost, {"plant": unit, "inverter": device_unit or unit}, offset)
    samples = dumper.read(rows_for(vendor, device_unit is not None))
    return phases_from(samples, grid_sign)


def phases_from(samples: List[Sample], grid_sign: int = 1) -> PhasesSeen:
    """Return what samples say of the phases; the grid's sign is that of the registers, + is import."""
    values: Dict[Tuple[str, str], Any] = {
        (sample.row.scope, sample.row.name): sample.value for sample in samples if not sample.error}

    def number(scope: str, name: str, sign: int = 1) -> Optional[float]:
        told = values.get((scope, name))
        return sign * told if isinstance(told, (int, float)) else None

    def three(scope: str, form: str, sign: int = 1) -> Three:
        a, b, c = (number(scope, form.format(phase), sign) for phase in PHASES)
        return a, b, c

    kind = number("inverter", "output_type")
    return PhasesSeen(
        three("plant", GRID, grid_sign), three("plant", INVERTER), number("plant", TOTALS[0], grid_sign),
        number("plant", TOTALS[1]), three("inverter", VOLTAGE), three("inverter", CURRENT),
        None if kind is None else int(kind),
    )


def phases_answer(seen: PhasesSeen, age_s: float) -> Dict[str, Any]:
    """Return what /v1/phases tells of the phases; unknown is null."""
    return {"schema": 1, "age_s": round(age_s, 1), "grid_w": list(seen.grid), "inverter_w": list(seen.inverter),
            "house_w": list(seen.house)}


def trouble(error: BridgeError) -> Dict[str, Any]:
    """Return what /v1/phases tells when the plant did not answer."""
    return {"schema": 1, "error": str(error), "grid_w": None, "inverter_w": None, "house_w": None}
