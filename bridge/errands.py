"""What other threads want done on the plant's one connection, done by the loop between two readings.

The loop's thread owns the link: one session, one request in flight, and nobody needs a lock. Never lets an
errand start that could not end before the next reading is due, except the first one after a reading.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import Any, Callable, Deque, Optional, Tuple

from bridge.clock import Clock
from bridge.errors import BridgeError, LinkError, LinkTimeout, RateLimited

MOST_WAITING = 32  # who asks for more than this at once is refused rather than served late


class Errand:
    """One thing to do: ``act`` gets the link and the plant's unit; the asker waits for the outcome."""

    __slots__ = ("act", "result", "error", "_done", "dropped")

    def __init__(self, act: Callable[[Any, int], Any]) -> None:
        self.act = act
        self.result: Any = None
        self.error: Optional[BridgeError] = None
        self.dropped = False
        self._done = threading.Event()

    def outcome(self, timeout_s: float) -> Any:
        """Wait for the result; raises what the errand raised, or LinkTimeout when its turn did not come."""
        if not self._done.wait(timeout_s):
            self.dropped = True
            raise LinkTimeout(f"the bridge had no time for this within {timeout_s:g} s; is the plant reachable?")
        if self.error is not None:
            raise self.error
        return self.result

    def run(self, link: Any, unit: int) -> None:
        """Do it, unless nobody waits for it any more."""
        self.error = LinkError("this failed inside the bridge; its log says more")  # stands for a defect only
        try:
            if not self.dropped:
                self.result = self.act(link, unit)
            self.error = None
        except BridgeError as error:
            self.error = error
        finally:
            self._done.set()

    def refuse(self, error: BridgeError) -> None:
        """End without doing it."""
        self.error = error
        self._done.set()


class Errands:
    """The queue between whoever wants something of the plant and the loop that owns the link."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._waiting: Deque[Errand] = deque()
        self._closed = False
        self.came = threading.Event()  # the loop sleeps on it between two readings
        self.done = 0

    def ask(self, act: Callable[[Any, int], Any], timeout_s: float = 3.0) -> Any:
        """Have ``act(link, unit)`` done by the loop and return its result; for any thread but the loop's.

        Raises RateLimited when too much is waiting already, LinkError when the link is down or the bridge
        ends, LinkTimeout when the turn did not come, and whatever ``act`` raises of ours.
        """
        if len(self._waiting) >= MOST_WAITING:
            raise RateLimited("the bridge has as much to ask the plant as it can; try again in a second", 1.0)
        errand = Errand(act)
        if self._closed:
            raise LinkError("the bridge is ending")
        self._waiting.append(errand)
        self.came.set()
        return errand.outcome(timeout_s)

    def serve(self, where: Optional[Tuple[Any, int]], until: float, cost_s: float) -> None:
        """Do what waits, from the loop's thread: at least one errand, more while ``cost_s`` fits before ``until``.

        ``where`` is (link, unit), or None while there is no link: then whoever waits is told so.
        """
        self.came.clear()
        first = True
        while self._waiting and (first or self._clock.monotonic() + cost_s <= until):
            errand = self._waiting.popleft()
            if where is None:
                errand.refuse(LinkError("the bridge has no link to the plant at the moment"))
                continue
            errand.run(*where)
            self.done += 1
            first = False

    @property
    def waiting(self) -> bool:
        """True while somebody waits."""
        return bool(self._waiting)

    def close(self) -> None:
        """Refuse everybody, now and from now on."""
        self._closed = True
        while self._waiting:
            self._waiting.popleft().refuse(LinkError("the bridge is ending"))
