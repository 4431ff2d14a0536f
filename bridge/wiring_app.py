"""From settings to the client of the mySigen app's API; imported only when somebody wants it.

Never connects, and never imports requests or a cipher: that happens at the first call.
"""

from __future__ import annotations

from bridge.clock import Clock
from bridge.config import Settings
from bridge.errors import ConfigError
from bridge.link.cloud import CloudHttp
from bridge.peers import sigen_password
from bridge.peers.limiter import Limiter
from bridge.peers.sigen_app import SigenApp
from bridge.peers.sigen_app_identity import AppCredentials
from bridge.peers.sigen_app_wire import APP_LIMITS, LEDGER_FILE
from bridge.wiring_state import durable_dir, state_dir


def app_configured(settings: Settings) -> bool:
    """Say whether there are credentials for the app API, and an address that they are meant for.

    Where cloud.base_url replaces the region's host, the same user and password are not sent to the real one.
    """
    password = settings["cloud.password"] or settings["cloud.password_encoded"]
    known = settings["cloud.app_base_url"] or (settings["cloud.region"] and not settings["cloud.base_url"])
    return bool(known and (settings["cloud.bearer"] or (settings["cloud.username"] and password)))


def sigen_app(settings: Settings, clock: Clock) -> SigenApp:
    """Return the client of the app API; raises ConfigError when no credentials are set."""
    password = settings["cloud.password"] or settings["cloud.password_encoded"]
    if not settings["cloud.bearer"] and not (settings["cloud.username"] and password):
        raise ConfigError(
            "no access to the Sigen app is configured: set cloud.username with cloud.password (or"
            " cloud.password_encoded), or a ready token in cloud.bearer; sigen-bridge env make asks for them"
        )
    credentials = AppCredentials(
        settings["cloud.username"], settings["cloud.password"], settings["cloud.password_encoded"],
        settings["cloud.device_id"], settings["cloud.bearer"],
    )
    cache = state_dir(settings)  # the refresh token is durable: on a router flash is written twice a day for it
    return SigenApp(
        CloudHttp(clock, settings["cloud.user_agent"]), credentials, cache, durable_dir(settings), clock,
        Limiter(cache, clock, APP_LIMITS, LEDGER_FILE), region=settings["cloud.region"] or None,
        base_url=settings["cloud.app_base_url"] or None, station_id=settings["cloud.station_id"] or None,
        encode=sigen_password.encode,
    )
