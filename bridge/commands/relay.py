"""Serve the newest cloud values on the local network, for Shelly scripts and other small readers."""

from __future__ import annotations

import argparse
from typing import Any

from bridge.clock import Clock
from bridge.config import Settings
from bridge.errors import EXIT_OK, BridgeError, ConfigError, RateLimited
from bridge.service import Service, stop_on_signals
from bridge.wiring import cloud_feed, notifier

DAEMON = True  # logs its state changes
HELP = "serve the newest cloud values on the local network (/latest, /refresh)"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this verb."""
    parser.add_argument("what", choices=("serve",), help="serve until stopped")
    parser.add_argument("--cycles", type=int, metavar="N", help="stop after N polls of the cloud")


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Poll the cloud within its limits and serve ``/latest`` on ``status.listen``."""
    if settings["status.listen"] == "off":
        raise ConfigError("relay serve: status.listen is off, so there is nothing to serve on; set it to host:port")
    clock = Clock()
    stop_on_signals(clock)
    service = Service(settings, clock, cloud_feed(settings, clock), [], notifier(settings))
    service.more_routes["/refresh"] = lambda request: refresh(service, request)
    service.run(args.cycles)
    return EXIT_OK


def refresh(service: Service, request: Any) -> Any:
    """Ask the cloud if its limits allow it, then answer as ``/latest`` does."""
    from bridge.link.httpd import json_answer

    try:
        service.publish(service.source.read())
    except RateLimited as error:
        return json_answer({"error": str(error), "retry_after_s": error.retry_after_s}, 429)
    except BridgeError as error:
        return json_answer({"error": str(error)}, 500)
    return service.routes()["/latest"](request)
