"""The running bridge: one source, its sinks, the status server, put under one roof and taken down again.

Never lets a sink into the loop's thread except those that only remember; network sinks sit in outboxes.
"""

from __future__ import annotations

import _thread
import atexit
import logging
import signal
import threading
from typing import Any, Callable, Dict, List, Optional, Tuple

from bridge import __version__
from bridge.clock import Clock
from bridge.config import Settings
from bridge.errors import ConfigError
from bridge.faultlog import FaultLog
from bridge.link.notify import Notifier
from bridge.loop import Loop, Source
from bridge.model import Reading
from bridge.sinks.history import History
from bridge.sinks.outbox import Outbox
from bridge.sinks.status import StatusSink, line
from bridge.wiring import Feed

WEB = ("/", "/v1/stream", "/v1/history", "/metrics", "/v1/snapshot.schema.json")
IMPATIENT_S = 1.0  # a signal that comes sooner after the first is the same wish, sent twice
CLOSE_S = 2.0  # a sink that does not end by then is left behind; the process ends anyway


class Service:
    """Builds nothing that connects until ``run``; ``say`` gets a line a second when somebody looks."""

    def __init__(
        self, settings: Settings, clock: Clock, feed: Feed, sinks: List[Any], notifier: Notifier,
        say: Optional[Callable[[str], None]] = None,
    ) -> None:
        source: Source = feed.source
        self.clock, self.source, self._notifier, self._say = clock, source, notifier, say
        self.status = StatusSink(clock, settings["shelly.first_id"])
        self.history = History()
        self.listeners: Tuple[Callable[[], None], ...] = ()  # told after each reading; must return at once
        self.outboxes = [Outbox(sink, clock, FaultLog(clock, sink.name)) for sink in sinks]
        self._listen, self._token = settings["status.listen"], settings["status.token"]
        self._listen_asked_for = settings.is_set("status.listen")
        self._server: Any = None
        self.loop = Loop(source, self.publish, clock, feed.interval_s, FaultLog(clock, "source"), feed.retry_s)
        self.loop.after_step = self._after_step
        self.loop.while_waiting = lambda: notifier.alive(self.loop.progress)
        self.loop.where = getattr(source, "line", self.loop.where)
        self._ready = False
        self._web: Any = None
        self._web_mutex = threading.Lock()
        self.more_routes: Dict[str, Callable[[Any], Any]] = {}  # path -> what answers a httpd.Request
        self.doors: List[Any] = []  # what runs beside the poll: name, start(), close(), health()
        self.writers: Dict[str, Callable[[Any], Any]] = {}  # the same for POST, with the token only

    def run(self, cycles: Optional[int] = None) -> None:
        """Serve, poll until stopped or for ``cycles``, then close everything."""
        try:
            if self._listen != "off":
                self._serve_if_possible()
            for door in self.doors:
                door.start()
            self.loop.run(cycles)
        finally:
            self.close()

    def publish(self, reading: Reading) -> None:
        """Hand one reading to everybody; returns at once."""
        self.status.write(reading)
        for outbox in self.outboxes:
            outbox.offer(reading)
        self.history.write(reading)
        for told in self.listeners:
            told()
        if self._say is not None:
            self._say(line(reading))

    def close(self) -> None:
        """Take everything down, in the order that lets the last values still go out."""
        self._notifier.stopping()
        self.loop.errands.close()
        for door in self.doors:
            door.close()
        for outbox in self.outboxes:
            outbox.close(CLOSE_S)
        self.source.close()
        if self._web is not None:
            self._web.streams.close()
        if self._server is not None:
            self._server.close()

    def _after_step(self) -> None:
        if not self._ready:
            self._ready = True
            self._notifier.ready("polling")
        self._notifier.alive(self.loop.progress)
        if self._say is not None and self.loop.last_reading is None:
            self._say(f"no reading: {self.loop.last_error}")

    def _serve_if_possible(self) -> None:
        """Serve; a default address that another bridge of this machine has is no reason not to run."""
        try:
            self.serve()
        except ConfigError as error:
            if self._listen_asked_for:
                raise
            logging.getLogger("status").warning("state=off reason=\"%s\"", error)

    def serve(self) -> None:
        """Serve the status page; raises ConfigError when the address cannot be had."""
        from bridge.link.httpd import HttpServer

        server = HttpServer(self._listen, self.routes(), self._token, self.writers, self.clock)
        server.start()
        self._server = server

    def routes(self) -> Dict[str, Callable[[Any], Any]]:
        """Return what is served: path -> function that answers."""
        from bridge.link.http_words import json_answer, kept_answer
        from bridge.sinks.relay import latest

        def health(request: Any) -> Any:
            report = self.health()
            return json_answer(report, 200 if report["ok"] else 503)

        def relay(request: Any) -> Any:
            good = self.status.good
            if good is None:
                return json_answer({"error": "no reading yet"}, 404)
            return kept_answer(latest(good), f'"{good.mono:.3f}"')

        def snapshot(request: Any) -> Any:
            shown = self.status.snapshot()
            return kept_answer(shown, f'W/"{shown["at"]}-{shown["valid"]}-{shown["source"]}"')

        return {
            "/healthz": health, "/latest": relay, "/v1/snapshot": snapshot,
            **dict.fromkeys(WEB, self._on_the_web), **self.more_routes,
        }

    def _on_the_web(self, request: Any) -> Any:
        """Answer what most bridges are never asked for; it is imported by the first who asks."""
        from bridge.link.http_words import text_answer

        with self._web_mutex:
            try:
                if self._web is None:
                    from bridge.wiring_web import Web

                    self._web = Web(self)
            except ModuleNotFoundError as error:
                good = self.status.good
                return text_answer(200 if request.path == "/" else 501, (
                    f"{'no reading yet' if good is None else line(good)}\n"
                    f"This page is in the package sigen-bridge-web, which is not installed ({error.name} is missing)."))
        return self._web.routes[request.path](request)

    @property
    def address(self) -> str:
        """Where the status page really is, as host:port, or ''."""
        return "%s:%d" % self._server.address if self._server is not None else ""

    def health(self) -> Dict[str, Any]:
        """Return how the bridge itself is: ok is True while fresh, valid readings come."""
        shown = self.status.snapshot()
        loop = self.loop
        tells = getattr(self.source, "health", None)
        standing = (tells() if tells is not None else None) or {}
        return {
            "failover": standing if "state" in standing else None, "sigen_mqtt": standing.get("mqtt"),
            "ok": bool(shown["valid"]), "version": __version__,
            "source": shown["source"], "age_s": shown["age_s"], "reason": shown["reason"] or loop.last_error or None,
            "last_error": loop.last_error or None,
            "ems_mode": good.extras.get("ems_mode") if (good := self.status.good) is not None else None,
            "plant": self.source.name, "peer": getattr(self.source, "peer", None),
            "cycles": loop.cycles, "late": loop.late, "failed": loop.failed,
            "dropped": loop.dropped, "sinks": [_sink_health(outbox) for outbox in self.outboxes],
            **{door.name: door.health() for door in self.doors},
        }


def _sink_health(outbox: Outbox) -> Dict[str, Any]:
    return {
        "name": outbox.name, "ok": outbox.last_error is None and outbox.last_ok is not None,
        "written": outbox.written, "errors": outbox.errors, "error": outbox.last_error,
    }


def _deaf() -> None:
    """Ignore what comes after the end: the interpreter's last act is to make these deadly again."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)


def stop_on_signals(clock: Clock) -> None:
    """End the loop on SIGTERM, Ctrl-C and a terminal that is closed; a second Ctrl-C, a while later, ends at once.

    The clock is stopped in a thread of its own: a handler runs within whatever the main thread is doing, also
    within the first handler, and a lock that either holds would never be free again (make and timeout both send
    the signal, at the same moment). A closed terminal is told of more than once; under nohup it stays ignored.
    """
    asked: List[float] = []

    def stop(number: int, frame: object) -> None:
        now = clock.monotonic()
        if not asked:
            asked.append(now)
            _thread.start_new_thread(clock.stop, ())
        elif number != signal.SIGHUP and now - asked[0] >= IMPATIENT_S:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    atexit.register(_deaf)
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        signal.signal(signal.SIGHUP, stop)
