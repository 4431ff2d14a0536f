"""Leases, ARP table and routes as OpenWrt and Debian write them; nothing is sent."""

from __future__ import annotations

import ipaddress
import socket

import pytest

from bridge.link.neighbours import Neighbourhood, Seen, is_home_address
from tests.conftest import FIXTURES

TABLES = FIXTURES / "leases"


def tables(leases="house.leases", arp="arp.txt", route="route-router.txt", ask_ip=None):
    return Neighbourhood(
        [str(TABLES / leases)] if leases else ["/nonexistent/dhcp.leases"],
        str(TABLES / arp), str(TABLES / route), ask_ip)


@pytest.fixture(autouse=True)
def no_socket(monkeypatch):
    """Fail when anything here opens a socket."""

    def refuse(*args, **kwargs):
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "socket", refuse)


def test_a_lease_file_gives_mac_address_and_name_and_half_lines_nothing():
    assert tables().leases() == [
        Seen("94:83:C4:11:22:33", "192.168.8.20", "laptop", "", "lease"),
        Seen("0C:47:A9:9A:BC:DE", "192.168.8.105", "SigenGateway", "", "lease"),
        Seen("EC:62:60:8A:B9:A4", "192.168.8.110", "shellypro2-ec62608ab9a4", "", "lease"),
        Seen("02:00:5E:00:53:01", "192.168.8.12", "", "", "lease"),
        Seen("0C:47:A9:8A:BC:DE", "192.168.8.13", "almost", "", "lease"),
    ]


def test_a_device_that_got_a_new_lease_is_one_device(tmp_path):
    path = tmp_path / "leases"
    path.write_text("1 0c:47:a9:9a:bc:de 192.168.8.5 a *\n2 0c:47:a9:9a:bc:de 192.168.8.6 a *\n")
    assert [seen.ip for seen in Neighbourhood([str(path)], None, None).leases()] == ["192.168.8.6"]


def test_the_arp_table_gives_complete_entries_only():
    assert [(seen.ip, seen.device) for seen in tables().neighbours()] == [
        ("192.168.8.20", "br-lan"), ("192.168.8.111", "br-lan"), ("203.0.113.1", "wan")]


def test_ip_neigh_stands_in_where_the_arp_table_cannot_be_read():
    said = (
        "192.168.1.5 dev eth0 lladdr bc:31:98:d1:02:03 REACHABLE\n"
        "192.168.1.6 dev eth0 FAILED\n"
        "192.168.1.7 dev eth0 lladdr 94:83:c4:11:22:33 FAILED\n"
        "fe80::1 dev eth0 lladdr 94:83:c4:11:22:33 router STALE\n"
    )
    assert tables(arp="absent.txt", ask_ip=lambda: said).neighbours() == [
        Seen("BC:31:98:D1:02:03", "192.168.1.5", "", "eth0", "neighbour")]


def test_ip_neigh_is_not_asked_while_the_table_is_there():
    def ask():
        raise AssertionError("asked")

    assert tables(ask_ip=ask).neighbours()


def test_the_router_s_networks_are_those_that_do_not_lead_to_the_internet():
    assert tables().hands_out_addresses()
    assert tables().uplinks() == {"wan"}
    assert tables().networks() == [ipaddress.IPv4Network("192.168.8.0/24")]


def test_another_machine_s_network_is_the_one_that_leads_to_the_internet_not_a_container_s():
    pi = tables(leases=None, route="route-pi.txt")
    assert not pi.hands_out_addresses()
    assert pi.networks() == [ipaddress.IPv4Network("192.168.1.0/24")]


def test_an_empty_list_makes_a_router_only_where_openwrt_keeps_it(tmp_path):
    (tmp_path / "empty").write_text("")
    here, absent = str(tmp_path / "empty"), str(tmp_path / "absent")
    assert Neighbourhood([here, absent], None, None).hands_out_addresses()
    assert not Neighbourhood([absent, here], None, None).hands_out_addresses()


@pytest.mark.parametrize(("ip", "home"), [
    ("192.168.8.1", True), ("10.1.2.3", True), ("172.31.0.1", True), ("127.0.0.1", True), ("172.32.0.1", False),
    ("100.64.0.1", False), ("169.254.1.1", False), ("8.8.8.8", False), ("192.0.2.1", False), ("fd00::1", False),
    ("gateway", False),
])
def test_home_addresses_are_rfc_1918_and_this_machine(ip, home):
    assert is_home_address(ip) is home
