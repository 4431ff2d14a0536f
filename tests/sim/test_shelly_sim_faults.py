"""Every fault of the Shelly simulator, seen on the raw wire."""

from __future__ import annotations

import json
import socket
import time
from pathlib import Path

import pytest

from bridge.clock import Clock
from bridge.sim.shelly import ShellySim, s3_components
from bridge.sim.shelly_faults import FAULTS
from tests.sim.shelly_wire import WebSocket, ask, call, connect, exchange, get, read_all, request_bytes

SET = "/rpc/Number.Set?id=200&value=5"
SET_FRAME = {"id": 1, "method": "Number.Set", "params": {"id": 200, "value": 5}}
SHORT_S = 0.15


@pytest.fixture
def sim(clock):
    with ShellySim(clock, components=s3_components()) as device:
        yield device


def nothing_comes(sock):
    """Say whether the socket stays open and silent for a moment."""
    sock.settimeout(SHORT_S)
    try:
        return sock.recv(1) is None
    except socket.timeout:
        return True


def test_unknown_fault_is_refused_by_name(sim):
    with pytest.raises(ValueError, match="no fault named offline_burning; there are offline_refused"):
        sim.fault("offline_burning")


def test_every_fault_has_a_test():
    here = Path(__file__).parent
    files = (here / f"test_shelly_sim_{part}.py" for part in ("faults", "relays"))
    source = "".join(path.read_text("utf-8") for path in files)
    assert [name for name in FAULTS if f'fault("{name}"' not in source] == []


def test_offline_refused_keeps_the_port_and_kills_connections(sim):
    with WebSocket(sim) as ws:
        ws.call("Sys.GetStatus")
        sim.fault("offline_refused")
        with pytest.raises(ConnectionError):
            ws.read_frame()
    with pytest.raises(ConnectionRefusedError):
        connect(sim)
    with socket.socket() as thief, pytest.raises(OSError):
        thief.bind(("127.0.0.1", sim.port))
    sim.clear()
    assert get(sim, SET).body == b"null"


def test_offline_refused_ends_by_the_clock(sim, clock):
    sim.fault("offline_refused", for_s=30)
    clock.advance(29)
    with pytest.raises(ConnectionRefusedError):
        connect(sim)
    clock.advance(1)
    assert get(sim, "/shelly").status == 200


def test_offline_reset_resets_old_and_new_connections(sim):
    with WebSocket(sim) as ws:
        ws.call("Sys.GetStatus")
        sim.fault("offline_reset")
        with pytest.raises(ConnectionResetError):
            ws.sock.recv(1)
            ws.send("Sys.GetStatus")
            ws.sock.recv(1)
    with pytest.raises(ConnectionError), connect(sim) as sock:
        sock.sendall(request_bytes("GET", SET))
        sock.recv(1)
    sim.clear()
    assert get(sim, "/shelly").status == 200
    assert sim.values[200] == 0


def test_count_ends_a_fault(sim):
    sim.fault("http_500", count=2)
    assert [get(sim, SET).status for _ in range(3)] == [500, 500, 200]


def test_silent_accepts_and_never_answers(sim):
    sim.fault("silent")
    with connect(sim) as sock:
        sock.sendall(request_bytes("GET", SET))
        assert nothing_comes(sock)
        sim.clear()
        sock.settimeout(2)
        assert sock.recv(1) == b"", "the connection is given up, the request was never looked at"
    assert sim.values[200] == 0


def test_silent_device_leaves_websockets_without_a_word(sim):
    with WebSocket(sim) as ws:
        ws.call("Sys.GetStatus")
        sim.fault("silent")
        ws.send_frame(9, b"ping")
        assert nothing_comes(ws.sock)


def test_hang_of_one_method_leaves_the_others_alone(sim):
    sim.fault("hang", method="Number.Set")
    with connect(sim) as sock, WebSocket(sim) as ws:
        sock.sendall(request_bytes("GET", SET))
        assert nothing_comes(sock)
        hung = ws.send("Number.Set", {"id": 200, "value": 5})
        assert "result" in ws.call("Sys.GetStatus")
        assert hung not in [frame.get("id") for frame in ws.notifications]
    assert get(sim, "/rpc/Sys.GetStatus").status == 200
    assert sim.values[200] == 0


@pytest.mark.parametrize("status", [500, 429])
def test_http_errors_show_in_all_forms(sim, status):
    sim.fault("http_500" if status == 500 else "http_429")
    assert get(sim, SET).status == status
    assert ask(sim, "POST", "/rpc/Number.Set", SET_FRAME["params"]).status == status
    assert ask(sim, "POST", "/rpc", SET_FRAME).status == status
    with WebSocket(sim) as ws:
        assert ws.call("Number.Set", {"id": 200, "value": 5})["error"]["code"] == status
    assert sim.values[200] == 0


def test_named_faults_are_both_reachable_by_name(sim):
    sim.fault("http_429", method="Number.Set")
    sim.fault("http_500", method="Sys.GetStatus")
    assert get(sim, SET).status == 429
    assert get(sim, "/rpc/Sys.GetStatus").status == 500
    assert get(sim, "/rpc/Sys.GetConfig").status == 200


def test_drop_before_loses_the_request(sim):
    sim.fault("drop_before", count=2)
    assert exchange(sim, request_bytes("GET", SET)) == b""
    with WebSocket(sim) as ws:
        ws.send("Number.Set", {"id": 200, "value": 5})
        with pytest.raises(ConnectionError):
            ws.read_frame()
    assert sim.values[200] == 0


def test_drop_after_applies_the_value_and_loses_the_reply(sim):
    sim.fault("drop_after", count=1)
    assert exchange(sim, request_bytes("GET", SET)) == b""
    assert sim.values[200] == 5
    sim.fault("drop_after", count=1)
    with WebSocket(sim) as ws:
        ws.send("Number.Set", {"id": 200, "value": 6})
        with pytest.raises(ConnectionError):
            ws.read_frame()
    assert sim.values[200] == 6


def test_garbage_is_not_json(sim):
    sim.fault("garbage")
    reply = get(sim, SET)
    assert reply.status == 200
    with pytest.raises(ValueError):
        json.loads(reply.body.decode("latin-1"))
    with WebSocket(sim) as ws:
        ws.send("Number.Set", {"id": 200, "value": 6})
        opcode, payload = ws.read_frame()
        assert opcode == 1
        with pytest.raises(ValueError):
            json.loads(payload)
        assert ws.read()["method"] == "NotifyStatus", "the session lives on"


def test_truncated_replies_announce_more_than_they_send(sim):
    sim.fault("truncated")
    reply = get(sim, "/rpc/Sys.GetStatus")
    assert len(reply.body) < int(reply.headers["content-length"])
    with WebSocket(sim) as ws:
        ws.send("Sys.GetStatus")
        with pytest.raises(ConnectionError):
            ws.read_frame()


def test_slow_takes_real_time():
    with ShellySim(Clock(), components=s3_components()) as sim:
        sim.fault("slow", delay_s=0.1, method="Number.Set")
        start = time.monotonic()
        assert get(sim, SET).body == b"null"
        assert time.monotonic() - start >= 0.1
        start = time.monotonic()
        get(sim, "/rpc/Sys.GetStatus")
        assert time.monotonic() - start < 0.1


def test_rate_limited_answers_108_to_number_set_alone(sim):
    sim.fault("rate_limited", count=1)
    assert get(sim, "/rpc/Sys.GetStatus").status == 200
    assert get(sim, SET).json()["code"] == -108
    assert get(sim, SET).body == b"null"


def test_reject_value_answers_103(sim):
    sim.fault("reject_value")
    assert call(sim, "Number.Set", {"id": 200, "value": 5})["error"]["code"] == -103
    assert sim.values[200] == 0


def test_ws_drop_closes_sockets_without_a_close_frame(sim):
    with WebSocket(sim) as ws:
        ws.call("Sys.GetStatus")
        sim.fault("ws_drop")
        with pytest.raises(ConnectionError):
            ws.read_frame()
    with WebSocket(sim) as ws:
        assert "result" in ws.call("Sys.GetStatus"), "it happened once"


def test_ws_drop_can_say_goodbye_and_can_last(sim, clock):
    with WebSocket(sim) as ws:
        ws.call("Sys.GetStatus")
        sim.fault("ws_drop", for_s=10, code=1001)
        assert ws.read_frame() == (8, b"\x03\xe9")
    with WebSocket(sim) as ws, pytest.raises(ConnectionError):
        ws.read_frame()
    clock.advance(10)
    with WebSocket(sim) as ws:
        assert "result" in ws.call("Sys.GetStatus")


def test_ws_half_open_answers_nothing_not_even_pings(sim):
    with WebSocket(sim) as ws:
        ws.call("Sys.GetStatus")
        sim.fault("ws_half_open")
        ws.send("Number.Set", {"id": 200, "value": 5})
        ws.send_frame(9, b"ping")
        assert nothing_comes(ws.sock)
        assert get(sim, "/rpc/Sys.GetStatus").status == 200, "HTTP works meanwhile"
        assert sim.values[200] == 0
        sim.clear()
        ws.sock.settimeout(2)
        ws.send_frame(9, b"ping")
        assert ws.read_frame() == (10, b"ping")


def test_ws_refused_fails_the_upgrade_while_http_works(sim):
    sim.fault("ws_refused")
    assert WebSocket(sim).handshake.status == 503
    sim.fault("ws_refused", status=404)
    assert WebSocket(sim).handshake.status == 404
    assert get(sim, SET).body == b"null"
    sim.clear()
    assert WebSocket(sim).handshake.status == 101


def test_wrong_mac_is_another_device_in_everything_it_says(clock):
    with ShellySim(clock, password="pw", components=s3_components()) as sim:
        with WebSocket(sim) as ws:
            assert ws.call("Shelly.GetDeviceInfo")["result"]["mac"] == "AABBCCDDEEFF"
            sim.fault("wrong_mac", mac="0123456789ab")
            with pytest.raises(ConnectionError):
                ws.read_frame()
        info = get(sim, "/shelly").json()
        assert (info["mac"], info["id"]) == ("0123456789AB", "shellypro2-0123456789ab")
        assert 'realm="shellypro2-0123456789ab"' in get(sim, "/rpc/Sys.GetStatus").headers["www-authenticate"]
        sim.clear("wrong_mac")
        assert get(sim, "/shelly").json()["mac"] == "AABBCCDDEEFF"


def test_second_writer_writes_at_its_own_pace(sim, clock):
    with WebSocket(sim) as ws:
        ws.call("Sys.GetStatus")
        sim.fault("second_writer", key="number:203", value=-1, period_s=2.0, source="script")
        clock.advance(0)
        heard = ws.next_notification()["params"]["number:203"]
        assert (heard["value"], heard["source"]) == (-1, "script")
    call(sim, "Number.Set", {"id": 203, "value": 100})
    clock.advance(1.9)
    assert sim.values[203] == 100
    clock.advance(0.2)
    assert sim.values[203] == -1
    sim.clear()
    before = len(sim.history)
    clock.advance(10)
    assert len(sim.history) == before


def test_second_writer_outlives_its_component(sim, clock):
    sim.fault("second_writer", key="number:203")
    sim.delete("number:203")
    clock.advance(5)
    assert get(sim, "/shelly").status == 200


def test_nan_shows_null_and_keeps_the_value(sim):
    sim.fault("nan")
    with WebSocket(sim) as ws:
        ws.call("Number.Set", {"id": 200, "value": 5})
        assert ws.next_notification()["params"]["number:200"]["value"] is None
    assert get(sim, "/rpc/Number.GetStatus?id=200").json()["value"] is None
    listed = call(sim, "Shelly.GetComponents", {"dynamic_only": True})["result"]["components"]
    assert listed[0]["status"]["value"] is None
    sim.clear()
    assert get(sim, "/rpc/Number.GetStatus?id=200").json()["value"] == 5


def test_faults_strike_script_endpoints_too(sim):
    sim.fault("drop_before", method="/script/1/sigen")
    with connect(sim) as sock:
        sock.sendall(request_bytes("POST", "/script/1/sigen", {}))
        assert read_all(sock) == b""
    assert get(sim, "/script/1/other").status == 404
    sim.clear()
    sim.fault("http_500")
    assert get(sim, "/script/1/other").status == 500


def test_faults_end_by_the_clock_without_anybody_asking():
    with ShellySim(Clock()) as sim:
        sim.fault("offline_refused", for_s=0.1)
        deadline = time.monotonic() + 3
        while True:
            try:
                assert get(sim, "/shelly").status == 200
                break
            except ConnectionRefusedError:
                assert time.monotonic() < deadline
                time.sleep(0.02)


def test_clear_ends_all_faults(sim):
    for name in ("http_500", "silent", "nan", "wrong_mac"):
        sim.fault(name)
    sim.clear()
    assert get(sim, SET).body == b"null"
