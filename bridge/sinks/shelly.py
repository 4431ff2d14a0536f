"""Readings onto the five numbers of a Shelly: changed values only, clamped, never another's component.

Never writes a number from an invalid reading, never mixes two readings in one round, never keeps a
queue: what counts is the newest reading and what is known to stand on the device.
Facts: shelly.md 1.6 and section 2; DESIGN rulings 5, 6 and 8.
"""

from __future__ import annotations

import logging
from typing import Any, List, Mapping, Optional, Protocol, Sequence

from bridge.clock import Clock
from bridge.errors import BridgeError, ConfigError, RateLimited, Rejected, ShellyError
from bridge.model import Reading
from bridge.peers.shelly_components import AFTER_BOOT, read_components
from bridge.peers.shelly_rpc import News, Pair, Refusals
from bridge.sinks.display import DISPLAY, display_values
from bridge.sinks.shelly_cells import Cell, Flag
from bridge.sinks.shelly_pace import YOUNG_S, Pace, Patience

VERIFY_PUSHED_S = 60.0  # over a WebSocket changes are pushed; this is for what a push does not tell
VERIFY_POLLED_S = 10.0  # over HTTP a short reboot or another writer is seen only by asking
VERIFY_TROUBLE_S = 1.5  # a component that was just lost may come back at once ...
FRESHNESS_KINDS = ("text", "boolean")
LASTING = (-103, -105, -109, 403, 404)  # ... because these refusals last until it changes


class Client(Protocol):
    """What the sink needs of a ShellyClient."""

    peer: str
    degraded: bool

    @property
    def transport(self) -> str: ...

    def open(self) -> bool: ...

    def call(self, method: str, params: Mapping[str, Any]) -> Any: ...

    def set_values(self, pairs: Sequence[Pair]) -> Refusals: ...

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
        self._numbers = {}
        for row in DISPLAY:
            number = first_id + row.offset
            self._numbers[number] = Cell(f"number:{number}", row.unit, 0 if row.digits else deadband_w)
        self._cells = {cell.key: cell for cell in self._numbers.values()}
        self._flag_cell: Optional[Cell] = None
        if freshness:
            kind, _, number_text = freshness.partition(":")
            if kind not in FRESHNESS_KINDS or not number_text.isdigit():
                raise ConfigError(f"shelly.freshness: {freshness!r} is not text:ID or boolean:ID")
            self._flag_cell = self._cells[freshness] = Cell(freshness, None, 0)
            self._flag = Flag(kind)
        self._pace = Pace()
        self._patience = Patience()
        self._synced = False
        self._verify_at = self._heartbeat_at = 0.0
        self._trouble_since: Optional[float] = None
        self._other_writer = False
        self._any_ours = False

    def write(self, reading: Reading) -> None:
        """Bring the device up to date with a reading; raises BridgeError, at most some time-outs later.

        While the device is down or refuses, it is tried about once a second or less; calls in between
        raise the last error again without touching the network.
        """
        now = self._clock.monotonic()
        self._patience.check(now)
        try:
            self._bring_up_to_date(reading, now)
        except RateLimited as error:
            if error.retry_after_s is None:  # else the client itself keeps quiet for that long
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

    def _bring_up_to_date(self, reading: Reading, now: float) -> None:
        if self._client.open() or not self._synced:
            self._start_over(now)
        else:
            self._listen(now)
        if not self._any_ours:
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

    def _start_over(self, now: float) -> None:
        """After a new connection: read the components and take every value on the device as unknown."""
        self._read_components(now)
        for cell in self._cells.values():
            cell.on_device = None
        if self._client.degraded:
            self._pace.slow(now)  # do not fall from one WebSocket to five connections a second
            self._pace.allow(now)
        self._synced = True

    def _listen(self, now: float) -> None:
        """Take in what the device says unasked, and look at the components now and then."""
        news = self._client.news()
        for key, value in news.values:
            if key in self._cells:
                self._overwritten(self._cells[key], value)
        if now >= self._verify_at or news.reconfigured:
            self._verify(now)

    def _verify(self, now: float) -> None:
        """Compare what stands on the device with what we wrote: a reboot or another writer shows."""
        self._read_components(now)
        written = [cell for cell in self._cells.values() if cell.on_device is not None]
        if any(cell.source in AFTER_BOOT for cell in written):
            for cell in written:
                cell.on_device = None
            return
        for cell in written:
            self._overwritten(cell, cell.shown)

    def _read_components(self, now: float) -> None:
        found = read_components(self._client.call, list(self._cells))
        for cell in self._cells.values():
            standing = cell.update(found.get(cell.key), self._adopt)
            if standing:
                self._log.warning("%s", standing)
        self._any_ours = any(cell.ours for cell in self._numbers.values())
        self._verify_at = now + (VERIFY_PUSHED_S if self._client.transport == "ws" else VERIFY_POLLED_S)
        if all(cell.ours for cell in self._cells.values()):
            self._trouble_since = None
        else:
            self._look_soon(now)

    def _look_soon(self, now: float) -> None:
        if self._trouble_since is None:
            self._trouble_since = now
        if now - self._trouble_since < YOUNG_S:
            self._verify_at = min(self._verify_at, now + VERIFY_TROUBLE_S)

    def _overwritten(self, cell: Cell, value: object) -> None:
        """Note a value that is not ours; the next round writes ours again."""
        if cell.on_device is None or value == cell.on_device:
            return
        cell.on_device = None
        if not self._other_writer:
            self._other_writer = True
            self._log.warning(
                'component=%s value=%s other_writer=yes action="find who else writes it"',
                cell.key, str(value)[:40],
            )

    def _changes(self, reading: Reading, now: float, all_again: bool) -> List[Pair]:
        """Return what has to be set, all from this one reading; no number when it is invalid."""
        pairs: List[Pair] = []
        if reading.valid:
            for number, shown in display_values(reading, self._first_id).items():
                cell = self._numbers[number]
                if shown is None or not cell.ours or (shown == cell.on_device and not all_again):
                    continue
                if not cell.lo <= shown <= cell.hi:
                    shown, clamped = cell.clamped(shown)
                    if clamped:
                        self._log.warning("%s", clamped)
                if all_again or not cell.same(shown):
                    pairs.append((cell.key, shown))
        flag = self._flag_cell
        if flag is not None and flag.ours:
            said = self._flag.wanted(reading, now)
            if all_again or said != flag.on_device:
                pairs.append((flag.key, said))
        return pairs

    def _learn(self, pairs: Sequence[Pair], refusals: Refusals, now: float) -> None:
        """Keep what was accepted; a lasting refusal stops that component, any other one is raised."""
        for key, value in pairs:
            self._cells[key].on_device = value
        trouble: Optional[BridgeError] = None
        for key, error in refusals.items():
            cell = self._cells[key]
            cell.on_device = None
            if isinstance(error, Rejected) and error.code in LASTING:
                line = cell.refused(error)
                if line:
                    self._log.warning("%s", line)
                self._look_soon(now)
            else:
                trouble = error
        if trouble is not None:
            raise trouble
        self._pace.good(now)
