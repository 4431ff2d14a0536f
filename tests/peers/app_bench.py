"""A simulated cloud with app clients in front of it, and what they left on disk."""

from __future__ import annotations

import json
from contextlib import contextmanager
from pathlib import Path

from bridge.clock import ManualClock
from bridge.link.cloud import CloudHttp
from bridge.peers import sigen_password
from bridge.peers.limiter import Limiter
from bridge.peers.sigen_app import SigenApp
from bridge.peers.sigen_app_identity import AppCredentials
from bridge.peers.sigen_app_wire import APP_LIMITS, LEDGER_FILE
from bridge.sim.sigen_cloud import SigenCloudSim
from bridge.sim.sigen_cloud_app_world import FIRST_NUMBER
from bridge.state import StateDir

USER, PASSWORD, ENCODED = "owner@example.invalid", "correct horse", "2XgqjWOYS8wesGPH8+9zTA=="
PLAIN = AppCredentials(USER, PASSWORD)
STATION = FIRST_NUMBER
FAST_S = 0.4  # real seconds a client waits for the simulator when that is told to hang


class AppBench:
    """One simulator, one directory for what may be lost and one for what is kept."""

    def __init__(self, sim, clock, path):
        self.sim, self.clock, self.path = sim, clock, Path(path)
        self.cache, self.kept = str(self.path / "cache"), str(self.path / "kept")
        self.opened = []

    def client(self, credentials=PLAIN, clock=None, **options):
        """Return a client as a fresh start of the program would make it."""
        clock = clock or self.clock
        cache = StateDir(self.cache)
        http = CloudHttp(clock, options.pop("user_agent", "Mozilla/5.0 test"),
                         connect_timeout_s=FAST_S, read_timeout_s=FAST_S)
        self.opened.append(http)
        options.setdefault("base_url", self.sim.base_url)
        options.setdefault("region", "aus")
        options.setdefault("encode", sigen_password.encode)
        limiter = Limiter(cache, clock, APP_LIMITS, LEDGER_FILE)
        return SigenApp(http, credentials, cache, StateDir(self.kept), clock, limiter, **options)

    def grants(self):
        """Return the grant types that the service was asked for, in order."""
        forms = [entry.body.decode() for entry in self.sim.log if entry.endpoint == "appLogin"]
        return ["refresh" if "grant_type=refresh_token" in form else "password" for form in forms]

    def files(self):
        """Return every file that was left, with its content."""
        return {str(one.relative_to(self.path)): one.read_text() for one in self.path.rglob("*.json")}

    def held(self, name):
        """Return a file of either directory as JSON."""
        (text,) = [content for path, content in self.files().items() if path.endswith(name)]
        return json.loads(text)

    def close(self):
        """Close what was opened."""
        for http in self.opened:
            http.close()


@contextmanager
def app_bench(path, **options):
    """Start a simulator on a clock of its own and hand out the bench."""
    clock = ManualClock()
    with SigenCloudSim(clock, **options) as sim:
        bench = AppBench(sim, clock, path)
        try:
            yield bench
        finally:
            bench.close()


def tariff(price=24.31, sell=-3.5, station_id=STATION, slots=48):
    """Return the object of the app's price page with one price in every half hour."""

    def side(cents):
        times = [f"{at // 2:02d}:{at % 2 * 30:02d}" for at in range(slots)] + ["24:00"]
        rows = [{"timeRange": f"{one}-{two}", "price": cents} for one, two in zip(times, times[1:])]
        return {"dynamicPricing": None, "staticPricing": {
            "providerName": "Amber", "tariffCode": "", "tariffName": "", "currencyCode": "Cent", "subAreaName": "",
            "planName": "Amber Live 30-min", "combinedPrices": [
                {"monthRange": "01-12", "weekPrices": [{"weekRange": "1-7", "timeRange": rows}]}],
        }}

    return {"stationId": station_id, "priceMode": 1, "buyPrice": side(price), "sellPrice": side(sell)}
