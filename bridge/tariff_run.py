"""The tariff job as it is run: once, from a timer, or every period; and what it has to say about itself.

Never keeps quiet about a run that posted nothing: the reason, what stays, and the next try are said. ``say``
takes a line for people or machines; this module prints nothing itself.
"""

from __future__ import annotations

import json
import re
from typing import Callable, Optional

from bridge.clock import Clock
from bridge.config import Settings
from bridge.control.tariff_times import LOOK_S, LOOKS_MAX, next_runs, offset_s, wait_s
from bridge.errors import (
    EXIT_OK,
    BridgeError,
    ConfigError,
    LinkError,
    RateLimited,
    Refused,
)
from bridge.link.cloud import CloudUnreachable
from bridge.peers.sigen_text import moment
from bridge.sinks.tariff import DIFFERENT, FAILED, POSTED, UNCHANGED, WAITING, Outcome, Run
from bridge.sinks.tariff_job import Prepared, TariffJob

Say = Callable[[str], None]
CLOCK_S = 30.0  # between two looks at a clock that is not set


def offset_of(settings: Settings) -> int:
    """Return when in an interval this installation runs."""
    return offset_s(" ".join(settings[key] for key in ("amber.site_id", "cloud.station_id", "cloud.username")))


class Runner:
    """Runs the job; ``every_s`` is its period."""

    def __init__(
        self, job: TariffJob, clock: Clock, settings: Settings, every_s: int, as_json: bool, say: Say
    ) -> None:
        self._job, self._clock, self._every_s, self._json, self._say = job, clock, every_s, as_json, say
        self._offset = offset_of(settings)
        self._log_lines = False
        self._told = ""

    def once(self, force: bool = False, fresh: bool = False) -> int:
        """Push once; raises what went wrong after saying what stays."""
        try:
            self._push(self._job.prepare(fresh), force)
        except BridgeError as error:
            self._failed(error)
            raise
        return EXIT_OK

    def scheduled(self) -> int:
        """Push once for a timer: wait for the price, then look again while it is an estimate."""
        self._log_lines = True
        if self._clock.synced() and self._clock.wait(wait_s(self._clock.now(), self._offset, self._every_s)):
            return EXIT_OK
        try:
            self._round()
        except BridgeError as error:
            self._failed(error)
            raise
        return EXIT_OK

    def watch(self) -> int:
        """Push every period until stopped; only what the operator has to put right ends it."""
        self._log_lines = True
        while not self._clock.stopped:
            synced = self._clock.synced()
            try:
                self._round()
            except (ConfigError, Refused) as error:
                self._failed(error)
                raise
            except BridgeError as error:
                self._failed(error)
            now = self._clock.now()
            self._clock.wait(next_runs(now, self._offset, self._every_s)[0] - now if synced else CLOCK_S)
        return EXIT_OK

    def _round(self) -> None:
        ready = self._job.prepare()
        ends_at = (self._clock.now() // self._every_s + 1) * self._every_s
        self._push(ready)
        for _look in range(LOOKS_MAX):
            if ready.plan.settled or self._clock.now() + LOOK_S >= ends_at or self._clock.wait(LOOK_S):
                return
            ready = self._job.look_again(ready)
            self._push(ready, quiet=True)

    def _push(self, ready: Prepared, force: bool = False, quiet: bool = False) -> None:
        outcome = self._job.push(ready, force)
        self._told = ""
        run = Run(self._clock.now(), POSTED if outcome.posted else UNCHANGED, outcome.note,
                  self._next(), 0, outcome.changed)
        self._job.sink.note_run(run)
        if outcome.posted or not quiet:
            self._report(ready, outcome)

    def _next(self) -> float:
        return next_runs(self._clock.now(), self._offset, self._every_s)[0]

    def _report(self, ready: Prepared, outcome: Outcome) -> None:
        slot = ready.plan.slots[ready.plan.running]
        sell_c = slot.sell.c_kwh if slot.sell is not None else None
        notes = [*ready.notes, *([outcome.note] if outcome.note else [])]
        age_s = max(0.0, self._clock.now() - ready.market.asked_at)
        if self._json:
            self._say(json.dumps({
                "outcome": POSTED if outcome.posted else UNCHANGED, "slots_changed": outcome.changed,
                "station_id": ready.station_id, "buy_c_kwh": slot.buy.c_kwh, "sell_c_kwh": sell_c,
                "verified": outcome.verified, "settled": ready.plan.settled, "prices_age_s": round(age_s, 1),
                "notes": notes,
            }))
            return
        if self._log_lines:
            words = [
                "event=tariff", f"outcome={POSTED if outcome.posted else UNCHANGED}", f"changed={outcome.changed}",
                f"buy_c={price_text(slot.buy.c_kwh)}", f"sell_c={price_text(sell_c)}",
                f"estimate={'no' if ready.plan.settled else 'yes'}",
            ]
            if outcome.posted:
                words.append(f'verified="{outcome.verified}"')
            self._say(" ".join([*words, *(f'note="{_quoted(note)}"' for note in notes)]))
            return
        prices = f"now buy {price_text(slot.buy.c_kwh)}, sell {price_text(sell_c)} c/kWh"
        if outcome.posted:
            self._say(f"posted: {outcome.changed} of {len(ready.plan.slots)} slots changed; {prices};"
                      f" {outcome.verified}")
        else:
            has = "took these prices before" if outcome.verified == DIFFERENT else "has these prices already"
            self._say(f"nothing posted: the cloud {has}; {prices}")
        if not ready.market.fresh:
            self._say(f"note: Amber's prices are {age_s:.0f} s old, it is asked once in a period (--fresh asks now)")
        for note in notes:
            self._say(f"note: {note}")

    def _failed(self, error: BridgeError) -> None:
        """Remember and say a run that ended with an error; repeated ones are said once."""
        uncertain = self._job.sink.sending and isinstance(error, LinkError) and not (
            isinstance(error, CloudUnreachable) and not error.sent
        )
        self._job.sink.sending = False
        now, waiting = self._clock.now(), not self._clock.synced()
        next_at: Optional[float] = None
        if not waiting:
            again_s = error.retry_after_s if isinstance(error, RateLimited) else None
            next_at = next_runs(now + (again_s or 0.0), self._offset, self._every_s)[0]
        reason = " ".join(str(error).split())
        run = self._job.sink.note_run(Run(now, WAITING if waiting else FAILED, reason, next_at))
        post, _prices = self._job.sink.anywhere()
        what = "it is not known whether the cloud took the tariff" if uncertain else "nothing was posted"
        stays = f"the plan of {moment(post.at)} stays" if post is not None else "the cloud's plan stays as it is"
        if uncertain:
            stays = "the next run posts it again"
        again = "when the clock is set" if next_at is None else moment(next_at)
        if isinstance(error, (ConfigError, Refused)):
            again = "when that is put right"
        if self._json:
            self._say(json.dumps({"outcome": run.outcome, "reason": reason, "posted": None if uncertain else False,
                                  "next_try_at": next_at, "failures": run.failures}))
        elif not self._log_lines:
            self._say(f"{what}; {stays}; next try: {again}")
        elif same_words(reason) != same_words(self._told):
            self._say(f'event=tariff outcome={run.outcome} reason="{_quoted(reason)}" effect="{what}; {stays}"'
                      f' next="{again}"')
        self._told = reason


def price_text(c_kwh: Optional[float]) -> str:
    """Return a price with two decimals, or a dash."""
    return "-" if c_kwh is None else f"{c_kwh:.2f}"


def _quoted(text: str) -> str:
    return text.replace('"', "'")


def same_words(reason: str) -> str:
    """Return a reason without its numbers: one that only counts seconds down is not a new one."""
    return re.sub(r"\d+", "#", reason)
