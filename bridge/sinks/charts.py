"""The last hour as pictures: SVG paths of a series, and the same in a sentence for who does not see them.

Pure. Never draws a line across a gap: what is not known has no line.
"""

from __future__ import annotations

from array import array
from typing import List, NamedTuple, Optional, Sequence, Tuple

from bridge.sinks.history import STEP_S

WIDTH, HEIGHT = 240, 600  # of the drawing, in whole numbers; the page stretches it
MARGIN = 20
COLUMNS = 60
WINDOWS_MIN = (1, 2, 5, 10, 20, 30, 60)  # a bridge that has just started shows what there is, large

Points = List[Tuple[int, float]]


class Chart(NamedTuple):
    """What is drawn: ``above`` and ``below`` are areas over and under zero, ``zero`` the height of the zero line."""

    line: str
    above: str
    below: str
    zero: int
    top: float
    bottom: float
    known: Tuple[float, ...]


def window_min(slots: int) -> int:
    """Return how many minutes to show when there are ``slots`` of history."""
    kept_min = slots * STEP_S / 60
    return next((minutes for minutes in WINDOWS_MIN if kept_min <= minutes), WINDOWS_MIN[-1])


def columns(window: "array[float]", most: int = COLUMNS) -> List[Optional[float]]:
    """Return at most ``most`` means of equal shares of the slots; a share without any value (nan) is None."""
    share = max(1, -(-len(window) // most))
    means: List[Optional[float]] = []
    for start in range(0, len(window), share):
        slots = window[start:start + share]
        total = sum(slots)
        if total != total:
            known = [held for held in slots if held == held]
            means.append(sum(known) / len(known) if known else None)
        else:
            means.append(total / len(slots))
    return means


def chart(means: Sequence[Optional[float]], least: float, full: Optional[float] = None) -> Chart:
    """Return the drawing of ``columns``; its scale holds zero and at least ``least``, or is 0 to ``full``."""
    known = tuple(mean for mean in means if mean is not None)
    top = full if full is not None else max(known + (0.0,))
    bottom = 0.0 if full is not None else min(known + (0.0,))
    if top - bottom < least:
        top += least - (top - bottom)
    scale = (HEIGHT - 2 * MARGIN) / (top - bottom)
    offset = MARGIN + top * scale
    zero = round(offset)
    lines, above, below = [], [], []
    for run in _runs(means, WIDTH / max(1, len(means) - 1)):
        drawn = "L".join(["%d %d" % (x, offset - mean * scale) for x, mean in run])
        lines.append("M" + drawn)
        highest, lowest = max(mean for _, mean in run), min(mean for _, mean in run)
        if highest > 0:
            over = drawn if lowest >= 0 else "L".join(["%d %d" % (x, offset - max(mean, 0) * scale) for x, mean in run])
            above.append(_area(run, over, zero))
        if lowest < 0:
            if highest > 0:
                drawn = "L".join(["%d %d" % (x, offset - min(mean, 0) * scale) for x, mean in run])
            below.append(_area(run, drawn, zero))
    return Chart("".join(lines), "".join(above), "".join(below), zero, top, bottom, known)


def _runs(means: Sequence[Optional[float]], step: float) -> List[Points]:
    """Return the stretches without a gap; a lonely point becomes a short line, so that it can be seen."""
    runs: List[Points] = []
    run: Points = []
    for index, mean in enumerate(means):
        if mean is not None:
            run.append((int(index * step), mean))
        elif run:
            runs.append(run)
            run = []
    if run:
        runs.append(run)
    return [run if len(run) > 1 else [(max(0, int(run[0][0] - step)), run[0][1]), run[0]] for run in runs]


def _area(run: Points, drawn: str, zero: int) -> str:
    return f"M{run[0][0]} {zero}L{drawn}L{run[-1][0]} {zero}Z"
