"""The calls that change something at the Sigenergy cloud: what exactly is sent.

Never sends: ``--dry-run`` shows what is built here, and tests compare it with what arrives. Spellings: PUT
settings in two working clients, POST operationMode/switch in the S3 source.
"""

from __future__ import annotations

import json
from typing import Any, List, NamedTuple, Sequence

from bridge.errors import ConfigError
from bridge.peers.sigen_wire import Call

BATCH_MAX = 199  # the vendor allows fewer than 200 stations a request


class Request(NamedTuple):
    """What goes over the wire, without the token."""

    method: str
    url: str
    body: Any

    @property
    def text(self) -> str:
        """The body as it is sent."""
        return json.dumps(self.body, separators=(",", ":"))


def request_of(call: Call, base_url: str) -> Request:
    """Return what a call sends to the API at ``base_url``."""
    return Request(call.method, base_url + call.path, call.body)


def station_id(text: str) -> str:
    """Return a systemId fit for a request; raises ConfigError that says where to find it."""
    station = text.strip()
    if not station or not station.isascii() or not station.isprintable() or " " in station:
        raise ConfigError(
            "set cloud.system_id: letters and digits, listed by 'sigen-bridge cloud systems' and shown in"
            " the developer portal; it is not the 14-digit station number of the app"
        )
    return station


def mode_calls(station: str, number: int) -> List[Call]:
    """Return the two spellings of a mode change, the preferred one first."""
    body = {"systemId": station, "energyStorageOperationMode": number}
    return [
        Call("setMode", "PUT", "/openapi/instruction/settings", station, 0.0, body=body),
        Call("switchMode", "POST", "/openapi/system/operationMode/switch", station, 0.0, body=body),
    ]


def board_call(verb: str, system_ids: Sequence[str]) -> Call:
    """Return the request that onboards or offboards stations; each is named once."""
    stations = [station_id(one) for one in dict.fromkeys(system_ids)]
    if not 0 < len(stations) <= BATCH_MAX:
        raise ConfigError(f"{verb}: give 1 to {BATCH_MAX} system ids, not {len(stations)}")
    return Call(verb, "POST", f"/openapi/board/{verb}", period_s=0.0, body=stations)
