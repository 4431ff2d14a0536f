"""What the tables, mDNS and the devices themselves say, put together into a list of devices.

Never asks anybody. One device is one MAC address, whatever roads it was found by. Facts: MAC prefixes
from the manifest of Sigenergy-Local-Modbus; models with virtual components from shelly.md 1.6.
"""

from __future__ import annotations

import re
from typing import Dict, Iterable, List, NamedTuple, Optional, Sequence, Tuple

from bridge.link.mdns import Announced
from bridge.link.neighbours import Seen
from bridge.peers.shelly_identity import Identity
from bridge.sources.confirm import REACHABLE, Verdict
from bridge.values import plain_mac

# Gateways and inverters alike: what is behind a prefix, only the reading tells.
SIGENERGY_MACS = ("0C47A99", "BC3198D")
HTTP_PORT, MODBUS_PORT = 80, 502
FIVE_NUMBERS = 5
NAMED_AT_MOST = 8
PRO_FROM = (1, 4)  # virtual components on Gen2 Pro; Gen3 had them a little earlier
TWO_ON_THE_LAN = (
    "two Sigenergy devices are on this network ({where}). Only the gateway belongs there: an inverter with"
    " a network cable of its own causes daily dropouts, so unplug that cable. (If both are one device, by"
    " cable and by Wi-Fi, use one of the two.)"
)


class Plant(NamedTuple):
    """A Sigenergy device: gateway or inverter. ``verdict`` is None before it was asked."""

    ip: str
    mac: str
    hostname: str
    by: str
    verdict: Optional[Verdict]

    @property
    def reachable(self) -> bool:
        """True when its grid register was read."""
        return self.verdict is not None and self.verdict.state == REACHABLE


class Shelly(NamedTuple):
    """A Shelly; empty or None is what nobody has said. ``nick`` is the name the device itself tells."""

    ip: str
    mac: str = ""
    id: str = ""
    announced: str = ""
    nick: str = ""
    hostname: str = ""
    model: str = ""
    app: str = ""
    gen: int = 0
    version: str = ""
    auth: Optional[bool] = None
    free: Optional[int] = None

    @property
    def name(self) -> str:
        """Return the user's name (mDNS, then the device's own word), else the id, else what is left."""
        return self.announced or self.nick or self.id or self.hostname or self.ip

    @property
    def able(self) -> Optional[bool]:
        """Say whether it can have virtual components; None when too little is known."""
        return virtual_components(self.gen, self.app, self.id, self.version)


def is_sigenergy(mac: str) -> bool:
    """Say whether a MAC address is one of Sigenergy's."""
    return plain_mac(mac).startswith(SIGENERGY_MACS)


def one_per_mac(seen: Iterable[Seen]) -> List[Seen]:
    """Return one entry for each MAC.

    A lease knows the name; where the neighbour table has the MAC at other addresses only, the device has
    moved or has a fixed address, and the table is right.
    """
    leases: Dict[str, Seen] = {}
    heard: Dict[str, List[Seen]] = {}
    order: Dict[str, None] = {}
    for entry in seen:
        order[entry.mac] = None
        if entry.by == "lease":
            leases[entry.mac] = entry
        else:
            heard.setdefault(entry.mac, []).append(entry)
    found = []
    for mac in order:
        lease, present = leases.get(mac), heard.get(mac, [])
        if lease is None:
            found.append(present[0])
        elif not present:
            found.append(lease)
        else:
            here = next((entry for entry in present if entry.ip == lease.ip), present[0])
            by = "lease" if here.ip == lease.ip else here.by
            found.append(here._replace(hostname=lease.hostname, by=by))
    return found


def plants_in(seen: Sequence[Seen]) -> List[Plant]:
    """Return the Sigenergy devices among the machines of the tables, by their MAC alone."""
    return [Plant(each.ip, each.mac, each.hostname, each.by, None) for each in one_per_mac(seen)
            if is_sigenergy(each.mac)]


def warnings(plants: Sequence[Plant]) -> List[str]:
    """Return what the owner should know of these plants."""
    known = {plant.mac: plant for plant in plants if is_sigenergy(plant.mac)}
    if len(known) < 2:
        return []
    where = ", ".join(f"{plant.ip} {plant.mac}" for plant in known.values())
    return [TWO_ON_THE_LAN.format(where=where)]


def virtual_components(gen: int, app: str, device_id: str, version: str) -> Optional[bool]:
    """Apply the vendor's rule: Gen3, Gen4 or Gen2 Pro, firmware 1.4 or later; None when unknown."""
    if gen == 0:
        return None
    if gen == 1:
        return False
    pro = app.startswith("Pro") or device_id.startswith("shellypro")
    if gen == 2 and not pro:
        return False if app or device_id else None
    numbers = re.match(r"(\d+)\.(\d+)", version)
    return None if numbers is None else (int(numbers[1]), int(numbers[2])) >= PRO_FROM


def from_table(seen: Seen) -> Shelly:
    """Return what a lease or neighbour entry says of a Shelly."""
    return Shelly(seen.ip, plain_mac(seen.mac), hostname=seen.hostname)


def from_mdns(said: Announced) -> Shelly:
    """Return what a device's announcements say."""
    return Shelly(said.ip, said.mac, said.id, said.name, gen=said.gen, app=said.app, version=said.version)


def from_http(ip: str, who: Identity, free: Optional[int]) -> Shelly:
    """Return what a device says of itself."""
    return Shelly(ip, plain_mac(who.mac), who.id, "", who.name, "", who.model, who.app, who.gen, who.version,
                  who.auth, free)


def union(findings: Iterable[Shelly]) -> List[Shelly]:
    """Return one entry for each device, by MAC where it is known, else by address; later ones know better."""
    ordered = list(findings)
    mac_at = {each.ip: each.mac for each in ordered if each.mac}
    merged: Dict[str, Shelly] = {}
    for each in ordered:
        key = each.mac or mac_at.get(each.ip) or each.ip
        known = merged.get(key)
        merged[key] = each if known is None else _combined(known, each)
    return sorted(merged.values(), key=lambda each: (each.name.lower(), each.ip))


def _combined(known: Shelly, news: Shelly) -> Shelly:
    """Return what is known with what is new put over it; nothing said changes nothing."""
    said = {field: value for field, value in news._asdict().items() if value is not None and value != ""}
    if not news.gen:
        said.pop("gen")
    return known._replace(**said)


def plant_choice(plants: Sequence[Plant], wish: str, configured: str) -> Tuple[Optional[Plant], str]:
    """Return the plant for the configuration, or why there is none (empty when none answers)."""
    usable = [plant for plant in plants if plant.reachable]
    if wish:
        chosen = [plant for plant in plants if plant.ip == wish]
        return (chosen[0], "") if chosen else (None, f"there is no plant at {wish}")
    kept = [plant for plant in usable if plant.ip == configured]
    if len(usable) > 1 and not kept:
        where = ", ".join(plant.ip for plant in usable)
        return None, f"{len(usable)} plants answer ({where}): say which one with --host ADDRESS"
    return ((kept or usable)[0], "") if usable else (None, "")


def shelly_choice(shellys: Sequence[Shelly], wish: str, configured: str) -> Tuple[Optional[Shelly], str]:
    """Return the Shelly for the configuration, or why there is none (empty when none would do).

    ``configured`` is the MAC or address of the one in use.
    """
    if wish:
        chosen = [each for each in shellys if each.ip == wish]
        return (chosen[0], "") if chosen else (None, f"there is no Shelly at {wish}")
    kept = [each for each in shellys if configured and configured in (each.ip, each.mac)]
    roomy = [each for each in shellys if each.able and (each.free is None or each.free >= FIVE_NUMBERS)]
    usable = kept or roomy
    if len(usable) > 1:
        names = ", ".join(f"{each.name} {each.ip}" for each in usable[:NAMED_AT_MOST])
        more = f" and {len(usable) - NAMED_AT_MOST} more" if len(usable) > NAMED_AT_MOST else ""
        return None, (f"{len(usable)} Shellys could show the numbers ({names}{more}):"
                      " say which one with --shelly-host ADDRESS")
    return (usable[0], "") if usable else (None, "")


def found_settings(plant: Optional[Plant], plant_port: int, shelly: Optional[Shelly], shelly_port: int,
                   ) -> Dict[str, str]:
    """Return the settings that a plant and a Shelly stand for, by "section.name"."""
    found: Dict[str, str] = {}
    if plant is not None:
        found["modbus.host"] = plant.ip
        if plant_port != MODBUS_PORT:
            found["modbus.port"] = str(plant_port)
    if shelly is not None:
        found["shelly.host"] = shelly.ip if shelly_port == HTTP_PORT else f"{shelly.ip}:{shelly_port}"
        if shelly.mac:
            found["shelly.mac"] = shelly.mac
    return found
