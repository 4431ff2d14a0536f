"""The helper script: what it does on a device with a real JavaScript engine, and how it gets there."""

from __future__ import annotations

import json

import pytest

from bridge.errors import ShellyError
from bridge.peers.shelly import ShellyClient
from bridge.peers.shelly_script import CHUNK, SCRIPT_NAME, install_script, script_source, stored_code
from bridge.sim.shelly import ShellySim, s3_components
from tests.sim.quickjs_runner import QuickJsRun
from tests.sim.shelly_wire import get

TIMEOUT_S = 1.0


@pytest.fixture
def sim(clock):
    flags = ({"key": "text:200", "config": {}}, {"key": "boolean:200", "config": {}})
    with ShellySim(clock, components=[*s3_components(), *flags], script_runner=QuickJsRun) as device:
        yield device


@pytest.fixture
def client(sim, clock):
    made = ShellyClient(sim.address, clock, transport="http", timeout_s=TIMEOUT_S)
    yield made
    made.close()


@pytest.fixture
def post(sim, client):
    install_script(client.call, script_source())
    from bridge.clock import Clock
    from bridge.link.lan import LanHttp

    http = LanHttp("shelly", "127.0.0.1", sim.port, Clock())

    def send(body):
        answer = http.request("POST", "/script/1/set", body if isinstance(body, bytes) else json.dumps(body).encode())
        return answer.status, json.loads(answer.body)

    return send


def test_it_obeys_the_engine_of_the_device():
    code = script_source()
    assert code.isascii() and "class " not in code and "=>" not in code and "async" not in code
    assert code.count("Timer.set") == 1 and code.count("registerEndpoint(") == 1
    assert all(word not in code for word in (".shift(", "padStart", "Number.isFinite", "Shelly.call"))
    defined = [line.split("(")[0][9:] for line in code.splitlines() if line.startswith("function ")]
    for name in defined:
        assert code.index(f"{name}(") == code.index(f"function {name}(") + 9, f"{name} is used before it is there"
    assert max(len(line) - len(line.lstrip()) for line in code.splitlines()) <= 8


def test_it_is_uploaded_in_pieces_that_are_verified(sim, client):
    code = script_source()
    assert install_script(client.call, code) == 1
    assert sim.counters.rpc["Script.PutCode"] == -(-len(code) // CHUNK)
    assert stored_code(client.call, 1) == code
    script = sim.device.scripts.by_id[1]
    assert (script.name, script.enable, script.running) == (SCRIPT_NAME, True, True)


def test_installing_it_again_changes_nothing_and_a_newer_one_replaces_it(sim, client):
    code = script_source()
    install_script(client.call, code)
    written = sim.counters.flash_writes
    assert install_script(client.call, code) == 1
    assert sim.counters.flash_writes == written
    assert install_script(client.call, code + "\n// newer\n") == 1
    assert sim.device.scripts.by_id[1].code.endswith("// newer\n") and sim.device.scripts.by_id[1].running


def test_scripts_of_others_keep_their_slots(sim, client):
    client.call("Script.Create", {"name": "somebody"})
    assert install_script(client.call, script_source()) == 2
    assert sim.device.scripts.by_id[1].name == "somebody"


def test_a_script_that_does_not_run_is_an_error_with_its_reason(client):
    with pytest.raises(ShellyError, match="does not run: .*boom"):
        install_script(client.call, "throw new Error('boom');")


def test_a_device_that_loses_characters_is_noticed(client):
    def lossy(method, params):
        if method == "Script.PutCode":
            params = {**params, "code": params["code"][:-1]}
        return client.call(method, params)

    with pytest.raises(ShellyError, match="characters"):
        install_script(lossy, script_source())


def test_it_survives_a_reboot(sim, client, clock, post):
    sim.reboot()
    clock.advance(2)
    assert sim.device.scripts.by_id[1].running
    assert post({"values": {"number:200": 5}}) == (200, {"done": {"number:200": True}})


def test_all_values_are_set_and_a_missing_component_is_told(sim, post):
    code, content = post({"values": {"number:200": 2800, "number:201": 15.5, "number:299": 1, "text:200": "live"}})
    assert code == 200
    assert content["done"] == {"number:200": True, "number:201": True, "number:299": False, "text:200": True}
    assert sim.values[200] == 2800 and sim.values[201] == 15.5


@pytest.mark.parametrize("body", [b"{", b'"text"', b"null", b'{"values":null}', b'{"values":{"number:200":"x"}}'])
def test_nonsense_does_not_stop_it(sim, post, body):
    status, _ = post(body)
    assert status in (200, 400)
    assert sim.values[200] == 0 and sim.device.scripts.by_id[1].running
    assert post({"values": {"number:200": 7}})[1]["done"] == {"number:200": True}


def test_a_browser_can_use_it_too(sim, post):
    post({"values": {}})
    reply = get(sim, "/script/1/set?number:200=12&text%3A200=hello%20world")
    assert reply.status == 200 and sim.values[200] == 12
    assert sim.device.components.by_key["text:200"].value == "hello world"


@pytest.mark.parametrize("key, live, stale", [
    ("text:200", "live", "stale: the bridge is silent"), ("boolean:200", True, False),
])
def test_silence_marks_the_freshness_component_and_no_number(sim, post, clock, key, live, stale):
    post({"values": {"number:200": 2800, key: live}, "max_age_s": 15})
    shown = sim.device.components.by_key[key]
    for _ in range(14):
        clock.advance(1.0)
    assert shown.value == live
    for _ in range(3):
        clock.advance(1.0)
    assert shown.value == stale and sim.values[200] == 2800
    writes = len(sim.history)
    for _ in range(60):
        clock.advance(1.0)
    assert len(sim.history) == writes


def test_a_touch_without_values_keeps_it_fresh(sim, post, clock):
    post({"values": {"text:200": "live"}, "max_age_s": 15})
    for _ in range(6):
        for _ in range(5):
            clock.advance(1.0)
        post({"values": {}, "max_age_s": 15})
    assert sim.device.components.by_key["text:200"].value == "live"
