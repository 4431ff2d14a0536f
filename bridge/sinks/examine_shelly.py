"""Looks at a Shelly for doctor: who it is, whether it lets us in, its components, and who else writes them.

Never writes to it, tries a password once at most, and never judges: diagnosis_shelly does.
"""

from __future__ import annotations

import json
from typing import Any, Dict, List, Mapping, NamedTuple, Sequence, Tuple

from bridge.clock import Clock
from bridge.control.diagnosis_shelly import ShellySeen, Wanted, Writer
from bridge.control.provision import wanted_keys
from bridge.errors import AuthError, ConfigError, LinkError, LinkTimeout, PeerError, RateLimited, ShellyError
from bridge.link.dial import CONNECT_TIMEOUT_S, split_host
from bridge.link.lan import LanHttp
from bridge.link.reach import reach
from bridge.link.websocket import UpgradeRefused, WebSocketLink, available
from bridge.peers.shelly import HTTP_PORT, ShellyClient
from bridge.peers.shelly_components import AFTER_BOOT, Component, not_ours, read_components
from bridge.sinks.display import DISPLAY
from bridge.values import plain_mac

WATCH_S = 3.0
ANSWER_S = 1.8
OUR_SOURCES = ("rpc", "", *AFTER_BOOT)  # what the bridge's own writes and a boot leave behind


class Access(NamedTuple):
    """How the settings reach a Shelly; ``bridge_runs`` means that the values may change by our own hand."""

    host: str
    password: str = ""
    transport: str = "auto"
    mac: str = ""
    bridge_runs: bool = False


class ShellyExam:
    """One examination; ``until`` is the monotonic moment to be done by."""

    def __init__(self, access: Access, wanted: Wanted, clock: Clock, until: float) -> None:
        try:
            self._host, self._port = split_host(access.host, HTTP_PORT)
        except ValueError as error:
            raise ConfigError(f"shelly.host: {error}") from None
        self._access, self._wanted, self._clock, self._until = access, wanted, clock, until

    def examine(self) -> ShellySeen:
        """Return what the Shelly shows of itself."""
        met = reach(self._host, self._port, CONNECT_TIMEOUT_S, self._clock.monotonic)
        seen = ShellySeen(f"{self._host}:{self._port}", self._host, self._port, met.outcome,
                          bound_mac=plain_mac(self._access.mac))
        if met.outcome != "open":
            return seen
        kind, info = self._who()
        seen = seen._replace(kind=kind, info=info)
        if kind != "shelly" or (seen.bound_mac and plain_mac(str(info.get("mac") or "")) != seen.bound_mac):
            return seen
        return self._inside(seen)

    def _who(self) -> Tuple[str, Mapping[str, Any]]:
        http = LanHttp("shelly", self._host, self._port, self._clock, None, ANSWER_S)
        try:
            answer = http.request("GET", "/shelly")
        except LinkTimeout:
            return "silent", {}
        except LinkError:
            return "not_http", {}
        try:
            info = json.loads(answer.body)
        except ValueError:
            info = None
        if not isinstance(info, dict) or not info.get("mac"):
            return "other", {}
        if isinstance(info.get("gen"), int) and info["gen"] >= 2:
            return "shelly", info
        return ("gen1" if "type" in info else "other"), info

    def _inside(self, seen: ShellySeen) -> ShellySeen:
        seen = seen._replace(no_websocket=self._websocket())
        transport = "http" if seen.no_websocket or self._access.transport == "script" else self._access.transport
        if transport == "ws" and not available():
            transport = "http"
        client = ShellyClient(self._access.host, self._clock, self._access.password or None, transport,
                              self._access.mac, ANSWER_S)
        try:
            client.open()
            seen = seen._replace(login="ok", virtual=True, transport=client.transport)
            seen = seen._replace(components=read_components(client.call))
            return seen._replace(writers=tuple(self._watch(client, seen.components or {})))
        except AuthError:
            return seen._replace(login="bad" if self._access.password else "none")
        except RateLimited:
            return seen._replace(login="crowded")
        except ShellyError:
            return seen._replace(virtual=False)
        except (LinkError, PeerError) as error:
            return seen._replace(failure=str(error))
        finally:
            client.close()

    def _websocket(self) -> str:
        """Say why there is no WebSocket where one would be used; "" otherwise."""
        if self._access.transport not in ("auto", "ws") or not available():
            return ""
        link = WebSocketLink("shelly", self._host, self._port, "/rpc", self._clock, ANSWER_S)
        try:
            link.connect()
        except UpgradeRefused:
            return "takes no WebSocket, only HTTP"
        except LinkError:
            return ""  # the calls that follow will say it better
        finally:
            link.close()
        return ""

    def _watch(self, client: ShellyClient, components: Mapping[str, Component]) -> List[Writer]:
        """Look twice, and return who wrote our numbers in between without being the bridge."""
        if self._clock.monotonic() + WATCH_S > self._until:
            return []
        keys = [key for key, row in zip(wanted_keys(self._wanted.first_id, None), DISPLAY)
                if key in components and (self._wanted.adopt or not not_ours(components[key], row.unit))]
        if not keys:
            return []
        before = self._stamps(client, keys)
        self._clock.wait(WATCH_S)
        writers = []
        for key, status in self._stamps(client, keys).items():
            source = str(status.get("source") or "")
            if status == before[key] or (self._access.bridge_runs and source in OUR_SOURCES):
                continue
            writers.append(Writer(key, source))
        return writers

    def _stamps(self, client: ShellyClient, keys: Sequence[str]) -> Dict[str, Mapping[str, Any]]:
        found: Dict[str, Mapping[str, Any]] = {}
        for key in keys:
            status = client.call("Number.GetStatus", {"id": int(key.partition(":")[2])})
            found[key] = status if isinstance(status, dict) else {}
        return found
