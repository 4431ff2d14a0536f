"""Looks at this machine and at the running bridge for doctor: files, modules, one local question.

Never writes a file and never judges: diagnosis_host does. Paths are looked up below ``root``, so that a
mounted image of another machine, or a test's fixture, can be looked at too.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from typing import Dict, List, Sequence, Tuple

from bridge.clock import Clock
from bridge.control.diagnosis_host import BridgeSeen, MachineSeen, Module
from bridge.errors import LinkError, LinkTimeout, PeerError
from bridge.link.bridge_http import get_json

OPENWRT_MARK = "etc/openwrt_release"
FLASH_KINDS = ("jffs2", "ubifs", "overlay", "squashfs", "f2fs")  # what a router's flash is mounted as
ASK_S = 1.0  # the bridge answers from memory
STATE_FILES = ("openapi-limits.json", "openapi-token.json", "openapi-login.json", "openapi-spelling.json",
               "sigen-mqtt.json")


def look_at_machine(
    root: str, state_path: str, needed: Sequence[Module], websocket_wanted: bool, clock: Clock,
) -> MachineSeen:
    """Return what this machine has of what the settings need."""
    return MachineSeen(
        python=(sys.version_info[0], sys.version_info[1]),
        missing=tuple(module for module in needed if not has(module.name)),
        websocket=not websocket_wanted or has("websocket"),
        clock_synced=clock.synced(),
        state_path=state_path,
        state_writable=writable(state_path),
        flash=on_flash(root, state_path),
        damaged=tuple(damaged(state_path)),
    )


def has(module: str) -> bool:
    """Say whether a Python module can be imported, without importing it."""
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False


def writable(path: str) -> bool:
    """Say whether a directory can be written, or made when it is not there yet; writes nothing."""
    while not os.path.exists(path):
        path, last = os.path.dirname(path), path
        if path == last:
            return False
    return os.path.isdir(path) and os.access(path, os.W_OK | os.X_OK)


def on_flash(root: str, path: str) -> bool:
    """Say whether this is an OpenWrt router and ``path`` is not in its memory."""
    if not os.path.exists(os.path.join(root, OPENWRT_MARK)):
        return False
    path = os.path.realpath(path)
    best, kind = "", ""
    for line in _lines(os.path.join(root, "proc/mounts")):
        fields = line.split()
        if len(fields) > 2 and _below(path, fields[1]) and len(fields[1]) >= len(best):
            best, kind = fields[1], fields[2]
    return kind in FLASH_KINDS


def _below(path: str, mount: str) -> bool:
    return path == mount or path.startswith(mount.rstrip("/") + "/")


def damaged(path: str) -> List[str]:
    """Return the state files that are there and cannot be read as JSON."""
    found = []
    for name in STATE_FILES:
        full = os.path.join(path, name)
        if not os.path.exists(full):
            continue
        try:
            with open(full, encoding="utf-8") as handle:
                json.load(handle)
        except (OSError, ValueError):
            found.append(full)
    return found


def neighbours(root: str) -> Dict[str, str]:
    """Return MAC by IP address from the neighbour table and, on a router, from the DHCP leases."""
    found: Dict[str, str] = {}
    for line in _lines(os.path.join(root, "tmp/dhcp.leases")):
        fields = line.split()
        if len(fields) >= 3:
            found[fields[2]] = fields[1].upper()
    for line in _lines(os.path.join(root, "proc/net/arp"))[1:]:
        fields = line.split()
        if len(fields) >= 4 and fields[3] != "00:00:00:00:00:00":
            found[fields[0]] = fields[3].upper()
    return found


def _lines(path: str) -> List[str]:
    try:
        with open(path, encoding="utf-8", errors="replace") as handle:
            return handle.read().splitlines()
    except OSError:
        return []


def look_at_bridge(listen: str, token: str) -> BridgeSeen:
    """Ask the bridge that runs with these settings, if one does, how it is."""
    if listen == "off":
        return BridgeSeen("off", listen)
    host, _, port = listen.rpartition(":")
    address = f"{'127.0.0.1' if host in ('0.0.0.0', '', '[::]') else host}:{port}"
    try:
        health = get_json(address, "/healthz", ASK_S, token)
        if "version" not in health or "cycles" not in health:
            return BridgeSeen("foreign", address)
        snapshot = get_json(address, "/v1/snapshot", ASK_S, token)
    except LinkTimeout:
        return BridgeSeen("silent", address)
    except LinkError:
        return BridgeSeen("absent", address)
    except PeerError as error:
        return BridgeSeen("token" if "token" in str(error) else "foreign", address)
    return BridgeSeen("answers", address, health, snapshot)


def modules_for(uses: Dict[str, bool]) -> Tuple[Module, ...]:
    """Return the modules that are needed when the named uses apply."""
    return tuple(module for use, module in MODULES if uses.get(use))


MODULES = (
    ("serial", Module("serial", "pyserial", "sigen-bridge-rs485", "modbus.serial")),
    ("pymodbus", Module("pymodbus", "pymodbus", "sigen-bridge-rs485", "modbus.engine = pymodbus")),
    ("ws", Module("websocket", "websocket-client", "sigen-bridge", "shelly.transport = ws")),
    ("cloud", Module("bridge.wiring_cloud", "the whole of sigen-bridge", "sigen-bridge-cloud", "cloud access")),
    ("cloud", Module("requests", "requests", "sigen-bridge-cloud", "cloud access")),
    ("cloud", Module("ssl", "a Python with ssl", "python3-openssl", "cloud access")),
    ("mqtt", Module("bridge.wiring_mqtt", "the whole of sigen-bridge", "sigen-bridge-mqtt", "mqtt.host")),
    ("mqtt", Module("paho", "paho-mqtt", "sigen-bridge-mqtt", "mqtt.host")),
    ("account", Module("Crypto", "pycryptodome", "python3-cryptodome", "cloud.password")),
)
