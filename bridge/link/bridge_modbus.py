"""A plant's registers read through a running bridge, as if over a link of our own.

Never opens a connection to the plant: the bridge has the only one that some gateways allow. What the bridge
cannot say is BridgeRefused, so that the caller may ask the plant itself.
"""

from __future__ import annotations

import struct
from typing import Any, Dict, List, NamedTuple

from bridge.errors import BridgeRefused, LinkError, PeerError
from bridge.link.bridge_http import get_json
from bridge.link.modbus import Stats, device_exception

TIMEOUT_S = 6.0  # the bridge may have to wait for its turn at the plant
OF_THE_PLANT = (1, 2, 3, 4)  # other exceptions are about the way to it


class FarWire(NamedTuple):
    """The bridge's own link to the plant, as far as others see it."""

    peer: str
    protocol: str
    stats: Stats


class BridgeLink:
    """A ModbusLink over the HTTP interface of the bridge at "host:port"; addresses are printed numbers."""

    def __init__(self, address: str, token: str, first: str) -> None:
        """Ask for the register ``first``, to learn what the bridge reads; raises BridgeRefused."""
        self._address, self._token = address, token
        content = self._ask(f"address={first}")
        self.wire: Any = FarWire(str(content.get("peer")), str(content.get("source")), Stats())
        self.unit = int(content["unit"])

    def read(self, space: str, address: int, count: int, unit: int) -> List[int]:
        """Read words; raises DeviceException as the plant said it, else BridgeRefused."""
        content = self._ask(f"address={address}@{unit}&count={count}&space={space}")
        shown = content["registers"][0]
        if shown["exception"] is not None:
            raise device_exception(shown["exception"], self.wire.peer, unit, space, address, count)
        self.wire.stats.requests += 1
        return [int(word, 16) for word in shown["raw"]]

    def read_bytes(self, space: str, address: int, count: int, unit: int) -> bytes:
        """Read the same as bytes; raises as ``read`` does."""
        return struct.pack(f">{count}H", *self.read(space, address, count, unit))

    def close(self) -> None:
        """Nothing is held open."""

    def _ask(self, query: str) -> Dict[str, Any]:
        try:
            content = get_json(self._address, f"/v1/registers?{query}", TIMEOUT_S, self._token)
        except (LinkError, PeerError) as error:
            raise BridgeRefused(str(error)) from error
        shown = content.get("registers")
        if not shown:
            raise BridgeRefused(f"{self._address}: {content.get('error', 'the bridge serves no registers')}")
        code = shown[0]["exception"]
        if code is not None and code not in OF_THE_PLANT:
            raise BridgeRefused(f"{self._address}: {shown[0]['text']}")
        return content
