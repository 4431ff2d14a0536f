"""The simulated Envoy and Enlighten, judged by pyenphase, and pyenphase through our proxy."""

from __future__ import annotations

import asyncio
import ssl
import sys

import pytest

from bridge.clock import Clock
from bridge.errors import ConfigError
from bridge.sim.enphase_world import Account, EnphaseWorld
from tests.enphase_home import Home

pytestmark = pytest.mark.needs("openssl")


@pytest.fixture
def pyenphase(monkeypatch):
    """Return pyenphase, with the certificates of the interpreter's own default."""
    if sys.version_info < (3, 11):
        pytest.skip("pyenphase is for Python 3.11 and later")
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)
    import pyenphase

    return pyenphase


@pytest.fixture
def home(tmp_path):
    with Home(tmp_path) as place:
        yield place


def point_at(monkeypatch, home):
    from pyenphase.auth import EnvoyTokenAuth

    monkeypatch.setattr(EnvoyTokenAuth, "JSON_LOGIN_URL", home.cloud.url + "/login/login.json?")
    monkeypatch.setattr(EnvoyTokenAuth, "TOKEN_URL", home.cloud.url + "/tokens")


async def visit(pyenphase, host, authenticate):
    """Do what Home Assistant does: set up, authenticate, probe, update twice."""
    envoy = pyenphase.Envoy(host)
    envoy.set_retry_policy(max_attempts=1, wait_multiplier=0)
    try:
        await envoy.setup()
        await authenticate(envoy)
        await envoy.probe()
        await envoy.update()
        data = await envoy.update()
        return envoy, data, await envoy.interface_settings()
    finally:
        await envoy.close()


def with_password(home, password=None):
    async def authenticate(envoy):
        await envoy.authenticate(home.world.account.username, password or home.world.account.password)

    return authenticate


def through_proxy(envoy):
    """Authenticate as a client of the proxy does: not at all."""
    from pyenphase.auth import EnvoyAuth

    class Nothing(EnvoyAuth):
        def __init__(self, host):
            self._host = host

        async def setup(self, client):
            """Nothing to set up."""

        cookies = property(lambda self: {})
        auth = property(lambda self: None)
        headers = property(lambda self: {})

        def get_endpoint_url(self, endpoint):
            return f"http://{self._host}{endpoint}"

    async def ready():
        envoy.auth = Nothing(envoy.host)

    return ready()


def check_full(envoy, data, interface):
    features = type(envoy.supported_features)
    wanted = (features.INVERTERS | features.DETAILED_INVERTERS | features.METERING | features.PRODUCTION
              | features.TOTAL_CONSUMPTION | features.NET_CONSUMPTION | features.CTMETERS | features.TARIFF)
    assert envoy.supported_features & wanted == wanted
    assert str(envoy.firmware) == "8.2.4345" and envoy.serial_number == "122300000001" and envoy.is_metered
    assert data.system_production.watts_now == 4200 and data.system_consumption.watts_now == 1100
    assert data.system_net_consumption.watts_now == -3100 and data.ctmeter_production.active_power == 4200
    assert len(data.inverters) == 12 and sum(each.last_report_watts for each in data.inverters.values()) == 4200
    assert data.tariff.currency == {"code": "AUD"} and interface.mac == "00:1D:C0:00:00:01"


def test_pyenphase_probes_and_updates_against_the_simulator(monkeypatch, pyenphase, home):
    point_at(monkeypatch, home)
    envoy, data, interface = asyncio.run(visit(pyenphase, f"127.0.0.1:{home.device.port}", with_password(home)))
    check_full(envoy, data, interface)
    assert envoy.auth.token_type == "owner" and envoy.auth.cookies == {"sessionId": "simulated"}
    assert envoy.auth.expire_timestamp == int(next(iter(home.world.tokens.values())).expires_at)


def test_pyenphase_probes_and_updates_through_the_proxy_without_a_token(pyenphase, home):
    envoy, data, interface = asyncio.run(visit(pyenphase, home.proxy(), through_proxy))
    check_full(envoy, data, interface)
    assert home.cloud.count("/login/login.json") == 1


def test_pyenphase_sees_the_same_raw_data_on_both_ways(monkeypatch, pyenphase, home):
    point_at(monkeypatch, home)
    home.world.inverters_at = 1_795_224_000.0
    monkeypatch.setattr(home.device, "now", lambda: 1_795_224_659.0)
    monkeypatch.setattr(home.world, "user_of", lambda authorization, now: "owner" if "Bearer ey" in authorization else None)
    direct = asyncio.run(visit(pyenphase, f"127.0.0.1:{home.device.port}", with_password(home)))[1]
    proxied = asyncio.run(visit(pyenphase, home.proxy(), through_proxy))[1]
    assert direct.raw == proxied.raw and len(direct.raw) >= 5


def test_pyenphase_reads_an_envoy_without_meters(monkeypatch, pyenphase, tmp_path):
    with Home(tmp_path, metered=False, ct=False) as home:
        point_at(monkeypatch, home)
        envoy, data, _ = asyncio.run(visit(pyenphase, f"127.0.0.1:{home.device.port}", with_password(home)))
        assert data.system_production.watts_now == 4200 and not envoy.is_metered and envoy.ct_meter_count == 0


def test_pyenphase_names_a_wrong_password_and_a_second_factor(monkeypatch, pyenphase, tmp_path):
    for account, password, text in ((Account(), "wrong", "Unable to login"), (Account(mfa=True), None, "Multi Factor")):
        with Home(tmp_path, account=account) as home:
            point_at(monkeypatch, home)
            with pytest.raises(pyenphase.EnvoyAuthenticationError, match=text):
                asyncio.run(visit(pyenphase, f"127.0.0.1:{home.device.port}", with_password(home, password)))


@pytest.mark.parametrize("spoil", ["revoke", "refuse", "clock"])
def test_pyenphase_takes_a_refused_token_for_one(monkeypatch, pyenphase, home, spoil):
    point_at(monkeypatch, home)

    async def go():
        envoy = pyenphase.Envoy(f"127.0.0.1:{home.device.port}")
        try:
            await envoy.setup()
            await with_password(home)(envoy)
            await envoy.update()
            home.device.fault(spoil, **({"s": 400 * 86400.0} if spoil == "clock" else {}))
            with pytest.raises(pyenphase.EnvoyAuthenticationRequired):
                await envoy.update()
        finally:
            await envoy.close()

    asyncio.run(go())


def test_a_certificate_of_its_own_that_changes_when_told(home):
    def seen():
        return ssl.get_server_certificate(("127.0.0.1", home.device.port))

    first = seen()
    assert seen() == first
    home.device.fault("certificate")
    assert seen() != first


def test_unknown_faults_are_named(home):
    with pytest.raises(ConfigError, match="certificate"):
        home.sim.fault("nonsense")
    with pytest.raises(ConfigError, match="cloud-down"):
        home.sim.fault("cloud-nonsense")


def test_a_token_is_of_the_shape_that_pyenphase_decodes(pyenphase):
    import jwt

    world = EnphaseWorld()
    text = world.issue(Clock().now())
    claims = jwt.decode(text, options={"verify_signature": False})
    assert jwt.get_unverified_header(text)["alg"] == "ES256"
    assert claims["enphaseUser"] == "owner" and claims["aud"] == world.serial and claims["exp"] > claims["iat"]
