"""One Shelly with loads on it: a thread that reads its outputs at a polite pace and moves them when told.

Never switches on without the device's own timer armed, never renews what somebody else switched off, and
never carries out an order that has grown old. Whoever gives orders never waits for the device.
"""

from __future__ import annotations

import threading
from typing import Dict, List, Mapping, NamedTuple, Optional

from bridge.clock import Clock
from bridge.control.dispatch_state import ORDER_LIFE_S, Relay
from bridge.errors import BridgeError
from bridge.faultlog import FaultLog
from bridge.peers.shelly import ShellyClient
from bridge.peers.shelly_switch import OutputStatus, output_status, put

KEEP_LIFE_S = 10.0  # a renewal needs a decision that is not older: a loop that hangs must not keep loads on
RETRY_MOST_S = 30.0
RETRY_ORDER_S = 1.0
RENEW_PART = 0.5  # of the timer, so that one renewal may fail
CALL_S = 3.0  # an order must be through before whoever gave it takes it for void
BUSY_S = 0.2  # the least between two looks: a device serves others too


class Order(NamedTuple):
    """Move an output; ``at`` is when it was decided."""

    on: bool
    at: float


class RelayDevice:
    """The outputs of one device, by the names of their loads."""

    def __init__(
        self, client: ShellyClient, channels: Mapping[str, int], clock: Clock, faults: FaultLog,
        dead_man_s: float, poll_s: float,
    ) -> None:
        self.name = client.peer
        self._client, self._channels, self._clock, self._faults = client, dict(channels), clock, faults
        self._dead_man_s, self._poll_s = dead_man_s, poll_s
        self._lock = threading.Lock()
        self._seen: Dict[str, Relay] = {}
        self._orders: Dict[str, Order] = {}
        self._keep: Dict[str, float] = {}  # load -> when it was last said that it is to stay on
        self._applied: Dict[str, float] = {}
        self._armed: Dict[str, float] = {}
        self._poll_at = 0.0
        self._pause_s = poll_s
        self._wake = threading.Event()
        self._closed = False
        self._thread: Optional[threading.Thread] = None

    def start(self) -> None:
        """Begin to look after the device, in a thread of its own."""
        self._thread = threading.Thread(target=self._run, name=self.name, daemon=True)
        self._thread.start()

    def order(self, name: str, order: Order) -> None:
        """Have an output moved as soon as possible; a later order replaces an earlier one."""
        with self._lock:
            self._orders[name] = order
            self._keep.pop(name, None)
        self._wake.set()

    def keep(self, name: str, wanted: bool) -> None:
        """Say, every second, whether an output is to stay on; its timer is renewed as long as that is said."""
        with self._lock:
            if wanted:
                self._keep[name] = self._clock.monotonic()
            else:
                self._keep.pop(name, None)

    def seen(self) -> Dict[str, Relay]:
        """Return what is known of the outputs; no entry before the first answer."""
        with self._lock:
            return dict(self._seen)

    def close(self) -> None:
        """Let go of the device; what is on ends by its own timer."""
        self._closed = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join(1.0)

    def _run(self) -> None:
        while not self._closed and not self._clock.wait_for(self._wake, self.due_in_s()):
            self._wake.clear()
            self.step()
        self._client.close()

    def due_in_s(self) -> float:
        """Return the seconds until there is something to do without being told."""
        with self._lock:
            waiting = bool(self._orders)
        due_s = self._poll_at - self._clock.monotonic()
        return max(BUSY_S, min(due_s, RETRY_ORDER_S) if waiting else due_s)

    def step(self) -> None:
        """Carry out what was ordered, then look at the outputs if it is time."""
        try:
            self._client.open()
            ordered = self._carry_out()
            if ordered or self._clock.monotonic() >= self._poll_at:
                for name in ordered or self._channels:
                    self._look(name)
                if not ordered:
                    self._poll_at = self._clock.monotonic() + self._poll_s
            self._client.news()  # what it says unasked is read over: the next look tells it too
            self._faults.good()
            self._pause_s = self._poll_s
        except BridgeError as error:
            self._failed(error)

    def _failed(self, error: BridgeError) -> None:
        self._faults.bad(str(error))
        now = self._clock.monotonic()
        with self._lock:
            for name in self._channels:
                self._seen[name] = Relay(None, now, applied_mono=self._applied.get(name), error=str(error))
        self._poll_at = now + self._pause_s
        self._pause_s = min(2 * self._pause_s, max(RETRY_MOST_S, self._poll_s))

    def _carry_out(self) -> List[str]:
        """Move what was ordered and return what was; an order that fails stays for the next try."""
        done = []
        with self._lock:
            orders = dict(self._orders)
        for name, order in orders.items():
            if self._clock.monotonic() - order.at < ORDER_LIFE_S - CALL_S:
                self._make_sure()
                put(self._client, self._channels[name], order.on, self._dead_man_s if order.on else None)
                self._armed[name] = self._clock.monotonic()
                self._applied[name] = order.at
                done.append(name)
            with self._lock:
                if self._orders.get(name) == order:
                    del self._orders[name]
        return done

    def _make_sure(self) -> None:
        """Ask again who is there before something is moved: HTTP does not notice that an address changed hands."""
        if self._client.transport != "ws":
            self._client.close()
            self._client.open()

    def _look(self, name: str) -> None:
        """Ask one output how it is, and renew its timer when that is due and it is on."""
        asked = self._clock.monotonic()
        status = output_status(self._client, self._channels[name])
        if status.on and self._due(name, status):
            status = self._renew(name, status)
        with self._lock:
            self._seen[name] = Relay(
                status.on, asked, status.source, status.power_w, self._applied.get(name), ", ".join(status.errors))

    def _due(self, name: str, status: OutputStatus) -> bool:
        now = self._clock.monotonic()
        with self._lock:
            kept = self._keep.get(name)
        if kept is None or now - kept > KEEP_LIFE_S:
            return False
        return status.timer_s is None or now - self._armed.get(name, 0.0) >= RENEW_PART * self._dead_man_s

    def _renew(self, name: str, status: OutputStatus) -> OutputStatus:
        """Wind the timer up again; a hand that was quicker than this call has its way."""
        self._make_sure()
        channel = self._channels[name]
        if put(self._client, channel, True, self._dead_man_s) is False:
            put(self._client, channel, False)
            return status._replace(on=False, source="undone")
        self._armed[name] = self._clock.monotonic()
        return status
