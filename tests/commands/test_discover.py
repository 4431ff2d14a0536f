"""sigen-bridge discover, as a user runs it; every device is simulated on 127.0.0.x."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import socket
import stat
import subprocess
import sys

import pytest
import zeroconf

from bridge.clock import Clock, ManualClock
from bridge.commands import discover
from bridge.control.discovery import Plant, Shelly
from bridge.sim.plant import PlantSim
from bridge.sim.shelly import ShellySim
from bridge.sources.confirm import Verdict
from bridge.wiring_sim import five_components
from tests.commands.conftest import ROOT, one_line, until
from tests.commands.shelly_crowd import ShellyCrowd

HOME = ("--subnet", "127.0.0.0/24")
GATEWAY_LEASE = "1795267859 0c:47:a9:9a:bc:de 127.0.0.2 SigenGateway *\n"
SHELLY_LEASE = "1795267859 aa:bb:cc:dd:ee:ff 127.0.0.3 ShellyPro2-AABBCCDDEEFF *\n"
# Prints every socket call and every file of the tables, in order, and lets nothing leave this machine.
WITNESS = """
import sys
def hook(event, args):
    if event == "socket.__new__":
        print("socket", file=sys.stderr)
    if event in ("socket.connect", "socket.sendto"):
        assert args[1][0].startswith("127."), args
        print("connect", *args[1], file=sys.stderr)
    if event == "open" and isinstance(args[0], str) and args[0].endswith("dhcp.leases"):
        print("leases", file=sys.stderr)
sys.addaudithook(hook)
from bridge.cli import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture
def plant():
    with PlantSim(Clock(), host="127.0.0.2", scenario="s3") as simulator:
        yield simulator


@pytest.fixture
def shelly():
    with ShellySim(Clock(), host="127.0.0.3", name="Kitchen board", components=five_components()) as simulator:
        yield simulator


@pytest.fixture
def leases(tmp_path):
    path = tmp_path / "dhcp.leases"
    path.write_text(GATEWAY_LEASE + SHELLY_LEASE)
    return path


@pytest.fixture
def router(plant, shelly, leases):
    """Return the options with which this machine is the router of a house with one plant and one Shelly."""
    return (*HOME, "--lease-file", str(leases), "--port", str(plant.port), "--shelly-port", str(shelly.port))


def test_on_a_router_plant_and_shelly_are_listed_with_all_there_is_to_know(bridge, router):
    done = bridge("discover", "--no-mdns", *router)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "Sigenergy",
        "  127.0.0.2  0C:47:A9:9A:BC:DE  SigenGateway  answers: importing 8540 W",
        "Shelly",
        "  Kitchen board  SPSW-202XE16EU  1.7.4  127.0.0.3  AABBCCDDEEFF  can show the numbers, 5 of 10 slots free",
    ]


def test_the_gateway_is_found_without_a_packet_and_the_first_is_the_register_read(plant, router):
    done = subprocess.run(
        [sys.executable, "-c", WITNESS, "discover", "--no-mdns", *router], capture_output=True, text=True, timeout=20,
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdin=subprocess.DEVNULL, check=False)
    assert done.returncode == 0, done.stderr
    seen = [line for line in done.stderr.splitlines() if line.startswith(("socket", "connect", "leases"))]
    first = seen.index("socket")
    assert set(seen[:first]) == {"leases"}
    assert seen[first + 1] == f"connect 127.0.0.2 {plant.port}"


def test_progress_tells_time_numbers_and_the_end(bridge, router):
    lines = bridge("discover", "--no-mdns", "--sweep", *router).stderr.splitlines()
    assert any("addresses: 254 of 254 asked, 2 found" in line for line in lines)
    assert lines[-1].endswith("s  done: 1 Sigenergy, 1 Shelly")
    assert lines[-1].split()[0].replace(".", "").isdigit()


def test_elsewhere_a_sweep_finds_both(bridge, plant, shelly):
    done = bridge("discover", "--no-mdns", "--json", *HOME, "--port", str(plant.port), "--shelly-port", str(shelly.port))
    found = json.loads(done.stdout)
    assert [(each["ip"], each["found_by"], each["grid_import_w"]) for each in found["plants"]] == [
        ("127.0.0.2", "sweep", 8540.0)]
    assert [(each["name"], each["free_slots"], each["password"]) for each in found["shellys"]] == [
        ("Kitchen board", 5, False)]


def test_a_house_of_120_shellys_is_known_within_ten_seconds(bridge):
    with ShellyCrowd(120) as crowd:
        clock = Clock()
        begun = clock.monotonic()
        done = bridge("discover", "--no-mdns", "--json", *HOME, "--port", "9", "--shelly-port", str(crowd.port))
        elapsed_s = clock.monotonic() - begun
    found = json.loads(done.stdout)["shellys"]
    assert [each["name"] for each in found] == [f"Room {number:03}" for number in range(120)]
    assert {each["ip"] for each in found} == set(crowd.hosts)
    assert {each["free_slots"] for each in found} == {9}
    assert elapsed_s < 10
    assert crowd.requests == 240  # one for the name, one for the room


def test_the_leases_of_120_shellys_do_as_well_as_a_sweep(bridge, tmp_path):
    with ShellyCrowd(120) as crowd:
        path = tmp_path / "dhcp.leases"
        path.write_text("".join(
            f"1 00:00:00:00:00:{number:02x} {host} room{number} *\n" for number, host in enumerate(crowd.hosts)))
        done = bridge("discover", "--no-mdns", "--json", *HOME, "--lease-file", str(path), "--port", "9",
                      "--shelly-port", str(crowd.port))
    assert len(json.loads(done.stdout)["shellys"]) == 120
    assert "addresses" not in done.stderr  # no sweep


def test_a_plant_that_does_not_know_us_is_told_apart_and_our_address_printed(bridge, plant, router):
    plant.fault("silent")
    done = bridge("discover", "--no-mdns", *router)
    assert done.returncode == 3
    assert "allow THIS address: 127.0.0.1" in done.stdout


def test_a_plant_that_refuses_is_told_apart(bridge, plant, router):
    plant.fault("refuse")
    done = bridge("discover", "--no-mdns", *router)
    assert done.returncode == 3
    assert "refuses: switch Modbus TCP on" in done.stdout


def test_two_sigenergy_macs_bring_the_warning(bridge, leases, router):
    leases.write_text(GATEWAY_LEASE + "1795267859 bc:31:98:d1:02:03 127.0.0.9 * *\n")
    assert "Only the gateway belongs there" in bridge("discover", "--no-mdns", *router).stdout


def test_a_shelly_with_a_password_is_never_asked_for_more(bridge, plant, leases):
    with ShellySim(Clock(), host="127.0.0.3", password="secret", firmware="2.0.1") as shelly:
        done = bridge("discover", "--no-mdns", *HOME, "--lease-file", str(leases), "--port", str(plant.port),
                      "--shelly-port", str(shelly.port))
    assert "has a password, so its free slots are not known" in done.stdout


def test_without_zeroconf_the_search_goes_on_and_says_so(bridge, router, tmp_path):
    (tmp_path / "hidden").mkdir()
    (tmp_path / "hidden" / "zeroconf.py").write_text("raise ImportError('hidden')\n")
    hidden = {"PYTHONPATH": f"{tmp_path / 'hidden'}:{ROOT}"}
    known = bridge("discover", *router, env=hidden)
    assert known.returncode == 0
    assert "Kitchen board" in known.stdout
    assert "mDNS" not in known.stdout  # the router knows its Shellys anyway
    swept = bridge("discover", "--sweep", *router, env=hidden)
    assert "note: mDNS needs the package zeroconf" in swept.stdout
    assert "Kitchen board" in swept.stdout


def test_nobody_found_is_told_with_the_next_thing_to_try(bridge, leases):
    leases.write_text("")
    known = bridge("discover", "--no-mdns", *HOME, "--lease-file", str(leases))
    assert known.returncode == 3
    assert "--sweep asks every address" in known.stdout
    swept = bridge("discover", "--no-mdns", "--sweep", *HOME, "--lease-file", str(leases), "--port", "9",
                   "--shelly-port", "9")
    assert "--sweep" not in swept.stdout


@pytest.mark.parametrize(("options", "why"), [
    (("--subnet", "8.8.8.0/24"), "not a home network"), (("--subnet", "10.0.0.0/16"), "65536 addresses"),
    (("--lease-file", "/nonexistent"), "cannot be read"), (("--sweep", "--no-sweep"), "not allowed with"),
])
def test_what_cannot_be_searched_is_one_line(bridge, options, why):
    done = bridge("discover", "--no-mdns", *options)
    assert done.returncode == 2
    assert why in one_line(done.stderr)


def test_settings_are_written_on_request_for_the_owner_only(bridge, plant, shelly, router, tmp_path):
    path = tmp_path / "bridge.ini"
    done = bridge("discover", "--no-mdns", "--write-config", str(path), *router)
    assert done.returncode == 0, done.stderr
    assert path.read_text() == (
        f"[modbus]\nhost = 127.0.0.2\nport = {plant.port}\n\n"
        f"[shelly]\nhost = 127.0.0.3:{shelly.port}\nmac = AABBCCDDEEFF\n")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert "+host = 127.0.0.2" in done.stderr
    assert bridge("config", "check", "--config", str(path)).returncode == 0
    again = bridge("discover", "--no-mdns", "--write-config", str(path), *router)
    assert again.returncode == 0
    assert "has all of this already" in again.stderr


def test_a_file_that_differs_is_not_changed_without_yes(bridge, router, tmp_path):
    path = tmp_path / "bridge.ini"
    before = "# mine\n[modbus]\nhost = 127.0.0.9\n[shelly]\npassword = secret\n"
    path.write_text(before)
    path.chmod(0o640)
    refused = bridge("discover", "--no-mdns", "--write-config", str(path), *router)
    assert refused.returncode == 2
    assert "add --yes" in refused.stderr
    assert path.read_text() == before
    dry = bridge("discover", "--no-mdns", "--write-config", str(path), "--dry-run", *router)
    assert dry.returncode == 0
    assert "-host = 127.0.0.9" in dry.stderr
    assert path.read_text() == before
    assert bridge("discover", "--no-mdns", "--write-config", str(path), "--yes", *router).returncode == 0
    after = path.read_text()
    assert after.startswith("# mine\n[modbus]\nhost = 127.0.0.2\n")
    assert "password = secret" in after
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert "secret" not in refused.stdout + refused.stderr + dry.stderr


def test_a_uci_file_is_written_as_uci(bridge, router, tmp_path):
    path = tmp_path / "sigen-bridge"
    path.write_text((ROOT / "init" / "conf" / "sigen-bridge.uci").read_text())
    assert bridge("discover", "--no-mdns", "--yes", "--write-config", str(path), *router).returncode == 0
    assert "\toption host '127.0.0.2'" in path.read_text()
    assert bridge("config", "check", "--config", str(path)).returncode == 0


def test_of_two_shellys_the_owner_names_one(bridge, plant, tmp_path):
    with ShellyCrowd(2, first=3) as crowd:
        options = ("--no-mdns", *HOME, "--port", str(plant.port), "--shelly-port", str(crowd.port))
        path = tmp_path / "bridge.ini"
        unsure = bridge("discover", "--write-config", str(path), *options)
        assert unsure.returncode == 2
        assert "2 Shellys could show the numbers (Room 000 127.0.0.3, Room 001 127.0.0.4)" in unsure.stderr
        assert not path.exists()
        named = bridge("discover", "--write-config", str(path), "--shelly-host", "127.0.0.4", *options)
        assert named.returncode == 0, named.stderr
        assert "mac = 000000000001" in path.read_text()


def test_a_path_that_cannot_be_written_is_one_line(bridge, router, tmp_path):
    done = bridge("discover", "--no-mdns", "--write-config", str(tmp_path / "absent" / "file"), *router)
    assert done.returncode == 2
    assert "cannot be written" in done.stderr
    assert "Traceback" not in done.stderr


def test_watch_announces_a_newcomer_once_whether_by_lease_or_by_mdns(bridge, plant, shelly, leases, router):
    leases.write_text(GATEWAY_LEASE)
    said = []
    process = bridge.start("discover", "--watch", *router)
    responder = zeroconf.Zeroconf(interfaces=["127.0.0.1"])
    try:
        with ShellySim(Clock(), host="127.0.0.4", port=shelly.port, mac="AABBCC000004", name="Garage") as late:
            pipe = process.stdout.fileno()
            os.set_blocking(pipe, False)

            def lines():
                with contextlib.suppress(BlockingIOError):
                    said.append(os.read(pipe, 65_536).decode())
                return "".join(said).splitlines()

            assert until(lambda: "  nothing found" in lines(), 15)
            leases.write_text(GATEWAY_LEASE + SHELLY_LEASE)
            responder.register_service(zeroconf.ServiceInfo(
                "_shelly._tcp.local.", f"shellypro2-{late.device.identity.mac.lower()}._shelly._tcp.local.",
                addresses=[socket.inet_aton("127.0.0.4")], port=80, server="late.local.",
                properties={"gen": "2", "app": "Pro2", "ver": "1.7.4"}), cooperating_responders=True)
            assert until(lambda: sum(line.startswith("new device") for line in lines()) == 2, 25), "".join(said)
            news = [line for line in lines() if line.startswith("new device")]
        assert sorted(news) == [
            "new device Garage (SPSW-202XE16EU) at 127.0.0.4 - add it? sigen-bridge shelly setup --shelly-host 127.0.0.4",
            "new device Kitchen board (SPSW-202XE16EU) at 127.0.0.3 - add it?"
            " sigen-bridge shelly setup --shelly-host 127.0.0.3",
        ]
    finally:
        responder.close()
    os.set_blocking(pipe, True)
    assert bridge.stop(process)[0] == 0


def test_watch_says_each_newcomer_once_however_long_it_stays(capsys):
    class Rounds(ManualClock):
        """Ends the watch after 50 rounds; in the 10th a Shelly appears, and goes and comes back later."""

        count = 0

        def wait(self, seconds):
            self.count += 1
            found.shellys = [Shelly("192.168.8.9", "AABBCCDDEEFF", "shellypro2-1")] if self.count % 20 > 9 else []
            found.plants = [Plant("192.168.8.5", "0C:47:A9:9A:BC:DE", "", "lease", Verdict("refused", None, ""))]
            super().wait(seconds)
            return self.count > 50

    class Found:
        shellys, plants = [], []

        def look(self, hosts):
            swept.append(len(hosts))

    found, swept = Found(), []
    clock = Rounds()
    discover._watch(argparse.Namespace(json=False), found, None, clock, ["192.168.8.1"], discover.Progress(clock))
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("new Sigenergy device at 192.168.8.5 0C:47:A9:9A:BC:DE: refuses")
    assert lines[1].startswith("new device shellypro2-1 ")
    assert sum(swept) == 0  # 50 rounds are less than the pause between two sweeps
