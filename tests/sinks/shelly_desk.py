"""A desk with a simulated Shelly and the sink on it, both on one clock that moves by hand."""

from __future__ import annotations

from bridge.errors import BridgeError
from bridge.faultlog import FaultLog
from bridge.model import Reading
from bridge.peers.shelly import ShellyClient
from bridge.sim.shelly import ShellySim, s3_components
from bridge.sinks.display import display_values
from bridge.sinks.shelly import ShellySink

TIMEOUT_S = 0.25  # of a call; loopback answers within a millisecond


def reading(number=0, mono=0.0, **changes):
    """Return a reading whose five values all depend on ``number``."""
    values = {
        "pv_w": 2800.4 + number, "soc_pct": 15.04 + number / 10, "battery_w": -341.0 - number,
        "grid_w": 8540.2 + number, "load_w": 11340.0 + number,
    }
    values.update(changes)
    return Reading(at=1.0, mono=mono, source="modbus-tcp", **values)


class Desk:
    """One second a ``step``: a new reading is written and what went wrong is counted."""

    def __init__(self, clock, transport="ws", sim=None, client=None, **options):
        password = options.pop("password", None)
        self.clock = clock
        self.sim = sim or ShellySim(
            clock, components=options.pop("components", s3_components()), password=password,
            firmware=options.pop("firmware", "1.7.4"), **options.pop("device", {}))
        self.sim.start()
        self.client = client or ShellyClient(
            self.sim.address, clock, options.pop("login", password), transport, options.pop("mac", ""), TIMEOUT_S)
        self.sink = ShellySink(self.client, options.pop("first_id", 200), clock, **options)
        self.faults = FaultLog(clock, "shelly")
        self.number = 0
        self.errors = []
        self.offered = []

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.sink.close()
        self.sim.stop()

    def write(self, entry):
        """Write one reading; returns the error text or None."""
        if entry.valid:
            self.offered.append(display_values(entry, 200))
        try:
            self.sink.write(entry)
        except BridgeError as error:
            self.faults.bad(str(error))
            self.errors.append(str(error))
            return str(error)
        self.faults.good()
        return None

    def step(self, seconds=1.0, **changes):
        """Let time pass, then write a new reading; returns the error text or None."""
        self.clock.advance(seconds)
        self.number += 1
        return self.write(reading(self.number, self.clock.monotonic(), **changes))

    @property
    def shows_newest(self):
        """Say whether the device shows the newest reading that was offered."""
        return {number: self.sim.values.get(number) for number in self.offered[-1]} == self.offered[-1]

    @property
    def shows_recent(self):
        """Say whether the device shows one of the last two readings, whole: at half rate it may."""
        return any({number: self.sim.values.get(number) for number in shown} == shown for shown in self.offered[-2:])

    def wrong_values(self):
        """Return values our client wrote that were in no reading at all."""
        ours = {(f"number:{number}", value) for shown in self.offered for number, value in shown.items()}
        return [each for each in self.sim.history
                if each.source == "rpc" and each.key.startswith("number:") and (each.key, each.value) not in ours]

    def sets(self):
        """Return how many Number.Set calls the device has seen."""
        return self.sim.counters.rpc["Number.Set"]
