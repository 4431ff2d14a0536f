"""The rows of doctor's findings, and the rules between what was seen and what is said."""

from __future__ import annotations

import pytest

from bridge.control.diagnosis import NOTE, OK, PROBLEM, RULES, finding
from bridge.control.diagnosis_host import (
    BridgeSeen,
    CloudSeen,
    CloudSettings,
    cloud_findings,
    cloud_settings_findings,
)
from bridge.control.diagnosis_plant import (
    DataSeen,
    LinkSeen,
    Look,
    data_findings,
    is_sigenergy,
    link_findings,
    neighbour_findings,
)
from bridge.control.diagnosis_serial import DAMAGED, DEVICE, PLANT, SILENT, LineSeen, Try, level_of, line_findings
from bridge.control.diagnosis_shelly import ShellySeen, Wanted, Writer, component_findings, shelly_findings
from bridge.peers.shelly_components import Component

PEER = LinkSeen("192.0.2.7:502", "192.0.2.7", 502, 247, "answers", "192.0.2.9")


def codes(findings):
    return [each.code for each in findings]


def looks(*kinds, step_s=1.0, **both):
    return tuple(Look(step_s * number, 1000.0, kind, "x", **both) for number, kind in enumerate(kinds))


def test_no_two_rows_give_the_same_advice():
    given = [rule.advice for rule in RULES.values() if rule.level != OK]
    assert len(set(given)) == len(given)


@pytest.mark.parametrize("code", sorted(RULES))
def test_every_problem_has_an_advice_and_nothing_else_is_a_level(code):
    rule = RULES[code]
    assert rule.level in (OK, NOTE, PROBLEM)
    assert bool(rule.advice) == (rule.level != OK)
    assert not rule.advice.endswith(".")


def test_an_advice_is_filled_with_facts():
    assert finding("plant_silent", "x", own="192.0.2.9").advice.endswith("access list: 192.0.2.9")


def test_a_gap_in_an_advice_is_never_left_open():
    with pytest.raises(KeyError):
        finding("plant_silent", "x")


def test_a_plant_that_answers_has_no_link_findings():
    assert link_findings(PEER._replace(answer="ok")) == []


@pytest.mark.parametrize(("mac", "code"), [
    ("0C:47:A9:91:22:33", "modbus_off"), ("bc:31:98:d0:00:01", "modbus_off"),
    ("BC:31:98:C0:00:01", "plant_other_device"), ("", "plant_refused"),
])
def test_who_refuses_tells_what_refusing_means(mac, code):
    assert codes(link_findings(PEER._replace(outcome="refused", mac=mac))) == [code]


def test_a_silent_unit_beside_one_that_answers_is_no_matter_of_the_allow_list():
    assert codes(link_findings(PEER._replace(outcome="silent"))) == ["plant_silent"]
    found = link_findings(PEER._replace(outcome="silent", unit=7, other_unit=247))
    assert codes(found) == ["plant_unit"] and found[0].advice == "set modbus.unit = 247"


def test_an_exception_is_explained_by_what_works_instead():
    asked = PEER._replace(answer="exception", exception=1)
    assert codes(link_findings(asked)) == ["plant_exception"]
    assert codes(link_findings(asked._replace(other_function=3))) == ["plant_function"]
    assert codes(link_findings(asked._replace(exception=2))) == ["plant_no_registers"]
    assert codes(link_findings(asked._replace(exception=11, other_unit=247))) == ["plant_unit"]
    assert codes(link_findings(asked._replace(exception=6))) == ["plant_busy"]


def test_sigenergy_is_known_by_its_mac():
    assert is_sigenergy("0c:47:a9:9a:00:00") and not is_sigenergy("0c:47:a9:8a:00:00")


def test_one_gateway_is_fine_and_two_devices_are_not():
    gateway = {"192.168.8.20": "0C:47:A9:91:22:33", "192.168.8.21": "00:11:22:33:44:55"}
    assert neighbour_findings(gateway) == []
    found = neighbour_findings({**gateway, "192.168.8.30": "bc:31:98:d4:55:66"})
    assert codes(found) == ["two_on_lan"] and "192.168.8.20, 192.168.8.30" in found[0].what


def test_one_device_with_two_addresses_is_one_device():
    assert neighbour_findings({"192.0.2.1": "0C:47:A9:91:22:33", "192.0.2.2": "0c:47:a9:91:22:33"}) == []


def test_a_single_odd_sample_is_no_finding():
    assert data_findings(DataSeen(looks=looks("balance", "", "balance"))) == []
    assert codes(data_findings(DataSeen(looks=looks("balance", "balance")))) == ["balance"]


def test_an_inverted_sign_explains_the_balance():
    assert codes(data_findings(DataSeen(looks=looks("balance", "balance", inverted=True)))) == ["grid_sign"]
    turned = DataSeen(looks=looks("balance", "balance", inverted=True), sign_set=True)
    assert codes(data_findings(turned)) == ["grid_sign_setting"]


def test_a_sign_that_nobody_can_judge_is_not_inverted():
    assert data_findings(DataSeen(looks=looks("", "", inverted=None))) == []


def test_a_clock_that_stands_for_a_moment_is_not_frozen():
    assert data_findings(DataSeen(looks=looks("", "", "", step_s=1.0, clock=1000.0))) == []
    assert codes(data_findings(DataSeen(looks=looks("", "", "", step_s=3.0, clock=1000.0)))) == ["frozen"]


def test_clocks_are_compared_only_when_ours_is_right():
    seen = DataSeen(values={"clock": 99_000.0}, looks=looks("", clock=99_000.0))
    assert codes(data_findings(seen)) == ["plant_clock"]
    assert data_findings(seen._replace(clock_synced=False)) == []


def test_a_missing_meter_is_told_from_one_that_does_not_answer():
    assert codes(data_findings(DataSeen(values={"grid_sensor": 0}))) == ["grid_sensor"]
    assert codes(data_findings(DataSeen(values={"grid_sensor": 0, "plant_alarm": 2}))) == ["meter_alarm"]


def test_remote_control_shows_in_either_register():
    assert codes(data_findings(DataSeen(remote_ems=1))) == ["remote_ems"]
    assert codes(data_findings(DataSeen(values={"ems_mode": 7}))) == ["remote_ems"]
    assert data_findings(DataSeen(remote_ems=0, values={"ems_mode": 0})) == []


def test_one_lost_answer_is_the_weather():
    assert data_findings(DataSeen(asked=12, failed=1)) == []
    assert codes(data_findings(DataSeen(asked=12, failed=2))) == ["plant_flaky"]


LINE = LineSeen("/dev/ttyUSB0", 1, 38400)


def test_a_line_level_is_no_talk():
    assert level_of(b"\xff" * 40) == "FF" and level_of(b"\0" * 40) == "00"
    assert level_of(b"\xff" * 4) == "" and level_of(bytes(range(40))) == ""


def test_the_plant_at_the_configured_place_is_no_problem():
    seen = LINE._replace(tries=(Try(1, 38400, PLANT),))
    assert codes(line_findings(seen)) == ["serial_ok"]


def test_the_plant_at_another_place_names_the_settings():
    seen = LINE._replace(tries=(Try(1, 38400, SILENT), Try(247, 9600, PLANT)))
    assert line_findings(seen)[0].advice == "set modbus.serial_unit = 247 and modbus.baud = 9600"


def test_where_the_plant_answers_a_broadcast_does_not_make_it_the_wrong_port():
    seen = LINE._replace(tries=(Try(1, 38400, PLANT),), frames=((0, 6),))
    assert codes(line_findings(seen)) == ["serial_ok", "serial_foreign"]


def test_broadcasts_without_a_plant_are_the_gateways_own_port():
    seen = LINE._replace(tries=(Try(1, 38400, SILENT),), frames=((0, 6), (3, 4)), heard=30)
    assert codes(line_findings(seen)) == ["serial_master"]


def test_a_device_says_more_than_damaged_bytes():
    tries = (Try(1, 38400, DEVICE), Try(247, 38400, DAMAGED))
    assert codes(line_findings(LINE._replace(tries=tries))) == ["serial_device_only"]
    assert codes(line_findings(LINE._replace(tries=tries[1:]))) == ["serial_noise"]


def component(key, value=0.0, **config):
    unit = "%" if key.endswith("201") else "W"
    known = {"min": -100_000, "max": 100_000, "persisted": False, "owner": "", "access": "*",
             "meta": {"ui": {"unit": unit}}}
    return Component(key, {**known, **config}, value, "")


def five(group=True, **changes):
    found = {f"number:{number}": component(f"number:{number}") for number in range(200, 205)}
    if group:
        found["group:200"] = Component("group:200", {}, list(found), "")
    return {**found, **changes}


def test_five_numbers_in_a_group_are_ready():
    assert component_findings(five(), Wanted(200)) == []


def test_components_are_looked_for_where_the_settings_say():
    assert codes(component_findings(five(), Wanted(203))) == ["shelly_missing", "shelly_foreign"]
    assert codes(component_findings(five(), Wanted(210))) == ["shelly_full"]


def test_a_freshness_component_is_missed_too():
    found = component_findings(five(), Wanted(200, "text:200"))
    assert codes(found) == ["shelly_missing"] and "text:200" in found[0].what


def test_a_foreign_component_may_be_adopted():
    foreign = five(**{"number:202": component("number:202", owner="service:0")})
    assert codes(component_findings(foreign, Wanted(200))) == ["shelly_foreign"]
    assert component_findings(foreign, Wanted(200, adopt=True)) == []


def test_an_unlimited_range_is_wide_enough():
    assert component_findings(five(**{"number:204": component("number:204", min=None, max=None)}), Wanted(200)) == []


INSIDE = ShellySeen("192.0.2.20:80", "192.0.2.20", 80, "open", "shelly", {"gen": 2, "app": "Pro2", "ver": "1.7.4"})


@pytest.mark.parametrize(("info", "code"), [
    ({"gen": 2, "app": "Plus2PM", "ver": "1.7.4"}, "shelly_model"),
    ({"gen": 2, "app": "Pro2", "ver": "1.3.0"}, "shelly_firmware_old"),
    ({"gen": 3, "app": "S3SW", "ver": "1.0.9"}, "shelly_firmware_old"),
])
def test_the_model_rule_is_told_from_old_firmware(info, code):
    assert codes(shelly_findings(INSIDE._replace(info=info, virtual=False), Wanted(200))) == [code]


def test_the_other_writers_source_is_named():
    seen = INSIDE._replace(components=five(), writers=(Writer("number:203", "UI"),))
    assert "source UI" in shelly_findings(seen, Wanted(200))[-1].advice


def test_a_bridge_reads_the_plant_only_when_it_says_so():
    healthy = BridgeSeen("answers", "", {"ok": True}, {"source": "modbus-tcp"})
    assert healthy.reads_plant
    assert not healthy._replace(snapshot={"source": "cloud-openapi"}).reads_plant
    assert not healthy._replace(health={"ok": False}).reads_plant


def test_half_of_the_credentials_names_the_other_half():
    nothing = CloudSettings(False, False, False, False, False, False)
    assert codes(cloud_settings_findings(nothing)) == ["cloud_not_set"]
    half = nothing._replace(username=True, region=True, system_id=True)
    assert cloud_settings_findings(half)[0].advice == "set cloud.password"
    assert codes(cloud_settings_findings(half._replace(password=True))) == ["cloud_ok"]


def test_the_clouds_refusals_name_the_credentials_in_use():
    assert "cloud.username" in cloud_findings(CloudSeen("login", "x"), "", by_key=False)[0].advice
    assert "cloud.app_key" in cloud_findings(CloudSeen("login", "x"), "", by_key=True)[0].advice
