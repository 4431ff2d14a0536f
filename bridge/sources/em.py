"""A Shelly 3EM, read in a thread of its own: the power of each phase, and how old that is.

Never waits for the meter when asked, and never shows a phase that the meter did not tell.
"""

from __future__ import annotations

import threading
from typing import Optional, Tuple

from bridge.clock import Clock
from bridge.errors import BridgeError
from bridge.faultlog import FaultLog
from bridge.peers.shelly_switch import Caller, em_status

POLL_S = 1.0  # it announces changes at its own pace only, so it is asked
RETRY_S = 5.0


class EmMeter:
    """The newest phases of one meter: ``latest`` is (monotonic moment, W per phase)."""

    def __init__(self, client: Caller, clock: Clock, faults: FaultLog) -> None:
        self._client, self._clock, self._faults = client, clock, faults
        self.latest: Optional[Tuple[float, Tuple[float, ...]]] = None
        self._thread: Optional[threading.Thread] = None

    def start(self) -> None:
        """Begin to read."""
        self._thread = threading.Thread(target=self._run, name="em", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._clock.wait(POLL_S if self.step() else RETRY_S):
            continue

    def step(self) -> bool:
        """Read once; returns whether that worked."""
        asked = self._clock.monotonic()
        try:
            phases = em_status(self._client).phases
        except BridgeError as error:
            self._faults.bad(str(error))
            return False
        known = tuple(power_w for power_w in phases if power_w is not None)
        if len(known) == len(phases):
            self.latest = (asked, known)
        self._faults.good()
        return True
