"""What the Shelly simulator costs: it must not be what a bench measures."""

from __future__ import annotations

import time

from bridge.clock import Clock
from bridge.sim.shelly import ShellySim, s3_components
from bridge.sim.shelly_board import HISTORY
from tests.sim.shelly_wire import WebSocket

CYCLES = 500
SETS = 4


def test_a_cycle_of_four_sets_with_echo_costs_well_under_a_millisecond():
    with ShellySim(Clock(), components=s3_components()) as sim, WebSocket(sim) as ws:
        whole, own = time.process_time(), time.thread_time()
        for cycle in range(CYCLES):
            for number in range(SETS):
                ws.send("Number.Set", {"id": 200 + number, "value": cycle % 100})
            for _ in range(2 * SETS):
                ws.read_frame()
        server_s = (time.process_time() - whole) - (time.thread_time() - own)
        assert sim.counters.rpc["Number.Set"] == CYCLES * SETS
        assert sim.counters.ws_frames_out == 2 * CYCLES * SETS
        assert server_s / CYCLES < 0.001


def test_history_is_bounded(clock):
    with ShellySim(clock, components=s3_components()) as sim:
        for value in range(HISTORY + 10):
            sim.write_as_other("number:200", value)
        assert len(sim.history) == HISTORY
        assert sim.history[-1].value == HISTORY + 9
