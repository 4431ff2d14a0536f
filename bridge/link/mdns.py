"""Listens for what Shellys announce by multicast DNS, and asks several times, since one time shows a part.

Never sends anything but the questions, and never waits by itself: the caller decides when to ask again
and when it is enough. Needs the package zeroconf. Facts: shelly.md 3 (services, the second instance under
the user's name since firmware 1.6), RFC 6763.
"""

from __future__ import annotations

import re
from typing import Any, Dict, List, Mapping, NamedTuple, Sequence, Set, Tuple

from bridge.errors import ConfigError, LinkError

SHELLY = "_shelly._tcp.local."
HTTP = "_http._tcp.local."  # what first-generation devices announce; everything else there is not ours
RESOLVE_MS = 500  # an answer usually brings everything with it; this is for the rest
RESOLVE_AT_ONCE = 8  # and it must not hold up a house of 120 devices
DEVICE_ID = re.compile(r"(shelly[a-z0-9]*)-([0-9a-f]{6}|[0-9a-f]{12})", re.IGNORECASE)


class Record(NamedTuple):
    """One announced instance of a service."""

    service: str
    instance: str
    ip: str
    text: Mapping[str, str]


class Announced(NamedTuple):
    """One device: ``name`` is the user's, empty when there is none; ``mac`` of twelve digits or empty."""

    ip: str
    id: str
    mac: str
    name: str
    gen: int
    app: str
    version: str


def devices(records: Sequence[Record]) -> List[Announced]:
    """Return one entry for each device; its two instances, id and user's name, share the address."""
    by_ip: Dict[str, List[Record]] = {}
    for record in records:
        by_ip.setdefault(record.ip, []).append(record)
    found = []
    for ip, group in by_ip.items():
        ids = [record for record in group if DEVICE_ID.fullmatch(record.instance)]
        if not ids and all(record.service != SHELLY for record in group):
            continue  # a printer
        named = [record.instance for record in group if not DEVICE_ID.fullmatch(record.instance)]
        text: Dict[str, str] = {}
        for record in group:
            text.update({key: value for key, value in record.text.items() if value})
        device_id = ids[0].instance.lower() if ids else ""
        serial = device_id.rpartition("-")[2]
        gen = text.get("gen", "")
        found.append(Announced(
            ip, device_id, serial.upper() if len(serial) == 12 else "", named[0] if named else "",
            int(gen) if gen.isdigit() else 1 if "arch" in text else 0, text.get("app", ""),
            text.get("ver", ""),
        ))
    return found


class Browser:
    """A standing question on the local network; ``interfaces`` are our own addresses, none means all."""

    def __init__(self, interfaces: Sequence[str] = ()) -> None:
        self._interfaces = list(interfaces)
        self._zeroconf: Any = None
        self._browsers: List[Any] = []
        self._names: Set[Tuple[str, str]] = set()
        self._records: Dict[Tuple[str, str], Record] = {}

    def ask(self) -> None:
        """Ask everybody, once more with every call; answers gather in the background.

        Raises ConfigError without zeroconf and LinkError when the network cannot be asked.
        """
        try:
            import zeroconf
        except ImportError as error:
            raise ConfigError("mDNS needs the package zeroconf: pip install zeroconf") from error
        try:
            if self._zeroconf is None:
                choice: Any = self._interfaces or zeroconf.InterfaceChoice.All
                self._zeroconf = zeroconf.Zeroconf(interfaces=choice, ip_version=zeroconf.IPVersion.V4Only)
            while self._browsers:
                self._browsers.pop().cancel()
            # A fresh browser asks at once and again after 1, 2, 4 s, and tells what it knows already.
            # Answers to all (QM): one to us alone may end up at another program on 5353, such as avahi.
            self._browsers.append(zeroconf.ServiceBrowser(
                self._zeroconf, [SHELLY, HTTP], handlers=[self._heard],
                question_type=zeroconf.DNSQuestionType.QM,
            ))
        except OSError as error:
            self.close()
            raise LinkError(f"mDNS: cannot ask on this network ({error.strerror or error})") from error

    def found(self) -> List[Announced]:
        """Return every device heard of since the first question; after ``ask``."""
        import zeroconf

        unresolved = 0
        for service, name in sorted(self._names):
            try:
                info = zeroconf.ServiceInfo(service, name)
                if not info.load_from_cache(self._zeroconf):
                    unresolved += 1
                    if (service, name) in self._records or unresolved > RESOLVE_AT_ONCE:
                        continue
                    if not info.request(self._zeroconf, RESOLVE_MS, zeroconf.DNSQuestionType.QM):
                        continue
            except (zeroconf.Error, OSError):
                continue  # somebody announces a name that is none
            addresses = info.parsed_addresses(zeroconf.IPVersion.V4Only)
            if addresses:
                instance = name[:-len(service) - 1]
                self._records[service, name] = Record(service, instance, addresses[0], _text(info.properties))
        return devices(list(self._records.values()))

    def close(self) -> None:
        """Stop listening."""
        while self._browsers:
            self._browsers.pop().cancel()
        if self._zeroconf is not None:
            self._zeroconf.close()
            self._zeroconf = None

    def _heard(self, zeroconf: Any, service_type: str, name: str, state_change: Any) -> None:
        """Note a name; called in zeroconf's thread. One that goes silent stays: it was there."""
        if service_type == SHELLY or name.lower().startswith("shelly"):
            self._names.add((service_type, name))


def _text(properties: Mapping[Any, Any]) -> Dict[str, str]:
    found = {}
    for key, value in properties.items():
        if isinstance(key, bytes) and isinstance(value, bytes):
            found[key.decode("utf-8", "replace")] = value.decode("utf-8", "replace")
    return found
