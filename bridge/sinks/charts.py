"""The last hour as pictures: SVG paths of a series, and the same in a sentence for who does not see them.

Pure. Never draws a line across a gap: what is not known has no line.
"""

from __future__ import annotations

from typing import List, NamedTuple, Optional, Sequence, Tuple

from bridge.sinks.history import STEP_S, Series

WIDTH, HEIGHT = 240, 60  # of the drawing; the page stretches it
COLUMNS = 120
WINDOWS_MIN = (1, 2, 5, 10, 20, 30, 60)  # a bridge that has just started shows what there is, large

Points = List[Tuple[float, float]]


class Chart(NamedTuple):
    """What is drawn: ``above`` and ``below`` are areas over and under zero, ``zero`` the height of the zero line."""

    line: str
    above: str
    below: str
    zero: float
    top: float
    bottom: float
    known: Tuple[float, ...]


def window_min(slots: int) -> int:
    """Return how many minutes to show when there are ``slots`` of history."""
    kept_min = slots * STEP_S / 60
    return next((minutes for minutes in WINDOWS_MIN if kept_min <= minutes), WINDOWS_MIN[-1])


def columns(series: Series, most: int = COLUMNS) -> List[Optional[float]]:
    """Return at most ``most`` means of equal shares of the series; a share without any value is None."""
    share = max(1, -(-len(series.values) // most))
    means: List[Optional[float]] = []
    for start in range(0, len(series.values), share):
        known = [value for value in series.values[start:start + share] if value is not None]
        means.append(sum(known) / len(known) if known else None)
    return means


def chart(series: Series, least: float, full: Optional[float] = None) -> Chart:
    """Return the drawing; its scale holds zero and at least ``least``, or is 0 to ``full``."""
    means = columns(series)
    known = tuple(mean for mean in means if mean is not None)
    top = full if full is not None else max(known + (0.0,))
    bottom = 0.0 if full is not None else min(known + (0.0,))
    if top - bottom < least:
        top += least - (top - bottom)
    scale = (HEIGHT - 4) / (top - bottom)
    zero = 2 + top * scale

    def y(mean: float) -> float:
        return 2 + (top - mean) * scale

    step = WIDTH / max(1, len(means) - 1)
    lines, above, below = [], [], []
    for run in _runs(means, step):
        lines.append(_path([(x, y(mean)) for x, mean in run]))
        if any(mean > 0 for _, mean in run):
            above.append(_area([(x, y(max(mean, 0.0))) for x, mean in run], zero))
        if any(mean < 0 for _, mean in run):
            below.append(_area([(x, y(min(mean, 0.0))) for x, mean in run], zero))
    return Chart("".join(lines), "".join(above), "".join(below), round(zero, 1), top, bottom, known)


def _runs(means: Sequence[Optional[float]], step: float) -> List[Points]:
    """Return the stretches without a gap; a lonely point becomes a short line, so that it can be seen."""
    runs: List[Points] = []
    run: Points = []
    for index, mean in enumerate(means):
        if mean is not None:
            run.append((index * step, mean))
        elif run:
            runs.append(run)
            run = []
    if run:
        runs.append(run)
    return [run if len(run) > 1 else [(max(0.0, run[0][0] - step), run[0][1]), run[0]] for run in runs]


def _path(points: Points) -> str:
    return "M" + "L".join(f"{x:.4g} {y:.3g}" for x, y in points)


def _area(points: Points, zero: float) -> str:
    return f"M{points[0][0]:.4g} {zero:.3g}L" + _path(points)[1:] + f"L{points[-1][0]:.4g} {zero:.3g}Z"
