"""The app side of the simulated cloud refuses what should be refused; asked with the standard library's client."""

from __future__ import annotations

import base64
import copy
import http.client
import json
from urllib.parse import urlencode

import pytest

from bridge.clock import ManualClock
from bridge.sim.sigen_cloud import SigenCloudSim
from bridge.sim.sigen_cloud_app import APP_ROUTES, app_route
from bridge.sim.sigen_cloud_app_tariff import tariff_problem
from bridge.sim.sigen_cloud_world import Account, Station
from tests.peers.app_bench import ENCODED, STATION, USER, tariff

BASIC = "Basic " + base64.b64encode(b"sigen:sigen").decode()
LOGIN = {"username": USER, "password": ENCODED, "grant_type": "password"}


class Caller:
    """Someone else's client."""

    def __init__(self, sim):
        self.sim, self.token = sim, None

    def send(self, method, path, body=None, form=None, headers=None):
        """Return (status, decoded body)."""
        connection = http.client.HTTPConnection("127.0.0.1", self.sim.port, timeout=5)
        given = {"User-Agent": "Mozilla/5.0", "Content-Type": "application/json"}
        content = json.dumps(body) if body is not None else None
        if form is not None:
            given.update({"Content-Type": "application/x-www-form-urlencoded", "Authorization": BASIC})
            content = urlencode(form)
        elif self.token:
            given["Authorization"] = f"Bearer {self.token}"
        given.update(headers or {})
        try:
            connection.request(method, path, content, given)
            reply = connection.getresponse()
            text = reply.read().decode()
        finally:
            connection.close()
        return reply.status, json.loads(text) if text.startswith("{") else text

    def login(self, **fields):
        """Ask for tokens; keeps the access token and returns the whole answer."""
        status, content = self.send("POST", "/auth/oauth/token", form={**LOGIN, **fields})
        assert status == 200
        if content["data"]:
            self.token = content["data"]["access_token"]
        return content

    def data(self, method, path, body=None):
        """Return the data of a success."""
        status, content = self.send(method, path, body)
        assert (status, content["code"]) == (200, 0), content
        return content["data"]

    def code(self, method, path, body=None):
        """Return the code of an HTTP 200, or the status of another answer."""
        status, content = self.send(method, path, body)
        return content["code"] if status == 200 else status


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def sim(clock):
    with SigenCloudSim(clock) as simulator:
        yield simulator


@pytest.fixture
def caller(sim):
    caller = Caller(sim)
    caller.login()
    return caller


def test_every_route_is_found_by_its_own_method_only():
    for name, method, pattern in APP_ROUTES:
        path = pattern.replace("(?P<id>[^/]+)", "7").replace("/?", "/")
        assert app_route(method, path)[0] == name
        assert app_route("DELETE", path)[0] == "wrong-method"
    assert app_route("GET", "/device/nothing")[0] == "unknown"


def test_old_clients_without_scope_and_device_id_are_let_in_and_nonsense_is_not(sim):
    caller = Caller(sim)
    assert caller.login()["code"] == 0
    assert caller.login(scope="server", userDeviceId="1767225600123")["code"] == 0
    assert caller.login(userDeviceId="0f8fad5b-d9cb-469f-a165-70867728950e")["code"] == 0
    for fields in ({"userDeviceId": "12"}, {"scope": "all"}):
        assert caller.login(**fields)["code"] == 1000


def test_a_login_needs_the_apps_own_basic_authorization_and_a_form(sim):
    caller = Caller(sim)
    assert caller.send("POST", "/auth/oauth/token", form=LOGIN, headers={"Authorization": "Basic eDp5"})[0] == 401
    assert caller.send("POST", "/auth/oauth/token", form={**LOGIN, "grant_type": "magic"})[0] == 400
    assert caller.send("POST", "/auth/oauth/token", LOGIN, headers={"Authorization": BASIC})[0] == 400
    assert caller.send("GET", "/auth/oauth/token")[0] == 405


@pytest.mark.parametrize("password", ["correct horse", "", "2XgqjWOYS8wesGPH8+9zTQ==", "not base64!", ENCODED[:-4]])
def test_only_the_encoded_password_is_right_and_five_wrong_ones_lock(sim, clock, password):
    caller = Caller(sim)
    for _ in range(5):
        assert caller.login(password=password)["code"] == 11003
    assert caller.login()["code"] == 11002
    clock.advance(181)
    assert caller.login()["code"] == 0


def test_a_refresh_token_works_once_and_ends_the_pair(sim, caller):
    first = caller.login()["data"]
    grant = {"grant_type": "refresh_token", "refresh_token": first["refresh_token"]}
    second = caller.send("POST", "/auth/oauth/token", form=grant)[1]["data"]
    assert second["access_token"] != first["access_token"] and second["refresh_token"] != first["refresh_token"]
    assert caller.send("POST", "/auth/oauth/token", form=grant)[1]["code"] == 401
    assert caller.code("GET", "/device/owner/station/home") == 401
    caller.token = second["access_token"]
    assert caller.data("GET", "/device/owner/station/home")["stationId"] == STATION


def test_tokens_end_and_are_revoked(sim, caller, clock):
    assert caller.code("GET", "/device/owner/station/home") == 0
    clock.advance(43199)
    assert caller.code("GET", "/device/owner/station/home") == 401
    caller.login()
    sim.revoke_tokens()
    assert caller.code("GET", "/device/owner/station/home") == 401
    caller.token = None
    assert caller.code("GET", "/device/owner/station/home") == 401


def test_tokens_of_the_two_apis_are_not_each_others(sim, caller):
    key = {"key": base64.b64encode(b"AK_DEMO:AS_DEMO").decode()}
    reply = caller.send("POST", "/openapi/auth/login/key", key)[1]
    assert caller.send("GET", "/openapi/system", headers={"sigen-region": "eu"})[0] == 401
    caller.token = json.loads(reply["data"])["accessToken"]
    assert caller.code("GET", "/device/owner/station/home") == 401


@pytest.mark.parametrize("agent, status", [
    ("python-requests/2.34", 403), ("Python/3.11 aiohttp/3.9", 403), ("curl/8.1", 403), ("", 403), ("Mozilla/5.0", 200),
])
def test_the_firewall_goes_by_the_user_agent(sim, caller, agent, status):
    got, content = caller.send("GET", "/device/owner/station/home", headers={"User-Agent": agent})
    assert got == status and (status == 200 or content.startswith("<!DOCTYPE HTML>"))


def test_the_power_is_that_of_the_openapi_under_the_apps_names(caller):
    flow = caller.data("GET", f"/device/sigen/station/energyflow?id={STATION}")
    assert flow == caller.data("GET", "/device/sigen/station/energyflow/async?refreshFlag=false")
    assert flow["pvPower"] == pytest.approx(flow["loadPower"] + flow["batteryPower"] + flow["buySellPower"])


@pytest.mark.parametrize("number, code", [("ABCDE1700000001", 500), ("", 500), ("12025061000219", 1106)])
def test_a_number_that_is_no_station_is_refused_as_the_real_one_does(caller, number, code):
    assert caller.code("GET", f"/device/sigen/station/energyflow?id={number}") == code
    assert caller.code("POST", "/device/stationelecsetprice/save", tariff(station_id=number or None)) == code


def test_another_owners_station_is_not_shown(clock):
    stations = (Station(), Station("FGHIJ1700000002", owner="other@example.invalid"))
    accounts = (Account(), Account("other@example.invalid"))
    with SigenCloudSim(clock, stations=stations, accounts=accounts) as sim:
        caller = Caller(sim)
        caller.login()
        assert caller.code("GET", f"/device/sigen/station/energyflow?id={STATION + 1}") == 1401
        assert len(caller.data("GET", "/device/owner/station/list")) == 1


def test_modes_by_both_paths_are_one_plants_mode(sim, caller):
    station = sim.world.stations["ABCDE1700000001"]
    modes = caller.data("GET", f"/device/energy-profile/mode/all/{STATION}")
    assert {"label": "TOU", "value": "2"} in modes["defaultWorkingModes"]
    assert {"name": "Night charge", "profileId": 77} in modes["energyProfileItems"]
    body = {"stationId": STATION, "operationMode": 9, "profileId": 77}
    caller.data("PUT", "/device/energy-profile/mode", body)
    assert caller.data("GET", f"/device/energy-profile/mode/current/{STATION}") == {
        "currentMode": 9, "currentProfileId": 77}
    caller.data("PUT", "/device/setting/operational/mode/", {"stationId": str(STATION), "operationMode": 5})
    assert caller.data("GET", f"/device/setting/operational/mode/{STATION}") == 5 == station.mode
    assert caller.data("GET", f"/device/energy-profile/mode/current/{STATION}")["currentProfileId"] == -1


@pytest.mark.parametrize("fields", [
    {"operationMode": 3}, {"operationMode": "2"}, {"operationMode": True}, {"operationMode": None},
    {"operationMode": 9}, {"operationMode": 9, "profileId": 1}, {"operationMode": 2, "profileId": 77},
    {"operationMode": 9, "profileId": "77"},
])
def test_a_mode_that_is_not_listed_is_refused(sim, caller, fields):
    assert caller.code("PUT", "/device/energy-profile/mode", {"stationId": STATION, "profileId": -1, **fields}) == 1000
    assert sim.world.stations["ABCDE1700000001"].mode == 0


@pytest.mark.parametrize("version, gone", [("v0", "/device/energy-profile/mode/current/"),
                                           ("v3", "/device/setting/operational/mode/")])
def test_a_station_may_have_one_kind_of_paths_only(sim, caller, version, gone):
    sim.app_world.homes[STATION].mode_api = version
    assert caller.code("GET", f"{gone}{STATION}") == 404


@pytest.mark.parametrize("change, code", [
    ({}, 0), ({"mode": "2", "powerLimitation": ""}, 0), ({"mode": 0}, 1000), ({"duration": 60}, 1000),
    ({"duration": "29"}, 1000), ({"duration": "121"}, 1000), ({"powerLimitation": ""}, 1000),
    ({"powerLimitation": "-1.000"}, 1000), ({"powerLimitation": "nan"}, 1000), ({"powerLimitation": 5.0}, 1000),
    ({"mode": "4"}, 1000), ({"enable": 1}, 1000), ({"enable": False}, 1000),
])
def test_the_override_wants_texts_and_bounds(sim, caller, change, code):
    body = {"enable": True, "stationId": STATION, "mode": "0", "duration": "60", "powerLimitation": "5.000", **change}
    assert caller.code("PUT", "/device/energy-profile/instant/manunal", body) == code
    held = caller.data("GET", f"/device/energy-profile/instant/manunal/{STATION}")
    assert held["enable"] is (code == 0)


def test_smart_loads_are_cards_with_a_path_and_are_switched_by_query(caller):
    cards = caller.data("GET", f"/device/system/device/systemDevice/card?stationId={STATION}&showNewGenerator=true")
    assert [card.get("path") for card in cards] == [1, 2]
    where = f"stationId={STATION}&loadPath=1"
    load = caller.data("GET", f"/device/tp-device/smart-loads?{where}")
    energy = "/data-process/sigen/station/statistics/real-time-consumption"
    found = caller.data("GET", f"{energy}?{where}&smartLoadId={load['smartLoadId']}")
    assert found["todayConsumption"] == "1.20 kWh"
    assert caller.code("GET", f"{energy}?{where}&smartLoadId=1") == 1000
    switch = "/device/tp-device/smart-loads/control-mode/manual/switch"
    assert caller.code("PATCH", f"{switch}?{where}&manualSwitch=on") == 1000
    assert caller.code("PATCH", f"{switch}?stationId={STATION}&loadPath=9&manualSwitch=1") == 1101
    assert caller.code("GET", f"{switch}?{where}&manualSwitch=1") == 405
    assert caller.code("PATCH", f"{switch}?{where}&manualSwitch=1") == 0
    assert caller.data("GET", f"/device/tp-device/smart-loads?{where}")["manualModeSwitch"] == 1


def test_a_sound_tariff_is_kept_and_shown(sim, caller):
    read = f"/device/stationelecsetprice/latest/static/price?stationId={STATION}"
    assert caller.data("GET", read) is None
    caller.data("POST", "/device/stationelecsetprice/save", tariff())
    assert sim.saved_tariffs == [tariff()] and caller.data("GET", read) == tariff()


def static(payload, side="buyPrice"):
    return payload[side]["staticPricing"]


def week(payload, side="buyPrice"):
    return static(payload, side)["combinedPrices"][0]["weekPrices"][0]


def day(payload, side="buyPrice"):
    return week(payload, side)["timeRange"]


def cut_into_five_minutes(payload):
    times = [f"{at // 12:02d}:{at % 12 * 5:02d}" for at in range(288)] + ["24:00"]
    day(payload)[:] = [{"timeRange": f"{a}-{b}", "price": 1.0} for a, b in zip(times, times[1:])]


# fmt: off
UNSOUND = {
    "gap":              (lambda one: day(one).pop(7),                                   "does not follow"),
    "overlap":          (lambda one: day(one).insert(7, dict(day(one)[7])),             "does not follow"),
    "ends at 00:00":    (lambda one: day(one)[-1].update(timeRange="23:30-00:00"),      "does not follow"),
    "no last slot":     (lambda one: day(one).pop(),                                    "24:00"),
    "starts late":      (lambda one: day(one).pop(0),                                   "does not follow"),
    "25 hours":         (lambda one: day(one).append({"timeRange": "24:00-24:30", "price": 1}), "24:00"),
    "wrong order":      (lambda one: day(one).reverse(),                                "does not follow"),
    "one digit":        (lambda one: day(one)[0].update(timeRange="0:00-0:30"),         "does not follow"),
    "minute 60":        (lambda one: day(one)[0].update(timeRange="00:00-00:60"),       "does not follow"),
    "no slots":         (lambda one: day(one).clear(),                                  "something in it"),
    "5 minutes":        (cut_into_five_minutes,                                         "not half an hour"),
    "price text":       (lambda one: day(one)[3].update(price="24.31"),                 "not a number"),
    "price null":       (lambda one: day(one)[3].update(price=None),                    "not a number"),
    "price true":       (lambda one: day(one)[3].update(price=True),                    "not a number"),
    "price nan":        (lambda one: day(one)[3].update(price=float("nan")),            "not a number"),
    "price infinite":   (lambda one: day(one)[3].update(price=float("inf")),            "not a number"),
    "three decimals":   (lambda one: day(one)[3].update(price=24.312),                  "two decimals"),
    "price huge":       (lambda one: day(one)[3].update(price=1e9),                     "two decimals"),
    "price missing":    (lambda one: day(one)[3].pop("price"),                          "is missing"),
    "slot with more":   (lambda one: day(one)[3].update(unit="c"),                      "is not known"),
    "sell gap":         (lambda one: day(one, "sellPrice").pop(7),                      "sellPrice"),
    "sell null":        (lambda one: one.update(sellPrice=None),                        "must be an object"),
    "no buy":           (lambda one: one.pop("buyPrice"),                               "buyPrice is missing"),
    "priceMode 2":      (lambda one: one.update(priceMode=2),                           "priceMode"),
    "priceMode text":   (lambda one: one.update(priceMode="1"),                         "priceMode"),
    "priceMode true":   (lambda one: one.update(priceMode=True),                        "priceMode"),
    "dynamic":          (lambda one: one["buyPrice"].update(dynamicPricing={}),         "must be null"),
    "no dynamic":       (lambda one: one["buyPrice"].pop("dynamicPricing"),             "is missing"),
    "dollars":          (lambda one: static(one).update(currencyCode="AUD"),            "currencyCode"),
    "no provider":      (lambda one: static(one).update(providerName=" "),              "providerName"),
    "plan number":      (lambda one: static(one).update(planName=7),                    "planName"),
    "plan too long":    (lambda one: static(one).update(planName="x" * 65),             "planName"),
    "no tariff code":   (lambda one: static(one).pop("tariffCode"),                     "is missing"),
    "half a year":      (lambda one: static(one)["combinedPrices"][0].update(monthRange="01-06"), "01-12"),
    "months text":      (lambda one: static(one)["combinedPrices"][0].update(monthRange="1-12"),  "01-12"),
    "no weekend":       (lambda one: week(one).update(weekRange="1-5"),                 "1-7"),
    "from sunday":      (lambda one: week(one).update(weekRange="0-6"),                 "1-7"),
    "weeks a dict":     (lambda one: static(one)["combinedPrices"][0].update(weekPrices={}), "must be a list"),
    "unknown key":      (lambda one: one.update(planId=1),                              "is not known"),
}
# fmt: on


@pytest.mark.parametrize("name", UNSOUND)
def test_an_unsound_tariff_is_refused_with_its_reason_and_not_kept(sim, caller, name):
    spoil, words = UNSOUND[name]
    payload = copy.deepcopy(tariff())
    spoil(payload)
    assert words in tariff_problem(payload)
    status, content = caller.send("POST", "/device/stationelecsetprice/save", payload)
    assert (status, content["code"]) == (200, 1000) and words in content["msg"]
    assert sim.saved_tariffs == []


@pytest.mark.parametrize("change", [
    lambda one: [slot.update(price=-12.5) for slot in day(one, "sellPrice")],
    lambda one: [slot.update(price=0) for slot in day(one)],
    lambda one: day(one).__setitem__(slice(None), [{"timeRange": "00:00-24:00", "price": 30}]),
    lambda one: one.update(stationId=str(STATION)),
    lambda one: one.pop("sellPrice"),
    lambda one: static(one)["combinedPrices"][0].update(weekPrices=[
        {**copy.deepcopy(week(one)), "weekRange": "1-5"}, {**copy.deepcopy(week(one)), "weekRange": "6-7"}]),
], ids=["negative", "zero", "one price", "digits", "no sell", "weekend"])
def test_what_working_tools_post_is_taken(sim, caller, change):
    payload = copy.deepcopy(tariff())
    change(payload)
    assert caller.code("POST", "/device/stationelecsetprice/save", payload) == 0
    assert len(sim.saved_tariffs) == 1


def test_five_minute_slots_are_taken_only_when_told_to(sim, caller):
    sim.app_world.shortest_slot_min = 5
    payload = copy.deepcopy(tariff())
    cut_into_five_minutes(payload)
    assert caller.code("POST", "/device/stationelecsetprice/save", payload) == 0


def test_a_body_that_is_no_json_is_refused(caller):
    assert caller.send("POST", "/device/stationelecsetprice/save", [1])[0] == 400
    assert caller.send("POST", "/device/stationelecsetprice/save", tariff(), headers={"Content-Type": "x/y"})[0] == 415
