"""Looking at simulated Shellys: what was seen, and that nothing was written."""

from __future__ import annotations

import pytest

from bridge.control.diagnosis_shelly import Wanted, Writer
from bridge.errors import ConfigError
from bridge.sim.shelly import ShellySim, s3_components
from bridge.sinks.examine_shelly import Access, ShellyExam

READS = {"Shelly.GetDeviceInfo", "Shelly.ListMethods", "Shelly.GetComponents", "Number.GetStatus"}


def examine(shelly, clock, until_s=60.0, **access):
    return ShellyExam(Access(shelly.address, **access), Wanted(200), clock, clock.monotonic() + until_s).examine()


@pytest.fixture
def shelly(clock):
    with ShellySim(clock, components=s3_components()) as simulator:
        yield simulator


@pytest.mark.parametrize("transport", ["auto", "ws", "http", "script"])
def test_a_healthy_shelly_by_every_road(shelly, clock, transport):
    seen = examine(shelly, clock, transport=transport)
    assert (seen.outcome, seen.kind, seen.login, seen.virtual) == ("open", "shelly", "ok", True)
    assert seen.transport == ("http" if transport in ("http", "script") else "ws")
    assert len(seen.components) == 6 and seen.writers == () and seen.failure == ""
    assert set(shelly.counters.rpc) <= READS and shelly.counters.flash_writes == 0


def test_somebody_who_writes_is_seen_within_the_watch(shelly, clock):
    shelly.fault("second_writer", key="number:203", value=17, source="UI")
    assert examine(shelly, clock).writers == (Writer("number:203", "UI"),)


def test_the_running_bridge_is_not_somebody_else(shelly, clock):
    shelly.fault("second_writer", key="number:203", value=17, source="rpc")
    assert examine(shelly, clock, bridge_runs=True).writers == ()
    assert examine(shelly, clock).writers == (Writer("number:203", "rpc"),)


def test_without_time_nobody_is_watched(shelly, clock):
    examine(shelly, clock, until_s=1.0)
    assert "Number.GetStatus" not in shelly.counters.rpc


def test_a_wrong_password_is_tried_once(clock):
    with ShellySim(clock, components=s3_components(), password="secret", firmware="2.0.1") as shelly:
        seen = examine(shelly, clock, password="guess")
        assert seen.login == "bad" and shelly.counters.auth_failures == 1
        assert seen.info["ver"] == "2.0.1"


def test_no_password_is_tried_where_there_is_none(clock):
    with ShellySim(clock, components=s3_components(), password="secret") as shelly:
        assert examine(shelly, clock).login == "none" and shelly.counters.auth_failures == 0


def test_the_right_password_opens(clock):
    with ShellySim(clock, components=s3_components(), password="secret") as shelly:
        seen = examine(shelly, clock, password="secret")
    assert seen.login == "ok" and len(seen.components) == 6


def test_a_shelly_with_another_mac_is_not_asked_further(shelly, clock):
    seen = examine(shelly, clock, mac="11:22:33:44:55:66")
    assert seen.kind == "shelly" and seen.login == "" and not shelly.counters.rpc


def test_websockets_refused_is_not_the_end(shelly, clock):
    shelly.fault("ws_refused")
    seen = examine(shelly, clock)
    assert seen.no_websocket and seen.transport == "http" and len(seen.components) == 6


def test_a_failing_call_is_told(shelly, clock):
    shelly.fault("http_500", method="Shelly.GetComponents")
    assert "Shelly.GetComponents" in examine(shelly, clock).failure


def test_a_host_that_is_none_is_a_setting_to_correct(clock):
    with pytest.raises(ConfigError):
        ShellyExam(Access("shelly:port"), Wanted(200), clock, 0.0)
