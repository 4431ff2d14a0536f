"""Readings onto the five numbers of a Shelly: changed values only, clamped, never another's component.

Never writes a number from an invalid reading, never mixes two readings in one round, never keeps a
queue: what counts is the newest reading and what is known to stand on the device.
Facts: shelly.md 1.6 and section 2; DESIGN rulings 5, 6 and 8.
"""

from __future__ import annotations

import logging
from typing import List, Optional, Protocol, Sequence, Tuple

from bridge.clock import Clock
from bridge.errors import BridgeError, LinkError, PeerError, RateLimited, Rejected, ShellyError
from bridge.model import Reading
from bridge.peers.shelly_components import AFTER_BOOT, Call, read_components
from bridge.peers.shelly_rpc import News, Outcomes, Value
from bridge.sinks.display import DISPLAY, display_values
from bridge.sinks.shelly_cells import Cell, freshness_shown
from bridge.sinks.shelly_pace import Pace, Patience

VERIFY_PUSHED_S = 60.0  # over a WebSocket changes are pushed; this is for what a push does not tell
VERIFY_POLLED_S = 10.0  # over HTTP a short reboot or another writer is seen only by asking
AGAIN = -103, -105, -109  # refusals that last until the component changes


class Client(Protocol):
    """What the sink needs of a ShellyClient."""

    peer: str
    degraded: bool
    transport: str
    call: Call

    def open(self) -> bool: ...

    def set_values(self, pairs: Sequence[Tuple[str, Value]]) -> Outcomes: ...

    def news(self) -> News: ...

    def close(self) -> None: ...


class ShellySink:
    """The five numbers, and a freshness component if one is set (its key, such as "text:200")."""

    name = "shelly"

    def __init__(
        self, client: Client, first_id: int, clock: Clock, heartbeat_s: float = 60.0,
        deadband_w: float = 0.0, freshness: Optional[str] = None, adopt: bool = False,
    ) -> None:
        self._client = client
        self._first_id = first_id
        self._clock = clock
        self._heartbeat_s = heartbeat_s
        self._adopt = adopt
        self._log = logging.getLogger("shelly")
        self._numbers = [
            (first_id + row.offset, Cell(f"number:{first_id + row.offset}", row.unit, 0 if row.digits else deadband_w))
            for row in DISPLAY
        ]
        self._flag = Cell(freshness, None, 0) if freshness else None
        self._cells = [cell for _, cell in self._numbers] + ([self._flag] if self._flag else [])
        self._pace = Pace()
        self._patience = Patience()
        self._synced = False
        self._verify_at = 0.0
        self._heartbeat_at = 0.0
        self._other_writer = False

    def write(self, reading: Reading) -> None:
        """Bring the device up to date with a reading; raises BridgeError, at most a time-out later.

        While the device is down or refuses, it is tried about once a second or less; calls in between
        raise the last error again without touching the network.
        """
        now = self._clock.monotonic()
        self._patience.check(now)
        try:
            self._write(reading, now)
        except RateLimited:
            self._pace.slow(now)
            raise
        except BridgeError as error:
            self._synced = False
            self._patience.failed(error, now)
            raise
        self._patience.passed()

    def close(self) -> None:
        """Let go of the device; the last numbers stay on its screen."""
        self._client.close()

    def _write(self, reading: Reading, now: float) -> None:
        fresh = self._client.open()
        if fresh or not self._synced:
            self._sync(now)
            if self._client.degraded:
                self._pace.slow(now)  # do not fall from one WebSocket to five connections a second
        else:
            self._listen(now)
        if not any(cell.ours for _, cell in self._numbers):
            raise ShellyError(
                f"{self._client.peer}: none of number:{self._first_id}..{self._first_id + 4} can be written;"
                " run: sigen-bridge shelly setup"
            )
        if not self._pace.due(now):
            return
        all_again = now >= self._heartbeat_at
        pairs = self._changes(reading, now, all_again)
        if pairs:
            self._learn(pairs, self._client.set_values(pairs), now)
        if all_again and reading.valid:
            self._heartbeat_at = now + self._heartbeat_s

    def _listen(self, now: float) -> None:
        """Take in what the device says unasked, and look at the components now and then."""
        news = self._client.news()
        for key, value in news.values:
            self._overwritten(key, value)
        if now >= self._verify_at or news.reconfigured:
            self._verify(now)

    def _sync(self, now: float) -> None:
        """After a new connection: read the components and take every value on the device as unknown."""
        self._read_components(now)
        for cell in self._cells:
            cell.on_device = None
        self._synced = True

    def _verify(self, now: float) -> None:
        """Compare what stands on the device with what we wrote: a reboot or another writer shows."""
        before = [(cell, cell.on_device) for cell in self._cells if cell.ours]
        self._read_components(now)
        if any(cell.source in AFTER_BOOT for cell, known in before if known is not None):
            for cell in self._cells:
                cell.on_device = None
            return
        for cell, known in before:
            if known is not None and cell.shown != known:
                self._overwritten(cell.key, cell.shown)

    def _read_components(self, now: float) -> None:
        self._verify_at = now + (VERIFY_PUSHED_S if self._client.transport == "ws" else VERIFY_POLLED_S)
        found = read_components(self._client.call, [cell.key for cell in self._cells])
        for cell in self._cells:
            said = cell.update(found.get(cell.key), self._adopt)
            if said:
                self._log.warning("%s", said)

    def _overwritten(self, key: str, value: object) -> None:
        """Note a value that is not ours; the next round writes ours again."""
        for cell in self._cells:
            if cell.key == key and cell.ours and cell.on_device is not None and value != cell.on_device:
                cell.on_device = None
                if not self._other_writer:
                    self._other_writer = True
                    self._log.warning(
                        "component=%s value=%s other_writer=yes action=\"written again; find who else writes it\"",
                        key, str(value)[:40],
                    )

    def _changes(self, reading: Reading, now: float, all_again: bool) -> List[Tuple[str, Value]]:
        """Return what has to be set, all from this one reading; nothing but freshness when it is invalid."""
        pairs: List[Tuple[str, Value]] = []
        if reading.valid:
            values = display_values(reading, self._first_id)
            for number, cell in self._numbers:
                wanted = values[number]
                if wanted is None or not cell.ours:
                    continue
                wanted, said = cell.clamped(wanted)
                if said:
                    self._log.warning("%s", said)
                if all_again or cell.differs(wanted):
                    pairs.append((cell.key, wanted))
        flag = self._flag
        if flag is not None and flag.ours:
            text = freshness_shown(flag.kind, reading, now)
            if all_again or text != flag.on_device:
                pairs.append((flag.key, text))
        return pairs

    def _learn(self, pairs: Sequence[Tuple[str, Value]], outcomes: Outcomes, now: float) -> None:
        """Keep what was accepted; a lasting refusal stops that component, another one is raised."""
        trouble: Optional[BridgeError] = None
        cells = {cell.key: cell for cell in self._cells}
        for key, value in pairs:
            if key not in outcomes:
                continue
            error = outcomes[key]
            cell = cells[key]
            if error is None:
                cell.on_device = value
            elif isinstance(error, Rejected) and error.code in AGAIN:
                cell.on_device = None
                self._log.warning("%s", cell.refused(error))
            else:
                cell.on_device = None
                trouble = error
        if trouble is None:
            self._pace.good(now)
        elif isinstance(trouble, (LinkError, PeerError)):
            raise trouble
