"""Look at many bridges at once: a list of addresses, or all the sites of one MQTT broker.

Never writes anything anywhere.
"""

from __future__ import annotations

import argparse
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Dict, List, Optional, Tuple

from bridge.clock import Clock
from bridge.config import Settings
from bridge.control.fleet import RED, Site, judged, report, unreachable
from bridge.errors import EXIT_DOCTOR, EXIT_OK, ConfigError, LinkError, PeerError
from bridge.link.bridge_http import get_json
from bridge.link.broker import Message
from bridge.values import duration

HELP = "look at many bridges at once: a line and a light for each"
ASK_S = 3.0  # a bridge answers from memory; a mobile line takes its time
AT_ONCE = 32
QUIET_S = 0.5  # retained messages come in one burst; this long without one it is over
MOST_S = 5.0
USUAL_PORT = "8502"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this verb."""
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="status")
    status = verbs.add_parser("status", help="a line for each site; exit 10 when one is red", allow_abbrev=False)
    status.add_argument("addresses", nargs="*", metavar="HOST[:PORT]",
                        help="bridges to ask; without any, the sites on mqtt.host")
    status.add_argument("--file", metavar="FILE", help="read addresses from FILE: one a line, a name may precede it")
    status.add_argument("--for", dest="for_s", metavar="5s", default="", help="how long to collect at most")
    status.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Print the report; exit 10 when a site is red."""
    clock = Clock()
    targets = [*_listed(args.file), *((address, address) for address in args.addresses)]
    if targets:
        sites = ask(targets, settings["status.token"], clock)
    elif args.file:
        raise ConfigError(f"fleet status --file {args.file}: there is no address in it; one a line is wanted")
    elif not settings["mqtt.host"]:
        raise ConfigError("fleet status: which sites? give HOST[:PORT] ..., --file FILE, or set mqtt.host")
    else:
        sites = collect(settings, clock, _duration(args.for_s))
    red = sum(site.light == RED for site in sites)
    if args.json:
        print(json.dumps({"schema": 1, "ok": not red, "sites": [site._asdict() for site in sites]}))
    else:
        print("\n".join(report(sites)))
    return EXIT_DOCTOR if red else EXIT_OK


def _duration(text: str) -> float:
    try:
        return duration(text) if text else MOST_S
    except ValueError as error:
        raise ConfigError(f"fleet status --for: {error}") from None


def _listed(path: Optional[str]) -> List[Tuple[str, str]]:
    """Return (name, address) of each line of a file."""
    if not path:
        return []
    try:
        with open(path, encoding="utf-8") as handle:
            lines = [line.partition("#")[0].split() for line in handle]
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"fleet status --file {path}: cannot be read ({reason})") from error
    return [(" ".join(words[:-1] or words), words[-1]) for words in lines if words]


def ask(targets: List[Tuple[str, str]], token: str, clock: Clock) -> List[Site]:
    """Ask every bridge for its snapshot, some at once, in the order given."""

    def one(target: Tuple[str, str]) -> Site:
        name, address = target
        try:
            snapshot = get_json(address if ":" in address else f"{address}:{USUAL_PORT}", "/v1/snapshot", ASK_S, token)
        except (LinkError, PeerError) as error:
            return unreachable(name, str(error))
        age_s = snapshot.get("age_s")
        # its own clock may be wrong: the age that it counted itself is better
        now = (snapshot.get("at") or 0.0) + age_s if isinstance(age_s, (int, float)) else clock.now()
        return judged(name, snapshot, now)

    with ThreadPoolExecutor(min(AT_ONCE, len(targets))) as pool:
        return list(pool.map(one, targets))


def collect(settings: Settings, clock: Clock, most_s: float) -> List[Site]:
    """Return every site that has left a state or an availability on the broker."""
    from bridge.link.mqtt import MqttLink
    from bridge.sinks.mqtt_discovery import place
    from bridge.wiring_mqtt import own_broker, own_login

    base = place(settings["mqtt.base_topic"], "x").base.rpartition("/")[0]
    found: Dict[str, Dict[str, Any]] = {}
    turn, came = threading.Lock(), [clock.monotonic()]

    def take(message: Message) -> None:
        site, _, what = message.topic[len(base) + 1:].rpartition("/")
        with turn:
            found.setdefault(site, {})[what] = message.payload
            came[0] = clock.monotonic()

    link = MqttLink("mqtt", own_broker(settings), on_message=take)
    link.connect(own_login(settings))
    try:
        refused = link.subscribe([f"{base}/+/state", f"{base}/+/availability"])
        if refused:
            raise ConfigError(f"{link.peer}: this login may not read {base}/+ ({next(iter(refused.values()))})")
        came[0] = clock.monotonic()
        end = came[0] + most_s
        while clock.monotonic() < end and clock.monotonic() - came[0] < QUIET_S:
            clock.wait(0.05)
    finally:
        link.close()
    with turn:
        return [_site(name, parts, clock.now()) for name, parts in sorted(found.items())]


def _site(name: str, parts: Dict[str, Any], now: float) -> Site:
    try:
        snapshot = json.loads(parts["state"]) if "state" in parts else None
    except ValueError:
        return unreachable(name, "its state is not JSON")
    online = parts["availability"] == b"online" if "availability" in parts else None
    return judged(name, snapshot if isinstance(snapshot, dict) else None, now, online)
