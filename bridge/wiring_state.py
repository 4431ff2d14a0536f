"""Where small files that outlive the process are kept, by settings and platform.

Never creates a directory: that happens with the first file.
"""

from __future__ import annotations

import os

from bridge.config import Settings, supervisor
from bridge.state import StateDir

OPENWRT_MARK = "/etc/openwrt_release"
OPENWRT_STATE = "/tmp/sigen-bridge"  # tmpfs: the flash of a router is not for counters
OPENWRT_DURABLE = "/etc/sigen-bridge"
SYSTEM_STATE = "/var/lib/sigen-bridge"
MAIN = "main"


def state_dir(settings: Settings) -> StateDir:
    """Return where caches and counters are kept (``run.state_dir``, or by platform).

    A further plant on the same machine (SIGEN_BRIDGE_INSTANCE) has a directory of its own below it.
    """
    return _of_instance(settings["run.state_dir"] or supervisor().get("STATE_DIRECTORY") or _platform_dir())


def durable_dir(settings: Settings) -> StateDir:
    """Return where leases, journals and ids are kept, which a reboot must not take.

    The same directory as ``state_dir`` but on OpenWrt, where that is in memory: flash is written for these only.
    """
    if not settings["run.state_dir"] and "STATE_DIRECTORY" not in supervisor() and os.path.exists(OPENWRT_MARK):
        return _of_instance(OPENWRT_DURABLE)
    return state_dir(settings)


def _of_instance(path: str) -> StateDir:
    instance = supervisor().get("SIGEN_BRIDGE_INSTANCE", MAIN)
    return StateDir(path if instance == MAIN else os.path.join(path, instance))


def _platform_dir() -> str:
    if os.path.exists(OPENWRT_MARK):
        return OPENWRT_STATE
    if os.access(SYSTEM_STATE, os.W_OK):
        return SYSTEM_STATE
    return os.path.join(os.path.expanduser("~"), ".local", "state", "sigen-bridge")
