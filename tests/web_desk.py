"""A bridge whose readings a test hands out, with its HTTP server really listening."""

from __future__ import annotations

import math

from bridge.clock import Clock
from bridge.config import Origin, Settings
from bridge.link.notify import Notifier
from bridge.model import Reading
from bridge.service import Service
from bridge.wiring import Feed


class OldMachine(Clock):
    """A clock of a machine that has run for days, so that there can be an hour behind us."""

    def monotonic(self):
        return super().monotonic() + 500_000.0


class Named:
    """A source that is asked only what it is called; ``standing`` is its failover, as DualSource reports it."""

    name, peer = "modbus-tcp", "192.0.2.7:502"

    def __init__(self, standing=None):
        self.standing = standing

    def health(self):
        return self.standing

    def close(self):
        pass


class Shown:
    """A sink that is told and shows nothing, or fails with a text."""

    def __init__(self, name="shelly", failure=None):
        self.name, self.failure = name, failure

    def write(self, reading):
        if self.failure:
            from bridge.errors import LinkError

            raise LinkError(self.failure)

    def close(self):
        pass


class Desk:
    """Use with ``with``; ``tell(pv_w=..., ...)`` publishes a reading that was measured ``age_s`` ago."""

    def __init__(self, listen="127.0.0.1:0", token="", standing=None, sinks=(), clock=None, name=None):
        self.clock = clock or OldMachine()
        source = Named(standing)
        source.name = name or source.name
        settings = Settings({"status.listen": Origin(listen, "test"), "status.token": Origin(token, "test")})
        self.service = Service(settings, self.clock, Feed(source, 1.0), list(sinks), Notifier({}, "off"))

    def __enter__(self):
        self.service.serve()
        return self

    def __exit__(self, *exc):
        self.service.close()

    @property
    def port(self):
        return int(self.service.address.rpartition(":")[2])

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def tell(self, age_s=0.0, source="modbus-tcp", **values):
        self.service.publish(Reading(self.clock.now() - age_s, self.clock.monotonic() - age_s, source, **values))

    def control(self, lease):
        """Report a battery command, as the part for control does."""
        plain = self.service.health
        self.service.health = lambda: {**plain(), "control": lease}

    def an_hour(self, hour=0.0):
        """Fill the history with an hour of a house that begins at ``hour`` o'clock."""
        now = self.clock.monotonic()
        for step in range(720):
            self.service.history.write(a_house(now - 3600 + 5 * step, hour + step / 720))


def a_house(mono, hour):
    """Return what a plausible house does at that hour: a cloudy noon, an evening on the battery."""
    sun = max(0.0, 6500 * math.sin((hour - 6) * math.pi / 12)) * (0.75 + 0.25 * math.sin(hour * 40) * math.sin(hour * 7))
    kettle = 2100 if 0.30 < hour % 1 < 0.36 or 0.7 < hour % 1 < 0.73 else 0
    load = 420 + 160 * math.sin(hour * 21) ** 2 + kettle
    soc = min(100.0, 55 + 20 * (hour % 1))
    battery = max(-4000.0, min(3000.0, sun - load))
    return Reading(0, mono, "modbus-tcp", pv_w=round(sun), soc_pct=soc, battery_w=round(battery),
                   grid_w=round(load + battery - sun), load_w=round(load))
