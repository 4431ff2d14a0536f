"""Random commands, faults, kills and restarts: the plant is never left under our control past the guarantee.

DESIGN ruling 11: restored within 5 s of the lease's end once the link works and the service or its watchdog is
alive; never outside the limits, never outside the allow-list, always the snapshot.
"""

from __future__ import annotations

import os
import shutil
import tempfile

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from bridge.control.battery_plant import Site
from bridge.errors import BridgeError

from .battery_bench import Bench, Killed

GUARANTEE_S = 5.0
EXAMPLES = int(os.environ.get("HYPOTHESIS_EXAMPLES", "15"))  # make soak plays more
SITE = Site(max_charge_w=3500.0, max_discharge_w=3000.0, max_export_w=2500.0, max_import_w=6000.0)
ALLOWED = {40029, 40031, 40032, 40034, 40038}
MOST = {40032: 3500, 40034: 3000, 40038: 2500}
FAULTS = st.sampled_from([
    ("write_exception", {"address": 40031, "code": 4, "count": 1}), ("write_exception", {"address": 40032, "code": 2, "count": 2}),
    ("write_exception", {"address": 40029, "code": 6, "count": 1}), ("write_silent", {"executed": 1, "count": 1}),
    ("write_silent", {"executed": 0, "count": 1}), ("silent", {"count": 2}), ("busy", {"count": 2}),
    ("ack_ignored", {"keep": "old", "count": 1}), ("off_grid", {"for_s": 20}), ("restart", {"count": 1}),
])
ACTIONS = st.sampled_from([
    ("charge", {}), ("charge", {"priority": "grid"}), ("charge", {"max_import_w": 4000.0}), ("discharge", {}),
    ("discharge", {"priority": "battery"}), ("discharge", {"export_w": 1500.0}), ("idle", {}), ("self", {}),
])


class Battery(RuleBasedStateMachine):
    """One plant with an owner's caps in it, one process that comes and goes."""

    def __init__(self):
        super().__init__()
        self.path = tempfile.mkdtemp()
        self.bench = None
        self.alive = True
        self.foreign = False
        self.writes_seen = 0
        self.due_since = None  # since when the lease is over, the link works and somebody is alive

    @initialize(level=st.sampled_from(["2.7", "2.9"]), soc=st.floats(15.0, 90.0), caps=st.booleans(),
                native=st.sampled_from([0, 1, 9]), hour=st.integers(0, 23))
    def plant(self, level, soc, caps, native, hour):
        self.bench = Bench(self.path, site=SITE, level=level, soc_pct=soc, native_mode=native)
        self.bench.clock.advance(3600.0 * hour)
        if caps:
            self.bench.plant.set(40032, [0, 2900])
            self.bench.plant.set(40034, [0, 2700])
            self.bench.plant.set(40038, [0, 2000])
        self.snapshot = self.bench.holding()

    def act(self, what):
        """Do something in the process; it may die in it."""
        try:
            what()
        except Killed:
            self.bench.die()
            self.alive = False
        except BridgeError:
            pass

    @precondition(lambda self: self.alive)
    @rule(action=ACTIONS, seconds=st.floats(10.0, 90.0), power_w=st.sampled_from([500.0, 2000.0, 3500.0, 9000.0]))
    def begin(self, action, seconds, power_w):
        name, more = action
        self.act(lambda: self.bench.begin(name, seconds, power_w, **more))

    @precondition(lambda self: self.alive)
    @rule(action=ACTIONS, at=st.integers(1, 8), before=st.booleans())
    def begin_and_die_at_a_write(self, action, at, before):
        name, more = action
        self.bench.wire.kill_at, self.bench.wire.kill_before = at, before
        self.act(lambda: self.bench.begin(name, 30.0, 2000.0, **more))
        self.bench.wire.kill_at = None  # the sequence was shorter than that

    @precondition(lambda self: self.alive)
    @rule()
    def release(self):
        self.act(lambda: self.bench.desk.keeper.release(self.bench.link, 247, "asked for"))

    @precondition(lambda self: self.alive)
    @rule()
    def kill(self):
        self.bench.die()
        self.alive = False

    @precondition(lambda self: not self.alive)
    @rule()
    def start_again(self):
        self.bench.restart()
        self.alive = True

    @precondition(lambda self: self.alive)
    @rule()
    def stop_the_service(self):
        self.act(lambda: self.bench.desk.stop(self.bench.where, lambda s: self.bench.clock.advance(s)))
        if self.alive:
            self.bench.die()
            self.alive = False

    @rule(fault=FAULTS)
    def misbehave(self, fault):
        name, params = fault
        if name == "restart":
            self.bench.plant.restart(1.0)
        else:
            self.bench.plant.fault(name, **params)

    @rule(down=st.booleans())
    def link(self, down):
        self.bench.wire.down = down

    @rule(jump=st.sampled_from([-86400.0, -30.0, 30.0, 86400.0]))
    def clock_jumps(self, jump):
        self.bench.clock.jump_wall(jump)

    @rule(seconds=st.integers(1, 40))
    def time_goes_by(self, seconds):
        for _ in range(seconds):
            self.bench.clock.advance(1.0)
            if self.alive:
                self.act(lambda: self.bench.desk.tick(self.bench.where))
            self.look_at_the_guarantee()

    @precondition(lambda self: self.alive)
    @rule(value=st.sampled_from([(40031, [6]), (40032, [0, 77]), (40029, [0])]))
    def somebody_else_commands(self, value):
        lease = self.bench.lease
        if lease is not None and lease.state == "held" and not self.bench.wire.down:
            self.bench.plant.clear()
            self.bench.plant.set(*value)
            self.foreign = True
            self.time_goes_by(7)
            self.foreign = False
            if not self.alive or self.bench.lease is not None:
                return  # its time was over meanwhile and all was put back
            self.bench.plant.set(40029, [0])
            for address, raw in self.snapshot.items():
                if address in MOST or address == 40031:
                    words = [raw >> 16, raw & 0xFFFF] if address in MOST else [raw]
                    self.bench.plant.set(address, words)

    def look_at_the_guarantee(self):
        """Note how long the plant has been ours without a right to it, while it could have been given back."""
        bench = self.bench
        now = bench.clock.monotonic()
        entitled = self.alive and bench.lease is not None and bench.lease.state == "held" \
            and now < bench.lease.ends_mono
        hindered = not self.alive or bench.wire.down or self.foreign or self.faulty()
        if entitled or hindered or not bench.holding()[40029]:
            self.due_since = None
            return
        self.due_since = now if self.due_since is None else self.due_since
        assert now - self.due_since <= GUARANTEE_S, (bench.desk.report(), bench.holding())

    def faulty(self):
        board = self.bench.plant._station.board
        now = self.bench.clock.monotonic()
        return any(board.get(name, now) is not None for name in
                   ("write_exception", "write_silent", "silent", "busy", "ack_ignored", "off_grid"))

    @invariant()
    def nothing_else_was_written_and_nothing_above_the_limits(self):
        if self.bench is None:
            return
        for address, raw in self.bench.written()[self.writes_seen:]:
            assert address in ALLOWED
            if address in MOST:
                assert raw <= MOST[address] or raw == self.snapshot[address] or raw >= 0xFFFFFFFE
        self.writes_seen = len(self.bench.written())

    def teardown(self):
        try:
            if self.bench is not None:
                self.bench.wire.down, self.bench.wire.kill_at = False, None
                self.bench.plant.clear()
                if not self.alive:
                    self.bench.restart()
                    self.alive = True
                self.bench.run(100)
                found = self.bench.holding()
                assert self.bench.lease is None and found[40029] == 0
                assert {a: found[a] for a in MOST} == {a: self.snapshot[a] for a in MOST}, (found, self.snapshot)
        finally:
            shutil.rmtree(self.path, ignore_errors=True)


Battery.TestCase.settings = settings(
    max_examples=EXAMPLES, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck),
)
TestBattery = Battery.TestCase
