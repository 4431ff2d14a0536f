"""``python -m tests.bench.web``: what page, stream and metrics add to a bridge whose snapshot is asked once a second.

Both run against the same simulators. Instructions are callgrind's, the difference of a long and a short run, so that
start and first use (the imports) are left out; memory is what is resident at the end of the long run.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import shutil
import socket
import subprocess
import tempfile
import threading
from pathlib import Path

from bridge.clock import Clock
from tests.bench.__main__ import OURS, World
from tests.ports import free_port

SHORT, LONG = 10, 40
METRICS_S = 15  # Prometheus' usual pace


class Reader:
    """Uses what ``wanted`` names: the snapshot each second over one kept connection, and the web parts."""

    def __init__(self, port, wanted):
        self._port, self._wanted, self._clock = port, wanted, Clock()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.asked = 0

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *exc):
        self._clock.stop()
        self._thread.join(30)

    def _run(self):
        kept = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
        streams = []
        while not self._clock.wait(1.0):
            try:
                if "snapshot" in self._wanted:
                    kept.request("GET", "/v1/snapshot")
                    kept.getresponse().read()
                if "web" in self._wanted and not streams:
                    self._once("/")
                    streams = [self._stream("/v1/stream?for=page"), self._stream("/v1/stream")]
                if "web" in self._wanted and self.asked % METRICS_S == 0:
                    self._once("/metrics")
            except (OSError, http.client.HTTPException):  # not there yet, or not any more
                kept.close()
                continue
            self.asked += 1
            for stream in streams:
                stream.setblocking(False)
                with contextlib.suppress(BlockingIOError):
                    stream.recv(1 << 20)

    def _once(self, path):
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
        connection.request("GET", path)
        assert connection.getresponse().read()
        connection.close()

    def _stream(self, path):
        connection = socket.create_connection(("127.0.0.1", self._port), 30)
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
        assert b" 200 " in connection.recv(100)
        return connection


def run(wanted, cycles, callgrind, cache):
    """Return what one run took: M instructions in all under callgrind, else MiB resident at its end."""
    port = free_port()
    with World() as world:
        plant, shelly = world.addresses
        command = [*OURS[:-1], f"127.0.0.1:{port}", "--host", plant, "--shelly-host", shelly, "--cycles", str(cycles)]
        if callgrind:
            command = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", *command]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=compiled(cache))
        resident = 0.0
        with Reader(port, wanted) as reader:
            while process.poll() is None:
                with contextlib.suppress(OSError, AttributeError):
                    resident = int(re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{process.pid}/status").read_text()).group(1)) / 1024
                Clock().wait(0.1)
        said = process.stderr.read()
        assert process.returncode == 0 and reader.asked > cycles / 3, said
        return int(re.search(r"Collected\s*:\s*(\d+)", said).group(1)) / 1e6 if callgrind else resident


def compiled(cache):
    """Return an environment in which modules are compiled once, as packages install them."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**kept, "PYTHONPYCACHEPREFIX": cache}


def figures(wanted, cache):
    """Return MiB resident and M instructions a cycle."""
    run(wanted, 4, False, cache)  # compiles
    memory = sorted(run(wanted, LONG // 2, False, cache) for _ in range(3))[1]
    if shutil.which("valgrind") is None:
        return memory, None
    return memory, (run(wanted, LONG, True, cache) - run(wanted, SHORT, True, cache)) / (LONG - SHORT)


ROWS = (
    ("snapshot once a second", ("snapshot",)),
    ("page, its stream, another stream, metrics", ("web",)),
    ("all of these at once", ("snapshot", "web")),
    ("nothing asked", ()),
)


def main():
    """Measure each and print a table."""
    print("| what is in use | RSS MiB | M instructions a cycle | beside the snapshot alone |\n|---|---|---|---|")
    measured = {}
    for name, wanted in ROWS:
        with tempfile.TemporaryDirectory() as cache:
            measured[wanted] = memory, instructions = figures(wanted, cache)
        base = measured.get(("snapshot",))
        beside = "" if base is None else f"{memory - base[0]:+.2f} MiB"
        if base is not None and instructions is not None:
            beside += f", {instructions / base[1] - 1:+.1%}"
        print(f"| {name} | {memory:.2f} | {'-' if instructions is None else format(instructions, '.3f')} | {beside} |", flush=True)
    print("bars: +1 MiB, +10 % for the second row")


if __name__ == "__main__":
    main()
