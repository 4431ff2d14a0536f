"""``python -m tests.bench_fleet [SITES [SECONDS]]``: many sites on one mosquitto, and what one site costs there.

Every site is the sink that ``run`` uses, with a connection of its own; only their plants are made up. A
hundred share a process, so its memory is no measure of a bridge's; the broker's is the broker's.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bridge.clock import Clock
from bridge.link.broker import Broker, Login
from bridge.link.mqtt import MqttLink
from bridge.model import Reading
from bridge.sinks.mqtt import MqttSink, Rules
from bridge.sinks.mqtt_discovery import place
from tests.mqtt_broker import Mosquitto

SITES, SECONDS, WORKERS, EACH = 500, 20, 24, 100


def cpu_s(pid):
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def rss_kib(pid):
    return int(re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text()).group(1))


def site_sink(clock, port, number):
    where = place("sigen-bridge", f"site-{number:04d}")

    def dial(will, receive):
        return MqttLink("mqtt", Broker("127.0.0.1", port), f"bench-{number}", will, receive)

    return MqttSink(dial, Login(), where, Rules(), clock, 200)


def reading(clock, number, second):
    pv_w = 100.0 * (number % 50) + 10 * second  # moves by more than the dead band each second
    return Reading(clock.now(), clock.monotonic(), "modbus-tcp", pv_w, 50.0, 0.0, 500.0 - pv_w, 500.0, balance_w=0.0)


class Published:
    """Counts what the broker took, by its own statistics (of MQTT 5 it counts no PUBLISH apart, so pings are in it)."""

    def __init__(self, broker):
        self.broker = broker

    def __call__(self):
        rows = dict(self.broker.sub("$SYS/broker/messages/received", wait_s=12))
        return int(rows["$SYS/broker/messages/received"])


def worker(port, first, count, seconds):
    """Be some of the sites: connect, say so, wait for a line, publish each second, report as JSON."""
    clock = Clock()
    sinks = [site_sink(clock, port, number) for number in range(first, first + count)]
    with ThreadPoolExecutor(WORKERS) as pool:

        def round_of(second):
            begun = clock.monotonic()
            list(pool.map(lambda row: row[1].write(reading(clock, first + row[0], second)), enumerate(sinks)))
            return clock.monotonic() - begun

        connected_s = round_of(0)
        print(json.dumps(connected_s), flush=True)
        sys.stdin.readline()
        begun, cpu, slowest_s = clock.monotonic(), cpu_s(os.getpid()), 0.0
        for second in range(1, seconds + 1):
            clock.wait(max(0.0, begun + second - clock.monotonic()))
            slowest_s = max(slowest_s, round_of(second))
        print(json.dumps({"took_s": clock.monotonic() - begun, "cpu_s": cpu_s(os.getpid()) - cpu, "slowest_s": slowest_s}),
              flush=True)
        sys.stdin.readline()
        list(pool.map(lambda sink: sink.close(), sinks))
    assert threading.active_count() == 1


def start(port, sites, seconds):
    """Start the sites, a hundred a process: paho waits with select, which ends at 1,024 descriptors."""
    return [subprocess.Popen(
        [sys.executable, "-m", "tests.bench_fleet", "worker", str(port), str(first), str(min(EACH, sites - first)), str(seconds)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for first in range(0, sites, EACH)]


def go(processes):
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()


def answers(processes):
    return [json.loads(process.stdout.readline()) for process in processes]


def main():
    """Measure and print one table."""
    sites = int(sys.argv[1]) if len(sys.argv) > 1 else SITES
    seconds = int(sys.argv[2]) if len(sys.argv) > 2 else SECONDS
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        broker = Mosquitto(folder, "allow_anonymous true", "sys_interval 1", "max_connections -1", "log_type none")
        with broker:
            pid, count = broker.process.pid, Published(broker)
            empty_kib, begun = rss_kib(pid), clock.monotonic()
            processes = start(broker.port, sites, seconds)
            answers(processes)
            connected_s = clock.monotonic() - begun
            clock.wait(1.5)  # the broker counts once a second
            before, cpu_before = count(), cpu_s(pid)
            go(processes)
            rows = answers(processes)
            broker_s, full_kib = cpu_s(pid) - cpu_before, rss_kib(pid)
            took_s = max(row["took_s"] for row in rows)
            clock.wait(1.5)  # the broker counts once a second
            messages = count() - before
            begun = clock.monotonic()
            asked = subprocess.run(
                [sys.executable, "-m", "bridge", "fleet", "status", "--mqtt-host", f"127.0.0.1:{broker.port}"],
                capture_output=True, text=True, timeout=60, check=False)
            fleet_s = clock.monotonic() - begun
            go(processes)
            assert [process.wait(60) for process in processes] == [0] * len(processes)
    assert asked.returncode == 0, asked.stderr + asked.stdout[-200:]
    own_s, slowest_s = sum(row["cpu_s"] for row in rows), max(row["slowest_s"] for row in rows)
    print(f"| {sites} sites on one mosquitto, {seconds} s, a change a second each | all | a site |")
    print("|---|---|---|")
    print(f"| started, connected, announced, first state | {connected_s:.1f} s | {connected_s / sites * 1000:.1f} ms |")
    print(f"| messages a second taken by the broker | {messages / took_s:.0f} | {messages / took_s / sites:.2f} |")
    print(f"| broker's CPU | {broker_s / took_s * 100:.1f} % of a core | {broker_s / took_s / sites * 1e6:.0f} us a second |")
    print(f"| broker's memory (empty: {empty_kib} KiB) | {full_kib} KiB | {(full_kib - empty_kib) / sites:.1f} KiB |")
    print(f"| publishing side's CPU (sink, JSON, paho) | {own_s / took_s * 100:.1f} % of a core |"
          f" {own_s / took_s / sites * 1e6:.0f} us a second |")
    print(f"| slowest round of a hundred sites, acknowledged | {slowest_s:.2f} s | |")
    print(f"| fleet status: {asked.stdout.splitlines()[-1]} | {fleet_s:.1f} s | |")


if __name__ == "__main__":
    if sys.argv[1:2] == ["worker"]:
        worker(*map(int, sys.argv[2:]))
    else:
        main()
