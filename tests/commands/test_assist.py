"""``assist`` end to end: the real SDK, a strict Messages API, a simulated cloud and plant, and what a person sees."""

from __future__ import annotations

import json
import os
import pty
import select
import shlex
import subprocess
import sys

import pytest

from bridge import cli, wiring_cloud
from bridge.clock import Clock
from bridge.commands import _assist_drafts, _assist_tools, assist
from bridge.config import load
from bridge.errors import BridgeError, ConfigError
from bridge.link.bridge_http import get_json, somebody_listens
from bridge.peers.budget import STANDARD
from bridge.peers.limiter import Limiter
from bridge.settings import SETTINGS
from bridge.sim.sigen_cloud import SigenCloudSim
from bridge.sim.sigen_cloud_world import App, Station
from tests.commands.cloud_desk import KEY, SECRET, STATION
from tests.commands.conftest import ROOT, one_line, until
from tests.data.test_shelly_monitor import FULL, SHOWN, Page, let_pass, numbers, simulated
from tests.messages_api import Fault, Message, MessagesApi, question_of, results_of, sensible
from tests.ports import free_port
from tests.script_rules import check
from tests.sim.shelly_wire import call

NEEDS_SDK = pytest.mark.skipif(sys.version_info < (3, 11), reason="the assistant needs Python 3.11 or later")
API_KEY = "sk-ant-loopback-key"


@pytest.fixture
def api():
    with MessagesApi(sensible) as service:
        yield service
        assert service.problems == []


@pytest.fixture
def cloud():
    with SigenCloudSim(Clock()) as simulator:
        yield simulator


@pytest.fixture
def env(api, tmp_path):
    return {"ANTHROPIC_API_KEY": API_KEY, "SIGEN_BRIDGE_ASSISTANT_BASE_URL": api.url,
            "SIGEN_BRIDGE_RUN_STATE_DIR": str(tmp_path / "state"), "SIGEN_BRIDGE_STATUS_LISTEN": "off"}


@pytest.fixture
def cloud_env(cloud):
    return {"SIGEN_APP_KEY": KEY, "SIGEN_APP_SECRET": SECRET, "SIGEN_SYSTEM_ID": STATION, "SIGEN_REGION": "eu",
            "SIGEN_BRIDGE_CLOUD_BASE_URL": cloud.base_url}


class Person:
    """Asks in this process, so that not every question costs the start of the SDK; sees the terminal's lines."""

    def __init__(self, monkeypatch, capsys):
        self.monkeypatch, self.capsys = monkeypatch, capsys

    def __call__(self, *words, env=None):
        for name, text in (env or {}).items():
            self.monkeypatch.setenv(name, text)
        settings, rest = load(["assist", *words])
        args = cli.parser_of("assist", assist).parse_args(rest[1:])
        code = assist.run(args, settings)
        seen = self.capsys.readouterr()
        return code, seen.out, seen.err


@pytest.fixture
def person(monkeypatch, capsys):
    hasty = STANDARD._replace(pace_s=0.01)  # the 6 s between two calls are other tests' matter
    monkeypatch.setattr(wiring_cloud, "Limiter", lambda state, clock: Limiter(state, clock, hasty))
    return Person(monkeypatch, capsys)


def calls_of(api):
    """Return (tool, input) of everything the model had looked up."""
    return [(block["name"], block["input"]) for turn in api.requests[-1]["messages"] if turn["role"] == "assistant"
            for block in turn["content"] if block["type"] == "tool_use"]


PROMPTS = [
    ("fetch my current energy flow", ("cloud_energy_flow", {}), ("grid_export_kw", "battery_charge_kw", "soc_pct")),
    ("what does error code 1502 mean?", ("explain", {"word": "1502"}), ("transient", "cloud")),
    ("write a Shelly script that polls energy flow every 5 minutes", ("draft_shelly_script", {"period_s": 300}),
     ("let PERIOD_S = 300;", "Virtual.getHandle", "HTTP.GET", "griW")),
    ("what is the difference between key and account authentication?", ("explain", {"word": "auth"}),
     ("cloud.app_secret", "onboarded", "mySigen account")),
    ("how do I subscribe to MQTT?", ("explain", {"word": "mqtt"}),
     ("openapi/period/{appKey}/{systemId}", "openapi/subscription/period", "wildcards")),
    ("which operating modes are there?", ("explain", {"word": "modes"}), ("Maximum Self-Consumption", "nbi")),
    ("list my systems", ("cloud_systems", {}), (STATION, "battery_kwh")),
]


@NEEDS_SDK
@pytest.mark.parametrize("question, tool, told", PROMPTS, ids=[one[1][0] + "-" + one[0][:18] for one in PROMPTS])
def test_the_prompts_of_the_source_are_looked_up_with_the_right_tool(person, api, env, cloud_env, question, tool, told):
    code, out, err = person(question, env={**env, **cloud_env})
    assert code == 0 and err == ""
    assert calls_of(api) == [tool]
    result, = results_of(api.requests[-1])
    for text in told:
        assert text.lower() in out.lower() and text.lower() in result.lower(), text
    sent = "\n".join(api.bodies)
    assert SECRET not in sent and API_KEY not in sent and KEY not in sent and "tok-sim-" not in sent


@pytest.mark.parametrize("words", [("",), (" ", "\t")])
def test_an_empty_question_is_not_sent(person, env, words):
    """The service refuses an empty text, and the line about that would tell nothing."""
    with pytest.raises(ConfigError, match="the question is empty"):
        person(*words, env=env)


@NEEDS_SDK
def test_the_answer_of_the_cloud_is_the_one_that_is_shown(person, api, env, cloud_env, cloud):
    _, out, _ = person("fetch my current energy flow", env={**env, **cloud_env})
    data = json.loads(results_of(api.requests[-1])[0].splitlines()[1])
    assert [entry.endpoint for entry in cloud.log if entry.endpoint != "login"] == ["energyFlow"]
    assert f'"grid_export_kw": {data["grid_export_kw"]}' in out


@NEEDS_SDK
def test_the_reference_is_ours_complete_and_the_same_for_everybody(person, api, env, bridge):
    person("hello", env=env)
    person("hello again", env={**env, "SIGEN_PASS": "something", "SIGEN_BRIDGE_SHELLY_HOST": "192.0.2.9"})
    first, second = (request["system"][0]["text"] for request in api.requests)
    assert first == second  # or the service could not keep it in its cache
    for text in ("11003", "1502", "/openapi/systems/{systemId}/energyFlow", "30037", "40031", "number:203", "nbi",
                 "openapi/subscription/period", "sigen-bridge battery charge", "assistant.api_key", "openapi-aus"):
        assert text in first, text
    shown = bridge("assist", "--show-prompt")
    assert shown.returncode == 0 and shown.stdout == first
    for verb in cli.command_names():
        assert f"\n{verb}: " in first


@NEEDS_SDK
def test_live_power_reads_the_plant_and_writes_nothing(person, api, env, plant):
    code, out, _ = person("what is it doing now?", env={
        **env, "SIGEN_BRIDGE_MODBUS_HOST": "127.0.0.1", "SIGEN_BRIDGE_MODBUS_PORT": str(plant.port)})
    assert code == 0 and '"grid_import_w": 8540' in out and '"load_w": 11340' in out
    assert calls_of(api) == [("live_power", {})] and not plant.writes


@NEEDS_SDK
def test_live_power_asks_a_running_bridge_first(person, bridge, api, env, plant, unused_port):
    running = bridge.start("run", "--host", f"127.0.0.1:{plant.port}", "--status-listen", f"127.0.0.1:{unused_port}")

    def reads():
        try:
            return get_json(f"127.0.0.1:{unused_port}", "/v1/snapshot", 1.0)["valid"]
        except BridgeError:
            return False

    assert until(reads, 15)
    _, out, _ = person("what is it doing now?", env={**env, "SIGEN_BRIDGE_STATUS_LISTEN": f"127.0.0.1:{unused_port}"})
    assert "snapshot of the running bridge" in out and '"grid_import_w": 8540' in out
    bridge.stop(running)


@pytest.fixture
def unused_port():
    return free_port()


@NEEDS_SDK
def test_registers_and_doctor_are_read_from_the_plant(person, api, env, plant):
    where = {**env, "SIGEN_BRIDGE_MODBUS_HOST": "127.0.0.1", "SIGEN_BRIDGE_MODBUS_PORT": str(plant.port)}
    _, out, _ = person("read a register for me", env=where)
    assert '"value": 8540' in out and "importing" in out
    _, out, _ = person("what is wrong here?", env=where)
    assert "plant_ok" in out and "findings" in out
    assert not plant.writes


@NEEDS_SDK
def test_a_battery_command_is_proposed_and_never_given(person, api, env, plant):
    where = {**env, "SIGEN_BRIDGE_MODBUS_HOST": "127.0.0.1", "SIGEN_BRIDGE_MODBUS_PORT": str(plant.port),
             "SIGEN_BRIDGE_CONTROL_ENABLED": "yes"}
    _, out, _ = person("please charge the battery with 3 kW for an hour", env=where)
    assert "sigen-bridge battery charge --kw 3 --for 60m --dry-run" in out
    assert "only they can run it" in out and not plant.writes


CANARIES = {row.key: f"canary-{number}-Zx9" for number, row in enumerate(SETTINGS) if row.secret}


@NEEDS_SDK
def test_no_secret_setting_reaches_the_service(person, api, env):
    """Every secret setting, a cloud that repeats them in its answers, and every tool there is."""
    app = App("canary-app-key", CANARIES["cloud.app_secret"])
    station = Station(STATION, name="my station " + " ".join(CANARIES.values()))
    with SigenCloudSim(Clock(), apps=[app], stations=[station]) as cloud:
        ask_with_canaries(person, api, env, cloud)


def ask_with_canaries(person, api, env, cloud):
    secrets = {f"SIGEN_BRIDGE_{key.replace('.', '_').upper()}": text for key, text in CANARIES.items()}
    tools = []

    def curious(request, its):
        left = [tool["name"] for tool in request["tools"] if tool["name"] not in tools]
        if not left or request["tool_choice"]["type"] == "none":
            return Message("that was all: " + " ".join(CANARIES.values()))
        tools.append(left[0])
        wish = {"explain": {"word": CANARIES["cloud.password"]}, "read_registers": {"registers": ["30005"]},
                "draft_battery_command": {"action": "hold"}, "draft_client": {"what": "cloud"},
                "propose_command": {"command_line": f"sigen-bridge explain {CANARIES['mqtt.password']}"}}
        return Message(its.use(left[0], **wish.get(left[0], {})))

    api.model = curious
    api.key = CANARIES["assistant.api_key"]
    base = {name: text for name, text in env.items() if name != "ANTHROPIC_API_KEY"}
    code, out, _ = person(
        "tell me", *CANARIES.values(), env={
            **base, **secrets, "SIGEN_APP_KEY": "canary-app-key", "SIGEN_USER": "canary-user",
            "SIGEN_REGION": "eu", "SIGEN_SYSTEM_ID": STATION,
            "SIGEN_BRIDGE_CLOUD_BASE_URL": cloud.base_url, "SIGEN_BRIDGE_MODBUS_HOST": "127.0.0.1",
            "SIGEN_BRIDGE_MODBUS_PORT": "9", "SIGEN_BRIDGE_ASSISTANT_MAX_TOOL_ROUNDS": "30",
            "SIGEN_BRIDGE_ASSISTANT_BUDGET_TOKENS": "10000000"})
    assert code == 0 and len(CANARIES) > 8
    assert set(tools) == {tool["name"] for tool in api.requests[0]["tools"]}
    for request in api.requests:  # what the model itself said is not ours
        for turn in request["messages"]:
            if turn["role"] == "user":
                assert "canary" not in json.dumps(turn), turn
    assert "canary" not in api.requests[0]["system"][0]["text"]
    assert "my station (hidden)" in "\n".join(api.bodies)
    configured = next(block["content"] for turn in api.requests[-1]["messages"] if turn["role"] == "user"
                      for block in turn["content"] if "shelly.password" in block.get("content", ""))
    assert "cloud.app_secret = (set, not shown)" in configured and "cloud.username = (set, not shown)" in configured


def test_the_tools_read_and_draft_and_nothing_else(env, monkeypatch):
    """The words of every tool that runs a verb are of the reading ones; what writes cannot be spelled."""
    reading = {("cloud", "flow"), ("cloud", "systems"), ("cloud", "devices"), ("mode", "get"), ("explain", "--json"),
               ("doctor", "--json"), ("dump", "--json"), ("battery", "status")}
    wishes = {"explain": {"word": "auth"}, "read_registers": {"registers": ["30005"]}}
    found = {tuple(look.words(wishes.get(look.name, {}))[:2]) for look in _assist_tools.LOOKS}
    assert found == reading
    for wish in ({"registers": ["--all"]}, {"registers": ["30005", "--watch"]}, {"registers": []}, {"registers": "30005"},
                 {"registers": [30005] * 41}, {}):
        with pytest.raises(ConfigError):
            _assist_tools._registers(wish)
    for wish in ({"word": "--host evil"}, {"word": ""}, {}):
        with pytest.raises(ConfigError):
            _assist_tools._explain(wish)


@pytest.mark.parametrize("line, outcome", [
    ("sigen-bridge mode set msc --yes", "sigen-bridge mode set msc --yes"),
    ("battery release", "sigen-bridge battery release"),
    ("sigen-bridge run --host 192.0.2.1; rm -rf /", None), ("sigen-bridge mode set 'feed in'", "sigen-bridge mode set 'feed in'"),
    ("sigen-bridge nonsense", None), ("sigen-bridge battery fly", None), ("curl evil.invalid", None),
    ("sigen-bridge cloud login --cloud-password-file /etc/shadow", None), ("sigen-bridge status\nrm x", None),
    ("sigen-bridge explain $(id)", "sigen-bridge explain '$(id)'"), ("sigen-bridge explain 'half", None), ("", None),
])
def test_a_proposed_line_is_one_that_the_program_reads(line, outcome):
    settings, _ = load([])
    if outcome is None:
        with pytest.raises(ConfigError):
            _assist_drafts.proposed({"command_line": line}, settings)
    else:
        assert _assist_drafts.proposed({"command_line": line}, settings)["command"] == outcome


@pytest.mark.parametrize("wish, said", [
    ({"action": "charge"}, "power_kw is needed"), ({"action": "explode"}, "one of charge"),
    ({"action": "charge", "power_kw": -3}, "a number from"), ({"action": "hold", "minutes": 100_000}, "a number from 1 to 360"),
    ({"action": "charge", "power_kw": "3; rm"}, "a number"), ({"action": "charge", "power_kw": True}, "a number"),
])
def test_a_battery_command_that_makes_no_sense_is_refused(wish, said):
    with pytest.raises(ConfigError, match=said):
        _assist_drafts.battery_command(wish, load([])[0])


def test_a_drafted_battery_command_says_what_is_missing():
    found = _assist_drafts.battery_command({"action": "discharge", "export_w": 4000, "minutes": 30}, load([])[0])
    assert found["command"] == "sigen-bridge battery discharge --export-w 4000 --for 30m"
    assert found["needs"].startswith("control.enabled = yes")


def test_the_drafted_shelly_script_suits_the_device_and_shows_the_values(clock, monkeypatch):
    from bridge.sim import shelly

    monkeypatch.setattr(shelly, "TICK_S", 3600.0)
    page = Page()
    page.say(clock, **FULL)
    script = _assist_drafts.shelly_script({"period_s": 300, "url": page.url}, load([])[0])["script"]
    assert check(script) == []
    with simulated(clock) as device:
        number = call(device, "Script.Create", {"name": "drafted"})["result"]["id"]
        for start in range(0, len(script), 1024):
            call(device, "Script.PutCode", {"id": number, "code": script[start:start + 1024], "append": start > 0})
        call(device, "Script.SetConfig", {"id": number, "config": {"enable": True}})
        call(device, "Script.Start", {"id": number})
        assert numbers(device) == SHOWN and len(page.seen) == 1
        page.say(clock, pvW=100, socPc=None)
        let_pass(clock, 290)
        assert len(page.seen) == 1
        let_pass(clock, 10)
        assert len(page.seen) == 2 and numbers(device) == [100, *SHOWN[1:]]  # unknown is not 0
        page.status = 503
        let_pass(clock, 300)
        page.status, page.body = 200, "<html>"
        let_pass(clock, 300)
        assert len(page.seen) == 4 and numbers(device) == [100, *SHOWN[1:]]
        assert call(device, "Script.GetStatus", {"id": 1})["result"]["running"]
    page.close()


@pytest.mark.parametrize("wish", [{"period_s": 0}, {"url": "http://a:b@evil/"}, {"url": 'http://x/"+alert(1)+"'}, {"period_s": "5"}])
def test_a_shelly_script_takes_no_odd_values(wish):
    with pytest.raises(ConfigError):
        _assist_drafts.shelly_script(wish, load([])[0])


def snippet(what, **environment):
    code = _assist_drafts.client_snippet({"what": what}, load([])[0])["code"]
    done = subprocess.run([sys.executable, "-S", "-E", "-c", code], capture_output=True, text=True, timeout=30,
                          env={"PATH": os.environ["PATH"], **environment}, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_drafted_modbus_client_reads_the_plant(plant):
    out = snippet("modbus", HOST="127.0.0.1", PORT=str(plant.port))
    assert "grid W (+ import)    8540" in out and "sun W (30035)        2800" in out and "15.0" in out


def test_the_drafted_cloud_client_logs_in_by_key_and_fetches_the_flow(cloud):
    out = snippet("cloud", SIGEN_BASE_URL=cloud.base_url, SIGEN_SYSTEM_ID=STATION, SIGEN_APP_KEY=KEY,
                  SIGEN_APP_SECRET=SECRET, ONCE="1")
    assert {"gridPower", "pvPower", "batterySoc"} <= set(json.loads(out))


def test_the_drafted_snapshot_client_reads_a_running_bridge(bridge, plant, unused_port):
    running = bridge.start("run", "--host", f"127.0.0.1:{plant.port}", "--status-listen", f"127.0.0.1:{unused_port}")
    assert until(lambda: somebody_listens(f"127.0.0.1:{unused_port}", 0.5), 15)
    assert until(lambda: "grid_import_w 8540" in snippet("snapshot", BRIDGE_URL=f"http://127.0.0.1:{unused_port}"), 15)
    bridge.stop(running)


@NEEDS_SDK
class TestAsAProgram:
    def test_one_question(self, bridge, api, env):
        done = bridge("assist", "what does error code 1502 mean?", "--verbose", env=env, timeout=60)
        assert done.returncode == 0 and "transient" in done.stdout
        looks, tokens = done.stderr.splitlines()
        assert looks == "[looks: explain]"
        assert "read from the prompt cache" in tokens and tokens.endswith("2 requests]")
        read = int(tokens.split(" received, ")[1].split()[0])
        assert read > 4096

    def test_a_conversation_on_standard_input(self, api, env):
        done = subprocess.run(
            [sys.executable, "-m", "bridge", "assist", "--json"], cwd=ROOT, capture_output=True, text=True, timeout=60,
            input="which operating modes are there?\nand what does error code 1502 mean?\n\nnot asked any more\n",
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **env}, check=False)
        first, second = map(json.loads, done.stdout.splitlines())
        assert done.returncode == 0 and done.stderr == ""
        assert first["tools"] == second["tools"] == ["explain"] and second["usage"]["requests"] == 4
        assert [question_of({"messages": api.requests[-1]["messages"][:n]}) for n in (1, 5)] == [
            "which operating modes are there?", "and what does error code 1502 mean?"]

    @pytest.mark.skipif(sys.platform != "linux", reason="a terminal of Linux")
    def test_a_conversation_at_a_terminal_goes_on_after_a_failure(self, api, env, tmp_path):
        answers = [Message("first answer"), Message(stop="refusal"), Message("third answer")]
        api.model = lambda request, its: answers.pop(0)
        master, slave = pty.openpty()
        process = subprocess.Popen(
            [sys.executable, "-m", "bridge", "assist"], cwd=ROOT, stdin=slave, stdout=slave, stderr=slave,
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "TERM": "dumb", **env})
        os.close(slave)
        seen = b""
        clock = Clock()
        try:
            for line, shown in ((b"one\n", b"first answer"), (b"two\n", b"declined to answer"),
                                (b"three\n", b"third answer"), (b"\n", b"")):
                end = clock.monotonic() + 40
                while not seen.endswith(b"you> "):
                    assert clock.monotonic() < end, seen
                    if select.select([master], [], [], 0.2)[0]:
                        seen += os.read(master, 4096)
                os.write(master, line)
                seen = b""
                while shown not in seen:
                    assert clock.monotonic() < end, seen
                    if select.select([master], [], [], 0.2)[0]:
                        seen += os.read(master, 4096)
            assert process.wait(20) == 0
        finally:
            process.kill()
            process.wait()
            os.close(master)

    def test_a_refusal_is_one_line_and_exit_6(self, bridge, api, env):
        api.model = lambda request, its: Message(stop="refusal")
        done = bridge("assist", "something bad", env=env, timeout=60)
        assert done.returncode == 6 and done.stdout == "" and "declined" in one_line(done.stderr)

    def test_a_busy_service_is_one_line_and_exit_6(self, bridge, api, env):
        api.faults = [Fault(529, "overloaded_error", "Overloaded", {"retry-after-ms": "20"}) for _ in range(3)]
        done = bridge("assist", "hello", env=env, timeout=60)
        assert done.returncode == 6 and "overloaded" in one_line(done.stderr) and API_KEY not in done.stderr

    def test_escape_sequences_of_a_model_do_not_reach_the_terminal(self, person, api, env):
        api.model = lambda request, its: Message("\x1b[2J\x1b]0;owned\x07gr\u00fcn \u2600\r\x9b1m")
        _, out, _ = person("hello", env=env)
        assert out == "[2J]0;owned" + "gr\u00fcn \u2600" + "1m\n"


def test_without_a_key_it_is_one_line(bridge):
    done = bridge("assist", "hello")
    assert done.returncode == 2 and done.stdout == ""
    assert ("ANTHROPIC_API_KEY" if sys.version_info >= (3, 11) else "3.11") in one_line(done.stderr)


def test_nothing_else_imports_the_sdk(bridge):
    code = "import sys, bridge.commands.assist, bridge.commands.help; print([m for m in sys.modules if m.startswith('anthropic')])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)
    assert done.stdout.strip() == "[]", done.stderr


def test_every_tool_has_a_strict_schema_and_a_description():
    settings, _ = load([])
    for tool in _assist_tools.tools(settings):
        assert tool.schema["additionalProperties"] is False and len(tool.description) > 40
        assert set(tool.schema["required"]) <= set(tool.schema["properties"])


def test_command_lines_are_quoted_for_a_shell():
    line = _assist_drafts.command_line(["explain", "a b", "$x"])
    assert shlex.split(line) == ["sigen-bridge", "explain", "a b", "$x"]
