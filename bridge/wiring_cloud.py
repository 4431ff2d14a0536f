"""From settings to the parts that talk to the Sigenergy cloud; imported only when somebody wants it.

Never connects, and never imports requests: that happens at the first call.
"""

from __future__ import annotations

from bridge.clock import Clock
from bridge.config import Settings
from bridge.errors import ConfigError
from bridge.link.cloud import CloudHttp
from bridge.peers import sigen_password
from bridge.peers.limiter import Limiter
from bridge.peers.sigen_openapi import OpenApi
from bridge.peers.sigen_session import Credentials
from bridge.sources.openapi import OpenApiSource
from bridge.wiring import cloud_configured
from bridge.wiring_state import state_dir


def openapi(settings: Settings, clock: Clock, patience_s: float = 60.0) -> OpenApi:
    """Return the OpenAPI client; raises ConfigError when no credentials are set.

    ``patience_s`` is how long a call may wait for the limiter's pacing before it raises RateLimited.
    """
    if not cloud_configured(settings):
        raise ConfigError(
            "no cloud access is configured: set cloud.app_key and cloud.app_secret (developer portal), or"
            " cloud.username and cloud.password (mySigen account)"
        )
    credentials = Credentials(
        settings["cloud.app_key"], settings["cloud.app_secret"], settings["cloud.username"],
        settings["cloud.password"], settings["cloud.password_encoded"],
    )
    state = state_dir(settings)
    return OpenApi(
        CloudHttp(clock, settings["cloud.user_agent"]), credentials, state, clock, Limiter(state, clock),
        region=settings["cloud.region"] or None, base_url=settings["cloud.base_url"] or None,
        host_family=settings["cloud.host_family"], system_id=settings["cloud.system_id"] or None,
        encode=sigen_password.encode if sigen_password.available() else None, patience_s=patience_s,
    )


def cloud_source(settings: Settings, clock: Clock) -> OpenApiSource:
    """Return the source that reads the power flow from the cloud; needs ``cloud.system_id``."""
    if not settings["cloud.system_id"]:
        raise ConfigError("setting cloud.system_id is missing: sigen-bridge cloud systems lists yours")
    return OpenApiSource(openapi(settings, clock, patience_s=20.0), clock)
