"""Keeps a cloud within its limits, across restarts and across processes.

Never decides anything itself (``budget`` does) and never forgets a call before it was made: each one is
written to disk first, so that a crash loop still makes one call in 300 s.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import threading
from typing import Callable, Iterator

from bridge.clock import Clock
from bridge.errors import RateLimited
from bridge.peers.budget import (
    ASKED_HOLD_MAX_S,
    HOLD_MAX_S,
    PERIOD_S,
    STANDARD,
    Ledger,
    Limits,
    Moment,
    Verdict,
    decide,
    forgiven,
    from_json,
    held,
    noted,
    released,
    scope_of,
    to_json,
)
from bridge.state import StateDir

LEDGER_FILE = "openapi-limits.json"
PATIENCE_S = 60.0  # pacing never asks for more; a period of 300 s is reported instead of waited for
LOCK_TRIES, LOCK_WAIT_S = 20, 0.05  # the other process holds the lock for the time of one small write

log = logging.getLogger("cloud")


class Limiter:
    """The ledger of one account, shared by all processes that use the same state directory."""

    def __init__(
        self, state: StateDir, clock: Clock, limits: Limits = STANDARD, name: str = LEDGER_FILE
    ) -> None:
        self._state, self._clock, self._limits, self._name = state, clock, limits, name
        self._memory = Ledger()
        self._on_disk = True
        self._turn = threading.Lock()

    def moment(self) -> Moment:
        """Return both clocks now."""
        return Moment(self._clock.now(), self._clock.monotonic())

    def wait_s(self, endpoint: str, station: str = "", period_s: float = PERIOD_S) -> float:
        """Return how many seconds from now the call would be allowed; 0 = now. Reserves nothing."""
        return decide(self._load(), endpoint, station, period_s, self._limits, self.moment()).wait_s

    def acquire(
        self, endpoint: str, station: str = "", period_s: float = PERIOD_S, patience_s: float = PATIENCE_S,
        guard_s: float = 0.0,
    ) -> None:
        """Reserve one call, on disk and before it is made; waits up to ``patience_s`` for its turn.

        Only pacing is waited for, never the endpoint's period or a hold: a reader must not stand still.
        With ``guard_s`` the endpoint is held from this moment on, so that a crash before the answer cannot
        lead to a second try. Raises RateLimited with the seconds left.
        """
        while True:
            with self._exclusive():
                ledger = self._load()
                verdict = decide(ledger, endpoint, station, period_s, self._limits, self.moment())
                if verdict.wait_s <= 0:
                    now = self.moment()
                    ledger = noted(ledger, endpoint, station, now)
                    if guard_s:
                        reason = "the outcome of the last try is not known"
                        ledger = held(ledger, scope_of(endpoint, station), guard_s, guard_s, reason, now)
                    self._save(ledger)
                    return
            if too_long(verdict, patience_s) or self._clock.wait(verdict.wait_s):
                raise not_asked(endpoint, station, verdict)
            patience_s -= verdict.wait_s

    def check(self, endpoint: str, station: str, period_s: float, patience_s: float) -> None:
        """Raise RateLimited when ``acquire`` would; reserves nothing and does not wait."""
        verdict = decide(self._load(), endpoint, station, period_s, self._limits, self.moment())
        if too_long(verdict, patience_s):
            raise not_asked(endpoint, station, verdict)

    def settle(self, endpoint: str, station: str = "") -> None:
        """Count the call from now, when its answer is here: the peer has counted it by now at the latest."""
        self._change(
            lambda ledger, now: noted(forgiven(ledger, endpoint, station), endpoint, station, now)
        )

    def hold(
        self, scope: str, first_s: float, reason: str, max_s: float = HOLD_MAX_S, exact: bool = False
    ) -> None:
        """Leave ``scope`` alone; doubled each time in a row unless ``exact`` (the peer named the time)."""
        first_s = min(first_s, ASKED_HOLD_MAX_S)
        limit_s = first_s if exact else max_s
        self._change(lambda ledger, now: held(ledger, scope, first_s, limit_s, reason, now))
        for_s = max(hold.for_s for hold in self._load().holds if hold.scope == scope)
        log.warning('event=hold scope="%s" for_s=%.0f reason="%s"', scope, for_s, reason)

    def release(self, *scopes: str) -> None:
        """Forget holds and strikes of ``scopes``: the peer answers again."""
        if any(hold.scope in scopes for hold in self._load().holds):
            self._change(lambda ledger, _now: released(ledger, *scopes))

    def forgive(self, endpoint: str, station: str, again_in_s: float, reason: str) -> None:
        """Take back a call that never left this machine; the next one is allowed ``again_in_s`` from now."""
        scope = scope_of(endpoint, station)
        self._change(lambda ledger, now: held(
            released(forgiven(ledger, endpoint, station), scope), scope, again_in_s, again_in_s, reason, now
        ))

    def _change(self, change: Callable[[Ledger, Moment], Ledger]) -> None:
        with self._exclusive():
            self._save(change(self._load(), self.moment()))

    def _load(self) -> Ledger:
        content = self._state.load(self._name) if self._on_disk else None
        return self._memory if content is None else from_json(content)

    def _save(self, ledger: Ledger) -> None:
        self._memory = ledger
        saved = self._state.save(self._name, to_json(ledger))
        if self._on_disk and not saved:
            log.warning(
                'event=limits-not-saved path=%s effect="a restart forgets the limits"', self._state.path
            )
        self._on_disk = saved

    @contextlib.contextmanager
    def _exclusive(self) -> Iterator[None]:
        # two threads, or two processes (service and a command), must not both find the budget free
        with self._turn, self._file_lock():
            yield

    @contextlib.contextmanager
    def _file_lock(self) -> Iterator[None]:
        try:
            os.makedirs(self._state.path, mode=0o700, exist_ok=True)
            path = os.path.join(self._state.path, self._name + ".lock")
            handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError:
            yield  # a directory that cannot be written: _save says so
            return
        try:
            self._lock(handle)
            yield
        finally:
            os.close(handle)

    def _lock(self, handle: int) -> None:
        for _ in range(LOCK_TRIES):
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except OSError:
                self._clock.wait(LOCK_WAIT_S)
        log.warning("event=limits-lock-busy effect=\"another process may ask at the same time\"")


def too_long(verdict: Verdict, patience_s: float) -> bool:
    """Say whether to give up instead of waiting."""
    return verdict.wait_s > (patience_s if verdict.pacing else 0.0)


def not_asked(endpoint: str, station: str, verdict: Verdict) -> RateLimited:
    """Return the error that says why a call was not made and when it can be."""
    return RateLimited(
        f"cloud {scope_of(endpoint, station)}: not asked, to stay within the limits ({verdict.reason});"
        f" possible again in {verdict.wait_s:.0f} s",
        verdict.wait_s,
    )
