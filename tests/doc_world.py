"""The house in which the command lines of the manual are really run: simulators behind the example addresses.

Each page has a house of its own and its lines run in order, as a reader would type them. What runs for ever is
left running, as in a second terminal, until the next of its kind or the end of the page; then it must end well.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import re
import select
import shlex
import signal
import stat
import subprocess
import sys
import termios
import threading
from datetime import datetime, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple

from bridge.clock import Clock
from bridge.sim.amber import TOKEN, AmberSim
from bridge.sim.enphase import EnphaseSim
from bridge.sim.enphase_world import EnphaseWorld
from bridge.sim.plant import PlantSim
from bridge.sim.shelly import ShellySim, s3_components
from bridge.sim.sigen_cloud import SigenCloudSim
from tests.commands.conftest import Bridge
from tests.mqtt_broker import Mosquitto, tls_lines
from tests.peers.app_bench import PASSWORD, USER
from tests.peers.har import har
from tests.ports import free_port
from tests.sim.quickjs_runner import QuickJsRun

ROOT = Path(__file__).parent.parent
LINE_S, SIGN_S, STOP_S = 40, 30, 10  # for the busiest machine; a line takes half a second

# What runs until it is stopped: which line, what the test adds to it, and by what it is known to work.
FOREVER = (
    (r"^sigen-bridge run\b", " --print", r"^sun .*house "),
    (r"^sigen-bridge demo\b", " --status-listen 127.0.0.1:0", r"^sun .*house "),
    (r"^sigen-bridge sim enphase\b", " --port {free} --cloud-port {free}", r"^export ENPHASE_REMOTE_API_USERNAME"),
    (r"^sigen-bridge sim cloud .*--mqtt-broker\b", " --port {free}", r"^export SIGEN_BRIDGE_SIGEN_MQTT_HOST"),
    (r"^sigen-bridge sim cloud\b", " --port {free}", r"^for the app"),
    (r"^sigen-bridge sim amber\b", " --port {free}", r"^export"),
    (r"^sigen-bridge sim\b(?!.*--port)(?!.*--rtu)", " --port {free}", r"^simulated \w+ on"),
    (r"^sigen-bridge sim\b", "", r"^simulated \w+ on"),
    (r"^sigen-bridge enphase serve\b", " --enphase-listen 127.0.0.1:0", r"state=serving"),
    (r"^sigen-bridge loads run\b", "", r"INFO shelly"),
    (r"^sigen-bridge relay serve\b", " --status-listen 127.0.0.1:0", r"relay"),
    (r"^sigen-bridge mqtt listen\b", "", r"^(?!INFO|WARNING).*(sun|pv|PV)"),
    (r"^sigen-bridge \w+ .*--watch\b", "", r"\S"),
    (r"^curl -sN\b", "", r"^data: \{"),
)

# Lines with another exit code than 0, and why that is right.
EXPECTED = {}

# What a terminal asks, and what the reader types.
TYPED = (("region", "aus"), ("user|e-mail", USER), ("password", PASSWORD), ("amber", TOKEN), ("", ""))
INTERACTIVE = r"^sigen-bridge (env make|cloud encode-password)\b"

# What the test adds to a line so that it looks at this house only.
ADDED = ((r"^sigen-bridge (shelly find|discover)\b", " --no-mdns --lease-file leases --neighbour-file neighbours --shelly-port {shelly}"),)

# What runs already when a page's lines are typed.
BRIDGE = ("sigen-bridge run",)
BEFORE = {
    **dict.fromkeys(("battery", "loads", "fleet", "troubleshooting", "security", "assistant"), BRIDGE),
    "mqtt": ("sigen-bridge sim cloud --mqtt-broker 127.0.0.1:1883 --mqtt-period 1",),
}
SECRET = "a-token-for-the-test"


class Done(NamedTuple):
    """One line that was run; ``code`` is None for what ran until it was stopped."""

    line: str
    code: object
    out: str
    ended: object = 0


class Running(NamedTuple):
    """Something that runs for ever."""

    line: str
    kind: int
    process: object
    output: Path

    def text(self):
        return self.output.read_text(errors="replace")


class House:
    """Simulators, a directory and an environment for the lines of one page."""

    def __init__(self, page, text, path, pki=None):
        self.page, self.text, self.path, self.pki = page, text, Path(path), pki
        self.clock, self.stack, self.running = Clock(), contextlib.ExitStack(), []
        self.addresses, self.number = [], 0

    def __enter__(self):
        enter = self.stack.enter_context
        self.plant = enter(PlantSim(self.clock, soc_pct=50.0))
        self.shelly = enter(ShellySim(self.clock, components=() if "shelly setup" in " ".join(lines_of(self.text)) else s3_components()))
        self.other = enter(ShellySim(self.clock, mac="AABBCCDDEE00", script_runner=QuickJsRun))
        self.third = enter(ShellySim(self.clock, name="Kitchen board"))
        self.status = f"127.0.0.1:{free_port()}"
        self.config = {
            "modbus": {"host": f"127.0.0.1:{self.plant.port}"}, "shelly": {"host": f"127.0.0.1:{self.shelly.port}"},
            "status": {"listen": self.status}, "run": {"state_dir": str(self.path / "state")},
            "loads": {"listen": f"127.0.0.1:{free_port()}"},
        }
        self.environment = {"SIGEN_BRIDGE_CONFIG": str(self.path / "home.ini"), "LC_ALL": "C.UTF-8", "TERM": "dumb", "TZ": "UTC"}
        self._addresses()
        self._services()
        self._files()
        for line in BEFORE.get(self.page, ()):
            assert self.run(line).code == 0, line
        return self

    def __exit__(self, *problem):
        self.ended()
        self.stack.close()

    # what stands where

    def _addresses(self):
        plant, shelly, other, third = (
            f"127.0.0.1:{one.port}" for one in (self.plant, self.shelly, self.other, self.third))
        in_an_hour = datetime.fromtimestamp(self.clock.now() + 3600.0, timezone.utc).strftime("%H:%M")
        self.addresses += [
            (r"\b192\.168\.8\.105\b", plant), (r"\b192\.168\.8\.20\b", shelly),
            (r"\b192\.168\.(8|20)\.31\b", third), (r"(?<!/)\b192\.168\.(8|20)\.3[02]\b", other),
            (r"--until 20:30\b", f"--until {in_an_hour}"), (r"env make$", "env make --out sigen-bridge.env"),
            (r"\b192\.168\.8\.1:8502\b|\b127\.0\.0\.1:8502\b|\b0\.0\.0\.0:8502\b", self.status),
            (r"\b192\.0\.2\.1[12]\b(:8502)?", self.status), (r"\b0\.0\.0\.0:1502\b", f"127.0.0.1:{free_port()}"),
            (r"\b192\.168\.8\.60\b", self._meter), (r"/dev/ttyUSB0\b", self._serial),
            (r"/etc/sigen-bridge/", f"{self.path}/"), (r"/etc/amber2sigen\.env", f"{self.path}/amber2sigen.env"),
            (r"/tmp/plant(?=\s|$)", f"{self.path}/plant"), (r"/etc/ssl/my-ca\.pem", lambda: self.pki.ca),
            (r"\b192\.168\.8\.0/24\b", "127.0.0.0/30"),
        ]

    def _services(self):
        enter, env = self.stack.enter_context, self.environment
        commands = "\n".join(lines_of(self.text))
        if re.search(r"amber|tariff", commands):
            amber = enter(AmberSim(self.clock, scenario="flat"))
            env.update({"AMBER_TOKEN": TOKEN, "SIGEN_BRIDGE_AMBER_BASE_URL": amber.base_url})
        if re.search(r"amber|tariff|(?<!--)cloud\b|mode |mqtt|relay", commands):
            cloud = enter(SigenCloudSim(self.clock))
            app, station = next(iter(cloud.world.apps.values())), next(iter(cloud.world.stations.values()))
            env.update({
                "SIGEN_BRIDGE_CLOUD_BASE_URL": cloud.base_url, "SIGEN_BRIDGE_CLOUD_APP_BASE_URL": cloud.base_url,
                "SIGEN_REGION": "aus", "SIGEN_USER": USER, "SIGEN_PASS": PASSWORD,
                "SIGEN_SYSTEM_ID": station.system_id, "SIGEN_APP_KEY": app.key, "SIGEN_APP_SECRET": app.secret})
        if "enphase" in commands:
            home = enter(EnphaseSim(self.clock, EnphaseWorld()))
            env.update({
                "ENPHASE_LOCAL_API_URL": home.envoy.url, "ENPHASE_REMOTE_API_URL": home.cloud.url,
                "ENPHASE_TOKEN_URL": home.cloud.url, "ENPHASE_REMOTE_API_SERIALNO": home.world.serial,
                "ENPHASE_REMOTE_API_USERNAME": home.world.account.username,
                "ENPHASE_REMOTE_API_PASSWORD": home.world.account.password})
        if re.search(r"mqtt", commands):
            plain = enter(Mosquitto(self.path / "plain", "allow_anonymous true"))
            secure = enter(Mosquitto(self.path / "secure", "allow_anonymous true", *tls_lines(self.pki)))
            self.config["sigen_mqtt"] = {"host": f"127.0.0.1:{free_port()}"}  # nobody there; never the vendor's
            self.addresses[:0] = [(r"\b192\.0\.2\.20\b|\b127\.0\.0\.1:1883\b", f"127.0.0.1:{plain.port}"),
                                  (r"\bbroker\.example:8883\b", f"localhost:{secure.port}")]
            if self.page == "fleet":
                self.config["mqtt"] = {"host": f"localhost:{secure.port}", "tls": "yes", "ca": self.pki.ca, "site": "home"}
        if self.page == "assistant":
            from tests.messages_api import MessagesApi, sensible

            api = enter(MessagesApi(sensible))
            env.update({"ANTHROPIC_API_KEY": "sk-ant-loopback-key", "SIGEN_BRIDGE_ASSISTANT_BASE_URL": api.url})
        if self.page in ("battery", "README-docs", "security"):
            self.config["control"] = {"enabled": "yes"}
            self.config["status"]["token"] = SECRET
        self._write_config()

    def _write_config(self):
        """Write what the household has set; readable by its owner only, as the program asks."""
        path = self.path / "home.ini"
        path.write_text("".join(
            f"[{section}]\n" + "".join(f"{name} = {value}\n" for name, value in rows.items()) for section, rows in self.config.items()))
        path.chmod(stat.S_IRUSR | stat.S_IWUSR)

    def _files(self):
        """Put the files there that the lines name; those that a page shows are taken from the page."""
        path = self.path
        tools = path / "bin"
        tools.mkdir()
        (tools / "sigen-bridge").write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m bridge "$@"\n')
        (tools / "sigen-bridge").chmod(0o755)
        self.environment["PATH"] = f"{tools}:{os.environ['PATH']}:/usr/sbin:/sbin"
        (path / "session.har").write_text(json.dumps(har()))
        (path / "amber2sigen.env").write_text(f"AMBER_TOKEN={TOKEN}\nSIGEN_USER={USER}\nPLAN_NAME=Amber Live\nINTERVAL=30\n")
        (path / "amber2sigen.env").chmod(0o600)
        (path / "sites").write_text(f"home {self.status}\n")
        (path / "leases").write_text("1795220000 aa:bb:cc:dd:ee:ff 127.0.0.1 kitchen *\n")
        (path / "neighbours").write_text("IP address       HW type     Flags       HW address            Mask     Device\n")
        (path / "relay.token").write_text(SECRET + "\n")
        tomorrow = self.clock.now() + 86400.0
        day = datetime.fromtimestamp(tomorrow, timezone.utc).strftime("%Y-%m-%d")
        for name, block in named_files(self.page, self.text).items():
            text = re.sub(r"\b20\d\d-\d\d-\d\d(?=T)", day, block)
            (path / name).write_text(self.mapped(text) if name.endswith((".ini", "sites")) else text)

    def _meter(self):
        """Serve a Pro 3EM whose phases are those of the plant, and return its address."""
        plant = self.plant

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_error(404)  # no WebSocket

            def do_POST(self):
                call = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                grid = (plant.state.grid_w / 3,) * 3
                told = {"Shelly.GetDeviceInfo": METER, "EM.GetStatus": {
                    "id": 0, **{f"{phase}_act_power": power for phase, power in zip("abc", grid)},
                    "total_act_power": sum(grid), "errors": []}}[call["method"]]
                body = json.dumps({"id": call["id"], "src": METER["id"], "result": told}).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args):
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        self.stack.callback(server.shutdown)
        return f"127.0.0.1:{server.server_address[1]}"

    def _serial(self):
        """Return the terminal of a simulated plant on RS485."""
        return self.stack.enter_context(PlantSim(self.clock, serial=True, unit=1)).tty

    def mapped(self, text):
        """Return a line or file with the example addresses replaced by the simulators'."""
        for number, (pattern, put) in enumerate(self.addresses):
            if re.search(pattern, text):
                if callable(put):
                    put = put()
                    self.addresses[number] = (pattern, put)
                text = re.sub(pattern, lambda _, put=put: put, text)
        return text

    # running

    def run(self, line):
        """Run one line of a page; returns what became of it."""
        made = self.mapped(line)
        for pattern, more in ADDED:
            if re.search(pattern, line):
                made += more.replace("{shelly}", str(self.third.port))
        if re.search(INTERACTIVE, line):
            done = Done(line, *self._typed(made))
            if "env make" in line:
                self.environment.pop("AMBER_TOKEN", None)  # from here on it stands in the file only, as with a reader
            return done
        for kind, (pattern, more, sign) in enumerate(FOREVER):
            if re.search(pattern, line) and "--dry-run" not in line.replace("loads run --dry-run", ""):
                more = re.sub(r"\{free\}", lambda _: str(free_port()), more)
                return self._forever(line, kind, made + more, sign)
        process, output = self._start(made)
        try:
            code = process.wait(LINE_S)
        except subprocess.TimeoutExpired:
            self._kill(process)
            code = "hangs"
        text = output.read_text(errors="replace")
        if line.startswith("sigen-bridge assist") and sys.version_info < (3, 11):
            assert code == 2 and "3.11" in text, text
            code = 0  # that is what the page says of older Pythons
        if line.endswith("house.ini --template"):
            (self.path / "house.ini").write_text(self._answers())
        return Done(line, code, text)

    def _answers(self):
        """Return the answers that the page shows, as filled in for this house."""
        (text,) = blocks_of(self.text, "ini")
        (self.path / "heater.pass").write_text(SECRET + "\n")
        text = text.replace("110A11AB0001", "SIM0000000000247").replace("192.168.8.31", "192.168.8.30")
        text = text.replace("mac = AABBCCDDEEFF\n", "mac = AABBCCDDEEFF\nhost = 192.168.8.20\n")
        return self.mapped(text)

    def _start(self, line):
        self.number += 1
        output = self.path / f"{self.number}.out"
        with output.open("wb") as sink:
            process = subprocess.Popen(
                ["sh", "-c", line if re.search(r"[|&;]", line) else f"exec {line}"], stdin=subprocess.DEVNULL, stdout=sink,
                stderr=subprocess.STDOUT, cwd=self.path, start_new_session=True,
                env={**Bridge().environment(), **self.environment})
        self.stack.callback(self._kill, process)
        return process, output

    def _kill(self, process):
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def _forever(self, line, kind, made, sign):
        for one in [one for one in self.running if one.kind == kind]:
            ended = self._stop(one)
            if ended is not None:
                return Done(line, f"the one before ended with {ended}", one.text())
        process, output = self._start(made)
        one = Running(line, kind, process, output)
        end = self.clock.monotonic() + SIGN_S
        while not re.search(sign, one.text(), re.M):
            if process.poll() is not None or self.clock.monotonic() > end:
                self._kill(process)
                return Done(line, process.poll() if process.poll() is not None else "no sign of life", one.text())
            self.clock.wait(0.05)
        self.running.append(one)
        for words in re.findall(r"(?:^|: )export (.+)$", one.text(), re.M):
            self.environment.update(word.split("=", 1) for word in shlex.split(words))
        return Done(line, 0, one.text())

    def _stop(self, one):
        """End what runs for ever as Ctrl-C would; returns None, or how badly it ended."""
        self.running.remove(one)
        if one.process.poll() is not None:
            return f"{one.process.returncode}, before it was stopped"
        one.process.send_signal(signal.SIGINT)
        try:
            code = one.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._kill(one.process)
            return "no end within 10 s"
        return None if code in (0, 130, -signal.SIGINT) and "Traceback" not in one.text() else code

    def ended(self):
        """Stop everything; returns what ended badly."""
        found = [(one, self._stop(one)) for one in reversed(list(self.running))]  # who asks before who answers
        return [Done(one.line, ended, one.text()) for one, ended in found if ended is not None]

    def _typed(self, made):
        """Run a line on a terminal and answer what it asks; returns (exit code, what the terminal showed)."""
        leader, follower = pty.openpty()
        kept = {name: text for name, text in self.environment.items() if not name.startswith(("SIGEN_USER", "SIGEN_PASS", "AMBER"))}
        process = subprocess.Popen(
            ["sh", "-c", f"exec {made}"], cwd=self.path, env={**Bridge().environment(), **kept}, stdin=follower,
            stdout=follower, stderr=follower, start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))
        self.stack.callback(self._kill, process)
        os.close(follower)
        shown, seen, end = "", 0, self.clock.monotonic() + LINE_S
        while self.clock.monotonic() < end:
            if select.select([leader], [], [], 0.2)[0]:
                try:
                    shown += os.read(leader, 4096).decode()
                except OSError:
                    break  # the other end is closed
            if shown[seen:].endswith(": "):
                prompt, seen = shown[seen:].lower().splitlines()[-1], len(shown)
                answer = next(answer for pattern, answer in TYPED if re.search(pattern, prompt))
                os.write(leader, (answer + "\n").encode())
        code = process.wait(10)
        os.close(leader)
        return code, shown


METER = {"id": "shellypro3em-aabbccddeeff", "mac": "AABBCCDDEEFF", "model": "SPEM-003CEBEU", "gen": 2, "ver": "1.7.4",
         "app": "Pro3EM", "auth_en": False, "name": None}


def blocks_of(text, kind):
    """Return the fenced blocks of a kind."""
    return re.findall(rf"^```{kind}\n(.*?)^```$", text, re.S | re.M)


def lines_of(text):
    """Return the command lines of the sh blocks, continued lines as one."""
    joined = "".join(blocks_of(text, "sh")).replace("\\\n", " ")
    return [line.strip() for line in joined.splitlines() if line.strip() and not line.startswith("#")]


def named_files(page, text):
    """Return the files that a page shows and its lines read, by name."""
    found = {}
    if page == "battery":
        found["night.txt"] = "\n".join(line.strip() for line in re.findall(r"^    20\d\d-.*$", text, re.M)) + "\n"
    if page == "loads":
        (found["loads.ini"],) = blocks_of(text, "ini")
    for name, block in re.findall(r"^`([\w.-]+)`:\n+```\w+\n(.*?)^```$", text, re.S | re.M):
        found[name] = block
    return found
