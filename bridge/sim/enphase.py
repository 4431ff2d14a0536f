"""Enlighten and an Envoy behind it, on loopback ports: for tests, demonstrations and other people's clients.

Never reaches beyond this machine.
"""

from __future__ import annotations

from typing import Any, Optional

from bridge.clock import Clock
from bridge.errors import ConfigError
from bridge.sim.enphase_cloud import FAULTS as CLOUD_FAULTS
from bridge.sim.enphase_cloud import EnlightenSim
from bridge.sim.enphase_envoy import EnvoySim
from bridge.sim.enphase_world import EnphaseWorld


class EnphaseSim:
    """Both sides of one world."""

    def __init__(
        self, clock: Clock, world: Optional[EnphaseWorld] = None, host: str = "127.0.0.1", port: int = 0,
        cloud_port: int = 0,
    ) -> None:
        self.world = world or EnphaseWorld()
        self._at = f"{host}:{cloud_port}"
        self.cloud = EnlightenSim(self.world, clock, host, cloud_port)
        self.envoy = EnvoySim(self.world, clock, host, port)

    def start(self) -> EnphaseSim:
        """Open both ports; raises OSError for the Envoy's, ConfigError for Enlighten's."""
        try:
            self.cloud.start()
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or error
            raise ConfigError(f"sim enphase: Enlighten on {self._at}: {reason}; choose another --cloud-port") from error
        try:
            self.envoy.start()
        except OSError:
            self.cloud.stop()
            raise
        return self

    def stop(self) -> None:
        """Close both ports."""
        self.envoy.close()
        self.cloud.stop()

    def __enter__(self) -> EnphaseSim:
        return self.start()

    def __exit__(self, *_problem: object) -> None:
        self.stop()

    @property
    def port(self) -> int:
        """The Envoy's port."""
        return self.envoy.port

    def fault(self, name: str, **params: Any) -> None:
        """Misbehave: a fault of the Envoy, or of Enlighten with ``cloud-`` in front."""
        if not name.startswith("cloud-"):
            self.envoy.fault(name, **params)
        elif name[6:] in CLOUD_FAULTS:
            self.cloud.faults[name[6:]] = True
        else:
            raise ConfigError(f"sim enphase: unknown fault {name}; one of cloud-{', cloud-'.join(CLOUD_FAULTS)}")
