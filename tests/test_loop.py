"""The loop keeps time, counts what is late, and survives whatever a source does."""

from __future__ import annotations

import pytest

from bridge.errors import ConfigError, LinkError, LinkTimeout
from bridge.faultlog import FaultLog
from bridge.loop import Loop, Pace
from bridge.model import Reading


class Script:
    """A source that plays a list of outcomes: seconds it takes, or an error to raise."""

    name = "script"

    def __init__(self, clock, outcomes):
        self.clock, self.outcomes, self.at = clock, list(outcomes), []

    def read(self):
        self.at.append(self.clock.monotonic())
        outcome = self.outcomes.pop(0) if self.outcomes else 0.0
        if isinstance(outcome, Exception):
            raise outcome
        self.clock.advance(outcome)
        return Reading(self.clock.now(), self.clock.monotonic(), "script", pv_w=1)

    def close(self):
        pass


def run(clock, outcomes, cycles=None, interval_s=1.0):
    source, seen = Script(clock, outcomes), []
    loop = Loop(source, seen.append, clock, interval_s, FaultLog(clock, "source"))
    loop.run(cycles or len(outcomes))
    return loop, source, seen


def test_the_schedule_does_not_drift(clock):
    _, source, _ = run(clock, [0.3, 0.1, 0.7, 0.0, 0.5])
    assert [round(at - source.at[0], 6) for at in source.at] == [0, 1, 2, 3, 4]


def test_late_cycles_are_counted_and_not_bunched(clock):
    loop, source, _ = run(clock, [0.1, 3.4, 0.1, 0.1])
    assert [round(at - source.at[0], 6) for at in source.at] == [0, 1, 4.4, 5]
    assert loop.late == 1


def test_a_wall_clock_at_1970_or_jumping_changes_nothing(clock):
    clock.jump_wall(-clock.now())
    _, source, seen = run(clock, [0.1] * 3)
    clock.jump_wall(1e9)
    assert [round(at - source.at[0], 6) for at in source.at] == [0, 1, 2] and len(seen) == 3


def test_an_outage_publishes_stale_after_five_seconds_and_recovers(clock):
    loop, _, seen = run(clock, [0.0] + [LinkError("gone")] * 8 + [0.0], 10)
    stale = [reading for reading in seen if not reading.valid]
    assert stale and all("stale" in reading.reason for reading in stale)
    assert all(reading.mono == seen[0].mono for reading in stale)
    assert seen[-1].valid and loop.failed == 8


def test_nothing_is_published_before_the_first_reading(clock):
    _, _, seen = run(clock, [LinkError("gone")] * 10)
    assert seen == []


def test_without_a_pause_a_dead_plant_is_still_not_hammered(clock):
    _, source, _ = run(clock, [LinkError("refused")] * 5, interval_s=0)
    gaps = [b - a for a, b in zip(source.at, source.at[1:])]
    assert all(0.9 <= gap <= 1.2 for gap in gaps)


def test_a_defect_is_counted_and_the_loop_goes_on(clock):
    loop, _, seen = run(clock, [ZeroDivisionError("oops"), 0.0])
    assert loop.failed == 1 and len(seen) == 1 and "ZeroDivisionError" not in (seen[0].reason or "")


def test_a_configuration_error_ends_it(clock):
    with pytest.raises(ConfigError):
        run(clock, [ConfigError("pyserial is missing")])


def test_stopping_ends_the_wait(clock):
    source = Script(clock, [0.0])
    loop = Loop(source, lambda reading: clock.stop(), clock, 1.0, FaultLog(clock, "source"))
    loop.run()
    assert loop.cycles == 1


def test_lost_answers_slow_the_polling_down_and_a_clean_minute_speeds_it_up():
    pace = Pace()
    for number in range(60):
        pace.note(number % 10 == 0)
    assert pace.period(1.0) == 2.0
    for number in range(60):
        pace.note(number % 10 == 0)
    assert pace.period(1.0) == 5.0
    for _ in range(130):
        pace.note(False)
    assert pace.period(1.0) == 1.0


def test_an_outage_is_probed_every_second(clock):
    _, source, _ = run(clock, [LinkTimeout("silent")] * 30)
    gaps = [b - a for a, b in zip(source.at, source.at[1:])]
    assert max(gaps) <= 1.11 * 2


def test_a_few_lost_answers_are_no_reason_to_slow_down():
    pace = Pace()
    for number in range(600):
        pace.note(number % 30 == 0)
    assert pace.period(1.0) == 1.0


def test_an_outage_that_ends_the_slowing_down_is_told_as_faster(clock, caplog):
    """Each outage of silence goes through both: four time-outs slow down, the fifth says that nobody is there."""
    run(clock, [LinkTimeout("no answer")] * 8)
    assert [record.getMessage() for record in caplog.records if "period_s" in record.getMessage()] == [
        "state=slower period_s=2", "state=faster period_s=1"]


def test_a_long_wait_goes_on_telling_the_watchdog(clock):
    source, told = Script(clock, [0.0, 0.0]), []
    loop = Loop(source, lambda reading: None, clock, 300.0, FaultLog(clock, "source"))
    loop.while_waiting = lambda: told.append(clock.monotonic())
    loop.run(2)
    assert len(told) >= 50 and max(b - a for a, b in zip(told, told[1:])) <= 5.01
    assert source.at[1] - source.at[0] == pytest.approx(300.0)
