"""The Cloudflare Worker in its real runtime, against the simulated Sigenergy cloud."""

from __future__ import annotations

import base64
import json
import re
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

import pytest

from bridge.clock import Clock, ManualClock
from bridge.sim.sigen_cloud import SigenCloudSim
from tests.conftest import STRICT
from tests.peers.cloud_bench import KEY, STATION

ROOT = Path(__file__).parent.parent
WORKER = ROOT / "firmware_targets" / "cloudflare"
HARNESS = Path(__file__).parent / "worker"
VALUES = (1000, 55.5, 400, -200, 400)  # pv, soc, battery, grid (+ import), load
SHOWN = {"pvW": 1000, "socPc": 55.5, "batW": 400, "griW": 200, "loadW": 400}
AUTH_KEY = base64.b64encode(f"{KEY.app_key}:{KEY.app_secret}".encode()).decode()

pytestmark = pytest.mark.needs("node")


class Relay:
    """One Worker with a KV of its own and a cloud behind it; its time is the simulator's."""

    def __init__(self, clock, **options):
        self.clock = clock
        self.cloud = SigenCloudSim(clock, **{"values": lambda: VALUES, **options}).start()
        self.process = None

    def start(self, **bindings):
        given = {"SIGEN_AUTH_KEY": AUTH_KEY, "SIGEN_SYSTEM_ID": STATION, "SIGEN_REGION": "eu", **bindings}
        options = {
            "script": str(WORKER / "worker.js"), "cloud": self.cloud.base_url, "date": "2026-04-01",
            "bindings": {name: value for name, value in given.items() if value is not None},
        }
        self.process = subprocess.Popen(
            ["node", "harness.mjs"], cwd=HARNESS, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.process.stdin.write(json.dumps(options) + "\n")
        self.process.stdin.flush()
        self.port = json.loads(self.process.stdout.readline())["port"]
        return self

    def get(self, path, headers=None):
        """Return status and decoded body."""
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", headers=headers or {})
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as error:
            body = error.read()
            return error.code, json.loads(body) if body.startswith(b"{") else body

    def cron(self, after_s=0):
        """Let the clock run and the cron strike; returns whether the handler ended well."""
        self.clock.advance(after_s)
        query = urllib.parse.urlencode({"cron": "*/5 * * * *", "time": int(self.clock.now() * 1000)})
        return self.get_raw(f"/cdn-cgi/handler/scheduled?{query}") == 200

    def get_raw(self, path):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=20) as answer:
                return answer.status
        except urllib.error.HTTPError as error:
            return error.code

    def stop(self):
        if self.process is not None:
            self.process.stdin.close()
            self.process.wait(10)
            self.process.stdout.close()
        self.cloud.stop()


@pytest.fixture
def relay(request):
    if not (HARNESS / "node_modules" / "miniflare").is_dir():
        message = "needs miniflare; make test-deps installs it"
        if STRICT:
            pytest.fail(message)
        pytest.skip(message)
    worker = Relay(ManualClock(now=Clock().now()), **getattr(request, "param", {}))
    yield worker
    worker.stop()


def test_before_the_first_reading_there_is_none(relay):
    relay.start()
    assert relay.get("/latest")[0] == 404


def test_a_cron_stores_and_latest_serves_in_the_displays_signs(relay):
    relay.start()
    assert relay.cron()
    status, content = relay.get("/latest")
    assert status == 200 and content == {**SHOWN, "ts": int(relay.clock.now()) * 1000}


def test_a_day_of_crons_logs_in_as_rarely_as_tokens_end(relay):
    relay.start()
    for _ in range(30):
        assert relay.cron(300)
    assert relay.cloud.count("energyFlow") == 30 and relay.cloud.count("login") == 1
    assert relay.cron(43_199 - 30 * 300)
    assert relay.cloud.count("login") == 2


def test_refresh_obeys_the_limit(relay):
    relay.start()
    for _ in range(5):
        assert relay.get("/refresh")[1]["pvW"] == 1000
    assert relay.cloud.count("energyFlow") == 1


def test_a_revoked_token_is_renewed_once_and_nobody_notices(relay):
    relay.start()
    relay.cron()
    relay.cloud.revoke_tokens()
    assert relay.cron(300)
    assert relay.cloud.count("login") == 2 and relay.get("/latest")[1]["ts"] == int(relay.clock.now()) * 1000


@pytest.mark.parametrize("relay", [{"values": lambda: (0, 50.0, 10_600, -11_000, 400)}], indirect=True)
def test_a_sample_that_cannot_be_is_not_stored(relay):
    relay.start()
    relay.cron()
    assert relay.get("/latest")[0] == 404


def test_a_missing_value_is_left_out_and_never_zero(relay):
    relay.start()
    relay.cloud.flow_override = {"pvPower": None, "gridPower": 1.5, "batterySoc": 40, "loadPower": ""}
    relay.cron()
    content = relay.get("/latest")[1]
    assert {key: content[key] for key in content if key != "ts"} == {"griW": 1500, "socPc": 40}


@pytest.mark.parametrize("kind, details, pause_s", [
    ("status", {"status": 424}, 1500), ("status", {"status": 429}, 1500), ("code", {"code": 1110}, 1500),
    ("status", {"status": 500}, 0), ("garbage", {}, 0),
])
def test_trouble_is_an_error_the_last_value_stays_and_the_cloud_is_left_alone(relay, kind, details, pause_s):
    relay.start()
    relay.cron()
    first = relay.get("/latest")[1]
    relay.cloud.fail("energyFlow", kind, times=1, **details)
    assert not relay.cron(300)
    assert relay.get("/latest")[1] == first
    asked = relay.cloud.count("energyFlow")
    relay.cron(300)
    assert relay.cloud.count("energyFlow") == asked + (0 if pause_s else 1)
    assert relay.cron(1800) and relay.get("/latest")[1]["ts"] > first["ts"]


@pytest.mark.parametrize("missing", ["SIGEN_AUTH_KEY", "SIGEN_SYSTEM_ID"])
def test_a_missing_setting_is_told_without_asking_the_cloud(relay, missing):
    relay.start(**{missing: None})
    status, content = relay.get("/refresh")
    assert status == 500 and missing in content["error"]
    assert not relay.cloud.log


def test_no_answer_shows_a_secret(relay):
    relay.start(SIGEN_AUTH_KEY=base64.b64encode(b"wrong:secret").decode())
    status, content = relay.get("/refresh")
    assert status == 500 and "11003" in content["error"]
    assert "secret" not in json.dumps(content) and AUTH_KEY not in json.dumps(content)


def test_a_read_token_is_asked_for_when_there_is_one(relay):
    relay.start(READ_TOKEN="open sesame")
    relay.cron()
    assert relay.get("/latest")[0] == 401
    assert relay.get("/latest", {"Authorization": "Bearer open"})[0] == 401
    assert relay.get("/latest", {"Authorization": "Bearer open sesame"})[0] == 200


def test_other_pages_and_methods_are_refused(relay):
    relay.start()
    assert relay.get("/admin")[0] == 404
    request = urllib.request.Request(f"http://127.0.0.1:{relay.port}/latest", b"x", method="POST")
    with pytest.raises(urllib.error.HTTPError, match="405"):
        urllib.request.urlopen(request, timeout=10)


def test_the_configuration_names_what_the_code_uses():
    code, config = (WORKER / "worker.js").read_text(), (WORKER / "wrangler.toml").read_text()
    used = set(re.findall(r"env\.([A-Z_]+)", code))
    assert used == {"SIGEN_DATA", "SIGEN_AUTH_KEY", "SIGEN_SYSTEM_ID", "SIGEN_REGION", "SIGEN_BASE_URL", "READ_TOKEN"}
    for name in used:
        assert name in config, name
    assert re.search(r'binding = "SIGEN_DATA"', config) and '"*/5 * * * *"' in config and 'main = "worker.js"' in config
    assert not re.search(r"^(SIGEN_AUTH_KEY|READ_TOKEN)\s*=", config, re.M)
