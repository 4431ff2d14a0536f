"""A one-slot outbox: the newest reading for one sink, delivered by a thread of its own.

Never blocks whoever offers, never keeps more than the newest reading, and its thread never dies of a
sink's failure (this and loop.py are the only places that catch every Exception).
"""

from __future__ import annotations

import threading
from typing import Any, Dict, Optional, Protocol

from bridge.clock import Clock
from bridge.errors import BridgeError
from bridge.model import Reading

IDLE_WAIT_S = 60.0  # only bounds the wait; an offer ends it at once


class Sink(Protocol):
    """Where readings go."""

    name: str

    def write(self, reading: Reading) -> None:
        """Show the reading; raises BridgeError."""

    def close(self) -> None:
        """Let go of what is held."""


class Faults(Protocol):
    """Where failures are reported; ``bridge.faultlog.FaultLog`` is the one there is."""

    def bad(self, text: str) -> None: ...

    def good(self) -> None: ...


class Outbox:
    """The thread between the loop and one sink; it starts with the first offer."""

    def __init__(self, sink: Sink, clock: Clock, fault_log: Faults) -> None:
        self.sink = sink
        self.offered = self.written = self.dropped = self.errors = 0
        self.last_ok: Optional[float] = None  # monotonic
        self.last_error: Optional[str] = None
        self._clock = clock
        self._faults = fault_log
        self._slot: Optional[Reading] = None
        self._closing = False
        self._mutex = threading.Lock()
        self._news = threading.Lock()  # free while there is something to do: a third of a Condition's work
        self._news.acquire()
        self._thread: Optional[threading.Thread] = None

    @property
    def name(self) -> str:
        """Return the sink's name."""
        return self.sink.name

    def health(self) -> Dict[str, Any]:
        """Return how the sink is, for the status page: ok is True while the last delivery worked."""
        age_s = None if self.last_ok is None else round(self._clock.monotonic() - self.last_ok, 1)
        return {
            "name": self.name, "ok": self.last_ok is not None and self.last_error is None,
            "error": self.last_error, "age_s": age_s, "offered": self.offered, "written": self.written,
            "dropped": self.dropped, "errors": self.errors,
        }

    def offer(self, reading: Reading) -> None:
        """Leave the newest reading to be written; an older one that waits is dropped."""
        with self._mutex:
            if self._closing:
                return
            self.offered += 1
            if self._slot is not None:
                self.dropped += 1
            self._slot = reading
            self._wake()
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name=f"outbox-{self.sink.name}", daemon=True)
            self._thread.start()

    def close(self, timeout_s: float) -> bool:
        """Write what waits, then close the sink; False when that took longer than ``timeout_s``."""
        with self._mutex:
            self._closing = True
            self._wake()
        if self._thread is None:
            self._close_sink()
            return True
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while True:
            reading = self._take()
            if reading is None:
                break
            self._deliver(reading)
        self._close_sink()

    def _take(self) -> Optional[Reading]:
        """Wait for a reading; None when the outbox is closed and empty."""
        while True:
            self._news.acquire(timeout=IDLE_WAIT_S)
            with self._mutex:
                reading, self._slot = self._slot, None
                if reading is not None and self._closing:
                    self._wake()  # come back to find the outbox closed and empty
                if reading is not None or self._closing:
                    return reading

    def _wake(self) -> None:
        """Tell the thread that there is something to do; call it with the mutex held."""
        if self._news.locked():
            self._news.release()

    def _deliver(self, reading: Reading) -> None:
        try:
            self.sink.write(reading)
        except BridgeError as error:
            self._failed(str(error))
        except Exception as error:  # a bug of ours must not end the display for good
            self._failed(f"{self.sink.name}: unexpected {type(error).__name__}; please report it")
        else:
            self.written += 1
            self.last_ok = self._clock.monotonic()
            self.last_error = None
            self._faults.good()

    def _close_sink(self) -> None:
        try:
            self.sink.close()
        except Exception as error:
            self._failed(f"{self.sink.name}: {type(error).__name__} while closing")

    def _failed(self, text: str) -> None:
        self.errors += 1
        self.last_error = text
        self._faults.bad(text)
