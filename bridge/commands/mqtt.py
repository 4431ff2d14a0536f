"""MQTT: listen to what the Sigenergy cloud pushes, or publish one snapshot to the own broker.

Never prints a token, and never publishes with --dry-run.
"""

from __future__ import annotations

import argparse
import json
from typing import Any, Dict, List, Optional

from bridge.clock import Clock
from bridge.config import Settings
from bridge.errors import EXIT_CLOUD, EXIT_OK, ConfigError, LinkError, PeerError
from bridge.link.bridge_http import get_json
from bridge.link.broker import Message
from bridge.service import stop_on_signals
from bridge.sinks.status import StatusSink
from bridge.values import duration

HELP = "listen to the Sigenergy cloud's MQTT, or publish a snapshot to your own broker"
DAEMON = True  # logs its state changes
UNLIMITED = 50  # requests: a first read on old firmware has to find out what is missing
ASK_S = 1.0  # the running bridge answers from memory


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of each verb."""
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="listen|publish")
    listen = verbs.add_parser("listen", help="print what the Sigenergy cloud pushes", allow_abbrev=False)
    listen.add_argument("--for", dest="for_s", type=_duration, default=None, metavar="20s", help="end after this long")
    listen.add_argument("--json", action="store_true", help="print one JSON object a line")
    publish = verbs.add_parser("publish", help="read once and publish to mqtt.host", allow_abbrev=False)
    publish.add_argument("--dry-run", action="store_true", help="print topics and payloads, connect to no broker")
    publish.add_argument("--json", action="store_true", help="print JSON")


def _duration(text: str) -> float:
    try:
        return duration(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Run one verb; exit 6 when the broker cannot be used or nothing was pushed."""
    clock = Clock()
    stop_on_signals(clock)
    return _listen(args, settings, clock) if args.verb == "listen" else _publish(args, settings, clock)


def _listen(args: argparse.Namespace, settings: Settings, clock: Clock) -> int:
    from bridge.wiring_mqtt import vendor_feed

    def show(push: Any) -> None:
        print(json.dumps(_record(push)) if args.json else push_line(push), flush=True)

    feed = vendor_feed(settings, clock, show, "listen")
    until = None if args.for_s is None else clock.monotonic() + args.for_s
    feed.start()
    while not clock.wait(0.2 if until is None else min(0.2, max(0.0, until - clock.monotonic()))):
        if isinstance(feed.error, ConfigError):
            raise feed.error
        if until is not None and clock.monotonic() >= until:
            break
    health = feed.health()
    feed.stop(2.0)
    if health["messages"]:
        return EXIT_OK
    if feed.error is not None:
        raise feed.error
    if not args.json:
        print(f"nothing was pushed; the broker took us ({health['login'] or 'not yet'}), and pushes may be 5 minutes"
              " apart")
    return EXIT_CLOUD


def _record(push: Any) -> Dict[str, Any]:
    from bridge.peers.sigen_mqtt import vpp_view

    return {"kind": push.kind, "order": push.order, "system_id": push.system_id, "device": push.device, "at": push.at,
            "values": dict(push.values), "unknown": list(push.odd), "vpp": vpp_view(push) or None}


def push_line(push: Any) -> str:
    """Return one record as a line."""
    values = " ".join(f"{name}={content}" for name, content in push.values.items())
    device = "" if push.device == "system" else f" {push.device}"
    return f"{push.kind} {push.system_id}{device} {values}"


def _publish(args: argparse.Namespace, settings: Settings, clock: Clock) -> int:
    from bridge.wiring_mqtt import mqtt_sink, own_place

    sink = mqtt_sink(settings, clock, lasting=False)
    snapshot = _snapshot(settings, clock)
    if args.dry_run:
        _print([*sink.announcements(), sink.state(snapshot)], args.json)
        return EXIT_OK
    count, where = sink.publish_once(snapshot), own_place(settings)
    if args.json:
        print(json.dumps({"published": count, "base": where.base}))
    else:
        print(f"published {count} message{'s' if count > 1 else ''} at {settings['mqtt.host']}, state in"
              f" {where.topic('state')}")
    return EXIT_OK


def _snapshot(settings: Settings, clock: Clock) -> Dict[str, Any]:
    """Return the running bridge's snapshot where one reads this plant, else read the plant once."""
    from bridge.wiring import cloud_feed, modbus_source

    running = _of_running_bridge(settings)
    if running is not None:
        return running
    cloud = settings["run.source"] == "cloud"
    source = cloud_feed(settings, clock).source if cloud else modbus_source(settings, clock, UNLIMITED)
    status = StatusSink(clock, settings["shelly.first_id"])
    try:
        status.write(source.read())
    finally:
        source.close()
    return status.snapshot()


def _of_running_bridge(settings: Settings) -> Optional[Dict[str, Any]]:
    if settings["status.listen"] == "off" or not settings["modbus.host"]:
        return None
    try:
        health = get_json(settings["status.listen"], "/healthz", ASK_S, settings["status.token"])
        if f"{settings['modbus.host']}:{settings['modbus.port']}" not in str(health.get("peer")):
            return None
        return get_json(settings["status.listen"], "/v1/snapshot", ASK_S, settings["status.token"])
    except (LinkError, PeerError):
        return None  # then it is read here


def _print(messages: List[Message], as_json: bool) -> None:
    for message in messages:
        payload = json.loads(message.payload)
        if as_json:
            print(json.dumps({"topic": message.topic, "retain": message.retain, "payload": payload}))
        else:
            print(f"{message.topic}\n  {json.dumps(payload)}")
