"""The HTTP interface of a running bridge, asked over the wire: snapshot, stream, history, metrics, page, their limits."""

from __future__ import annotations

import http.client
import json
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from bridge import data
from bridge.link import http_talk, httpd
from bridge.link.httpd import json_answer
from tests.commands.conftest import until
from tests.web_desk import Desk, Shown

SCHEMA = json.loads((Path(data.__file__).parent / "snapshot.schema.json").read_text("utf-8"))
FIVE = {"pv_w": 2800.0, "soc_pct": 15.0, "battery_w": 0.0, "grid_w": 8540.0, "load_w": 11340.0}


@pytest.fixture
def desk():
    with Desk(sinks=[Shown()]) as made:
        yield made


def ask(desk, path, method="GET", body=None, host="127.0.0.1", **headers):
    """Return (status, headers in lower case, body)."""
    connection = http.client.HTTPConnection(host, desk.port, timeout=5)
    try:
        connection.request(method, path, body, {name.replace("_", "-"): text for name, text in headers.items()})
        answer = connection.getresponse()
        return answer.status, {name.lower(): text for name, text in answer.getheaders()}, answer.read()
    finally:
        connection.close()


class Listener:
    """A reader of a stream."""

    def __init__(self, desk, path="/v1/stream", **headers):
        self.socket = socket.create_connection(("127.0.0.1", desk.port), 5)
        extra = "".join(f"{name.replace('_', '-')}: {text}\r\n" for name, text in headers.items())
        self.socket.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{extra}\r\n".encode())
        self.got = b""
        self.head = self.until(b"\r\n\r\n").decode()

    def until(self, mark):
        while mark not in self.got:
            chunk = self.socket.recv(65536)
            assert chunk, self.got
            self.got += chunk
        taken, _, self.got = self.got.partition(mark)
        return taken

    def event(self):
        """Return (name, content) of the next event that has content."""
        while True:
            lines = self.until(b"\n\n").decode().splitlines()
            fields = dict(line.split(": ", 1) for line in lines if not line.startswith(":"))
            if "data" in fields:
                return fields.get("event", "message"), json.loads(fields["data"])


# --- the snapshot ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("told", [
    {}, FIVE, {**FIVE, "pv_w": None}, {**FIVE, "load_derived": True}, {**FIVE, "valid": False, "reason": "grid: no value"},
    {**FIVE, "age_s": 9.0}, {**FIVE, "source": "cloud-openapi", "age_s": 200.0}, {**FIVE, "balance_w": 1.5},
])
def test_the_snapshot_keeps_to_its_schema(desk, told):
    import jsonschema

    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    validator = jsonschema.Draft202012Validator(SCHEMA)
    if told:
        desk.tell(**told)
    status, headers, body = ask(desk, "/v1/snapshot")
    assert status == 200 and headers["content-type"] == "application/json"
    snapshot = json.loads(body)
    validator.validate(snapshot)
    assert set(snapshot) == set(SCHEMA["properties"]) == set(SCHEMA["required"]), "nothing that the schema does not name"
    assert not validator.is_valid({**snapshot, "pv_w": "2800"}) and not validator.is_valid({**snapshot, "schema": 2})
    assert not validator.is_valid({key: value for key, value in snapshot.items() if key != "grid_import_w"})


def test_the_schema_is_served_and_may_be_kept(desk):
    status, headers, body = ask(desk, "/v1/snapshot.schema.json")
    assert status == 200 and json.loads(body) == SCHEMA and "max-age" in headers["cache-control"]
    status, headers, body = ask(desk, "/v1/snapshot.schema.json", If_None_Match=headers["etag"])
    assert (status, body) == (304, b"") and "content-length" not in headers


@pytest.mark.parametrize("path", ["/v1/snapshot", "/latest", "/v1/history"])
def test_the_same_reading_is_not_sent_twice_to_who_has_it(desk, path):
    desk.tell(**FIVE)
    status, headers, _ = ask(desk, path)
    etag = headers["etag"]
    assert status == 200 and headers["cache-control"] == "no-cache"
    for shown in (etag, f'"other", {etag}', "*", etag.replace("W/", "")):
        status, headers, body = ask(desk, path, If_None_Match=shown)
        assert (status, body, headers["etag"]) == (304, b"", etag), shown
    assert ask(desk, path, If_None_Match='"other"')[0] == 200
    desk.tell(age_s=-10.0, **FIVE)
    assert ask(desk, path, If_None_Match=etag)[0] == 200


def test_a_kept_connection_answers_one_question_after_the_other(desk):
    connection = http.client.HTTPConnection("127.0.0.1", desk.port, timeout=5)
    connection.connect()
    ours = connection.sock.getsockname()
    for path in ("/v1/snapshot", "/nope", "/healthz", "/metrics", "/", "/v1/history"):
        connection.request("GET", path)
        connection.getresponse().read()
        assert connection.sock.getsockname() == ours
    connection.close()


@pytest.mark.parametrize("method, path, status, allow", [
    ("PUT", "/v1/snapshot", 405, "GET, HEAD"), ("DELETE", "/", 405, "GET, HEAD"), ("POST", "/metrics", 405, "GET, HEAD"),
    ("OPTIONS", "/v1/stream", 405, "GET, HEAD"), ("GET", "/v1/nope", 404, None), ("POST", "/v1/nope", 404, None),
    ("GET", "/v1/snapshot/", 404, None), ("BREW", "/", 501, None),
])
def test_what_there_is_not_and_what_cannot_be_done(desk, method, path, status, allow):
    found, headers, body = ask(desk, path, method)
    assert (found, headers.get("allow")) == (status, allow)
    assert headers["content-type"].startswith("text/plain") and len(body.splitlines()) == 1


def test_latest_is_for_scripts_and_never_holds_what_is_not_known(desk):
    assert ask(desk, "/latest")[0] == 404
    desk.tell(**{**FIVE, "soc_pct": None})
    latest = json.loads(ask(desk, "/latest")[2])
    assert set(latest) == {"pvW", "batW", "griW", "loadW", "ts"} and latest["griW"] == -8540


# --- the stream -----------------------------------------------------------------------------------------------------


def test_the_stream_tells_each_reading_as_a_snapshot(desk):
    import jsonschema

    listener = Listener(desk)
    assert " 200 " in listener.head and "text/event-stream" in listener.head and "no-store" in listener.head
    assert listener.event()[1]["reason"] == "no reading yet"
    for pv_w in (100.0, 200.0, None):
        desk.tell(**{**FIVE, "pv_w": pv_w})
        name, snapshot = listener.event()
        assert (name, snapshot["pv_w"]) == ("message", pv_w)
        jsonschema.validate(snapshot, SCHEMA)


def test_a_page_hears_everything_first_and_then_what_has_changed(desk):
    desk.tell(**FIVE)
    listener = Listener(desk, "/v1/stream?for=page")
    name, whole = listener.event()
    assert name == "page" and whole["grid"] == "importing 8540 W" and "c_grid_line:d" in whole
    desk.tell(**FIVE)
    assert set(listener.event()[1]) == set(whole), "once more, so that whoever came in between has all of it"
    desk.tell(**{**FIVE, "grid_w": -100.0})
    changed = listener.event()[1]
    assert changed["grid"] == "exporting 100 W" and changed["f_grid:class"] == "flow out"
    assert not {"sun", "house", "c_grid_line:d", "links"} & set(changed)


def test_a_page_that_comes_late_misses_nothing(desk):
    desk.tell(**FIVE)
    first = Listener(desk, "/v1/stream?for=page")
    first.event()
    desk.tell(**FIVE)
    first.event()
    desk.tell(**{**FIVE, "grid_w": -100.0})
    first.event()
    second = Listener(desk, "/v1/stream?for=page")
    assert second.event()[1]["grid"] == "exporting 100 W"
    desk.tell(**FIVE)
    assert second.event()[1]["grid"] == "importing 8540 W" == first.event()[1]["grid"]


def test_head_of_a_stream_opens_none(desk):
    assert ask(desk, "/v1/stream", "HEAD")[0] == 200
    assert len(desk.service._web.streams) == 0


def test_there_is_a_last_stream_and_it_is_told_so(desk, monkeypatch):
    from bridge.link import streams

    monkeypatch.setattr(streams, "PLACES", 3)
    listeners = [Listener(desk) for _ in range(3)]
    assert all(" 200 " in listener.head for listener in listeners)
    assert until(lambda: len(desk.service._web.streams) == 3)
    status, headers, _ = ask(desk, "/v1/stream")
    assert status == 503 and headers["retry-after"]
    assert ask(desk, "/v1/snapshot")[0] == 200


def test_the_end_of_the_bridge_ends_the_streams():
    with Desk() as desk:
        listener = Listener(desk)
        listener.event()
    assert listener.socket.recv(100) == b""


# --- history and metrics --------------------------------------------------------------------------------------------


def test_history_has_the_snapshot_s_names_and_one_grid_of_time(desk):
    desk.an_hour(18.0)
    status, headers, body = ask(desk, "/v1/history")
    history = json.loads(body)
    assert status == 200 and history["step_s"] == 5 and abs(history["until"] - desk.clock.now()) < 10
    keys = ("pv_w", "soc_pct", "battery_charge_w", "grid_import_w", "load_w")
    assert all(len(history[key]) == 720 for key in keys) and set(keys) < set(SCHEMA["properties"])
    assert len(body) < 40_000
    for moment in range(10, 700, 100):
        pv_w, battery_w, grid_w, load_w = (history[key][moment] for key in ("pv_w", "battery_charge_w", "grid_import_w", "load_w"))
        assert abs(pv_w - battery_w + grid_w - load_w) < 3


@pytest.mark.parametrize("query, status, count", [
    ("?minutes=1", 200, 12), ("?minutes=60", 200, 720), ("?minutes=0", 400, None), ("?minutes=61", 400, None),
    ("?minutes=x", 400, None), ("?minutes=", 400, None), ("?minutes=%C2%B2", 400, None), ("?other=1", 200, 720),
])
def test_history_of_fewer_minutes(desk, query, status, count):
    found, _, body = ask(desk, f"/v1/history{query}")
    assert found == status and (count is None or len(json.loads(body)["pv_w"]) == count)


@pytest.mark.needs("promtool")
@pytest.mark.parametrize("told", [{}, FIVE])
def test_metrics_as_they_are_served(desk, told):
    if told:
        desk.tell(**told)
    status, headers, body = ask(desk, "/metrics")
    assert status == 200 and headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    done = subprocess.run([shutil.which("promtool"), "check", "metrics"], input=body, capture_output=True, timeout=30)
    assert (done.returncode, done.stdout + done.stderr) == (0, b"")
    assert (b"sigen_bridge_grid_import_watts 8540" in body) == bool(told)


def test_health_says_503_until_there_are_readings(desk):
    assert ask(desk, "/healthz")[0] == 503
    desk.tell(**FIVE)
    status, _, body = ask(desk, "/healthz")
    assert status == 200 and json.loads(body)["ok"] and json.loads(body)["sinks"][0]["name"] == "shelly"


# --- who may --------------------------------------------------------------------------------------------------------


def test_beyond_this_machine_the_page_is_usable_with_the_token_given_once():
    with Desk("0.0.0.0:0", "sesame") as desk:
        assert ask(desk, "/healthz")[0] == 503, "health is for everybody"
        for path in ("/", "/v1/snapshot", "/v1/stream", "/v1/history", "/metrics", "/latest"):
            assert ask(desk, path)[0] == 401, path
        status, headers, _ = ask(desk, "/?token=sesame")
        assert (status, headers["location"]) == (303, "/")
        cookie = headers["set-cookie"].partition(";")[0]
        assert ask(desk, "/", Cookie=cookie)[0] == 200
        assert Listener(desk, "/v1/stream?for=page", Cookie=cookie).event()[0] == "page"


def test_beyond_this_machine_without_a_token_reading_is_open_and_writing_is_not():
    with Desk("0.0.0.0:0") as desk:
        desk.service.writers["/w"] = lambda request: json_answer({})
        desk.tell(**FIVE)
        assert ask(desk, "/")[0] == ask(desk, "/v1/snapshot")[0] == 200
        assert ask(desk, "/v1/snapshot", Host="evil.example")[0] == 403
        assert ask(desk, "/v1/stream", Origin="http://evil.example")[0] == 403


def test_the_page_carries_a_fresh_nonce_and_a_strict_policy(desk):
    seen = set()
    for _ in range(2):
        status, headers, body = ask(desk, "/")
        assert status == 200 and headers["cache-control"] == "no-store" and headers["x-content-type-options"] == "nosniff"
        (nonce,) = set(re.findall(r"'nonce-([^']+)'", headers["content-security-policy"]))
        assert body.count(f'nonce="{nonce}"'.encode()) == 2 and len(body) < 40_000
        seen.add(nonce)
    assert len(seen) == 2


# --- what must not happen -------------------------------------------------------------------------------------------


def test_a_defect_in_one_page_leaves_the_others_and_the_connection_alone(desk, caplog):
    def broken(request):
        raise ValueError("boo")

    desk.service.more_routes["/broken"] = broken
    desk.service._server.close()
    desk.service.serve()
    status, _, body = ask(desk, "/broken")
    assert status == 500 and b"boo" not in body and "boo" in caplog.text
    assert ask(desk, "/healthz")[0] == 503


def test_more_requests_than_workers_wait_their_turn(desk, monkeypatch):
    """Eight slow routes hold all workers; the ninth caller is answered when one is free, none is lost."""
    import threading

    gate = threading.Event()
    desk.service.more_routes["/slow"] = lambda request: json_answer({"waited": gate.wait(5)})
    desk.service._server.close()
    desk.service.serve()
    found = []
    callers = [threading.Thread(target=lambda: found.append(ask(desk, "/slow")[0])) for _ in range(httpd.WORKERS + 4)]
    for caller in callers:
        caller.start()
    gate.set()
    for caller in callers:
        caller.join(10)
    assert found == [200] * (httpd.WORKERS + 4)


def test_a_body_that_does_not_come_ends_by_itself(monkeypatch):
    monkeypatch.setattr(http_talk, "TALK_S", 0.1)
    with Desk(token="sesame") as desk:
        desk.service._server.close()
        desk.service.writers["/w"] = lambda request: json_answer({"got": len(request.body)})
        desk.service.serve()
        with socket.create_connection(("127.0.0.1", desk.port), 5) as caller:
            caller.sendall(b"POST /w HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer sesame\r\nContent-Length: 9\r\n\r\nabc")
            assert caller.recv(100) == b""
        assert ask(desk, "/w", "POST", b"x" * 60_000, Authorization="Bearer sesame")[2] == b'{"got": 60000}'


def test_the_heavy_parts_are_imported_by_the_first_who_asks():
    """In a process of its own: the snapshot needs none of them, and each page brings in only its own."""
    code = """
import sys, http.client
from tests.web_desk import Desk
HEAVY = ("bridge.wiring_web", "bridge.link.streams", "bridge.sinks.page", "bridge.sinks.charts", "bridge.sinks.metrics")
def loaded(): return sorted(set(HEAVY) & set(sys.modules))
with Desk() as desk:
    def ask(path):
        connection = http.client.HTTPConnection("127.0.0.1", desk.port, timeout=5)
        connection.request("GET", path)
        connection.getresponse().read()
        connection.close()
    desk.tell(pv_w=1.0)
    for path in ("/v1/snapshot", "/healthz", "/latest", "/nope"): ask(path)
    print(loaded())
    ask("/v1/history"); print([name for name in loaded() if name in ("bridge.sinks.page", "bridge.sinks.metrics")])
    ask("/metrics"); print("bridge.sinks.metrics" in loaded())
    ask("/"); print(loaded() == sorted(HEAVY))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60,
                          cwd=Path(__file__).parent.parent)
    assert done.stdout.split("\n")[:4] == ["[]", "[]", "True", "True"], done.stdout + done.stderr


def test_a_router_without_the_web_package_still_tells_the_numbers(desk, monkeypatch):
    monkeypatch.setitem(sys.modules, "bridge.wiring_web", None)
    desk.tell(**FIVE)
    status, headers, body = ask(desk, "/")
    assert status == 200 and headers["content-type"].startswith("text/plain")
    assert b"importing 8540 W" in body and b"sigen-bridge-web" in body
    assert ask(desk, "/metrics")[0] == 501 and ask(desk, "/v1/snapshot")[0] == 200


def test_the_documentation_names_every_address(desk):
    text = (Path(__file__).parent.parent / "docs" / "http.md").read_text("utf-8")
    told = set(re.findall(r"^\| `(/[^`]*)` \|", text, re.M))
    assert told == set(desk.service.routes())


def test_who_asks_for_much_and_reads_nothing_holds_no_worker(desk):
    """More of them than there are workers: the answers fit into the kernel's buffers, so nobody waits for them."""
    desk.an_hour(18.0)
    idlers = []
    for _ in range(3 * httpd.WORKERS):
        idler = socket.socket()
        idler.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        idler.connect(("127.0.0.1", desk.port))
        idler.sendall(b"GET /v1/history HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        idlers.append(idler)
    begun = desk.clock.monotonic()
    assert ask(desk, "/v1/snapshot")[0] == 200
    assert desk.clock.monotonic() - begun < 2.0 < http_talk.TALK_S
    for idler in idlers:
        idler.close()
