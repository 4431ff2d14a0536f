"""Whom the search asks, in which order, and whom it leaves alone."""

from __future__ import annotations

import pytest

from bridge.clock import ManualClock
from bridge.control.discovery import Shelly
from bridge.errors import ConfigError
from bridge.link.mdns import Announced
from bridge.link.neighbours import Neighbourhood
from bridge.sources.confirm import REACHABLE, Verdict
from bridge.sources.search import QUIET_ROUNDS, ROUND_S, ROUNDS_AT_LEAST, ROUNDS_AT_MOST, Search, Ways
from tests.conftest import FIXTURES

TABLES = FIXTURES / "leases"
GATEWAY = "192.168.8.105"


class World:
    """Answers in place of the network and notes who was asked."""

    def __init__(self, shellys=(), open_at=None):
        self.asked, self.told = [], []
        self.shellys = {shelly.ip: shelly for shelly in shellys}
        self.open_at = open_at or {}
        self.ways = Ways(self.plant, self.shelly, self.knock, 502, 80)

    def plant(self, ip):
        self.asked.append(("plant", ip))
        return Verdict(REACHABLE, 100.0, "")

    def shelly(self, ip):
        self.asked.append(("shelly", ip))
        return self.shellys.get(ip)

    def knock(self, ip, ports):
        self.asked.append(("knock", ip))
        return frozenset(self.open_at.get(ip, ())).intersection(ports)

    def tell(self, *told):
        self.told.append(told)

    def of(self, kind):
        return [ip for what, ip in self.asked if what == kind]


class Choir:
    """mDNS that lets a few more devices answer at each question."""

    def __init__(self, *rounds):
        self.rounds, self.questions = list(rounds), 0

    def ask(self):
        self.questions += 1

    def found(self):
        heard = [ip for voices in self.rounds[:self.questions] for ip in voices]
        return [Announced(ip, "", "", f"name of {ip}", 2, "Pro2", "1.7.5") for ip in heard]


def router(leases="house.leases"):
    return Neighbourhood([str(TABLES / leases)], str(TABLES / "arp.txt"), str(TABLES / "route-router.txt"), None)


def search_of(world, tables=None, clock=None, **extra):
    return Search(tables or router(), world.ways, clock or ManualClock(), world.tell, **extra)


def test_the_gateway_is_known_before_anybody_is_asked():
    world = World()
    assert [plant.ip for plant in search_of(world).tables_only()] == [GATEWAY]
    assert world.asked == []


def test_the_plant_is_asked_first_and_once_and_never_for_a_web_page():
    world = World()
    search = search_of(world)
    search.look()
    search.look()
    assert world.asked[0] == ("plant", GATEWAY)
    assert world.of("plant") == [GATEWAY]
    assert GATEWAY not in world.of("shelly")
    assert search.plants[0].reachable


def test_the_provider_s_side_and_the_internet_are_left_alone():
    world = World()
    search_of(world).look()
    assert "203.0.113.1" not in world.of("shelly")
    private_uplink = Neighbourhood(
        [str(TABLES / "house.leases")], str(TABLES / "arp.txt"), str(TABLES / "route-router.txt"), None)
    world = World()
    search_of(world, private_uplink, wanted=lambda ip: True).look()
    assert "203.0.113.1" not in world.of("shelly")


def test_who_calls_itself_a_shelly_is_asked_first_and_again_until_it_answers():
    shelly = Shelly("192.168.8.111", "EC62608AB9A4", "shellypro2-ec62608ab9a4")
    world = World()
    search = search_of(world)
    search.look()
    assert "192.168.8.110" in world.of("shelly")[:4]  # a few are asked at once
    others = len(world.of("shelly"))
    world.shellys[shelly.ip.replace("111", "110")] = shelly._replace(ip="192.168.8.110")
    search.look()
    assert world.of("shelly")[others:] == ["192.168.8.110"]
    search.look()
    assert len(world.of("shelly")) == others + 1
    assert [each.name for each in search.shellys] == ["shellypro2-ec62608ab9a4"]


def test_a_sweep_asks_every_address_and_then_only_who_answered():
    world = World([Shelly("192.168.8.40", "AABBCCDDEEFF")], {"192.168.8.40": [80], "192.168.8.50": [502]})
    tables = Neighbourhood(["/nonexistent"], None, None)
    search = search_of(world, tables)
    search.look([f"192.168.8.{n}" for n in range(1, 101)])
    assert len(world.of("knock")) == 100
    assert world.of("plant") == ["192.168.8.50"]
    assert world.of("shelly") == ["192.168.8.40"]
    assert [told for told in world.told if told[0] == "addresses"][-1] == ("addresses", 100, 100, 2)
    assert [(plant.ip, plant.mac, plant.by) for plant in search.plants] == [("192.168.8.50", "", "sweep")]


def test_a_plant_that_moved_is_asked_again_and_listed_once(tmp_path):
    leases = tmp_path / "leases"
    leases.write_text("1 0c:47:a9:9a:bc:de 192.168.8.5 a *\n")
    world = World()
    search = search_of(world, Neighbourhood([str(leases)], None, None))
    search.look()
    leases.write_text("1 0c:47:a9:9a:bc:de 192.168.8.6 a *\n")
    search.look()
    assert sorted(world.of("plant")) == ["192.168.8.5", "192.168.8.6"]
    assert [plant.ip for plant in search.plants] == ["192.168.8.6"]


def test_mdns_is_asked_until_two_rounds_bring_nobody_new():
    first, second, third = ([f"192.168.8.{n}"] for n in (30, 31, 32))
    choir, world, clock = Choir(first, second, [], third, [], []), World(), ManualClock()
    search = search_of(world, Neighbourhood(["/nonexistent"], None, None), clock)
    search.listen(choir)
    assert choir.questions == 6
    assert [each.name for each in search.shellys] == ["name of 192.168.8.30", "name of 192.168.8.31", "name of 192.168.8.32"]
    assert sorted(world.of("shelly")) == ["192.168.8.30", "192.168.8.31", "192.168.8.32"]
    assert clock.monotonic() == pytest.approx(1000.0 + 6 * ROUND_S)


def test_mdns_is_asked_some_times_even_when_nobody_answers_and_not_for_ever():
    silent = Choir()
    search_of(World()).listen(silent)
    assert silent.questions == max(ROUNDS_AT_LEAST, QUIET_ROUNDS)
    endless = Choir(*([f"192.168.8.{n}"] for n in range(1, 100)))
    search_of(World()).listen(endless)
    assert endless.questions == ROUNDS_AT_MOST


def test_what_mdns_says_of_other_networks_is_not_followed():
    world = World()
    search = search_of(world)
    search.listen(Choir(["8.8.8.8", "192.168.8.30"]))
    assert world.of("shelly") == ["192.168.8.30"]
    assert [each.ip for each in search.shellys] == ["192.168.8.30"]


def test_only_the_wanted_network_is_looked_at():
    world = World()
    search = search_of(world, wanted=lambda ip: ip == "192.168.8.20")
    search.look()
    assert world.asked == [("shelly", "192.168.8.20")]


def test_a_stop_ends_the_listening():
    class Stopped(ManualClock):
        def wait(self, seconds):
            return True

    choir = Choir(["192.168.8.30"])
    search_of(World(), clock=Stopped()).listen(choir)
    assert choir.questions == 1


def test_missing_zeroconf_is_the_caller_s_to_report():
    class Missing(Choir):
        def ask(self):
            raise ConfigError("mDNS needs the package zeroconf")

    with pytest.raises(ConfigError, match="zeroconf"):
        search_of(World()).listen(Missing())
