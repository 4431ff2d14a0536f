"""The search for plant and Shellys: first what this machine knows, then one question to whom it concerns.

Never sends a packet before the tables are read, never asks the same device twice unless it moved, and never
knocks outside home networks. How to ask is handed in; this module decides whom and in which order.
"""

from __future__ import annotations

from typing import Callable, Dict, FrozenSet, List, NamedTuple, Optional, Protocol, Sequence, Set, Tuple

from bridge.clock import Clock
from bridge.control.discovery import (
    Plant,
    Shelly,
    from_http,
    from_mdns,
    from_table,
    is_sigenergy,
    plants_in,
    union,
)
from bridge.link.dial import split_host
from bridge.link.lan import LanHttp
from bridge.link.mdns import Announced
from bridge.link.modbus import BuiltinLink
from bridge.link.modbus_tcp import TcpWire
from bridge.link.neighbours import Neighbourhood, Seen, is_home_address
from bridge.link.sweep import each, open_ports
from bridge.peers.shelly_identity import configured_name, free_slots, identify
from bridge.registers import Vendor
from bridge.sources.confirm import Verdict, confirm

ROUND_S = 2.0  # between two mDNS questions; known answers are told along, so that the rest get through
ROUNDS_AT_LEAST = 3  # the third device of three was seen to answer after more than 3 s
QUIET_ROUNDS = 2  # rounds without news that mean that nobody is left
ROUNDS_AT_MOST = 12
CONFIRM_TIMEOUT_S = 2.0  # a first answer may take its time, and "silent" is a grave word

Tell = Callable[[str, int, int, int], None]  # what is being done, asked, of how many, found so far


class Mdns(Protocol):
    """What the search needs of bridge.link.mdns.Browser."""

    def ask(self) -> None: ...

    def found(self) -> List[Announced]: ...


class Ways(NamedTuple):
    """How to ask: a plant at an address, a Shelly at an address, and which ports of an address are open."""

    plant: Callable[[str], Verdict]
    shelly: Callable[[str], Optional[Shelly]]
    knock: Callable[[str, Sequence[int]], FrozenSet[int]]
    plant_port: int
    shelly_port: int


class Search:
    """What has been found so far; ``look`` may be repeated and asks newcomers only."""

    def __init__(self, tables: Neighbourhood, ways: Ways, clock: Clock, tell: Tell,
                 wanted: Callable[[str], bool] = is_home_address, for_plants: bool = True) -> None:
        self.plants: List[Plant] = []
        self._tables = tables
        self._ways = ways
        self._clock = clock
        self._tell = tell
        self._wanted = wanted
        self._for_plants = for_plants
        self._told: List[Shelly] = []  # by the devices themselves
        self._heard: Dict[str, Shelly] = {}  # by mDNS, at each address
        self._asked: Set[Tuple[str, str]] = set()
        self._called: Optional[float] = None

    @property
    def shellys(self) -> List[Shelly]:
        """Return the Shellys found so far, one entry a device."""
        names = {seen.ip: from_table(seen) for seen in self._seen() if seen.hostname}
        known = self._told + list(self._heard.values())
        places = {shelly.ip for shelly in known}
        return union([*(names[ip] for ip in sorted(places & set(names))), *self._heard.values(), *self._told])

    @property
    def answers(self) -> int:
        """Return how many answers devices have given so far; what came after is ``answered(answers)``."""
        return len(self._told)

    def answered(self, since: int = 0) -> List[Shelly]:
        """Return the Shellys that have answered themselves, by all that is known of them."""
        macs = {shelly.mac for shelly in self._told[since:]}
        return [shelly for shelly in self.shellys if shelly.mac in macs]

    def tables_only(self) -> List[Plant]:
        """Return the Sigenergy devices that this machine has written down; sends nothing."""
        return [plant for plant in plants_in(self._seen()) if self._wanted(plant.ip)]

    def look(self, hosts: Sequence[str] = ()) -> None:
        """Ask everybody in the tables, then sweep ``hosts``."""
        if self._for_plants:
            self._ask_plants(self.tables_only())
        self._ask_shellys([seen.ip for seen in self._near()])
        if hosts:
            self._sweep(hosts)

    def ask(self, hosts: Sequence[str]) -> None:
        """Ask these addresses, given by the user, who is there."""
        self._ask_shellys(hosts)

    def call_out(self, mdns: Mdns) -> None:
        """Ask by mDNS without waiting: answers gather while others are asked; ``listen`` takes them in."""
        mdns.ask()
        self._called = self._clock.monotonic()

    def listen(self, mdns: Mdns, once: bool = False) -> None:
        """Ask by mDNS until nobody new answers, and each newcomer who it is."""
        quiet = rounds = 0
        asked: Set[str] = set()
        while rounds < (1 if once else ROUNDS_AT_MOST):
            begun = self._clock.monotonic()
            mdns.ask()
            self._ask_shellys(sorted(set(self._heard) - asked))  # while answers to this question come in
            asked |= set(self._heard)
            if self._clock.wait(max(0.0, begun + ROUND_S - self._clock.monotonic())):
                return
            known = set(self._heard) | {shelly.ip for shelly in self._told}
            self._heard.update({said.ip: from_mdns(said) for said in mdns.found() if self._wanted(said.ip)})
            rounds += 1
            quiet = quiet + 1 if known.issuperset(self._heard) else 0
            self._tell("mDNS questions", rounds, ROUNDS_AT_MOST, len(self._heard))
            if quiet >= QUIET_ROUNDS and (rounds >= ROUNDS_AT_LEAST or self._called_long_ago()):
                break
        self._ask_shellys(sorted(set(self._heard) - asked))

    def _called_long_ago(self) -> bool:
        return self._called is not None and self._clock.monotonic() - self._called >= ROUNDS_AT_LEAST * ROUND_S

    def _seen(self) -> List[Seen]:
        return [*self._tables.leases(), *self._tables.neighbours()]

    def _near(self) -> List[Seen]:
        """Return who may be a Shelly: not the provider's side of a router, and not the plant."""
        foreign = self._tables.uplinks() if self._tables.hands_out_addresses() else frozenset()
        near = [seen for seen in self._seen() if self._wanted(seen.ip) and not is_sigenergy(seen.mac)
                and (not seen.device or seen.device not in foreign)]
        return sorted(near, key=lambda seen: not _named_shelly(seen))

    def _ask_plants(self, plants: Sequence[Plant]) -> None:
        news = [plant for plant in plants if self._is_new("plant", f"{plant.ip} {plant.mac}")]
        asked = each(
            news, lambda plant: plant._replace(verdict=self._ways.plant(plant.ip)),
            lambda done, total, found: self._tell("plants", done, total, found),
        )
        places = {plant.mac or plant.ip for plant in asked}
        self.plants = [plant for plant in self.plants if (plant.mac or plant.ip) not in places] + asked

    def _ask_shellys(self, hosts: Sequence[str]) -> None:
        macs = {seen.ip: seen.mac for seen in self._seen()}
        news = [ip for ip in dict.fromkeys(hosts) if self._is_new("shelly", f"{ip} {macs.get(ip, '')}")]
        if not news:
            return
        told = each(
            news, self._ways.shelly,
            lambda done, total, found: self._tell("Shellys", done, total, found),
        )
        self._told += told
        # One that calls itself a Shelly and does not answer may be starting; the others are not asked again.
        hopeful = set(self._heard) | {seen.ip for seen in self._seen() if _named_shelly(seen)}
        for ip in hopeful.intersection(news) - {shelly.ip for shelly in told}:
            self._asked.discard(("shelly", f"{ip} {macs.get(ip, '')}"))

    def _sweep(self, hosts: Sequence[str]) -> None:
        ports = (self._ways.plant_port, self._ways.shelly_port)[0 if self._for_plants else 1:]

        def knock(ip: str) -> Optional[Tuple[str, FrozenSet[int]]]:
            opened = self._ways.knock(ip, ports)
            return (ip, opened) if opened else None

        answered = each(hosts, knock, lambda done, total, found: self._tell("addresses", done, total, found))
        known = {plant.ip for plant in self.plants}
        macs = {seen.ip: seen.mac for seen in self._tables.neighbours()}  # the kernel knows them by now
        self._ask_plants([Plant(ip, macs.get(ip, ""), "", "sweep", None)
                          for ip, opened in answered if self._ways.plant_port in opened and ip not in known])
        self._ask_shellys([ip for ip, opened in answered if self._ways.shelly_port in opened])

    def _is_new(self, kind: str, who: str) -> bool:
        if (kind, who) in self._asked:
            return False
        self._asked.add((kind, who))
        return True


def _named_shelly(seen: Seen) -> bool:
    return seen.hostname.lower().startswith("shelly")


def real_ways(
    clock: Clock, vendor: Vendor, unit: int, offset: int, plant_port: int, shelly_port: int,
) -> Ways:
    """Return the ways that lead to real devices."""

    def ask_plant(ip: str) -> Verdict:
        wire = TcpWire(ip, plant_port, CONFIRM_TIMEOUT_S, clock.monotonic)
        return confirm(BuiltinLink(wire), vendor, unit, offset)

    def ask_shelly(ip: str) -> Optional[Shelly]:
        http = LanHttp("shelly", *split_host(ip, shelly_port), clock)
        try:
            who = identify(http)
            if who is None:
                return None
            if not (who.tells_name or who.auth):
                who = who._replace(name=configured_name(http))
            found = from_http(ip, who, None)
            return found._replace(free=free_slots(http)) if found.able and not who.auth else found
        finally:
            http.close()

    return Ways(ask_plant, ask_shelly, open_ports, plant_port, shelly_port)
