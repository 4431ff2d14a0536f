"""Our Envoy proxy beside a stand-in of the original's stack: memory, requests a second, CPU for a request.

``python -m tests.bench.enphase`` makes a throw-away environment for the stand-in (quart, hypercorn, httpx from
the package registry); ``--baseline PYTHON`` uses one that is there, ``--baseline none`` leaves it out. Both ask
the same simulated Envoy over TLS, which runs in a process of its own. No part of the tests.
"""

from __future__ import annotations

import argparse
import os
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import NamedTuple

from tests.ports import free_port

ROOT = Path(__file__).parent.parent.parent
TICK = os.sysconf("SC_CLK_TCK")
PATHS = ("/production.json?details=1", "/ivp/meters/readings")


class Figures(NamedTuple):
    """What one proxy needed."""

    name: str
    start_s: float
    idle_kib: int
    rss_kib: int
    per_s: float
    cpu_ms: float
    p99_ms: float


def status_kib(pid, field):
    return int(re.search(rf"{field}:\s+(\d+)", Path(f"/proc/{pid}/status").read_text()).group(1))


def cpu_s(pid):
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def one(tcp, path):
    """Ask once on a connection that is kept; returns the body."""
    tcp.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
    content = b""
    while b"\r\n\r\n" not in content:
        content += tcp.recv(65536)
    head, _, body = content.partition(b"\r\n\r\n")
    assert b" 200 " in head.split(b"\r\n")[0], head
    length = re.search(rb"content-length: *(\d+)", head, re.I)
    if length:
        while len(body) < int(length.group(1)):
            body += tcp.recv(65536)
        return body
    while not body.endswith(b"0\r\n\r\n"):
        body += tcp.recv(65536)
    return body


def load(port, clients, requests):
    """Let clients ask side by side; returns (requests a second, 99th percentile in ms)."""
    times, lock = [], threading.Lock()

    def client():
        mine = []
        with socket.create_connection(("127.0.0.1", port), 30) as tcp:
            tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for index in range(requests):
                begun = time.monotonic()
                one(tcp, PATHS[index % len(PATHS)])
                mine.append(time.monotonic() - begun)
        with lock:
            times.extend(mine)

    threads = [threading.Thread(target=client) for _ in range(clients)]
    begun = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took = time.monotonic() - begun
    times.sort()
    return len(times) / took, 1000 * times[int(len(times) * 0.99) - 1]


def measure(name, command, env, port, clients, requests):
    begun = time.monotonic()
    process = subprocess.Popen(command, env=env, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while True:
            try:
                with socket.create_connection(("127.0.0.1", port), 1) as tcp:
                    one(tcp, PATHS[0])
                break
            except OSError:
                assert process.poll() is None and time.monotonic() - begun < 60, f"{name} does not serve"
                time.sleep(0.02)
        start_s = time.monotonic() - begun
        idle_kib = status_kib(process.pid, "VmRSS")
        load(port, clients, max(5, requests // 10))  # warm
        before = cpu_s(process.pid)
        per_s, p99_ms = load(port, clients, requests)
        cpu_ms = 1000 * (cpu_s(process.pid) - before) / (clients * requests)
        return Figures(name, start_s, idle_kib, status_kib(process.pid, "VmRSS"), per_s, cpu_ms, p99_ms)
    finally:
        process.terminate()
        process.wait(10)


def environment(directory):
    """Make a throw-away environment with the stand-in's packages; returns its interpreter."""
    subprocess.run([sys.executable, "-m", "venv", directory], check=True)
    python = os.path.join(directory, "bin", "python")
    subprocess.run([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "quart", "hypercorn",
                    "httpx"], check=True)
    return python


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--baseline", default="make", metavar="PYTHON", help="interpreter of the stand-in, or none")
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--requests", type=int, default=200, help="of each client")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-enphase-") as place:
        baseline = environment(os.path.join(place, "venv")) if args.baseline == "make" else args.baseline
        envoy_port, cloud_port = free_port(), free_port()
        env = {**os.environ, "SIGEN_BRIDGE_RUN_STATE_DIR": place, "PYTHONPATH": str(ROOT)}
        ours = [sys.executable, "-m", "bridge"]
        sim = subprocess.Popen([*ours, "sim", "enphase", "--port", str(envoy_port), "--cloud-port", str(cloud_port)],
                               env=env, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        try:
            lines = "".join(sim.stdout.readline() for _ in range(4))
            env.update({name: value.strip("'") for name, value in re.findall(r"(ENPHASE_\w+)=('[^']*'|\S+)", lines)})
            subprocess.run([*ours, "enphase", "token"], env=env, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
            token = re.search(r'"token": "([^"]+)"', Path(place, "enphase-token.json").read_text()).group(1)
            found = []
            port = free_port()
            found.append(measure("ours", [*ours, "enphase", "serve", "--enphase-listen", f"127.0.0.1:{port}"], env, port,
                                 args.clients, args.requests))
            if baseline != "none":
                port = free_port()
                script = str(Path(__file__).with_name("enphase_baseline.py"))
                found.append(measure("quart+hypercorn+httpx", [baseline, script, env["ENPHASE_LOCAL_API_URL"], token,
                                     str(port)], env, port, args.clients, args.requests))
        finally:
            sim.terminate()
            sim.wait(10)
    print(f"{args.clients} clients, {args.requests} requests each, production.json and meters/readings over TLS")
    print(f"{'':<24}{'start s':>9}{'idle MiB':>10}{'RSS MiB':>9}{'req/s':>8}{'CPU ms/req':>12}{'p99 ms':>8}")
    for row in found:
        print(f"{row.name:<24}{row.start_s:>9.2f}{row.idle_kib / 1024:>10.1f}{row.rss_kib / 1024:>9.1f}{row.per_s:>8.0f}"
              f"{row.cpu_ms:>12.2f}{row.p99_ms:>8.0f}")


if __name__ == "__main__":
    main()
