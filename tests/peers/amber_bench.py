"""A simulated Amber with clients in front of it."""

from __future__ import annotations

from contextlib import contextmanager

from bridge.clock import ManualClock
from bridge.link.cloud import CloudHttp
from bridge.peers.amber import Amber, limiter
from bridge.sim.amber import TOKEN, AmberSim
from bridge.state import StateDir

NOON = 1_768_443_150.0  # 2026-01-15 13:12:30 in Sydney (+11:00), 12:12:30 NEM time
FAST_S = 0.4


class AmberBench:
    """One simulator and one state directory; every client is a fresh start of the program."""

    def __init__(self, sim, clock, path):
        self.sim, self.clock, self.state = sim, clock, StateDir(str(path))
        self.opened = []

    def client(self, token=TOKEN, base_url=None):
        http = CloudHttp(self.clock, connect_timeout_s=FAST_S, read_timeout_s=FAST_S)
        self.opened.append(http)
        return Amber(http, token, self.clock, limiter(self.state, self.clock), base_url or self.sim.base_url)


@contextmanager
def amber_bench(path, now=NOON, **options):
    clock = ManualClock(now)
    with AmberSim(clock, **options) as sim:
        bench = AmberBench(sim, clock, path)
        try:
            yield bench
        finally:
            for http in bench.opened:
                http.close()
