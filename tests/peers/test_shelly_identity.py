"""What a Shelly tells everybody, and how much room it has."""

from __future__ import annotations

import http.server
import threading

import pytest

from bridge.clock import Clock
from bridge.link.lan import LanHttp
from bridge.peers.shelly_identity import Identity, free_slots, identify
from bridge.sim.shelly import ShellySim
from bridge.wiring_sim import five_components


def http_to(port):
    return LanHttp("shelly", "127.0.0.1", port, Clock())


@pytest.fixture
def told():
    """Return a function that serves a fixed answer to every GET and gives its port."""
    servers = []

    def serve(status, body):
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args):
                return

        server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        servers.append(server)
        return server.server_address[1]

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


def test_a_shelly_says_who_it_is_without_a_password():
    with ShellySim(Clock(), name="Kitchen", password="secret") as shelly:
        who = identify(http_to(shelly.port))
        assert who == Identity("shellypro2-aabbccddeeff", "AABBCCDDEEFF", "Kitchen", "SPSW-202XE16EU", "Pro2", 2,
                               "1.7.4", True)
        assert free_slots(http_to(shelly.port)) is None


def test_free_slots_are_what_is_left_of_ten():
    with ShellySim(Clock(), components=five_components()) as shelly:
        assert free_slots(http_to(shelly.port)) == 5
    with ShellySim(Clock()) as shelly:
        assert free_slots(http_to(shelly.port)) == 10
    numbers = [f"number:{200 + index}" for index in range(10)]
    with ShellySim(Clock(), components=numbers) as shelly:
        assert free_slots(http_to(shelly.port)) == 0


def test_a_first_generation_shelly_is_recognised(told):
    port = told(200, b'{"type":"SHSW-25","mac":"aabbccb929cc","auth":true,"fw":"20230913-112234/v1.14.0-gcb84623","longid":1}')
    assert identify(http_to(port)) == Identity("", "AABBCCB929CC", "", "SHSW-25", "", 1, "20230913-112234/v1.14.0-gcb84623", True)


@pytest.mark.parametrize(("status", "body"), [
    (404, b"not found"), (200, b"<html>printer</html>"), (200, b"[1]"), (200, b'{"mac":5}'), (200, b"{}"), (401, b""),
])
def test_others_are_no_shelly(told, status, body):
    assert identify(http_to(told(status, body))) is None


def test_an_address_where_nobody_answers_is_no_shelly():
    with ShellySim(Clock()) as shelly:
        shelly.fault("offline_refused")
        assert identify(http_to(shelly.port)) is None
