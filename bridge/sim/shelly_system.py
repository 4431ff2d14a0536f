"""The services every Shelly has: Shelly.*, Sys.* and what GetDeviceInfo tells.

Never writes a value. Facts: vendor pages "Shelly", "Sys", captures; memory figures
are those of a Pro 2PM at 1.7.5. Virtual components are listed by Shelly.GetComponents alone, page by page;
a page ends by size, so that 8 of 10 short-named numbers fit.
"""

from __future__ import annotations

import re
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Tuple

from bridge.sim.shelly_board import Board
from bridge.sim.shelly_components import Components
from bridge.sim.shelly_relays import Relays
from bridge.sim.shelly_rpc import (
    Handler,
    Methods,
    bad_argument,
    boolean,
    dumps,
    integer,
    mapping,
    string,
    strings,
)
from bridge.sim.shelly_scripts import Scripts

PAGE_BYTES = 2_300  # of components JSON; eight captured-size numbers are about 2,200
RAM_TOTAL, RAM_FREE, RAM_MIN_FREE = 260_968, 79_000, 42_616
REBOOT_MS = 1_000
MIN_REBOOT_MS = 500
# Version: build stamp as in fw_id. 1.7.5 is a capture; the others carry their release day.
BUILDS: Mapping[str, str] = {
    "1.7.4": "20260127-000000", "1.7.5": "20260311-095848",
    "2.0.0": "20260713-000000", "2.0.1": "20260923-000000",
}
OTHER_BUILD = "20250601-000000"
# First firmware with virtual components, by generation; Gen2 means Pro only.
VIRTUAL_SINCE: Mapping[int, Tuple[int, ...]] = {2: (1, 4, 0), 3: (1, 1, 0), 4: (1, 1, 0)}


class Identity:
    """What a device says it is; name and mac may change."""

    def __init__(self, gen: int, model: str, app: str, name: Optional[str], mac: str, firmware: str) -> None:
        self.gen = gen
        self.model = model
        self.app = app
        self.name = name
        self.mac = mac.upper()
        self.firmware = firmware

    @property
    def id(self) -> str:
        """Return the device id, as in ``shellypro2-aabbccddeeff``."""
        return f"shelly{self.app.lower()}-{self.mac.lower()}"

    @property
    def fw_id(self) -> str:
        """Return the build, as in ``20260311-095848/1.7.5-g9979d16``."""
        return f"{BUILDS.get(self.firmware, OTHER_BUILD)}/{self.firmware}-g0000000"

    @property
    def version(self) -> Tuple[int, ...]:
        """Return the firmware version as numbers."""
        return tuple(int(part) for part in re.findall(r"\d+", self.firmware)[:3])

    @property
    def virtual(self) -> bool:
        """Say whether this model and firmware have virtual components."""
        pro = self.gen > 2 or self.app.startswith("Pro")
        return pro and self.version >= VIRTUAL_SINCE.get(self.gen, (99,))


class Parts(NamedTuple):
    """What a device is made of."""

    identity: Identity
    board: Board
    components: Components
    relays: Relays
    scripts: Scripts


class System:
    """Shelly.* and Sys.* of one device."""

    def __init__(self, parts: Parts, methods: Methods, reboot_in: Callable[[float], None],
                 set_ha1: Callable[[Optional[str]], None], protected: Callable[[], bool]) -> None:
        self._parts = parts
        self._methods = methods
        self._reboot_in = reboot_in
        self._set_ha1 = set_ha1
        self._protected = protected

    def methods(self) -> Dict[str, Handler]:
        """Return the RPC methods, by their documented names."""
        return {
            "Shelly.GetDeviceInfo": lambda params, origin: self.device_info(),
            "Shelly.ListMethods": lambda params, origin: {"methods": self._methods.names()},
            "Shelly.GetStatus": lambda params, origin: self._statuses(),
            "Shelly.GetConfig": lambda params, origin: self._configs(),
            "Shelly.GetComponents": self._rpc_get_components,
            "Shelly.Reboot": self._rpc_reboot,
            "Shelly.SetAuth": self._rpc_set_auth,
            "Sys.GetStatus": lambda params, origin: self._sys_status(),
            "Sys.GetConfig": lambda params, origin: self._sys_config(),
            "Sys.SetConfig": self._rpc_sys_set_config,
        }

    def device_info(self) -> Dict[str, Any]:
        """Return what GET /shelly and Shelly.GetDeviceInfo tell; open to everybody."""
        me = self._parts.identity
        protected = self._protected()
        return {
            "name": me.name, "id": me.id, "mac": me.mac, "slot": 1, "model": me.model, "gen": me.gen,
            "fw_id": me.fw_id, "ver": me.firmware, "app": me.app, "auth_en": protected,
            "auth_domain": me.id if protected else None,
        }

    def _sys_status(self) -> Dict[str, Any]:
        board = self._parts.board
        now = board.clock.now()
        minute_of_day = int(now) // 60 % 1440
        return {
            "mac": self._parts.identity.mac, "restart_required": False,
            "time": f"{minute_of_day // 60:02d}:{minute_of_day % 60:02d}", "unixtime": int(now),
            "uptime": int(board.uptime_s()), "ram_size": RAM_TOTAL, "ram_free": RAM_FREE,
            "ram_min_free": RAM_MIN_FREE, "cfg_rev": board.cfg_rev, "kvs_rev": 0, "schedule_rev": 0,
            "webhook_rev": 0, "available_updates": {}, "reset_reason": 3 if board.counters.reboots else 1,
        }

    def _sys_config(self) -> Dict[str, Any]:
        me = self._parts.identity
        return {
            "device": {"name": me.name, "mac": me.mac, "fw_id": me.fw_id, "discoverable": True},
            "location": {"tz": "UTC", "lat": None, "lon": None}, "ui_data": {},
            "rpc_udp": {"dst_addr": None, "listen_port": None}, "sntp": {"server": "time.google.com"},
            "cfg_rev": self._parts.board.cfg_rev,
        }

    def _statuses(self) -> Dict[str, Any]:
        scripts = {f"script:{s.number}": s.status() for s in self._parts.scripts.by_id.values()}
        return {"sys": self._sys_status(), "cloud": {"connected": False}, "mqtt": {"connected": False},
                "ws": {"connected": False}, **self._parts.relays.statuses(), **scripts}

    def _configs(self) -> Dict[str, Any]:
        scripts = {f"script:{s.number}": s.config() for s in self._parts.scripts.by_id.values()}
        return {"sys": self._sys_config(), "cloud": {"enable": False}, "mqtt": {"enable": False},
                "ws": {"enable": False}, **self._parts.relays.configs(), **scripts}

    def _rpc_get_components(self, params: Dict[str, Any], origin: str) -> Any:
        dynamic_only = boolean(params, "dynamic_only", False)
        keys = strings(params, "keys")
        include = strings(params, "include")
        offset = integer(params, "offset", 0)
        if include is None:  # aioshelly sends none with dynamic_only and finds both in the answer
            include = ["status", "config"] if dynamic_only else []
        found = self._described([] if dynamic_only else self._fixed())
        if keys is not None:
            found = [item for item in found if item["key"] in keys]
        trimmed = [{name: value for name, value in item.items() if name == "key" or name in include}
                   for item in found]
        return {"components": _page(trimmed[offset:]), "cfg_rev": self._parts.board.cfg_rev, "offset": offset,
                "total": len(trimmed)}

    def _fixed(self) -> List[Dict[str, Any]]:
        statuses, configs = self._statuses(), self._configs()
        return [{"key": key, "status": statuses[key], "config": configs[key]} for key in statuses]

    def _described(self, fixed: List[Dict[str, Any]]) -> List[Dict[str, Any]]:
        components = self._parts.components
        return fixed + [{"key": each.key, "status": components.status_of(each), "config": each.config}
                        for each in components.by_key.values()]

    def _rpc_reboot(self, params: Dict[str, Any], origin: str) -> None:
        delay_ms = integer(params, "delay_ms", REBOOT_MS)
        if delay_ms < MIN_REBOOT_MS:
            raise bad_argument("delay_ms")
        self._reboot_in(delay_ms / 1000.0)

    def _rpc_set_auth(self, params: Dict[str, Any], origin: str) -> None:
        if string(params, "user") != "admin" or string(params, "realm") != self._parts.identity.id:
            raise bad_argument("realm")
        ha1 = params.get("ha1")
        if ha1 is not None and not isinstance(ha1, str):
            raise bad_argument("ha1")
        self._set_ha1(ha1)
        self._parts.board.flash()

    def _rpc_sys_set_config(self, params: Dict[str, Any], origin: str) -> Any:
        device = mapping(params, "config").get("device", {})
        if "name" in device:
            if device["name"] is not None and not isinstance(device["name"], str):
                raise bad_argument("name")
            self._parts.identity.name = device["name"]
        return self._parts.board.config_changed("sys")


def _page(items: List[Dict[str, Any]]) -> List[Dict[str, Any]]:
    """Return as many items as fit one answer, at least one."""
    size = 0
    for count, item in enumerate(items):
        size += len(dumps(item))
        if size > PAGE_BYTES and count:
            return items[:count]
    return items
