"""The page, the event stream, history and metrics of a running bridge, wired together when one is first asked for.

Never imported before that, and never does anything in the loop's thread.
"""

from __future__ import annotations

import binascii
import json
import os
from typing import Any, Dict, Mapping, Optional

from bridge import data
from bridge.link.http_words import kept_answer
from bridge.link.httpd import Answer, Request, Route, json_answer
from bridge.link.streams import ALIVE, Streams, Told, event
from bridge.model import FIVE
from bridge.sinks.history import STEP_S
from bridge.sinks.page_charts import chart_values, worth_s
from bridge.sinks.page_view import View, numbers, standing, view

STANDING_S = 4.5  # how often an open page hears of counters, sinks and a command, unless the state itself changes
STREAM = "text/event-stream; charset=utf-8"
COMPACT = json.JSONEncoder(separators=(",", ":")).encode
ROUND_S = 0.05  # all readers of one kind after the other: within this a snapshot is the same
HISTORY_KEYS = dict(zip(FIVE, ("pv_w", "soc_pct", "battery_charge_w", "grid_import_w", "load_w")))


class Web:
    """The routes of one service; ``service`` is asked for snapshot, health and history, and told nothing."""

    def __init__(self, service: Any) -> None:
        self._service, self._clock = service, service.clock
        self._sent: View = {}  # what every open page shows by now
        self._seen: Any = None  # the snapshot behind its numbers
        self._shared: Any = None  # the snapshot of this round, for every kind of reader
        self._shared_of: Any = None
        self._shared_at = -ROUND_S
        self._state: Any = None  # and behind the rest
        self._standing_at = -STANDING_S
        self._charts: Dict[str, str] = {}
        self._charts_until = 0.0
        self.streams = Streams(self._clock, {
            "api": Told(self._snapshot, self._news, lambda: ALIVE),
            "page": Told(self._now, self._changes, self._changes, lambda: _page_event(self._sent)),
        })
        service.listeners += (self.streams.news,)

    @property
    def routes(self) -> Mapping[str, Route]:
        """Return path -> function that answers."""
        return {
            "/": self.front, "/v1/stream": self.stream, "/v1/history": self.history, "/metrics": self.metrics,
            "/v1/snapshot.schema.json": self.schema,
        }

    def front(self, request: Request) -> Answer:
        """Return the page."""
        from bridge.sinks.page import page, policy  # the template is not kept

        nonce = binascii.b2a_base64(os.urandom(18), newline=False).decode()
        values: View = {**self._view(), **self._chart_values()}
        return Answer(200, "text/html; charset=utf-8", page(values, nonce).encode(), (
            ("Content-Security-Policy", policy(nonce)), ("Referrer-Policy", "no-referrer")))

    def stream(self, request: Request) -> Answer:
        """Hand the connection to the streams."""
        if self.streams.full:
            return json_answer({"error": "too many streams are open"}, 503, (("Retry-After", "5"),))
        kind = "page" if request.query.get("for") == "page" else "api"
        return Answer(200, STREAM, b"", (("X-Accel-Buffering", "no"),), lambda peer: self.streams.take(kind, peer))

    def history(self, request: Request) -> Answer:
        """Return the samples of the last hour, or of fewer minutes."""
        asked = request.query.get("minutes", "60")
        if not (asked.isdecimal() and 1 <= int(asked) <= 60):
            return json_answer({"error": "minutes is a whole number from 1 to 60"}, 400)
        slots = int(int(asked) * 60 / STEP_S)
        now, kept = self._clock.monotonic(), self._service.history
        columns = {HISTORY_KEYS[field]: kept.series(field, now, slots) for field in FIVE}
        end = columns["pv_w"].end
        content = {"schema": 1, "step_s": STEP_S, "until": round(self._clock.now() - now + end, 3)}
        content.update({key: [_short(value) for value in row.values] for key, row in columns.items()})
        return kept_answer(content, f'W/"{end:.0f}-{slots}-{kept.last}"')

    def metrics(self, request: Request) -> Answer:
        """Return the Prometheus text."""
        from bridge.sinks.metrics import CONTENT_TYPE, metrics

        text = metrics(self._service.status.snapshot(), self._service.health(), len(self.streams))
        return Answer(200, CONTENT_TYPE, text.encode())

    def schema(self, request: Request) -> Answer:
        """Return the JSON schema of the snapshot."""
        with open(os.path.join(os.path.dirname(data.__file__), "snapshot.schema.json"), "rb") as handle:
            content = handle.read()
        return Answer(200, "application/schema+json", content, (
            ("ETag", f'"{binascii.crc32(content):08x}"'), ("Cache-Control", "max-age=3600")))

    def _snapshot(self) -> bytes:
        return event(json.dumps(self._service.status.snapshot()).encode())

    def _news(self) -> bytes:
        return event(json.dumps(self._now_shared()).encode())

    def _now_shared(self) -> Any:
        """Return the snapshot of this round, made once for all kinds of readers; for the streams' thread only."""
        now = self._clock.monotonic()
        if now - self._shared_at >= ROUND_S or self._shared_of is not self._service.status.newest:
            self._shared, self._shared_at = self._service.status.snapshot(), now
            self._shared_of = self._service.status.newest
        return self._shared

    def _now(self) -> bytes:
        return _page_event({**self._view(), **self._chart_values()})

    def _changes(self) -> bytes:
        """Say what open pages do not show yet; what cannot have changed is not even looked at."""
        snapshot, now = self._now_shared(), self._clock.monotonic()
        fresh = numbers(snapshot, self._seen)
        self._seen = snapshot
        state = snapshot["valid"], snapshot["source"], snapshot["reason"]
        if state != self._state or now - self._standing_at >= STANDING_S:
            self._state, self._standing_at = state, now
            fresh.update(standing(snapshot, self._service.health()))
        if now >= self._charts_until or not self._sent:
            fresh.update(self._chart_values())
        sent = self._sent
        changed = {key: value for key, value in fresh.items() if sent.get(key) != value}
        sent.update(changed)
        return _page_event(changed)

    def _view(self) -> View:
        return view(self._service.status.snapshot(), self._service.health())

    def _chart_values(self) -> Dict[str, str]:
        now = self._clock.monotonic()
        if now >= self._charts_until:
            self._charts = chart_values(self._service.history, now)
            self._charts_until = now + worth_s(self._service.history, now)
        return self._charts


def _page_event(values: Mapping[str, Any]) -> bytes:
    return event(COMPACT(values).encode(), b"page")


def _short(value: Optional[float]) -> Optional[float]:
    """Watts and percent to a tenth: more is noise, and would double the answer."""
    return None if value is None else round(value, 1)
