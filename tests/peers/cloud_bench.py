"""A simulated cloud with a client in front of it, for the tests of the cloud's parts."""

from __future__ import annotations

from contextlib import contextmanager

from bridge.clock import ManualClock
from bridge.link.cloud import CloudHttp
from bridge.peers.limiter import Limiter
from bridge.peers.sigen_openapi import OpenApi
from bridge.peers.sigen_session import Credentials
from bridge.sim.sigen_cloud import SigenCloudSim
from bridge.state import StateDir

KEY = Credentials(app_key="AK_DEMO", app_secret="AS_DEMO")
ACCOUNT = Credentials(username="owner@example.invalid", password="correct horse")
STATION = "ABCDE1700000001"
FAST_S = 0.4  # real seconds a client waits for the simulator when that is told to hang


class Bench:
    """One simulator, one state directory, and any number of clients that share them."""

    def __init__(self, sim, clock, path):
        self.sim, self.clock, self.path = sim, clock, str(path)
        self.opened = []

    def client(self, credentials=KEY, clock=None, **options):
        """Return a client as a fresh start of the program would make it."""
        clock = clock or self.clock
        state = StateDir(self.path)
        agent = options.pop("user_agent", "Mozilla/5.0 test")
        http = CloudHttp(clock, agent, connect_timeout_s=FAST_S, read_timeout_s=FAST_S)
        self.opened.append(http)
        options.setdefault("base_url", self.sim.base_url)
        options.setdefault("region", "eu")
        options.setdefault("system_id", STATION)
        return OpenApi(http, credentials, state, clock, Limiter(state, clock), **options)

    def close(self):
        """Close what was opened."""
        for http in self.opened:
            http.close()


@contextmanager
def cloud_bench(path, **options):
    """Start a simulator on a clock of its own and hand out the bench."""
    clock = ManualClock()
    with SigenCloudSim(clock, **options) as sim:
        bench = Bench(sim, clock, path)
        try:
            yield bench
        finally:
            bench.close()
