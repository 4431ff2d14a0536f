"""The keeper against the simulated plant: what is written, what ends a command, and that all is put back."""

from __future__ import annotations

import pytest

from bridge.control.battery_plant import Site
from bridge.errors import LinkError, Refused
from bridge.state import StateDir

from .battery_bench import Bench, Killed

ALLOWED = {40029, 40031, 40032, 40034, 40038}
ACTIONS = [
    ("charge", {}), ("charge", {"priority": "grid"}), ("charge", {"max_import_w": 5000.0}),
    ("discharge", {}), ("discharge", {"priority": "pv"}), ("discharge", {"export_w": 2000.0}), ("idle", {}), ("self", {}),
]
FIRMWARE = ["2.9", "2.7"]


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path)


def released(bench):
    """Say whether nothing of ours is left, in the plant and on disk."""
    return bench.holding() == bench.before and bench.lease is None and not (bench.state.load("lease.json"))


@pytest.mark.parametrize("level", FIRMWARE)
@pytest.mark.parametrize("action, more", ACTIONS)
def test_a_command_takes_effect_and_ends_by_itself(tmp_path, level, action, more):
    bench = Bench(tmp_path, level=level)
    bench.begin(action, 60.0, **more)
    bench.run(40)
    report = bench.desk.report()
    assert (report["state"], report["effect"]) == ("held", "seen"), report
    assert bench.plant.control.remote
    bench.run(22)
    assert released(bench)
    assert bench.desk.report()["last"]["how"] == "released"
    assert {address for address, _ in bench.written()} <= ALLOWED


def test_charging_charges_and_the_way_there_is_neutral(bench):
    bench.begin("charge", 60.0, 3000.0)
    assert bench.written() == [(40029, 1), (40032, 3000), (40031, 4)]
    bench.run(20)
    assert bench.battery_w() == pytest.approx(3000, abs=50)
    bench.desk.keeper.release(bench.link, 247, "asked for")
    assert bench.written()[3:] == [(40031, 2), (40032, 0xFFFFFFFF), (40029, 0)]


def test_old_firmware_takes_the_cap_in_its_mode_and_gets_it_back_there(tmp_path):
    bench = Bench(tmp_path, level="2.7")
    bench.begin("charge", 60.0, 3000.0)
    assert bench.written() == [(40029, 1), (40032, 3000), (40031, 4), (40032, 3000)]
    assert [one.outcome for one in bench.plant.writes][1].startswith("exception 2")
    bench.desk.keeper.release(bench.link, 247, "asked for")
    assert released(bench)


def test_another_target_goes_through_neutral_under_the_same_snapshot(bench):
    bench.begin("charge", 600.0, 3000.0)
    bench.run(20)
    bench.begin("discharge", 60.0, 2000.0, priority="battery")
    assert bench.written()[3:] == [(40031, 2), (40034, 2000), (40031, 6)]
    bench.run(62)
    assert released(bench)


def test_without_control_enabled_nothing_is_ever_written(tmp_path):
    bench = Bench(tmp_path, enabled=False)
    with pytest.raises(Refused, match="control.enabled"):
        bench.begin()
    bench.run(5)
    bench.desk.serve(bench.link, 247, {"do": "plan", "command": {"action": "charge", "seconds": 60, "power_w": 1000}}, "x")
    assert not bench.plant.writes and not bench.plant.counters.writes


def test_no_clock_no_command(bench):
    bench.clock.jump_wall(-bench.clock.now())
    with pytest.raises(Refused, match="no clock, no command"):
        bench.begin()
    assert not bench.plant.writes


@pytest.mark.parametrize("fault, params, words", [
    ("off_grid", {}, "off the grid"), ("not_running", {}, "not running"), ("vpp_takeover", {}, "VPP"),
])
def test_a_plant_that_may_not_be_commanded_is_left_alone(bench, fault, params, words):
    bench.plant.fault(fault, **params)
    bench.clock.advance(2)
    with pytest.raises(Refused, match=words):
        bench.begin()
    assert not bench.plant.writes and bench.lease is None


def test_somebody_elses_remote_ems_is_left_alone(bench):
    bench.plant.set(40029, 1)
    with pytest.raises(Refused, match="another controller"):
        bench.begin()
    assert not bench.plant.writes


def test_a_clock_that_jumps_does_not_change_the_lease(bench):
    bench.begin("charge", 60.0)
    bench.run(10)
    bench.clock.jump_wall(-86400.0)
    bench.run(40)
    assert bench.lease is not None
    bench.clock.jump_wall(10 * 86400.0)
    bench.run(5)
    assert bench.lease is not None
    bench.run(8)
    assert released(bench)


def test_a_plant_that_only_says_yes_is_found_out(bench):
    bench.plant.fault("ack_ignored", keep="new")
    bench.begin("charge", 300.0)
    bench.run(31)
    assert released(bench) or bench.holding()[40029] == 0
    last = bench.desk.report()["last"]
    assert last["failed"] and "no effect in 30 s" in last["why"]


def test_a_command_that_is_over_before_an_effect_was_seen_did_not_do_it(bench):
    bench.plant.fault("ack_ignored", keep="new")
    bench.begin("charge", 10.0)
    bench.run(12)
    last = bench.desk.report()["last"]
    assert last["failed"] and last["why"] == "its time is over, and no effect was seen until then"


def test_a_plant_that_keeps_the_old_value_is_refused_and_taken_back(bench):
    bench.plant.fault("ack_ignored", keep="old")
    with pytest.raises(Refused, match="kept"):
        bench.begin("charge", 300.0)
    bench.plant.clear()
    bench.run(6)
    assert released(bench)


@pytest.mark.parametrize("address", [40029, 40031, 40032])
@pytest.mark.parametrize("executed", [0, 1])
def test_a_lost_answer_is_settled_by_reading(bench, address, executed):
    bench.plant.fault("write_silent", address=address, executed=executed, count=1)
    try:
        bench.begin("charge", 60.0)
    except LinkError:
        assert not executed
    bench.run(66)
    assert released(bench)


@pytest.mark.parametrize("code", [2, 3, 4, 6])
@pytest.mark.parametrize("address", [40029, 40031, 40032])
def test_a_refused_write_is_taken_back(bench, address, code):
    bench.plant.fault("write_exception", address=address, code=code)
    with pytest.raises(Refused, match=f"exception {code}"):
        bench.begin("charge", 60.0)
    bench.plant.clear()
    bench.run(8)
    assert released(bench)


def test_a_link_that_goes_away_ends_the_lease_and_the_plant_is_restored_when_it_is_back(bench):
    bench.begin("charge", 3600.0)
    bench.run(10)
    bench.wire.down = True
    bench.run(40)
    assert bench.lease.state == "releasing" and "away" in bench.lease.reason
    assert bench.desk.report()["error"]
    bench.wire.down = False
    bench.run(2)
    assert released(bench)


def test_a_short_gap_of_the_link_does_not_end_it(bench):
    bench.begin("charge", 600.0)
    bench.run(10)
    bench.wire.down = True
    bench.run(5)
    bench.wire.down = False
    bench.run(5)
    assert bench.lease.state == "held"


@pytest.mark.parametrize("address, value", [(40029, 0), (40031, 6), (40032, 1111)])
def test_another_master_makes_us_yield_for_good(bench, address, value):
    bench.begin("charge", 60.0)
    bench.run(10)
    bench.plant.set(address, [value >> 16, value & 0xFFFF] if address == 40032 else [value])
    count = len(bench.plant.writes)
    bench.run(7)
    assert bench.lease is None and bench.desk.report()["last"]["how"] == "yielded"
    bench.desk.stop(bench.where, lambda seconds: None)
    bench.run(120)
    assert len(bench.plant.writes) == count
    assert any("40032" in one for one in bench.desk.report()["last"]["by_hand"])


def test_a_cap_is_not_lowered_under_somebody_elses_command(tmp_path):
    """Who took over since the last look, up to 5 s ago, does not get our cap into his command."""
    bench = Bench(tmp_path, soc_pct=20.0)
    bench.begin("charge", 3600.0, 4000.0, max_import_w=6000.0)
    bench.run(12)
    count = len(bench.plant.writes)
    bench.plant.set(40031, 6)
    bench.desk.keeper._throttle._limit_w = 500.0  # the house takes more
    bench.run(8)
    assert len(bench.plant.writes) == count and bench.desk.report()["last"]["how"] == "yielded"


def test_a_vpp_that_takes_over_makes_us_yield(bench):
    bench.begin("charge", 600.0)
    bench.run(10)
    count = len(bench.written())
    bench.plant.fault("vpp_takeover")
    bench.run(3)
    assert bench.lease is None and "VPP" in bench.desk.report()["last"]["why"]
    assert len(bench.written()) == count


def test_a_grid_that_goes_away_gives_the_battery_back(bench):
    bench.begin("charge", 600.0)
    bench.run(10)
    bench.plant.fault("off_grid")
    bench.run(3)
    assert bench.desk.report()["last"]["why"] == "the plant went off the grid"


def test_the_mode_that_modbus_cannot_bring_back_is_told(tmp_path):
    bench = Bench(tmp_path, native_mode=1)
    bench.begin("charge", 60.0)
    bench.run(65)
    assert bench.lease is None
    assert any("Sigen AI (1)" in one for one in bench.desk.report()["last"]["by_hand"])


def test_a_backup_soc_that_the_firmware_loses_is_told_or_put_back(tmp_path):
    for allowed in (False, True):
        bench = Bench(tmp_path / str(allowed))
        bench.plant.set(40046, 20.0)
        bench.rules = bench.rules._replace(restore_backup_soc=allowed)
        bench.restart()
        bench.before = bench.holding()
        bench.plant.fault("backup_reset")
        bench.begin("charge", 60.0)
        bench.run(65)
        by_hand = bench.desk.report()["last"]["by_hand"]
        assert bool(by_hand) != allowed
        assert (40046 in {address for address, _ in bench.written()}) == allowed


def test_caps_of_the_owner_come_back_as_they_were(bench):
    bench.plant.set(40032, [0, 2500])
    bench.plant.set(40034, [0, 1800])
    bench.plant.set(40038, [0, 4000])
    bench.before = bench.holding()
    bench.begin("charge", 60.0, 3000.0, max_export_w=1000.0)
    assert bench.holding()[40038] == 1000
    bench.begin("discharge", 60.0, 1000.0)
    bench.run(65)
    assert released(bench)


def test_an_owners_stricter_export_limit_stays(bench):
    bench.plant.set(40038, [0, 500])
    bench.begin("discharge", 60.0, 1000.0, export_w=2000.0)
    assert bench.holding()[40038] == 500


def test_the_import_stays_within_the_sites_limit(tmp_path):
    bench = Bench(tmp_path, site=Site(max_import_w=3500.0), soc_pct=20.0)
    bench.clock.jump_wall(12 * 3600.0)
    bench.begin("charge", 1800.0, 4000.0)
    over = 0
    for _ in range(900):
        bench.run(1)
        grid_w = int.from_bytes(bench.plant._station.image.read(30005, 2), "big", signed=True)
        over = over + 1 if grid_w > 3500 + 60 else 0
        assert over <= 3, f"import {grid_w} W for {over} s"
    assert bench.lease is not None


@pytest.mark.parametrize("wish, words", [
    ({"power_w": 3000.0}, "control.max_charge_w"),
    ({"action": "discharge", "power_w": 3000.0}, "control.max_discharge_w"),
])
def test_what_is_above_the_owners_limit_is_refused(tmp_path, wish, words):
    bench = Bench(tmp_path, site=Site(max_charge_w=2000.0, max_discharge_w=2000.0))
    with pytest.raises(Refused, match=words):
        bench.begin(**wish)
    assert not bench.plant.writes


def test_what_is_above_the_rating_is_cut_to_it(bench):
    report = bench.begin("charge", 60.0, 9000.0)
    assert bench.holding()[40032] == 4200 and any("rated" in note for note in report["notes"])


def test_a_battery_that_is_full_or_empty_is_said(tmp_path):
    with pytest.raises(Refused, match="full"):
        Bench(tmp_path, soc_pct=100.0).begin("charge")


def test_hold_never_touches_the_cut_off_and_imports_nothing_for_the_battery(bench):
    bench.begin("idle", 120.0)
    bench.run(60)
    assert abs(bench.battery_w()) <= 300 and bench.holding()[40048] == bench.before[40048]
    assert 40038 not in {address for address, _ in bench.written()}


# Processes that die


def steps(level, action, more, path):
    """Return how many writes a whole command takes, in and out."""
    bench = Bench(path, level=level)
    bench.begin(action, 30.0, **more)
    bench.run(35)
    assert released(bench)
    return len(bench.plant.writes)


@pytest.mark.parametrize("before", [True, False], ids=["before", "behind"])
@pytest.mark.parametrize("level", FIRMWARE)
@pytest.mark.parametrize("action, more", ACTIONS)
def test_kill_at_every_write_of_every_sequence_is_restored(tmp_path, action, more, level, before):
    for step in range(1, steps(level, action, more, tmp_path / "count") + 1):
        bench = Bench(tmp_path / str(step), level=level)
        bench.wire.kill_at, bench.wire.kill_before = step, before
        with pytest.raises(Killed):
            bench.begin(action, 30.0, **more)
            bench.run(60)
        bench.die()
        bench.clock.advance(3.0)
        bench.restart()
        bench.run(4)
        assert released(bench), (step, bench.holding(), bench.desk.report())
        if bench.holding() != bench.before or bench.plant.writes:
            assert any(entry["what"] in ("found", "released", "begin") for entry in bench.journal())


def test_a_second_kill_while_restoring_is_restored_too(tmp_path):
    for step in range(1, 4):
        bench = Bench(tmp_path / str(step))
        bench.begin("discharge", 600.0, 2000.0)
        bench.run(5)
        bench.die()
        bench.restart()
        bench.wire.kill_at = step
        with pytest.raises(Killed):
            bench.run(5)
        bench.die()
        bench.restart()
        bench.run(3)
        assert released(bench)


def test_an_interrupted_command_is_reported_and_not_resumed(bench):
    bench.begin("charge", 3600.0)
    bench.run(5)
    bench.die()
    bench.restart()
    bench.run(10)
    assert released(bench)
    assert any(entry["what"] == "found" and "not resumed" in entry["text"] for entry in bench.journal())


def test_who_changed_the_plant_while_we_were_dead_keeps_it(bench):
    bench.begin("charge", 3600.0)
    bench.die()
    bench.plant.set(40031, 6)
    count = len(bench.plant.writes)
    bench.restart()
    bench.run(5)
    assert bench.desk.report()["last"]["how"] == "yielded" and len(bench.plant.writes) == count


def test_two_processes_never_hold_a_lease_together(bench):
    bench.begin("charge", 600.0)
    other = bench.new_desk()
    other.tick(bench.where)
    assert other.report()["state"] == "elsewhere" and other.report()["holder"]
    count = len(bench.plant.writes)
    with pytest.raises(Refused, match="another process"):
        other.keeper.begin(bench.link, 247, bench.lease.command, "other")
    assert len(bench.plant.writes) == count


def test_a_holder_that_hangs_past_its_end_is_not_waited_for(bench):
    bench.begin("charge", 30.0)
    hung, watchdog = bench.desk, bench.new_desk()
    bench.clock.advance(45.0)
    watchdog.tick(bench.where)
    bench.desk = watchdog
    assert released(bench)
    count = len(bench.plant.writes)
    hung.tick(bench.where)
    assert len(bench.plant.writes) == count, "the hung process woke up and wrote"


def test_a_stop_gives_the_battery_back(bench):
    bench.begin("charge", 3600.0)
    bench.desk.stop(bench.where, lambda seconds: bench.clock.advance(seconds))
    assert released(bench)


def test_a_full_disk_refuses_before_anything_is_written(bench, monkeypatch):
    monkeypatch.setattr(bench.state, "save", lambda *args, **more: False)
    with pytest.raises(Refused, match="disk full"):
        bench.begin()
    assert not bench.plant.writes and bench.lease is None
    assert bench.new_desk().report()["state"] == "none"


def test_the_journal_has_who_what_before_after_and_result(bench):
    bench.begin("charge", 30.0, 3000.0)
    bench.run(35)
    entries = bench.journal()
    assert [entry["what"] for entry in entries] == [
        "begin", "write", "write", "write", "effect", "release", "write", "write", "write", "released",
    ]
    write = entries[2]
    assert (write["who"], write["register"], write["after"], write["result"]) == ("test", 40032, 3000, "ok")
    assert write["before"] == 0xFFFFFFFF and write["text"] == "no limit -> 3000 W"


def test_every_write_of_a_sequence_is_on_the_disk_before_the_next(bench, monkeypatch):
    """A power cut must not take from the journal what was done to the plant."""
    kept, append = [], StateDir.append

    def noting(self, name, content, most_bytes, durable=False):
        kept.append((content["what"], durable))
        return append(self, name, content, most_bytes, durable)

    monkeypatch.setattr(StateDir, "append", noting)
    bench.begin("charge", 20.0, 2000.0)
    bench.run(22)
    assert [what for what, _ in kept].count("write") == 6 and all(durable for _, durable in kept)


def test_a_plant_that_restarts_under_a_command_is_still_given_back(bench):
    bench.begin("charge", 60.0)
    bench.run(10)
    bench.plant.restart(2.0)
    bench.run(60)
    assert released(bench)
