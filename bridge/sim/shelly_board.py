"""The board a simulated Shelly is built on: its time, timers, flash, counters and notifications.

Never opens a socket: who listens is told through ``Listener`` objects. One lock stands for the one
task in which the firmware handles everything, one thing at a time.
"""

from __future__ import annotations

import heapq
import threading
from collections import Counter, deque
from contextlib import contextmanager
from typing import Any, Callable, Deque, Dict, Iterator, List, NamedTuple, Protocol, Tuple

from bridge.clock import Clock
from bridge.sim.shelly_rpc import dumps

HISTORY = 10_000  # values kept for tests; a day at 5/s would be 432,000

Job = Callable[[], None]


class Written(NamedTuple):
    """One value that a component took on."""

    mono: float
    key: str
    value: Any
    source: str


class Listener(Protocol):
    """Somebody who receives notification frames; ``offer`` queues, ``flush`` sends."""

    def offer(self, method: str, params_text: str) -> None:
        """Queue one notification; called under the board's lock, must not block."""

    def flush(self) -> None:
        """Send what is queued; called without the board's lock."""


class Counters:
    """What the device has seen; read them freely, write under ``lock``."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.tcp_connections = 0
        self.http_connections = 0
        self.http_requests = 0
        self.ws_connections = 0
        self.open_ws = 0
        self.ws_frames_in = 0
        self.ws_frames_out = 0
        self.rpc: Counter[str] = Counter()
        self.rpc_errors = 0
        self.auth_challenges = 0
        self.auth_failures = 0
        self.auth_throttled = 0
        self.evicted_channels = 0
        self.flash_writes = 0
        self.reboots = 0


class Timer:
    """A job that is due once; cancelling it is harmless at any time."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.cancelled = False

    def cancel(self) -> None:
        """Make sure the job does not run any more."""
        self.cancelled = True


class Board:
    """Time, timers, flash and notifications of one device."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.counters = Counters()
        self.history: Deque[Written] = deque(maxlen=HISTORY)
        self.cfg_rev = 1
        self.booted_mono = clock.monotonic()
        self.listeners: List[Listener] = []
        self._lock = threading.RLock()
        self._depth = 0
        self._due: List[Tuple[float, int, Timer]] = []
        self._timer_count = 0
        self._pending: List[Tuple[str, str]] = []
        self._deferred: List[Job] = []

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Do something as the device's one task; notifications leave when the outermost turn ends."""
        jobs: List[Job] = []
        outermost = False
        try:
            with self._lock:
                self._depth += 1
                try:
                    yield
                finally:
                    self._depth -= 1
                    outermost = self._depth == 0
                    if outermost:
                        self._publish()
                        jobs, self._deferred = self._deferred, []
        finally:
            if outermost:
                for job in jobs:
                    job()
                for listener in tuple(self.listeners):
                    listener.flush()

    def defer(self, job: Job) -> None:
        """Run ``job`` after the current turn, outside the lock (it may wait for a script engine)."""
        self._deferred.append(job)

    def after(self, delay_s: float, job: Job) -> Timer:
        """Run ``job`` in a turn of its own, ``delay_s`` seconds of the clock from now."""
        timer = Timer(job)
        with self._lock:
            self._timer_count += 1
            heapq.heappush(self._due, (self.clock.monotonic() + delay_s, self._timer_count, timer))
        return timer

    def tick(self) -> None:
        """Run the timers that are due; cheap when none is."""
        while self._due and self._due[0][0] <= self.clock.monotonic():
            with self.turn():
                if self._due and self._due[0][0] <= self.clock.monotonic():
                    timer = heapq.heappop(self._due)[2]
                    if not timer.cancelled:
                        timer.job()

    def drop_timers(self) -> None:
        """Forget all timers, as a reboot does."""
        with self._lock:
            self._due.clear()

    def uptime_s(self) -> float:
        """Return the seconds since boot."""
        return self.clock.monotonic() - self.booted_mono

    def stamp(self) -> float:
        """Return unix seconds as notifications carry them, two decimals."""
        return round(self.clock.now(), 2)

    def wrote(self, key: str, value: Any, source: str) -> None:
        """Remember a value for the tests."""
        self.history.append(Written(self.clock.monotonic(), key, value, source))

    def flash(self) -> None:
        """Count one write to flash."""
        with self.counters.lock:
            self.counters.flash_writes += 1

    def notify_status(self, key: str, delta: Dict[str, Any]) -> None:
        """Tell the listeners what changed in a component's status."""
        if self.listeners:
            self._pending.append(("NotifyStatus", dumps({"ts": self.stamp(), key: delta})))

    def notify_event(self, component: str, event: str, **details: Any) -> None:
        """Tell the listeners that something happened."""
        if self.listeners:
            entry = {"component": component, **details, "event": event, "ts": self.stamp()}
            self._pending.append(("NotifyEvent", dumps({"ts": self.stamp(), "events": [entry]})))

    def config_changed(self, key: str) -> Dict[str, Any]:
        """Store a new configuration: flash, ``cfg_rev``, event; returns what SetConfig answers."""
        self.flash()
        self.cfg_rev += 1
        kind, _, number = key.partition(":")
        ids = {"id": int(number)} if number else {}
        self.notify_event(key, "config_changed", **ids, restart_required=False, cfg_rev=self.cfg_rev)
        return {"restart_required": False}

    def _publish(self) -> None:
        pending, self._pending = self._pending, []
        for method, params_text in pending:
            for listener in self.listeners:
                listener.offer(method, params_text)
