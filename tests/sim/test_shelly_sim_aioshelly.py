"""The Shelly simulator driven by aioshelly, the library behind Home Assistant's Shelly integration."""

from __future__ import annotations

import asyncio
import sys

import pytest

from bridge.clock import Clock
from bridge.sim.shelly import ShellySim, s3_components

pytestmark = pytest.mark.skipif(sys.version_info < (3, 11), reason="aioshelly needs Python 3.11")
PASSWORD = "open sesame"
TEN = tuple({"key": f"number:{200 + i}", "config": {"name": f"A number with a longer name {i}"}}
            for i in range(10))
LINES = [("1.7.4", None), ("1.7.4", PASSWORD), ("2.0.0", PASSWORD), ("2.0.1", None), ("2.0.1", PASSWORD)]


def drive(sim, story, password=None, wait_s=5.0):
    """Run ``story(device, updates)`` against an initialized aioshelly device."""
    from aiohttp import ClientSession
    from aioshelly.common import ConnectionOptions
    from aioshelly.rpc_device import RpcDevice

    async def run():
        options = ConnectionOptions("127.0.0.1", "admin" if password else None, password, port=sim.port,
                                    device_mac="AABBCCDDEEFF")
        async with ClientSession() as session:
            device = await RpcDevice.create(session, None, options)
            updates = asyncio.Queue()
            await device.initialize()
            device.subscribe_updates(lambda _, kind: updates.put_nowait(kind.name))
            try:
                return await asyncio.wait_for(story(device, updates), wait_s)
            finally:
                await device.shutdown()

    return asyncio.run(run())


@pytest.mark.parametrize("firmware, password", LINES)
def test_it_initializes_sets_and_hears_the_change(firmware, password):
    async def story(device, updates):
        assert device.initialized and device.firmware_supported
        assert device.requires_auth is (password is not None)
        assert await device.call_rpc("Number.Set", {"id": 203, "value": -8540}) is None
        await device.number_set(204, 11340)
        while device.status["number:204"]["value"] != 11340:
            assert await updates.get() == "STATUS"
        assert device.status["number:203"]["value"] == -8540
        assert device.status["number:203"]["source"] == "rpc"
        return device.config["number:203"]["meta"]["ui"]["unit"]

    with ShellySim(Clock(), firmware=firmware, password=password, components=s3_components()) as sim:
        assert drive(sim, story, password) == "W"
        assert sim.values[203] == -8540 and sim.values[204] == 11340
        assert sim.counters.http_requests == 0 and sim.counters.ws_connections == 1
        assert sim.counters.auth_challenges == (1 if password else 0)
    assert sim.counters.open_ws == 0


@pytest.mark.parametrize("firmware", ["1.7.4", "2.0.1"])
def test_wrong_password_is_reported_as_such(firmware):
    from aioshelly.exceptions import InvalidAuthError

    async def story(device, updates):
        pytest.fail("it must not get this far")

    with ShellySim(Clock(), firmware=firmware, password=PASSWORD) as sim:
        with pytest.raises(InvalidAuthError):
            drive(sim, story, "wrong")
        assert sim.counters.auth_failures == 1


def test_paging_shows_all_ten_components():
    async def story(device, updates):
        return sorted(key for key in device.status if key.startswith("number:"))

    with ShellySim(Clock(), components=TEN) as sim:
        assert drive(sim, story) == [f"number:{200 + i}" for i in range(10)]
        assert sim.counters.rpc["Shelly.GetComponents"] == 2


def test_stale_nonce_of_2_0_is_renewed_on_the_open_socket(clock):
    async def story(device, updates):
        await device.number_set(200, 1)
        clock.advance(3_700)
        await device.number_set(200, 2)

    with ShellySim(clock, firmware="2.0.1", password=PASSWORD, components=s3_components()) as sim:
        drive(sim, story, PASSWORD)
        assert sim.values[200] == 2
        assert sim.counters.auth_challenges == 2


def test_rpc_errors_arrive_as_rpc_errors():
    from aioshelly.exceptions import RpcCallError

    async def story(device, updates):
        with pytest.raises(RpcCallError) as caught:
            await device.number_set(201, 500)
        return caught.value.code

    with ShellySim(Clock(), components=s3_components()) as sim:
        assert drive(sim, story) == -103


def test_a_created_component_is_an_event_and_is_found():
    async def story(device, updates):
        await device.call_rpc("Virtual.Add", {"type": "boolean", "config": {"name": "fresh"}})
        assert await updates.get() == "EVENT"
        event = device.event["events"][0]
        assert (event["event"], event["target"]) == ("component_added", "boolean:200")
        await device.get_dynamic_components()
        await device.boolean_set(200, True)
        return device.config["boolean:200"]["name"]

    with ShellySim(Clock(), components=s3_components()) as sim:
        assert drive(sim, story) == "fresh"


def test_scripts_and_relays_are_reachable():
    async def story(device, updates):
        assert await device.supports_scripts()
        await device.switch_set(0, True)
        await device.script_create("helper")
        await device.script_putcode(1, "print('x');")
        await device.script_start(1)
        return (await device.script_list())[0]["running"], (await device.script_getcode(1))["data"]

    with ShellySim(Clock()) as sim:
        assert drive(sim, story) == (True, "print('x');")
        assert sim.device.relays.relays[0].on is True


def test_device_asking_the_client_gets_its_answer():
    async def story(device, updates):
        await device.update_status()
        sim.ask_clients(77, "Shelly.GetDeviceInfo")
        while not sim.client_replies:
            await asyncio.sleep(0.01)
        return sim.client_replies[0]["error"]["code"]

    with ShellySim(Clock()) as sim:
        assert drive(sim, story) == 500


def test_reboot_is_seen_as_a_disconnect():
    async def story(device, updates):
        sim.reboot()
        assert await updates.get() == "DISCONNECTED"

    with ShellySim(Clock(), components=s3_components()) as sim:
        drive(sim, story)


def test_another_mac_is_refused_by_the_library():
    from aioshelly.exceptions import MacAddressMismatchError

    async def story(device, updates):
        pytest.fail("it must not get this far")

    with ShellySim(Clock(), mac="112233445566") as sim, pytest.raises(MacAddressMismatchError):
        drive(sim, story)
