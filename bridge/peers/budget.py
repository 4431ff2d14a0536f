"""The budget of a cloud account as pure decisions: what was asked when, and how long until the next call.

Never allows a call because a clock moved: an age is the smallest that either clock can vouch for.
"""

from __future__ import annotations

import math
from typing import Any, Iterator, List, NamedTuple, Optional, Tuple

from bridge.clock import SYNCED_AFTER

PERIOD_S = 300.0  # one call per station and endpoint (vendor's OpenAPI documents)
PER_MINUTE = 10  # calls of an account, all endpoints together
MINUTE_S = 60.0
PACE_S = 6.0  # between any two calls: the ten of a minute spread evenly, as working clients do
HOLD_MAX_S = 6 * 3600.0  # no block is believed to be for ever
ASKED_HOLD_MAX_S = 24 * 3600.0  # a Retry-After beyond this is a mistake
FORGET_S = 24 * 3600.0  # strikes and marks older than this say nothing any more
MARKS_MAX = 200
SOON_S = 1e-6  # rounding, not waiting
ACCOUNT = "*"  # the scope of a hold on everything


class Moment(NamedTuple):
    """Both clocks at once: unix seconds (may jump) and seconds since boot (starts over)."""

    wall: float
    mono: float


class Mark(NamedTuple):
    """One call that was made."""

    endpoint: str
    station: str
    at: Moment


class Hold(NamedTuple):
    """Leave ``scope`` alone for ``for_s`` from ``at`` on; ``strikes`` counts them in a row."""

    scope: str
    at: Moment
    for_s: float
    reason: str
    strikes: int


class Ledger(NamedTuple):
    """Everything the decisions depend on."""

    marks: Tuple[Mark, ...] = ()
    holds: Tuple[Hold, ...] = ()


class Limits(NamedTuple):
    """The budget of an account beside the period of each endpoint."""

    per_minute: int = PER_MINUTE
    pace_s: float = PACE_S


STANDARD = Limits()


class Verdict(NamedTuple):
    """How long to wait before the call, 0 = now, and why; ``pacing`` waits are short and worth waiting."""

    wait_s: float
    reason: str
    pacing: bool = False


def booted_s(then: Moment, now: Moment) -> float:
    """Return the time that has passed for certain: within a boot the difference, after one the uptime."""
    return now.mono - then.mono if now.mono >= then.mono else now.mono


def by_wall_s(then: Moment, now: Moment) -> Optional[float]:
    """Return the difference of the wall clocks, or None where one of them was not set or went back."""
    if then.wall < SYNCED_AFTER or now.wall < then.wall:
        return None
    return now.wall - then.wall


def elapsed_s(then: Moment, now: Moment) -> float:
    """Return an age that is never more than the true one, whichever clock jumped."""
    wall_s = by_wall_s(then, now)
    certain_s = max(0.0, booted_s(then, now))
    return certain_s if wall_s is None else min(certain_s, wall_s)


def scope_of(endpoint: str, station: str) -> str:
    """Return the name of one endpoint of one station in holds."""
    return f"{endpoint} {station}".strip()


def decide(
    ledger: Ledger, endpoint: str, station: str, period_s: float, limits: Limits, now: Moment
) -> Verdict:
    """Say whether a call may be made now; ``period_s`` is the endpoint's own period, 0 = none."""
    worst = Verdict(0.0, "")
    for hold in ledger.holds:
        if hold.scope in (ACCOUNT, endpoint, scope_of(endpoint, station)):
            worst = _longer(worst, hold.for_s - elapsed_s(hold.at, now), hold.reason)
    ages_s = sorted(elapsed_s(mark.at, now) for mark in ledger.marks)
    if ages_s:
        worst = _longer(worst, limits.pace_s - ages_s[0], f"one call in {limits.pace_s:g} s", True)
    if len(ages_s) >= limits.per_minute:
        wait_s = MINUTE_S - ages_s[limits.per_minute - 1]
        worst = _longer(worst, wait_s, f"{limits.per_minute} calls a minute", True)
    for mark in ledger.marks:
        if (mark.endpoint, mark.station) == (endpoint, station):
            age_s = elapsed_s(mark.at, now)
            reason = f"one call in {period_s:g} s, the last {age_s:.0f} s ago"
            worst = _longer(worst, period_s - age_s, reason)
    return worst


def _longer(worst: Verdict, wait_s: float, reason: str, pacing: bool = False) -> Verdict:
    return Verdict(wait_s, reason, pacing) if wait_s > max(worst.wait_s, SOON_S) else worst


def noted(ledger: Ledger, endpoint: str, station: str, now: Moment) -> Ledger:
    """Return the ledger with one more call; marks that no decision can need any more are left out."""
    recent: List[Mark] = [Mark(endpoint, station, now)]
    for mark in sorted(ledger.marks, key=lambda one: elapsed_s(one.at, now)):
        same = (mark.endpoint, mark.station) == (endpoint, station)
        age_s = elapsed_s(mark.at, now)
        if age_s < MINUTE_S or (not same and age_s < FORGET_S):
            recent.append(mark)
    holds = tuple(hold for hold in ledger.holds if elapsed_s(hold.at, now) < max(FORGET_S, hold.for_s))
    return Ledger(tuple(recent[:MARKS_MAX]), holds)


def held(ledger: Ledger, scope: str, first_s: float, max_s: float, reason: str, now: Moment) -> Ledger:
    """Return the ledger with a hold on ``scope``: ``first_s``, doubled for each one in a row up to ``max_s``.

    Never ends earlier than the hold that it replaces.
    """
    before = [hold for hold in ledger.holds if hold.scope == scope]
    strikes = 1 + max((hold.strikes for hold in before), default=0)
    for_s = min(max_s, first_s * 2.0 ** min(strikes - 1, 20))
    left_s = max((hold.for_s - elapsed_s(hold.at, now) for hold in before), default=0.0)
    hold = Hold(scope, now, max(first_s, for_s, left_s), reason, strikes)
    return released(ledger, scope)._replace(holds=(*released(ledger, scope).holds, hold))


def released(ledger: Ledger, *scopes: str) -> Ledger:
    """Return the ledger without the holds on ``scopes`` and their strikes."""
    return ledger._replace(holds=tuple(hold for hold in ledger.holds if hold.scope not in scopes))


def forgiven(ledger: Ledger, endpoint: str, station: str) -> Ledger:
    """Return the ledger without the latest call of an endpoint: it never reached the peer."""
    own = [mark for mark in ledger.marks if (mark.endpoint, mark.station) == (endpoint, station)]
    return ledger._replace(marks=tuple(mark for mark in ledger.marks if not own or mark is not own[0]))


def to_json(ledger: Ledger) -> Any:
    """Return the ledger as JSON rows."""
    return {
        "marks": [[mark.endpoint, mark.station, *mark.at] for mark in ledger.marks],
        "holds": [[hold.scope, *hold.at, hold.for_s, hold.reason, hold.strikes] for hold in ledger.holds],
    }


def from_json(content: Any) -> Ledger:
    """Return the ledger of JSON rows; rows that are damaged are left out."""
    if not isinstance(content, dict):
        return Ledger()
    marks = [
        Mark(str(row[0]), str(row[1]), Moment(row[2], row[3]))
        for row in _rows(content.get("marks"), 4) if _finite(row[2:4])
    ]
    holds = [
        Hold(str(row[0]), Moment(row[1], row[2]), min(row[3], ASKED_HOLD_MAX_S), str(row[4]), int(row[5]))
        for row in _rows(content.get("holds"), 6) if _finite((*row[1:4], row[5]))
    ]
    return Ledger(tuple(marks), tuple(holds))


def _rows(content: Any, width: int) -> Iterator[List[Any]]:
    for row in content if isinstance(content, list) else ():
        if isinstance(row, list) and len(row) == width:
            yield row


def _finite(numbers: Any) -> bool:
    return all(
        isinstance(one, (int, float)) and not isinstance(one, bool) and math.isfinite(one) for one in numbers
    )
