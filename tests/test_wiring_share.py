"""The whole way: a simulated plant, a bridge that polls it, and other programs that ask the bridge."""

from __future__ import annotations

import json
import logging
import socket
import struct
import subprocess
import sys
import threading
import urllib.error
import urllib.request

import pytest

from bridge import wiring_registers
from bridge.clock import Clock
from bridge.config import load
from bridge.errors import ConfigError
from bridge.service import Service
from bridge.sim.plant import PlantSim
from bridge.sources.dual import DualSource
from bridge.sources.failover import Failover
from bridge.sources.register_budget import BURST
from bridge.wiring import Feed, feed, notifier
from bridge.wiring_share import share_registers
from tests.commands.conftest import one_line, until
from tests.ports import free_port

GRID = [0x0000, 0x215C]


class Running:
    """A bridge in this process, in a thread of its own; ``port`` is the re-server's."""

    def __init__(self, *flags, reserver=True):
        listen = ("--reserver-listen", "127.0.0.1:0") if reserver else ()
        settings, _ = load([*flags, *listen, "--status-listen", "127.0.0.1:0", "--run-watchdog", "off"])
        self.clock = Clock()
        self.service = Service(settings, self.clock, feed(settings, self.clock), [], notifier(settings))
        share_registers(self.service, settings, self.clock)
        self.thread = threading.Thread(target=self.service.run, daemon=True)

    def __enter__(self):
        self.thread.start()
        assert until(lambda: self.service.status.good is not None, 15)
        self.port = int(self.service.doors[0].address.rpartition(":")[2]) if self.service.doors else 0
        return self

    def __exit__(self, *exc):
        self.clock.stop()
        self.thread.join(10)
        assert not self.thread.is_alive()

    def get(self, path):
        """Return (status, JSON) of the bridge's HTTP interface."""
        try:
            with urllib.request.urlopen(f"http://{self.service.address}{path}", timeout=10) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)


class Client:
    """A Modbus TCP client of a few lines, as evcc's: one kept connection, function 3 for everything."""

    def __init__(self, port, function=3, unit=247):
        self._socket = socket.create_connection(("127.0.0.1", port), 10)
        self._function, self._unit, self._number = function, unit, 0

    def read(self, address, count):
        """Return the words, or the exception code as a number."""
        self._number = self._number % 0xFFFF + 1
        self._socket.sendall(struct.pack(">HHHBBHH", self._number, 0, 6, self._unit, self._function, address, count))
        received = b""
        while len(received) < 9 or len(received) < 6 + received[5]:
            chunk = self._socket.recv(300)
            assert chunk, "closed"
            received += chunk
        number, _, _, unit, function = struct.unpack(">HHHBB", received[:8])
        assert (number, unit) == (self._number, self._unit)
        if function & 0x80:
            return received[8]
        return list(struct.unpack(f">{count}H", received[9:]))

    def close(self):
        self._socket.close()


def at(plant):
    return ("--host", f"127.0.0.1:{plant.port}")


@pytest.fixture
def plant():
    with PlantSim(Clock(), scenario="s3") as simulator:
        yield simulator


@pytest.fixture
def running(plant):
    with Running(*at(plant), "--poll-interval-s", "0.25") as bridge:
        yield bridge


def mbpoll(port, *options, unit=247):
    command = ["mbpoll", "-m", "tcp", "-p", str(port), "-a", str(unit), "-0", "-1", "-q", *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)


@pytest.mark.needs("mbpoll")
def test_mbpoll_reads_by_both_functions_and_cannot_write(running, plant):
    for table in ("3", "4"):
        done = mbpoll(running.port, "-t", table, "-r", "30005", "-c", "2", "127.0.0.1")
        assert done.returncode == 0 and "[30006]: \t8540" in done.stdout, done.stdout + done.stderr
    done = mbpoll(running.port, "-t", "4", "-r", "40029", "-c", "3", "127.0.0.1")
    assert done.returncode == 0 and "[40031]:" in done.stdout
    done = mbpoll(running.port, "-t", "3", "-r", "30500", "-c", "15", "127.0.0.1", unit=1)
    assert done.returncode == 0 and "[30500]: \t21353" in done.stdout  # "Si" of SigenStor
    done = mbpoll(running.port, "-t", "3", "-r", "30900", "127.0.0.1")
    assert done.returncode != 0 and "Illegal data address" in done.stderr
    for words in (("1",), ("1", "2", "3")):
        done = mbpoll(running.port, "-t", "4", "-r", "40029", "127.0.0.1", *words)
        assert done.returncode != 0 and "Illegal function" in done.stderr
    assert plant.counters.writes == 0 and {request.function for request in plant.log} <= {3, 4}


def test_pymodbus_reads_what_the_plant_says_and_cannot_write(running, plant):
    import inspect

    from pymodbus.client import ModbusTcpClient

    client = ModbusTcpClient("127.0.0.1", port=running.port, timeout=5, retries=0)
    assert client.connect()
    keyword = "device_id" if "device_id" in inspect.signature(client.read_input_registers).parameters else "slave"
    plant_unit, device = {keyword: 247}, {keyword: 1}
    assert client.read_input_registers(30005, count=2, **plant_unit).registers == GRID
    assert client.read_holding_registers(30005, count=2, **plant_unit).registers == GRID
    assert len(client.read_input_registers(30000, count=124, **plant_unit).registers) == 124
    assert client.read_holding_registers(40029, count=1, **plant_unit).registers == [0]
    assert client.read_input_registers(30500, count=2, **device).registers == [0x5369, 0x6765]
    assert client.read_input_registers(30287, count=1, **plant_unit).exception_code == 2
    writes = (
        lambda: client.write_register(40029, 1, **plant_unit), lambda: client.write_registers(40032, [0, 1], **plant_unit),
        lambda: client.write_coil(1, True, **plant_unit), lambda: client.write_coils(1, [True] * 3, **plant_unit),
        lambda: client.mask_write_register(address=40029, and_mask=0, or_mask=1, **plant_unit),
        lambda: client.readwrite_registers(read_address=30005, read_count=2, write_address=40029, values=[1], **plant_unit),
        lambda: client.write_register(40000, 1, **{keyword: 0}), lambda: client.write_register(40500, 1, **device),
        lambda: client.read_coils(1, count=8, **plant_unit), lambda: client.read_discrete_inputs(1, count=8, **plant_unit),
    )
    for write in writes:
        assert write().exception_code == 1
    client.close()
    assert plant.counters.writes == 0 and {request.function for request in plant.log} <= {3, 4}


def test_an_evcc_client_sees_what_evcc_would_see_at_the_plant(running, plant):
    """Its template reads 30005, 30014, 30037, 30083 at 247 and 30599 at the inverter, all with function 3."""
    through, direct = Client(running.port), Client(plant.port)
    device_through, device_direct = Client(running.port, unit=1), Client(plant.port, unit=1)
    for address, count in ((30005, 2), (30014, 1), (30037, 2), (30083, 2), (30284, 2)):
        assert through.read(address, count) == direct.read(address, count), address
    for address, count in ((30599, 2), (30601, 1), (31035, 2)):
        assert device_through.read(address, count) == device_direct.read(address, count), address
    for client in (through, direct, device_through, device_direct):
        client.close()


class Crowd:
    """Ten clients that ask ten times a second, each for something else, until left."""

    WISHES = ((30005, 2), (30014, 1), (30037, 2), (30035, 2), (30000, 39), (30284, 2), (30088, 4), (40029, 3), (30194, 2), (30100, 20))

    def __init__(self, port, clients=10, hertz=10):
        self._stop = Clock()
        self.answers, self.codes, self.errors = [], [], []
        self._threads = [
            threading.Thread(target=self._ask, args=(port, hertz, wish), daemon=True)
            for wish in (self.WISHES * clients)[:clients]]

    def _ask(self, port, hertz, wish):
        try:
            client = Client(port, function=4)
            while not self._stop.wait(1 / hertz):
                answer = client.read(*wish)
                (self.codes if isinstance(answer, int) else self.answers).append((wish, answer))
            client.close()
        except (OSError, AssertionError) as error:
            self.errors.append(error)

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exc):
        self._stop.stop()
        for thread in self._threads:
            thread.join(10)


def test_ten_clients_at_ten_hertz_cost_the_plant_no_more_than_the_allowance(running, plant):
    plant.log.clear()
    clock = Clock()
    begun = clock.monotonic()
    with Crowd(running.port) as crowd:
        clock.wait(4)
    took = clock.monotonic() - begun
    log = list(plant.log)
    polled = [request for request in log if (request.address, request.count) in ((30000, 39), (30194, 92))]
    beside = len(log) - len(polled)
    assert not crowd.errors and not crowd.codes
    assert len(crowd.answers) > 100
    assert 1 <= beside <= BURST + took, beside  # three pages, each once in five seconds
    assert len(polled) <= 2 * (took / 0.25 + 2)
    assert plant.counters.max_in_flight == 1 and plant.counters.connections == 1
    assert {tuple(answer) for wish, answer in crowd.answers if wish == (30005, 2)} == {tuple(GRID)}


def test_ten_clients_that_ask_for_what_the_bridge_polls_cost_the_plant_nothing(running, plant):
    plant.log.clear()
    with Crowd(running.port, clients=6):
        Clock().wait(1.5)
    assert {(request.address, request.count) for request in plant.log} == {(30000, 39), (30194, 92)}


@pytest.mark.timing
def test_the_loop_keeps_time_while_ten_clients_ask(plant):
    """p99 of the distance between two polls, with and without the crowd, within 20 ms of the period."""
    with Running(*at(plant), "--poll-interval-s", "0.1") as bridge:
        def late_ms(seconds):
            plant.log.clear()
            bridge.clock.wait(seconds)
            times = [request.at_mono for request in plant.log if request.address == 30000 and request.count == 39]
            gaps = sorted(abs(b - a - 0.1) * 1000 for a, b in zip(times, times[1:]))
            return gaps[int(0.99 * len(gaps)) - 1]

        alone = late_ms(4)
        with Crowd(bridge.port):
            crowded = late_ms(4)
    logging.getLogger("share").warning("p99 of the poll's jitter: alone %.1f ms, crowded %.1f ms", alone, crowded)
    assert crowded <= alone + 20.0


def test_a_plant_that_is_gone_is_exception_11_after_the_bound_and_never_0(plant, monkeypatch):
    monkeypatch.setattr(wiring_registers, "ALIVE_S", 1.0)  # the bound is then 2 s and two periods
    with Running(*at(plant), "--poll-interval-s", "0.25", "--modbus-timeout-s", "0.2") as bridge:
        client, clock = Client(bridge.port), Clock()
        assert client.read(30005, 2) == GRID
        plant.fault("silent")
        begun, seen = clock.monotonic(), []
        while clock.monotonic() - begun < 4.5:
            answer = client.read(30005, 2)
            seen.append((clock.monotonic() - begun, answer))
            assert answer in (GRID, 11), answer
            clock.wait(0.1)
        assert {answer for _, answer in seen if _ > 3.5 and answer != 11} == set()
        assert next(when for when, answer in seen if answer == 11) < 3.5
        for wish in ((40029, 1), (30500, 15), (30100, 2)):
            assert client.read(*wish) == 11
        plant.clear()
        assert until(lambda: client.read(30005, 2) == GRID, 10)
        client.close()


@pytest.mark.parametrize("level, has, lacks", [("1.8", (30037, 2), (30284, 2)), ("2.7", (30194, 2), (30282, 2)), ("2.8", (30284, 2), (30286, 1))])
def test_registers_that_old_firmware_lacks_are_exception_2(level, has, lacks):
    with PlantSim(Clock(), level=level, scenario="s3") as old, Running(*at(old), "--poll-interval-s", "0.25") as bridge:
        client = Client(bridge.port)
        assert len(client.read(*has)) == 2 and client.read(*lacks) == 2
        assert client.read(30005, 2) == GRID
        client.close()


def test_a_plant_on_rs485_is_served_the_same_way():
    with PlantSim(Clock(), serial=True, unit=1, scenario="s3", turnaround_s=0.002) as line:
        with Running("--serial", line.tty, "--poll-interval-s", "0.5") as bridge:
            client, device = Client(bridge.port), Client(bridge.port, unit=1)
            assert client.read(30005, 2) == GRID and device.read(30005, 2) == GRID
            assert client.read(40029, 1) == [0]
            assert device.read(30500, 2) == [0x5369, 0x6765]
            assert bridge.get("/v1/registers?address=30005")[1]["unit"] == 1
            client.close()
            device.close()
        assert line.counters.max_in_flight == 1 and line.counters.writes == 0


def test_a_strict_plants_pause_is_kept_with_clients_on_it():
    with PlantSim(Clock(), scenario="s3", min_gap_ms=150) as strict:
        with Running(*at(strict), "--poll-interval-s", "0.5", "--poll-min-gap-ms", "150") as bridge:
            client = Client(bridge.port)
            for wish in ((30088, 4), (40029, 1), (30100, 3), (40157, 1), (30900, 1)):
                client.read(*wish)
            client.close()
        assert strict.counters.gaps_violated == 0
        assert {(40001, 68), (40157, 2)} & {(request.address, request.count) for request in strict.log}


def test_a_unit_that_nobody_has_costs_one_time_out_only(running, plant):
    stranger, client = Client(running.port, unit=9), Client(running.port)
    assert stranger.read(30500, 1) == 11
    for _ in range(20):
        assert stranger.read(30500, 1) == 11 and client.read(30005, 2) == GRID
    assert [request.unit for request in plant.log].count(9) == 1
    stranger.close()
    client.close()


def test_health_tells_of_the_server_only_where_there_is_one(running, plant):
    client = Client(running.port)
    client.read(30005, 2)
    status, health = running.get("/healthz")
    assert status == 200 and health["reserver"]["listen"] == f"127.0.0.1:{running.port}"
    assert health["reserver"]["clients"] == 1 and health["reserver"]["requests"] == 1
    told = subprocess.run([sys.executable, "-m", "bridge", "status", "--status-listen", running.service.address],
                          capture_output=True, text=True, timeout=30, check=False)
    assert told.returncode == 0
    assert f"reserver 127.0.0.1:{running.port}: 1 connected, 1 requests, 0 writes refused, 0 had" in told.stdout
    client.close()
    with Running(*at(plant), reserver=False) as other:
        assert "reserver" not in other.get("/healthz")[1]


def test_registers_as_json(running):
    status, content = running.get("/v1/registers?address=30005,40029@247,30500@1,30500,30900")
    assert status == 200 and content["schema"] == 1 and content["source"] == "modbus-tcp" and content["unit"] == 247
    grid, ems, model, same, missing = content["registers"]
    assert 0 <= grid.pop("age_s") < 2
    assert grid == {"address": 30005, "name": "grid_active_power", "raw": ["0000", "215C"], "value": 8540, "unit": "W",
                    "text": "importing 8540 W", "device": 247, "exception": None}
    assert ems["text"] == "disabled" and model["value"].startswith("SigenStor") and model["device"] == 1
    assert same["value"] == model["value"]
    assert missing["exception"] == 2 and missing["value"] is None and missing["raw"] == [] and missing["age_s"] is None
    status, content = running.get("/v1/registers?address=30000&count=39")
    assert len(content["registers"][0]["raw"]) == 39 and content["registers"][0]["value"] is None


@pytest.mark.parametrize("query", [
    "", "address=", "address=x", "address=70000", "address=40000", "address=30005@0", "address=30005@248",
    "address=30005&count=0", "address=30005&count=125", "address=30005&count=x", "address=65535&count=2",
    "address=30005&count=2&space=coil", "address=" + ",".join(["30005"] * 65),
])
def test_a_question_that_cannot_be_is_400_with_the_reason(running, query):
    status, content = running.get(f"/v1/registers?{query}")
    assert status == 400 and content["error"]


def test_nothing_of_it_is_in_memory_before_somebody_asks(plant):
    script = (
        "import sys\nfrom bridge.cli import main\n"
        f"code = main(['run', '--host', '127.0.0.1:{plant.port}', '--cycles', '1', '--status-listen', '127.0.0.1:0'])\n"
        "print(code, sorted(name for name in sys.modules if 'register_' in name or name == 'bridge.wiring_registers' or name.endswith('modbus_server')"
        " or name.endswith('.registers') and name != 'bridge.registers'))")
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout.strip() == "0 []"


def test_without_its_package_the_route_says_which_one_it_is(running, monkeypatch):
    monkeypatch.setitem(sys.modules, "bridge.wiring_registers", None)
    status, content = running.get("/v1/registers?address=30005")
    assert status == 501 and "sigen-bridge-reserver" in content["error"]


def test_a_port_that_another_program_has_is_one_line_and_exit_2(plant):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = "127.0.0.1:%d" % taken.getsockname()[1]
        done = subprocess.run(
            [sys.executable, "-m", "bridge", "run", *at(plant), "--status-listen", f"127.0.0.1:{free_port()}",
             "--reserver-listen", listen], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 2
    assert "reserver.listen: cannot serve on" in one_line(done.stderr) and listen in done.stderr


def test_a_bridge_without_a_local_plant_has_nothing_to_serve(clock):
    class Cloud:
        name = "cloud"

    settings, _ = load(["--run-source", "cloud", "--reserver-listen", "127.0.0.1:1502"])
    service = Service(settings, clock, Feed(Cloud(), 300.0), [], notifier(settings))
    with pytest.raises(ConfigError, match="no registers to serve"):
        share_registers(service, settings, clock)
    settings, _ = load(["--run-source", "cloud"])
    share_registers(service, settings, clock)
    assert service.more_routes == {} and service.doors == []


def test_with_the_cloud_behind_it_the_local_plant_is_what_is_served(clock):
    taps = []

    class Local:
        name, peer = "modbus-tcp", "192.0.2.1:502"

        def watch(self, tap):
            taps.append(tap)

    DualSource(Local(), None, clock, Failover(60.0, 3)).watch("tap")
    assert taps == ["tap"]
