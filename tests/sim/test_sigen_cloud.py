"""The simulated cloud refuses what the real one refuses; asked with the standard library's client."""

from __future__ import annotations

import base64
import http.client
import json
from urllib.parse import urlencode

import pytest

from bridge.clock import ManualClock
from bridge.sim.sigen_cloud import SigenCloudSim
from bridge.sim.sigen_cloud_bodies import DOUBLE_ALL, SCENARIOS
from bridge.sim.sigen_cloud_faults import KINDS
from bridge.sim.sigen_cloud_world import Account, App, Station

STATION = "ABCDE1700000001"
KEY = {"key": base64.b64encode(b"AK_DEMO:AS_DEMO").decode()}
FLOW = f"/openapi/systems/{STATION}/energyFlow"
BROWSER = {"User-Agent": "Mozilla/5.0"}


class Caller:
    """Someone else's client."""

    def __init__(self, sim):
        self.sim, self.token = sim, None

    def send(self, method, path, body=None, headers=None, raw=None):
        """Return (status, decoded body or text)."""
        connection = http.client.HTTPConnection("127.0.0.1", self.sim.port, timeout=5)
        given = {**BROWSER, "sigen-region": "eu", "Content-Type": "application/json"}
        if self.token:
            given["Authorization"] = f"Bearer {self.token}"
        given.update(headers or {})
        given = {name: value for name, value in given.items() if value is not None}
        content = raw if raw is not None else json.dumps(body) if body is not None else None
        try:
            connection.request(method, path, content, given)
            reply = connection.getresponse()
            text = reply.read().decode()
        finally:
            connection.close()
        try:
            return reply.status, json.loads(text)
        except ValueError:
            return reply.status, text

    def code(self, method, path, body=None, **options):
        """Return the envelope's code of an HTTP 200."""
        status, content = self.send(method, path, body, **options)
        assert status == 200, content
        return content["code"]

    def login(self):
        """Log in by key and keep the token."""
        status, content = self.send("POST", "/openapi/auth/login/key", KEY)
        assert (status, content["code"]) == (200, 0)
        self.token = json.loads(content["data"])["accessToken"]
        return self


@pytest.fixture
def make(clock):
    """Return a function that starts a simulator and a caller."""
    opened = []

    def start(**options):
        sim = SigenCloudSim(clock, **options).start()
        opened.append(sim)
        return Caller(sim)

    yield start
    for sim in opened:
        sim.stop()


def password(caller, text, form=False):
    fields = {"username": "owner@example.invalid", "password": text}
    if form:
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        return caller.code("POST", "/openapi/auth/login/password", headers=headers, raw=urlencode(fields))
    return caller.code("POST", "/openapi/auth/login/password", fields)


def test_a_key_login_answers_with_json_in_a_string(make):
    status, content = make().send("POST", "/openapi/auth/login/key", KEY)
    assert status == 200 and content["code"] == 0 and content["msg"] == "success"
    assert json.loads(content["data"]) == {
        "tokenType": "Bearer", "accessToken": "tok-sim-000001", "expiresIn": 43199}


@pytest.mark.parametrize("key", ["", "!!!", base64.b64encode(b"AK_DEMO:no").decode(), None, 7])
def test_a_wrong_key_is_11003(make, key):
    assert make().code("POST", "/openapi/auth/login/key", {"key": key}) == 11003


def test_five_wrong_passwords_lock_for_three_minutes(make, clock):
    caller = make()
    assert [password(caller, "wrong") for _ in range(5)] == [11003] * 5
    assert password(caller, "correct horse") == 11002
    clock.advance(179)
    assert password(caller, "correct horse") == 11002
    clock.advance(1)
    assert password(caller, "correct horse") == 0


def test_four_wrong_passwords_an_hour_do_not_lock(make, clock):
    caller = make()
    for _ in range(20):
        assert password(caller, "wrong") == 11003
        clock.advance(901)
    assert password(caller, "correct horse") == 0


def test_only_the_accepted_login_bodies_work(make):
    caller = make(accounts=[Account(spellings=("form-aes",))])
    assert password(caller, "correct horse") == password(caller, "correct horse", form=True) == 11003
    assert password(caller, "2XgqjWOYS8wesGPH8+9zTA==", form=True) == 0


def test_an_account_without_api_access_is_11003(make):
    assert password(make(accounts=[Account(api_access=False)]), "correct horse") == 11003


def test_the_eleventh_login_of_a_minute_is_1201(make, clock):
    caller = make()
    codes = [caller.code("POST", "/openapi/auth/login/key", KEY) for _ in range(11)]
    assert codes == [0] * 10 + [1201]
    clock.advance(60)
    assert caller.code("POST", "/openapi/auth/login/key", KEY) == 0


@pytest.mark.parametrize("header", [None, "Bearer wrong", "tok-sim-000001", "Basic tok-sim-000001"])
def test_without_a_valid_bearer_it_is_http_401(make, header):
    caller = make().login()
    assert caller.send("GET", FLOW, headers={"Authorization": header})[0] == 401


def test_a_token_expires_and_can_be_revoked(make, clock):
    caller = make().login()
    clock.advance(43198)
    assert caller.send("GET", FLOW)[0] == 200
    clock.advance(1)
    assert caller.send("GET", FLOW)[0] == 401
    caller.login()
    caller.sim.revoke_tokens()
    assert caller.send("GET", FLOW)[0] == 401


def test_a_missing_region_header_is_refused_unless_switched_off(make):
    caller = make().login()
    assert caller.code("GET", FLOW, headers={"sigen-region": None}) == 1000
    caller.sim.service.require_region = False
    assert caller.code("GET", FLOW, headers={"sigen-region": None}) == 0


def test_each_endpoint_of_a_station_answers_once_in_300_s(make, clock):
    caller = make().login()
    paths = [FLOW, "/openapi/system", "/openapi/system/page?pageNum=1", f"/openapi/system/{STATION}/devices",
             f"/openapi/systems/{STATION}/summary", f"/openapi/instruction/{STATION}/settings",
             f"/openapi/systems/{STATION}/devices/110A000X0001/realtimeInfo"]
    for path in paths:
        assert caller.code("GET", path) == 0, path
        clock.advance(6)
    for path in paths:
        assert caller.code("GET", path) == 1110, path
        clock.advance(6)
    clock.advance(300)
    for path in paths:
        assert caller.code("GET", path) == 0, path
        clock.advance(6)


def test_the_period_is_exactly_300_s(make, clock):
    caller = make().login()
    assert caller.code("GET", FLOW) == 0
    clock.advance(299.9)
    assert caller.code("GET", FLOW) == 1110
    clock.advance(0.1)
    assert caller.code("GET", FLOW) == 0


def test_the_limit_is_per_station_and_per_device(make):
    caller = make(stations=[Station(), Station("OTHER")]).login()
    assert caller.code("GET", FLOW) == caller.code("GET", "/openapi/systems/OTHER/energyFlow") == 0
    path = f"/openapi/systems/{STATION}/devices/%s/realtimeInfo"
    codes = [caller.code("GET", path % serial) for serial in ("110A000X0001", "110B000X0002", "nosuch")]
    assert codes == [0, 0, 1101]


def test_eleven_calls_a_minute_are_1201(make, clock):
    caller = make(stations=[Station(f"S{index}") for index in range(11)]).login()
    codes = [caller.code("GET", f"/openapi/systems/S{index}/energyFlow") for index in range(11)]
    assert codes == [0] * 10 + [1201]


@pytest.mark.parametrize("name", sorted(SCENARIOS))
def test_every_scenario_but_the_unbalanced_balances(make, name):
    caller = make(scenario=name).login()
    flow = caller.send("GET", FLOW)[1]["data"]
    rest = flow["pvPower"] - flow["gridPower"] - flow["batteryPower"] - flow["loadPower"] \
        - flow["evPower"] - flow["heatPumpPower"]
    assert (abs(rest) < 0.01) == (name != "unbalanced")


def test_values_of_a_plant_are_turned_into_kw_and_export(make):
    caller = make(values=lambda: (2800.0, 15.0, None, 8540.0, 11340.0)).login()
    assert caller.send("GET", FLOW)[1]["data"] == {
        "pvPower": 2.8, "gridPower": -8.54, "evPower": 0.0, "loadPower": 11.34, "heatPumpPower": 0.0,
        "batterySoc": 15.0}


def test_double_encoding_is_chosen_by_field(make):
    caller = make(double=DOUBLE_ALL - {"envelope"}).login()
    assert isinstance(caller.send("GET", FLOW)[1]["data"], str)
    devices = json.loads(caller.send("GET", f"/openapi/system/{STATION}/devices")[1]["data"])
    assert json.loads(devices[0]["attrMap"])["pvStringNumber"] == 2
    page = caller.send("GET", "/openapi/system/page?pageNum=1&pageSize=10")[1]["data"]
    assert json.loads(page["records"][0])["gridConnectedTime"] == 1711814399000
    caller.sim.service.double = frozenset(("envelope",))
    assert isinstance(caller.send("GET", "/openapi/system")[1], str)


@pytest.mark.parametrize("query", ["", "pageNum=x", "pageNum=1&pageSize=101", "pageNum=1&pageSize=0"])
def test_a_page_needs_sound_numbers(make, query):
    assert make().login().code("GET", f"/openapi/system/page?{query}") == 1000


def listed(caller):
    """Return the ids of the system list."""
    return [row["systemId"] for row in json.loads(caller.send("GET", "/openapi/system")[1]["data"])]


def test_a_key_sees_onboarded_stations_only_and_an_account_its_own(make, clock):
    stations = [Station(), Station("MINE", onboarded=False), Station("THEIRS", owner="someone else")]
    caller = make(stations=stations).login()
    assert listed(caller) == [STATION, "THEIRS"]
    assert caller.code("GET", "/openapi/systems/MINE/energyFlow") == 1401
    assert caller.code("GET", "/openapi/systems/NOSUCH/energyFlow") == 1106
    content = caller.send("POST", "/openapi/auth/login/password", {
        "username": "owner@example.invalid", "password": "correct horse"})[1]
    caller.token = json.loads(content["data"])["accessToken"]
    assert listed(caller) == [STATION, "MINE"]
    assert caller.code("GET", "/openapi/systems/THEIRS/energyFlow") == 1401
    assert caller.code("POST", "/openapi/board/onboard", ["MINE"]) == 1402


def boarding(caller, verb, *ids):
    status, content = caller.send("POST", f"/openapi/board/{verb}", list(ids))
    assert (status, content["code"]) == (200, 0)
    return [row["codeList"] for row in content["data"]]


def test_onboarding_knows_every_state(make):
    taken = Station("TAKEN", onboarded=False)
    taken.other_vpp = True
    caller = make(stations=[Station(onboarded=False), taken]).login()
    assert boarding(caller, "onboard", STATION, "TAKEN", "NOSUCH") == [[], [1103], [1106]]
    assert boarding(caller, "onboard", STATION) == [[1401]]
    assert boarding(caller, "offboard", STATION) == [[]] and boarding(caller, "offboard", STATION) == [[1401]]


def test_a_standard_developer_waits_for_the_owner(make):
    caller = make(apps=[App(approval=True)], stations=[Station(onboarded=False)]).login()
    assert boarding(caller, "onboard", STATION) == boarding(caller, "onboard", STATION) == [[1116]]
    assert caller.code("GET", FLOW) == 1401
    caller.sim.approve(STATION)
    assert caller.code("GET", FLOW) == 0


@pytest.mark.parametrize("body", [[], {"ids": []}, [1], ["X"] * 200])
def test_boarding_demands_a_bare_array_of_less_than_200_ids(make, body):
    assert make().login().code("POST", "/openapi/board/onboard", body) == 1000


def test_a_vpp_takes_the_mode_and_gives_it_back(make):
    caller = make(apps=[App(scene="VPP")], stations=[Station(onboarded=False)]).login()
    station = caller.sim.world.stations[STATION]
    boarding(caller, "onboard", STATION)
    assert station.mode == 6
    content = caller.send("POST", "/openapi/auth/login/password", {
        "username": "owner@example.invalid", "password": "correct horse"})[1]
    key_token, caller.token = caller.token, json.loads(content["data"])["accessToken"]
    assert switch(caller, 0) == 1402, "a VPP's owner cannot change the mode"
    caller.token = key_token
    boarding(caller, "offboard", STATION)
    assert station.mode == 0


def switch(caller, mode, method="PUT", path="/openapi/instruction/settings"):
    return caller.code(method, path, {"systemId": STATION, "energyStorageOperationMode": mode})


def test_both_mode_spellings_work_and_can_be_switched_off_one_by_one(make):
    caller = make().login()
    post = ("POST", "/openapi/system/operationMode/switch")
    assert switch(caller, 5) == 0 and switch(caller, 8, *post) == 0
    assert caller.sim.world.stations[STATION].mode == 8
    caller.sim.switch_off("setMode", 404)
    caller.sim.switch_off("switchMode", 405)
    body = {"systemId": STATION, "energyStorageOperationMode": 0}
    assert caller.send("PUT", "/openapi/instruction/settings", body)[0] == 404
    assert caller.send(*post, body)[0] == 405


@pytest.mark.parametrize(("mode", "code"), [
    (0, 0), (5, 0), (8, 0), (6, 1402), (1, 1000), ("5", 1000), (None, 1000),
])
def test_modes_are_judged(make, mode, code):
    assert switch(make().login(), mode) == code


def test_foreign_control_and_missing_grants_veto_a_mode_change(make):
    caller = make().login()
    station = caller.sim.world.stations[STATION]
    station.control_granted = False
    assert switch(caller, 5) == 1402
    station.other_vpp = True
    assert switch(caller, 5) == 1103


def command(caller, count=1, **changes):
    sound = {"systemId": STATION, "activeMode": "charge", "startTime": 1795224700, "duration": 30,
             "chargingPower": 5.0}
    one = {key: value for key, value in {**sound, **changes}.items() if value != "absent"}
    body = {"accessToken": caller.token, "commands": [one] * count}
    return caller.code("POST", "/openapi/system/battery/command", body)


def test_a_battery_command_needs_nbi_or_vpp_mode(make):
    caller = make().login()
    assert command(caller) == 1501
    caller.sim.world.stations[STATION].mode = 8
    assert command(caller, 24) == 0 and len(caller.sim.service.commands) == 24


@pytest.mark.parametrize(("count", "changes"), [
    (25, {}), (0, {}), (1, {"chargingPower": "absent"}), (1, {"chargingPower": -1}),
    (1, {"activeMode": "boost"}), (1, {"startTime": 1795224700000}), (1, {"duration": 0}),
    (1, {"chargePriorityType": "SUN"}), (1, {"systemId": 7}),
])
def test_unsound_battery_commands_are_1000(make, count, changes):
    caller = make(stations=[Station(mode=8)]).login()
    assert command(caller, count, **changes) == 1000


@pytest.mark.parametrize("agent", [
    "python-requests/2.31", "aiohttp/3.9", "curl/8", "Go-http-client/1.1", "", "ShellyOS",
])
def test_the_firewall_answers_library_agents_with_a_page(make, agent):
    headers = {"User-Agent": agent}
    status, text = make().send("POST", "/openapi/auth/login/key", KEY, headers=headers)
    assert status == 403 and text.startswith("<!DOCTYPE HTML>") and "Request blocked" in text


def test_the_firewall_can_be_switched_off(make):
    headers = {"User-Agent": "curl/8"}
    assert make(firewall=False).code("POST", "/openapi/auth/login/key", KEY, headers=headers) == 0


@pytest.mark.parametrize(("method", "path", "status"), [
    ("GET", "/", 404), ("GET", "/openapi/systems", 404), ("POST", FLOW, 405),
    ("DELETE", "/openapi/system", 405),
    ("GET", f"/openapi/systems/{STATION}/history", 403),
])
def test_calls_that_do_not_exist_or_are_not_granted(make, method, path, status):
    assert make().login().send(method, path)[0] == status


@pytest.mark.parametrize("raw", ["", "{", "[]", "null"])
def test_a_body_that_is_no_object_is_1000(make, raw):
    assert make().login().code("PUT", "/openapi/instruction/settings", raw=raw) == 1000


def test_a_json_body_without_its_content_type_is_1000(make):
    assert make().code("POST", "/openapi/auth/login/key", KEY, headers={"Content-Type": "text/plain"}) == 1000


def test_faults_meet_as_many_calls_as_they_are_told(make, clock):
    caller = make().login()
    caller.sim.fail("energyFlow", "code", times=2, code=1502)
    caller.sim.fail("*", "status", status=424)
    assert [caller.code("GET", FLOW), caller.code("GET", FLOW)] == [1502, 1502]
    assert caller.send("GET", FLOW)[0] == 424 and caller.code("GET", FLOW) == 0
    caller.sim.fail("energyFlow", "status", times=0, status=429, retry_after="9")
    assert [caller.send("GET", FLOW)[0] for _ in range(3)] == [429] * 3
    caller.sim.faults.clear()
    clock.advance(300)
    assert caller.code("GET", FLOW) == 0


def test_an_unknown_fault_is_refused(make):
    with pytest.raises(ValueError, match=KINDS[0]):
        make().sim.fail("*", "gremlins")


def test_a_dropped_call_gets_no_answer(make):
    caller = make()
    caller.sim.fail("*", "drop")
    with pytest.raises(http.client.RemoteDisconnected):
        caller.send("GET", FLOW)


def test_a_truncated_answer_breaks_in_the_middle(make):
    caller = make().login()
    caller.sim.fail("energyFlow", "truncated")
    assert caller.send("GET", FLOW)[1].startswith('{"code":0')


def test_requests_are_logged_with_times_and_counted(make, clock):
    caller = make().login()
    caller.send("GET", FLOW)
    clock.advance(10)
    caller.send("GET", FLOW)
    assert caller.sim.counts() == {"energyFlow": 2, "login": 1} and caller.sim.count("summary") == 0
    assert [entry.code for entry in caller.sim.log] == [0, 0, 1110]
    assert caller.sim.times("energyFlow") == [clock.monotonic() - 10, clock.monotonic()]
    assert caller.sim.log[-1].user_agent == "Mozilla/5.0" and caller.sim.log[-1].path == FLOW


def test_an_oversized_request_is_refused(make):
    connection = http.client.HTTPConnection("127.0.0.1", make().sim.port, timeout=5)
    connection.putrequest("POST", "/openapi/auth/login/key")
    connection.putheader("Content-Length", "99999999")
    connection.endheaders()
    assert connection.getresponse().status == 413
    connection.close()


def test_stopping_cuts_open_connections_and_frees_the_port():
    clock = ManualClock()
    sim = SigenCloudSim(clock).start()
    port = sim.port
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    connection.request("GET", "/", headers=BROWSER)
    connection.getresponse().read()
    sim.stop()
    with pytest.raises((ConnectionError, http.client.HTTPException)):
        connection.request("GET", "/", headers=BROWSER)
        connection.getresponse()
    connection.close()
    with SigenCloudSim(clock, port=port) as again:
        assert again.port == port and again.base_url == f"http://127.0.0.1:{port}"


def test_two_simulators_know_nothing_of_each_other(make):
    first, second = make().login(), make()
    second.token = first.token
    assert second.send("GET", FLOW)[0] == 401 and first.code("GET", FLOW) == 0
