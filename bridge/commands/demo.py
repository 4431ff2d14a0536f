"""The whole bridge against a simulated plant and a simulated Shelly, in this process."""

from __future__ import annotations

import argparse
from typing import Any, Dict, List

from bridge.clock import Clock
from bridge.commands.run import say_line, serve
from bridge.config import Settings
from bridge.errors import EXIT_OK, ConfigError
from bridge.wiring_sim import five_components

DAEMON = True  # logs its state changes
HELP = "the same against a simulated plant and Shelly in this process"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this verb."""
    parser.add_argument("--cycles", type=int, metavar="N", help="stop after N cycles")


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Start what is not configured as a simulator, then run the bridge on it."""
    from bridge.sim.plant import PlantSim
    from bridge.sim.shelly import ShellySim

    if args.cycles is not None and args.cycles < 1:
        raise ConfigError(f"demo --cycles {args.cycles}: at least 1")
    clock = Clock()
    changes: Dict[str, Any] = {}
    simulators: List[Any] = []
    try:
        if not settings["modbus.host"] and not settings["modbus.serial"]:
            plant = PlantSim(clock).start()
            simulators.append(plant)
            changes.update({"modbus.host": "127.0.0.1", "modbus.port": plant.port})
        if not settings["shelly.host"]:
            shelly = ShellySim(clock, components=five_components(settings["shelly.first_id"])).start()
            simulators.append(shelly)
            changes["shelly.host"] = f"127.0.0.1:{shelly.port}"
        wired = settings.replaced(changes, "demo")
        for key in ("modbus.host", "shelly.host"):
            say_line(f"{key} = {wired[key]} ({wired.where(key)})")
        if wired["status.listen"] != "off":
            say_line(f"status page: http://{wired['status.listen']}/   Ctrl-C ends it")
        serve(wired, clock, args.cycles, True)
    finally:
        for simulator in simulators:
            simulator.stop()
    return EXIT_OK
