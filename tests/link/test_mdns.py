"""mDNS with the real zeroconf on the loopback interface."""

from __future__ import annotations

import socket
import sys

import pytest
import zeroconf

from bridge.clock import Clock
from bridge.errors import ConfigError
from bridge.link.mdns import HTTP, SHELLY, Announced, Browser, Record, devices

LOOPBACK = ["127.0.0.1"]


def announcement(service, instance, ip, properties=None, host=None):
    return zeroconf.ServiceInfo(
        service, f"{instance}.{service}", addresses=[socket.inet_aton(ip)], port=80, properties=properties or {},
        server=f"{host or instance.replace(' ', '-')}.local.")


@pytest.fixture
def announcer():
    responder = zeroconf.Zeroconf(interfaces=LOOPBACK)
    yield lambda info: responder.register_service(info, cooperating_responders=True)
    responder.close()


@pytest.fixture
def browser():
    one = Browser(LOOPBACK)
    yield one
    one.close()


def heard(browser, enough, rounds=8):
    """Ask until ``enough`` is true of what was found."""
    clock, found = Clock(), []
    for _ in range(rounds):
        browser.ask()
        for _ in range(10):
            clock.wait(0.1)
            found = browser.found()
            if enough(found):
                return found
    return found


def test_a_named_device_is_one_device_with_its_name(announcer, browser):
    text = {"gen": "2", "app": "Pro2", "ver": "1.7.5"}
    announcer(announcement(SHELLY, "shellypro2-ec62608ab9a4", "127.9.0.3", text))
    announcer(announcement(SHELLY, "Kitchen board", "127.9.0.3", text))
    announcer(announcement(HTTP, "Some printer", "127.9.0.9"))
    assert heard(browser, lambda found: found and found[0].id and found[0].name) == [
        Announced("127.9.0.3", "shellypro2-ec62608ab9a4", "EC62608AB9A4", "Kitchen board", 2, "Pro2", "1.7.5")]


def test_what_comes_later_joins_what_was_found(announcer, browser):
    announcer(announcement(SHELLY, "shellyplus1-000000000001", "127.9.0.3", {"gen": "2", "app": "Plus1"}))
    assert len(heard(browser, lambda found: len(found) == 1)) == 1
    announcer(announcement(HTTP, "shelly1-B929CC", "127.9.0.4", {"id": "shelly1-B929CC", "arch": "esp8266"}))
    found = {device.id: device for device in heard(browser, lambda found: len(found) == 2)}
    assert found["shelly1-b929cc"] == Announced("127.9.0.4", "shelly1-b929cc", "", "", 1, "", "")
    assert set(found) == {"shelly1-b929cc", "shellyplus1-000000000001"}


def test_the_two_instances_of_a_device_share_its_address():
    records = [
        Record(SHELLY, "1PM Pro", "192.168.1.9", {"gen": "2", "app": "Pro1PM", "ver": "1.7.5"}),
        Record(SHELLY, "shellypro1pm-ec62608ab9a4", "192.168.1.9", {"gen": "2", "app": "Pro1PM", "ver": "1.7.5"}),
        Record(HTTP, "shellypro1pm-ec62608ab9a4", "192.168.1.9", {"gen": "2"}),
        Record(SHELLY, "shellyplus1-000000000001", "192.168.1.10", {"gen": "2"}),
        Record(SHELLY, "Only a name", "192.168.1.11", {"gen": "3", "app": "S1G3"}),
        Record(HTTP, "printer", "192.168.1.12", {}),
    ]
    assert [(device.id, device.name, device.mac) for device in devices(records)] == [
        ("shellypro1pm-ec62608ab9a4", "1PM Pro", "EC62608AB9A4"),
        ("shellyplus1-000000000001", "", "000000000001"),
        ("", "Only a name", ""),
    ]


def test_without_zeroconf_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "zeroconf", None)
    with pytest.raises(ConfigError, match="pip install zeroconf$"):
        Browser().ask()


def test_closing_twice_is_no_error(browser):
    browser.ask()
    browser.close()
    browser.close()
