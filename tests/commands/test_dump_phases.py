"""``dump --phases``: the table, what cannot be true, and a Pro 3EM to compare with."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from bridge.clock import Clock
from bridge.sim.plant import PlantSim
from tests.commands.conftest import one_line, until
from tests.ports import free_port

INFO = {"id": "shellypro3em-aabbccddeeff", "mac": "AABBCCDDEEFF", "model": "SPEM-003CEBEU", "gen": 2, "ver": "1.7.4",
        "app": "Pro3EM", "auth_en": False, "name": None}


@pytest.fixture
def meter():
    """Yield a function that starts a 3EM with these phases and returns its address."""
    servers = []

    def start(a, b, c, errors=()):
        status = {"id": 0, "a_act_power": a, "b_act_power": b, "c_act_power": c, "total_act_power": a + b + c,
                  "errors": list(errors)}

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_error(404)  # no WebSocket

            def do_POST(self):
                call = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                told = {"Shelly.GetDeviceInfo": INFO, "EM.GetStatus": status}[call["method"]]
                body = json.dumps({"id": call["id"], "src": INFO["id"], "result": told}).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args):
                pass

        server = HTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"127.0.0.1:{server.server_address[1]}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def dump(bridge, plant, *words):
    done = bridge("dump", "--phases", "--json", "--host", f"127.0.0.1:{plant.port}", "--status-listen", "off", *words)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_phases_of_a_healthy_plant_agree(bridge, plant):
    told = dump(bridge, plant)
    assert told["findings"] == [] and told["grid_w"] == 8540
    assert [row["phase"] for row in told["phases"]] == ["A", "B", "C"]
    assert all(row["house_w"] == row["grid_w"] + row["inverter_w"] for row in told["phases"])
    assert all(row["inverter_v"] > 200 and row["meter_w"] is None for row in told["phases"])
    text = bridge("dump", "--phases", "--host", f"127.0.0.1:{plant.port}").stdout
    assert text.splitlines()[0].split()[:4] == ["phase", "grid", "inverter", "house"]
    assert text.rstrip().endswith("the phases agree")


def test_a_turned_clamp_is_named_with_its_phase(bridge, plant):
    plant.fault("phase_turned", phase=1)
    told = dump(bridge, plant)
    assert [(each["code"], each["phase"]) for each in told["findings"]] == [("phase_sign", 1)]
    assert told["phases"][1]["findings"] == ["phase_sign"]


def test_the_sign_setting_turns_all_three_and_nothing_is_found(bridge, plant):
    plant.fault("inverted_grid")
    assert dump(bridge, plant, "--modbus-grid-sign", "inverted")["findings"] == []


def test_a_pro_3em_shows_swapped_phases(bridge, plant, meter):
    plant.fault("phase_shift", w=1500)
    assert dump(bridge, plant, "--em", meter(4340, 1345, 2842))["findings"] == []
    swapped = dump(bridge, plant, "--em", meter(1345, 4340, 2842))
    assert [each["code"] for each in swapped["findings"]] == ["phase_swap"]
    assert swapped["meter_w"] == 8527


def test_a_pro_3em_shows_a_phase_of_another_size_and_its_own_errors(bridge, plant, meter):
    told = dump(bridge, plant, "--em", meter(2841, 1200, 2842, ["phase_sequence"]))
    assert [(each["code"], each["phase"]) for each in told["findings"]] == [("phase_size", 1), ("phase_sequence", None)]


def test_an_old_firmware_without_the_registers_shows_unknown_and_no_finding(bridge):
    with PlantSim(Clock(), scenario="s3") as old:
        old.fault("exception_on", address=30052)
        told = dump(bridge, old)
    assert told["phases"][0]["grid_w"] is None and told["phases"][0]["house_w"] is None
    assert told["findings"] == []


def test_em_without_phases_is_refused(bridge, plant):
    done = bridge("dump", "--em", "127.0.0.1:1", "--host", f"127.0.0.1:{plant.port}")
    assert done.returncode == 2 and "--phases" in one_line(done.stderr)


def test_a_meter_that_is_away_is_said(bridge, plant):
    done = bridge("dump", "--phases", "--em", "127.0.0.1:1", "--host", f"127.0.0.1:{plant.port}")
    assert done.returncode == 3 and "127.0.0.1:1" in one_line(done.stderr)


def test_a_running_bridge_tells_the_phases_over_its_one_connection(bridge, plant):
    listen = f"127.0.0.1:{free_port()}"
    common = ["--host", f"127.0.0.1:{plant.port}", "--status-listen", listen]
    bridge.start("run", *common)
    assert until(lambda: bridge("status", "--status-listen", listen).returncode == 0, 20)
    done = bridge("dump", "--phases", *common)
    assert done.returncode == 0 and done.stderr == "" and "the phases agree" in done.stdout
    assert plant.counters.connections == 1
