"""``make soak``: a day of cycles against both simulators as fast as they go, with random faults.

Ends with an error when a wrong value reached the Shelly, when memory, descriptors or threads grow, or
when the log is not bounded. Time is the simulators' own; only time-outs are real.
"""

from __future__ import annotations

import argparse
import gc
import logging
import os
import random
import sys
from collections import Counter
from pathlib import Path

from bridge.clock import Clock, ManualClock
from bridge.config import Origin, Settings
from bridge.link.notify import Notifier
from bridge.model import Reading
from bridge.service import Service
from bridge.sim.plant import PlantSim
from bridge.sim.shelly import ShellySim
from bridge.sinks.display import display_values
from bridge.wiring import feed, sinks
from bridge.wiring_sim import five_components

MODBUS_TIMEOUT_S = "0.05"  # real seconds, of which a silent plant costs one a cycle
MEMORY = 6  # seconds a shown value may be behind: what is held over a hiccup
SETTLE_S = 20.0  # real; a sink that takes longer hangs
PLANT_FAULTS = (
    ("silent", {}), ("reset", {}), ("close", {}), ("refuse", {}), ("truncate", {}), ("garbage", {}),
    ("wrong_transaction", {}), ("wrong_unit", {}), ("wrong_function", {}), ("short", {}), ("bad_byte_count", {}),
    ("wrong_protocol", {}), ("stale_reply", {}), ("late_reply", {"s": 0.08}), ("duplicate", {}), ("dribble", {"s": 0.0001}),
    ("busy", {}), ("exception", {"code": 4}), ("exception_on", {"address": 30284, "code": 2}),
    ("exception_on", {"address": 30284, "code": 4}), ("flaky", {"p": 0.3}), ("idle_close", {"after_s": 0.5}),
    ("connection_limit", {"n": 0}), ("delay", {"s": 0.01}),
    ("sentinel", {"address": 30005}), ("sentinel", {"address": 30014}), ("sentinel", {"address": 30284}), ("spike", {}),
    ("imbalance", {"w": 5000}), ("soc_jump", {}), ("no_meter", {}), ("clock_zero", {}),
)
VALUE_FAULTS = {"sentinel", "spike", "imbalance", "soc_jump"}
SHELLY_FAULTS = (
    ("offline_refused", {}), ("offline_reset", {}), ("http_500", {}), ("drop_before", {}), ("drop_after", {}),
    ("garbage", {}), ("truncated", {}), ("rate_limited", {}), ("ws_drop", {}), ("ws_refused", {}), ("reject_value", {}),
    ("slow", {"delay_s": 0.05}), ("second_writer", {"key": "number:203", "value": 12345, "period_s": 2.0}),
)


class Proof:
    """Compares every number that reaches the Shelly with what the plant served lately."""

    def __init__(self, plant, shelly, clock):
        self._plant, self._shelly, self._clock = plant, shelly, clock
        self._recent = []
        self.wrong, self.checked = [], 0

    def look(self):
        """Judge what was written since the last look."""
        self._plant.log.clear()  # the simulators keep long diaries; they must not look like a leak of ours
        while self._plant.truth:
            truth = self._plant.truth.popleft()
            reading = Reading(0.0, truth.at_mono, "truth", **truth.five)
            self._recent.append((truth.at_mono, {f"number:{key}": value for key, value in display_values(reading, 200).items()}))
        now = self._clock.monotonic()
        self._recent = [entry for entry in self._recent if now - entry[0] <= MEMORY] or self._recent[-1:]
        history = self._shelly.history
        while history:
            written = history.popleft()
            if written.source != "rpc" or not written.key.startswith("number:"):
                continue
            self.checked += 1
            if not any(values[written.key] == written.value for _, values in self._recent):
                self.wrong.append((now, written.key, written.value, [values[written.key] for _, values in self._recent]))


class Weather:
    """Strikes with random faults, most of the time with none."""

    def __init__(self, rng, plant, shelly, clock):
        self._rng, self._plant, self._shelly, self._clock = rng, plant, shelly, clock
        self.struck = Counter()

    def blow(self):
        """Maybe start a fault that ends by itself."""
        if self._rng.random() < 0.010:
            name, params = self._rng.choice(PLANT_FAULTS)
            lasts = 3.0 if name in VALUE_FAULTS else self._rng.choice((1.0, 3.0, 8.0))
            self._plant.fault(name, **{**params, "for_s": lasts})
            self.struck[f"plant {name}"] += 1
        if self._rng.random() < 0.004:
            name, params = self._rng.choice(SHELLY_FAULTS)
            self._shelly.fault(name, **{**params, "for_s": self._rng.choice((1.0, 3.0))})
            self.struck[f"shelly {name}"] += 1
        if self._rng.random() < 0.0005:
            self._shelly.reboot()
            self.struck["shelly reboot"] += 1


class Lines(logging.Handler):
    """Counts log lines by logger."""

    def __init__(self):
        super().__init__()
        self.count, self.last = Counter(), []

    def emit(self, record):
        self.count[record.name] += 1
        self.last = [*self.last[-200:], f"{record.name} {record.getMessage()}"]


def resources():
    """Return MiB resident, open descriptors, threads, live Python memory blocks."""
    gc.collect()
    status = Path("/proc/self/status").read_text()
    fields = dict(line.split(":", 1) for line in status.splitlines())
    return int(fields["VmRSS"].split()[0]) / 1024, len(os.listdir("/proc/self/fd")), int(fields["Threads"]), \
        sys.getallocatedblocks()


def settle(outbox):
    """Wait in real time until the sink has dealt with what it was offered."""
    real = Clock()
    deadline = real.monotonic() + SETTLE_S
    while outbox.written + outbox.errors + outbox.dropped < outbox.offered:
        if real.monotonic() > deadline:
            raise SystemExit(f"soak: the sink hangs: {outbox.last_error}")
        real.wait(0.0002)


def soak(cycles, seed, faults=True):
    """Run the day; returns the list of complaints."""
    rng, clock, lines = random.Random(seed), ManualClock(), Lines()
    logging.basicConfig(handlers=[lines], level=logging.INFO, force=True)
    with PlantSim(clock, seed=seed) as plant, ShellySim(clock, components=five_components()) as shelly:
        settings = Settings({key: Origin(value, "soak") for key, value in {
            "modbus.host": "127.0.0.1", "modbus.port": str(plant.port), "modbus.timeout_s": MODBUS_TIMEOUT_S,
            "shelly.host": f"127.0.0.1:{shelly.port}", "status.listen": "off",
        }.items()})
        for days in (-1, 0, 1):  # the simulated house works out a whole day when it is first asked about it
            plant.home.at(plant.plant_time() + days * 86_400)
        service = Service(settings, clock, feed(settings, clock), sinks(settings, clock), Notifier({}, "off"))
        proof, weather, marks = Proof(plant, shelly, clock), Weather(rng, plant, shelly, clock), []
        outbox = service.outboxes[0]

        def after_step():
            settle(outbox)
            proof.look()
            if faults:
                weather.blow()
            if service.loop.cycles % max(1, cycles // 10) == 0:
                marks.append(resources())
                print(f"soak: {service.loop.cycles} cycles, {proof.checked} values checked, {len(proof.wrong)} wrong, "
                      f"{marks[-1][0]:.1f} MiB, {marks[-1][1]} descriptors, {marks[-1][2]} threads, {marks[-1][3]} blocks", flush=True)

        service.loop.after_step = after_step
        service.run(cycles)
        print(f"soak: late {service.loop.late}, failed {service.loop.failed}, dropped {service.loop.dropped};"
              f" plant requests {plant.counters.requests}, most in flight {plant.counters.max_in_flight};"
              f" faults {sum(weather.struck.values())} of {len(weather.struck)} kinds; log lines {dict(lines.count)}")
        return complaints(proof, marks, lines, plant, cycles, weather)


def complaints(proof, marks, lines, plant, cycles, weather):
    """Return what is not as it must be."""
    found = [f"wrong value: {wrong}" for wrong in proof.wrong[:5]]
    hours = max(1.0, cycles / 3600)
    if proof.checked < cycles:
        found.append(f"only {proof.checked} values reached the Shelly in {cycles} cycles")
    if marks[-1][3] > marks[1][3] * 1.02:
        found.append(f"live memory blocks grew from {marks[1][3]} to {marks[-1][3]}")
    if marks[-1][0] - marks[1][0] > 4.0:  # both simulators and their threads are in this figure
        found.append(f"memory grew from {marks[1][0]:.1f} to {marks[-1][0]:.1f} MiB")
    if marks[-1][1] > marks[1][1] + 4 or marks[-1][2] > marks[1][2] + 4:
        found.append(f"descriptors or threads grew: {marks[1]} to {marks[-1]}")
    for name, count in lines.count.items():
        if count > 10 * hours + 10:
            found.append(f"{count} log lines of {name} in {hours:.1f} h; last: {lines.last[-3:]}")
    if plant.counters.max_in_flight > 1:
        found.append(f"{plant.counters.max_in_flight} requests in flight at once")
    if cycles >= 20000 and len(weather.struck) < 20:
        found.append("the weather was too good to prove anything")
    return found


def main():
    """Parse the command line, run, report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cycles", type=int, default=86_400)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    found = soak(args.cycles, args.seed)
    for line in found:
        print(f"soak: {line}", file=sys.stderr)
    print("soak: " + ("FAILED" if found else "all is well"))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
