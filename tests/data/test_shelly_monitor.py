"""The pull script on a simulated Shelly with a real JavaScript engine, asking a real HTTP server."""

from __future__ import annotations

import json
import threading
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from bridge import data
from bridge.sim.shelly import ShellySim, s3_components
from tests.sim.quickjs_runner import QuickJsRun
from tests.sim.shelly_wire import call

SCRIPT = Path(data.__file__).parent / "shelly_monitor.js"
FLAGS = ({"key": "text:200", "config": {}}, {"key": "boolean:200", "config": {}})


class PullRun(QuickJsRun):
    """A script engine whose device can fetch pages, as HTTP.GET and HTTP.Request of the firmware do."""

    def _call(self, method, params_text):
        if method not in ("HTTP.GET", "HTTP.Request"):
            return super()._call(method, params_text)
        params = json.loads(params_text)
        request = urllib.request.Request(params["url"], headers=params.get("headers") or {})
        try:
            with urllib.request.urlopen(request, timeout=2) as answer:
                result = {"code": answer.status, "message": "OK", "body": answer.read().decode()}
        except urllib.error.HTTPError as error:
            result = {"code": error.code, "message": error.reason, "body": error.read().decode()}
        except OSError as error:
            return json.dumps({"error": {"code": -104, "message": str(error)}})
        return json.dumps({"result": result})


class Page:
    """Serves what it is told to at /latest."""

    def __init__(self):
        self.status, self.body, self.seen = 200, "", []
        page = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                page.seen.append(self.headers.get("Authorization"))
                self.send_response(page.status)
                self.end_headers()
                self.wfile.write(page.body.encode())

            def log_message(self, *args):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server.server_port}/latest"

    def say(self, clock, age_s=0.0, **values):
        self.status, self.body = 200, json.dumps({**values, "ts": int((clock.now() - age_s) * 1000)})


@pytest.fixture
def page():
    made = Page()
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture
def device(clock):
    with ShellySim(clock, components=[*s3_components(), *FLAGS], script_runner=PullRun) as sim:
        yield sim


def install(sim, clock, page, token=""):
    """Put the script on the device, start it, and let it begin."""
    code = SCRIPT.read_text("ascii").replace("http://192.168.8.1:8502/latest", page.url).replace('token: ""', f'token: "{token}"')
    number = call(sim, "Script.Create", {"name": "monitor"})["result"]["id"]
    for start in range(0, len(code), 1024):
        call(sim, "Script.PutCode", {"id": number, "code": code[start:start + 1024], "append": start > 0})
    call(sim, "Script.Start", {"id": number})
    clock.advance(1)


FULL = {"pvW": 2800, "socPc": 15.5, "batW": 0, "griW": -8540, "loadW": 11340}


def numbers(sim):
    return [sim.values[200 + offset] for offset in range(5)]


def flag(sim, key):
    return call(sim, {"text": "Text.GetStatus", "boolean": "Boolean.GetStatus"}[key], {"id": 200})["result"]["value"]


def test_the_first_values_come_at_once_and_are_fresh(device, clock, page):
    page.say(clock, **FULL)
    install(device, clock, page)
    assert numbers(device) == [2800, 15.5, 0, -8540, 11340]
    assert flag(device, "text") == "cloud" and flag(device, "boolean") is True


def test_every_five_minutes_again(device, clock, page):
    page.say(clock, **FULL)
    install(device, clock, page)
    clock.advance(300)
    page.say(clock, **{**FULL, "pvW": 100})
    clock.advance(300)
    assert device.values[200] == 100 and 2 <= len(page.seen) <= 3


def test_a_missing_value_is_not_written_as_zero(device, clock, page):
    page.say(clock, **FULL)
    install(device, clock, page)
    page.say(clock, socPc=50)
    clock.advance(300)
    assert numbers(device) == [2800, 50, 0, -8540, 11340]


@pytest.mark.parametrize("trouble", ["404", "500", "json", "empty", "gone"])
def test_trouble_keeps_the_last_values_and_turns_stale(device, clock, page, trouble):
    page.say(clock, **FULL)
    install(device, clock, page)
    if trouble.isdigit():
        page.status = int(trouble)
    else:
        page.body = {"json": "<html>", "empty": "{}", "gone": ""}[trouble]
    clock.advance(300)
    assert flag(device, "boolean") is True
    for _ in range(4):
        clock.advance(300)
    assert numbers(device) == [2800, 15.5, 0, -8540, 11340]
    assert flag(device, "boolean") is False and flag(device, "text").startswith("stale")


def test_an_answer_that_never_changes_turns_stale(device, clock, page):
    page.say(clock, **FULL)
    install(device, clock, page)
    for _ in range(5):
        clock.advance(300)
    assert flag(device, "boolean") is False and numbers(device) == [2800, 15.5, 0, -8540, 11340]


def test_it_recovers(device, clock, page):
    page.say(clock, **FULL)
    install(device, clock, page)
    for _ in range(5):
        clock.advance(300)
    page.say(clock, **{**FULL, "batW": 700})
    clock.advance(300)
    assert device.values[202] == 700 and flag(device, "boolean") is True


def test_a_token_is_shown(device, clock, page):
    page.say(clock, **FULL)
    install(device, clock, page, "sesame")
    assert page.seen[0] == "Bearer sesame"


def test_it_runs_without_the_components(clock, page):
    with ShellySim(clock, components=("number:203",), script_runner=PullRun) as sim:
        page.say(clock, **FULL)
        install(sim, clock, page)
        assert sim.values == {203: 0} or sim.values == {203: -8540}


def test_it_obeys_the_engine_of_the_device():
    code = SCRIPT.read_text("utf-8")
    assert code.isascii() and code.count("Timer.set") == 1
    assert all(word not in code for word in ("class ", "=>", "async", ".shift(", "padStart", "Number.isFinite", "..."))
    for line in code.splitlines():
        if line.startswith("function "):
            name = line.split("(")[0][9:]
            assert code.index(f"{name}(") == code.index(f"function {name}(") + 9, f"{name} is used before it is there"
