"""Read the plant once, write the five values once, exit: for cron and for trying things out."""

from __future__ import annotations

import argparse
import json
from typing import List

from bridge.clock import Clock
from bridge.config import Settings
from bridge.errors import EXIT_CLOUD, EXIT_OK, EXIT_SHELLY, BridgeError, ConfigError, ImplausibleData, ShellyError
from bridge.model import VALID_LOCAL_S, Reading, validity_s
from bridge.sinks.status import StatusSink, line
from bridge.wiring import cloud_feed, modbus_source, sinks

HELP = "read once, write the five values once, exit"
UNLIMITED = 50  # requests: a first read on old firmware has to find out what is missing
TRIES = 6  # a single impossible sample is no answer; one that lasts is


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this verb."""
    parser.add_argument("--json", action="store_true", help="print the snapshot as JSON")
    parser.add_argument("--dry-run", action="store_true", help="read and print, write nothing")


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Do one reading and one write to each sink; exit 3, 4 or 5 when plant, data or Shelly fail."""
    clock = Clock()
    cloud = settings["run.source"] == "cloud"
    if settings["run.source"] == "mqtt":
        raise ConfigError("once --source mqtt: a push comes when it comes; use sigen-bridge mqtt listen --for 10m")
    source = cloud_feed(settings, clock).source if cloud else modbus_source(settings, clock, UNLIMITED)
    targets = [] if args.dry_run else sinks(settings, clock)
    try:
        reading = _read(source, clock)
    finally:
        source.close()
    status = StatusSink(clock, settings["shelly.first_id"])
    status.write(reading)
    print(json.dumps(status.snapshot()) if args.json else line(reading))
    if not reading.valid:
        raise ImplausibleData(f"{reading.source}: nothing was written, the data cannot be true ({reading.reason})")
    _write(targets, reading)
    return EXIT_OK


def _read(source: object, clock: Clock) -> Reading:
    """Read until the missing registers are known and the sample is valid, a few times at most."""
    reading: Reading = source.read()  # type: ignore[attr-defined]
    for _ in range(TRIES):
        if (reading.valid and not reading.load_derived) or validity_s(reading.source) > VALID_LOCAL_S:
            break  # a cloud value is what it is for five minutes
        clock.wait(0.0 if reading.valid else 1.0)
        reading = source.read()  # type: ignore[attr-defined]
    return reading


def _write(targets: List[object], reading: Reading) -> None:
    for sink in targets:
        try:
            sink.write(reading)  # type: ignore[attr-defined]
        except BridgeError as error:
            if error.exit_code in (2, EXIT_SHELLY, EXIT_CLOUD):
                raise
            raise ShellyError(str(error)) from error
        finally:
            sink.close()  # type: ignore[attr-defined]
