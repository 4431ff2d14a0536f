"""Is a machine on the network a Sigenergy plant that lets us read it? One register read says.

Never writes and never asks twice. Facts: modbus.md 4 (a client that is not on the allow-list connects and
gets no answer; updates switch Modbus TCP off).
"""

from __future__ import annotations

from typing import NamedTuple, Optional

from bridge.errors import DeviceException, LinkError, LinkTimeout
from bridge.link.modbus import ModbusLink
from bridge.registers import Vendor, decode

REACHABLE = "reachable"  # the register was read
SILENT = "silent"  # connects, never answers: the allow-list
REFUSED = "refused"  # nothing listens: Modbus TCP is off
AWAY = "away"  # no connection: powered off, or on another network
NO_PLANT = "no plant"  # answers, but has no plant registers at this unit
STRANGE = "strange"  # answers, but not as Modbus TCP, or hangs up
STATES = (REACHABLE, SILENT, REFUSED, AWAY, NO_PLANT, STRANGE)


class Verdict(NamedTuple):
    """One of STATES, the grid power in W (+ = import) where it was read, and the error otherwise."""

    state: str
    grid_w: Optional[float]
    error: str


def confirm(link: ModbusLink, vendor: Vendor, unit: int, offset: int = 0) -> Verdict:
    """Read the grid power once; says what came back, raises nothing for a peer that misbehaves."""
    row = vendor.role("grid_w")
    if row is None:
        raise ValueError(f"{vendor.name} has no grid register")
    try:
        words = link.read(row.space, row.address + offset, row.count, unit)
    except DeviceException as error:
        return Verdict(NO_PLANT, None, str(error))
    except LinkError as error:
        return Verdict(_state(error, link.wire.stats.connections > 0), None, str(error))
    finally:
        link.close()
    power = decode(row, words)
    return Verdict(REACHABLE, float(power) if isinstance(power, (int, float)) else None, "")


def _state(error: LinkError, connected: bool) -> str:
    if connected:
        return SILENT if isinstance(error, LinkTimeout) else STRANGE
    cause: Optional[BaseException] = error
    while cause is not None:
        if isinstance(cause, ConnectionRefusedError):
            return REFUSED
        cause = cause.__cause__
    return AWAY
