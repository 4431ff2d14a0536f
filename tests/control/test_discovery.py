"""What the tables, mDNS and the devices say, put together; and the report in words."""

from __future__ import annotations

import json

import pytest

from bridge.control import discovery_report as report
from bridge.control.discovery import (
    Plant,
    Shelly,
    found_settings,
    from_http,
    from_mdns,
    from_table,
    is_sigenergy,
    plant_choice,
    plants_in,
    shelly_choice,
    union,
    virtual_components,
    warnings,
)
from bridge.link.mdns import Announced
from bridge.link.neighbours import Neighbourhood, Seen
from bridge.peers.shelly_identity import Identity
from bridge.sources.confirm import REACHABLE, SILENT, STATES, Verdict
from tests.conftest import FIXTURES

GATEWAY, INVERTER = "0C:47:A9:9A:BC:DE", "BC:31:98:D1:02:03"
GOOD = Verdict(REACHABLE, 8540.0, "")


def own(towards):
    return "192.168.8.1"


def lease(mac, ip, hostname=""):
    return Seen(mac, ip, hostname, "", "lease")


def neighbour(mac, ip):
    return Seen(mac, ip, "", "br-lan", "neighbour")


def able(name, ip, free=5):
    return Shelly(ip, f"0000000000{ip[-2:].replace('.', '0')}", f"shellypro2-{ip}", "", name, "", "SPSW", "Pro2", 2,
                  "1.7.4", False, free)


@pytest.mark.parametrize(("mac", "ours"), [
    ("0c:47:a9:9f:ff:ff", True), ("BC3198D00000", True), ("bc-31-98-d1-02-03", True),
    ("0c:47:a9:8f:ff:ff", False), ("bc:31:98:e1:02:03", False), ("", False),
])
def test_sigenergy_devices_are_known_by_28_bits_of_their_mac(mac, ours):
    assert is_sigenergy(mac) is ours


def test_the_gateway_is_found_in_the_lease_file_alone():
    tables = Neighbourhood([str(FIXTURES / "leases" / "house.leases")], None, None)
    assert plants_in(tables.leases()) == [Plant("192.168.8.105", GATEWAY, "SigenGateway", "lease", None)]


def test_a_device_in_both_tables_is_one_with_name_and_present_address():
    moved = plants_in([lease(GATEWAY, "192.168.8.105", "Sigen"), neighbour(GATEWAY, "192.168.8.7")])
    assert [(plant.ip, plant.hostname) for plant in moved] == [("192.168.8.7", "Sigen")]
    two_addresses = [neighbour(GATEWAY, "192.168.8.7"), neighbour(GATEWAY, "192.168.8.105")]
    assert plants_in([lease(GATEWAY, "192.168.8.105", "Sigen"), *two_addresses])[0].ip == "192.168.8.105"
    assert plants_in([neighbour(GATEWAY, "192.168.8.7")])[0].by == "neighbour"


def test_two_sigenergy_macs_give_the_warning_one_gives_none():
    tables = Neighbourhood([str(FIXTURES / "leases" / "two-sigenergy.leases")], None, None)
    plants = plants_in(tables.leases())
    assert warnings(plants[:1]) == []
    [text] = warnings(plants)
    assert f"192.168.8.105 {GATEWAY}" in text
    assert f"192.168.8.106 {INVERTER}" in text
    assert "Only the gateway belongs there" in text
    assert "daily dropouts" in text


def test_a_shelly_is_called_by_mdns_then_by_itself_then_by_its_id():
    who = Identity("shellypro2-ec62608ab9a4", "EC62608AB9A4", "Board", "SPSW-202XE16EU", "Pro2", 2, "1.7.5", False)
    said = Announced("192.168.8.9", "shellypro2-ec62608ab9a4", "EC62608AB9A4", "Kitchen", 2, "Pro2", "1.7.5")
    [both] = union([from_mdns(said), from_http("192.168.8.9", who, 5)])
    assert both.name == "Kitchen"
    assert both.model == "SPSW-202XE16EU"
    [told] = union([from_mdns(said._replace(name="")), from_http("192.168.8.9", who, 5)])
    assert told.name == "Board"
    [plain] = union([from_http("192.168.8.9", who._replace(name=""), 5)])
    assert plain.name == "shellypro2-ec62608ab9a4"
    [lease_only] = union([from_table(lease("EC:62:60:8A:B9:A4", "192.168.8.9", "ShellyPro2"))])
    assert lease_only.name == "ShellyPro2"
    assert Shelly("192.168.8.9").name == "192.168.8.9"


def test_one_device_by_three_roads_is_one_entry():
    who = Identity("shellyplus1-b9a4", "EC62608AB9A4", "", "SNSW-001X16EU", "Plus1", 2, "1.7.5", True)
    nameless = Announced("192.168.8.9", "", "", "Hall", 2, "Plus1", "1.7.5")  # its id instance got lost
    found = union([from_table(lease("EC:62:60:8A:B9:A4", "192.168.8.9")), from_mdns(nameless),
                   from_http("192.168.8.9", who, None)])
    assert [(each.name, each.mac, each.auth) for each in found] == [("Hall", "EC62608AB9A4", True)]


def test_no_room_and_no_password_are_news_and_not_nothing():
    who = Identity("shellypro2-1", "AABBCCDDEEFF", "", "SPSW-202XE16EU", "Pro2", 2, "1.7.5", False)
    [found] = union([Shelly("192.168.8.9", free=3, auth=True), from_http("192.168.8.9", who, 0)])
    assert (found.free, found.auth) == (0, False)


def test_a_device_that_moved_is_at_its_later_address():
    found = union([Shelly("192.168.8.9", "AABBCCDDEEFF"), Shelly("192.168.8.10", "AABBCCDDEEFF")])
    assert [each.ip for each in found] == ["192.168.8.10"]


@pytest.mark.parametrize(("gen", "app", "device_id", "version", "can"), [
    (1, "", "shelly1-b929cc", "1.14.0", False), (2, "Plus1", "", "1.7.5", False), (2, "Pro2", "", "1.7.5", True),
    (2, "Pro2", "", "1.3.3", False), (2, "", "shellypro1pm-aa", "1.4.0", True), (3, "S1G3", "", "1.10.0", True),
    (4, "S1G4", "", "2.0.1", True), (3, "S1G3", "", "", None), (0, "", "shellypro2-aa", "1.7.5", None),
    (2, "", "", "1.7.5", None), (2, "", "shellyplus1-aa", "1.7.5", False),
])
def test_the_vendor_s_rule_says_who_can_have_virtual_components(gen, app, device_id, version, can):
    assert virtual_components(gen, app, device_id, version) is can


def test_the_only_plant_that_answers_is_the_choice():
    plants = [Plant("192.168.8.5", GATEWAY, "", "lease", GOOD),
              Plant("192.168.8.6", INVERTER, "", "lease", Verdict(SILENT, None, "no answer"))]
    assert plant_choice(plants, "", "") == (plants[0], "")
    assert plant_choice(plants[1:], "", "") == (None, "")
    assert plant_choice(plants, "192.168.8.6", "") == (plants[1], "")
    assert plant_choice(plants, "192.168.8.9", "") == (None, "there is no plant at 192.168.8.9")


def test_between_two_plants_the_owner_chooses_or_has_chosen():
    plants = [Plant("192.168.8.5", GATEWAY, "", "lease", GOOD), Plant("192.168.8.6", INVERTER, "", "lease", GOOD)]
    chosen, why = plant_choice(plants, "", "")
    assert chosen is None
    assert why == "2 plants answer (192.168.8.5, 192.168.8.6): say which one with --host ADDRESS"
    assert plant_choice(plants, "", "192.168.8.6") == (plants[1], "")


def test_the_only_shelly_with_room_is_the_choice():
    shellys = [able("Hall", "192.168.8.10", free=4), able("Board", "192.168.8.11"),
               Shelly("192.168.8.12", gen=2, app="Plus1")]
    assert shelly_choice(shellys, "", "") == (shellys[1], "")
    assert shelly_choice(shellys, "192.168.8.10", "") == (shellys[0], "")
    assert shelly_choice(shellys, "", shellys[0].mac) == (shellys[0], "")
    assert shelly_choice(shellys[:1], "", "") == (None, "")
    assert shelly_choice(shellys, "192.168.8.99", "")[1] == "there is no Shelly at 192.168.8.99"


def test_between_many_shellys_a_few_are_named():
    chosen, why = shelly_choice([able(f"No {n}", f"192.168.8.{n}") for n in range(10, 22)], "", "")
    assert chosen is None
    assert why.startswith("12 Shellys could show the numbers (No 10 192.168.8.10, ")
    assert "and 4 more" in why
    assert why.endswith("--shelly-host ADDRESS")


def test_settings_name_ports_only_where_they_are_not_the_usual_ones():
    plant, shelly = Plant("192.168.8.5", GATEWAY, "", "lease", GOOD), able("Hall", "192.168.8.10")
    assert found_settings(plant, 502, shelly, 80) == {
        "modbus.host": "192.168.8.5", "shelly.host": "192.168.8.10", "shelly.mac": shelly.mac}
    assert found_settings(plant, 1502, None, 80) == {"modbus.host": "192.168.8.5", "modbus.port": "1502"}
    assert found_settings(None, 502, shelly._replace(mac=""), 8180) == {"shelly.host": "192.168.8.10:8180"}


def test_each_state_of_a_plant_has_words_of_its_own():
    texts = [report.plant_text(Plant("192.168.8.5", GATEWAY, "", "lease", Verdict(state, 1.0, "")), "192.168.8.1")
             for state in STATES]
    assert len(set(texts)) == len(STATES)


def test_a_silent_plant_is_told_which_address_to_allow():
    plant = Plant("192.168.8.5", GATEWAY, "", "lease", Verdict(SILENT, None, "no answer"))
    assert "allow THIS address: 192.168.8.1" in report.plant_text(plant, "192.168.8.1")


def test_the_report_in_words():
    plants = [Plant("192.168.8.5", GATEWAY, "SigenGateway", "lease", GOOD)]
    shellys = [able("Hall", "192.168.8.10"), Shelly("192.168.8.100", "AABBCCDDEEFF", gen=2, app="Plus1", version="1.7.5")]
    assert report.lines(plants, shellys, ["careful"], ["fine"], own) == [
        "Sigenergy",
        "  192.168.8.5  0C:47:A9:9A:BC:DE  SigenGateway  answers: importing 8540 W",
        "Shelly",
        f"  Hall           SPSW   1.7.4  192.168.8.10   {shellys[0].mac}  can show the numbers, 5 of 10 slots free",
        "  192.168.8.100  Plus1  1.7.5  192.168.8.100  AABBCCDDEEFF  cannot show the numbers",
        "warning: careful", "note: fine",
    ]


def test_nothing_found_is_said_and_unfit_shellys_bring_the_rule():
    assert report.lines([], [], [], [], own) == ["Sigenergy", "  nothing found", "Shelly", "  nothing found"]
    assert "Gen3, Gen4 or Gen2 Pro" in report.lines([], [Shelly("192.168.8.9", gen=1)], [], [], own)[-1]


def test_the_report_for_programs_has_null_for_unknown():
    plants = [Plant("192.168.8.5", "", "", "sweep", Verdict(SILENT, None, "no answer"))]
    content = json.loads(json.dumps(report.data(plants, [Shelly("192.168.8.9")], [], [], own)))
    assert content["plants"][0]["mac"] is None
    assert content["plants"][0]["grid_import_w"] is None
    assert content["plants"][0]["own_address"] == "192.168.8.1"
    assert content["shellys"][0] == {
        "name": "192.168.8.9", "id": None, "ip": "192.168.8.9", "mac": None, "model": None, "app": None, "gen": None,
        "firmware": None, "password": None, "virtual_components": None, "free_slots": None}


def test_a_newcomer_is_one_line_with_what_to_do():
    assert report.newcomer(able("Hall", "192.168.8.10")) == (
        "new device Hall (SPSW) at 192.168.8.10 - add it? sigen-bridge shelly setup --shelly-host 192.168.8.10")
