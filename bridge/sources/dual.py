"""The local source with the cloud behind it, as one source for the loop.

Never lets the cloud delay a Modbus read or the other way round, and never shows a cloud value older than
its validity.
"""

from __future__ import annotations

import logging
from typing import Any, Dict, Optional, Protocol

from bridge.clock import Clock
from bridge.errors import BridgeError, ConfigError, LinkError
from bridge.model import Reading, validity_s
from bridge.sources.background import Background
from bridge.sources.failover import CLOUD, LOCAL, Failover

log = logging.getLogger("failover")


class LocalSource(Protocol):
    """The fast source."""

    name: str
    peer: str

    def read(self) -> Reading:
        """Return one reading; raises BridgeError."""

    def line(self) -> Any:
        """Return the link and the plant's unit on it, or None."""

    def watch(self, tap: Any) -> None:
        """Hand every block that is read to ``tap`` as well."""

    def close(self) -> None:
        """Let go of the link."""


class DualSource:
    """Reads ``local`` every time; hands on the cloud's reading while the local link is lost."""

    def __init__(self, local: LocalSource, cloud: Background, clock: Clock, rules: Failover) -> None:
        self.name, self.peer = local.name, local.peer
        self._local, self._cloud, self._clock = local, cloud, clock
        now = clock.monotonic()
        self._rules = rules._replace(since=now, failing_since=now)
        self._local_error: Optional[str] = None

    def read(self) -> Reading:
        """Return the reading that counts now; raises the local error while there is none."""
        error: Optional[BridgeError] = None
        reading: Optional[Reading] = None
        try:
            reading = self._read_local()
        except ConfigError:
            raise
        except BridgeError as failure:
            error = failure
        now = self._clock.monotonic()
        if self._rules.wants_cloud(now):
            self._cloud.want_reading()
        elif self._rules.wants_login():
            self._cloud.want_ready()
        if self._rules.state == CLOUD:
            return self._from_cloud(now, error)
        if reading is None:
            raise error or LinkError("no reading")
        return reading

    def _read_local(self) -> Reading:
        """Read the local link; once it answers again, as often in a row as the return needs."""
        while True:
            try:
                reading = self._local.read()
            except BridgeError as error:
                self._note(False, str(error))
                raise
            self._note(reading.valid, reading.reason)
            if not reading.valid or self._rules.state != CLOUD:
                return reading

    def _note(self, good: bool, reason: Optional[str]) -> None:
        now, before = self._clock.monotonic(), self._rules
        self._rules = before.succeeded(now) if good else before.failed(now)
        self._local_error = None if good else reason
        if self._rules.state == before.state:
            return
        if self._rules.state == CLOUD:
            log.warning("state=cloud failing_s=%d error=\"%s\"", now - self._rules.failing_since, reason)
        elif self._rules.state == LOCAL and before.state == CLOUD:
            log.info("state=local cloud_s=%d", now - before.since)

    def _from_cloud(self, now: float, error: Optional[BridgeError]) -> Reading:
        reading = self._cloud.latest
        if reading is not None and now - reading.mono <= validity_s(reading.source):
            return reading
        missing = self._cloud.error or "no answer yet"
        raise LinkError(f"{error or self._local_error or 'modbus gives no good reading'}; cloud: {missing}")

    def line(self) -> Any:
        """Return the link and the unit of the local plant, or None."""
        return self._local.line()

    def watch(self, tap: Any) -> None:
        """Hand every block that is read of the local plant to ``tap`` as well."""
        self._local.watch(tap)

    def close(self) -> None:
        """Let go of both."""
        self._local.close()
        self._cloud.close()

    def health(self) -> Dict[str, Any]:
        """Return where we stand, for status and doctor."""
        return {
            "state": self._rules.state, "for_s": round(self._clock.monotonic() - self._rules.since),
            "local_error": self._local_error, "cloud_error": self._cloud.error,
            **self._cloud.details(),
        }
