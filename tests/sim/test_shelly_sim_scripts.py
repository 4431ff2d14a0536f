"""Scripts of the Shelly simulator, run as real JavaScript."""

from __future__ import annotations

import threading

import pytest

from bridge.sim.shelly import ShellySim, s3_components
from tests.sim.quickjs_runner import QuickJsRun
from tests.sim.shelly_wire import WebSocket, ask, call, challenge_of, get, signed_header

SETTER = """
var HANDLES = {};
function store(request, response) {
  try {
    var values = JSON.parse(request.body);
    for (var key in values) {
      if (!HANDLES[key]) HANDLES[key] = Virtual.getHandle("number:" + key);
      if (HANDLES[key]) HANDLES[key].setValue(values[key]);
    }
    response.body = "ok";
  } catch (e) { response.code = 400; response.body = "" + e; }
  response.headers = [["Content-Type", "text/x-answer"]];
  response.send();
}
HTTPServer.registerEndpoint("sigen", store);
print("endpoint ready in slot", Script.id);
"""


@pytest.fixture
def sim(clock):
    with ShellySim(clock, components=s3_components(), script_runner=QuickJsRun) as device:
        yield device


def upload(sim, code, name="sigen", start=True):
    """Store a script in pieces as the vendor's uploader does; returns its id."""
    number = call(sim, "Script.Create", {"name": name})["result"]["id"]
    for offset in range(0, len(code), 1024):
        piece = code[offset:offset + 1024]
        params = {"id": number, "code": piece, "append": offset > 0}
        assert call(sim, "Script.PutCode", params)["result"] == {"len": offset + len(piece)}
    if start:
        assert call(sim, "Script.Start", {"id": number})["result"] == {"was_running": False}
    return number


def status(sim, number):
    return call(sim, "Script.GetStatus", {"id": number})["result"]


def test_uploaded_script_takes_all_five_values_in_one_request(sim):
    number = upload(sim, SETTER)
    values = {"200": 2800, "201": 15, "202": 0, "203": -8540, "204": 11340}
    reply = ask(sim, "POST", f"/script/{number}/sigen", values)
    assert (reply.status, reply.body, reply.headers["content-type"]) == (200, b"ok", "text/x-answer")
    assert sim.values == {200: 2800, 201: 15, 202: 0, 203: -8540, 204: 11340}
    assert {item.source for item in sim.history} == {"script"}
    assert sim.script_log == ["endpoint ready in slot 1"]


def test_values_set_by_a_script_are_notified(sim):
    number = upload(sim, SETTER)
    with WebSocket(sim) as ws:
        ws.call("Sys.GetStatus")
        ask(sim, "POST", f"/script/{number}/sigen", {"200": 1, "203": 2})
        heard = [ws.next_notification()["params"] for _ in range(2)]
        assert [frame.get("number:200", frame.get("number:203"))["value"] for frame in heard] == [1, 2]


def test_script_sees_refusals_and_decides_itself(sim):
    number = upload(sim, SETTER)
    reply = ask(sim, "POST", f"/script/{number}/sigen", {"201": 101})
    assert reply.status == 400 and b"out of range" in reply.body
    assert ask(sim, "POST", f"/script/{number}/sigen", b"not json").status == 400
    assert ask(sim, "POST", f"/script/{number}/sigen", {"299": 5}).status == 200, "its handle is null"


def test_endpoint_needs_a_running_script_and_its_own_name(sim):
    number = upload(sim, SETTER, start=False)
    assert get(sim, f"/script/{number}/sigen").status == 404
    call(sim, "Script.Start", {"id": number})
    assert get(sim, f"/script/{number}/other").status == 404
    assert get(sim, f"/script/{number + 1}/sigen").status == 404
    assert call(sim, "Script.Stop", {"id": number})["result"] == {"was_running": True}
    assert get(sim, f"/script/{number}/sigen").status == 404


def test_without_an_engine_nothing_is_pretended(clock):
    with ShellySim(clock, components=s3_components()) as sim:
        number = upload(sim, SETTER)
        reply = ask(sim, "POST", f"/script/{number}/sigen", {"200": 1})
        assert (reply.status, reply.body) == (500, b"this simulator has no script engine")
        assert sim.values[200] == 0


def test_one_degree_sign_has_the_code_refused(sim):
    number = call(sim, "Script.Create", {"name": "s"})["result"]["id"]
    reply = ask(sim, "POST", "/rpc/Script.PutCode", {"id": number, "code": "print('20 \u00b0C')"})
    assert (reply.status, reply.json()) == (500, {"code": -103, "message": "Missing or bad argument 'code'!"})


def test_put_code_replaces_unless_append_is_set(sim):
    number = upload(sim, "first", start=False)
    assert call(sim, "Script.PutCode", {"id": number, "code": "second"})["result"] == {"len": 6}
    assert call(sim, "Script.GetCode", {"id": number})["result"] == {"data": "second", "left": 0}


def test_code_is_read_back_in_pages(sim):
    code = "".join(chr(65 + i % 26) for i in range(2_500))
    number = upload(sim, code, start=False)
    found, offset = "", 0
    while True:
        page = call(sim, "Script.GetCode", {"id": number, "offset": offset, "len": 1_000})["result"]
        found += page["data"]
        offset += len(page["data"])
        if not page["left"]:
            break
    assert found == code


def test_list_config_and_delete(sim):
    number = upload(sim, SETTER)
    config = {"name": "new", "enable": True}
    assert "result" in call(sim, "Script.SetConfig", {"id": number, "config": config})
    row = {"id": number, "name": "new", "enable": True}
    assert call(sim, "Script.GetConfig", {"id": number})["result"] == row
    assert call(sim, "Script.List")["result"] == {"scripts": [{**row, "running": True}]}
    assert call(sim, "Script.Delete", {"id": number})["result"] is None
    assert call(sim, "Script.List")["result"] == {"scripts": []}
    assert call(sim, "Script.GetStatus", {"id": number})["error"]["code"] == -105


def test_three_scripts_run_at_once_and_not_four(sim):
    for name in "abc":
        upload(sim, "print('up');", name)
    number = upload(sim, "print('up');", "d", start=False)
    assert call(sim, "Script.Start", {"id": number})["error"] == {
        "code": -108, "message": "Reached the maximum 3 of enabled scripts"}


def test_uncaught_exception_kills_the_script_and_is_kept_in_the_status(sim):
    number = upload(sim, 'HTTPServer.registerEndpoint("boom", function (q, r) { nothing.here(); });')
    assert get(sim, f"/script/{number}/boom").status == 500
    found = status(sim, number)
    assert found["running"] is False and "nothing" in found["error_msg"]
    assert get(sim, f"/script/{number}/boom").status == 404


def test_syntax_error_stops_the_script_at_start(sim):
    number = upload(sim, "this is not javascript")
    assert status(sim, number)["running"] is False
    assert "SyntaxError" in status(sim, number)["error_msg"]


def test_sixth_call_in_flight_kills_the_script(sim):
    number = upload(sim, 'for (var i = 0; i < 6; i++) Shelly.call("Sys.GetStatus", {}, function () {});')
    assert "Too many calls in progress" in status(sim, number)["error_msg"]
    number = upload(sim, 'for (var i = 0; i < 5; i++) Shelly.call("Sys.GetStatus", {}, function () {});')
    assert status(sim, number)["running"] is True


def test_script_calls_rpc_and_hears_errors(sim):
    upload(sim, """
        Shelly.call("Number.Set", {id: 204, value: 77}, function (r, code) { print("set", r, code); });
        Shelly.call("Number.Set", {id: 250, value: 1}, function (r, code, text) { print(code, text); });
    """)
    assert sim.values[204] == 77
    assert sim.script_log == ["set  0", "-105 Argument 'id', value 250 not found!"]


def test_timers_follow_the_clock_of_the_device(sim, clock):
    upload(sim, """
        var h = Virtual.getHandle("number:200");
        Timer.set(60000, true, function () { h.setValue(h.getValue() + 1); });
    """)
    for _ in range(3):
        clock.advance(60)
    assert sim.values[200] == 3


def test_staleness_watch_can_live_on_the_device(sim, clock):
    upload(sim, """
        function watch() {
          var s = Shelly.getComponentStatus("number:200");
          print(s.source, s.last_update_ts);
        }
        Timer.set(1000, false, watch);
    """)
    call(sim, "Number.Set", {"id": 200, "value": 5})
    clock.advance(1)
    assert sim.script_log == [f"rpc {int(clock.now()) - 1}"]


def test_enabled_scripts_start_half_a_second_after_boot(sim, clock):
    enabled, other = upload(sim, SETTER), upload(sim, SETTER, "other")
    call(sim, "Script.SetConfig", {"id": enabled, "config": {"enable": True}})
    sim.reboot()
    assert [status(sim, number)["running"] for number in (enabled, other)] == [False, False]
    clock.advance(0.6)
    assert [status(sim, number)["running"] for number in (enabled, other)] == [True, False]
    assert ask(sim, "POST", f"/script/{enabled}/sigen", {"200": 8}).status == 200


def test_eval_runs_in_the_script_and_may_call_the_device(sim):
    number = upload(sim, "var x = 20;")
    assert call(sim, "Script.Eval", {"id": number, "code": "x + 1"})["result"] == {"result": "21"}
    code = 'Virtual.getHandle("number:200").setValue(5)'
    assert "result" in call(sim, "Script.Eval", {"id": number, "code": code})
    assert sim.values[200] == 5
    assert call(sim, "Script.Eval", {"id": number, "code": "missing()"})["error"]["code"] == -109
    assert status(sim, number)["running"] is False, "an exception in Script.Eval kills the script"


def test_exception_in_a_timer_kills_the_script(sim, clock):
    number = upload(sim, "Timer.set(1000, true, function () { lost.track(); });")
    assert status(sim, number)["running"] is True
    clock.advance(1)
    assert status(sim, number)["running"] is False
    assert "lost" in status(sim, number)["error_msg"]
    clock.advance(10)
    assert get(sim, "/shelly").status == 200


def test_script_may_stop_itself(sim, clock):
    stop = 'Shelly.call("Script.Stop", {id: Script.id});'
    number = upload(sim, f"Timer.set(10, false, function () {{ {stop} }});")
    clock.advance(1)
    assert status(sim, number)["running"] is False


def test_endpoints_ask_for_the_password(clock):
    with ShellySim(clock, password="pw", components=s3_components(), script_runner=QuickJsRun) as sim:
        found = challenge_of(get(sim, "/rpc/Sys.GetStatus"))
        for count, (method, params) in enumerate((
                ("Script.Create", {"name": "s"}), ("Script.PutCode", {"id": 1, "code": SETTER}),
                ("Script.Start", {"id": 1})), 1):
            header = signed_header(found, "pw", "POST", f"/rpc/{method}", count)
            assert ask(sim, "POST", f"/rpc/{method}", params, headers=[header]).status == 200
        assert ask(sim, "POST", "/script/1/sigen", {"200": 5}).status == 401
        header = signed_header(found, "pw", "POST", "/script/1/sigen", 4)
        assert ask(sim, "POST", "/script/1/sigen", {"200": 5}, headers=[header]).status == 200
        assert sim.values[200] == 5


class Stuck:
    """A script whose endpoint answers when told to."""

    def __init__(self):
        self.go = threading.Event()
        self.waiting = threading.Semaphore(0)

    def http(self, name, request):
        self.waiting.release()
        self.go.wait(5)
        return 200, [], "late"

    def stop(self):
        self.go.set()


def test_too_many_requests_in_flight_get_429(clock):
    stuck = Stuck()
    with ShellySim(clock, script_runner=lambda code, host: stuck) as sim:
        number = upload(sim, SETTER)
        answers = []
        threads = [threading.Thread(target=lambda: answers.append(get(sim, f"/script/{number}/sigen").status))
                   for _ in range(5)]
        for thread in threads:
            thread.start()
        for _ in threads:
            assert stuck.waiting.acquire(timeout=3)
        assert get(sim, f"/script/{number}/sigen").status == 429
        stuck.go.set()
        for thread in threads:
            thread.join()
        assert answers == [200] * 5
