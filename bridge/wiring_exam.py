"""From settings to what doctor is to look at."""

from __future__ import annotations

from bridge.config import Settings
from bridge.control.diagnosis_host import CloudSettings


def cloud_settings(settings: Settings) -> CloudSettings:
    """Return which of the cloud's settings are there."""
    return CloudSettings(
        bool(settings["cloud.app_key"]), bool(settings["cloud.app_secret"]), bool(settings["cloud.username"]),
        bool(settings["cloud.password"] or settings["cloud.password_encoded"]),
        bool(settings["cloud.region"] or settings["cloud.base_url"]), bool(settings["cloud.system_id"]),
    )
