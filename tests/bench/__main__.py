"""``make bench``: ours beside two baselines, same simulators, same minutes; ratios, not absolute times.

Instruction counts come from valgrind's callgrind and do not depend on what else the machine does.
"""

from __future__ import annotations

import compileall
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

from bridge.clock import Clock
from bridge.sim.plant import PlantSim
from bridge.sim.shelly import ShellySim
from bridge.wiring_sim import five_components

HERE = Path(__file__).parent
CYCLES = 20
SHORT, LONG = 5, 25  # the difference is pure steady state
OURS = [sys.executable, "-m", "bridge", "run", "--status-listen", "127.0.0.1:0"]


def contenders():
    """Return (name, command maker) for each program measured."""

    def ours(*options):
        return lambda plant, shelly, cycles: [
            *OURS, "--host", plant, "--shelly-host", shelly, "--cycles", str(cycles), *options]

    def script(name):
        return lambda plant, shelly, cycles: [sys.executable, str(HERE / name), plant, shelly, str(cycles)]

    return (
        ("stdlib baseline", script("stdlib_baseline.py")),
        ("pymodbus + requests", script("pymodbus_baseline.py")),
        ("ours, WebSocket", ours()),
        ("ours, script", ours("--shelly-transport", "script")),
        ("ours, HTTP", ours("--shelly-transport", "http")),
        ("ours, lean", ours("--shelly-transport", "http", "--status-listen", "off")),
        ("ours, pymodbus engine", ours("--modbus-engine", "pymodbus")),
    )


class World:
    """The simulated plant and Shelly that every contender gets anew."""

    def __enter__(self):
        from tests.bench.runner import script_runner

        self.plant = PlantSim(Clock()).start()
        self.shelly = ShellySim(Clock(), components=five_components(), script_runner=script_runner()).start()
        return self

    def __exit__(self, *exc):
        self.shelly.stop()
        self.plant.stop()

    @property
    def addresses(self):
        return f"127.0.0.1:{self.plant.port}", f"127.0.0.1:{self.shelly.port}"


def prepare(world, name):
    """Upload the helper script where a contender needs it."""
    if "script" in name:
        subprocess.run([sys.executable, "-m", "bridge", "shelly", "setup", "--script", "--shelly-host", world.addresses[1]],
                       check=True, stdout=subprocess.DEVNULL)


def measure(name, command):
    """Return the figures of one contender over CYCLES real seconds."""
    with World() as world:
        prepare(world, name)
        before = (world.plant.counters.requests, world.plant.counters.connections,
                  world.shelly.counters.http_requests, world.shelly.counters.http_connections)
        world.shelly.history.clear()
        begun = time.monotonic()
        process = subprocess.Popen(command(*world.addresses, CYCLES), stderr=subprocess.DEVNULL)
        rss = cpu_at_2 = cpu = 0.0
        first = None
        while process.poll() is None:
            time.sleep(0.01)
            if first is None and world.shelly.history:
                first = world.shelly.history[0][0] - begun
            try:
                status = Path(f"/proc/{process.pid}/status").read_text()
                rss = int(re.search(r"VmHWM:\s+(\d+)", status).group(1)) / 1024
                fields = Path(f"/proc/{process.pid}/stat").read_text().rsplit(")", 1)[1].split()
                cpu = (int(fields[11]) + int(fields[12])) * 1000 / os.sysconf("SC_CLK_TCK")
            except (OSError, AttributeError, IndexError):
                continue
            if time.monotonic() - begun < 2:
                cpu_at_2 = cpu
        if process.returncode:
            raise SystemExit(f"{name} ended with {process.returncode}")
        after = (world.plant.counters.requests, world.plant.counters.connections,
                 world.shelly.counters.http_requests, world.shelly.counters.http_connections)
        plant_requests, plant_connections, http_requests, http_connections = (a - b for a, b in zip(after, before))
        return {
            "rss": rss, "cpu": (cpu - cpu_at_2) / (CYCLES - 2), "first": first, "plant_requests": plant_requests / CYCLES,
            "plant_connections": plant_connections, "http": http_requests / CYCLES, "http_connections": http_connections,
        }


def instructions(name, command):
    """Return M instructions a cycle and to the first cycle's end, by callgrind."""
    if shutil.which("valgrind") is None:
        return None, None
    counts = []
    for cycles in (1, SHORT, LONG):
        with World() as world:
            prepare(world, name)
            done = subprocess.run(
                ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", *command(*world.addresses, cycles)],
                stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, check=False)
            found = re.search(r"Collected\s*:\s*(\d+)", done.stderr)
            if found is None:
                return None, None
            counts.append(int(found.group(1)))
    return (counts[2] - counts[1]) / (LONG - SHORT) / 1e6, counts[0] / 1e6


def main():
    """Measure everybody and print one table."""
    only = sys.argv[1:]
    for part in (HERE.parent.parent / "bridge", HERE):  # as packages ship it: who compiles at start keeps 0.3 MiB of it
        compileall.compile_dir(str(part), quiet=1)
    head = ("program", "RSS MiB", "CPU ms/cyc", "M instr/cyc", "M instr start", "plant req", "plant conn", "HTTP req",
            "HTTP conn", "first value")
    rows, base = [], None
    for name, command in contenders():
        if only and not any(word in name for word in only):
            continue
        figures = measure(name, command)
        per_cycle, start = instructions(name, command)
        figures.update(instr=per_cycle, start=start)
        base = base or figures
        rows.append((name, figures))
        print(f"measured {name}", file=sys.stderr)

    def cell(value, reference, form):
        if value is None:
            return "-"
        ratio = f" ({value / reference:.2f}x)" if reference else ""
        return format(value, form) + ratio

    print("| " + " | ".join(head) + " |")
    print("|" + "---|" * len(head))
    for name, f in rows:
        print("| " + " | ".join((
            name, cell(f["rss"], base["rss"], ".1f"), cell(f["cpu"], base["cpu"], ".1f"),
            cell(f["instr"], base["instr"], ".2f"), cell(f["start"], base["start"], ".0f"),
            format(f["plant_requests"], ".1f"), str(f["plant_connections"]), format(f["http"], ".1f"),
            str(f["http_connections"]), "-" if f["first"] is None else f"{f['first'] * 1000:.0f} ms")) + " |")
    print("ratios are to the first row; bars: RSS 24 MiB with everything on, 19 MiB lean; 0.6 M instructions a cycle"
          " (WebSocket, script), 2 M (HTTP); first value 150 ms; 2 plant requests, 0 new connections a cycle")


if __name__ == "__main__":
    main()
