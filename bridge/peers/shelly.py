"""One Shelly: which road to it is open, who it is, and whether it can show values at all.

Never writes to a device whose MAC is not the bound one, and never decides which values to write.
Facts: shelly.md 1 and 3; the model rule is the vendor's page "Virtual Components".
"""

from __future__ import annotations

import logging
import os
from typing import Any, Callable, List, Mapping, NamedTuple, Optional, Sequence

from bridge.clock import Clock
from bridge.errors import ConfigError, LinkError, PeerError, ShellyError
from bridge.faultlog import FaultLog
from bridge.link.dial import split_host
from bridge.link.digest import Digest
from bridge.link.websocket import UpgradeRefused, WebSocketLink, available
from bridge.peers.shelly_components import MODEL_RULE
from bridge.peers.shelly_rpc import CALL_TIMEOUT_S, Channel, News, Pair, Refusals
from bridge.peers.shelly_ws import WsChannel
from bridge.values import plain_mac

HTTP_PORT = 80
WS_AGAIN_S = 30.0  # firmware 2.0.0 had a WebSocket that HTTP outlived; each failure doubles the pause
WS_AGAIN_MOST_S = 1800.0
WS_HEALED_S = 600.0  # it worked for so long that the next failure is a new one
DROPS = 3  # this many lost WebSockets ...
DROPS_WITHIN_S = 60.0  # ... within this time make auto go by HTTP
NEEDED_METHODS = ("Number.Set", "Virtual.Add")
TRANSPORTS = ("auto", "ws", "http", "script")


class Device(NamedTuple):
    """Who answers at the address; from Shelly.GetDeviceInfo, which needs no password."""

    id: str
    mac: str
    model: str
    gen: int
    version: str
    name: str


def random_part() -> float:
    """Return a random number within 0..1 for jitter; module ``random`` would cost 1 MiB."""
    return int.from_bytes(os.urandom(2), "big") / 65_536


class ShellyClient:
    """RPC to one device over the best road there is; a lost road is built again by ``open``."""

    def __init__(
        self, host: str, clock: Clock, password: Optional[str] = None, transport: str = "auto", mac: str = "",
        timeout_s: float = CALL_TIMEOUT_S, needed: Sequence[str] = NEEDED_METHODS,
    ) -> None:
        if transport not in TRANSPORTS:
            raise ConfigError(f"shelly.transport: {transport!r} is not one of {', '.join(TRANSPORTS)}")
        if not host.strip():
            raise ConfigError("no Shelly is configured: give --shelly-host ADDRESS, for example 192.0.2.20")
        try:
            name, port = split_host(host, HTTP_PORT)
        except ValueError as error:
            raise ConfigError(f"shelly.host: {error}") from None
        self.peer = f"shelly {name}:{port}"
        self.device: Optional[Device] = None
        self.degraded = False  # on HTTP only because the WebSocket fails
        self._address = (name, port)
        self._clock = clock
        self._transport = transport
        self._timeout_s = timeout_s
        self._bound_mac = plain_mac(mac)
        self._digest = Digest(password, clock.monotonic, f"{name}:{port}", random_part)
        self._ws_faults = FaultLog(clock, "shelly.ws")
        self._log = logging.getLogger("shelly")
        self._channel: Optional[Channel] = None
        self._last_road = ""
        self._needed, self._able = needed, not needed
        self._drops: List[float] = []
        self._ws_again_at = 0.0
        self._ws_pause_s = WS_AGAIN_S

    @property
    def transport(self) -> str:
        """Return the road in use: ws, http, script; empty while there is none."""
        return self._channel.name if self._channel is not None else ""

    def open(self) -> bool:
        """Make sure that there is a road to the right device; True when it is a new one.

        Raises LinkError, AuthError, RateLimited, ConfigError; ShellyError for the wrong MAC or model.
        """
        self._digest.check()
        if self._channel is not None and not (self.degraded and self._ws_is_due()):
            return False
        self.close()
        reason = "" if self._transport in ("http", "script") else self._open_ws()
        if self._channel is None:
            self._use(self._http())
        if reason:
            self._degrade(reason)
        elif self.transport == "ws":
            self.degraded = False
            self._ws_faults.good()
        return True

    def call(self, method: str, params: Mapping[str, Any]) -> Any:
        """Return the result of one RPC call; raises LinkError, AuthError, RateLimited, PeerError."""
        return self._guarded(lambda channel: channel.call(method, params))

    def set_values(self, pairs: Sequence[Pair]) -> Refusals:
        """Set components by key ("number:200"); return those that were not set. Raises as ``call`` does."""
        return self._guarded(lambda channel: channel.set_values(pairs))

    def news(self) -> News:
        """Return what the device said unasked, and do what keeps the connection alive."""
        return self._guarded(lambda channel: channel.news())

    def close(self) -> None:
        """Let go of the connection."""
        if self._channel is not None:
            self._channel.close()
            self._channel = None

    def _guarded(self, work: Callable[[Channel], Any]) -> Any:
        if self._channel is None:
            self.open()
        channel = self._channel
        assert channel is not None
        try:
            return work(channel)
        except LinkError:
            if channel.name == "ws":
                now = self._clock.monotonic()
                self._drops = [at for at in self._drops if now - at < DROPS_WITHIN_S] + [now]
            self.close()
            raise

    def _ws_is_due(self) -> bool:
        """Say whether it is time to try the WebSocket again instead of the HTTP in use."""
        return self.transport == "http" and self._clock.monotonic() >= self._ws_again_at

    def _open_ws(self) -> str:
        """Try the WebSocket; without one return why, if another road may be tried."""
        forced = self._transport == "ws"
        if not forced:
            if not available():
                self._log_road("http", "websocket-client is not installed")
                return ""
            if self._clock.monotonic() < self._ws_again_at:
                return "the WebSocket does not work"
            if len(self._drops) >= DROPS:
                self._drops = []
                return f"{self.peer}: the WebSocket keeps breaking"
        link = WebSocketLink("shelly", *self._address, "/rpc", self._clock, self._timeout_s)
        channel = WsChannel(link, self._digest)
        try:
            channel.open()
        except UpgradeRefused as error:
            if forced:
                raise
            return str(error)
        try:
            self._use(channel)
        except LinkError as error:  # it opened, but does not carry a call
            if forced:
                raise
            return str(error)
        return ""

    def _use(self, channel: Channel) -> None:
        """Take this road once the device at its end is found to be the right one."""
        if channel.name != self._last_road:
            self._digest.forget()
        self._channel = channel
        try:
            self.device = self._identify(channel)
            self._check_abilities(channel, self.device)
        except (LinkError, PeerError):
            self.close()
            raise
        self._log_road(channel.name, "")

    def _http(self) -> Channel:
        from bridge.link.lan import LanHttp  # a WebSocket need not cost what HTTP costs
        from bridge.peers.shelly_http import HttpChannel

        plain = HttpChannel(LanHttp("shelly", *self._address, self._clock, self._digest, self._timeout_s))
        if self._transport != "script":
            return plain
        from bridge.peers.shelly_script import ScriptChannel

        return ScriptChannel(plain, self._clock)

    def _degrade(self, reason: str) -> None:
        """Note that HTTP works where the WebSocket did not; the next try comes later each time."""
        now = self._clock.monotonic()
        self.degraded = True
        if now < self._ws_again_at:
            return
        if now - self._ws_again_at > WS_HEALED_S:
            self._ws_pause_s = WS_AGAIN_S
        self._ws_again_at = now + self._ws_pause_s
        self._ws_pause_s = min(2 * self._ws_pause_s, WS_AGAIN_MOST_S)
        self._ws_faults.bad(reason)

    def _log_road(self, road: str, reason: str) -> None:
        if not self._last_road:
            because = f' reason="{reason}"' if reason else ""
            self._log.info("transport=%s peer=%s%s", road, self.peer.partition(" ")[2], because)
        self._last_road = road

    def _identify(self, channel: Channel) -> Device:
        """Ask who is there; raises ShellyError when it is not the device we are bound to."""
        info = channel.call("Shelly.GetDeviceInfo", {})
        if not isinstance(info, dict) or not info.get("mac"):
            raise ShellyError(f"{self.peer}: does not say who it is; it is not a Shelly of Gen2 or later")
        gen = info.get("gen")
        device = Device(
            str(info.get("id") or ""), plain_mac(str(info["mac"])), str(info.get("model") or ""),
            gen if isinstance(gen, int) else 0, str(info.get("ver") or ""), str(info.get("name") or ""),
        )
        if self._bound_mac and device.mac != self._bound_mac:
            raise ShellyError(
                f"{self.peer}: is {device.mac}, not {self._bound_mac}; nothing is written to it;"
                " correct the address or the MAC that is set for it"
            )
        self._bound_mac = device.mac
        return device

    def _check_abilities(self, channel: Channel, device: Device) -> None:
        """Once: raise ShellyError when the device has no virtual components."""
        if self._able:
            return
        listed = channel.call("Shelly.ListMethods", {})
        methods = listed.get("methods") if isinstance(listed, dict) else None
        known = {str(method).lower() for method in methods} if isinstance(methods, list) else set()
        missing = [method for method in self._needed if method.lower() not in known]
        if missing:
            raise ShellyError(
                f"{self.peer}: {device.model} (firmware {device.version}) has no {' and no '.join(missing)};"
                f" {MODEL_RULE}"
            )
        self._able = True
