"""Whether the three phases of one look can be true: a simple sum check.

Pure. Says nothing where a phase is unknown or little flows.
"""

from __future__ import annotations

from typing import NamedTuple, Optional, Sequence, Tuple

ALLOWED_W, ALLOWED_PART = 50.0, 0.02  # phase sums of real plants miss the total by 7 to 19 W


class Finding(NamedTuple):
    """What cannot be true."""

    what: str


def judge(
    grid: Sequence[Optional[float]], grid_w: Optional[float],
    inverter: Sequence[Optional[float]] = (None, None, None), inverter_w: Optional[float] = None,
) -> Tuple[Finding, ...]:
    """Return what cannot be true of the phases' power in W; empty when all is well or too little is known."""
    found = []
    for what, powers, total_w in (("grid", grid, grid_w), ("inverter", inverter, inverter_w)):
        known = [power for power in powers if power is not None]
        if len(known) != 3 or total_w is None:
            continue
        if abs(sum(known) - total_w) > ALLOWED_W + ALLOWED_PART * sum(abs(power) for power in known):
            shown = " ".join(f"{power:.0f}" for power in known)
            found.append(Finding(f"the phases of the {what} ({shown} W) add up to {sum(known):.0f} W,"
                                 f" the total is {total_w:.0f} W"))
    return tuple(found)
