"""The whole tariff job between the two simulated services, on one clock that moves when told to."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager

from bridge.clock import ManualClock
from bridge.config import Origin, Settings
from bridge.sim.amber import TOKEN, AmberSim
from bridge.sim.amber_market import SimSite
from bridge.sim.sigen_cloud import SigenCloudSim
from bridge.sim.sigen_cloud_app_world import FIRST_NUMBER
from bridge.tariff_run import Runner
from bridge.wiring_tariff import options_of, tariff_job

NOON = 1_768_443_150.0  # 2026-01-15 13:12:30 in Sydney, 12:12:30 NEM time: horizon 04:00 NEM tomorrow
AFTERNOON = NOON + 3 * 3600  # published until the day after tomorrow
ONE_SITE = (SimSite(),)
USER, PASSWORD = "owner@example.invalid", "correct horse"


class TariffBench:
    """Both simulators, the settings that point at them, and what the job said."""

    def __init__(self, clock, amber, cloud, path):
        self.clock, self.amber, self.cloud, self.path = clock, amber, cloud, path
        self.said = []
        self.given = {
            "amber.token": TOKEN, "amber.base_url": amber.base_url, "cloud.app_base_url": cloud.base_url,
            "cloud.region": "aus", "cloud.username": USER, "cloud.password": PASSWORD, "run.state_dir": str(path),
            "status.listen": "off",
        }

    def settings(self, **changes):
        given = {**self.given, **{key.replace("__", "."): value for key, value in changes.items()}}
        return Settings({key: Origin(value, "test") for key, value in given.items() if value is not None})

    def job(self, forced=False, **changes):
        """Return the job as a fresh process would make it."""
        settings = self.settings(**changes)
        return tariff_job(settings, self.clock, options_of(settings), settings["cloud.station_id"], forced)

    @contextmanager
    def runner(self, as_json=False, every_s=300, **changes):
        job = self.job(**changes)
        try:
            yield Runner(job, self.clock, self.settings(**changes), every_s, as_json, self.said.append)
        finally:
            job.close()

    def push(self, force=False, fresh=False, **changes):
        """Push once as the command does; returns what was said, or raises."""
        before = len(self.said)
        with self.runner(**changes) as runner:
            runner.once(force, fresh)
        return self.said[before:]

    @property
    def saved(self):
        return self.cloud.saved_tariffs

    def slots(self, side="buyPrice", index=-1):
        rows = self.saved[index][side]["staticPricing"]["combinedPrices"][0]["weekPrices"][0]["timeRange"]
        return {row["timeRange"]: row["price"] for row in rows}


@contextmanager
def tariff_bench(path, now=AFTERNOON, sites=ONE_SITE, scenario="normal"):
    clock = ManualClock(now)
    with ExitStack() as stack:
        amber = stack.enter_context(AmberSim(clock, sites=sites, scenario=scenario))
        cloud = stack.enter_context(SigenCloudSim(clock))
        yield TariffBench(clock, amber, cloud, path)


STATION = FIRST_NUMBER
