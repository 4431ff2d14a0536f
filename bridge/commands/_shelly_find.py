"""``shelly find`` and ``shelly rm``: the Shellys of the house by name, and which of them are gone.

Never signs in to a device and never changes one; what is remembered is kept on this machine alone.
"""

from __future__ import annotations

import argparse
import json
from typing import Any, List, Sequence

from bridge.clock import Clock
from bridge.commands.discover import WATCH_S, begin, by_mdns, new_browser, search_arguments
from bridge.config import Settings
from bridge.control.discovery import Shelly
from bridge.control.discovery_memory import OFFLINE_AFTER, Event, Memory, Poll, found_data, found_lines
from bridge.control.discovery_progress import Progress
from bridge.control.discovery_report import newcomer
from bridge.errors import EXIT_OK, EXIT_SHELLY, ConfigError, LinkError, PeerError
from bridge.link.dial import split_host
from bridge.link.lan import LanHttp
from bridge.link.sweep import each
from bridge.peers.shelly_identity import ask_who
from bridge.service import stop_on_signals
from bridge.sources.search import Search
from bridge.values import did_you_mean, plain_mac
from bridge.wiring_state import durable_dir, state_dir

DEVICES, POLLS = "shellys.json", "shelly-polls.json"
POLL_AGAIN_S = 1.0  # between two polls of one that did not answer
POLL_EVERY_S = 30.0  # in --watch: 120 devices are four requests a second


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of find."""
    parser.add_argument("address", nargs="*", metavar="ADDRESS", help="ask these too: host or host:port")
    parser.add_argument("--watch", action="store_true", help="stay and announce newcomers until Ctrl-C")
    parser.add_argument("--json", action="store_true", help="print JSON")
    search_arguments(parser)


def find(args: argparse.Namespace, settings: Settings) -> int:
    """Search, poll those remembered that did not turn up, report; on request stay and watch."""
    clock = Clock()
    memory = remembered(settings)
    notes: List[str] = []
    progress = Progress(clock)
    search, hosts = begin(args, settings, clock, progress, notes, for_plants=False)
    browser = None if args.no_mdns else new_browser(args)
    try:
        browser = by_mdns(search.call_out, browser, notes if hosts else [])
        search.ask(args.address)
        search.look(hosts)
        browser = by_mdns(search.listen, browser, notes if hosts else [])
        new = [event.shelly.mac for event in memory.saw(search.answered())]
        _poll_absent(memory, search, args.shelly_port, clock)
        progress.done(search.answered())
        _keep(settings, memory, notes)
        _report(args, memory, search, new, notes)
        if args.watch:
            progress.quiet = True
            stop_on_signals(clock)
            Watch(args, settings, memory, search, clock).run(browser)
    finally:
        if browser is not None:
            browser.close()
    return EXIT_OK if search.shellys else EXIT_SHELLY


def remove(args: argparse.Namespace, settings: Settings) -> int:
    """Forget a remembered Shelly, whether it answers or not."""
    memory = remembered(settings)
    matches = memory.named(args.name)
    if len(matches) > 1:
        several = ", ".join(f"{one.name} {one.mac} {one.ip}" for one in matches)
        raise ConfigError(f"shelly rm: {args.name} stands for {len(matches)} devices ({several}); give the MAC")
    if not matches:
        names = {one.name: None for one in memory.devices.values()}
        hint = did_you_mean(args.name, names) or "; sigen-bridge shelly find lists them"
        raise ConfigError(f"shelly rm: no Shelly called {args.name} is remembered{hint}")
    gone = matches[0]
    would = "would forget" if args.dry_run else "forgot"
    if not args.dry_run:
        memory.forget(gone.mac)
        notes: List[str] = []
        _keep(settings, memory, notes)
        if notes:
            raise ConfigError(f"shelly rm: {notes[0]}")
    if args.json:
        print(json.dumps({"schema": 1, "dry_run": args.dry_run, "name": gone.name, "mac": gone.mac}))
    else:
        print(f"{would} {gone.name} ({gone.mac}, last at {gone.ip})")
    return EXIT_OK


def remembered(settings: Settings) -> Memory:
    """Return what is remembered; damaged files count as empty."""
    return Memory(durable_dir(settings).load(DEVICES), state_dir(settings).load(POLLS))


def _keep(settings: Settings, memory: Memory, notes: List[str]) -> None:
    """Store what has changed: devices where a reboot leaves them, counters in memory on a router."""
    durable = durable_dir(settings)
    content = memory.content()
    stored = durable.load(DEVICES)
    changed = stored != content and bool(stored or content["devices"])
    if changed and not durable.save(DEVICES, content, durable=True):
        notes.append(f"{durable.path} cannot be written, so nothing is remembered; set run.state_dir")
    if memory.polls() or state_dir(settings).load(POLLS):
        state_dir(settings).save(POLLS, memory.polls())


def poll(known: Shelly, port: int, clock: Clock) -> Poll:
    """Ask a remembered device once, at its last address, whether it is there."""
    http = LanHttp("shelly", *split_host(known.ip, port), clock)
    try:
        who = ask_who(http)
    except (LinkError, PeerError) as error:
        return Poll(known.mac, str(error))
    finally:
        http.close()
    other = plain_mac(who.mac)
    return Poll(known.mac, "" if other == known.mac else f"{known.ip} is now {who.name or who.id or other}")


def _poll_all(memory: Memory, known: Sequence[Shelly], port: int, clock: Clock) -> List[Event]:
    return memory.polled(each(known, lambda one: poll(one, port, clock), lambda done, total, found: None))


def _poll_absent(memory: Memory, search: Search, port: int, clock: Clock) -> None:
    """Poll those who did not answer the search, a few times, until each has answered or is offline."""
    here = {one.mac for one in search.answered()}
    for turn in range(OFFLINE_AFTER):
        absent = [one for mac, one in memory.devices.items() if mac not in here
                  and (turn == 0 or mac in memory.failed) and (turn == 0 or not memory.offline(mac))]
        if not absent or (turn and clock.wait(POLL_AGAIN_S)):
            return
        _poll_all(memory, absent, port, clock)


def _report(
    args: argparse.Namespace, memory: Memory, search: Search, new: Sequence[str], notes: Sequence[str],
) -> None:
    there = [one.mac for one in search.answered()]
    if args.json:
        shellys = found_data(memory, search.shellys, there, new)
        print(json.dumps({"schema": 1, "shellys": shellys, "notes": list(notes)}), flush=True)
        return
    lines = found_lines(memory, search.shellys, there, new) + [f"note: {note}" for note in notes]
    print("\n".join(lines), flush=True)


class Watch:
    """Stays and says each piece of news once."""

    def __init__(self, args: argparse.Namespace, settings: Settings, memory: Memory, search: Search, clock: Clock,
                 ) -> None:
        self._args, self._settings, self._memory = args, settings, memory
        self._search, self._clock = search, clock
        self._polled_at = clock.monotonic()

    def run(self, browser: Any) -> None:
        """Look again and again until stopped."""
        while not self._clock.wait(WATCH_S):
            before = self._search.answers
            self._search.look()
            if browser is not None:
                self._search.listen(browser, once=True)
            events = self._memory.saw(self._search.answered(before))
            if self._clock.monotonic() - self._polled_at >= POLL_EVERY_S:
                self._polled_at = self._clock.monotonic()
                known = list(self._memory.devices.values())
                events += _poll_all(self._memory, known, self._args.shelly_port, self._clock)
            if events:
                _keep(self._settings, self._memory, [])
            for event in events:
                self._say(event)

    def _say(self, event: Event) -> None:
        one = event.shelly
        text = event.text or newcomer(one)
        fields = {"event": event.kind, "name": one.name, "mac": one.mac, "ip": one.ip, "text": text}
        print(json.dumps(fields) if self._args.json else text, flush=True)
