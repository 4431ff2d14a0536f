"""What docs/mqtt.md and docs/fleet.md show works: commands, and the configurations of other programs."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from bridge import cli
from bridge.config import take_flags
from bridge.settings import SETTINGS
from tests.mqtt_broker import Mosquitto, access_rules, passwords, until

DOCS = Path(__file__).parent.parent / "docs"
PAGES = {name: (DOCS / f"{name}.md").read_text("utf-8") for name in ("mqtt", "fleet")}


def blocks(page, kind):
    return re.findall(rf"```{kind}\n(.*?)```", PAGES[page], re.S)


@pytest.mark.parametrize("line", [line for page in PAGES for block in blocks(page, "sh") for line in block.splitlines()])
def test_command_lines_are_of_commands_and_settings_that_exist(line, tmp_path):
    (tmp_path / "secret").write_text("word")
    words = [str(tmp_path / "secret") if word.endswith("mqtt.password") else word for word in line.split()]
    assert words[0] == "sigen-bridge"
    _, _, rest = take_flags(words[1:])
    module = cli.command(rest[0])
    assert module is not None
    parser = cli._Parser(prog="x")
    module.arguments(parser)
    parser.parse_args(rest[1:])


def test_settings_named_exist():
    keys = {row.key for row in SETTINGS}
    for page in PAGES.values():
        for name in re.findall(r"`((?:mqtt|sigen_mqtt|cloud|control|run)\.[a-z_]+)\b", page):
            assert name in keys, name


@pytest.mark.needs("mosquitto", "mosquitto_pub", "mosquitto_sub")
def test_the_shared_brokers_rules_keep_homes_apart(tmp_path):
    (rules,) = blocks("fleet", "acl")
    acl = access_rules(tmp_path, rules)
    words = {"home": "a", "other": "b", "operator": "c"}
    with Mosquitto(tmp_path / "m", f"password_file {passwords(tmp_path, **words)}", f"acl_file {acl}") as broker:
        def login(name):
            return ("-u", name, "-P", words[name])

        for name, topic in (("home", "sigen-bridge/home/state"), ("home", "sigen-bridge/other/state"),
                            ("home", "homeassistant/device/sigen-bridge-home/config"),
                            ("operator", "sigen-bridge/home/command/hold")):
            broker.pub(topic, name, "-r", *login(name))
        seen = broker.retained("#", *login("operator"))
        assert seen == {"sigen-bridge/home/state": "home"}
        assert broker.retained("#", *login("other")) == {}


@pytest.mark.needs("mosquitto", "mosquitto_pub", "mosquitto_sub")
def test_the_bridged_mosquitto_carries_state_up_and_commands_down(tmp_path):
    (text,) = blocks("fleet", "conf")
    with Mosquitto(tmp_path / "centre", "allow_anonymous true") as centre:
        text = re.sub(r"^address .*$", f"address 127.0.0.1:{centre.port}", text, flags=re.M)
        text = re.sub(r"^(bridge_capath|remote_|persistence|autosave).*\n", "", text, flags=re.M)
        with Mosquitto(tmp_path / "site", "allow_anonymous true", *text.splitlines()) as site:
            assert until(lambda: "CONNACK" in site.log() or "Connecting bridge" in site.log())
            site.pub("sigen-bridge/home/state", "1", "-r")
            site.pub("private", "1", "-r")
            assert until(lambda: centre.retained("sigen-bridge/#") == {"sigen-bridge/home/state": "1"}, 10)
            assert centre.retained("private") == {}
            with subprocess.Popen(["mosquitto_sub", *site.words("-t", "sigen-bridge/home/command/#", "-C", "1", "-W", "10")],
                                  stdout=subprocess.PIPE, text=True) as listener:
                for _ in range(20):
                    centre.pub("sigen-bridge/home/command/hold", "{}")
                    if until(lambda listener=listener: listener.poll() is not None, 0.3):
                        break
                assert listener.communicate(timeout=15)[0] == "{}\n"


@pytest.mark.needs("promtool")
def test_promtool_takes_the_prometheus_example(tmp_path):
    (text,) = blocks("fleet", "yaml")
    path = tmp_path / "prometheus.yml"
    path.write_text(text)
    done = subprocess.run(["promtool", "check", "config", str(path)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr + done.stdout


def test_the_telegraf_example_is_toml_and_names_fields_of_the_snapshot():
    tomllib = pytest.importorskip("tomllib", reason="Python 3.11 and later read TOML")
    (text,) = blocks("fleet", "toml")
    (consumer,) = tomllib.loads(text)["inputs"]["mqtt_consumer"]
    from bridge.clock import ManualClock
    from bridge.sinks.status import StatusSink

    snapshot = StatusSink(ManualClock(), 200).snapshot()
    assert consumer["json_time_key"] in snapshot and set(consumer["tag_keys"]) <= set(snapshot)
    assert consumer["topic_parsing"][0]["topic"] in consumer["topics"]
