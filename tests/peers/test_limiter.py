"""The limiter: on disk before the call, shared by threads and processes, alive after a kill."""

from __future__ import annotations

import json
import logging
import os
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from bridge.clock import Clock, ManualClock
from bridge.errors import EXIT_RATE_LIMIT, RateLimited
from bridge.peers.budget import ACCOUNT, Limits
from bridge.peers.limiter import LEDGER_FILE, Limiter
from bridge.state import StateDir

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture
def state(tmp_path):
    return StateDir(str(tmp_path / "state"))


def granted(limiter, patience_s=0.0):
    """Say whether an energyFlow call is allowed."""
    try:
        limiter.acquire("energyFlow", "A", patience_s=patience_s)
    except RateLimited:
        return False
    return True


def test_a_thousand_restarts_in_five_minutes_are_granted_one_call(state, clock):
    calls = 0
    for _ in range(1000):
        calls += granted(Limiter(state, clock))
        clock.advance(0.29)
    assert calls == 1
    clock.advance(10.1)
    assert granted(Limiter(state, clock))


def test_restarts_in_1970_and_an_ntp_step_are_granted_one_call(state):
    clock = ManualClock(now=20.0, monotonic=20.0)
    calls = 0
    for index in range(100):
        calls += granted(Limiter(state, clock))
        clock.advance(2.9)
        if index == 50:
            clock.jump_wall(1_795_000_000.0)
    assert calls == 1
    clock.advance(10)
    assert granted(Limiter(state, clock))


def test_a_clock_that_jumps_to_and_fro_is_granted_one_call(state, clock):
    calls = 0
    for index in range(100):
        calls += granted(Limiter(state, clock))
        clock.advance(2.9)
        clock.jump_wall((-1) ** index * 1e6 * index)
    assert calls == 1


def test_the_refusal_says_when_and_why(state, clock):
    limiter = Limiter(state, clock)
    limiter.acquire("energyFlow", "A")
    clock.advance(100)
    with pytest.raises(RateLimited) as problem:
        limiter.acquire("energyFlow", "A")
    assert "one call in 300 s, the last 100 s ago); possible again in 200 s" in str(problem.value)
    assert problem.value.retry_after_s == 200 and problem.value.exit_code == EXIT_RATE_LIMIT


def test_pacing_is_waited_for_and_a_period_is_not(state, clock):
    limiter = Limiter(state, clock)
    start = clock.monotonic()
    for index in range(12):
        limiter.acquire(f"e{index}", "")
    assert clock.monotonic() - start == pytest.approx(11 * 6)
    limiter.acquire("energyFlow", "A")
    before = clock.monotonic()
    assert not granted(limiter, patience_s=60) and clock.monotonic() == before


def test_eleven_calls_do_not_fit_into_a_minute(state, clock):
    limiter = Limiter(state, clock, Limits(pace_s=0.0))
    start = clock.monotonic()
    for index in range(11):
        limiter.acquire(f"e{index}", "")
    assert clock.monotonic() - start == pytest.approx(60)


def test_the_program_stops_while_it_waits_for_its_turn(state, clock):
    limiter = Limiter(state, clock)
    limiter.acquire("a", "")
    clock.stop()
    with pytest.raises(RateLimited):
        limiter.acquire("b", "")


def test_wait_s_reserves_nothing(state, clock):
    limiter = Limiter(state, clock)
    assert limiter.wait_s("energyFlow", "A") == limiter.wait_s("energyFlow", "A") == 0
    limiter.acquire("energyFlow", "A")
    assert limiter.wait_s("energyFlow", "A") == 300


def test_a_call_counts_from_its_answer(state, clock):
    limiter = Limiter(state, clock)
    limiter.acquire("energyFlow", "A")
    clock.advance(3)
    limiter.settle("energyFlow", "A")
    assert limiter.wait_s("energyFlow", "A") == 300


def test_a_call_that_never_left_may_be_repeated_soon(state, clock):
    limiter = Limiter(state, clock)
    limiter.acquire("energyFlow", "A")
    limiter.forgive("energyFlow", "A", 30, "no connection")
    assert limiter.wait_s("energyFlow", "A") == 30


def test_holds_outlive_the_process_and_end_with_a_release(state, clock, caplog):
    Limiter(state, clock).hold(ACCOUNT, 900, "code 1201")
    assert Limiter(state, clock).wait_s("anything") == 900
    assert "event=hold" in caplog.text and "for_s=900" in caplog.text
    Limiter(state, clock).release(ACCOUNT, "other")
    assert Limiter(state, clock).wait_s("anything") == 0


def test_a_time_named_by_the_peer_is_not_doubled(state, clock):
    limiter = Limiter(state, clock)
    for _ in range(3):
        limiter.hold(ACCOUNT, 20, "HTTP 429", exact=True)
    assert limiter.wait_s("x") == 20
    limiter.hold(ACCOUNT, 1e9, "HTTP 429", exact=True)
    assert limiter.wait_s("x") == 86400


def test_a_guard_is_on_disk_before_the_call(state, clock):
    Limiter(state, clock).acquire("login", "", 0.0, guard_s=900)
    clock.advance(60)
    with pytest.raises(RateLimited, match="outcome of the last try is not known"):
        Limiter(state, clock).acquire("login", "", 0.0)


def test_threads_share_one_budget(state):
    limiters = [Limiter(state, Clock()) for _ in range(8)]
    results, barrier = [], threading.Barrier(8)

    def ask(limiter):
        barrier.wait(5)
        results.append(granted(limiter))

    threads = [threading.Thread(target=ask, args=(limiter,)) for limiter in limiters]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert sorted(results) == [False] * 7 + [True]


def test_files_are_for_the_owner_only(state, clock):
    Limiter(state, clock).acquire("a", "")
    for path in Path(state.path).iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    assert stat.S_IMODE(Path(state.path).stat().st_mode) == 0o700


def test_a_directory_that_cannot_be_written_is_said_once_and_counted_in_memory(tmp_path, clock, caplog):
    (tmp_path / "file").write_text("")
    limiter = Limiter(StateDir(str(tmp_path / "file" / "state")), clock)
    caplog.set_level(logging.WARNING)
    assert granted(limiter) and not granted(limiter) and not granted(limiter)
    clock.advance(300)
    assert granted(limiter)
    assert caplog.text.count("limits-not-saved") == 1


@pytest.mark.parametrize("text", ["", "{", "[]", "7", '{"marks": 3}', '{"marks":[[1]]}'])
def test_a_damaged_file_starts_over(state, clock, text):
    os.makedirs(state.path)
    Path(state.path, LEDGER_FILE).write_text(text)
    limiter = Limiter(state, clock)
    assert granted(limiter) and not granted(limiter)


def test_a_kill_in_the_middle_of_saving_leaves_a_usable_file(state):
    """Kill a process that does nothing but save, several times, wherever it happens to be."""
    code = (
        "import sys; from bridge.clock import Clock; from bridge.state import StateDir;"
        "from bridge.peers.limiter import Limiter; from bridge.peers.budget import Limits;"
        "limiter = Limiter(StateDir(sys.argv[1]), Clock(), Limits(10**9, 0.0));"
        "limiter.acquire('energyFlow', 'A'); print('go', flush=True); number = 0\n"
        "while True: number += 1; limiter.acquire(f'e{number}', 'x' * 2000, 0.0)"
    )
    for round_number in range(4):
        child = subprocess.Popen(
            [sys.executable, "-c", code, f"{state.path}{round_number}"], cwd=ROOT, stdout=subprocess.PIPE)
        assert child.stdout.readline() == b"go\n"
        Clock().wait(0.03 + 0.017 * round_number)
        child.send_signal(signal.SIGKILL)
        child.wait(10)
        child.stdout.close()
        place = StateDir(f"{state.path}{round_number}")
        assert isinstance(json.loads(Path(place.path, LEDGER_FILE).read_text()), dict)
        limiter = Limiter(place, Clock(), Limits(10**9, 0.0))
        assert not granted(limiter), "the call before the kill must still count"
        limiter.acquire("after", "the kill")
