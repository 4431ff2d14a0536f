"""What the page says, word by word, without a browser."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest

from bridge.sinks.history import History
from bridge.sinks.page import page, policy, template
from bridge.sinks.page_charts import chart_values
from bridge.sinks.page_view import lasting, power, view
from tests.sinks.test_metrics import HEALTH, NOTHING, SNAPSHOT

HEALTH = {**HEALTH, "ok": True, "peer": "192.0.2.7:502", "reason": None, "last_error": None, "failover": None}
LEASE = {"state": "active", "action": "charge", "power_w": 2000, "ends_in_s": 1480, "text": "Charging with 2000 W"}


def seen(snapshot=SNAPSHOT, **health):
    return view(snapshot, {**HEALTH, **health})


def rows(found):
    return {name: (state, text) for state, name, text in found["links"]}


def rendered(snapshot=SNAPSHOT, **health):
    return page({**seen(snapshot, **health), **chart_values(History(), 0.0)}, "N")


def test_the_five_values_stand_there_in_words():
    found = seen()
    assert [found[key] for key in ("sun", "soc", "battery", "grid", "house")] == \
        ["2800 W", "15.3 %", "discharging 342 W", "importing 8540 W", "11340 W"]
    assert seen({**SNAPSHOT, "load_derived": True})["house"] == "11340 W (derived)"
    assert found["picture:aria-label"] == ("Power flow: sun 2800 W; battery 15.3 %, discharging 342 W;"
                                           " grid importing 8540 W; house 11340 W")


@pytest.mark.parametrize("battery_w, grid_w, flows, words", [
    (1500, -900, ("in", "out", "out", "out"), ("charging 1.50 kW", "exporting")),
    (-1500, 900, ("in", "in", "in", "out"), ("discharging 1.50 kW", "importing")),
    (0, 0, ("in", "none", "none", "out"), ("idle", "idle")),
    (None, None, ("in", "none", "none", "out"), ("unknown", "unknown")),
    (5, -5, ("in", "none", "none", "out"), ("charging 5 W", "exporting")),
])
def test_the_picture_shows_the_direction(battery_w, grid_w, flows, words):
    found = seen({**SNAPSHOT, "battery_charge_w": battery_w, "grid_import_w": grid_w})
    assert tuple(found[f"f_{name}:class"] for name in ("sun", "bat", "grid", "house")) == tuple(f"flow {way}" for way in flows)
    assert (found["w_bat"], found["w_grid"]) == words


def test_unknown_is_a_word_and_a_dash_and_never_zero():
    found = seen(NOTHING, ok=False)
    assert [found[key] for key in ("sun", "soc", "battery", "grid", "house")] == ["unknown"] * 5
    assert [found[key] for key in ("p_sun", "p_soc", "p_grid", "p_house")] == ["\u2013"] * 4
    assert found["state"] == "Waiting" and found["age"] == "no reading yet" and found["picture:class"] == "dim"


def test_the_state_tells_live_from_old_and_from_the_cloud():
    assert (seen()["state"], seen()["state:class"], seen()["reason:class"]) == ("Live", "pill ok", "none")
    stale = seen({**NOTHING, "source": "modbus-tcp", "age_s": 130, "reason": "stale: no reading for 130 s"})
    assert (stale["state"], stale["reason"], stale["age"]) == ("Not live", "Stale: no reading for 130 s", "2 min ago")
    cloud = seen({**SNAPSHOT, "source": "cloud", "age_s": 200.0})
    assert (cloud["state"], cloud["source"], cloud["age"]) == ("From the cloud", "Sigenergy cloud", "3 min ago")


def test_the_plant_the_cloud_and_each_sink_have_a_row():
    sinks = [{"name": "shelly", "ok": True, "error": None}, {"name": "mqtt", "ok": False, "error": "refused"},
             {"name": "file", "ok": False, "error": None}]
    assert rows(seen(sinks=sinks)) == {
        "Plant": ("ok", "answers"), "Cloud": ("off", "no fallback set up"), "Shelly": ("ok", "up to date"),
        "MQTT": ("bad", "refused"), "File": ("wait", "nothing delivered yet")}
    gone = rows(seen({**NOTHING, "source": "modbus-tcp"}, last_error="modbus 192.0.2.7:502: refused", reason="stale"))
    assert gone["Plant"] == ("bad", "modbus 192.0.2.7:502: refused")


@pytest.mark.parametrize("standing, source, expected", [
    ({"state": "local", "cloud_error": None}, "modbus-tcp", ("ok", "ready")),
    ({"state": "suspect", "cloud_error": None}, "modbus-tcp", ("ok", "is being asked: the plant does not answer")),
    ({"state": "cloud", "cloud_error": None}, "cloud", ("warn", "stands in for the plant, for 5 min")),
    ({"state": "cloud", "cloud_error": "login refused"}, "cloud", ("bad", "login refused")),
    ({"state": "local", "cloud_error": "login refused"}, "modbus-tcp", ("warn", "login refused")),
])
def test_the_cloud_behind_the_plant(standing, source, expected):
    found = rows(seen({**SNAPSHOT, "source": source}, failover={"for_s": 300, "local_error": "refused", **standing}))
    assert found["Cloud"] == expected
    assert found["Plant"] == (("ok", "answers") if source == "modbus-tcp" else ("bad", "refused"))


@pytest.mark.parametrize("source", ["cloud", "mqtt"])
def test_a_bridge_on_the_cloud_alone_has_no_row_for_the_plant(source):
    found = rows(seen({**SNAPSHOT, "source": source}, plant=source))
    assert "Plant" not in found and found["Cloud"] == ("ok", "answers")


def test_a_lease_is_shown_with_its_end_and_nothing_without_one():
    found = seen(control=LEASE)
    assert (found["lease_text"], found["lease_end"], found["lease:class"]) == ("Charging with 2000 W", "ends in 24 min", "card lease")
    troubled = seen(control={**LEASE, "error": "the plant does not take it"})
    assert troubled["lease_end"] == "ends in 24 min; the plant does not take it"
    for absent in ({}, {"control": None}):
        assert (seen(**absent)["lease:class"], seen(**absent)["lease_text"]) == ("none", "")


@pytest.mark.parametrize("power_w, text", [
    (None, "\u2013"), (0, "0 W"), (-341.4, "341 W"), (999.4, "999 W"), (999.6, "1.00 kW"), (8540, "8.54 kW"),
    (9996, "10.0 kW"), (-11340, "11.3 kW")])
def test_powers_as_people_read_them(power_w, text):
    assert power(power_w) == text


@pytest.mark.parametrize("seconds, text", [(0.4, "0 s"), (119, "119 s"), (120, "2 min"), (7199, "119 min"), (7500, "2 h 05 min")])
def test_durations(seconds, text):
    assert lasting(seconds) == text


def test_every_place_of_the_template_is_filled_and_every_value_has_a_place():
    places = set(re.findall(r"\{\{([\w:-]+)\}\}", template()))
    values = {**seen(), **chart_values(History(), 0.0)}
    assert places == set(values) | {"nonce"}
    ids = set(re.findall(r' id="([\w-]+)"', template()))
    assert {place.partition(":")[0] for place in places - {"nonce"}} <= ids, "an open page finds the element to change"


def test_the_page_is_small_whole_and_asks_nobody():
    text = rendered()
    assert len(text.encode()) < 40_000 and "{{" not in text
    assert not re.search(r"(src|href)=[\"'](https?:)?//", text) and "@import" not in text and "url(" not in text
    assert set(re.findall(r"https?://[^'\"]+", text)) <= {"http://www.w3.org/2000/svg"}


def test_nothing_in_the_page_needs_what_its_policy_forbids():
    class Watch(HTMLParser):
        found = []

        def handle_starttag(self, tag, attributes):
            self.found += [name for name, _ in attributes if name.startswith("on") or name == "style"]
            if tag in ("script", "style"):
                self.found += [] if dict(attributes).get("nonce") == "N" else [tag]

    watch = Watch()
    watch.feed(rendered())
    assert watch.found == []
    assert "default-src 'none'" in policy("N") and "unsafe" not in policy("N")


def test_a_text_never_becomes_markup():
    evil = "<img src=x onerror=alert(1)>\"'&"
    text = rendered({**SNAPSHOT, "source": evil, "reason": evil}, peer=evil, control={**LEASE, "text": evil},
                    sinks=[{"name": evil, "ok": False, "error": evil}])
    assert "<img" not in text and text.count("&lt;img src=x onerror=alert(1)&gt;&quot;&#x27;&amp;") == 6
