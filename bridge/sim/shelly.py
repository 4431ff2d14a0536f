"""A simulated Shelly, a Pro 2 unless told otherwise: RPC, virtual components, scripts, relays, faults.

Never knows what our client expects: it follows the vendor's documentation and captures, and
where those are silent the harsher reading or a choice by argument. Standard library only.
"""

from __future__ import annotations

import threading
from typing import Any, Deque, Dict, Iterable, List, Mapping, Optional, Tuple

from bridge.clock import Clock, ManualClock
from bridge.sim.shelly_auth import LOCKOUT_AFTER
from bridge.sim.shelly_board import Counters, Written
from bridge.sim.shelly_components import Initial
from bridge.sim.shelly_device import Device
from bridge.sim.shelly_engine import Runner
from bridge.sim.shelly_faults import Faults
from bridge.sim.shelly_relays import Relay
from bridge.sim.shelly_rpc import RpcError
from bridge.sim.shelly_server import Server
from bridge.sim.shelly_system import Identity

TICK_S = 0.05  # how often timers and faults are looked at when nobody calls
OTHER_MAC = "112233445566"

# Components that a service owns (capture of a 1.4.99 thermostat): key, name, unit, range, value.
OWNED: Tuple[Tuple[str, str, str, int, int, float], ...] = (
    ("number:200", "Current humidity",    "%",  0,  100, 59),
    ("number:201", "Current temperature", "°C", 15, 35,  25.5),
    ("number:202", "Target temperature",  "°C", 15, 35,  27),
)


class ShellySim:
    """One simulated device on a port of its own."""

    def __init__(self, clock: Clock, host: str = "127.0.0.1", port: int = 0, gen: int = 2,
                 model: str = "SPSW-202XE16EU", app: str = "Pro2", name: Optional[str] = None,
                 mac: str = "AABBCCDDEEFF", firmware: str = "1.7.4", password: Optional[str] = None,
                 components: Iterable[Initial] = (), other_owner: bool = False, *,
                 script_runner: Optional[Runner] = None, out_of_range: str = "reject", notify: str = "full",
                 lockout_after: int = LOCKOUT_AFTER, latency_s: float = 0.0, boot_s: float = 0.0) -> None:
        """Describe the device; ``start`` opens the port.

        ``components``: "number:200" or captured objects {"key", "config"?, "status"?}; ``other_owner`` adds
        number:200..202 that belong to a service. ``latency_s``: real seconds the device needs for a call.
        ``boot_s``: seconds of the clock that a reboot leaves it off the network.
        """
        given = tuple(components) + (owned_components() if other_owner else ())
        self._clock = clock
        self._boot_s = boot_s
        self._mac = mac
        self.device = Device(clock, Identity(gen, model, app, name, mac, firmware), given, password,
                             script_runner, lockout_after, out_of_range, notify)
        self.device.on_reboot = self._went_down
        self._faults = Faults(clock, self._fault_changed)
        self._server = Server(self.device, self._faults, host, port, latency_s)
        self._second_due: Optional[float] = None
        self._second: Mapping[str, Any] = {}
        self._stopping = threading.Event()
        self._ticker: Optional[threading.Thread] = None

    def start(self) -> "ShellySim":
        """Open the port; raises OSError when it is taken."""
        self._stopping.clear()
        self._server.start()
        self._ticker = threading.Thread(target=self._tick_on, daemon=True)
        self._ticker.start()
        if isinstance(self._clock, ManualClock):
            self._clock.at_tick.append(self.tick)
        return self

    def stop(self) -> None:
        """Close every connection and the port, and end the scripts."""
        if isinstance(self._clock, ManualClock) and self.tick in self._clock.at_tick:
            self._clock.at_tick.remove(self.tick)
        self._stopping.set()
        self._server.stop()
        self.device.scripts.stop_all()
        if self._ticker is not None:
            self._ticker.join()

    def __enter__(self) -> "ShellySim":
        return self.start()

    def __exit__(self, *exc: object) -> None:
        self.stop()

    @property
    def port(self) -> int:
        """Return the port it listens on."""
        return self._server.port

    @property
    def address(self) -> str:
        """Return ``host:port``."""
        return f"{self._server.host}:{self._server.port}"

    @property
    def values(self) -> Dict[int, Any]:
        """Return the current value of each number, by id."""
        components = tuple(self.device.components.by_key.values())
        return {each.config["id"]: each.value for each in components if each.kind == "number"}

    @property
    def history(self) -> Deque[Written]:
        """Return the latest values written: (mono, key, value, source)."""
        return self.device.board.history

    @property
    def counters(self) -> Counters:
        """Return what the device has seen so far."""
        return self.device.board.counters

    @property
    def script_log(self) -> List[str]:
        """Return what the scripts printed."""
        return list(self.device.script_log)

    @property
    def client_replies(self) -> List[Dict[str, Any]]:
        """Return what clients answered to ``ask_clients``."""
        return list(self._server.client_replies)

    def ask_clients(self, number: int, method: str, params: Any = None) -> None:
        """Send each WebSocket client a request of the device's own."""
        self._server.ask_clients(number, method, params)

    def write_as_other(self, key: str, value: Any, source: str = "UI") -> None:
        """Write a component as somebody else does: the web page, an app, a script."""
        self.device.write_as_other(key, value, source)

    def delete(self, key: str) -> None:
        """Delete a component, as somebody does in the web page."""
        self.device.delete(key)

    def press(self, number: int) -> None:
        """Throw the wall switch of an output."""
        self.device.press(number)

    def reboot(self) -> None:
        """Restart the device now; it is off the network for ``boot_s``."""
        self.device.reboot()

    def fault(self, name: str, for_s: Optional[float] = None, count: Optional[int] = None,
              **params: Any) -> None:
        """Switch a fault on (see shelly_faults.FAULTS) until ``for_s``, ``count`` strikes or ``clear``."""
        if name == "ws_drop":
            self._server.drop_sessions(params.get("code"))
            if for_s is None and count is None:
                return
        self._faults.set(name, for_s, count, params)

    def clear(self, name: Optional[str] = None) -> None:
        """Switch one fault off, or all."""
        self._faults.clear(name)

    def tick(self) -> None:
        """Run what is due by the clock; happens by itself, at once with a ManualClock."""
        self._faults.tick()
        self.device.board.tick()
        while self._second_due is not None and self._second_due <= self._clock.monotonic():
            self._second_due += float(self._second.get("period_s", 1.0))
            try:
                self.write_as_other(self._second.get("key", "number:203"), self._second.get("value", 0),
                                    self._second.get("source", "UI"))
            except RpcError:
                return  # what it writes to is gone; it tries again next time

    def _tick_on(self) -> None:
        while not self._stopping.wait(TICK_S):
            self.tick()

    def _went_down(self) -> None:
        self._server.drop_all(reset=True)
        if self._boot_s:
            self._server.refuse()
            self.device.board.after(self._boot_s, self._server.listen)

    def _fault_changed(self, name: str, active: bool, params: Mapping[str, Any]) -> None:
        if name == "offline_refused":
            if active:
                self._server.refuse()
            else:
                self._server.listen()
        if name in ("offline_refused", "offline_reset") and active:
            self._server.drop_all(reset=True)
        elif name == "wrong_mac":
            self.device.become(params.get("mac", OTHER_MAC) if active else self._mac)
            self._server.drop_all(reset=True)
        elif name == "nan":
            self.device.components.nulls = active
        elif name == "relay_reverted":
            after_s = float(params.get("after_s", 1.0))
            self.device.relays.rival = (lambda relay: self._revert(relay, after_s)) if active else None
        elif name == "second_writer":
            self._second = params
            self._second_due = self._clock.monotonic() if active else None

    def _revert(self, relay: Relay, after_s: float) -> None:
        on = relay.on
        self.device.board.after(after_s, lambda: self._undo(relay, on))

    def _undo(self, relay: Relay, on: bool) -> None:
        if relay.on == on:
            self.device.relays.put(relay.number, not on, "SHC")


def owned_components() -> Tuple[Dict[str, Any], ...]:
    """Return three numbers that a service of the device owns, as captured."""
    return tuple(_number(key, name, unit, low, high, "label", owner="service:0", access="cr", value=value)
                 for key, name, unit, low, high, value in OWNED)


def s3_components() -> Tuple[Dict[str, Any], ...]:
    """Return numbers 200..204 and the group that shows them, as an installer would have made them."""
    rows = (("PV", "W", 0, 100_000), ("SOC", "%", 0, 100), ("Battery", "W", -100_000, 100_000),
            ("Grid", "W", -100_000, 100_000), ("Load", "W", 0, 100_000))
    numbers = tuple(_number(f"number:{200 + i}", name, unit, low, high, "label")
                    for i, (name, unit, low, high) in enumerate(rows))
    keys = [number["key"] for number in numbers]
    return numbers + ({"key": "group:200", "config": {"name": "Sigenergy"}, "status": {"value": keys}},)


def _number(key: str, name: str, unit: str, low: float, high: float, view: str, owner: str = "",
            access: str = "*", value: float = 0) -> Dict[str, Any]:
    config = {"name": name, "min": low, "max": high, "default_value": max(low, 0), "persisted": False,
              "owner": owner, "access": access,
              "meta": {"ui": {"view": view, "unit": unit, "step": 1, "icon": ""}, "cloud": ["measurement"]}}
    return {"key": key, "config": config, "status": {"value": value}}
