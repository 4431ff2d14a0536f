"""HTTP of the Shelly simulator on the raw wire, against what the vendor documents and captures show."""

from __future__ import annotations

import threading

import pytest

from bridge.clock import Clock
from bridge.sim.shelly import ShellySim, s3_components
from tests.sim.shelly_wire import ask, call, connect, exchange, get, read_all, request_bytes, wait_until


@pytest.fixture
def sim(clock):
    with ShellySim(clock, components=s3_components(), name="Kitchen") as device:
        yield device


def test_get_form_answers_bare_null_and_closes(sim):
    raw = exchange(sim, b"GET /rpc/Number.Set?id=200&value=2800 HTTP/1.1\r\nConnection: keep-alive\r\n\r\n")
    head, _, body = raw.partition(b"\r\n\r\n")
    assert body == b"null"
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"Server: ShellyHTTP/1.0.0" in head and b"Connection: close" in head
    assert b"Content-Length: 4" in head
    assert sim.values[200] == 2800


def test_post_method_form_takes_the_bare_parameters(sim):
    reply = ask(sim, "POST", "/rpc/Number.Set", {"id": 203, "value": -8540})
    assert (reply.status, reply.body) == (200, b"null")
    assert sim.values[203] == -8540


def test_frame_form_answers_with_id_src_and_dst(sim):
    assert call(sim, "Number.Set", {"id": 201, "value": 15.4}) == {
        "id": 7, "src": "shellypro2-aabbccddeeff", "dst": "t", "result": None}
    assert sim.values[201] == 15.4


def test_frame_form_reports_errors_with_http_200(sim):
    assert call(sim, "Number.Set", {"id": 209, "value": 1})["error"] == {
        "code": -105, "message": "Argument 'id', value 209 not found!"}


def test_method_forms_report_errors_as_500_with_the_bare_object(sim):
    for reply in (get(sim, "/rpc/Number.Set?id=209&value=1"),
                  ask(sim, "POST", "/rpc/Number.Set", {"id": 209, "value": 1})):
        assert reply.status == 500
        assert reply.json() == {"code": -105, "message": "Argument 'id', value 209 not found!"}


def test_unknown_method_is_404(sim):
    reply = get(sim, "/rpc/Number.Sett?id=200")
    assert (reply.status, reply.json()) == (404, {"code": 404, "message": "No handler for Number.Sett"})
    assert call(sim, "Nothing.Here")["error"] == {"code": 404, "message": "No handler for Nothing.Here"}


def test_method_names_are_matched_without_regard_to_case(sim):
    assert get(sim, "/rpc/number.set?id=200&value=7").body == b"null"
    assert sim.values[200] == 7
    assert sim.counters.rpc["Number.Set"] == 1


def test_query_values_are_json_literals_or_text_and_dotted_keys_nest(sim):
    reply = get(sim, "/rpc/Sys.SetConfig?config.device.name=Some+Name")
    assert reply.json() == {"restart_required": False}
    assert get(sim, "/shelly").json()["name"] == "Some Name"
    query = "keys=%5B%22number:203%22%5D&include=%5B%22config%22%5D"
    found = get(sim, f"/rpc/Shelly.GetComponents?{query}").json()
    assert [item["key"] for item in found["components"]] == ["number:203"]
    assert "status" not in found["components"][0]


def test_text_where_a_number_belongs_is_refused(sim):
    assert get(sim, "/rpc/Number.Set?id=200&value=NaN").json()["code"] == -103
    assert get(sim, "/rpc/Number.Set?id=200&value=true").json()["code"] == -103
    assert sim.values[200] == 0


@pytest.mark.parametrize("body", [b"{not json", b'{"id":200,"value":NaN}', b"[1]", b'"text"'])
def test_malformed_json_is_refused_in_plain_text(sim, body):
    for target in ("/rpc", "/rpc/Number.Set"):
        reply = ask(sim, "POST", target, body)
        assert (reply.status, reply.body) == (400, b"Bad Request")
        assert reply.headers["content-type"] == "text/plain"


def test_not_http_is_refused(sim):
    assert exchange(sim, b"hello\r\n\r\n").startswith(b"HTTP/1.1 400 ")


def test_body_over_8_kb_is_413(sim):
    fits = b'{"id":1,"code":"' + b"x" * 8_000 + b'"}'
    assert ask(sim, "POST", "/rpc/Script.PutCode", fits).json()["code"] == -105
    reply = ask(sim, "POST", "/rpc/Script.PutCode", b"x" * 60_000)
    assert reply.status == 413


def test_body_announced_by_expect_100_is_waited_for(sim):
    with connect(sim) as sock:
        sock.sendall(b"POST /rpc/Number.Set HTTP/1.1\r\nContent-Length: 22\r\nExpect: 100-continue\r\n\r\n")
        assert sock.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        sock.sendall(b'{"id":200,"value":123}')
        assert read_all(sock).endswith(b"null")


def test_slowly_arriving_request_is_put_together(sim):
    with connect(sim) as sock:
        for byte in request_bytes("POST", "/rpc/Number.Set", {"id": 200, "value": 5}):
            sock.sendall(bytes([byte]))
        assert read_all(sock).endswith(b"null")


def test_shelly_page_tells_who_it_is(sim):
    assert get(sim, "/shelly").json() == {
        "name": "Kitchen", "id": "shellypro2-aabbccddeeff", "mac": "AABBCCDDEEFF", "slot": 1,
        "model": "SPSW-202XE16EU", "gen": 2, "fw_id": "20260127-000000/1.7.4-g0000000", "ver": "1.7.4",
        "app": "Pro2", "auth_en": False, "auth_domain": None}
    assert get(sim, "/rpc/Shelly.GetDeviceInfo").json() == get(sim, "/shelly").json()


def test_other_paths_are_404(sim):
    assert get(sim, "/nothing").status == 404


def test_counters_count_requests_connections_and_methods(sim):
    get(sim, "/rpc/Sys.GetStatus")
    get(sim, "/rpc/Sys.GetStatus")
    get(sim, "/rpc/Nope")
    counters = sim.counters
    assert (counters.http_requests, counters.http_connections, counters.tcp_connections) == (3, 3, 3)
    assert counters.rpc == {"Sys.GetStatus": 2}
    assert counters.rpc_errors == 1


def hold_calls(sim, count):
    """Open calls that hang, one after the other."""
    held = []
    for number in range(count):
        sock = connect(sim)
        sock.sendall(request_bytes("GET", "/rpc/Number.GetStatus?id=200"))
        held.append(sock)
        wait_until(lambda number=number: sim.counters.http_requests == number + 1)
    return held


def test_seventh_channel_evicts_the_oldest_with_400(sim):
    sim.fault("hang", method="Number.GetStatus")
    held = hold_calls(sim, 6)
    assert get(sim, "/rpc/Sys.GetStatus").status == 200
    assert read_all(held[0]).endswith(b"\r\n\r\nBad Request")
    assert sim.counters.evicted_channels == 1
    sim.clear()
    assert [read_all(sock) for sock in held[1:]] == [b""] * 5
    for sock in held:
        sock.close()


def test_six_channels_are_fine(sim):
    sim.fault("hang", method="Number.GetStatus")
    held = hold_calls(sim, 5)
    assert get(sim, "/rpc/Sys.GetStatus").status == 200
    assert sim.counters.evicted_channels == 0
    for sock in held:
        sock.close()


def test_parallel_sets_on_a_slow_device_lose_calls():
    """Why the five sets must go one after the other when others use the device too."""
    with ShellySim(Clock(), components=s3_components(), latency_s=0.05) as sim:
        statuses = []
        threads = [threading.Thread(target=lambda: statuses.append(get(sim, "/rpc/Sys.GetStatus").status))
                   for _ in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert statuses.count(400) == sim.counters.evicted_channels > 0
        assert statuses.count(200) == 12 - statuses.count(400)


def test_two_devices_run_side_by_side(clock):
    with ShellySim(clock, mac="000000000001") as one, ShellySim(clock, mac="000000000002") as two:
        assert one.port != two.port
        assert get(one, "/shelly").json()["mac"] == "000000000001"
        assert get(two, "/shelly").json()["mac"] == "000000000002"


def test_it_stops_and_starts_again_on_its_port(clock):
    sim = ShellySim(clock)
    with sim:
        port = sim.port
    with pytest.raises(OSError):
        get(sim, "/shelly")
    with sim:
        assert sim.port == port
        assert get(sim, "/shelly").status == 200


def test_threads_end_with_the_device(clock):
    before = threading.active_count()
    with ShellySim(clock) as sim:
        get(sim, "/shelly")
    wait_until(lambda: threading.active_count() == before)
