"""aioshelly, the library behind Home Assistant, works on the same Shelly beside us all the time."""

from __future__ import annotations

import asyncio
import sys

import pytest

from bridge.clock import Clock
from bridge.faultlog import FaultLog
from bridge.peers.shelly import ShellyClient
from bridge.sim.shelly import ShellySim
from bridge.sinks.relays import Order, RelayDevice

pytestmark = pytest.mark.skipif(sys.version_info < (3, 11), reason="aioshelly needs Python 3.11")
PASSWORD = "open sesame"
ROUNDS = 12


def beside_us(sim, device, clock):
    """Let aioshelly switch output 1 to and fro while we hold output 0; returns what it was told each time."""
    from aiohttp import ClientSession
    from aioshelly.common import ConnectionOptions
    from aioshelly.rpc_device import RpcDevice

    async def run():
        options = ConnectionOptions("127.0.0.1", "admin", PASSWORD, port=sim.port, device_mac="AABBCCDDEEFF")
        seen = []
        async with ClientSession() as session:
            other = await RpcDevice.create(session, None, options)
            await other.initialize()
            try:
                for number in range(ROUNDS):
                    on = number % 2 == 0
                    device.keep("ours", True)
                    await other.call_rpc("Switch.Set", {"id": 1, "on": on})
                    await asyncio.sleep(0.15)
                    status = await other.call_rpc("Switch.GetStatus", {"id": 1})
                    seen.append(status["output"] == on)
                    await other.update_status()
                    assert other.status["switch:0"]["output"] is True
            finally:
                await other.shutdown()
        return seen

    return asyncio.run(asyncio.wait_for(run(), 30))


@pytest.mark.timing
@pytest.mark.parametrize("firmware, transport", [("2.0.0", "http"), ("2.0.0", "ws"), ("2.0.1", "http"), ("1.7.4", "http")])
def test_no_update_is_lost_and_nobody_is_locked_out(firmware, transport):
    clock = Clock()
    with ShellySim(clock, firmware=firmware, password=PASSWORD) as sim:
        client = ShellyClient(sim.address, clock, PASSWORD, transport, needed=())
        device = RelayDevice(client, {"ours": 0, "theirs": 1}, clock, FaultLog(clock, "loads.ours"), 1.0, 0.1)
        device.start()
        device.order("ours", Order(True, clock.monotonic()))
        while "ours" not in device.seen():
            clock.wait(0.02)
        assert all(beside_us(sim, device, clock)), "what aioshelly sets stays set"
        assert device.seen()["ours"].on is True
        clock.wait(0.3)
        assert device.seen()["theirs"].on is False, "we see what it did last"
        device.close()
        own = [written for written in sim.history if written.key == "switch:0"]
        theirs = [written for written in sim.history if written.key == "switch:1"]
        assert {written.value for written in own} == {True} and len(own) >= 3, "renewed all the time"
        assert [written.value for written in theirs] == [number % 2 == 0 for number in range(ROUNDS)]
        assert sim.counters.auth_failures == 0 and sim.counters.auth_throttled == 0
        assert sim.counters.auth_challenges <= 4, "one login each, not one a call"


@pytest.mark.timing
def test_a_hand_through_aioshelly_wins_over_us():
    """Home Assistant switches off what we hold: our renewals must not bring it back."""
    from aiohttp import ClientSession
    from aioshelly.common import ConnectionOptions
    from aioshelly.rpc_device import RpcDevice

    async def off(port):
        options = ConnectionOptions("127.0.0.1", "admin", PASSWORD, port=port, device_mac="AABBCCDDEEFF")
        async with ClientSession() as session:
            other = await RpcDevice.create(session, None, options)
            await other.initialize()
            await other.call_rpc("Switch.Set", {"id": 0, "on": False})
            await other.shutdown()

    clock = Clock()
    with ShellySim(clock, firmware="2.0.0", password=PASSWORD) as sim:
        client = ShellyClient(sim.address, clock, PASSWORD, "http", needed=())
        device = RelayDevice(client, {"ours": 0}, clock, FaultLog(clock, "loads.ours"), 1.0, 0.1)
        device.start()
        device.order("ours", Order(True, clock.monotonic()))
        while not sim.device.relays.relays[0].on:
            clock.wait(0.02)
        asyncio.run(off(sim.port))
        for _ in range(20):
            device.keep("ours", True)
            clock.wait(0.1)
        assert not sim.device.relays.relays[0].on and device.seen()["ours"].on is False
        device.close()
