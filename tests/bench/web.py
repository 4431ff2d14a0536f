"""``python -m tests.bench.web``: what page, stream and metrics add to a bridge whose snapshot is asked once a second.

Both run against the same simulators. Instructions are callgrind's, the difference of a long and a short run, so that
start and first use (the imports) are left out; memory is what is resident at the end of the long run.
"""

from __future__ import annotations

import contextlib
import http.client
import re
import shutil
import socket
import subprocess
import threading
from pathlib import Path

from bridge.clock import Clock
from tests.bench.__main__ import OURS, World
from tests.commands.test_run import free_port

SHORT, LONG = 10, 40
METRICS_S = 15  # Prometheus' usual pace
BARS = {"RSS MiB": 1.0, "M instructions a cycle": 0.10}


class Reader:
    """Asks for the snapshot each second over one kept connection, and does ``more`` beside it."""

    def __init__(self, port, more):
        self._port, self._more, self._clock = port, more, Clock()
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
                kept.request("GET", "/v1/snapshot")
                kept.getresponse().read()
                if self._more and not streams:
                    self._once("/")
                    streams = [self._stream("/v1/stream?for=page"), self._stream("/v1/stream")]
                if self._more and self.asked % METRICS_S == 0:
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


def run(more, cycles, callgrind):
    """Return what one run took: M instructions in all under callgrind, else MiB resident at its end."""
    port = free_port()
    with World() as world:
        plant, shelly = world.addresses
        command = [*OURS[:-1], f"127.0.0.1:{port}", "--host", plant, "--shelly-host", shelly, "--cycles", str(cycles)]
        if callgrind:
            command = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", *command]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        resident = 0.0
        with Reader(port, more) as reader:
            while process.poll() is None:
                with contextlib.suppress(OSError, AttributeError):
                    resident = int(re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{process.pid}/status").read_text()).group(1)) / 1024
                Clock().wait(0.1)
        said = process.stderr.read()
        assert process.returncode == 0 and reader.asked > cycles / 2, said
        return int(re.search(r"Collected\s*:\s*(\d+)", said).group(1)) / 1e6 if callgrind else resident


def figures(more):
    """Return MiB resident and M instructions a cycle."""
    memory = sorted(run(more, LONG // 2, False) for _ in range(3))[1]
    if shutil.which("valgrind") is None:
        return memory, None
    return memory, (run(more, LONG, True) - run(more, SHORT, True)) / (LONG - SHORT)


def main():
    """Measure both and print a table."""
    plain, whole = figures(False), figures(True)
    print("| what is in use | RSS MiB | M instructions a cycle |\n|---|---|---|")
    for name, row in (("snapshot, once a second", plain), ("with page, two streams and metrics", whole)):
        print(f"| {name} | {row[0]:.2f} | {'-' if row[1] is None else format(row[1], '.3f')} |")
    print(f"memory +{whole[0] - plain[0]:.2f} MiB (bar 1 MiB)", end="")
    print("" if plain[1] is None else f", instructions {whole[1] / plain[1] - 1:+.1%} (bar +10 %)")


if __name__ == "__main__":
    main()
