"""Every fault of the simulated Shelly: no wrong value, no crash, no flood, over within 2 s of its end."""

from __future__ import annotations

import pytest

from bridge.clock import Clock
from bridge.peers.shelly import ShellyClient
from bridge.sim.shelly import ShellySim, s3_components
from bridge.sim.shelly_faults import FAULTS
from bridge.sinks.shelly import ShellySink
from tests.sinks.shelly_desk import Desk, reading

LOG_LINES = 10  # an hour and fault may have (DESIGN ruling 16)
LASTS_S = 5
PARAMS = {"slow": {"delay_s": 0.3}, "second_writer": {"value": 42}}
WS_ONLY = ("ws_drop", "ws_half_open", "ws_refused")
NOT_FOR_NUMBERS = ("relay_reverted",)
CASES = [
    (transport, name) for transport in ("auto", "ws", "http") for name in FAULTS
    if name not in NOT_FOR_NUMBERS and not (transport == "http" and name in WS_ONLY)
]


@pytest.mark.parametrize("transport, name", CASES)
def test_a_fault_leaves_no_wrong_value_and_is_over_two_seconds_after_its_end(clock, caplog, transport, name):
    caplog.set_level("INFO")
    with Desk(clock, transport) as desk:
        assert desk.step() is None and desk.shows_newest
        desk.sim.fault(name, **PARAMS.get(name, {}))
        for _ in range(LASTS_S):
            desk.step()
        desk.sim.clear()
        desk.step()
        desk.step()
        assert desk.shows_recent, desk.errors[-1:]
        assert desk.wrong_values() == []
    assert len(caplog.records) <= LOG_LINES, caplog.text


@pytest.mark.parametrize("name", ["offline_refused", "silent", "ws_refused", "rate_limited", "wrong_mac", "nan"])
def test_an_hour_of_a_fault_is_a_few_log_lines(clock, caplog, name):
    """Silence costs real time-outs, so there the steps are longer; the log does not know."""
    caplog.set_level("INFO")
    step_s = 400.0 if name == "silent" else 5.0
    with Desk(clock, "auto") as desk:
        desk.step()
        desk.sim.fault(name)
        for _ in range(int(3600 / step_s)):
            desk.step(step_s)
        desk.sim.clear()
    lines = [record for record in caplog.records if record.name.startswith("shelly")]
    assert len(lines) <= LOG_LINES + 2, caplog.text  # two are of the start and the end


@pytest.mark.parametrize("name", ["silent", "hang"])
def test_a_silent_device_is_back_within_two_real_seconds(name):
    """The same with the time-outs of the product and a clock nobody moves."""
    clock = Clock()
    with ShellySim(clock, components=s3_components()) as sim:
        client = ShellyClient(sim.address, clock)
        sink = ShellySink(client, 200, clock)
        sink.write(reading(0, clock.monotonic()))
        sim.fault(name)
        with pytest.raises(Exception, match="answer"):
            sink.write(reading(1, clock.monotonic()))
        clock.wait(0.1)
        with pytest.raises(Exception, match="answer|WebSocket"):
            sink.write(reading(2, clock.monotonic()))
        sim.clear()
        ended = clock.monotonic()
        number = 2
        while sim.values[200] != round(2800.4 + number) and clock.monotonic() - ended < 5:
            number += 1
            try:
                sink.write(reading(number, clock.monotonic()))
            except Exception as error:
                assert "answer" in str(error) or "refused" in str(error)
                clock.wait(0.1)
        assert clock.monotonic() - ended <= 2.0
        sink.close()
