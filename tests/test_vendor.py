"""Another vendor is one file: plan, dump and run work with it at once."""

from __future__ import annotations

import json
import socketserver
import struct
import threading

import pytest

from bridge.registers import decode, encode, vendor_from
from bridge.registers.plan import TCP_COST, plan
from tests.commands.conftest import bridge  # noqa: F401  (the fixture)
from tests.fixtures import eastron

VENDOR = vendor_from(eastron)
WIRE = {0: 230.5, 12: 1200.0, 52: 1234.5}  # what the meter has, by the number on the wire


class Meter(socketserver.BaseRequestHandler):
    """Answers function 4 at unit 1 as the meter's document says; anything else is exception 2."""

    def handle(self):
        while True:
            head = self.request.recv(12)
            if len(head) < 12:
                return
            transaction, _, _, unit, function, address, count = struct.unpack(">HHHBBHH", head)
            words = b"".join(struct.pack(">f", WIRE.get(at, 0.0)) for at in range(address, address + count, 2))
            known = unit == 1 and function == 4 and (address + count <= 36 or (address == 52 and count == 2))
            body = struct.pack(">BBB", unit, function, 2 * count) + words if known else bytes((unit, function | 0x80, 2))
            self.request.sendall(struct.pack(">HHH", transaction, 0, len(body)) + body)


@pytest.fixture
def meter():
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Meter) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()


def test_floats_round_trip():
    row = VENDOR.row("total_system_power")
    assert decode(row, encode(row, -1234.5)) == -1234.5
    assert decode(row, [0x7FC0, 0]) is None


def test_the_plan_keeps_to_what_the_vendor_answers():
    assert [(block.address, block.count) for block in plan(VENDOR.rows, TCP_COST, VENDOR)] == [(30001, 14), (30053, 2)]


def test_dump_speaks_to_it_with_its_own_offset_and_unit(bridge, meter):  # noqa: F811
    done = bridge("dump", "--modbus-vendor", "tests.fixtures.eastron", "--host", f"127.0.0.1:{meter.server_address[1]}",
                  "30001", "30053", "--json")
    entries = {entry["name"]: entry for entry in json.loads(done.stdout)["registers"]}
    assert entries["phase_1_voltage"]["value"] == 230.5
    assert entries["total_system_power"]["text"] == "importing 1234 W"


def test_run_shows_what_it_has_and_leaves_the_rest_unknown(bridge, meter):  # noqa: F811
    done = bridge("run", "--modbus-vendor", "tests.fixtures.eastron", "--host", f"127.0.0.1:{meter.server_address[1]}",
                  "--status-listen", "off", "--cycles", "2", "--print")
    assert done.returncode == 0 and "grid importing 1234 W" in done.stdout
    assert "sun unknown" in done.stdout and "house unknown" in done.stdout
