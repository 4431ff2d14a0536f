"""The Shelly client: which road it takes, whom it talks to, and how it names what went wrong."""

from __future__ import annotations

import http.server
import json
import threading
from pathlib import Path

import pytest

from bridge.errors import AuthError, ConfigError, LinkError, PeerError, RateLimited, Rejected, ShellyError
from bridge.peers.shelly import ShellyClient, random_part
from bridge.peers.shelly_components import Component, not_ours, read_components
from bridge.sim.shelly import ShellySim, s3_components
from bridge.values import plain_mac

TIMEOUT_S = 0.5
FIXTURES = Path(__file__).parent.parent / "fixtures"


@pytest.fixture
def sim(clock):
    with ShellySim(clock, components=s3_components(), name="Kitchen") as device:
        yield device


@pytest.fixture
def clients(clock):
    made = []

    def make(where, transport="ws", **options):
        address = where if isinstance(where, str) else where.address
        client = ShellyClient(address, clock, options.pop("password", None), transport,
                              options.pop("mac", ""), TIMEOUT_S)
        made.append(client)
        return client

    yield make
    for client in made:
        client.close()


class Web:
    """Any web server that is no Shelly of Gen2 or later."""

    def __init__(self, status, media, body):
        class Handler(http.server.BaseHTTPRequestHandler):
            def answer(self):
                self.send_response(status)
                self.send_header("Content-Type", media)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_POST = answer

            def log_message(self, *args):
                """Be quiet."""

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self):
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def web():
    made = []

    def make(*answer):
        made.append(Web(*answer))
        return made[-1]

    yield make
    for server in made:
        server.stop()


@pytest.mark.parametrize("transport", ["ws", "http", "script", "auto"])
def test_it_says_who_answers(sim, clients, transport):
    client = clients(sim, transport)
    assert client.open() is True and client.open() is False
    device = client.device
    assert (device.mac, device.gen, device.version, device.name) == ("AABBCCDDEEFF", 2, "1.7.4", "Kitchen")
    assert client.transport == {"auto": "ws"}.get(transport, transport)


def test_abilities_are_looked_at_once(sim, clients):
    client = clients(sim)
    for _ in range(3):
        client.open()
        client.close()
    assert sim.counters.rpc["Shelly.ListMethods"] == 1 and sim.counters.rpc["Shelly.GetDeviceInfo"] == 3


def test_auto_without_the_library_goes_by_http(sim, clients, monkeypatch, caplog):
    caplog.set_level("INFO")
    monkeypatch.setattr("bridge.peers.shelly.available", lambda: False)
    client = clients(sim, "auto")
    client.open()
    assert client.transport == "http" and not client.degraded
    assert "websocket-client is not installed" in caplog.text


def test_a_forced_websocket_does_not_fall_back(sim, clients):
    sim.fault("ws_refused")
    with pytest.raises(LinkError, match="no WebSocket at /rpc"):
        clients(sim, "ws").open()
    assert sim.counters.rpc["Shelly.GetDeviceInfo"] == 0


def test_a_websocket_that_opens_but_answers_nothing_gives_way_to_http_in_the_same_attempt(sim, clients):
    sim.fault("ws_half_open")
    client = clients(sim, "auto")
    client.open()
    assert client.transport == "http" and client.degraded


def test_a_device_that_is_off_is_not_held_against_the_websocket(sim, clients, clock):
    client = clients(sim, "auto")
    sim.fault("offline_refused")
    with pytest.raises(LinkError, match="refused"):
        client.open()
    sim.clear()
    client.open()
    assert client.transport == "ws"


def test_a_web_page_is_no_shelly(web, clients):
    page = web(200, "text/html", b"<html>router</html>")
    with pytest.raises(PeerError, match="a web page; it is not a Shelly of Gen2 or later"):
        clients(page, "auto").open()


def test_a_first_generation_shelly_is_named(web, clients):
    with pytest.raises(PeerError, match="refused with 404"):
        clients(web(404, "text/plain", b"Not Found"), "http").open()


def test_json_of_another_kind_is_no_shelly(web, clients):
    with pytest.raises(PeerError, match="not JSON|another call|not a Shelly"):
        clients(web(200, "application/json", b'{"id":1,"result":{"type":"SHSW-1"}}'), "http").open()


def test_a_device_without_virtual_components_is_told_by_the_model_rule(clock, clients):
    with ShellySim(clock, gen=2, model="SNSW-001X16EU", app="Plus1") as plus:
        with pytest.raises(ShellyError, match="SNSW-001X16EU.*no Number.Set.*Gen3, Gen4 or Gen2 Pro") as caught:
            clients(plus).open()
        assert caught.value.exit_code == 5


def test_another_mac_is_refused_before_anything_is_written(sim, clients):
    with pytest.raises(ShellyError, match="is AABBCCDDEEFF, not 112233445566; nothing is written"):
        clients(sim, mac="11:22:33:44:55:66").set_values([("number:200", 1)])
    assert sim.counters.rpc["Number.Set"] == 0


@pytest.mark.parametrize("transport", ["ws", "http"])
def test_refusals_are_grouped_by_who_acts(sim, clients, transport):
    client = clients(sim, transport)
    refusals = client.set_values([("number:200", 5), ("number:299", 1), ("number:201", 7.5)])
    assert list(refusals) == ["number:299"]
    assert isinstance(refusals["number:299"], Rejected) and refusals["number:299"].code == -105
    assert sim.values[200] == 5 and sim.values[201] == 7.5
    with pytest.raises(Rejected, match="404"):
        client.call("No.Such", {})
    sim.fault("rate_limited")
    assert isinstance(client.set_values([("number:200", 6)])["number:200"], RateLimited)
    sim.clear()
    sim.fault("http_500", method="Sys.GetStatus")
    with pytest.raises(PeerError, match="500"):
        client.call("Sys.GetStatus", {})


@pytest.mark.parametrize("transport", ["ws", "http"])
def test_null_is_success(sim, clients, transport):
    assert clients(sim, transport).call("Number.Set", {"id": 200, "value": 1}) is None


def test_text_and_boolean_are_set_too_and_quotes_survive(clock, clients):
    with ShellySim(clock, components=("text:200", "boolean:200")) as sim:
        for transport in ("ws", "http"):
            text = f'stale: "no answer" – é {transport}'
            assert clients(sim, transport).set_values([("text:200", text), ("boolean:200", True)]) == {}
            assert sim.device.components.by_key["text:200"].value == text
            assert sim.device.components.by_key["boolean:200"].value is True


def test_a_lost_reply_is_an_error_and_the_next_call_connects_again(sim, clients):
    client = clients(sim)
    client.open()
    sim.fault("drop_after", method="Number.Set", count=1)
    with pytest.raises(LinkError):
        client.set_values([("number:200", 5)])
    assert client.set_values([("number:200", 6)]) == {} and sim.values[200] == 6


def test_a_late_reply_is_never_taken_for_another(sim, clients):
    client = clients(sim)
    client.open()
    sim.fault("slow", delay_s=0.7, method="Sys.GetStatus", count=1)
    with pytest.raises(LinkError):
        client.call("Sys.GetStatus", {})
    assert "mac" in client.call("Shelly.GetDeviceInfo", {})


def test_a_request_of_the_device_is_refused_politely(sim, clients):
    client = clients(sim)
    client.open()
    sim.ask_clients(7, "Shelly.Something")
    client.call("Sys.GetStatus", {})
    client.call("Sys.GetStatus", {})
    assert [(reply["id"], reply["error"]["code"]) for reply in sim.client_replies] == [(7, 500)]


def test_what_others_write_is_news_and_what_we_write_is_not(sim, clients):
    client = clients(sim)
    client.set_values([("number:203", -8540), ("number:201", 15.0)])
    sim.write_as_other("number:203", 42)
    for _ in range(100):
        news = client.news().values
        if news:
            break
        client.call("Sys.GetStatus", {})
    assert news == [("number:203", 42)]


def test_a_changed_configuration_is_news(sim, clients):
    client = clients(sim)
    client.open()
    client.call("Number.SetConfig", {"id": 200, "config": {"name": "Sun"}})
    client.call("Sys.GetStatus", {})
    assert client.news().reconfigured is True and client.news().reconfigured is False


def test_components_come_in_pages_and_all_are_read(clock, clients):
    long = [{"key": f"number:{200 + i}", "config": {"name": "n" * 60, "meta": {"ui": {"icon": "https://x/" + "i" * 90}}}}
            for i in range(10)]
    with ShellySim(clock, components=long) as sim:
        client = clients(sim)
        found = read_components(client.call)
        assert sorted(found) == sorted(each["key"] for each in long)
        assert sim.counters.rpc["Shelly.GetComponents"] > 1
        assert list(read_components(client.call, ["number:203", "number:299"])) == ["number:203"]


def test_an_old_firmware_that_ignores_keys_is_read_all_the_same():
    rows = [{"key": f"number:{200 + i}", "config": {}, "status": {"value": i}} for i in range(8)]

    def call(method, params):
        start = params.get("offset", 0)
        return {"components": rows[start:start + 3], "offset": start, "total": len(rows)}

    assert read_components(call, ["number:206"])["number:206"].value == 6


@pytest.mark.parametrize("answer", [None, [], {}, {"components": 5}])
def test_an_answer_without_components_is_a_peer_error(answer):
    with pytest.raises(PeerError, match="without a list of components"):
        read_components(lambda method, params: answer)


def test_captured_components_of_a_service_are_not_ours():
    recorded = json.loads((FIXTURES / "shelly-real.json").read_text("utf-8"))
    rows = [row for item in recorded["items"] for row in item.get("components", ())]
    assert len(rows) >= 5
    found = read_components(lambda method, params: {"components": rows, "total": len(rows)})
    for component in found.values():
        assert not_ours(component, "W").endswith("belongs to service:0")


def test_ours_is_what_has_no_owner_our_unit_and_may_be_written():
    config = {"owner": "", "access": "*", "meta": {"ui": {"unit": "W"}}}
    assert not_ours(Component("number:200", config, 0, ""), "W") is None
    assert "in W, not in %" in not_ours(Component("number:200", config, 0, ""), "%")
    assert "read-only" in not_ours(Component("number:200", {**config, "access": "cr"}, 0, ""), "W")
    assert not_ours(Component("text:200", {}, "", ""), None) is None


@pytest.mark.parametrize("transport", ["ws", "http"])
def test_a_password_that_is_missing_is_asked_for(clock, clients, transport):
    with ShellySim(clock, components=s3_components(), password="pw") as sim:
        client = clients(sim, transport)
        with pytest.raises(AuthError, match="shelly.password is not set"):
            client.open()


def test_no_password_is_in_any_error_or_repr(clock, clients):
    with ShellySim(clock, components=s3_components(), password="right", firmware="2.0.1") as sim:
        client = clients(sim, password="topsecret")
        with pytest.raises(AuthError) as caught:
            client.open()
        assert "topsecret" not in str(caught.value) + repr(client) + repr(vars(client))


@pytest.mark.parametrize("host, words", [
    ("", "no Shelly is configured"), ("  ", "no Shelly is configured"), ("x:99999", "not host or host:port"),
])
def test_a_missing_or_bad_host_is_a_configuration_error(clock, host, words):
    with pytest.raises(ConfigError, match=words):
        ShellyClient(host, clock)


def test_an_unknown_transport_is_a_configuration_error(clock):
    with pytest.raises(ConfigError, match="not one of auto, ws, http, script"):
        ShellyClient("x", clock, transport="mqtt")


def test_a_mac_is_compared_in_any_spelling():
    assert {plain_mac(text) for text in ("aa:bb:cc:dd:ee:ff", "AA-BB-CC-DD-EE-FF", "aabbccddeeff")} == {"AABBCCDDEEFF"}


def test_jitter_is_between_nothing_and_one():
    assert all(0 <= random_part() < 1 for _ in range(200))


def test_a_websocket_user_does_not_pay_for_http(sim):
    """The HTTP client is 5 MiB; only the road that needs it imports it."""
    import subprocess
    import sys

    code = (
        "import sys\nfrom bridge.clock import Clock\nfrom bridge.peers.shelly import ShellyClient\n"
        f"c = ShellyClient('{sim.address}', Clock(), transport='ws')\nc.open()\nc.close()\n"
        "print([m for m in ('bridge.link.lan', 'requests', 'dataclasses', 'asyncio') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True,
                          cwd=Path(__file__).parent.parent.parent)
    assert done.stdout.strip() == "[]"
