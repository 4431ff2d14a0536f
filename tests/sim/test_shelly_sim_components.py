"""Virtual components and system services of the Shelly simulator."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bridge.sim.shelly import ShellySim, s3_components
from tests.sim.shelly_wire import ask, call, get

FIXTURES = Path(__file__).parent.parent / "fixtures"
CAPTURED = {"id": 200, "name": "Number1", "min": 0, "max": 100, "persisted": True, "default_value": 0,
            "meta": {"ui": {"view": "slider", "unit": "", "step": 1, "icon": ""}}, "owner": "", "access": "*"}


@pytest.fixture
def sim(clock):
    with ShellySim(clock, components=s3_components()) as device:
        yield device


@pytest.fixture
def empty(clock):
    with ShellySim(clock) as device:
        yield device


def code(reply):
    return reply["error"]["code"]


def add(sim, kind="number", **more):
    return call(sim, "Virtual.Add", {"type": kind, **more})


def pages(sim):
    """Walk the pages as a client must; returns the keys page by page."""
    found, offset = [], 0
    while True:
        page = call(sim, "Shelly.GetComponents", {"dynamic_only": True, "offset": offset})["result"]
        assert page["offset"] == offset
        found.append([item["key"] for item in page["components"]])
        offset += len(page["components"])
        if offset >= page["total"]:
            return found


def test_added_number_looks_like_the_captured_one(empty):
    config = {"name": "Number1", "persisted": True}
    assert add(empty, config=config)["result"] == {"id": 200}
    found = call(empty, "Shelly.GetComponents", {"dynamic_only": True})["result"]
    assert found["components"] == [
        {"key": "number:200", "status": {"value": 0, "source": "", "last_update_ts": 0}, "config": CAPTURED}]
    assert (found["total"], found["offset"], found["cfg_rev"]) == (1, 0, 2)


def test_ids_are_the_lowest_free_or_the_wanted_one(empty):
    assert add(empty, id=203)["result"] == {"id": 203}
    assert [add(empty)["result"]["id"] for _ in range(4)] == [200, 201, 202, 204]
    assert add(empty, "boolean")["result"] == {"id": 200}, "each type counts for itself"
    for wrong in (203, 199, 300, "200"):
        assert code(add(empty, id=wrong)) == -103
    assert code(add(empty, "nothing")) == -103


def test_there_are_ten_components_in_all_groups_included(empty):
    for kind in ("number", "boolean", "text", "enum", "button", "group"):
        add(empty, kind)
    for _ in range(4):
        add(empty)
    assert code(add(empty, "text")) == -108
    assert call(empty, "Virtual.Delete", {"key": "button:200"})["result"] is None
    assert "result" in add(empty, "text")


def test_pages_end_by_size_eight_of_ten_short_numbers_fit(empty):
    for number in range(10):
        add(empty, config={"name": f"Number{number}"})
        call(empty, "Number.Set", {"id": 200 + number, "value": 76})
    assert [len(page) for page in pages(empty)] == [8, 2]


def test_longer_configurations_make_shorter_pages(empty):
    icon = "https://api.iconify.design/mdi/solar-power-variant-outline.svg?color=%23ffd700&width=64&height=64"
    for number in range(10):
        add(empty, config={"name": f"Sigenergy {number}", "meta": {"ui": {"icon": icon}}})
    found = pages(empty)
    assert [len(page) for page in found] == [6, 4]
    assert sorted(sum(found, [])) == [f"number:{200 + i}" for i in range(10)]


def test_missing_keys_are_silently_left_out(sim):
    params = {"keys": ["number:204", "number:299", "number:200"], "include": ["config", "status"]}
    found = call(sim, "Shelly.GetComponents", params)["result"]
    assert sorted(item["key"] for item in found["components"]) == ["number:200", "number:204"]
    assert found["total"] == 2
    assert set(found["components"][0]) == {"key", "status", "config"}


def test_virtual_components_are_not_in_get_status_or_get_config(sim):
    for method in ("Shelly.GetStatus", "Shelly.GetConfig"):
        found = call(sim, method)["result"]
        assert "switch:1" in found and "sys" in found
        assert not [key for key in found if key.startswith("number")]


def test_all_components_are_listed_by_key_alone(sim):
    found = call(sim, "Shelly.GetComponents")["result"]
    assert {"key": "switch:0"} in found["components"] and {"key": "group:200"} in found["components"]


def test_number_takes_decimals_and_negatives_within_its_range(sim):
    for number, value in ((200, 2800), (201, 15.4), (202, -5000), (203, -8540), (204, 11340)):
        call(sim, "Number.Set", {"id": number, "value": value})
    assert sim.values == {200: 2800, 201: 15.4, 202: -5000, 203: -8540, 204: 11340}
    assert [item[1:] for item in sim.history][-1] == ("number:204", 11340, "rpc")


@pytest.mark.parametrize("policy, stored, refused", [("reject", 0, True), ("clamp", 100, False),
                                                     ("accept", 340, False)])
def test_out_of_range_is_handled_as_chosen(clock, policy, stored, refused):
    with ShellySim(clock, components=["number:200"], out_of_range=policy) as sim:
        reply = call(sim, "Number.Set", {"id": 200, "value": 340})
        assert ("error" in reply) is refused
        assert not refused or code(reply) == -103
        assert sim.values[200] == stored


@pytest.mark.parametrize("value", [None, "5", True, [5], {"v": 5}])
def test_number_refuses_other_types(sim, value):
    assert code(call(sim, "Number.Set", {"id": 200, "value": value})) == -103
    assert code(call(sim, "Number.Set", {"id": 200})) == -103
    assert code(call(sim, "Number.Set", {"value": 5})) == -103


def test_each_type_takes_its_own_values(empty):
    for kind in ("boolean", "text", "group", "number"):
        add(empty, kind)
    add(empty, "enum", config={"options": ["a", "b"]})
    for method, good, bad in (("Boolean", True, 1), ("Text", "hello", "x" * 256), ("Enum", "b", "c"),
                              ("Group", ["number:200"], ["number:201"]), ("Group", [], ["group:200"])):
        assert call(empty, f"{method}.Set", {"id": 200, "value": good})["result"] is None
        assert call(empty, f"{method}.GetStatus", {"id": 200})["result"]["value"] == good
        assert code(call(empty, f"{method}.Set", {"id": 200, "value": bad})) in (-103, -105)


def test_button_triggers_and_has_no_value(empty):
    add(empty, "button")
    assert call(empty, "Button.Trigger", {"id": 200, "event": "single_push"})["result"] is None
    assert call(empty, "Button.GetStatus", {"id": 200})["result"] == {}
    assert code(call(empty, "Button.Set", {"id": 200, "value": 1})) == 404


def test_deleted_number_is_gone_also_from_its_group(sim):
    sim.delete("number:203")
    assert code(call(sim, "Number.Set", {"id": 203, "value": 1})) == -105
    assert call(sim, "Group.GetStatus", {"id": 200})["result"]["value"] == [
        "number:200", "number:201", "number:202", "number:204"]
    assert code(call(sim, "Virtual.Delete", {"key": "number:203"})) == -105


def test_set_config_merges_counts_flash_and_bumps_cfg_rev(sim):
    before = sim.counters.flash_writes
    changes = {"max": 5_000, "meta": {"ui": {"unit": "kW"}}}
    reply = call(sim, "Number.SetConfig", {"id": 200, "config": changes})
    assert reply["result"] == {"restart_required": False}
    config = call(sim, "Number.GetConfig", {"id": 200})["result"]
    assert (config["max"], config["min"], config["meta"]["ui"]["unit"]) == (5_000, 0, "kW")
    assert config["meta"]["ui"]["view"] == "label"
    assert sim.counters.flash_writes == before + 1
    assert call(sim, "Sys.GetStatus")["result"]["cfg_rev"] == 2


@pytest.mark.parametrize("config", [{"min": 10, "max": 5}, {"max": "many"}, {"persisted": 1}, {"name": 5},
                                    {"default_value": 200_000}])
def test_senseless_config_is_refused_and_nothing_changes(sim, config):
    before = call(sim, "Number.GetConfig", {"id": 200})
    assert code(call(sim, "Number.SetConfig", {"id": 200, "config": config})) == -103
    assert call(sim, "Number.GetConfig", {"id": 200}) == before


def test_owner_and_access_cannot_be_set(sim):
    call(sim, "Number.SetConfig", {"id": 200, "config": {"owner": "me", "access": "cr", "id": 250}})
    config = call(sim, "Number.GetConfig", {"id": 200})["result"]
    assert (config["owner"], config["access"], config["id"]) == ("", "*", 200)


def test_only_persisted_values_survive_a_reboot_and_each_write_costs_flash(clock):
    components = [{"key": "number:200", "config": {"default_value": 7}, "status": {"value": 9}},
                  {"key": "number:201", "config": {"persisted": True}}]
    with ShellySim(clock, components=components) as sim:
        for _ in range(3):
            call(sim, "Number.Set", {"id": 200, "value": 50})
        assert sim.counters.flash_writes == 0
        for _ in range(3):
            call(sim, "Number.Set", {"id": 201, "value": 50})
        assert sim.counters.flash_writes == 3
        sim.reboot()
        assert sim.values == {200: 7, 201: 50}
        assert call(sim, "Number.GetStatus", {"id": 200})["result"]["source"] == "sys"


def test_foreign_components_are_loaded_and_protected(clock):
    with ShellySim(clock, other_owner=True) as sim:
        config = call(sim, "Number.GetConfig", {"id": 201})["result"]
        assert (config["owner"], config["meta"]["ui"]["unit"]) == ("service:0", "°C")
        assert sim.values == {200: 59, 201: 25.5, 202: 27}
        assert code(call(sim, "Number.Set", {"id": 200, "value": 1})) == -109
        assert code(call(sim, "Number.SetConfig", {"id": 200, "config": {"name": "x"}})) == -109
        assert code(call(sim, "Virtual.Delete", {"key": "number:200"})) == -109
        sim.write_as_other("number:200", 61, "service:0")
        assert sim.values[200] == 61


def test_captured_components_of_real_devices_are_listed_as_captured(clock):
    items = json.loads((FIXTURES / "shelly-real.json").read_text("utf-8"))["items"]
    real = next(item for item in items if item.get("device", {}).get("app") == "XT1")
    with ShellySim(clock, gen=3, app="XT1", model="S3XT-0S", firmware="1.4.99",
                   components=real["components"]) as sim:
        listed = call(sim, "Shelly.GetComponents", {"dynamic_only": True})["result"]["components"]
        assert [item["config"] for item in listed] == [item["config"] for item in real["components"]]
        assert [item["status"]["value"] for item in listed] == [59, 25.5, 27]


@pytest.mark.parametrize("gen, app, firmware, has", [
    (2, "Pro2", "1.7.4", True), (2, "Pro2", "1.3.3", False), (2, "Plus2PM", "1.7.4", False),
    (3, "Mini1G3", "1.4.4", True), (4, "Mini1G4", "1.6.0", True)])
def test_models_and_firmware_without_virtual_components_lack_the_methods(clock, gen, app, firmware, has):
    with ShellySim(clock, gen=gen, app=app, firmware=firmware) as sim:
        methods = call(sim, "Shelly.ListMethods")["result"]["methods"]
        assert ("Number.Set" in methods) is ("Virtual.Add" in methods) is has
        assert ("error" not in add(sim)) is has


def test_second_writer_is_seen_in_source_and_time(sim, clock):
    call(sim, "Number.Set", {"id": 203, "value": 1})
    clock.advance(5)
    sim.write_as_other("number:203", 2, "script")
    assert call(sim, "Number.GetStatus", {"id": 203})["result"] == {
        "value": 2, "source": "script", "last_update_ts": int(clock.now())}


def test_device_name_is_set_through_sys(sim):
    call(sim, "Sys.SetConfig", {"config": {"device": {"name": "Meter"}}})
    assert call(sim, "Sys.GetConfig")["result"]["device"]["name"] == "Meter"
    assert get(sim, "/shelly").json()["name"] == "Meter"
    assert ask(sim, "POST", "/rpc/Sys.SetConfig", {"config": {"device": {"name": 5}}}).status == 500


def test_eleven_initial_components_are_a_mistake(clock):
    with pytest.raises(ValueError, match="at most 10"):
        ShellySim(clock, components=[f"number:{200 + i}" for i in range(11)])
