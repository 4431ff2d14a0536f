"""Battery commands over the Sigenergy OpenAPI: one request with a batch, the token in its body as well.

Never says that the plant did anything: the cloud taking a request proves nothing (cloud reference 3.4).
"""

from __future__ import annotations

from typing import Any, Mapping, Sequence

from bridge.peers.sigen_calls import Request, request_of, station_id
from bridge.peers.sigen_openapi import OpenApi
from bridge.peers.sigen_wire import Call

PATH = "/openapi/system/battery/command"


def command_call(commands: Sequence[Mapping[str, Any]], system_id: str, token: str) -> Call:
    """Return the request for a batch of commands as ``control/battery_cloud`` makes them."""
    body = {"accessToken": token, "commands": list(commands)}
    return Call("command", "POST", PATH, station_id(system_id), period_s=0.0, body=body, empty_is_good=True)


def send_commands(api: OpenApi, commands: Sequence[Mapping[str, Any]], system_id: str) -> None:
    """Send a batch; raises ApiRejected with the vendor's code (1503 and 1504 among them) and what every call does."""
    api.ask_with(lambda token: command_call(commands, system_id, token))


def shown_request(commands: Sequence[Mapping[str, Any]], system_id: str, base_url: str) -> Request:
    """Return the request of a dry run, without the token."""
    return request_of(command_call(commands, system_id, "(token)"), base_url)
