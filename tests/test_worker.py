"""The Cloudflare Worker in its real runtime, against the simulated Sigenergy cloud."""

from __future__ import annotations

import base64
import configparser
import json
import os
import re
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bridge.clock import Clock, ManualClock
from bridge.sim.sigen_cloud import SigenCloudSim
from tests.conftest import STRICT
from tests.data.test_shelly_monitor import flag, install, numbers, simulated
from tests.peers.cloud_bench import KEY, STATION

ROOT = Path(__file__).parent.parent
WORKER = ROOT / "firmware_targets" / "cloudflare"
HARNESS = Path(__file__).parent / "worker"
VALUES = (1000, 55.5, 400, -200, 400)  # pv, soc, battery, grid (+ import), load
SHOWN = {"pvW": 1000, "socPc": 55.5, "batW": 400, "griW": 200, "loadW": 400}
IMPOSSIBLE = (0, 50.0, 10_600, -11_000, 400)
AUTH_KEY = base64.b64encode(f"{KEY.app_key}:{KEY.app_secret}".encode()).decode()
DATE = re.search(r'compatibility_date = "([^"]+)"', (WORKER / "wrangler.toml").read_text())[1]
CRON = "*/5 * * * *"
WRITES_A_DAY = 1000  # of the free plan, all keys together
ANSWER_S = 30

in_the_runtime = pytest.mark.needs("node", "npm")


class Relay:
    """One Worker with a KV of its own and a cloud behind it; its time is the simulator's."""

    def __init__(self, clock, folder, **options):
        self.clock, self.folder = clock, folder
        self.cloud = SigenCloudSim(clock, **{"values": lambda: VALUES, **options}).start()
        self.process = None
        self.kv = str(folder / "kv")

    def start(self, **bindings):
        """Start the runtime; a binding of None is left out. Started again it finds its KV, not its memory."""
        self.end()
        given = {"SIGEN_AUTH_KEY": AUTH_KEY, "SIGEN_SYSTEM_ID": STATION, "SIGEN_REGION": "eu", **bindings}
        options = {
            "script": str(WORKER / "worker.js"), "cloud": self.cloud.base_url, "date": DATE, "kv": self.kv,
            "bindings": {name: value for name, value in given.items() if value is not None},
        }
        self.process = subprocess.Popen(
            ["node", "harness.mjs"], cwd=HARNESS, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={**os.environ, "TMPDIR": str(self.folder)})
        self.process.stdin.write(json.dumps(options) + "\n")
        self.process.stdin.flush()
        self.port = json.loads(self.process.stdout.readline())["port"]
        return self

    def get(self, path, headers=None, method="GET"):
        """Return status and decoded body."""
        at_ms = {"x-test-now": str(int(self.clock.now() * 1000))}
        url = f"http://127.0.0.1:{self.port}{path}"
        request = urllib.request.Request(url, headers={**at_ms, **(headers or {})}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=ANSWER_S) as answer:
                return answer.status, json.loads(answer.read() or b"null")
        except urllib.error.HTTPError as error:
            with error:
                body = error.read()
            return error.code, json.loads(body) if body.startswith(b"{") else body

    def cron(self, after_s=0):
        """Let the clock run and the cron strike; returns whether the handler ended well."""
        self.clock.advance(after_s)
        query = urllib.parse.urlencode({"cron": CRON, "time": int(self.clock.now() * 1000)})
        return self.get(f"/cdn-cgi/handler/scheduled?{query}", method="HEAD")[0] == 200

    @property
    def latest(self):
        """What a reader gets, without the time."""
        content = self.get("/latest")[1]
        return {key: content[key] for key in content if key != "ts"}

    @property
    def now_ms(self):
        return int(self.clock.now() * 1000)

    def count(self, endpoint="energyFlow"):
        return self.cloud.count(endpoint)

    def end(self):
        if self.process is not None:
            self.process.stdin.close()
            self.process.wait(10)
            self.process.stdout.close()
            self.process = None


@pytest.fixture
def relay(request, tmp_path):
    if not (HARNESS / "node_modules" / "miniflare").is_dir():
        message = "needs miniflare; make test-deps installs it"
        if STRICT:
            pytest.fail(message)
        pytest.skip(message)
    worker = Relay(ManualClock(now=float(int(Clock().now()))), tmp_path, **getattr(request, "param", {}))
    yield worker
    worker.end()
    worker.cloud.stop()


def with_values(values):
    """Let the simulated cloud say these."""
    return pytest.mark.parametrize("relay", [{"values": lambda: values}], indirect=True)


@in_the_runtime
def test_before_the_first_reading_there_is_none(relay):
    relay.start()
    assert relay.get("/latest") == (404, {"error": "no reading yet"})


@in_the_runtime
def test_a_cron_stores_and_latest_serves_in_the_displays_signs(relay):
    relay.start()
    assert relay.cron()
    assert relay.get("/latest") == (200, {**SHOWN, "ts": relay.now_ms})


@in_the_runtime
def test_the_worker_asks_the_vendors_host_as_a_named_client(relay):
    relay.start(SIGEN_REGION=" AUS ", SIGEN_BASE_URL=None)
    assert relay.cron()
    for entry in relay.cloud.log:
        assert entry.headers["x-original-host"] == "openapi-aus.sigencloud.com"
        assert entry.headers["sigen-region"] == "aus" and "sigen-bridge" in entry.user_agent


@in_the_runtime
def test_crons_log_in_as_rarely_as_tokens_end(relay):
    relay.start()
    for _ in range(30):
        assert relay.cron(300)
    assert relay.count() == 30 and relay.count("login") == 1
    assert relay.cron(43_199 - 30 * 300)  # the token still lives, but not for 5 minutes more
    assert relay.count("login") == 2


@in_the_runtime
def test_limit_and_token_outlive_the_isolate(relay):
    relay.start()
    assert relay.cron()
    relay.start()
    assert relay.get("/refresh") == (200, {**SHOWN, "ts": relay.now_ms})
    assert relay.count() == 1, "a new isolate knows of the call of the old one from KV"
    assert relay.cron(300)
    assert relay.count() == 2 and relay.count("login") == 1


@in_the_runtime
def test_refresh_obeys_the_limit_and_answers_what_is_stored(relay):
    relay.start()
    first_ms = relay.now_ms
    for _ in range(4):
        assert relay.get("/refresh") == (200, {**SHOWN, "ts": first_ms})
        relay.clock.advance(70)
    assert relay.count() == 1
    relay.clock.advance(20)
    assert relay.get("/refresh")[1]["ts"] == first_ms + 300_000 and relay.count() == 2


@in_the_runtime
def test_many_readers_who_refresh_at_once_make_one_call(relay):
    relay.start()
    with ThreadPoolExecutor(8) as readers:
        answers = list(readers.map(lambda _: relay.get("/refresh")[0], range(16)))
    assert relay.count() == 1 and set(answers) <= {200, 404}


@in_the_runtime
def test_a_cron_that_comes_early_waits_for_its_turn(relay):
    relay.start()
    relay.cron()
    with ThreadPoolExecutor(1) as aside:
        early = aside.submit(relay.cron, 299.0)
        time.sleep(0.5)
        assert relay.count() == 1 and not early.done()
        relay.clock.advance(1.0)
        assert early.result(ANSWER_S)
    assert relay.count() == 2 and not relay.get("/status")[1]["error"]


@in_the_runtime
def test_crons_write_little_enough_for_the_free_plan(relay):
    relay.start()
    for _ in range(12):
        relay.cron(300)
    relay.get("/refresh")
    writes = relay.get("/test/writes")[1]
    assert writes == {"turn": 12, "latest": 12, "state": 1}, "an hour, with one login"
    assert sum(writes.values()) * 24 < WRITES_A_DAY


@in_the_runtime
def test_a_revoked_token_is_renewed_once_and_nobody_notices(relay):
    relay.start()
    relay.cron()
    relay.cloud.revoke_tokens()
    assert relay.cron(300)
    assert relay.count("login") == 2 and relay.get("/latest")[1]["ts"] == relay.now_ms


@in_the_runtime
@pytest.mark.parametrize("kind, details", [("status", {"status": 401}), ("code", {"code": 11003})])
def test_a_token_that_is_never_accepted_is_renewed_once_and_then_left_alone(relay, kind, details):
    relay.start()
    relay.cron()
    relay.cloud.fail("energyFlow", kind, times=0, **details)
    assert not relay.cron(300)
    assert relay.count("login") == 2 and relay.count() == 3
    assert relay.cron(300), "nothing to do is no error"
    assert relay.count("login") == 2
    assert "not accepted" in relay.get("/status")[1]["error"]


@in_the_runtime
@with_values(IMPOSSIBLE)
def test_a_sample_that_cannot_be_is_counted_and_not_stored(relay):
    relay.start()
    assert relay.cron()
    assert relay.get("/latest")[0] == 404 and relay.get("/status")[1]["dropped"] == 1


@in_the_runtime
def test_a_sample_that_cannot_be_leaves_the_last_good_one(relay):
    relay.start()
    relay.cron()
    first = relay.get("/latest")[1]
    relay.cloud.values = lambda: IMPOSSIBLE
    relay.cron(300)
    relay.cron(300)
    assert relay.get("/latest")[1] == first and relay.get("/status")[1]["dropped"] == 2
    relay.cloud.values = lambda: VALUES
    relay.cron(300)
    assert relay.get("/latest")[1]["ts"] == relay.now_ms and relay.get("/status")[1]["dropped"] == 2


@in_the_runtime
@pytest.mark.parametrize("flow, kept", [
    ({"pvPower": 2, "gridPower": -8.2, "evPower": 7.4, "loadPower": 1.3, "heatPumpPower": 1.5, "batteryPower": 0}, True),
    ({"pvPower": 2, "gridPower": -8.2, "evPower": 0, "loadPower": 1.3, "heatPumpPower": 0, "batteryPower": 0}, False),
    ({"pvPower": 2, "gridPower": -8.2, "loadPower": 1.3, "batteryPower": 0}, True),  # a charger could explain it
    ({"pvPower": 2, "gridPower": 8.2, "loadPower": 1.3, "batteryPower": 0}, False),  # nothing could explain this
    ({"pvPower": None, "gridPower": None, "batterySoc": 400}, False),  # nothing known at all
])
def test_energy_is_added_up_as_the_bridge_does(relay, flow, kept):
    relay.start()
    relay.cloud.flow_override = flow
    relay.cron()
    assert relay.get("/latest")[0] == (200 if kept else 404)
    assert relay.get("/status")[1]["dropped"] == (0 if kept else 1)


@in_the_runtime
def test_a_missing_value_is_left_out_and_never_zero(relay):
    relay.start()
    relay.cloud.flow_override = {
        "pvPower": None, "gridPower": 1.5, "batterySoc": 40, "loadPower": "", "batteryPower": False}
    relay.cron()
    assert relay.latest == {"griW": 1500, "socPc": 40}
    relay.cloud.flow_override = {"pvPower": "0.07", "batterySoc": 101, "loadPower": 0, "gridPower": -0.0001}
    relay.cron(300)
    assert relay.latest == {"pvW": 70, "griW": 0, "loadW": 0}


@in_the_runtime
@pytest.mark.parametrize("relay", [{"double": ("login", "energyFlow", "envelope")}], indirect=True)
def test_json_inside_json_is_understood(relay):
    relay.start()
    assert relay.cron() and relay.latest == SHOWN


@in_the_runtime
@pytest.mark.parametrize("kind, details, pauses_s", [
    ("status", {"status": 424}, (1800, 3600)), ("status", {"status": 429}, (300, 600)),
    ("status", {"status": 429, "retry_after": "1200"}, (1200, 1200)), ("code", {"code": 1110}, (300, 600)),
    ("code", {"code": 1201}, (900, 1800)), ("waf", {}, (900, 1800)),
    ("status", {"status": 500}, (300, 300)), ("status", {"status": 302}, (300, 300)), ("code", {"code": 1501}, (300, 300)),
    ("garbage", {}, (300, 300)), ("page", {}, (300, 300)), ("null", {}, (300, 300)), ("empty", {}, (300, 300)),
    ("not-object", {}, (300, 300)), ("drop", {}, (300, 300)),
])
def test_trouble_is_an_error_the_last_value_stays_and_the_cloud_is_left_alone(relay, kind, details, pauses_s):
    relay.start()
    relay.cron()
    first = relay.get("/latest")[1]
    relay.clock.advance(300)
    for pause_s in pauses_s:
        relay.cloud.faults.clear()
        relay.cloud.fail("energyFlow", kind, times=0, **details)
        asked = relay.count()
        status, content = relay.get("/refresh")
        assert status == 500 and content["error"] == relay.get("/status")[1]["error"]
        assert relay.count() == asked + 1
        assert relay.get("/latest") == (200, first)
        relay.clock.advance(pause_s - 1)
        assert relay.get("/refresh") == (200, first), "too early: what is stored, without asking"
        assert relay.count() == asked + 1
        relay.clock.advance(1)
    relay.cloud.faults.clear()
    assert relay.cron() and relay.get("/latest")[1] == {**SHOWN, "ts": relay.now_ms}
    assert relay.get("/status")[1]["error"] is None and relay.get("/status")[1]["strikes"] == 0


@in_the_runtime
def test_a_cloud_that_is_down_is_said_so(relay):
    relay.start()
    relay.cloud.stop()
    status, content = relay.get("/refresh")
    assert status == 500 and content["error"]
    assert relay.get("/latest")[0] == 404


@in_the_runtime
@pytest.mark.parametrize("changed, told", [
    ({"SIGEN_AUTH_KEY": None}, "SIGEN_AUTH_KEY"), ({"SIGEN_SYSTEM_ID": ""}, "SIGEN_SYSTEM_ID"),
    ({"SIGEN_REGION": "mars"}, "SIGEN_REGION"),
])
def test_a_missing_setting_is_told_without_asking_the_cloud(relay, changed, told):
    relay.start(**changed)
    status, content = relay.get("/refresh")
    assert status == 500 and told in content["error"]
    assert not relay.cloud.log


@in_the_runtime
def test_a_missing_kv_is_told(relay):
    relay.kv = None
    relay.start()
    for path in ("/latest", "/refresh", "/status"):
        status, content = relay.get(path)
        assert status == 500 and "SIGEN_DATA" in content["error"]
    assert not relay.cron() and not relay.cloud.log


@in_the_runtime
def test_a_wrong_key_is_not_hammered_and_a_new_one_is_tried_at_once(relay):
    relay.start(SIGEN_AUTH_KEY=base64.b64encode(b"AK_DEMO:wrong").decode())
    assert not relay.cron()
    assert relay.cron(300) and relay.cron(300) and relay.count("login") == 1
    assert not relay.cron(300), "15 minutes have passed"
    relay.start(SIGEN_AUTH_KEY=AUTH_KEY + "\n")  # as echo | wrangler secret put stores it
    assert relay.cron(300) and relay.latest == SHOWN


@in_the_runtime
def test_no_answer_shows_a_secret(relay):
    relay.start(READ_TOKEN=None)
    assert relay.cron()
    relay.cloud.fail("energyFlow", "code", times=0, code=1501, msg=f"{AUTH_KEY} tok-sim-000001")
    relay.clock.advance(300)
    shown = json.dumps([relay.get(path) for path in ("/refresh", "/latest", "/status", "/", "/kv/state")])
    for secret in (AUTH_KEY, KEY.app_key, KEY.app_secret, "tok-sim"):
        assert secret not in shown


@in_the_runtime
def test_a_read_token_is_asked_for_when_there_is_one(relay):
    relay.start(READ_TOKEN="open sesame")
    relay.cron()
    for path in ("/latest", "/refresh", "/status"):
        assert relay.get(path)[0] == 401
        assert relay.get(path, {"Authorization": "Bearer open"})[0] == 401
        assert relay.get(path, {"Authorization": "Bearer open sesame"})[0] == 200
    assert relay.count() == 1


@in_the_runtime
def test_other_pages_and_methods_are_refused(relay):
    relay.start()
    assert relay.get("/admin")[0] == 404
    assert relay.get("/latest", method="POST")[0] == 405
    assert relay.get("/refresh", method="DELETE")[0] == 405 and not relay.cloud.log


@in_the_runtime
def test_a_shelly_shows_what_the_worker_serves(relay):
    relay.start(READ_TOKEN="sesame")
    relay.cloud.flow_override = {"pvPower": 2.8, "gridPower": -8.54, "batterySoc": 15, "loadPower": 11.34}
    relay.cron()
    with simulated(relay.clock) as sim:
        install(sim, f"http://127.0.0.1:{relay.port}/latest", "sesame")
        assert numbers(sim) == [2800, 15, 0, -8540, 11340] and flag(sim) == "live relay, without batW"


def toml_of(path):
    """Read the few forms of TOML that the file uses: sections, strings and lists of strings."""
    book = configparser.ConfigParser(interpolation=None, inline_comment_prefixes=("#",))
    book.optionxform = str
    book.read_string("[top]\n" + path.read_text().replace("[[", "[").replace("]]", "]"))
    return {name: {key: json.loads(text) for key, text in book[name].items()} for name in book.sections()}


def test_the_configuration_names_what_the_code_uses():
    code, text = (WORKER / "worker.js").read_text(), (WORKER / "wrangler.toml").read_text()
    config = toml_of(WORKER / "wrangler.toml")
    assert (WORKER / config["top"]["main"]).is_file()
    assert config["triggers"] == {"crons": [CRON]}
    assert config["kv_namespaces"]["binding"] == "SIGEN_DATA"
    used = set(re.findall(r"env\.([A-Z_]+)", code))
    assert used == {"SIGEN_DATA", "SIGEN_AUTH_KEY", "SIGEN_SYSTEM_ID", "SIGEN_REGION", "SIGEN_BASE_URL", "READ_TOKEN"}
    assert set(config["vars"]) == {"SIGEN_SYSTEM_ID", "SIGEN_REGION"}, "no secret stands in the file"
    for name in used:
        assert name in text and name in (WORKER / "README.md").read_text(), name


def test_the_lock_file_names_no_registry():
    lock = json.loads((HARNESS / "package-lock.json").read_text())
    wanted = json.loads((HARNESS / "package.json").read_text())["dependencies"]
    assert wanted == {"miniflare": lock["packages"]["node_modules/miniflare"]["version"]}
    for name, package in lock["packages"].items():
        assert "resolved" not in package, name
        assert name == "" or package["integrity"].startswith("sha512-")
