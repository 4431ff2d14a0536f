"""``python -m tests.bench.reserver``: what the re-server costs, and what pymodbus' server would.

Servers alone: memory with ten clients, CPU and instructions a request. The bridge at 1 s with the re-server off,
on, and on with ten clients at 10 Hz: memory, CPU, instructions a cycle, requests at the plant, jitter.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path

from bridge.clock import Clock
from bridge.sim.plant import PlantSim
from tests.ports import free_port

HERE = Path(__file__).parent
QUESTION = struct.pack(">HHHBBHH", 7, 0, 6, 247, 4, 30005, 2)
CLIENTS, REQUESTS = 10, 2000
SECONDS = 20
SHORT, LONG = 5, 25


def connected(port, timeout_s=300.0):
    """Connect, waiting for the server to come up."""
    end = time.monotonic() + timeout_s
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port), 30)
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.05)


def ask(connection):
    """Ask for the grid power once."""
    connection.sendall(QUESTION)
    answer = connection.recv(300)
    assert answer[7] == 4, answer


def usage(process):
    """Return (peak MiB, CPU ms) of a process so far."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    fields = Path(f"/proc/{process.pid}/stat").read_text().rsplit(")", 1)[1].split()
    cpu_ms = (int(fields[11]) + int(fields[12])) * 1000 / os.sysconf("SC_CLK_TCK")
    return int(re.search(r"VmHWM:\s+(\d+)", status).group(1)) / 1024, cpu_ms


def server_alone(script):
    """Return RSS in MiB, CPU us and k instructions a request of a server script."""
    port = free_port()
    command = [sys.executable, str(HERE / script), str(port)]
    environment = {**os.environ, "PYTHONPATH": str(HERE.parent.parent)}
    process = subprocess.Popen(command, env=environment)
    try:
        clients = [connected(port) for _ in range(CLIENTS)]
        for client in clients:
            ask(client)
        _, before = usage(process)
        for _ in range(REQUESTS):
            for client in clients:
                ask(client)
        rss, after = usage(process)
    finally:
        process.kill()
        process.wait()
    return rss, (after - before) * 1000 / REQUESTS / CLIENTS, counted(command, environment, port)


def counted(command, environment, port):
    """Return thousand instructions a request by callgrind, or None without valgrind."""
    if shutil.which("valgrind") is None:
        return None
    totals = []
    for requests in (100, 600):
        process = subprocess.Popen(
            ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", *command], env=environment,
            stderr=subprocess.PIPE, text=True)
        try:
            client = connected(port)
            for _ in range(requests):
                ask(client)
        finally:
            process.terminate()
        said = process.communicate()[1]
        found = re.search(r"Collected\s*:\s*(\d+)", said)
        if found is None:
            return None
        totals.append(int(found.group(1)))
    return (totals[1] - totals[0]) / 500 / 1000


def bridge(plant, port, cycles):
    """Return the command of a bridge; ``port`` None leaves the re-server off."""
    command = [sys.executable, "-m", "bridge", "run", "--host", f"127.0.0.1:{plant.port}", "--cycles", str(cycles),
               "--status-listen", f"127.0.0.1:{free_port()}"]
    return command + (["--reserver-listen", f"127.0.0.1:{port}"] if port else [])


def bridge_at_work(on, clients):
    """Return RSS, CPU ms a second, plant requests a second and the p99 of the poll's jitter in ms of a bridge."""
    with PlantSim(Clock()) as plant:
        port = free_port() if on else None
        process = subprocess.Popen(bridge(plant, port, SECONDS + 5), stderr=subprocess.DEVNULL)
        sockets = [connected(port) for _ in range(clients)]
        time.sleep(2)
        _, before = usage(process)
        asked, begun = plant.counters.requests, time.monotonic()
        plant.log.clear()
        for tick in range(10 * (SECONDS - 2)):
            for client in sockets:
                ask(client)
            time.sleep(max(0.0, begun + (tick + 1) / 10 - time.monotonic()))
        took = time.monotonic() - begun
        rss, after = usage(process)
        requests = plant.counters.requests - asked
        polls = [request.at_mono for request in plant.log if request.address == 30000]
        late = sorted(abs(b - a - 1.0) * 1000 for a, b in zip(polls, polls[1:]))
        process.terminate()
        process.wait()
        return rss, (after - before) / took, requests / took, late[int(0.99 * len(late))]


def bridge_counted(on):
    """Return M instructions a cycle of a bridge that nobody asks."""
    if shutil.which("valgrind") is None:
        return None
    totals = []
    for cycles in (SHORT, LONG):
        with PlantSim(Clock()) as plant:
            done = subprocess.run(
                ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null",
                 *bridge(plant, free_port() if on else None, cycles)], stderr=subprocess.PIPE, text=True, check=False)
        totals.append(int(re.search(r"Collected\s*:\s*(\d+)", done.stderr).group(1)))
    return (totals[1] - totals[0]) / (LONG - SHORT) / 1e6


def main():
    """Measure and print two tables."""
    def cell(figure, form):
        return "-" if figure is None else format(figure, form)

    print("| server alone, 10 clients | RSS MiB | CPU us/request | k instr/request |\n|---|---|---|---|")
    for name, script in (("ours", "own_server.py"), ("pymodbus", "pymodbus_server.py")):
        rss, cpu, instructions = server_alone(script)
        print(f"| {name} | {rss:.1f} | {cpu:.0f} | {cell(instructions, '.0f')} |", flush=True)
    print("\n| bridge at 1 s | RSS MiB | CPU ms/s | M instr/cycle | plant requests/s | p99 jitter ms |\n|---|---|---|---|---|---|")
    for name, on, clients in (("re-server off", False, 0), ("on, nobody asks", True, 0), ("on, 10 x 10 Hz", True, CLIENTS)):
        rss, cpu, requests, late = bridge_at_work(on, clients)
        instructions = None if clients else bridge_counted(on)
        print(f"| {name} | {rss:.1f} | {cpu:.1f} | {cell(instructions, '.3f')} | {requests:.2f} | {late:.1f} |", flush=True)


if __name__ == "__main__":
    main()
