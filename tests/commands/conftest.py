"""Runs the command line as a user does, in a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from bridge.clock import Clock
from bridge.sim.plant import PlantSim
from bridge.sim.shelly import ShellySim
from bridge.wiring_sim import five_components

ROOT = Path(__file__).parent.parent.parent


class Bridge:
    """Starts ``sigen-bridge`` and gives back exit code, output and errors."""

    def __init__(self):
        self.running = []

    def environment(self, **extra):
        kept = {name: value for name, value in os.environ.items() if not name.startswith("SIGEN_")}
        return {**kept, "PYTHONPATH": str(ROOT), "PYTHONFAULTHANDLER": "1", **extra}

    def __call__(self, *argv, timeout=20, cwd=None, python=(), env=None):
        process = self.start(*argv, python=python, env=env, cwd=cwd)
        try:
            out, err = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGABRT)  # faulthandler tells where it hangs
            out, err = process.communicate(timeout=10)
            pytest.fail(f"sigen-bridge {' '.join(argv)} hangs:\n{out}\n{err}")
        return subprocess.CompletedProcess(argv, process.returncode, out, err)

    def start(self, *argv, python=(), env=None, cwd=None):
        process = subprocess.Popen(
            [sys.executable, *python, "-m", "bridge", *argv], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env=self.environment(**(env or {})), cwd=cwd or ROOT, stdin=subprocess.DEVNULL)
        self.running.append(process)
        return process

    def stop(self, process, number=signal.SIGTERM):
        """Ask a process to end and return its exit code and what it said."""
        process.send_signal(number)
        out, err = process.communicate(timeout=10)
        return process.returncode, out, err


@pytest.fixture
def bridge():
    runner = Bridge()
    yield runner
    for process in runner.running:
        if process.poll() is None:
            process.kill()
            process.communicate()


@pytest.fixture
def plant():
    with PlantSim(Clock(), scenario="s3") as simulator:
        yield simulator


@pytest.fixture
def moving_plant():
    with PlantSim(Clock()) as simulator:
        yield simulator


@pytest.fixture
def shelly():
    with ShellySim(Clock(), components=five_components()) as simulator:
        yield simulator


def one_line(text):
    """Return the single line that ``text`` must be."""
    lines = text.strip().splitlines()
    assert len(lines) == 1, text
    assert "Traceback" not in text
    return lines[0]


def until(condition, timeout_s=5.0):
    """Wait until ``condition()`` is true; returns whether it became so."""
    clock = Clock()
    deadline = clock.monotonic() + timeout_s
    while clock.monotonic() < deadline:
        if condition():
            return True
        clock.wait(0.02)
    return bool(condition())
