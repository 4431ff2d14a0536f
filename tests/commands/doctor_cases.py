"""One simulated fault for each thing that doctor can find.

``python -m tests.commands.doctor_mqtt_cases`` writes the golden outputs anew; look at the difference before
believing it.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

from bridge.clock import Clock, ManualClock
from bridge.commands import doctor
from bridge.commands.doctor import Doctor, text
from bridge.config import load
from bridge.sim.enphase import EnphaseSim
from bridge.sim.enphase_world import Account, EnphaseWorld
from bridge.sim.plant import PlantSim
from bridge.sim.shelly import ShellySim, s3_components
from bridge.sim.sigen_cloud import SigenCloudSim
from bridge.sources import examine_data, examine_host, examine_plant, examine_serial
from tests.ports import free_port
from tests.serial_line import TO_ALL, TO_THREE, Talk

ROOT = Path(__file__).parent.parent.parent
GOLDEN = Path(__file__).parent.parent / "golden" / "doctor"
GATEWAY_MAC, INVERTER_MAC, PRINTER_MAC = "0c:47:a9:91:22:33", "bc:31:98:d4:55:66", "00:11:22:33:44:55"
READ_ONLY = (
    "Shelly.GetDeviceInfo", "Shelly.ListMethods", "Shelly.GetComponents", "Shelly.GetStatus", "Number.GetStatus",
)
CASES = {}


def case(*codes, clock=ManualClock):
    """Register a fault under its first code; with it exactly ``codes`` must be found."""

    def register(build):
        assert codes[0] not in CASES, codes[0]
        CASES[codes[0]] = (build, codes, clock)
        return build

    return register


class World:
    """A healthy home to break: plant, Shelly, an empty root directory, no running bridge."""

    def __init__(self, stack, clock):
        self.stack, self.clock = stack, clock
        self.root = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        self.usual_port, self.ask_cloud = 1, False
        self.plants, self.shellys, self.bridged = [], [], False
        self.patch(examine_plant, "PATIENCE_S", 1.0)
        self.settings = {
            "status-listen": f"127.0.0.1:{free_port()}", "run-state-dir": str(self.root / "state"),
            "modbus-timeout-s": "0.25",
        }

    def plant(self, **options):
        simulator = self.enter(PlantSim(self.clock, **{"scenario": "s3", **options}))
        self.plants.append(simulator)
        if options.get("serial"):
            self.settings["serial"] = simulator.tty
        else:
            self.settings["host"] = f"127.0.0.1:{simulator.port}"
        return simulator

    def shelly(self, **options):
        simulator = self.enter(ShellySim(self.clock, **{"components": s3_components(), **options}))
        self.shellys.append(simulator)
        self.settings["shelly-host"] = simulator.address
        return simulator

    def healthy(self):
        return self.plant(), self.shelly()

    def line(self, *args, **options):
        """Put a pty in place of the plant."""
        talk = self.enter(Talk(*args, **options))
        self.settings["serial"] = talk.tty
        return talk

    def bridge(self):
        """Run a bridge with the settings as they are now, and wait until it has read and shown, or failed to."""
        self.bridged = True
        self.settings["status-listen"] = f"127.0.0.1:{free_port()}"
        process = subprocess.Popen(
            [sys.executable, "-m", "bridge", "run", *self.words()], cwd=ROOT, stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.stack.callback(process.wait, 5)
        self.stack.callback(process.terminate)
        for _ in range(250):
            health = examine_host.look_at_bridge(self.settings["status-listen"], "").health
            shown = all(sink["written"] or sink["errors"] for sink in health.get("sinks", ()))
            if health.get("failed") or (health.get("cycles") and shown):
                return
            Clock().wait(0.02)
        raise AssertionError("the bridge did not come up")

    def file(self, path, content):
        full = self.root / path
        full.parent.mkdir(parents=True, exist_ok=True)
        full.write_text(content, "utf-8")

    def arp(self, *macs):
        rows = [f"127.0.0.{number} 0x1 0x2 {mac} * br-lan" for number, mac in enumerate(macs, 1)]
        self.file("proc/net/arp", "\n".join(["IP address HW type Flags HW address Mask Device", *rows]))

    def patch(self, *args, **options):
        return self.enter(mock.patch.object(*args, **options))

    def enter(self, context):
        return self.stack.enter_context(context)

    def listening(self, backlog=5):
        server = self.enter(contextlib.closing(socket.socket()))
        server.bind(("127.0.0.1", 0))
        server.listen(backlog)
        return server

    def server(self, answer):
        """Serve raw TCP: ``answer`` gets a connected socket; returns host:port."""
        server = self.listening()

        def serve():
            while True:
                try:
                    connection = server.accept()[0]
                except OSError:
                    return
                with contextlib.closing(connection), contextlib.suppress(OSError):
                    answer(connection)

        threading.Thread(target=serve, daemon=True).start()
        self.stack.callback(lambda: server.shutdown(socket.SHUT_RDWR))
        return "127.0.0.1:%d" % server.getsockname()[1]

    def unreachable(self):
        """Return host:port of a listener with no room: what knocks there gets no answer at all."""
        server = self.listening(0)
        for _ in range(3):
            waiting = self.enter(contextlib.closing(socket.socket()))
            waiting.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                waiting.connect(server.getsockname())
        return "127.0.0.1:%d" % server.getsockname()[1]

    def no_name_server(self):
        real = socket.getaddrinfo

        def look_up(host, *args, **options):
            if host == b"gateway.lan":
                raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
            return real(host, *args, **options)

        self.patch(socket, "getaddrinfo", look_up)
        return "gateway.lan"

    def enphase(self, token=True, **world):
        """Return an Envoy that is set up; with ``token`` one is pasted, without it the account is set."""
        simulator = self.enter(EnphaseSim(self.clock, EnphaseWorld(**world)))
        self.settings.update({"enphase-local-url": simulator.envoy.url, "enphase-serial": simulator.world.serial,
                              "enphase-remote-url": simulator.cloud.url, "enphase-token-url": simulator.cloud.url})
        if token:
            self.secret("enphase-jwt", simulator.world.issue(self.clock.now()))
        else:
            self.settings["enphase-username"] = "owner@example.com"
            self.secret("enphase-password", "s3cret&+%")
        return simulator

    def cloud(self, **settings):
        simulator = self.enter(SigenCloudSim(Clock()))
        self.ask_cloud = True
        self.settings.update({
            "cloud-base-url": simulator.base_url, "cloud-app-key": "AK_DEMO", "cloud-system-id": "ABCDE1700000001",
            **settings})
        self.secret("cloud-app-secret", settings.pop("secret", "AS_DEMO"))
        self.settings.pop("secret", None)
        return simulator

    def secret(self, name, value):
        self.file(name, value)
        self.settings[f"{name}-file"] = str(self.root / name)

    def loaded(self):
        return load(self.words())[0]

    def words(self):
        return [word for name, value in self.settings.items() for word in (f"--{name}", value)]

    def examine(self):
        return Doctor(self.loaded(), self.clock, str(self.root), self.ask_cloud, self.usual_port).examine()

    def writes(self):
        """Return every request by which doctor would have changed something; a running bridge may write."""
        asked = [f"plant function {each.function}" for plant in self.plants for each in plant.log
                 if each.function not in (3, 4)]
        if not self.bridged:
            asked += [method for shelly in self.shellys for method in shelly.counters.rpc if method not in READ_ONLY]
        return asked

    def normalised(self, report):
        """Take out what differs from run to run: directories, ports, terminals, Python's version."""
        report = report.replace(str(self.root), "ROOT")
        for given in (self.settings.get("serial"), os.path.realpath(self.settings.get("serial", "-"))):
            if given and given.startswith(("/dev/pts/", "/tmp/plant-")):
                report = report.replace(given, "TTY")
        # whether the alert that tells why outruns the reset is a matter of luck
        report = re.sub(r"client certificate \([^)]*\)", "client certificate (WHY)", report)
        report = re.sub(r"/sys/class/tty/\w+/", "/sys/class/tty/TTY/", report)
        report = re.sub(r"(127\.0\.0\.\d):\d+", r"\1:PORT", report)
        report = re.sub(r"port = \d+", "port = PORT", re.sub(r"port \d+", "port PORT", report))
        report = re.sub(r"Python 3\.\d+", "Python 3.x", report)
        report = re.sub(r"\b[0-9a-f]{12}\.\.\.", "FINGERPRINT...", report)
        return re.sub(r"\d+ of \d+ questions|\d+ bytes|\d+\.\d s\b|version \d[\w.]*", lambda m: re.sub(r"\d[\w.]*", "N", m[0]), report)


def run_case(code):
    """Break the world as ``code`` says and let doctor look; returns (findings, normalised report)."""
    build, _, clock = CASES[code]
    with contextlib.ExitStack() as stack:
        world = World(stack, clock())
        build(world)
        findings = world.examine()
        assert world.writes() == []
        assert not list(world.root.rglob("enphase-*.json"))  # no certificate pinned, no token stored
        assert sum(plant.counters.writes for plant in world.plants) == 0
        return findings, world.normalised(text(findings)) + "\n"


@case("bridge_not_running")
@case("cloud_not_set")
@case("data_ok")
def everything_is_fine(world):
    world.healthy()


@case("python_old")
def an_old_python(world):
    world.healthy()
    world.patch(examine_host, "sys", SimpleNamespace(version_info=(3, 7)))


@case("module_missing")
def no_pymodbus_where_it_is_asked_for(world):
    world.healthy()
    world.settings["modbus-engine"] = "pymodbus"
    world.patch(examine_host, "has", lambda name: name != "pymodbus")


@case("module_optional")
def no_websocket_client(world):
    world.healthy()
    world.patch(examine_host, "has", lambda name: name != "websocket")


@case("clock_not_set", clock=lambda: ManualClock(now=86_400.0))
def a_router_in_1970(world):
    world.healthy()


@case("state_not_writable")
def a_file_where_the_state_directory_belongs(world):
    world.healthy()
    world.file("taken", "")
    world.settings["run-state-dir"] = str(world.root / "taken" / "state")


@case("state_on_flash")
def a_router_that_counts_on_its_flash(world):
    world.healthy()
    world.file("etc/openwrt_release", "DISTRIB_ID='OpenWrt'\n")
    world.file("proc/mounts", "/dev/root /rom squashfs ro 0 0\noverlayfs:/overlay / overlay rw 0 0\n")


@case("state_damaged")
def half_a_limiter_file(world):
    world.healthy()
    world.file("state/openapi-limits.json", '{"calls": [')


@case("bridge_ok")
def a_running_bridge(world):
    world.healthy()
    world.bridge()


@case("bridge_unhealthy", "plant_silent")
def a_bridge_without_its_plant(world):
    plant, _ = world.healthy()
    plant.fault("silent")
    world.bridge()


@case("bridge_sink_failing", "shelly_refused")
def a_bridge_without_its_shelly(world):
    world.plant()
    world.settings["shelly-host"] = f"127.0.0.1:{free_port()}"
    world.bridge()


@case("bridge_silent")
def a_bridge_that_hangs(world):
    world.healthy()
    world.settings["status-listen"] = "127.0.0.1:%d" % world.listening().getsockname()[1]


@case("status_off")
def a_bridge_that_cannot_be_asked(world):
    world.healthy()
    world.settings["status-listen"] = "off"


@case("status_foreign")
def another_program_on_the_status_port(world):
    _, shelly = world.healthy()
    world.settings["status-listen"] = shelly.address


@case("status_token")
def a_bridge_with_a_token(world):
    world.healthy()
    health = json.dumps({"ok": True, "version": "1", "cycles": 1}).encode()

    def answer(connection):
        asked = connection.recv(2000)
        if asked.startswith(b"GET /healthz"):
            connection.sendall(http_head("application/json", len(health)) + health)
        else:
            connection.sendall(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

    world.settings["status-listen"] = world.server(answer)


@case("plant_not_set")
def no_plant(world):
    world.shelly()


@case("plant_name")
def a_name_nobody_knows(world):
    world.healthy()
    world.settings["host"] = world.no_name_server()


@case("plant_no_route")
def an_address_without_a_route(world):
    world.healthy()
    world.settings["host"] = "127.255.255.255"  # a broadcast address: the kernel refuses, nothing is sent


@case("plant_unreachable")
def an_address_where_nobody_is(world):
    world.healthy()
    world.settings["host"] = world.unreachable()


@case("plant_other_device")
def the_address_went_to_a_printer(world):
    world.healthy()[0].fault("refuse")
    world.arp(PRINTER_MAC)


@case("modbus_off")
def modbus_off_after_an_update(world):
    world.healthy()[0].fault("refuse")
    world.arp(GATEWAY_MAC)


@case("plant_refused")
def refused_by_somebody_behind_a_router(world):
    world.healthy()[0].fault("refuse")


@case("plant_port")
def the_wrong_port(world):
    plant, _ = world.healthy()
    world.usual_port = plant.port
    world.settings["host"] = f"127.0.0.1:{free_port()}"


@case("plant_hangs_up")
def another_client_holds_the_only_connection(world):
    plant, _ = world.healthy()
    plant.fault("connection_limit", n=1)
    other = world.enter(contextlib.closing(socket.create_connection(("127.0.0.1", plant.port))))
    other.sendall(bytes.fromhex("000100000006f70475350002"))
    other.recv(100)


@case("plant_resets")
def every_question_is_reset(world):
    world.healthy()[0].fault("reset")


@case("plant_closes")
def every_question_ends_the_connection(world):
    world.healthy()[0].fault("close")


@case("plant_silent")
def not_on_the_allow_list(world):
    world.healthy()[0].fault("silent")


@case("plant_slow", clock=Clock)
def a_slow_gateway(world):
    short_waits(world)
    world.patch(doctor, "PLANT_S", 3.0)
    world.plant().fault("delay", s=0.4)


@case("plant_not_modbus")
def a_host_that_speaks_something_else(world):
    world.healthy()[0].fault("wrong_protocol")


@case("plant_garbled")
def answers_to_other_questions(world):
    world.healthy()[0].fault("wrong_function")


@case("plant_unit")
def the_wrong_unit(world):
    world.plant(unknown_unit="exception11")
    world.shelly()
    world.settings["unit"] = "7"


@case("plant_no_registers")
def a_single_device(world):
    world.plant(unit=99)
    world.shelly()
    world.settings["unit"] = "1"


@case("plant_function")
def function_4_is_refused(world):
    plant, _ = world.healthy()

    def only_function_3(connection):
        with contextlib.closing(socket.create_connection(("127.0.0.1", plant.port))) as behind:
            while True:
                request = connection.recv(300)
                if not request:
                    return
                if request[7] == 4:
                    connection.sendall(request[:4] + b"\0\3" + request[6:7] + b"\x84\x01")
                else:
                    behind.sendall(request)
                    connection.sendall(behind.recv(300))

    world.settings["host"] = world.server(only_function_3)


@case("plant_busy")
def a_busy_gateway(world):
    world.healthy()[0].fault("busy")


@case("plant_exception")
def device_failure(world):
    world.healthy()[0].fault("exception", code=4)


@case("plant_gap")
def a_strict_gateway(world):
    world.healthy()[0].fault("min_gap", ms=1000)


@case("plant_flaky")
def a_bad_cable(world):
    world.healthy()[0].fault("flaky", p=0.35)


@case("plant_idle_close", clock=Clock)
def a_gateway_that_tidies_up(world):
    world.plant().fault("idle_close", after_s=1.2)


@case("plant_second")
def a_gateway_for_one_client_that_the_bridge_is(world):
    plant, _ = world.healthy()
    world.bridge()
    plant.fault("connection_limit", n=1)


@case("two_on_lan")
def the_inverter_is_on_the_home_network_too(world):
    world.healthy()
    world.arp(GATEWAY_MAC, INVERTER_MAC)


@case("protocol_old")
def old_firmware(world):
    world.plant(level="2.7")
    world.shelly()


@case("registers_missing")
def one_register_is_missing(world):
    world.healthy()[0].fault("exception_on", address=30284, code=2)


@case("remote_ems")
def somebody_left_remote_control_on(world):
    plant, _ = world.healthy()
    plant.set(40029, 1)
    plant.set(40031, 4)


@case("vpp")
def a_virtual_power_plant(world):
    world.healthy()[0].set(30003, 6)


@case("off_grid")
def a_power_cut(world):
    world.plant(scenario="offgrid")
    world.shelly()


@case("grid_sensor")
def no_grid_meter(world):
    world.healthy()[0].fault("no_meter")


@case("meter_alarm")
def the_meter_does_not_answer_the_gateway(world):
    world.healthy()[0].set(30280, 0b10)


@case("alarms")
def other_alarms(world):
    plant, _ = world.healthy()
    plant.set(30027, 0b10)
    plant.set(30280, 1 << 6)


@case("grid_sign")
def the_clamp_is_the_wrong_way_round(world):
    world.healthy()[0].fault("inverted_grid")


@case("grid_sign_setting")
def the_setting_turns_a_good_sign_round(world):
    world.healthy()
    world.settings["modbus-grid-sign"] = "inverted"


@case("balance")
def a_lasting_imbalance(world):
    world.healthy()[0].fault("imbalance", w=5000)


@case("impossible")
def a_number_that_cannot_be(world):
    world.healthy()[0].fault("spike")


@case("phase_sign")
def one_clamp_is_turned_round(world):
    world.healthy()[0].fault("phase_turned", phase=2)


@case("phase_load")
def a_phase_on_which_the_house_would_feed_in(world):
    world.healthy()[0].fault("phase_shift", w=6000)


@case("phase_sum")
def a_phase_that_is_not_measured(world):
    world.healthy()[0].fault("spike", address=30054, w=0)


@case("frozen")
def old_values_again_and_again(world):
    world.healthy()[0].fault("frozen")


@case("plant_clock")
def the_plant_is_three_hours_late(world):
    world.healthy()
    world.clock.jump_wall(3 * 3600)


@case("plant_clock_unset")
def the_plant_has_no_time(world):
    world.healthy()[0].fault("clock_zero")


def short_waits(world):
    world.patch(examine_serial, "LISTEN_S", 0.4)
    world.patch(examine_serial, "LISTEN_SHORT_S", 0.1)
    world.patch(examine_serial, "ANSWER_S", 0.12)
    world.patch(examine_data, "IDLE_S", 0.2)
    world.patch(examine_data, "LOOK_EVERY_S", 0.4)


def serial_plant(world, **options):
    short_waits(world)
    world.clock = Clock()  # a line has its own time
    return world.plant(**{"serial": True, "unit": 1, **options})


@case("serial_ok")
def a_plant_on_rs485(world):
    serial_plant(world)


@case("serial_no_device")
def no_adapter(world):
    world.settings["serial"] = "/dev/ttyUSB77"


@case("serial_permission")
def not_in_the_group(world):
    short_waits(world)
    world.line()
    world.enter(mock.patch("serial.Serial", side_effect=PermissionError(13, "Permission denied")))


@case("serial_not_a_port")
def a_plain_file(world):
    world.file("ttyUSB0", "")
    world.settings["serial"] = str(world.root / "ttyUSB0")


@case("serial_gone")
def the_adapter_is_pulled(world):
    short_waits(world)
    world.line(gone_after_s=0.1)
    world.clock = Clock()


@case("serial_in_use")
def another_program_has_the_port(world):
    short_waits(world)
    handle = world.enter(open(world.line().tty, "rb", buffering=0))
    fcntl.flock(handle, fcntl.LOCK_EX)


@case("serial_idle")
def rs485_2_or_an_idle_line(world):
    talk(world, b"\xff" * 16)


@case("serial_swapped")
def wires_swapped(world):
    talk(world, b"\x00" * 16)


@case("serial_master")
def gateway_p6(world):
    talk(world, TO_ALL + TO_THREE, 0.1)


@case("serial_foreign")
def another_master(world):
    talk(world, TO_THREE, 0.1)


def talk(world, words, period_s=0.02):
    short_waits(world)
    world.clock = Clock()
    world.line(words, period_s)


@case("serial_noise")
def damaged_bytes(world):
    serial_plant(world).fault("crc")


@case("serial_silent")
def nobody_on_the_line(world):
    serial_plant(world, unit=77, inverter_unit=78)


@case("serial_device_only")
def an_inverter_without_the_plant(world):
    serial_plant(world, unit=99, inverter_unit=1)


@case("serial_settings")
def the_vendors_numbers(world):
    serial_plant(world, unit=247, baud=9600)


@case("serial_latency")
def an_adapter_that_waits(world):
    plant = serial_plant(world)
    name = os.path.basename(os.path.realpath(plant.tty))
    world.file(f"sys/class/tty/{name}/device/latency_timer", "16\n")


@case("shelly_not_set")
def no_shelly(world):
    world.plant()


@case("shelly_name")
def a_shelly_name_nobody_knows(world):
    world.healthy()
    world.settings["shelly-host"] = world.no_name_server()


@case("shelly_no_route")
def a_shelly_without_a_route(world):
    world.healthy()
    world.settings["shelly-host"] = "127.255.255.255"


@case("shelly_unreachable")
def a_shelly_that_is_off(world):
    world.healthy()
    world.settings["shelly-host"] = world.unreachable()


@case("shelly_refused")
def no_web_server_there(world):
    world.healthy()[1].fault("offline_refused")


@case("shelly_silent")
def a_shelly_that_hangs(world):
    world.healthy()[1].fault("silent")


def http(body, kind="text/html"):
    def answer(connection):
        connection.recv(2000)
        connection.sendall(http_head(kind, len(body)) + body)

    return answer


def http_head(kind, length):
    return (f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n"
            "Connection: close\r\n\r\n").encode()


@case("shelly_not_http")
def something_else_on_that_port(world):
    world.plant()

    def greet(connection):
        connection.recv(2000)
        connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")

    world.settings["shelly-host"] = world.server(greet)


@case("shelly_other_device")
def a_printer(world):
    world.plant()
    world.settings["shelly-host"] = world.server(http(b"<html>a printer</html>"))


@case("shelly_gen1")
def a_shelly_1(world):
    world.plant()
    info = {"type": "SHSW-25", "mac": "AABBCCDDEEFF", "auth": False, "fw": "20230913-112234/v1.14.0"}
    world.settings["shelly-host"] = world.server(http(json.dumps(info).encode(), "application/json"))


@case("shelly_wrong_mac")
def another_shelly_has_the_address(world):
    world.healthy()
    world.settings["shelly-mac"] = "11:22:33:44:55:66"


@case("shelly_model")
def a_plus_model(world):
    world.plant()
    world.shelly(app="Plus2PM", model="SNSW-102P16EU", components=())


@case("shelly_firmware_old")
def a_pro_with_old_firmware(world):
    world.plant()
    world.shelly(firmware="1.3.3", components=())


@case("shelly_firmware_2_0")
def firmware_2_0_0(world):
    world.plant()
    world.shelly(firmware="2.0.0")


@case("shelly_password_none")
def a_password_is_needed(world):
    world.plant()
    world.shelly(password="secret")


@case("shelly_password_bad")
def the_wrong_password(world):
    world.plant()
    world.shelly(password="secret")
    world.secret("shelly-password", "guess")


@case("shelly_crowded")
def no_login_free(world):
    world.plant()
    world.shelly(password="secret", firmware="2.0.1", lockout_after=1).fault("http_429", method="Shelly.ListMethods")
    world.secret("shelly-password", "secret")


@case("shelly_failing")
def calls_fail(world):
    world.healthy()[1].fault("http_500", method="Shelly.GetComponents")


@case("shelly_websocket")
def websockets_are_refused(world):
    world.healthy()[1].fault("ws_refused")


@case("shelly_missing")
def an_empty_shelly(world):
    world.plant()
    world.shelly(components=())


@case("shelly_full")
def ten_components_of_others(world):
    world.plant()
    world.shelly(components=tuple(f"boolean:{number}" for number in range(200, 210)))


@case("shelly_foreign")
def components_of_a_service(world):
    world.plant()
    world.shelly(components=changed("number:202", owner="service:0"))


@case("shelly_read_only")
def a_read_only_number(world):
    world.plant()
    world.shelly(components=changed("number:202", access="cr"))


@case("shelly_persisted")
def a_persisted_number(world):
    world.plant()
    world.shelly(components=changed("number:202", persisted=True))


@case("shelly_narrow")
def the_web_pages_default_range(world):
    world.plant()
    world.shelly(components=changed("number:200", min=0, max=100))


@case("shelly_no_group")
def in_no_group(world):
    world.plant()
    world.shelly(components=s3_components()[:5])


@case("shelly_other_writer")
def somebody_else_writes(world):
    world.healthy()[1].fault("second_writer", key="number:203", value=17)


def changed(key, **config):
    """Return the usual components, one of them with another configuration."""
    rows = []
    for row in s3_components():
        rows.append({**row, "config": {**row["config"], **config}} if row["key"] == key else row)
    return tuple(rows)


@case("cloud_ok")
def a_cloud_that_answers(world):
    world.healthy()
    world.cloud()


@case("cloud_incomplete")
def half_the_credentials(world):
    world.healthy()
    world.settings["cloud-app-key"] = "AK_DEMO"


@case("cloud_login")
def the_wrong_secret(world):
    world.healthy()
    world.cloud(secret="wrong")


@case("cloud_unreachable")
def no_internet(world):
    world.healthy()
    world.cloud(**{"cloud-base-url": f"http://127.0.0.1:{free_port()}"})


@case("cloud_limited")
def asked_a_minute_ago(world):
    world.healthy()
    world.cloud()
    world.examine()


@case("cloud_refused")
def the_cloud_says_no(world):
    world.healthy()
    world.cloud().fail("system", "code", times=0, code=1111)


@case("cloud_station")
def the_wrong_system(world):
    world.healthy()
    world.cloud(**{"cloud-system-id": "ZZZZZ1700000009"})


@case("enphase_ok")
def an_envoy_that_is_set_up(world):
    world.healthy()
    world.enphase()


@case("enphase_incomplete")
def an_envoy_without_an_account(world):
    world.healthy()
    world.settings["enphase-local-url"] = "https://192.0.2.10"


@case("enphase_unreachable")
def an_envoy_that_is_gone(world):
    world.healthy()
    world.enphase().envoy.fault("gone")


@case("enphase_foreign")
def no_envoy_at_its_address(world):
    _, shelly = world.healthy()
    world.enphase(firmware="D5.0.62", metered=False, ct=False)
    world.settings["enphase-local-url"] = f"http://{shelly.address}"


@case("enphase_certificate")
def another_certificate(world):
    world.healthy()
    world.enphase()
    world.settings["enphase-cert-fingerprint"] = "ab" * 32


@case("enphase_serial")
def the_serial_of_another_envoy(world):
    world.healthy()
    world.enphase()
    world.settings["enphase-serial"] = "122300000002"


@case("enphase_no_token")
def never_set_up(world):
    world.healthy()
    assert world.enphase(token=False).cloud.count() == 0


@case("enphase_login")
def enlighten_rejects_the_login(world):
    world.healthy()
    world.enphase(token=False, account=Account(password="another"))
    world.ask_cloud = True


@case("enphase_cloud")
def enlighten_is_down(world):
    world.healthy()
    world.enphase(token=False).fault("cloud-down")
    world.ask_cloud = True


@case("enphase_token")
def the_envoy_refuses_the_token(world):
    world.healthy()
    world.enphase().fault("revoke")


@case("enphase_ending")
def the_pasted_token_ends_soon(world):
    world.healthy()
    year_s, day_s = 365 * 86400.0, 86400.0
    simulator = world.enphase()
    world.secret("enphase-jwt", simulator.world.issue(world.clock.now() - 345 * day_s, year_s))


def write_golden():
    """Write every golden output anew."""
    for old in GOLDEN.glob("*.txt"):
        old.unlink()
    for code in CASES:
        (GOLDEN / f"{code}.txt").write_text(run_case(code)[1], "utf-8")
