"""Digest authentication of the Shelly simulator: what differs between firmware lines, line by line."""

from __future__ import annotations

import json

import pytest

from bridge.clock import ManualClock
from bridge.sim.shelly import ShellySim, s3_components
from bridge.sim.shelly_auth import NonceTable
from tests.sim.shelly_wire import (
    WebSocket,
    ask,
    challenge_of,
    frame_auth,
    get,
    sha256,
    signed_get,
    signed_header,
)

PASSWORD = "open sesame"
CHEAP = "/rpc/Sys.GetStatus"
REALM = "shellypro2-aabbccddeeff"


def device(clock, firmware, **more):
    return ShellySim(clock, firmware=firmware, password=PASSWORD, components=s3_components(), **more)


def fresh(sim):
    """Make an unsigned request and return the challenge."""
    reply = get(sim, CHEAP)
    assert reply.status == 401
    return challenge_of(reply)


def handshakes(sim, clock, count, apart_s=0.2):
    """Do what a naive client does: a fresh challenge for every single request; returns the statuses."""
    statuses = []
    for _ in range(count):
        reply = get(sim, CHEAP)
        if reply.status == 401:
            reply = signed_get(sim, CHEAP, challenge_of(reply), PASSWORD, 1)
        statuses.append(reply.status)
        clock.advance(apart_s)
    return statuses


@pytest.fixture(params=["1.7.4", "2.0.0", "2.0.1"])
def sim(request, clock):
    with device(clock, request.param) as found:
        yield found


def test_device_info_is_open_in_every_form(sim):
    for reply in (get(sim, "/shelly"), get(sim, "/rpc/Shelly.GetDeviceInfo"),
                  get(sim, "/rpc/shelly.getdeviceinfo"),
                  ask(sim, "POST", "/rpc", {"id": 1, "method": "Shelly.GetDeviceInfo"})):
        assert reply.status == 200
    info = get(sim, "/shelly").json()
    assert (info["auth_en"], info["auth_domain"]) == (True, "shellypro2-aabbccddeeff")
    with WebSocket(sim) as ws:
        assert ws.call("Shelly.GetDeviceInfo")["result"] == info


def test_401_has_an_empty_body_and_a_digest_challenge(sim):
    for verb, target, body in (("GET", CHEAP, None), ("POST", "/rpc", {"id": 1, "method": "Sys.GetStatus"}),
                               ("GET", "/script/1/x", None)):
        reply = ask(sim, verb, target, body)
        assert (reply.status, reply.body, reply.headers["content-length"]) == (401, b"", "0")
        found = challenge_of(reply)
        assert (found["qop"], found["realm"], found["algorithm"]) == ("auth", REALM, "SHA-256")


def test_good_answer_passes_and_the_uri_includes_the_query(sim):
    found = fresh(sim)
    target = "/rpc/Number.Set?id=200&value=2800"
    assert signed_get(sim, target, found, PASSWORD, 1).body == b"null"
    header = signed_header(found, PASSWORD, "GET", "/rpc/Number.Set", 2)
    assert get(sim, target, headers=[header]).status == 401
    assert sim.values[200] == 2800


def test_nonce_may_be_reused_with_a_rising_count(sim):
    found = fresh(sim)
    assert [signed_get(sim, CHEAP, found, PASSWORD, count).status for count in (1, 2, 3, 10)] == [200] * 4
    assert sim.counters.auth_challenges == 1


def test_signed_post_passes(sim):
    found = fresh(sim)
    header = signed_header(found, PASSWORD, "POST", "/rpc", 1)
    reply = ask(sim, "POST", "/rpc", {"id": 1, "method": "Number.Set", "params": {"id": 201, "value": 15}},
                headers=[header])
    assert reply.json()["result"] is None


@pytest.mark.parametrize("user, password", [("admin", "wrong"), ("root", PASSWORD)])
def test_wrong_password_or_user_is_401_without_stale(sim, user, password):
    found = fresh(sim)
    reply = get(sim, CHEAP, headers=[signed_header(found, password, "GET", CHEAP, 1, user)])
    assert reply.status == 401
    assert "stale" not in reply.headers["www-authenticate"]
    assert sim.counters.auth_failures == 1


def test_frame_is_challenged_by_a_json_string_and_passes_when_signed(sim):
    with WebSocket(sim) as ws:
        error = ws.call("Number.Set", {"id": 200, "value": 5})["error"]
        assert error["code"] == 401
        found = json.loads(error["message"])
        assert found["auth_type"] == "digest" and found["algorithm"] == "SHA-256"
        for count in (1, 2, 3):
            auth = frame_auth(found, PASSWORD, count)
            reply = ws.call("Number.Set", {"id": 200, "value": count}, auth=auth)
            assert "error" not in reply
    assert sim.values[200] == 3


def test_every_frame_needs_its_own_auth(sim):
    with WebSocket(sim) as ws:
        found = json.loads(ws.call("Sys.GetStatus")["error"]["message"])
        assert "result" in ws.call("Sys.GetStatus", auth=frame_auth(found, PASSWORD, 1))
        assert ws.call("Sys.GetStatus")["error"]["code"] == 401


def test_unauthenticated_client_hears_no_notifications(sim):
    with WebSocket(sim) as ws:
        ws.call("Shelly.GetDeviceInfo")
        sim.write_as_other("number:200", 4)
        found = json.loads(ws.call("Sys.GetStatus")["error"]["message"])
        assert ws.notifications == []
        ws.call("Sys.GetStatus", auth=frame_auth(found, PASSWORD, 1))
        sim.write_as_other("number:200", 5)
        assert ws.next_notification()["params"]["number:200"]["value"] == 5


def test_nonce_formats_of_1_7(clock):
    with device(clock, "1.7.4") as sim, WebSocket(sim) as ws:
        assert int(fresh(sim)["nonce"], 16) == int(clock.now())
        found = json.loads(ws.call("Sys.GetStatus")["error"]["message"])
        assert found["nonce"] == int(clock.now())
        assert found["nc"] == 1


def test_nonce_formats_of_2_0(clock):
    with device(clock, "2.0.1") as sim, WebSocket(sim) as ws:
        assert len(fresh(sim)["nonce"]) == 64 and fresh(sim)["nonce"].endswith("=")
        found = json.loads(ws.call("Sys.GetStatus")["error"]["message"])
        assert isinstance(found["nonce"], str) and len(found["nonce"]) == 64
        assert "nc" not in found


def test_count_is_ignored_by_1_7_and_checked_by_2_0(clock):
    with device(clock, "1.7.4") as old:
        found = fresh(old)
        assert [signed_get(old, CHEAP, found, PASSWORD, count).status for count in (7, 7, 1)] == [200] * 3
    with device(clock, "2.0.0") as new:
        assert signed_get(new, CHEAP, fresh(new), PASSWORD, 2).status == 401, "the first use must be 1"
        found = fresh(new)
        assert [signed_get(new, CHEAP, found, PASSWORD, count).status for count in (1, 1, 3, 2, 4)] == [
            200, 401, 200, 401, 200]


def test_1_7_keeps_no_table_so_any_recent_time_is_a_nonce(clock):
    with device(clock, "1.7.4") as sim:
        own = {"realm": REALM, "nonce": format(int(clock.now()) - 60, "x")}
        assert signed_get(sim, CHEAP, own, PASSWORD, 1).status == 200
    with device(clock, "2.0.0") as sim:
        assert signed_get(sim, CHEAP, own, PASSWORD, 1).status == 401


@pytest.mark.parametrize("firmware, stale", [("1.7.4", False), ("2.0.0", True), ("2.0.1", True)])
def test_nonce_dies_after_an_hour(clock, firmware, stale):
    with device(clock, firmware) as sim, WebSocket(sim) as ws:
        found = fresh(sim)
        assert signed_get(sim, CHEAP, found, PASSWORD, 1).status == 200
        clock.advance(3_500)
        assert signed_get(sim, CHEAP, found, PASSWORD, 2).status == 200
        clock.advance(200)
        reply = signed_get(sim, CHEAP, found, PASSWORD, 3)
        assert reply.status == 401
        assert ("stale=true" in reply.headers["www-authenticate"]) is stale
        again = challenge_of(reply)
        assert signed_get(sim, CHEAP, again, PASSWORD, 1).status == 200
        nonce = int(found["nonce"], 16) if firmware == "1.7.4" else found["nonce"]
        error = ws.call("Sys.GetStatus", auth=frame_auth({**found, "nonce": nonce}, PASSWORD, 4))["error"]
        assert json.loads(error["message"]).get("stale", False) is stale


def test_nonce_of_2_0_dies_after_30_000_uses(clock):
    table = NonceTable(clock, leaky=False)
    nonce = table.issue(signed=False)
    for count in range(1, 30_001):
        assert table.refusal(nonce, count) is None
        table.used(nonce, count)
    assert table.refusal(nonce, 30_001) == "dead"


def test_naive_client_runs_into_429_on_2_0_after_six_seconds(clock):
    with device(clock, "2.0.0") as sim:
        statuses = handshakes(sim, clock, 45)
        assert statuses[:32] == [200] * 32, "32 slots last 6.4 s at five requests a second"
        assert statuses[32:42] == [429] * 10, "then 2 s of 429"
        assert statuses[42] == 200, "then one slot is given away"
        assert statuses[43:] == [429, 429]
        assert sim.counters.auth_throttled == 12


def test_naive_client_is_fine_on_1_7(clock):
    with device(clock, "1.7.4") as sim:
        assert handshakes(sim, clock, 60) == [200] * 60


def test_eviction_takes_the_least_used_nonce(clock):
    with device(clock, "2.0.1") as sim:
        busy = fresh(sim)
        for count in (1, 2, 3):
            assert signed_get(sim, CHEAP, busy, PASSWORD, count).status == 200
        idle = fresh(sim)
        handshakes(sim, clock, 30)
        assert get(sim, CHEAP).status == 429
        clock.advance(2.0)
        assert get(sim, CHEAP).status == 401
        assert signed_get(sim, CHEAP, busy, PASSWORD, 4).status == 200
        assert signed_get(sim, CHEAP, idle, PASSWORD, 1).status == 429, "its slot was given away"


def fill(sim, clock):
    handshakes(sim, clock, 32, apart_s=0.0)


def test_signed_request_with_a_dead_nonce_gets_429_for_ever_on_2_0_0(clock):
    with device(clock, "2.0.0") as sim:
        fill(sim, clock)
        dead = {"realm": REALM, "nonce": "x" * 64}
        for _ in range(20):
            assert signed_get(sim, CHEAP, dead, PASSWORD, 5).status == 429
            clock.advance(5.0)
        assert get(sim, CHEAP).status == 429, "the first unsigned request opens the window"
        clock.advance(2.0)
        assert signed_get(sim, CHEAP, dead, PASSWORD, 5).status == 429, "still none for a signed one"
        assert signed_get(sim, CHEAP, fresh(sim), PASSWORD, 1).status == 200


def test_signed_request_with_a_dead_nonce_recovers_on_2_0_1(clock):
    with device(clock, "2.0.1") as sim:
        fill(sim, clock)
        dead = {"realm": REALM, "nonce": "x" * 64}
        assert signed_get(sim, CHEAP, dead, PASSWORD, 5).status == 429
        clock.advance(2.0)
        assert signed_get(sim, CHEAP, dead, PASSWORD, 5).status == 401


@pytest.mark.parametrize("firmware, after_an_hour", [("2.0.0", 429), ("2.0.1", 401)])
def test_expired_nonces_keep_their_slot_on_2_0_0(clock, firmware, after_an_hour):
    with device(clock, firmware) as sim:
        fill(sim, clock)
        clock.advance(3_700)
        assert get(sim, CHEAP).status == after_an_hour


def test_table_is_shared_by_http_and_websocket(clock):
    with device(clock, "2.0.0") as sim, WebSocket(sim) as ws:
        found = json.loads(ws.call("Sys.GetStatus")["error"]["message"])
        assert signed_get(sim, CHEAP, found, PASSWORD, 1).status == 200
        fill(sim, clock)
        assert ws.call("Sys.GetStatus")["error"] == {
            "code": 429, "message": "Too many failed authentication attempts"}
        assert "result" in ws.call("Sys.GetStatus", auth=frame_auth(found, PASSWORD, 2))


def test_wrong_passwords_lock_everybody_out_for_ten_minutes_on_2_0(clock):
    with device(clock, "2.0.1", lockout_after=5) as sim:
        good = fresh(sim)
        for _ in range(5):
            assert signed_get(sim, CHEAP, fresh(sim), "wrong", 1).status == 401
            clock.advance(10)
        reply = signed_get(sim, CHEAP, good, PASSWORD, 1)
        assert (reply.status, reply.body) == (429, b"Too many failed authentication attempts")
        clock.advance(540)
        assert get(sim, CHEAP).status == 429
        clock.advance(30)
        assert signed_get(sim, CHEAP, good, PASSWORD, 1).status == 200, "the window slides"


def test_wrong_passwords_never_lock_1_7(clock):
    with device(clock, "1.7.4", lockout_after=3) as sim:
        for _ in range(20):
            assert signed_get(sim, CHEAP, fresh(sim), "wrong", 1).status == 401
        assert signed_get(sim, CHEAP, fresh(sim), PASSWORD, 1).status == 200


def test_reboot_forgets_the_nonces_of_2_0(clock):
    with device(clock, "2.0.1") as sim:
        found = fresh(sim)
        sim.reboot()
        assert "stale=true" in signed_get(sim, CHEAP, found, PASSWORD, 1).headers["www-authenticate"]


def test_password_can_be_set_and_removed_by_rpc():
    with ShellySim(ManualClock()) as sim:
        body = {"user": "admin", "realm": REALM, "ha1": sha256(f"admin:{REALM}:{PASSWORD}")}
        assert ask(sim, "POST", "/rpc/Shelly.SetAuth", body).body == b"null"
        assert get(sim, CHEAP).status == 401
        header = signed_header(fresh(sim), PASSWORD, "POST", "/rpc/Shelly.SetAuth", 1)
        body["ha1"] = None
        assert ask(sim, "POST", "/rpc/Shelly.SetAuth", body, headers=[header]).body == b"null"
        assert get(sim, CHEAP).status == 200
        assert ask(sim, "POST", "/rpc/Shelly.SetAuth", {**body, "realm": "other"}).json()["code"] == -103
