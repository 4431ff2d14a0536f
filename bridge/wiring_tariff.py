"""From settings to the tariff job: Amber on one side, the Sigen app on the other; imported only by who wants it.

Never connects: the clients do that at their first call.
"""

from __future__ import annotations

import hashlib
from typing import Optional

from bridge.clock import Clock
from bridge.config import Settings
from bridge.control.tariff_slots import Limits, Options
from bridge.errors import BridgeError
from bridge.link.bridge_http import get_json, somebody_listens
from bridge.link.cloud import CloudHttp
from bridge.peers import amber
from bridge.sinks.tariff import TariffSink
from bridge.sinks.tariff_job import Choices, TariffJob
from bridge.sources.amber import AmberPrices
from bridge.wiring_app import sigen_app
from bridge.wiring_state import durable_dir, state_dir

ASK_S = 1.0  # the running bridge answers from memory


def amber_client(settings: Settings, clock: Clock) -> amber.Amber:
    """Return the Amber client; raises ConfigError without a token."""
    ledger = amber.limiter(state_dir(settings), clock)
    http = CloudHttp(clock, settings["cloud.user_agent"])
    return amber.Amber(http, settings["amber.token"], clock, ledger, settings["amber.base_url"])


def amber_prices(settings: Settings, clock: Clock) -> AmberPrices:
    """Return the prices of the configured site."""
    return AmberPrices(
        amber_client(settings, clock), state_dir(settings), clock, settings["amber.site_id"],
        settings["amber.period_s"],
    )


def options_of(settings: Settings) -> Options:
    """Return the owner's choices about slots and prices."""
    return Options(
        settings["tariff.interval"], settings["tariff.align"], settings["tariff.advanced"],
        settings["tariff.use_current"], settings["tariff.sell"], settings["tariff.sell_flat_c"],
        Limits(settings["tariff.buy_floor_c"], settings["tariff.buy_cap_c"]),
        Limits(settings["tariff.sell_floor_c"], settings["tariff.sell_cap_c"]),
    )


def app_address(settings: Settings) -> str:
    """Return what tells one cloud from another in the journal."""
    return str(settings["cloud.app_base_url"] or settings["cloud.region"] or "").rstrip("/")


def tariff_sink(settings: Settings, clock: Clock) -> TariffSink:
    """Return the way to the Sigen app's tariff, with its journal."""
    return TariffSink(
        lambda: sigen_app(settings, clock), durable_dir(settings), state_dir(settings), app_address(settings),
        hashlib.sha256(f"{settings['cloud.username']}|{settings['cloud.bearer']}".encode()).hexdigest()[:8],
    )


def tariff_job(settings: Settings, clock: Clock, options: Options, station_id: str, forced: bool) -> TariffJob:
    """Return the job for these choices; raises ConfigError without an Amber token."""
    choices = Choices(options, settings["tariff.plan_name"], settings["tariff.timezone"], station_id, forced)
    return TariffJob(
        clock, amber_prices(settings, clock), tariff_sink(settings, clock), choices, durable_dir(settings),
        lambda: plant_mode(settings),
    )


def plant_mode(settings: Settings) -> Optional[int]:
    """Return the EMS mode that a running bridge on this machine has read, or None when that is not known."""
    listen = settings["status.listen"]
    if listen == "off":
        return None
    host, _, port = listen.rpartition(":")
    address = f"{'127.0.0.1' if host in ('0.0.0.0', '', '[::]') else host}:{port}"
    try:
        if not somebody_listens(address, ASK_S):
            return None
        mode = get_json(address, "/healthz", ASK_S, settings["status.token"]).get("ems_mode")
    except BridgeError:
        return None
    return mode if isinstance(mode, int) and not isinstance(mode, bool) else None
