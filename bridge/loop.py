"""The step that everything else hangs on: read, publish, wait for the next whole second.

Never waits for a sink and never bunches missed cycles: what is late is counted and skipped. The
schedule is monotonic, so a clock that jumps or stands at 1970 changes nothing.
"""

from __future__ import annotations

import logging
import os
from collections import deque
from typing import Any, Callable, Deque, Optional, Protocol, Tuple

from bridge.clock import Clock
from bridge.errands import Errands
from bridge.errors import BridgeError, ConfigError, LinkTimeout
from bridge.faultlog import FaultLog
from bridge.model import Reading, invalid, validity_s

RETRY_S = 1.0  # a LAN needs no longer back-off; one request in 1 s is less than normal traffic
RETRY_JITTER_S = 0.1  # so that many bridges on one gateway do not ask in step
SLICE_S = 5.0  # a watchdog wants to hear of us more often than a cloud-only bridge reads
SLOWER_S = (0.0, 2.0, 5.0)  # periods to fall back to when time-outs pile up
ERRAND_S = 0.15  # what a request of somebody else may take: plants answer in 20 to 110 ms
WINDOW = 60  # cycles looked at to decide that

log = logging.getLogger("loop")


class Source(Protocol):
    """Where readings come from."""

    name: str

    def read(self) -> Reading:
        """Return one reading; raises BridgeError."""

    def close(self) -> None:
        """Let go of the link."""


class Pace:
    """Slows polling down while an answering device loses more than a few percent of the requests.

    An outage is not that: probing once a second is already less than the normal traffic, and it is
    what finds the end of the outage.
    """

    def __init__(self) -> None:
        self._recent: Deque[bool] = deque(maxlen=WINDOW)
        self._in_a_row = self._lost = 0
        self.step = 0

    def note(self, timed_out: bool) -> bool:
        """Take in one cycle; returns True when the step changed."""
        self._in_a_row = self._in_a_row + 1 if timed_out else 0
        if self._in_a_row >= 5:  # an outage: forget it, it says nothing about the device's patience
            self._recent.clear()
            self._lost = 0
            changed, self.step = self.step != 0, 0
            return changed
        if not timed_out and not self._lost and not self.step:
            return False  # the usual case: nothing was lost lately
        self._recent.append(timed_out)
        self._lost = lost = sum(self._recent)
        if lost >= 4 and self.step < len(SLOWER_S) - 1:
            self.step += 1
        elif lost == 0 and len(self._recent) == WINDOW and self.step:
            self.step -= 1
        else:
            return False
        self._recent.clear()
        self._lost = 0
        return True

    def period(self, interval_s: float) -> float:
        """Return the period to keep for a wished interval."""
        return max(interval_s, SLOWER_S[self.step])


class Loop:
    """Runs a source at a fixed period and hands every outcome to ``publish``.

    ``publish`` gets each reading, and in cycles without one the last good reading marked stale once
    it is too old to be true; it must return at once (network sinks sit behind an Outbox). A cycle
    without a reading is followed by the next after ``retry_s``, by default the interval, at least 1 s.
    """

    def __init__(
        self, source: Source, publish: Callable[[Reading], None], clock: Clock,
        interval_s: float, faults: FaultLog, retry_s: Optional[float] = None,
    ) -> None:
        self._source, self._publish, self._clock = source, publish, clock
        self._interval_s, self._faults = interval_s, faults
        self._retry_s = max(interval_s, RETRY_S) if retry_s is None else retry_s
        self._pace = Pace()
        self.last_good: Optional[Reading] = None
        self.last_error = ""
        self.cycles = self.late = self.failed = self.dropped = 0
        self.progress = 0.0
        self.last_reading: Optional[Reading] = None
        self.before_step: Optional[Callable[[], None]] = None  # whoever commands the plant goes first
        self.after_step: Callable[[], None] = lambda: None
        self.while_waiting: Callable[[], None] = lambda: None
        self.errands = Errands(clock)
        self.where: Callable[[], Optional[Tuple[Any, int]]] = lambda: None  # (link, unit) of the plant, if any

    def run(self, cycles: Optional[int] = None) -> None:
        """Poll until the clock is stopped, or for a number of cycles; raises ConfigError only."""
        start = self._clock.monotonic()
        while not self._clock.stopped:
            good = self.step()
            if cycles is not None and self.cycles >= cycles:
                return
            now = self._clock.monotonic()
            period = self._pace.period(self._interval_s) if good else self._retry_s
            if period <= 0:
                self._serve(now)
                continue
            start += period
            if now > start:
                self.late += 1
                start += period * ((now - start) // period)
            pause = start - now
            if not good:
                pause = max(pause, 0.0) + RETRY_JITTER_S * os.urandom(1)[0] / 255.0
            self._pause(pause)

    def _pause(self, seconds: float) -> None:
        """Wait for the next cycle; during a long wait say now and then that all is well."""
        end = self._clock.monotonic() + seconds
        came = self.errands.came
        if came.is_set():
            self._serve(end)
            seconds = end - self._clock.monotonic()
        while not self._clock.wait_for(came, min(seconds, SLICE_S)):
            self.progress = self._clock.monotonic()
            seconds = end - self.progress
            if seconds <= 0:
                return
            self.while_waiting()
            if came.is_set():
                if seconds < ERRAND_S:  # it waits for the next pause: the reading goes first
                    self._clock.wait(seconds)
                    return
                self._serve(end)
                seconds = end - self._clock.monotonic()

    def _serve(self, until: float) -> None:
        """Do what others want of the plant; at least one errand after each reading, more while there is time."""
        if not self.errands.waiting:
            self.errands.came.clear()
            return
        try:
            self.errands.serve(self.where(), until, ERRAND_S)
        except Exception as error:  # a defect in an errand must not end the service; it is logged and counted
            self._missed(f"internal {type(error).__name__} in an errand: {error}")

    def step(self) -> bool:
        """Do one cycle; returns whether a reading came."""
        self.cycles += 1
        timed_out = False
        if self.before_step is not None:
            self._before(self.before_step)
        try:
            reading = self._source.read()
        except ConfigError:
            raise
        except BridgeError as error:
            timed_out = isinstance(error, LinkTimeout)
            self._missed(str(error))
            reading = None
        except Exception as error:  # a defect must not end the service; it is logged, counted and retried
            self._missed(f"internal {type(error).__name__}: {error}")
            reading = None
        self.progress = self._clock.monotonic()
        self.last_reading = reading
        step = self._pace.step
        if self._pace.note(timed_out):
            log.warning("state=%s period_s=%g", "slower" if self._pace.step > step else "faster",
                        self._pace.period(self._interval_s))
        if reading is not None:
            self._take(reading)
        self.after_step()
        return reading is not None

    def _before(self, act: Callable[[], None]) -> None:
        try:
            act()
        except Exception as error:  # a defect there must not end the polling; it is logged and counted
            self._missed(f"internal {type(error).__name__}: {error}")

    def _take(self, reading: Reading) -> None:
        if reading.valid:
            self._faults.good()
            self.last_good, self.last_error = reading, reading.reason or ""
        else:
            self.dropped += 1
            self.last_error = reading.reason or ""
            self._faults.bad(f"reading dropped: {reading.reason}")
        self._publish(reading)

    def _missed(self, text: str) -> None:
        self.failed += 1
        self.last_error = text
        self._faults.bad(text)
        last = self.last_good
        if last is None:
            return
        age_s = self._clock.monotonic() - last.mono
        if age_s > validity_s(last.source):
            self._publish(invalid(last, f"stale: no reading for {age_s:.0f} s"))
