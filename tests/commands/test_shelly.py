"""``sigen-bridge shelly`` as a user runs it."""

from __future__ import annotations

import importlib
import json
import socket
import sys

import pytest

from bridge.cli import main
from bridge.clock import Clock
from bridge.commands import shelly
from bridge.sim.shelly import ShellySim, s3_components
from tests.sim.quickjs_runner import QuickJsRun


@pytest.fixture
def empty():
    with ShellySim(Clock(), script_runner=QuickJsRun) as sim:
        yield sim


@pytest.fixture
def ready():
    with ShellySim(Clock(), components=s3_components()) as sim:
        yield sim


def run(capsys, *words):
    """Return (exit code, standard output, the lines of standard error that are not logs)."""
    code = main(["shelly", *words])
    out, err = capsys.readouterr()
    return code, out, [line for line in err.splitlines() if line.startswith("sigen-bridge:")]


@pytest.mark.parametrize("transport", ["ws", "http"])
def test_setup_then_test_then_setup_again(capsys, empty, transport):
    words = ("--shelly-host", empty.address, "--shelly-transport", transport)
    code, out, _ = run(capsys, "setup", *words)
    assert code == 0 and "create number:203 Grid (W)" in out
    assert sorted(empty.device.components.by_key) == ["group:200", *[f"number:{n}" for n in range(200, 205)]]
    code, out, _ = run(capsys, "test", *words)
    assert code == 0 and out.count(" ok ") == 5
    code, out, _ = run(capsys, "setup", *words)
    assert code == 0 and out == "components: nothing to do\n"


def test_a_dry_run_writes_nothing(capsys, empty):
    code, out, _ = run(capsys, "setup", "--dry-run", "--script", "--freshness", "text", "--shelly-host", empty.address)
    assert code == 0 and "would create number:200 PV (W)" in out and "would store the helper script" in out
    assert empty.device.components.by_key == {} and empty.counters.flash_writes == 0
    assert empty.device.scripts.by_id == {}


def test_setup_with_script_and_freshness_says_what_to_set(capsys, empty):
    code, out, _ = run(capsys, "setup", "--script", "--freshness", "text", "--shelly-host", empty.address)
    assert code == 0 and "set shelly.transport = script" in out and "set shelly.freshness = text:200" in out
    assert empty.device.scripts.by_id[1].running and "text:200" in empty.device.components.by_key


def test_setup_can_be_read_by_a_machine(capsys, empty):
    code, out, _ = run(capsys, "setup", "--json", "--shelly-host", empty.address)
    report = json.loads(out)
    assert code == 0 and len(report["steps"]) == 7 and report["device"]["mac"] == "AABBCCDDEEFF"


def test_test_puts_every_value_back(capsys, ready):
    for number in range(200, 205):
        ready.write_as_other(f"number:{number}", 10)
    ready.write_as_other("number:201", 100)
    before = dict(ready.values)
    code, out, _ = run(capsys, "test", "--json", "--shelly-host", ready.address)
    report = json.loads(out)
    assert code == 0 and ready.values == before
    assert all(each["ok"] and each["latency_ms"] > 0 for each in report["components"])
    assert {each.value for each in ready.history if each.key == "number:201"} == {10, 100, 99}


def test_test_names_a_missing_component_and_the_remedy(capsys, ready):
    ready.delete("number:202")
    code, out, _ = run(capsys, "test", "--shelly-host", ready.address)
    assert code == 5 and "number:202 is not there; run: sigen-bridge shelly setup" in out and out.count(" ok ") == 4


def test_test_leaves_foreign_components_alone(capsys):
    with ShellySim(Clock(), other_owner=True) as sim:
        code, out, _ = run(capsys, "test", "--shelly-host", sim.address)
        assert code == 5 and "belongs to service:0" in out and len(sim.history) == 0


def test_setup_on_foreign_components_is_one_line_with_a_free_block(capsys):
    with ShellySim(Clock(), other_owner=True) as sim:
        code, _, errors = run(capsys, "setup", "--shelly-host", sim.address)
        assert code == 5 and len(errors) == 1 and "use --shelly-first-id 203" in errors[0]
        assert len(sim.device.components.by_key) == 3


def test_another_first_id_is_set_up_beside_them(capsys):
    with ShellySim(Clock(), other_owner=True) as sim:
        code, _, _ = run(capsys, "setup", "--shelly-host", sim.address, "--shelly-first-id", "203")
        assert code == 0 and "number:207" in sim.device.components.by_key


def test_a_device_without_components_is_one_line_with_the_model_rule(capsys):
    with ShellySim(Clock(), model="SNSW-001X16EU", app="Plus1") as sim:
        code, _, errors = run(capsys, "setup", "--shelly-host", sim.address)
        assert code == 5 and len(errors) == 1 and "Gen3, Gen4 or Gen2 Pro" in errors[0]


def test_no_host_is_a_usage_error(capsys):
    code, _, errors = run(capsys, "setup")
    assert code == 2 and len(errors) == 1 and "--shelly-host" in errors[0]


def test_a_refused_connection_is_one_line(capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    code, _, errors = run(capsys, "test", "--shelly-host", f"127.0.0.1:{port}")
    assert code == 5 and len(errors) == 1 and "connection refused" in errors[0]


def test_a_device_that_is_silent_is_one_line(capsys):
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        code, _, errors = run(capsys, "test", "--shelly-host", f"127.0.0.1:{deaf.getsockname()[1]}",
                              "--shelly-transport", "http")
    assert code == 5 and len(errors) == 1 and "no answer in time" in errors[0]


def test_a_wrong_password_is_one_line_without_it(capsys, tmp_path):
    secret = tmp_path / "password"
    secret.write_text("not-this-one\n")
    with ShellySim(Clock(), password="right", firmware="2.0.1") as sim:
        code, out, errors = run(capsys, "test", "--shelly-host", sim.address, "--shelly-password-file", str(secret))
    assert code == 5 and len(errors) == 1 and "set shelly.password" in errors[0]
    assert "not-this-one" not in out + errors[0]


@pytest.mark.parametrize("words", [
    ("find", "--watch"), ("rm", "Kitchen"), ("scripts",), ("scripts", "install", "rs485", "--shelly-host", "127.0.0.1:9"),
])
def test_a_router_without_the_tools_names_the_package(capsys, monkeypatch, words):
    for name in ("find", "scripts"):
        monkeypatch.delitem(sys.modules, f"bridge.commands._shelly_{name}", raising=False)
    monkeypatch.setattr(shelly.importlib, "import_module", without_tools)
    code, _, errors = run(capsys, *words)
    assert code == 2 and len(errors) == 1 and "sigen-bridge-tools" in errors[0]


def test_a_router_without_the_tools_sets_a_shelly_up_all_the_same(capsys, monkeypatch, empty):
    monkeypatch.setattr(shelly.importlib, "import_module", without_tools)
    code, out, _ = run(capsys, "setup", "--shelly-host", empty.address)
    assert code == 0 and "create number:203" in out


def without_tools(name, real=importlib.import_module):
    if name.startswith("bridge.commands._shelly"):
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)
    return real(name)
