"""The pull script on a simulated Shelly with a real JavaScript engine, asking a real HTTP server."""

from __future__ import annotations

import json
import socket
import threading
import urllib.error
import urllib.request
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from bridge import data
from bridge.link.httpd import HttpServer, json_answer
from bridge.model import Reading
from bridge.sim import shelly
from bridge.sim.shelly import ShellySim, s3_components
from bridge.sinks.relay import latest
from tests.sim.quickjs_runner import QuickJsRun
from tests.sim.shelly_wire import call

SCRIPT = Path(data.__file__).parent / "shelly_monitor.js"
FLAGS = ({"key": "text:200", "config": {}}, {"key": "boolean:200", "config": {}})
FULL = {"pvW": 2800, "socPc": 15.5, "batW": 0, "griW": -8540, "loadW": 11340}
SHOWN = [2800, 15.5, 0, -8540, 11340]
FAST_S = 0.3  # real seconds that stand for the 15 of the script
LOSE_ANSWERS = "Shelly.call = function (method) { __limit(__calls, 'calls'); __calls++; print('asked ' + method); };"


class PullRun(QuickJsRun):
    """A script engine whose device can fetch pages and knows the time, as the firmware does."""

    timeouts_s = ()

    def __init__(self, code, host, clock, synced=True):
        self.clock, self.synced = clock, synced
        super().__init__(code, host)

    def _call(self, method, params_text):
        if method not in ("HTTP.GET", "HTTP.Request"):
            return super()._call(method, params_text)
        params = json.loads(params_text)
        assert set(params) <= ({"url", "timeout"} if method == "HTTP.GET" else {"url", "timeout", "method", "headers"})
        self.timeouts_s += (params["timeout"],)
        request = urllib.request.Request(params["url"], headers=params.get("headers") or {})
        try:
            with urllib.request.urlopen(request, timeout=FAST_S) as answer:
                result = {"code": answer.status, "message": "OK", "body": answer.read().decode()}
        except urllib.error.HTTPError as error:
            with error:
                result = {"code": error.code, "message": error.reason, "body": error.read().decode()}
        except OSError as error:
            late = isinstance(getattr(error, "reason", error), socket.timeout)
            return json.dumps({"error": {"code": -104 if late else -114, "message": "simulated"}})
        return json.dumps({"result": result})

    def _component(self, key):
        if key != "sys":
            return super()._component(key)
        unixtime = int(self.clock.now()) if self.synced else None  # null before a time server was met
        return json.dumps({"status": {"unixtime": unixtime, "uptime": int(self.clock.monotonic())}, "config": {}})


class LostRun(PullRun):
    """A device whose calls never come back."""

    def _boot(self, code):
        super()._boot(LOSE_ANSWERS + code)


class Page:
    """Serves what it is told to at /latest."""

    def __init__(self):
        self.status, self.body, self.seen = 200, "", []
        self.hangs = threading.Event()
        page = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                page.seen.append(self.headers.get("Authorization"))
                if page.hangs.is_set():
                    page.over.wait(10)
                    return
                self.send_response(page.status)
                self.end_headers()
                self.wfile.write(page.body.encode())

            def log_message(self, *args):
                pass

        self.over = threading.Event()
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/latest"

    def say(self, clock, age_s=0.0, **values):
        self.status, self.body = 200, json.dumps({**values, "ts": int((clock.now() - age_s) * 1000)})

    def close(self):
        self.over.set()
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture(autouse=True)
def only_the_test_moves_time(monkeypatch):
    monkeypatch.setattr(shelly, "TICK_S", 3600.0)


@pytest.fixture
def page():
    made = Page()
    yield made
    made.close()


def simulated(clock, run=PullRun, components=None, **options):
    given = [*s3_components(), *FLAGS] if components is None else components
    return ShellySim(clock, components=given, script_runner=partial(run, clock=clock, **options))


@pytest.fixture
def device(clock):
    with simulated(clock) as sim:
        yield sim


def install(sim, url, token="", **changed):
    """Put the script on the device, enable it and start it."""
    code = SCRIPT.read_text("ascii")
    for old, new in (('url: "http://192.168.8.1:8502/latest"', f'url: "{url}"'), ('token: ""', f'token: "{token}"')):
        assert code.count(old) == 1
        code = code.replace(old, new)
    number = call(sim, "Script.Create", {"name": "monitor"})["result"]["id"]
    for start in range(0, len(code), 1024):
        call(sim, "Script.PutCode", {"id": number, "code": code[start:start + 1024], "append": start > 0})
    call(sim, "Script.SetConfig", {"id": number, "config": {"enable": True}})
    call(sim, "Script.Start", {"id": number})
    return number


def let_pass(clock, seconds):
    for _ in range(int(seconds // 10)):
        clock.advance(10)


def numbers(sim):
    return [sim.values.get(200 + offset) for offset in range(5)]


def flag(sim, kind="Text"):
    return call(sim, f"{kind}.GetStatus", {"id": 200})["result"]["value"]


def fresh(sim):
    """Return what the boolean says, after the text was seen to say the same."""
    assert flag(sim, "Boolean") is not flag(sim).startswith("stale")
    return flag(sim, "Boolean")


def running(sim):
    return call(sim, "Script.GetStatus", {"id": 1})["result"]["running"]


def test_the_first_values_come_at_once_and_are_fresh(device, clock, page):
    page.say(clock, **FULL)
    install(device, page.url)
    assert numbers(device) == SHOWN and fresh(device)
    assert flag(device) == "live relay" and device.script_log == ["sigen-monitor: live"]


def test_a_bridges_own_relay_is_understood(device, clock):
    reading = Reading(clock.now(), clock.monotonic(), "modbus-tcp", 2800.0, 15.5, 0.0, 8540.0, None)
    server = HttpServer("127.0.0.1:0", {"/latest": lambda request: json_answer(latest(reading))}, "")
    server.start()
    try:
        install(device, "http://%s:%d/latest" % server.address)
    finally:
        server.close()
    assert numbers(device) == [2800, 15.5, 0, -8540, 0] and flag(device) == "live relay, without loadW"
    assert "number:204" not in {item.key for item in device.history}


def test_it_asks_every_five_minutes(device, clock, page):
    page.say(clock, **FULL)
    install(device, page.url)
    let_pass(clock, 290)
    assert len(page.seen) == 1
    page.say(clock, **{**FULL, "pvW": 100})
    let_pass(clock, 10)
    assert len(page.seen) == 2 and device.values[200] == 100
    for _ in range(11):
        page.say(clock, **FULL)
        let_pass(clock, 300)
    assert len(page.seen) == 13 and fresh(device) and device.script_log == ["sigen-monitor: live"]


def test_a_missing_value_is_never_written_and_a_real_zero_is(device, clock, page):
    page.say(clock, **FULL)
    install(device, page.url)
    written = len(device.history)
    page.say(clock, pvW=0, socPc=None, batW="7", griW=False)
    let_pass(clock, 300)
    assert numbers(device) == [0, 15.5, 0, -8540, 11340]
    assert [item.key for item in list(device.history)[written:] if "number" in item.key] == ["number:200"]
    assert flag(device).endswith("without socPc batW griW loadW")


@pytest.mark.parametrize("status, body, told", [
    (404, '{"error":"no reading yet"}', "HTTP 404"), (500, "", "HTTP 500"), (401, "{}", "HTTP 401"),
    (200, "<html>", "not a relay's answer"), (200, "", "not a relay's answer"), (200, "{}", "not a relay's answer"),
    (200, "null", "not a relay's answer"), (200, "[1]", "not a relay's answer"), (200, '{"ts":"now"}', "not a relay's answer"),
    (200, " " * 5000 + '{"ts":1,"pvW":1}', "not a relay's answer"), ("hang", "", "no answer (-104)"),
    ("gone", "", "no answer (-114)"),
])
def test_trouble_keeps_the_last_values_is_told_and_turns_stale(device, clock, page, status, body, told):
    page.say(clock, **FULL)
    install(device, page.url)
    if status == "gone":
        page.close()
    if status == "hang":
        page.hangs.set()
    page.status, page.body = status, body
    let_pass(clock, 300)
    assert fresh(device) and flag(device) == f"relay, 5 min old ({told})"
    let_pass(clock, 660)
    assert not fresh(device) and flag(device) == f"stale: {told}"
    assert numbers(device) == SHOWN and running(device)
    assert device.script_log == ["sigen-monitor: live", f"sigen-monitor: {told}"], "once, not each time"


def test_after_trouble_it_tries_again_each_minute_and_recovers(device, clock, page):
    install(device, page.url)
    let_pass(clock, 240)
    assert 4 <= len(page.seen) <= 5 and not fresh(device)
    page.say(clock, **FULL)
    let_pass(clock, 60)
    assert numbers(device) == SHOWN and fresh(device)
    assert device.script_log == ["sigen-monitor: not a relay's answer", "sigen-monitor: live"]


def test_without_a_first_answer_nothing_is_shown_and_it_is_stale_at_once(device, clock, page):
    page.status = 404
    install(device, page.url)
    assert flag(device) == "stale: HTTP 404"
    assert not [item for item in device.history if item.key.startswith("number")]


def test_a_relay_that_repeats_itself_turns_stale_after_a_quarter_of_an_hour(device, clock, page):
    page.say(clock, **FULL)
    install(device, page.url)
    let_pass(clock, 900)
    assert fresh(device) and flag(device) == "relay, 15 min old"
    let_pass(clock, 30)
    assert not fresh(device) and flag(device).startswith("stale: 1") and numbers(device) == SHOWN
    page.say(clock, **{**FULL, "batW": 700})
    let_pass(clock, 300)
    assert device.values[202] == 700 and fresh(device)


def test_an_old_reading_is_not_shown_at_all(device, clock, page):
    page.say(clock, age_s=1000, **FULL)
    install(device, page.url)
    assert not [item for item in device.history if item.key.startswith("number")]
    assert flag(device) == "stale: 17 min old" and not fresh(device)


@pytest.mark.parametrize("synced, age_s", [
    (True, -86_400), (True, 1_700_000_000), (False, 86_400), (False, 0),
], ids=["relay ahead", "relay in 1970", "Shelly without time", "Shelly without time, relay right"])
def test_without_a_common_clock_the_age_counts_from_the_last_change(clock, page, synced, age_s):
    with simulated(clock, synced=synced) as sim:
        page.say(clock, age_s=age_s, **FULL)
        install(sim, page.url)
        assert numbers(sim) == SHOWN and fresh(sim)
        let_pass(clock, 600)
        assert fresh(sim)
        let_pass(clock, 330)
        assert not fresh(sim)
        page.say(clock, age_s=age_s, **FULL)
        let_pass(clock, 300)
        assert fresh(sim)


def test_a_token_goes_into_a_header_and_only_when_there_is_one(device, clock, page):
    page.say(clock, **FULL)
    install(device, page.url, "sesame")
    install(device, page.url)
    assert page.seen == ["Bearer sesame", None] and numbers(device) == SHOWN


def test_it_gives_the_relay_15_seconds(clock, page):
    runs = []

    class Remembered(PullRun):
        def _boot(self, code):
            runs.append(self)
            super()._boot(code)

    page.say(clock, **FULL)
    with simulated(clock, Remembered) as sim:
        install(sim, page.url)
    assert runs[0].timeouts_s == (15,)


def test_only_components_that_exist_are_set_also_when_they_come_later(clock, page):
    page.say(clock, **FULL)
    with simulated(clock, components=(s3_components()[3],)) as sim:
        install(sim, page.url)
        assert sim.values == {203: -8540} and running(sim)
        call(sim, "Virtual.Add", {"type": "number", "id": 200, "config": {"min": 0, "max": 9000}})
        call(sim, "Virtual.Add", {"type": "boolean", "id": 200})
        sim.delete("number:203")
        page.say(clock, **FULL)
        let_pass(clock, 300)
        assert sim.values == {200: 2800} and flag(sim, "Boolean") is True and running(sim)


def test_a_value_beyond_the_components_range_is_clamped_and_does_not_end_the_script(device, clock, page):
    page.say(clock, **{**FULL, "socPc": 100.4, "griW": -2e6, "loadW": 2e6})
    install(device, page.url)
    assert numbers(device) == [2800, 100, 0, -100_000, 100_000] and running(device)


def test_a_number_without_end_is_as_good_as_missing(device, clock, page):
    page.body = '{"pvW":1e999,"socPc":50,"ts":%d}' % (clock.now() * 1000)
    install(device, page.url)
    assert numbers(device) == [0, 50, 0, 0, 0] and "pvW" in flag(device)


def test_it_comes_back_after_a_reboot(device, clock, page):
    page.say(clock, **FULL)
    install(device, page.url)
    device.reboot()
    assert numbers(device) == [0, 0, 0, 0, 0]
    let_pass(clock, 10)
    assert numbers(device) == SHOWN and fresh(device)


def test_somebody_elses_mark_stands_for_one_poll_only(device, clock, page):
    page.say(clock, **FULL)
    install(device, page.url)
    device.write_as_other("boolean:200", False)
    page.say(clock, **FULL)
    let_pass(clock, 300)
    assert fresh(device)


def test_answers_that_never_come_do_not_use_up_the_devices_calls(clock, page):
    with simulated(clock, LostRun) as sim:
        install(sim, page.url)
        let_pass(clock, 7200)
        assert running(sim) and not fresh(sim)
        assert [line for line in sim.script_log if "asked" in line] == ["asked HTTP.GET"] * 3


def test_it_shares_a_device_with_two_more_of_its_kind(device, clock, page):
    page.say(clock, **FULL)
    for _ in range(3):
        install(device, page.url)
    let_pass(clock, 600)
    assert len(page.seen) == 9 and running(device)
