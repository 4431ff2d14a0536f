"""``sigen-bridge shelly find`` and ``rm``, as a user runs them; every device is simulated on 127.0.0.x."""

from __future__ import annotations

import argparse
import json
import re
import socket

import pytest

from bridge.clock import Clock, ManualClock
from bridge.commands import _shelly_find
from bridge.config import load
from bridge.control.discovery import Shelly
from bridge.control.discovery_memory import Memory
from bridge.link.lan import LanHttp
from bridge.peers.shelly_identity import configured_name
from bridge.sim.shelly import ShellySim
from tests.commands.conftest import one_line
from tests.commands.shelly_crowd import ShellyCrowd
from tests.link.throttled_mdns import ThrottledMdns


@pytest.fixture
def alone(tmp_path):
    """Options for a network on which this machine knows nobody."""
    (tmp_path / "empty").write_text("")
    return ("--no-mdns", "--no-sweep", "--lease-file", str(tmp_path / "empty"), "--run-state-dir", str(tmp_path))


@pytest.fixture
def house(tmp_path):
    """Two Shellys, one with a name and one without, and the options that find them."""
    with ShellySim(Clock(), host="127.0.0.3", name="Kitchen board") as kitchen, \
            ShellySim(Clock(), host="127.0.0.4", port=kitchen.port, mac="AABBCC000002", app="Plus1", model="SNSW-001X16EU",
                      password="secret", firmware="2.0.1") as garage:
        leases = tmp_path / "leases"
        leases.write_text("1 aa:bb:cc:dd:ee:ff 127.0.0.3 a *\n1 aa:bb:cc:00:00:02 127.0.0.4 b *\n")
        options = ("--no-mdns", "--lease-file", str(leases), "--shelly-port", str(kitchen.port), "--run-state-dir",
                   str(tmp_path / "state"))
        yield kitchen, garage, options


def found(bridge, *words):
    done = bridge("shelly", "find", "--json", *words)
    return {row["name"]: row for row in json.loads(done.stdout)["shellys"]}, done


def test_all_are_listed_by_name_and_the_nameless_by_id(bridge, house):
    *_, options = house
    done = bridge("shelly", "find", *options)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "  Kitchen board             SPSW-202XE16EU  1.7.4  127.0.0.3  AABBCCDDEEFF  online, new",
        "  shellyplus1-aabbcc000002  SNSW-001X16EU   2.0.1  127.0.0.4  AABBCC000002  online, has a password, new",
    ]
    assert "done: 2 Shelly" in done.stderr
    again = bridge("shelly", "find", *options).stdout
    assert "new" not in again and again.count("online") == 2


def test_a_device_with_a_password_is_never_asked_to_prove_it(bridge, house):
    _, garage, options = house
    bridge("shelly", "find", *options)
    assert garage.counters.auth_challenges == 0


def test_one_that_is_gone_is_offline_after_three_polls_with_the_reason(bridge, house):
    kitchen, garage, options = house
    found(bridge, *options)
    garage.fault("offline_refused")
    rows, _ = found(bridge, *options)
    gone = rows["shellyplus1-aabbcc000002"]
    assert (gone["online"], gone["failed_polls"]) == (False, 3) and "connection refused" in gone["reason"]
    assert rows["Kitchen board"]["online"] is True
    text = bridge("shelly", "find", *options).stdout
    assert "offline: " in text and "polls failed, shelly 127.0.0.4:" in text
    garage.clear()
    rows, _ = found(bridge, *options)
    assert rows["shellyplus1-aabbcc000002"]["online"] is True


def test_one_missed_poll_makes_nobody_offline(bridge, house):
    _, garage, options = house
    found(bridge, *options)
    garage.fault("drop_before", count=2)
    rows, _ = found(bridge, *options)
    assert rows["shellyplus1-aabbcc000002"]["online"] is not False


def test_another_device_at_the_address_is_told_as_such(bridge, house, tmp_path):
    kitchen, garage, options = house
    found(bridge, *options)
    (tmp_path / "leases").write_text("")
    garage.fault("wrong_mac", mac="112233445566")
    rows, _ = found(bridge, *options)
    assert "127.0.0.4 is now" in rows["shellyplus1-aabbcc000002"]["reason"]
    assert rows["Kitchen board"]["online"] is None or rows["Kitchen board"]["failed_polls"] == 0


def test_a_given_address_is_asked_whatever_the_network_says(bridge, alone):
    with ShellySim(Clock(), name="Far away") as sim:
        done = bridge("shelly", "find", *alone, sim.address)
        assert done.returncode == 0 and f"Far away  SPSW-202XE16EU  1.7.4  {sim.address}" in done.stdout


def test_nobody_found_is_exit_5(bridge, alone):
    done = bridge("shelly", "find", *alone)
    assert done.returncode == 5 and "nothing found" in done.stdout


def test_rm_forgets_one_that_is_offline_and_one_that_is_there(bridge, house):
    kitchen, garage, options = house
    state = options[-2:]
    found(bridge, *options)
    garage.fault("offline_refused")
    dry = bridge("shelly", "rm", "AA:BB:CC:00:00:02", "--dry-run", *state)
    assert dry.returncode == 0 and "would forget shellyplus1-aabbcc000002" in dry.stdout
    done = bridge("shelly", "rm", "AA:BB:CC:00:00:02", *state)
    assert done.returncode == 0 and "forgot shellyplus1-aabbcc000002" in done.stdout
    rows, _ = found(bridge, *options)
    assert list(rows) == ["Kitchen board"]
    assert json.loads(bridge("shelly", "rm", "kitchen board", "--json", *state).stdout)["mac"] == "AABBCCDDEEFF"
    rows, _ = found(bridge, *options)
    assert rows["Kitchen board"]["new"] is True, "it is there, so it comes back"


def test_rm_of_an_unknown_or_ambiguous_name_is_one_line(bridge, tmp_path):
    state = ("--run-state-dir", str(tmp_path))
    memory = Memory()
    memory.saw([Shelly("192.168.8.3", "AABBCC000003", nick="Heater"), Shelly("192.168.8.4", "AABBCC000004", nick="Heater")])
    (tmp_path / "shellys.json").write_text(json.dumps(memory.content()))
    several = bridge("shelly", "rm", "Heater", *state)
    assert several.returncode == 2 and "give the MAC" in one_line(several.stderr)
    unknown = bridge("shelly", "rm", "Heatr", *state)
    assert unknown.returncode == 2 and "did you mean Heater?" in one_line(unknown.stderr)
    assert bridge("shelly", "rm", "192.168.8.4", *state).returncode == 0
    assert [row["mac"] for row in json.loads((tmp_path / "shellys.json").read_text())["devices"]] == ["AABBCC000003"]


def test_flash_is_written_only_when_something_changed(bridge, house, tmp_path):
    *_, options = house
    found(bridge, *options)
    before = (tmp_path / "state" / "shellys.json").stat().st_ino
    found(bridge, *options)
    assert (tmp_path / "state" / "shellys.json").stat().st_ino == before


def test_a_name_that_only_the_configuration_knows_is_asked_for():
    with ShellySim(Clock(), name="Attic") as sim:
        assert configured_name(LanHttp("shelly", "127.0.0.1", sim.port, Clock())) == "Attic"
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
    assert configured_name(LanHttp("shelly", "127.0.0.1", port, Clock())) == ""


def test_watch_says_each_piece_of_news_once(capsys, tmp_path):
    """200 rounds: one appears, goes away, and comes back; each is one line."""
    real = ShellySim(Clock(), name="Garage", mac="AABBCC000004").start()
    garage = Shelly(real.address, "AABBCC000004", "x", "", "Garage", "", "SPSW-202XE16EU")

    class Rounds(ManualClock):
        count = 0

        def wait(self, seconds):
            self.count += 1
            if self.count == 40:
                real.fault("offline_refused")
            if self.count == 120:
                real.clear()
            super().wait(seconds)
            return self.count > 200

    class Found:
        told: list = []
        answers = property(lambda self: len(self.told))

        def look(self, hosts=()):
            if clock.count == 5:
                self.told.append(garage)

        def answered(self, since=0):
            return self.told[since:]

    found, clock = Found(), Rounds()
    settings, _ = load(["--run-state-dir", str(tmp_path)])
    args = argparse.Namespace(json=False, shelly_port=80)
    try:
        _shelly_find.Watch(args, settings, Memory(), found, clock).run(None)
    finally:
        real.stop()
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3, lines
    assert re.match(r"new device Garage \(SPSW-202XE16EU\) at 127\.0\.0\.1:\d+ - add it\?", lines[0])
    assert lines[1].startswith("Garage is offline: 3 polls failed, shelly 127.0.0.1:") and "refused" in lines[1]
    assert lines[2] == f"Garage is back at {real.address}"


@pytest.mark.timing
def test_120_shellys_behind_throttled_multicast_are_all_found_within_ten_seconds(bridge, tmp_path):
    """Each question lets 40 answers through: one scan shows a third, repeated ones converge."""
    clock = Clock()
    with ShellyCrowd(120, net="127.8.0") as crowd, ThrottledMdns(crowd.hosts, 40) as air:
        begun = clock.monotonic()
        rows, done = found(bridge, "--no-sweep", "--subnet", "127.8.0.0/24", "--shelly-port", str(crowd.port),
                           "--run-state-dir", str(tmp_path))
        elapsed_s = clock.monotonic() - begun
    assert {f"Panel {number:03}" for number in range(120)} == set(rows)
    assert max(air.answered) == 40 and sum(air.answered) >= 120, "no question brought more than a third"
    assert done.stderr.splitlines()[-1].endswith("done: 120 Shelly")
    assert re.search(r"mDNS questions: 1 of 12 asked, (40|80) found", done.stderr)
    assert elapsed_s < 10


@pytest.mark.timing
def test_120_shellys_by_sweep_and_multicast_together_are_each_listed_once(bridge, tmp_path):
    clock = Clock()
    with ShellyCrowd(120, net="127.8.0") as crowd, ThrottledMdns(crowd.hosts, 40) as air:
        begun = clock.monotonic()
        rows, done = found(bridge, "--sweep", "--subnet", "127.8.0.0/24", "--shelly-port", str(crowd.port),
                           "--run-state-dir", str(tmp_path))
        elapsed_s = clock.monotonic() - begun
    assert len(rows) == 120 and len({row["mac"] for row in rows.values()}) == 120
    assert crowd.requests == 240 and air.questions >= 3, "one for the name, one for the room, however often heard"
    assert "addresses: 254 of 254 asked, 120 found" in done.stderr
    assert elapsed_s < 10
