"""The running coordination: what it tells devices, logs, remembers and reports."""

from __future__ import annotations

import json
import logging

import pytest

from bridge import ini
from bridge.control.dispatch_config import read
from bridge.control.dispatch_state import Plant, Relay
from bridge.coordinator import STATE_FILE, Coordinator, Parts
from bridge.state import StateDir

LOADS = """
[rules]
limit_w = 10000
timezone = UTC
[boiler]
device = a
power_w = 2000
windows = 00:00-24:00
priority = 1
phase = 1
[heater]
device = b
power_w = 3000
windows = 00:00-24:00
priority = 2
phase = 2
"""


class Devices:
    """Stands for the device threads: keeps what it was told, shows what it was made to show."""

    def __init__(self):
        self.orders, self.kept, self.shown = [], {}, {}

    def order(self, name, order):
        self.orders.append((name, order.on))
        self.shown[name] = Relay(order.on, order.at + 0.1, "HTTP_in", applied_mono=order.at)

    def keep(self, name, wanted):
        self.kept[name] = wanted

    def seen(self):
        return dict(self.shown)

    def close(self):
        self.closed = True


class Source:
    error = ""

    def __init__(self, clock):
        self.clock, self.load_w, self.away_since = clock, 500.0, None

    def read(self):
        return Plant(self.away_since or self.clock.monotonic(), load_w=self.load_w)


class Meter:
    latest = None


@pytest.fixture
def made(clock, tmp_path):
    def build(dry_run=False, text=LOADS, meter=None):
        build.devices, build.source = Devices(), Source(clock)
        for name in ("boiler", "heater"):
            build.devices.shown[name] = Relay(False, clock.monotonic(), "init")
        parts = Parts(build.source, dict.fromkeys(("boiler", "heater"), build.devices), meter, tuple,
                      StateDir(str(tmp_path)))
        return Coordinator(read(ini.parse(text), "here"), parts, clock, dry_run)

    return build


def steps(desk, clock, count):
    for _ in range(count):
        desk.step()
        clock.advance(1.0)


def test_orders_go_out_once_and_keeping_is_said_every_second(made, clock):
    desk = made()
    steps(desk, clock, 60)
    assert made.devices.orders == [("boiler", True), ("heater", True)]
    assert made.devices.kept == {"boiler": True, "heater": True}


def test_without_data_nothing_is_kept_after_a_minute(made, clock):
    desk = made()
    steps(desk, clock, 60)
    made.source.away_since = clock.monotonic()
    steps(desk, clock, 50)
    assert made.devices.kept == {"boiler": True, "heater": True}
    steps(desk, clock, 30)
    assert made.devices.kept == {"boiler": False, "heater": False}
    assert made.devices.orders == [("boiler", True), ("heater", True)], "their own timers end them"


def test_a_switching_is_one_line_with_its_reason_and_waiting_is_none(made, clock, caplog):
    caplog.set_level(logging.INFO, "loads")
    desk = made()
    steps(desk, clock, 120)
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 2
    assert lines[0].startswith('load="boiler" do="switch" want=on rule=window reason="window')


def test_a_dry_run_tells_and_touches_nothing(made, clock, tmp_path, caplog):
    caplog.set_level(logging.INFO, "loads")
    desk = made(dry_run=True)
    steps(desk, clock, 3)
    desk.close()
    assert made.devices.orders == [] and made.devices.kept == {} and not (tmp_path / STATE_FILE).exists()
    assert 'do="would switch"' in caplog.text and desk.report()["dry_run"]


def test_a_dry_run_does_not_take_its_own_words_for_deeds(made, clock, caplog):
    caplog.set_level(logging.INFO, "loads")
    desk = made(dry_run=True)
    for cycle in range(40):
        desk.step()
        boiler = desk.report()["loads"][0]
        assert (boiler["on"], boiler["ours"], boiler["want"], boiler["act"]) == (False, False, "on", True), cycle
        assert boiler["starts_last_hour"] == 0 and "not yet" not in boiler["reason"]
        clock.advance(1.0)
    assert caplog.text.count("would switch") == 1
    made.devices.shown["boiler"] = Relay(True, clock.monotonic(), "init")
    steps(desk, clock, 1)
    boiler, heater = desk.report()["loads"]
    assert boiler["on"] and not boiler["act"] and heater["act"], "somebody else switched it: then the next is due"


def test_what_is_about_to_be_switched_is_reported_as_it_is(made, clock):
    desk = made()
    desk.step()
    assert [row["on"] for row in desk.report()["loads"]] == [False, False]
    clock.advance(1.0)
    desk.step()
    assert [row["on"] for row in desk.report()["loads"]] == [True, False]


def test_flash_is_written_for_switchings_only(made, clock, tmp_path, monkeypatch):
    desk = made()
    writes = []
    real = StateDir.save
    monkeypatch.setattr(StateDir, "save", lambda *args, **more: writes.append(1) or real(*args, **more))
    steps(desk, clock, 600)
    assert len(writes) == 2, "one for each start"
    assert json.loads((tmp_path / STATE_FILE).read_text())["loads"]["boiler"]["ours"] is True


def test_the_phases_of_a_second_meter_count_while_they_are_fresh(made, clock):
    meter = Meter()
    desk = made(text=LOADS.replace("limit_w = 10000", "phase_limit_w = 3000"), meter=meter)
    meter.latest = (clock.monotonic(), (500.0, 500.0, 100.0))
    steps(desk, clock, 3)
    assert made.devices.orders == [("boiler", True)]
    assert desk.report()["phases_w"] == [500.0, 500.0, 100.0]
    steps(desk, clock, 60)
    report = desk.report()
    assert report["phases_w"] is None and "phases are not known" in report["warnings"][0]
    assert made.devices.orders == [("boiler", True)]


def test_the_report_is_complete_and_unknown_is_null(made, clock):
    desk = made()
    assert desk.report()["loads"][0]["on"] is None
    made.devices.shown["heater"] = Relay(None, clock.monotonic(), error="shelly b: no answer")
    steps(desk, clock, 2)
    told = json.loads(json.dumps(desk.report()))
    boiler, heater = told["loads"]
    assert (boiler["on"], boiler["ours"], boiler["rule"], boiler["measured_w"]) == (True, True, "window", None)
    assert heater["on"] is None and heater["error"] == "shelly b: no answer"
    assert told["data"] == "local" and told["limit_w"] == 10_000 and told["warnings"] == []
