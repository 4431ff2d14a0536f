"""WebSocket of the Shelly simulator on the raw wire, against what the vendor documents and captures show."""

from __future__ import annotations

import json
import struct

import pytest

from bridge.sim.shelly import ShellySim, s3_components
from tests.sim.shelly_wire import WebSocket, call, get, wait_until

ID = "shellypro2-aabbccddeeff"


@pytest.fixture
def sim(clock):
    with ShellySim(clock, components=s3_components()) as device:
        yield device


def test_reply_carries_id_src_dst_and_a_null_result(sim):
    with WebSocket(sim) as ws:
        assert ws.call("Number.Set", {"id": 200, "value": 1}) == {
            "id": 1, "src": ID, "dst": "tester", "result": None}


def test_upgrade_needs_no_password_and_offers_no_protocol(clock):
    with ShellySim(clock, password="secret") as sim, WebSocket(sim) as ws:
        assert "sec-websocket-protocol" not in ws.handshake.headers


def test_errors_come_in_the_frame(sim):
    with WebSocket(sim) as ws:
        assert ws.call("Number.Set", {"id": 299, "value": 1})["error"] == {
            "code": -105, "message": "Argument 'id', value 299 not found!"}
        assert ws.call("number.nope")["error"] == {"code": 404, "message": "No handler for number.nope"}


def test_own_write_comes_back_as_notification_after_the_reply(sim, clock):
    with WebSocket(sim) as ws:
        number = ws.send("Number.Set", {"id": 203, "value": -8540})
        assert ws.read()["id"] == number
        assert ws.read() == {"src": ID, "dst": "tester", "method": "NotifyStatus", "params": {
            "ts": round(clock.now(), 2),
            "number:203": {"value": -8540, "source": "rpc", "last_update_ts": int(clock.now())}}}


def test_notification_may_carry_the_value_alone_as_in_a_capture(clock):
    with ShellySim(clock, components=["boolean:200"], notify="value") as sim, WebSocket(sim) as ws:
        ws.call("Boolean.Set", {"id": 200, "value": True})
        heard = ws.next_notification()["params"]
        assert heard == {"ts": round(clock.now(), 2), "boolean:200": {"value": True}}


def test_client_without_src_gets_answers_but_no_notifications(sim):
    with WebSocket(sim, src="") as silent, WebSocket(sim) as other:
        silent.call("Sys.GetStatus")
        other.call("Number.Set", {"id": 200, "value": 3})
        assert other.next_notification()["method"] == "NotifyStatus"
        silent.call("Sys.GetStatus")
        assert silent.notifications == []


def test_every_client_hears_what_others_write(sim):
    with WebSocket(sim, "a") as one, WebSocket(sim, "b") as two:
        one.call("Sys.GetStatus")
        two.call("Number.Set", {"id": 200, "value": 3})
        assert one.next_notification()["params"]["number:200"]["value"] == 3
        call(sim, "Number.Set", {"id": 201, "value": 4})
        sim.write_as_other("number:202", 5)
        heard = [one.next_notification() for _ in range(2)]
        second, third = heard[0]["params"]["number:201"], heard[1]["params"]["number:202"]
        assert (second["value"], second["source"]) == (4, "rpc")
        assert (third["value"], third["source"]) == (5, "UI")
        assert {frame["dst"] for frame in heard} == {"a"}


def test_many_frames_may_be_sent_without_waiting(sim):
    with WebSocket(sim) as ws:
        sent = [ws.send("Number.Set", {"id": 200 + i % 5, "value": i}) for i in range(50)]
        frames = [ws.read() for _ in range(100)]
        assert [frame["id"] for frame in frames if "id" in frame] == sent
        assert [frame["method"] for frame in frames if "method" in frame] == ["NotifyStatus"] * 50
        assert sim.values[204] == 49


def test_frame_without_id_is_carried_out_without_an_answer(sim):
    with WebSocket(sim) as ws:
        ws.send_frame(1, b'{"src":"tester","method":"Number.Set","params":{"id":200,"value":9}}')
        assert ws.read()["method"] == "NotifyStatus"
        assert sim.values[200] == 9


def test_bad_json_is_ignored_and_the_socket_lives(sim):
    with WebSocket(sim) as ws:
        ws.send_frame(1, b"{nonsense")
        ws.send_frame(1, b'{"id":5,"method":"Number.Set","params":{"id":200,"value":NaN}}')
        assert "result" in ws.call("Sys.GetStatus")
        assert sim.values[200] == 0


def test_ping_is_answered_with_its_payload(sim):
    with WebSocket(sim) as ws:
        ws.send_frame(9, b"are you there")
        assert ws.read_frame() == (10, b"are you there")


def test_close_is_answered_and_the_count_falls(sim):
    with WebSocket(sim) as ws:
        assert sim.counters.open_ws == 1
        ws.send_frame(8, struct.pack(">H", 1000))
        assert ws.read_frame() == (8, struct.pack(">H", 1000))
        with pytest.raises(ConnectionError):
            ws.read_frame()
    assert sim.counters.ws_connections == 1
    assert sim.counters.open_ws == 0


def test_fragmented_message_is_put_together(sim):
    text = json.dumps({"id": 1, "method": "Number.Set", "params": {"id": 200, "value": 77}}).encode()
    with WebSocket(sim) as ws:
        ws.send_frame(1, text[:10], final=False)
        ws.send_frame(9, b"between")
        ws.send_frame(0, text[10:])
        assert ws.read_frame() == (10, b"between")
        assert ws.read()["result"] is None
    assert sim.values[200] == 77


def test_long_messages_pass_both_ways(sim):
    with WebSocket(sim) as ws:
        ws.call("Script.Create", {"name": "s"})
        assert ws.call("Script.PutCode", {"id": 1, "code": "x" * 3_000})["result"] == {"len": 3_000}
        assert len(json.dumps(ws.call("Shelly.GetComponents", {"dynamic_only": True}))) > 1_000


def test_unmasked_frame_ends_the_session_as_a_protocol_error(sim):
    with WebSocket(sim) as ws:
        ws.sock.sendall(b"\x81\x02{}")
        assert ws.read_frame() == (8, struct.pack(">H", 1002))


def test_oversized_frame_ends_the_session(sim):
    with WebSocket(sim) as ws:
        ws.sock.sendall(b"\x81" + struct.pack(">BQ", 0x80 | 127, 1 << 40) + b"mask")
        assert ws.read_frame() == (8, struct.pack(">H", 1009))


def test_components_added_changed_and_removed_are_events(sim, clock):
    with WebSocket(sim) as ws:
        ws.call("Virtual.Add", {"type": "boolean", "id": 250})
        ws.call("Boolean.SetConfig", {"id": 250, "config": {"name": "fresh"}})
        ws.call("Virtual.Delete", {"key": "boolean:250"})
        ws.call("Sys.GetStatus")
        events = [frame["params"]["events"][0] for frame in ws.notifications]
        assert [frame["method"] for frame in ws.notifications] == ["NotifyEvent"] * 3
        assert [(e["component"], e["event"], e.get("target")) for e in events] == [
            ("sys", "component_added", "boolean:250"), ("boolean:250", "config_changed", None),
            ("sys", "component_removed", "boolean:250")]
        assert [e["cfg_rev"] for e in events] == [2, 3, 4]


def test_device_may_ask_the_client(sim):
    with WebSocket(sim) as ws:
        ws.call("Sys.GetStatus")
        sim.ask_clients(99, "Shelly.GetDeviceInfo")
        asked = ws.read()
        assert (asked["id"], asked["method"], asked["dst"]) == (99, "Shelly.GetDeviceInfo", "tester")
        ws.send_frame(1, b'{"id":99,"src":"tester","error":{"code":500,"message":"no"}}')
        ws.call("Sys.GetStatus")
    assert [reply["error"]["code"] for reply in sim.client_replies] == [500]


def test_client_that_vanishes_is_forgotten(sim):
    with WebSocket(sim, "gone") as ws:
        ws.call("Sys.GetStatus")
    for value in range(20):
        call(sim, "Number.Set", {"id": 200, "value": value})
    wait_until(lambda: sim.counters.open_ws == 0)
    assert sim.values[200] == 19


def test_websockets_are_not_counted_among_the_six_channels(sim):
    sockets = [WebSocket(sim, f"c{i}") for i in range(8)]
    for ws in sockets:
        assert "result" in ws.call("Sys.GetStatus")
    assert get(sim, "/rpc/Sys.GetStatus").status == 200
    assert sim.counters.evicted_channels == 0
    for ws in sockets:
        ws.sock.close()


def test_reboot_resets_connections_and_values(sim, clock):
    with WebSocket(sim) as ws:
        ws.call("Number.Set", {"id": 200, "value": 5})
        sim.reboot()
        with pytest.raises(ConnectionError):
            while True:
                ws.read_frame()
    with WebSocket(sim) as ws:
        assert ws.call("Number.GetStatus", {"id": 200})["result"] == {
            "value": 0, "source": "sys", "last_update_ts": int(clock.now())}
        assert ws.call("Sys.GetStatus")["result"]["uptime"] == 0


def test_reboot_by_rpc_waits_and_refuses_calls_at_the_end(sim, clock):
    with WebSocket(sim) as ws:
        assert ws.call("Shelly.Reboot", {"delay_ms": 1000})["result"] is None
        clock.advance(0.5)
        assert "result" in ws.call("Sys.GetStatus")
        clock.advance(0.45)
        error = ws.call("Sys.GetStatus")["error"]
        assert error["code"] == 418 and error["message"].startswith("shutting down in")
        clock.advance(0.1)
        with pytest.raises(ConnectionError):
            ws.read_frame()
    assert sim.counters.reboots == 1


def test_booting_device_is_off_the_network(clock):
    with ShellySim(clock, boot_s=8.0) as sim:
        sim.reboot()
        with pytest.raises(ConnectionRefusedError):
            get(sim, "/shelly")
        clock.advance(8.1)
        assert get(sim, "/shelly").status == 200
