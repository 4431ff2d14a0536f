"""Find the plant and the Shellys of the house: what this machine knows first, then a few questions."""

from __future__ import annotations

import argparse
import json
import os
import sys
from typing import Any, Callable, Dict, List, Set, Tuple

from bridge.clock import Clock
from bridge.config import Settings
from bridge.control.discovery import HTTP_PORT, found_settings, plant_choice, shelly_choice, warnings
from bridge.control.discovery_progress import Progress
from bridge.control.discovery_report import data, lines, new_plant, newcomer, shelly_data
from bridge.control.settings_text import secret_names, shown_changes, with_settings
from bridge.errors import EXIT_OK, EXIT_PLANT, BridgeError, ConfigError, LinkError
from bridge.link.dial import split_host
from bridge.link.host import replace_file
from bridge.link.neighbours import ARP_FILE, LEASE_FILES, Neighbourhood, ip_neigh, is_home_address
from bridge.link.sweep import MOST_HOSTS, hosts_of, near, own_address
from bridge.service import stop_on_signals
from bridge.settings import SETTINGS
from bridge.sources.search import Search, Ways, real_ways
from bridge.uci import looks_like_uci
from bridge.wiring import offset, vendor

HELP = "find the plant and the Shellys on this network"
WATCH_S = 5.0  # a lease file costs nothing to read
SWEEP_AGAIN_S = 300.0  # 254 questions are not to be asked all the time


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this verb."""
    parser.add_argument("--watch", action="store_true", help="stay and announce newcomers until Ctrl-C")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--write-config", metavar="FILE", help="put what was found into a settings file")
    parser.add_argument("--yes", action="store_true", help="with --write-config: change a file that is there")
    parser.add_argument("--dry-run", action="store_true", help="with --write-config: show the changes only")
    search_arguments(parser)


def search_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare how to search."""
    sweep = parser.add_mutually_exclusive_group()
    sweep.add_argument("--sweep", action="store_true", help="ask every address, on a router too")
    sweep.add_argument("--no-sweep", action="store_true", help="ask only addresses that this machine knows")
    parser.add_argument("--subnet", action="append", default=[], metavar="NET",
                        help="stay within this network, such as 192.168.1.0/24")
    parser.add_argument("--lease-file", action="append", default=[], metavar="FILE",
                        help="DHCP leases to read instead of this machine's tables")
    parser.add_argument("--neighbour-file", metavar="FILE", help="a copy of /proc/net/arp to read instead")
    parser.add_argument("--no-mdns", action="store_true", help="do not ask by multicast")
    parser.add_argument("--shelly-port", type=int, default=HTTP_PORT, metavar="N",
                        help="port of the Shellys (80)")


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Search, report, and on request write the settings or stay and watch."""
    clock = Clock()
    progress = Progress(clock)
    notes: List[str] = []
    search, hosts = begin(args, settings, clock, progress, notes)
    search.look(hosts)
    browser = None if args.no_mdns else new_browser(args)
    try:
        browser = by_mdns(search.listen, browser, notes if hosts else [])  # a router knows its Shellys without mDNS
        progress.done(search.shellys, search.plants)
        if not (search.plants or hosts or args.json):
            notes.append("no plant was found; --sweep asks every address of the network")
        _report(args, search, notes)
        if args.write_config:
            _write(args, settings, search)
        if args.watch:
            stop_on_signals(clock)
            _watch(args, search, browser, clock, hosts, progress)
    finally:
        if browser is not None:
            browser.close()
    if any(plant.reachable for plant in search.plants) or (search.shellys and not search.plants):
        return EXIT_OK
    return EXIT_PLANT


def begin(
    args: argparse.Namespace, settings: Settings, clock: Clock, progress: Progress, notes: List[str],
    for_plants: bool = True,
) -> Tuple[Search, List[str]]:
    """Return a search that has not asked anybody yet, and the addresses that it should sweep."""
    tables = _tables(args)
    inside = frozenset(hosts_of(args.subnet)) if args.subnet else None
    search = Search(tables, _ways(args, settings, clock), clock, progress,
                    lambda ip: is_home_address(ip) and (inside is None or ip in inside), for_plants)
    sweeps = args.sweep or not (args.no_sweep or tables.hands_out_addresses())
    return search, _hosts(args, tables, notes) if sweeps else []


def _tables(args: argparse.Namespace) -> Neighbourhood:
    for path in [*args.lease_file, *([args.neighbour_file] if args.neighbour_file else [])]:
        if not os.path.isfile(path):
            raise ConfigError(f"discover: {path} cannot be read; is it the right path?")
    if args.lease_file or args.neighbour_file:
        return Neighbourhood(args.lease_file, args.neighbour_file, ask_ip=None)
    return Neighbourhood(LEASE_FILES, ARP_FILE, ask_ip=ip_neigh)


def _hosts(args: argparse.Namespace, tables: Neighbourhood, notes: List[str]) -> List[str]:
    """Return the addresses to sweep: those asked for, or the network of this machine."""
    if args.subnet:
        return hosts_of(args.subnet)
    hosts: List[str] = []
    for net in tables.networks():
        own = own_address(str(net.network_address + 1))
        more = [host for host in hosts_of([str(near(net, own))]) if host != own]
        if len(hosts) + len(more) > MOST_HOSTS:
            notes.append(f"{net} was not swept too; for that: --sweep --subnet {near(net, own)}")
        else:
            hosts += more
    if not hosts:
        notes.append("this machine is on no home network that could be swept; name one with --subnet")
    return hosts


def _ways(args: argparse.Namespace, settings: Settings, clock: Clock) -> Ways:
    plant = vendor(settings)
    unit = settings["modbus.unit"] if settings.is_set("modbus.unit") else plant.unit_tcp
    return real_ways(clock, plant, unit, offset(settings, plant), settings["modbus.port"], args.shelly_port)


def new_browser(args: argparse.Namespace) -> Any:
    """Return a browser of mDNS on the networks wanted."""
    from bridge.link.mdns import Browser

    own = [own_address(hosts_of([net])[0]) for net in args.subnet]
    return Browser([address for address in dict.fromkeys(own) if address])


def by_mdns(ask: Callable[[Any], None], browser: Any, notes: List[str]) -> Any:
    """Ask by mDNS if that is possible; returns the browser, or None when it is of no use."""
    if browser is None:
        return None
    try:
        ask(browser)
    except BridgeError as error:
        notes.append(str(error))
        return None
    return browser


def _report(args: argparse.Namespace, search: Search, notes: List[str]) -> None:
    parts = (search.plants, search.shellys, warnings(search.plants), notes, own_address)
    if args.json:
        print(json.dumps(data(*parts)), flush=True)
    else:
        print("\n".join(lines(*parts)), flush=True)


def _watch(args: argparse.Namespace, search: Search, browser: Any, clock: Clock, hosts: List[str],
           progress: Progress) -> None:
    progress.quiet = True
    known: Set[str] = {each.mac or each.ip for each in search.shellys}
    known |= {plant.mac or plant.ip for plant in search.plants}
    swept = clock.monotonic()
    while not clock.wait(WATCH_S):
        due = bool(hosts) and clock.monotonic() - swept >= SWEEP_AGAIN_S
        search.look(hosts if due else ())
        if due:
            swept = clock.monotonic()
        if browser is not None:
            search.listen(browser, once=True)
        for each in search.shellys:
            _announce(args, known, each.mac, each.ip, newcomer(each), shelly_data(each))
        for plant in search.plants:
            fields = {"ip": plant.ip, "mac": plant.mac}
            _announce(args, known, plant.mac, plant.ip, new_plant(plant, own_address(plant.ip)), fields)


def _announce(
    args: argparse.Namespace, known: Set[str], mac: str, ip: str, text: str, fields: Dict[str, Any],
) -> None:
    if (mac or ip) in known or ip in known:
        return
    known.add(mac or ip)
    print(json.dumps({"event": "new", **fields}) if args.json else text, flush=True)


def _write(args: argparse.Namespace, settings: Settings, search: Search) -> None:
    path = args.write_config
    changes = _changes(args, settings, search)
    before = ""
    if os.path.exists(path):
        try:
            with open(path, encoding="utf-8") as handle:
                before = handle.read()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"discover --write-config {path}: cannot be read ({error})") from None
    uci = looks_like_uci(before) if before.strip() else path.startswith("/etc/config/")
    after = with_settings(before, changes, uci)
    if after == before:
        sys.stderr.write(f"{path} has all of this already\n")
        return
    for line in shown_changes(before, after, path, secret_names(SETTINGS)):
        sys.stderr.write(f"{line}\n")
    if args.dry_run:
        return
    if before.strip():
        _allowed(args, path)
    try:
        replace_file(path, after.encode(), 0o600)
    except OSError as error:
        raise ConfigError(f"discover --write-config {path}: cannot be written ({error.strerror})") from None
    sys.stderr.write(f"{path} is written\n")


def _allowed(args: argparse.Namespace, path: str) -> None:
    """Raise ConfigError unless a file that is there may be changed."""
    if not (args.yes or sys.stdin.isatty()):
        raise ConfigError(f"discover --write-config {path}: is there already; to change it add --yes")
    if not args.yes and input("Make these changes? [Y/n] ").strip().lower() not in ("", "y", "yes"):
        raise ConfigError(f"discover --write-config {path}: nothing was written")


def _changes(args: argparse.Namespace, settings: Settings, search: Search) -> Dict[str, str]:
    """Return the settings for what was found; raises ConfigError where the owner has to choose."""

    def wish(key: str) -> str:
        given = settings[key] if settings.where(key).startswith("flag") else ""
        return split_host(given, HTTP_PORT)[0] if given else ""

    plant, why = plant_choice(search.plants, wish("modbus.host"), settings["modbus.host"])
    shelly, reason = shelly_choice(search.shellys, wish("shelly.host"), settings["shelly.mac"])
    if why or reason:
        raise ConfigError(f"discover --write-config: {why or reason}; nothing was written")
    changes = found_settings(plant, settings["modbus.port"], shelly, args.shelly_port)
    if not changes:
        raise LinkError("discover --write-config: nothing was found that could be written")
    return changes
