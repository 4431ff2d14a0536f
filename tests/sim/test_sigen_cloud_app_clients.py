"""Other people's clients of the app's API against the simulated one: PyPI sigen and sigenergy-cloud."""

from __future__ import annotations

import asyncio
import json
import logging
import sys

import pytest

from bridge.clock import Clock
from bridge.sim.sigen_cloud import SigenCloudSim
from tests.peers.app_bench import PASSWORD, STATION, USER

if sys.version_info < (3, 11):
    pytest.skip("sigen and sigenergy-cloud: no release for this Python, see setup.cfg", allow_module_level=True)

import aiohttp
import sigenergy_cloud
from sigenergy_cloud import regions

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # theirs, of aiohttp's login helper
BROWSER = {"User-Agent": "Mozilla/5.0 (X11; Linux x86_64)"}
HOME = "ABCDE1700000001"


@pytest.fixture
def sim():
    with SigenCloudSim(Clock()) as simulator:
        yield simulator


@pytest.fixture
def region(sim, monkeypatch):
    monkeypatch.setitem(regions.REGION_BASE_URLS, "loopback", f"{sim.base_url}/")
    return "loopback"


def with_client(work, region, password=PASSWORD, headers=BROWSER):
    """Run ``work(client)`` with sigenergy-cloud."""

    async def run():
        async with aiohttp.ClientSession(headers=headers) as session:
            client = sigenergy_cloud.SigenergyCloudClient(USER, password, region=region, session=session)
            await client.connect()
            return await work(client)

    return asyncio.run(run())


def test_sigenergy_cloud_logs_in_and_reads_station_flow_and_modes(sim, region):
    async def work(client):
        flow = await client.energy_flow()
        return client.station_id, flow, await client.available_operational_modes(), await (
            client.current_operational_mode())

    station, flow, modes, current = with_client(work, region)
    assert station == str(STATION) and current == "Maximum Self-Powered"
    assert (flow["pvPower"], flow["buySellPower"], flow["batterySoc"]) == (3.4, 1.1, 57.2)
    assert len(modes["defaultWorkingModes"]) == 4 and modes["energyProfileItems"][0]["profileId"] == 77


def test_sigenergy_cloud_sets_a_mode_and_a_profile(sim, region):
    async def work(client):
        labels = []
        for mode, profile in ((2, -1), (9, 77)):
            await client.set_operational_mode(mode, profile)
            labels.append(await client.current_operational_mode())
        return labels

    assert with_client(work, region) == ["TOU", "Night charge"]
    assert sim.world.stations[HOME].mode == 9


def test_sigenergy_cloud_overrides_by_hand(sim, region):
    async def work(client):
        await client.set_instant_manual_control("0", duration_minutes=30, power_limitation_kw=2.5)
        on = await client.instant_manual_control()
        await client.disable_instant_manual_control()
        return on, await client.instant_manual_control()

    on, off = with_client(work, region)
    assert on.enabled and on.mode.value == "0" and on.end_time > 1_000_000_000
    assert not off.enabled and off.mode is None


def test_sigenergy_cloud_renews_its_token_when_the_service_rotates_it(sim, region):
    async def work(client):
        sim.app_world.lifetime_s = 43199.0
        client._auth._tokens = client._auth._tokens.__class__(
            client._auth._tokens.access_token, client._auth._tokens.refresh_token, 0.0)
        return await client.energy_flow()

    assert with_client(work, region)["pvPower"] == 3.4
    assert [entry.body.decode().split("grant_type=")[1].split("&")[0] for entry in sim.log
            if entry.endpoint == "appLogin"] == ["password", "refresh_token"]


def test_sigenergy_cloud_takes_a_wrong_password_and_a_limit_for_what_they_are(sim, region):
    async def work(client):
        return await client.energy_flow()

    with pytest.raises(sigenergy_cloud.SigenergyCloudError):
        with_client(work, region, password="wrong")
    sim.fail("appFlowAsync", "status", status=429)
    with pytest.raises(sigenergy_cloud.SigenergyCloudRateLimitError):
        with_client(work, region)


def test_the_firewall_stops_a_client_that_names_its_library_as_in_life(sim, region):
    with pytest.raises(sigenergy_cloud.SigenergyCloudAuthError, match="403"):
        with_client(lambda client: client.energy_flow(), region, headers={})


@pytest.fixture
def sigen():
    """Return the package; importing it sets up logging for the whole process, which is undone."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    import sigen

    root.handlers[:] = handlers
    root.setLevel(level)
    return sigen


OLDER = pytest.mark.skipif(sys.version_info >= (3, 12), reason="sigen 0.1 is what pip takes below Python 3.12")
NEWER = pytest.mark.skipif(sys.version_info < (3, 12), reason="sigen 3 needs Python 3.12")


@OLDER
def test_sigen_of_the_older_paths_logs_in_reads_and_sets(sim, sigen):
    """It opens sessions of its own, with the library's agent: the firewall has to be off for it."""
    sim.firewall = False
    sim.app_world.homes[STATION].mode_api = "v0"

    async def work():
        client = sigen.Sigen(USER, PASSWORD, "eu")
        client.BASE_URL = f"{sim.base_url}/"
        await client.async_initialize()
        flow, before = await client.get_energy_flow(), await client.get_operational_mode()
        await client.set_operational_mode(5)
        return client.station_id, flow, before, await client.get_operational_mode(), client.operational_modes

    station, flow, before, after, modes = asyncio.run(work())
    assert station == STATION and flow["batteryPower"] == 1.4
    assert (before, after) == ("Maximum Self-Powered", "Fully Fed to Grid") and len(modes) == 4
    assert sim.world.stations[HOME].mode == 5
    assert json.loads(next(one for one in sim.log if one.endpoint == "appSetModeV0").body)["operationMode"] == 5


@NEWER
def test_sigen_of_the_newer_paths_passes_the_firewall_and_works_modes_and_loads(sim, sigen):
    """It sends what the web app sends: agent, scope, device id, more headers."""
    sim.app_world.homes[STATION].mode_api = "v3"

    async def work():
        client = sigen.Sigen(USER, PASSWORD, "eu")
        client.BASE_URL = f"{sim.base_url}/"
        await client.async_initialize()
        flow, before = await client.get_energy_flow(), await client.get_operational_mode()
        await client.set_operational_mode_night_charge()
        after = await client.get_operational_mode()
        await client.set_smart_load_state(1, 1)
        await client.refresh_access_token()
        return client.station_id, flow, before, after, await client.get_smart_loads()

    station, flow, before, after, loads = asyncio.run(work())
    assert str(station) == str(STATION) and flow["pvPower"] == 3.4
    assert (before, after) == ("Maximum Self-Powered", "Night charge")
    assert {load["path"]: load["todayConsumption"] for load in loads if "path" in load} == {1: "1.20 kWh", 2: "1.20 kWh"}
    assert sim.app_world.homes[STATION].loads[0].on and len(sim.app_world.device_ids) == 1
