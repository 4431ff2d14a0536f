"""Small files: whole or the old one, in every place where the power may go; locks that die with their process."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from bridge.control import lease as leases
from bridge.control.battery import Command
from bridge.errors import Refused
from bridge.state import StateDir, boot_id

ROOT = Path(__file__).parent.parent


class PowerCut(BaseException):
    """The machine is gone."""


@pytest.fixture
def state(tmp_path):
    return StateDir(str(tmp_path))


@pytest.mark.parametrize("call", ["open", "write", "fsync", "replace", "fsync of the directory"])
def test_a_power_cut_leaves_the_old_file_or_the_new_one(state, monkeypatch, call):
    state.save("lease.json", {"old": 1}, durable=True)
    seen = []

    def cut(name, real, at=1):
        def wrapped(*args, **more):
            seen.append(name)
            if seen.count(name) == at:
                raise PowerCut
            return real(*args, **more)
        return wrapped

    if call == "open":
        monkeypatch.setattr(os, "open", cut("open", os.open))
    elif call == "write":
        def torn(content, stream):
            stream.write(json.dumps(content)[:5])
            stream.flush()
            raise PowerCut
        monkeypatch.setattr(json, "dump", torn)
    elif call.startswith("fsync"):
        monkeypatch.setattr(os, "fsync", cut("fsync", os.fsync, 2 if "directory" in call else 1))
    else:
        monkeypatch.setattr(os, "replace", cut("replace", os.replace))
    with pytest.raises(PowerCut):
        state.save("lease.json", {"new": [1, 2, 3]}, durable=True)
    monkeypatch.undo()
    assert state.load("lease.json") == ({"new": [1, 2, 3]} if "directory" in call else {"old": 1})


def test_the_new_file_is_on_the_disk_before_it_takes_the_old_ones_place(state, monkeypatch):
    order = []
    real_fsync, real_replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda handle: (order.append("fsync"), real_fsync(handle)))
    monkeypatch.setattr(os, "replace", lambda *args: (order.append("replace"), real_replace(*args)))
    state.save("x", 1, durable=True)
    assert order == ["fsync", "replace", "fsync"]


def test_a_full_disk_is_said_and_leaves_nothing_half_written(tmp_path):
    """A real limit of the kernel on what a process may write, in a process of its own."""
    script = (
        "import resource, signal\n"
        "from bridge.state import StateDir\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "state = StateDir('.')\n"
        "assert state.save('lease.json', {'old': 1}, durable=True)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20, 20))\n"
        "print(state.save('lease.json', {'new': 'x' * 500}, durable=True), state.append('j', 'x' * 500, 99, True))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=30,
                          env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False)
    assert done.stdout.split() == ["False", "False"], done.stderr
    assert json.loads((tmp_path / "lease.json").read_text()) == {"old": 1}
    assert sorted(path.name for path in tmp_path.iterdir()) in (["j", "lease.json"], ["lease.json"])


def test_files_are_the_owners_alone(state, tmp_path):
    state.save("x", 1)
    state.append("y", 1, 100)
    state.lock("z").release()
    for name in "xyz":
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600


def test_a_journal_keeps_its_newer_half_and_reads_over_a_torn_line(state, tmp_path):
    for number in range(100):
        assert state.append("journal", {"number": number}, 400)
    found = [entry["number"] for entry in state.lines("journal")]
    assert found[-1] == 99 and found == list(range(found[0], 100)) and (tmp_path / "journal").stat().st_size < 900
    with open(tmp_path / "journal", "a", encoding="utf-8") as handle:
        handle.write('{"torn": ')
    state.append("journal", {"number": 100}, 4000)
    assert [entry["number"] for entry in state.lines("journal")][-2:] == [99, 100]


def test_a_lock_is_free_the_moment_its_process_is_killed(state, tmp_path):
    script = ("import sys\nfrom bridge.state import StateDir\nlock = StateDir(sys.argv[1]).lock('l')\n"
              "print('held', flush=True)\nsys.stdin.read()\n")
    holder = subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                              env={**os.environ, "PYTHONPATH": str(ROOT)}, text=True)
    try:
        assert holder.stdout.readline() == "held\n"
        assert state.lock("l") is None and state.lock_holder("l") == holder.pid
        holder.kill()
        holder.wait(10)
        lock = state.lock("l")
        assert lock is not None and state.lock_holder("l") == os.getpid()
        lock.release()
        lock.release()
    finally:
        holder.kill()
        holder.communicate()


def test_this_boot_has_a_name():
    assert len(boot_id()) == 36


def a_lease():
    return leases.Lease(
        Command("charge", 60.0, 3000.0), "cli", 1.0, 61.0, 100.0, "boot", 1, {40029: 0, 40032: 0xFFFFFFFF},
        {40031: (2, 4)}, {40031: 4}, (40032,), leases.HELD, "",
    )


def test_a_lease_comes_back_from_disk_as_it_was(state):
    leases.save(state, a_lease())
    assert leases.load(state) == a_lease()


@pytest.mark.parametrize("content", [None, 1, [], {}, {"command": {}}, {**leases.to_file(a_lease()), "snapshot": {"x": 1}},
                                     {**leases.to_file(a_lease()), "command": {"action": "explode"}}])
def test_a_file_that_is_no_lease_is_none(state, content):
    state.save(leases.FILE, content)
    assert leases.load(state) is None


def test_a_lease_that_cannot_be_stored_is_refused(tmp_path):
    path = tmp_path / "file"
    path.write_text("not a directory")
    with pytest.raises(Refused, match="nothing is written to the plant"):
        leases.save(StateDir(str(path)), a_lease())
