"""The loop's beat, measured inside: a bridge with a source that only notes when it is asked.

``python -m tests.bench.beat PORT PERIOD_S`` runs until its input ends, then prints the late starts in seconds as JSON,
one list for each line of the input ("next" begins a new list).
"""

from __future__ import annotations

import json
import sys
import threading

from bridge.clock import Clock
from bridge.config import Origin, Settings
from bridge.link.notify import Notifier
from bridge.model import Reading
from bridge.service import Service
from bridge.wiring import Feed


class Beat:
    """A source that notes how much later than due each read began."""

    name, peer = "modbus-tcp", "beat"

    def __init__(self, clock, period_s):
        self.clock, self.period_s, self.first, self.late = clock, period_s, None, [[]]

    def read(self):
        now = self.clock.monotonic()
        self.first = now if self.first is None else self.first
        self.late[-1].append((now - self.first + 0.0005) % self.period_s - 0.0005)
        return Reading(self.clock.now(), now, self.name, 2800.0 + now % 7, 15.0, -341.0, 8540.0, 11340.0)

    def close(self):
        """Nothing to let go of."""


def main(port, period_s):
    clock = Clock()
    source = Beat(clock, period_s)

    def listen():
        for _ in sys.stdin:
            source.late.append([])
        clock.stop()

    settings = Settings({"status.listen": Origin(f"127.0.0.1:{port}", "bench")})
    threading.Thread(target=listen, daemon=True).start()
    Service(settings, clock, Feed(source, period_s), [], Notifier({}, "off")).run()
    print(json.dumps(source.late))


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]))
