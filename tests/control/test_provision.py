"""What setup plans: everything that is missing, nothing of others, nothing twice."""

from __future__ import annotations

import copy

import pytest

from bridge.control.provision import free_first_id, number_config, plan_setup, wanted_keys
from bridge.peers.shelly import ShellyClient
from bridge.peers.shelly_components import Component, read_components
from bridge.sim.shelly import ShellySim, s3_components
from bridge.sinks.display import DISPLAY


def component(key, config=None, value=None):
    return Component(key, config or {}, value, "")


def as_dict(*components):
    return {each.key: each for each in components}


def ours(first_id=200):
    """Return the five numbers as setup leaves them, and their group."""
    numbers = [component(f"number:{first_id + row.offset}", number_config(row), 0) for row in DISPLAY]
    group = component("group:200", {"name": "Sigenergy"}, [each.key for each in numbers])
    return as_dict(*numbers, group)


def test_an_empty_device_gets_five_numbers_and_a_group():
    plan = plan_setup({}, 200)
    assert [step.method for step in plan.steps] == ["Virtual.Add"] * 6 + ["Group.Set"]
    added = {step.params["id"]: step.params for step in plan.steps[:5]}
    assert added[203]["config"]["min"] < 0 and added[200]["config"]["min"] == 0 and added[201]["config"]["max"] == 100
    for params in added.values():
        assert params["type"] == "number"
        assert params["config"]["persisted"] is False
        assert params["config"]["meta"]["cloud"] == ["measurement"]
        assert params["config"]["meta"]["ui"]["view"] in ("label", "progressbar")
    assert plan.steps[-1].params["value"] == wanted_keys(200, None)


def test_what_is_there_already_needs_no_step():
    assert plan_setup(ours(), 200) == ((), (), ())


def test_a_number_that_is_kept_in_flash_is_changed():
    there = ours()
    there["number:200"] = component("number:200", {**there["number:200"].config, "persisted": True})
    plan = plan_setup(there, 200)
    assert [(step.method, step.params) for step in plan.steps] == [
        ("Number.SetConfig", {"id": 200, "config": {"persisted": False}})]


def test_a_range_that_is_too_narrow_is_widened_and_a_wider_one_kept():
    there = ours()
    narrow = {**there["number:204"].config, "max": 100}
    wide = {**there["number:203"].config, "max": 500_000}
    there.update(as_dict(component("number:204", narrow), component("number:203", wide)))
    assert [step.params["config"] for step in plan_setup(there, 200).steps] == [{"max": 100_000}]


def test_a_name_and_an_icon_that_the_user_chose_stay():
    there = ours()
    config = copy.deepcopy(dict(there["number:200"].config))
    config["name"] = "Sonne"
    config["meta"]["ui"]["icon"] = "https://example.org/mine.svg"
    there["number:200"] = component("number:200", config)
    assert plan_setup(there, 200).steps == ()


def test_an_editable_view_is_made_read_only():
    there = ours()
    config = copy.deepcopy(dict(there["number:202"].config))
    config["meta"]["ui"]["view"] = "slider"
    there["number:202"] = component("number:202", config)
    changed = plan_setup(there, 200).steps[0].params["config"]["meta"]
    assert changed["ui"]["view"] == "label" and changed["ui"]["unit"] == "W"


@pytest.mark.parametrize("config", [
    {"owner": "service:0", "meta": {"ui": {"unit": "W"}}}, {"owner": "", "meta": {"ui": {"unit": "%"}}},
])
def test_a_foreign_number_refuses_everything_and_a_free_block_is_named(config):
    plan = plan_setup(as_dict(component("number:202", config)), 200)
    assert plan.steps == () and "number:202" in plan.refusals[0]
    assert "use --shelly-first-id 203" in plan.refusals[-1]


def test_adopting_takes_over_what_has_another_unit():
    plan = plan_setup(as_dict(component("number:202", {"meta": {"ui": {"unit": "%", "view": "label"}}})), 200, adopt=True)
    changed = [step for step in plan.steps if step.method == "Number.SetConfig"]
    assert changed[0].params["config"]["meta"]["ui"]["unit"] == "W"


def test_a_full_device_is_refused_with_what_it_holds():
    others = as_dict(*[component(f"enum:{200 + i}") for i in range(6)])
    plan = plan_setup(others, 200)
    assert plan.steps == () and "delete 1 that you do not need" in plan.refusals[0] and "enum:203" in plan.refusals[0]


def test_without_room_for_the_group_the_numbers_are_made_and_it_is_said():
    others = as_dict(*[component(f"enum:{200 + i}") for i in range(5)])
    plan = plan_setup(others, 200)
    assert len(plan.steps) == 5 and "no room for a group" in plan.notes[0]


def test_a_group_that_shows_some_of_them_is_extended_and_keeps_its_other_members():
    there = ours()
    there["group:200"] = component("group:200", {"name": "Mine"}, ["number:200", "enum:200"])
    there["enum:200"] = component("enum:200")
    step, = plan_setup(there, 200).steps
    assert step.method == "Group.Set" and step.params["id"] == 200
    assert step.params["value"][:2] == ["number:200", "enum:200"] and set(wanted_keys(200, None)) <= set(step.params["value"])


def test_a_group_of_somebody_else_is_left_alone():
    there = as_dict(component("group:200", {"name": "Other"}, ["enum:200"]))
    plan = plan_setup(there, 200)
    assert plan.steps[-1].params["id"] == 201


@pytest.mark.parametrize("kind", ["text", "boolean"])
def test_a_freshness_component_is_made_on_request(kind):
    plan = plan_setup(ours(), 200, freshness=kind)
    assert [step.method for step in plan.steps] == ["Virtual.Add", "Group.Set"]
    assert plan.steps[0].params["type"] == kind and plan.steps[0].params["config"]["persisted"] is False


def test_a_freshness_component_of_somebody_else_is_refused():
    there = {**ours(), **as_dict(component("text:200", {"owner": "script:1"}))}
    assert "text:200 belongs to script:1" in plan_setup(there, 200, freshness="text").refusals[0]


def test_free_ids_are_found_around_others():
    assert free_first_id({}) == 200
    assert free_first_id(as_dict(component("number:203", {"owner": "x"}), component("number:206", {"owner": "x"}))) == 207
    assert free_first_id({f"number:{n}": component(f"number:{n}", {"owner": "x"}) for n in range(200, 300, 4)}) is None


def test_no_plan_deletes_anything():
    devices = [{}, ours(), as_dict(*[component(f"enum:{200 + i}") for i in range(9)])]
    for there in devices:
        for kind in (None, "text"):
            assert all("Delete" not in step.method for step in plan_setup(there, 200, freshness=kind).steps)


@pytest.mark.parametrize("components, freshness", [((), None), ((), "text"), (s3_components(), "boolean")])
def test_carried_out_on_a_device_it_is_complete_and_planned_again_it_is_empty(clock, components, freshness):
    with ShellySim(clock, components=components) as sim:
        client = ShellyClient(sim.address, clock)
        for step in plan_setup(read_components(client.call), 200, freshness).steps:
            client.call(step.method, step.params)
        there = read_components(client.call)
        assert set(wanted_keys(200, freshness)) <= set(there)
        assert plan_setup(there, 200, freshness).steps == ()
        assert all(not there[key].config["persisted"] for key in wanted_keys(200, freshness))
        client.close()
