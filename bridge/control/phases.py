"""Whether the power of the three phases can be true: against their total, the inverters, a second meter.

Pure. Never finds fault with little power: meters differ by some watts, and a phase at rest has no sign.
Facts: modbus.md 13.7 (phase sums of one poll miss the total by 7 to 19 W); S3 reports that phase values
showed a wiring error.
"""

from __future__ import annotations

from itertools import permutations
from typing import List, NamedTuple, Optional, Sequence, Tuple

NAMES = ("A", "B", "C")
SUM_W, SUM_PART = 50.0, 0.02  # of one poll of one plant
METER_W, METER_PART = 150.0, 0.07  # two meters, two moments
DRAWN_W, DRAWN_PART = 300.0, 0.1  # below zero by more than this no house draws
CLEAR_W = 300.0  # from here on a phase's sign and size say something
RIGHT = (0, 1, 2)

Three = Sequence[Optional[float]]


class PhaseFinding(NamedTuple):
    """What is wrong; ``phase`` 0..2 is set where it is one phase's fault."""

    code: str
    what: str
    phase: Optional[int] = None


def judge(
    grid: Three, grid_w: Optional[float], inverter: Three = (None, None, None),
    inverter_w: Optional[float] = None, meter: Optional[Three] = None, meter_errors: Sequence[str] = (),
) -> Tuple[PhaseFinding, ...]:
    """Return what cannot be true of the phases, W, + into the house; empty when all is well or too little flows.

    ``meter`` is a second meter at the grid connection, such as a Pro 3EM.
    """
    found: List[PhaseFinding] = []
    known = _known(grid)
    if known is not None and grid_w is not None:
        found += _against_total("grid", known, grid_w)
    feeds = _known(inverter)
    if feeds is not None and inverter_w is not None:
        found += _against_total("inverter", feeds, inverter_w)
    if known is not None and meter is not None:
        second = _known(meter)
        if second is not None:
            found += _against_meter(known, second)
    if known is not None and feeds is not None and not found:
        found += _house(known, feeds)
    if any("phase_sequence" in word for word in meter_errors):
        found.append(PhaseFinding("phase_sequence", "the meter reports a wrong phase sequence: two phases are swapped"))
    return tuple(found)


def _known(powers: Three) -> Optional[Tuple[float, ...]]:
    """Return three powers, or None where one is missing: a single-phase plant has nothing to compare."""
    told = tuple(power for power in powers if power is not None)
    return told if len(told) == 3 else None


def _against_total(what: str, powers: Tuple[float, ...], total_w: float) -> List[PhaseFinding]:
    allowed_w = SUM_W + SUM_PART * sum(abs(power) for power in powers)
    off_w = sum(powers) - total_w
    if abs(off_w) <= allowed_w:
        return []
    turned = [phase for phase, power in enumerate(powers)
              if abs(power) >= CLEAR_W and abs(off_w - 2 * power) <= allowed_w]
    if len(turned) == 1:
        phase = turned[0]
        return [PhaseFinding(
            "phase_sign", f"phase {NAMES[phase]} of the {what} ({powers[phase]:.0f} W) has the wrong sign:"
            f" the phases add up to {sum(powers):.0f} W, the total is {total_w:.0f} W", phase)]
    return [PhaseFinding("phase_sum", f"the phases of the {what} add up to {sum(powers):.0f} W,"
                                      f" the total is {total_w:.0f} W")]


def _same(one: float, other: float) -> bool:
    return abs(one - other) <= METER_W + METER_PART * max(abs(one), abs(other))


def _against_meter(powers: Tuple[float, ...], meter: Tuple[float, ...]) -> List[PhaseFinding]:
    """Compare with a second meter: as they are, in another order, with one sign turned."""
    if all(_same(power, second) for power, second in zip(powers, meter)):
        return []
    orders = [order for order in permutations(RIGHT)
              if all(_same(powers[order[phase]], meter[phase]) for phase in RIGHT)]
    if len(orders) == 1:
        return [PhaseFinding("phase_swap", f"the meter's phases A, B, C are the plant's"
                                           f" {', '.join(NAMES[phase] for phase in orders[0])}")]
    turned = [phase for phase in RIGHT if abs(powers[phase]) >= CLEAR_W and _same(powers[phase], -meter[phase])]
    rest = [phase for phase in RIGHT if phase not in turned]
    if turned and all(_same(powers[phase], meter[phase]) for phase in rest):
        return [PhaseFinding("phase_sign", f"phase {NAMES[phase]}: the plant says {powers[phase]:.0f} W, the meter"
                                           f" {meter[phase]:.0f} W: one of the clamps is the wrong way round", phase)
                for phase in turned]
    return [PhaseFinding("phase_size", f"phase {NAMES[phase]}: the plant says {powers[phase]:.0f} W, the meter"
                                       f" {meter[phase]:.0f} W", phase)
            for phase in RIGHT if not _same(powers[phase], meter[phase])]


def _house(grid: Tuple[float, ...], inverter: Tuple[float, ...]) -> List[PhaseFinding]:
    """Look for a phase on which the house would feed in: its clamp is on another phase or turned round."""
    drawn = [one + other for one, other in zip(grid, inverter)]
    found = []
    for phase, power in enumerate(drawn):
        if power < -(DRAWN_W + DRAWN_PART * max(abs(grid[phase]), abs(inverter[phase]))):
            found.append(PhaseFinding(
                "phase_load", f"phase {NAMES[phase]}: grid {grid[phase]:.0f} W and inverter {inverter[phase]:.0f} W"
                f" would make the house draw {power:.0f} W there{_instead(grid, inverter)}", phase))
    return found


def _instead(grid: Tuple[float, ...], inverter: Tuple[float, ...]) -> str:
    """Say which order of the grid's clamps would be possible, if it is exactly one."""
    possible = [order for order in permutations(RIGHT) if order != RIGHT and all(
        grid[order[phase]] + inverter[phase] >= -DRAWN_W for phase in RIGHT)]
    if len(possible) != 1:
        return ""
    return f"; possible if the grid's clamps are in the order {', '.join(NAMES[phase] for phase in possible[0])}"
