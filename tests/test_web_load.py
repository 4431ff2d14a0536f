"""A crowd of readers does not move the loop's beat, and does not keep anybody out."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bridge.clock import Clock
from tests.bench.crowd import Crowd
from tests.commands.conftest import until
from tests.ports import free_port

PERIOD_S = 0.05  # twenty times the real rate: twenty times the events, and enough samples for a percentile
PHASE_S = 6.0


def percentile(values, share):
    return sorted(values)[int(len(values) * share)]


@pytest.mark.timing
def test_fifty_streams_and_twenty_slow_lorises_do_not_move_the_beat(capsys):
    from bridge.link.bridge_http import somebody_listens

    port, clock = free_port(), Clock()
    process = subprocess.Popen([sys.executable, "-m", "tests.bench.beat", str(port), str(PERIOD_S)], text=True,
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=Path(__file__).parent.parent)
    try:
        assert until(lambda: somebody_listens(f"127.0.0.1:{port}", 1.0), 10)
        clock.wait(PHASE_S)
        print("crowd", file=process.stdin, flush=True)
        with Crowd(port) as crowd:
            clock.wait(PHASE_S)
        print("alone again", file=process.stdin, flush=True)
        out, _ = process.communicate(timeout=10)
    finally:
        process.kill()
        process.wait()
    quiet, crowded, _ = json.loads(out)
    assert len(crowded) > 0.9 * PHASE_S / PERIOD_S and len(quiet) > 0.9 * PHASE_S / PERIOD_S
    moved_s = percentile(crowded, 0.99) - percentile(quiet, 0.99)
    with capsys.disabled():
        print(f"\np99 of late starts: quiet {percentile(quiet, .99) * 1000:.1f} ms, crowded"
              f" {percentile(crowded, .99) * 1000:.1f} ms; {sum(crowd.heard)} events, slowest answer {max(crowd.waits) * 1000:.0f} ms")
    assert moved_s < 0.020
    assert min(crowd.heard) > 0.8 * PHASE_S / PERIOD_S, "every stream heard nearly every reading"
    assert len(crowd.waits) > 15 and crowd.refused == 0 and max(crowd.waits) < 1.0, "nobody was kept out"
