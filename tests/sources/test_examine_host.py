"""Looking at a machine made of fixture files, and at what may stand at the status port."""

from __future__ import annotations

from bridge.control.diagnosis_host import Module
from bridge.sources.examine_host import (
    damaged,
    has,
    look_at_bridge,
    look_at_machine,
    modules_for,
    neighbours,
    on_flash,
    writable,
)

ARP = """IP address       HW type     Flags       HW address            Mask     Device
192.168.8.120    0x1         0x2         0c:47:a9:91:22:33     *        br-lan
192.168.8.121    0x1         0x0         00:00:00:00:00:00     *        br-lan
"""
LEASES = """1795230000 bc:31:98:d4:55:66 192.168.8.130 SigenStor 01:bc:31:98:d4:55:66
1795230000 00:11:22:33:44:55 192.168.8.131 printer *
"""


def put(root, path, content):
    full = root / path
    full.parent.mkdir(parents=True, exist_ok=True)
    full.write_text(content, "utf-8")


def test_neighbours_come_from_the_table_and_the_leases(tmp_path):
    put(tmp_path, "proc/net/arp", ARP)
    put(tmp_path, "tmp/dhcp.leases", LEASES)
    assert neighbours(str(tmp_path)) == {
        "192.168.8.120": "0C:47:A9:91:22:33", "192.168.8.130": "BC:31:98:D4:55:66", "192.168.8.131": "00:11:22:33:44:55"}


def test_a_machine_without_either_has_no_neighbours(tmp_path):
    assert neighbours(str(tmp_path)) == {}


def test_flash_is_a_matter_of_routers_and_of_the_mount(tmp_path):
    put(tmp_path, "proc/mounts", "overlayfs:/overlay / overlay rw 0 0\ntmpfs /tmp tmpfs rw 0 0\n")
    assert not on_flash(str(tmp_path), "/srv/sigen-bridge")
    put(tmp_path, "etc/openwrt_release", "")
    assert on_flash(str(tmp_path), "/srv/sigen-bridge")
    assert not on_flash(str(tmp_path), "/tmp/sigen-bridge")
    assert on_flash(str(tmp_path), "/tmpfiles")


def test_a_directory_that_can_be_made_can_be_written(tmp_path):
    assert writable(str(tmp_path)) and writable(str(tmp_path / "a" / "b"))
    put(tmp_path, "file", "")
    assert not writable(str(tmp_path / "file")) and not writable(str(tmp_path / "file" / "b"))
    assert not (tmp_path / "a").exists()


def test_half_a_file_is_damaged_and_a_missing_one_is_not(tmp_path):
    assert damaged(str(tmp_path)) == []
    put(tmp_path, "openapi-token.json", "{}")
    put(tmp_path, "openapi-limits.json", "{")
    assert damaged(str(tmp_path)) == [str(tmp_path / "openapi-limits.json")]


def test_modules_are_looked_for_without_importing_them():
    assert has("json") and has("bridge.cli") and not has("no_such_module") and not has("no_such.module")


def test_only_the_modules_of_what_is_used_are_needed(tmp_path, clock):
    assert modules_for({}) == ()
    assert [module.name for module in modules_for({"serial": True, "account": True})] == ["serial", "Crypto"]
    absent = Module("no_such_module", "a", "b", "c")
    seen = look_at_machine(str(tmp_path), str(tmp_path), (absent,), False, clock)
    assert seen.missing == (absent,) and seen.websocket and seen.clock_synced and seen.state_writable


def test_a_bridge_that_is_switched_off_is_not_asked():
    assert look_at_bridge("off", "").outcome == "off"
