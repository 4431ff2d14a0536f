"""The script library: settings filled in as constants, and scripts of others left alone."""

from __future__ import annotations

import json

import pytest

from bridge.errors import ConfigError, ShellyError
from bridge.peers.shelly import ShellyClient
from bridge.peers.shelly_library import (
    HIDDEN,
    LIBRARY,
    configured,
    install,
    look,
    options_in,
    parsed,
    remove,
    script_named,
    shown,
    source,
)
from bridge.peers.shelly_script import MARK
from bridge.sim.shelly import ShellySim, s3_components
from tests.script_rules import check
from tests.sim.quickjs_runner import QuickJsRun

MONITOR, RS485 = script_named("monitor"), script_named("rs485")


@pytest.fixture
def sim(clock):
    with ShellySim(clock, components=s3_components(), script_runner=QuickJsRun) as device:
        yield device


@pytest.fixture
def call(sim, clock):
    client = ShellyClient(sim.address, clock, transport="http", timeout_s=1.0)
    yield client.call
    client.close()


@pytest.mark.parametrize("script", LIBRARY, ids=lambda script: script.name)
def test_each_script_is_ours_suits_the_device_and_has_its_settings_as_constants(script):
    code = source(script)
    assert code.startswith(MARK) and code.isascii() and check(code) == []
    assert set(options_in(script, code)) == {option.name for option in script.options}
    assert configured(script, {}) == code and configured(script, options_in(script, code)) == code


def test_settings_become_constants_and_nothing_else_changes():
    code = configured(RS485, {"unit": 247, "baud": 9600})
    changed = [(a, b) for a, b in zip(source(RS485).splitlines(), code.splitlines()) if a != b]
    assert changed == [("  unit: 1,", "  unit: 247,"), ("  baud: 38400,", "  baud: 9600,")]
    assert len(code.splitlines()) == len(source(RS485).splitlines()) and check(code) == []


@pytest.mark.parametrize("name, text", [
    ("unit", "0"), ("unit", "248"), ("unit", "x"), ("baud", "12"), ("period_s", "0"), ("first_id", "199"), ("speed", "1"),
])
def test_a_setting_that_does_not_fit_is_one_line(name, text):
    with pytest.raises(ConfigError, match=name):
        parsed(RS485, {name: text})


@pytest.mark.parametrize("text", ['http://a/"};evil();{"', "http://a/\\", "ftp://a/", "http://a/\u00e4", "http://a/x y\n"])
def test_a_text_cannot_break_out_of_its_constant(text):
    with pytest.raises(ConfigError):
        parsed(MONITOR, {"url": text})


def test_a_secret_is_shown_nowhere():
    assert shown(MONITOR, {"token": "sesame", "url": "http://a/"}) == {"token": HIDDEN, "url": "http://a/"}
    assert shown(MONITOR, {"token": ""}) == {"token": ""}
    with pytest.raises(ConfigError) as refused:
        parsed(MONITOR, {"token": 'se"same'})
    assert "same" not in str(refused.value)


def test_installed_it_runs_starts_on_boot_and_is_read_back(sim, call):
    there = install(call, MONITOR, {"url": "http://192.168.8.1:8502/latest"}, None)
    assert (there.running, there.enabled, there.current, there.options["url"]) == (
        True, True, True, "http://192.168.8.1:8502/latest")
    assert sim.device.scripts.by_id[1].code == configured(MONITOR, {"url": "http://192.168.8.1:8502/latest"})


def test_an_update_keeps_the_settings_of_the_device(sim, call):
    install(call, RS485, {"unit": 247}, None)
    stored = sim.device.scripts.by_id[1]
    stored.code = stored.code.replace("let FORGIVEN = 3;", "let FORGIVEN = 4;")  # an older version
    assert look(call, RS485).current is False
    after = install(call, RS485, {"baud": 9600}, None)
    assert after.current and (after.options["unit"], after.options["baud"]) == (247, 9600)
    written = sim.counters.flash_writes
    install(call, RS485, {}, None)
    assert sim.counters.flash_writes == written, "nothing to do is nothing written"


@pytest.mark.parametrize("script", LIBRARY, ids=lambda script: script.name)
def test_a_script_of_somebody_else_with_our_name_is_never_touched(sim, call, script):
    number = call("Script.Create", {"name": script.slot})["id"]
    call("Script.PutCode", {"id": number, "code": "print('mine');"})
    call("Script.Start", {"id": number})
    with pytest.raises(ShellyError, match="not ours"):
        install(call, script, {}, None)
    with pytest.raises(ShellyError, match="not ours"):
        remove(call, script)
    assert sim.device.scripts.by_id[number].code == "print('mine');" and sim.device.scripts.by_id[number].running
    assert look(call, script).ours is False


def test_an_upload_that_was_cut_off_is_taken_up_again(sim, call):
    number = call("Script.Create", {"name": RS485.slot})["id"]
    call("Script.PutCode", {"id": number, "code": source(RS485)[:1024]})
    assert install(call, RS485, {}, None).number == number
    assert len(sim.device.scripts.by_id) == 1


def test_removed_it_is_gone_and_the_others_are_not(sim, call):
    call("Script.Create", {"name": "somebody"})
    install(call, MONITOR, {}, None)
    assert remove(call, MONITOR) is True and remove(call, MONITOR) is False
    assert [script.name for script in sim.device.scripts.by_id.values()] == ["somebody"]


def test_a_device_that_stores_something_else_is_noticed(sim, call):
    def lossy(method, params):
        if method == "Script.PutCode":
            params = {**params, "code": params["code"].replace("unit", "UNIT")}
        return call(method, params)

    with pytest.raises(ShellyError, match="does not hold what was sent"):
        install(lossy, RS485, {}, None)
    assert not sim.device.scripts.by_id[1].running


def test_options_survive_json():
    assert json.loads(json.dumps(options_in(RS485, source(RS485))))["baud"] == 38400
