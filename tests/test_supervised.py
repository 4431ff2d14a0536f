"""What procd and systemd rely on: how the daemon behaves as a process that nobody watches on a terminal."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from bridge.clock import Clock
from bridge.sim.plant import PlantSim

ROOT = Path(__file__).parent.parent
TERM_TIMEOUT_S = 30  # init/procd/sigen-bridge; far less is what we want
SOON_S = 5.0


@pytest.fixture
def plant():
    with PlantSim(Clock(), scenario="s3") as simulator:
        yield simulator


@pytest.fixture
def daemon():
    """Start ``run`` as procd does: no terminal, no HOME, cwd /, a preload that is not there."""
    started = []

    def start(*words, prefix=(), **environment):
        process = subprocess.Popen(
            [
                *prefix,
                sys.executable,
                "-m",
                "bridge",
                "run",
                "--status-listen",
                "off",
                "--poll-interval-s",
                "0.1",
                *words,
            ],
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            umask=0o022,
            start_new_session=True,
            env={
                "PATH": os.environ["PATH"],
                "PYTHONPATH": str(ROOT),
                "PYTHONUNBUFFERED": "1",
                "LD_PRELOAD": "/lib/libsetlbf-is-not-here.so",
                **environment,
            },
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
            process.communicate()


def eventually(what, timeout_s=10.0):
    """Wait until ``what`` holds; real processes have no manual clock."""
    end = time.monotonic() + timeout_s
    while not what():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


def group(process):
    """Return the processes of the daemon's session, itself and zombies left out."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            state, _parent, _group, session = (place / "stat").read_text().rpartition(")")[2].split()[:4]
        except (OSError, ValueError):
            continue
        if int(session) == process.pid and int(place.name) != process.pid and state != "Z":
            found.append(place.name)
    return found


def ended(process):
    begun = time.monotonic()
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=TERM_TIMEOUT_S)
    return time.monotonic() - begun, out, err


def preload_free(text):
    """Leave out what the dynamic loader says about the missing preload."""
    return [line for line in text.splitlines() if "LD_PRELOAD" not in line]


def test_sigterm_ends_it_soon_and_leaves_no_process(daemon, plant):
    process = daemon("--host", f"127.0.0.1:{plant.port}")
    eventually(lambda: plant.counters.requests > 4)
    took, _, _ = ended(process)
    assert process.returncode == 0 and took < SOON_S
    assert group(process) == []


def test_sigterm_ends_it_soon_also_while_the_plant_is_away(daemon):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        process = daemon("--host", "127.0.0.1:%d" % unused.getsockname()[1])
        time.sleep(1.5)
        assert process.poll() is None, "an outage is no reason to exit"
        took, _, err = ended(process)
    assert process.returncode == 0 and took < SOON_S
    assert len(preload_free(err)) <= 3, "one outage, one line"


def test_it_says_nothing_second_by_second(daemon, plant):
    process = daemon("--host", f"127.0.0.1:{plant.port}", "--cycles", "20")
    out, err = process.communicate(timeout=20)
    assert process.returncode == 0 and out == ""
    lines = preload_free(err)
    assert len(lines) <= 3 and all(len(line) < 1000 for line in lines), (
        "the log ring is small, and cuts at 1 KB"
    )


def test_procd_is_fed_for_its_own_instance(daemon, plant, tmp_path):
    ubus = tmp_path / "ubus"
    ubus.write_text(f'#!/bin/sh\nprintf "%s\\n" "$*" >>"{tmp_path}/calls"\n')
    ubus.chmod(0o755)
    process = daemon(
        "--host",
        f"127.0.0.1:{plant.port}",
        "--run-watchdog",
        "procd",
        PATH=f"{tmp_path}:{os.environ['PATH']}",
        SIGEN_BRIDGE_INSTANCE="barn",
    )
    eventually((tmp_path / "calls").exists)
    ended(process)
    assert (
        tmp_path / "calls"
    ).read_text() == 'call service watchdog {"name":"sigen-bridge","instance":"barn"}\n'
    assert group(process) == []


def test_systemd_hears_ready_then_the_watchdog_then_stopping(daemon, plant, tmp_path):
    heard = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.settimeout(10)

        def listen():
            while "STOPPING=1" not in heard:
                heard.extend(listener.recv(4096).decode().splitlines())

        thread = threading.Thread(target=listen)
        thread.start()
        process = daemon(
            "--host",
            f"127.0.0.1:{plant.port}",
            NOTIFY_SOCKET=str(tmp_path / "notify"),
            WATCHDOG_USEC="600000",
        )
        eventually(lambda: heard.count("WATCHDOG=1") >= 3)
        ended(process)
        thread.join()
    order = [word for word in heard if not word.startswith("STATUS=")]
    assert order[0] == "READY=1" and order[-1] == "STOPPING=1" and set(order[1:-1]) == {"WATCHDOG=1"}


@pytest.mark.parametrize("watchdog", ["off", "procd"])
def test_systemd_is_told_nothing_when_another_watchdog_is_set(daemon, plant, tmp_path, watchdog):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.setblocking(False)
        process = daemon(
            "--host",
            f"127.0.0.1:{plant.port}",
            "--run-watchdog",
            watchdog,
            "--cycles",
            "5",
            NOTIFY_SOCKET=str(tmp_path / "notify"),
            WATCHDOG_USEC="600000",
        )
        process.communicate(timeout=20)
        with pytest.raises(BlockingIOError):
            listener.recv(4096)


@pytest.mark.needs("unshare")
def test_it_runs_where_usr_and_etc_are_read_only(daemon, plant):
    frozen = (
        "for d in /usr /etc; do mount --bind $d $d && mount -o remount,ro,bind $d || exit 99; done;"
        " ! touch /etc/x || exit 99"
    )
    probe = subprocess.run(
        ["unshare", "-m", "sh", "-c", frozen], capture_output=True, timeout=20, check=False
    )
    if probe.returncode:
        pytest.skip("mount namespaces are not allowed here")
    process = daemon(
        "--host",
        f"127.0.0.1:{plant.port}",
        "--cycles",
        "5",
        prefix=("unshare", "-m", "sh", "-c", frozen + ' 2>/dev/null; exec "$@"', "sh"),
    )
    _, err = process.communicate(timeout=20)
    assert process.returncode == 0, err


def test_settings_that_are_wrong_end_it_with_code_2_and_one_line(daemon):
    process = daemon("--host", "127.0.0.1", "--port", "70000")
    out, err = process.communicate(timeout=20)
    assert process.returncode == 2 and out == "" and len(preload_free(err)) == 1
