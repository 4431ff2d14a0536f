"""Who is on the local network, from what this machine has written down: DHCP leases, ARP table, routes.

Never sends a packet and never opens a socket: everything here is read from files, and where the ARP
table cannot be read, from ``ip neigh``. The only reader of these files.
Formats: dnsmasq "lease file" (expiry MAC address hostname client-id), proc(5) net/arp and net/route.
"""

from __future__ import annotations

import ipaddress
import os
import re
import subprocess
from typing import Callable, FrozenSet, List, NamedTuple, Optional, Sequence

OPENWRT_LEASES = "/tmp/dhcp.leases"
LEASE_FILES = (OPENWRT_LEASES, "/var/lib/misc/dnsmasq.leases", "/etc/pihole/dhcp.leases")
ARP_FILE = "/proc/net/arp"
ROUTE_FILE = "/proc/net/route"
IP_COMMAND_TIMEOUT_S = 3.0  # it reads a kernel table; longer means that the machine is ill

COMPLETE = 0x2  # ATF_COM: the kernel knows this neighbour's MAC
MAC = re.compile(r"(?:[0-9a-f]{2}:){5}[0-9a-f]{2}", re.IGNORECASE)
NO_MAC = "00:00:00:00:00:00"
# Where discovery may knock. RFC 1918 and this machine itself; not what Python calls private, which is more.
HOME_NETWORKS = tuple(
    ipaddress.IPv4Network(net) for net in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "127.0.0.0/8")
)


class Seen(NamedTuple):
    """One entry of a table: MAC in capitals with colons, IPv4 address, host name and interface if known."""

    mac: str
    ip: str
    hostname: str
    device: str
    by: str


def is_home_address(ip: str) -> bool:
    """Say whether an IPv4 address is one of a home network (RFC 1918) or of this machine."""
    try:
        address = ipaddress.IPv4Address(ip)
    except ValueError:
        return False
    return any(address in net for net in HOME_NETWORKS)


def ip_neigh() -> str:
    """Return what ``ip -4 neigh`` prints; empty where there is no such command."""
    try:
        done = subprocess.run(["ip", "-4", "neigh", "show"], capture_output=True, text=True, check=False,
                              stdin=subprocess.DEVNULL, timeout=IP_COMMAND_TIMEOUT_S)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""


class Neighbourhood:
    """The tables of this machine, or copies of them."""

    def __init__(
        self, lease_files: Sequence[str] = LEASE_FILES, arp_file: Optional[str] = ARP_FILE,
        route_file: Optional[str] = ROUTE_FILE, ask_ip: Optional[Callable[[], str]] = ip_neigh,
    ) -> None:
        self._lease_files = tuple(lease_files)
        self._arp_file = arp_file
        self._route_file = route_file
        self._ask_ip = ask_ip

    def hands_out_addresses(self) -> bool:
        """Say whether this machine is the network's DHCP server, so that its leases name every device.

        An empty list counts only where the router keeps it, first in the list; elsewhere a dnsmasq
        that serves names alone leaves an empty one.
        """
        return bool(self.leases()) or any(os.path.exists(path) for path in self._lease_files[:1])

    def leases(self) -> List[Seen]:
        """Return the leases, one for each MAC, in the order of the file."""
        found = {}
        for path in self._lease_files:
            for line in _lines(path) or ():
                words = line.split()
                if len(words) < 4 or not MAC.fullmatch(words[1]) or not _is_ipv4(words[2]):
                    continue  # a header, an IPv6 lease, or half a line
                mac = words[1].upper()
                found[mac] = Seen(mac, words[2], "" if words[3] == "*" else words[3], "", "lease")
        return list(found.values())

    def neighbours(self) -> List[Seen]:
        """Return the machines that this one has exchanged packets with lately."""
        if self._arp_file is None:
            return []
        table = _lines(self._arp_file)
        if table is not None:
            return _arp(table)
        return [] if self._ask_ip is None else _neigh(self._ask_ip().splitlines())

    def uplinks(self) -> FrozenSet[str]:
        """Return the interfaces that lead to the internet."""
        return frozenset(row.device for row in self._routes() if row.net.prefixlen == 0)

    def networks(self) -> List[ipaddress.IPv4Network]:
        """Return the home networks that this machine is on, the likeliest to be the house's alone.

        On the machine that hands out addresses these are the ones that do not lead to the internet,
        on any other machine those that do: not a container's or a virtual machine's bridge.
        """
        uplinks = self.uplinks()
        direct = [row for row in self._routes() if row.direct and 0 < row.net.prefixlen < 31]
        if self.hands_out_addresses():
            chosen = [row for row in direct if row.device not in uplinks]
        else:
            chosen = [row for row in direct if row.device in uplinks] or direct
        nets = [row.net for row in chosen if is_home_address(str(row.net.network_address))]
        return list(dict.fromkeys(nets))

    def _routes(self) -> List[_Route]:
        rows = []
        for line in (_lines(self._route_file) or ()) if self._route_file else ():
            words = line.split()
            if len(words) < 8 or len(words[1]) != 8 or len(words[7]) != 8 or words[0] == "lo":
                continue
            try:
                net = ipaddress.IPv4Network((_little_endian(words[1]), str(_little_endian(words[7]))))
            except ValueError:
                continue
            rows.append(_Route(words[0], net, words[2] == "00000000"))
        return rows


class _Route(NamedTuple):
    device: str
    net: ipaddress.IPv4Network
    direct: bool


def _lines(path: str) -> Optional[List[str]]:
    """Return the lines of a file, or None when it cannot be read."""
    try:
        with open(path, encoding="utf-8", errors="replace") as handle:
            return handle.read().splitlines()
    except OSError:
        return None


def _is_ipv4(text: str) -> bool:
    try:
        ipaddress.IPv4Address(text)
    except ValueError:
        return False
    return True


def _arp(table: Sequence[str]) -> List[Seen]:
    found = []
    for line in table[1:]:
        words = line.split()
        if len(words) != 6 or not _is_ipv4(words[0]) or not MAC.fullmatch(words[3]) or words[3] == NO_MAC:
            continue
        if int(words[2], 16) & COMPLETE:
            found.append(Seen(words[3].upper(), words[0], "", words[5], "neighbour"))
    return found


def _neigh(table: Sequence[str]) -> List[Seen]:
    found = []
    for line in table:
        words = line.split()
        pairs = dict(zip(words[1::2], words[2::2]))
        mac = pairs.get("lladdr", "")
        if words and _is_ipv4(words[0]) and MAC.fullmatch(mac) and mac != NO_MAC and words[-1] != "FAILED":
            found.append(Seen(mac.upper(), words[0], "", pairs.get("dev", ""), "neighbour"))
    return found


def _little_endian(word: str) -> ipaddress.IPv4Address:
    return ipaddress.IPv4Address(bytes.fromhex(word)[::-1])
