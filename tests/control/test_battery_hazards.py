"""What real plants, disks and callers do to a battery command: none of it may leave the plant commanded."""

from __future__ import annotations

import errno
import json
import os

import pytest

from bridge.control.battery import from_record
from bridge.control.battery_limits import Rules
from bridge.control.battery_plant import Site
from bridge.control.battery_text import status_lines
from bridge.errors import BridgeError, ConfigError, DeviceException, LinkError, Refused
from bridge.state import StateDir

from .battery_bench import Bench, Killed


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path)


def back(bench):
    """Say whether the plant stands as it did, and nothing of a lease is left."""
    return bench.holding() == bench.before and bench.lease is None and bench.state.load("lease.json") is None


def clamp(bench, address, most):
    """Have the plant cut what is written to a cap to ``most``, silently, as firmware does at its rating."""
    exchange = bench.wire.exchange

    def cutting(request):
        if request[1] == 16 and int.from_bytes(request[2:4], "big") == address:
            raw = int.from_bytes(request[7:11], "big")
            if raw < 0xFFFFFFFE and raw > most:
                exchange(request[:7] + most.to_bytes(4, "big"))
                return request[:6]
        return exchange(request)

    bench.wire.exchange = cutting


def raised(tmp_path):
    """Return a bench whose charge cap was raised above what it began with, the house having become quiet."""
    bench = Bench(tmp_path, soc_pct=20.0)
    grid_w = int.from_bytes(bench.plant._station.image.read(30005, 2), "big", signed=True)
    bench.begin("charge", 3600.0, 4000.0, max_import_w=max(0.0, grid_w - bench.battery_w()) + 600.0)
    began_w = bench.holding()[40032]
    bench.desk.keeper._throttle._limit_w += 2000.0
    bench.run(40)
    assert bench.lease is not None and bench.holding()[40032] > began_w + 300
    return bench


def test_a_cap_that_was_raised_with_the_room_is_given_back(tmp_path):
    bench = raised(tmp_path)
    bench.desk.keeper.release(bench.link, 247, "asked for")
    assert bench.desk.report()["last"]["how"] == "released"
    assert back(bench)


def test_a_cap_that_was_raised_with_the_room_is_known_after_a_crash(tmp_path):
    bench = raised(tmp_path)
    bench.die()
    bench.restart()
    bench.run(6)
    assert back(bench)


@pytest.mark.parametrize("most", [2999, 2000])
def test_a_plant_that_cuts_a_cap_by_itself_is_given_back(bench, most):
    clamp(bench, 40032, most)
    try:
        bench.begin("charge", 60.0, 3000.0)
    except Refused:
        pass
    bench.run(70)
    assert back(bench)


def test_a_cap_that_the_plant_keeps_a_watt_short_is_no_refusal(bench):
    clamp(bench, 40032, 2999)
    bench.begin("charge", 60.0, 3000.0)
    bench.run(40)
    assert bench.desk.report()["effect"] == "seen"


def test_a_crash_behind_a_cap_that_was_cut_is_given_back(bench):
    clamp(bench, 40032, 2999)
    exchange = bench.wire.exchange

    def dying(request):
        reply = exchange(request)
        if request[1] == 16:
            raise Killed
        return reply

    bench.wire.exchange = dying
    with pytest.raises(Killed):
        bench.begin("charge", 60.0, 3000.0)
    bench.wire.exchange = exchange
    bench.die()
    bench.restart()
    bench.run(6)
    assert back(bench)


@pytest.mark.parametrize("action", ["charge", "self", "idle"])
def test_a_plant_that_changes_its_mode_when_remote_ems_is_switched_is_given_back(bench, action):
    exchange = bench.wire.exchange

    def resetting(request):
        reply = exchange(request)
        if request[1:6] == bytes((6,)) + (40029).to_bytes(2, "big") + b"\0\1":
            bench.plant.set(40031, [0])
        return reply

    bench.wire.exchange = resetting
    bench.begin(action, 60.0)
    bench.run(40)
    assert bench.desk.report()["state"] == "held"
    assert bench.holding()[40031] != 0
    bench.run(30)
    assert back(bench)


def test_a_bridge_without_a_link_leaves_the_lease_to_the_watchdog(bench):
    """``run --source cloud``: it can never restore anything, so it must not stand in the way of who can."""
    bench.begin("charge", 3600.0)
    bench.die()
    bench.restart()
    bench.desk.keeper.book._boot = "another boot"  # after a reboot nobody knows how long the lease is over
    for _ in range(10):
        bench.clock.advance(1.0)
        bench.desk.tick(None)
    watch = bench.new_desk()
    watch.keeper.book._boot = "another boot"
    for _ in range(5):
        bench.clock.advance(1.0)
        watch.tick(bench.where)
    assert bench.holding() == bench.before and bench.state.load("lease.json") is None


def test_a_full_disk_does_not_keep_a_lease_from_being_given_back(bench, monkeypatch):
    bench.begin("charge", 600.0)
    bench.die()
    with monkeypatch.context() as patched:
        def full(handle, content):
            raise OSError(errno.ENOSPC, "No space left on device")

        patched.setattr("bridge.state.os.write", full)
        bench.restart()
        bench.run(10)
        assert back(bench)


def test_a_disk_that_became_read_only_does_not_keep_a_lease_from_being_given_back(bench, monkeypatch):
    bench.begin("charge", 600.0)
    bench.die()
    opened, unlink = os.open, os.unlink

    def read_only(path, flags, *more, **named):
        if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            raise OSError(errno.EROFS, "Read-only file system")
        return opened(path, flags, *more, **named)

    def stays(path, *more):
        raise OSError(errno.EROFS, "Read-only file system")

    with monkeypatch.context() as patched:
        patched.setattr("bridge.state.os.open", read_only)
        patched.setattr("bridge.state.os.unlink", stays)
        bench.restart()
        bench.run(10)
        assert bench.holding() == bench.before and bench.lease is None
        writes = len(bench.plant.writes)
        bench.plant.set(40029, [1])  # the owner goes on with another controller
        bench.plant.set(40031, [4])
        bench.run(20)
        assert len(bench.plant.writes) == writes and bench.holding()[40031] == 4
        with pytest.raises(Refused):
            bench.begin("charge", 60.0)
    assert unlink is os.unlink


def test_a_charge_that_the_house_leaves_no_room_for_is_not_without_effect(tmp_path):
    bench = Bench(tmp_path, site=Site(max_import_w=6000.0), soc_pct=20.0)
    bench.clock.jump_wall(14 * 3600.0)
    bench.begin("charge", 600.0, 4000.0)
    bench.desk.keeper._throttle._limit_w = -9000.0  # a kettle and an oven, at once
    bench.run(3)
    bench.desk.keeper._effect = "waiting"  # as for a battery that begins to follow only now
    bench.run(40)
    assert bench.desk.report()["state"] == "held"


@pytest.mark.parametrize("action", ["idle", "self"])
def test_an_export_limit_holds_with_every_command(bench, action):
    bench.begin(action, 60.0, max_export_w=1000.0)
    assert bench.holding()[40038] == 1000
    bench.run(63)
    assert back(bench)


@pytest.mark.parametrize("action", ["discharge", "idle", "self"])
def test_an_import_limit_that_cannot_be_kept_is_refused(bench, action):
    with pytest.raises(Refused, match="import"):
        bench.begin(action, 60.0, max_import_w=1000.0)
    assert not bench.plant.writes


@pytest.mark.parametrize("wish", [
    {"do": "schedule", "commands": 5}, {"do": "schedule", "commands": {"action": "charge"}},
    {"do": "begin", "command": {"action": "charge", "seconds": 10 ** 400, "power_w": 100}},
    {"do": "begin", "command": {"action": "charge", "seconds": 60, "power_w": 100, "start": 4e9}},
    {"do": ["begin"]}, {}, {"do": "begin"}, {"do": "begin", "command": []},
])
def test_a_wish_that_is_none_is_one_line_and_writes_nothing(bench, wish):
    with pytest.raises(BridgeError):
        bench.desk.serve(bench.link, 247, wish, "http")
    assert not bench.plant.writes


def test_a_number_beyond_all_bounds_is_no_number():
    with pytest.raises(ConfigError, match="not a number"):
        from_record({"action": "charge", "seconds": 60, "power_w": 10 ** 400})


def test_a_look_at_the_lock_does_not_refuse_a_command(bench):
    """``battery status`` holds the lock for a moment only to see whether somebody has it."""
    other = StateDir(str(bench.state.path)).lock("lease.lock")
    bench.clock.at_tick.append(other.release)
    assert bench.begin("charge", 60.0)["state"] == "held"


def test_an_entry_of_the_schedule_survives_an_answer_that_was_lost(bench):
    now = bench.clock.now()
    bench.desk.serve(bench.link, 247, {"do": "schedule", "commands": [
        {"action": "charge", "seconds": 300, "power_w": 2000, "start": now + 5}]}, "test")
    bench.run(3)
    bench.wire.down = True
    bench.run(10)
    bench.wire.down = False
    bench.run(10)
    assert bench.desk.report()["state"] == "held"
    assert bench.lease.ends_at == pytest.approx(now + 305, abs=1)
    bench.run(300)
    assert back(bench)


def test_an_entry_of_the_schedule_survives_a_plant_that_is_busy(bench, monkeypatch):
    now = bench.clock.now()
    bench.desk.serve(bench.link, 247, {"do": "schedule", "commands": [
        {"action": "charge", "seconds": 300, "power_w": 2000, "start": now + 5}]}, "test")

    def busy(*asked):
        raise DeviceException("the plant is busy", 6)

    with monkeypatch.context() as patched:
        patched.setattr(bench.link, "read_bytes", busy)
        bench.run(10)
    bench.run(15)
    assert bench.desk.report()["state"] == "held"


@pytest.mark.parametrize("wish, words", [
    ({"action": "charge", "power_w": 4000}, "control.max_charge_w"),
    ({"action": "discharge", "power_w": 2000, "max_import_w": 500}, "import limit"),
    ({"action": "self-grid"}, "cloud only"),
])
def test_a_schedule_that_would_be_refused_at_night_is_refused_at_once(tmp_path, wish, words):
    bench = Bench(tmp_path, Site(max_charge_w=3000.0))
    wish.update(seconds=300, start=bench.clock.now() + 5)
    with pytest.raises(Refused, match=words):
        bench.desk.serve(bench.link, 247, {"do": "schedule", "commands": [wish]}, "test")
    assert not bench.desk.report()["schedule"]


def test_a_retarget_without_an_export_limit_gives_the_owners_limit_back(bench):
    bench.begin("discharge", 60.0, 2000.0, max_export_w=500.0)
    bench.begin("discharge", 60.0, 2000.0, max_export_w=1500.0)
    assert bench.holding()[40038] == 1500
    bench.begin("discharge", 60.0, 2000.0)
    assert bench.holding()[40038] == bench.before[40038]
    bench.run(63)
    assert back(bench)


def test_the_link_lost_for_good_is_an_error_and_nothing_else(bench):
    bench.wire.down = True
    with pytest.raises(LinkError):
        bench.begin("charge", 60.0)


def test_a_process_id_that_is_old_is_nobodys(tmp_path):
    """Whoever has the number today must not be sent a SIGTERM."""
    state = StateDir(str(tmp_path))
    lock = state.lock("lease.lock")
    assert state.lock_holder("lease.lock") == os.getpid()
    (tmp_path / "lease.lock").write_text(str(os.getppid()))
    assert state.lock_holder("lease.lock") is None
    (tmp_path / "lease.lock").write_text("999999999")
    assert state.lock_holder("lease.lock") is None
    lock.release()


def test_the_mode_before_two_commands_in_a_row_is_not_forgotten(tmp_path):
    bench = Bench(tmp_path, native_mode=1)
    asked = []
    bench.desk.keeper.on_mode_lost = asked.append
    bench.begin("charge", 20.0)
    bench.run(22)
    bench.begin("discharge", 20.0)
    bench.run(22)
    assert asked == [1, 1] and "Sigen AI (1)" in bench.desk.report()["last"]["by_hand"][0]
    bench.clock.advance(3600.0)  # the owner left it in self-consumption
    bench.begin("discharge", 20.0)
    bench.run(22)
    assert asked == [1, 1] and bench.desk.report()["last"]["by_hand"] == []


def test_registers_that_cannot_be_read_for_a_while_end_nothing_and_break_nothing(bench):
    bench.begin("charge", 60.0, max_import_w=6000.0)
    exchange, until = bench.wire.exchange, bench.clock.monotonic() + 20

    def withheld(request):
        if request[1] == 3 and bench.clock.monotonic() < until:
            return bytes((request[0], 0x83, 2))
        return exchange(request)

    bench.wire.exchange = withheld
    bench.run(40)
    assert bench.desk.report()["state"] == "held"
    bench.run(30)
    assert back(bench)


def test_a_command_left_behind_with_control_switched_off_is_said_and_never_written_to(bench, caplog):
    bench.begin("charge", 600.0, 2000.0)
    bench.die()
    count = len(bench.plant.writes)
    bench.rules = Rules(False, Site())
    bench.restart()
    bench.run(1200)
    assert len(bench.plant.writes) == count and bench.state.load("lease.json") is not None
    report = bench.desk.report()
    assert report["state"] == "left" and "control.enabled is no" in report["error"]
    text = "\n".join(status_lines(report))
    assert "ends" not in text and "not given back" in text
    assert [record.message for record in caplog.records if "lease=left" in record.message] == [
        f'lease=left command="charge 2000 W for 10 min" reason="{report["error"]}"']
    with pytest.raises(Refused, match="charge 2000 W for 10 min was left behind in the plant"):
        bench.desk.serve(bench.link, 247, {"do": "release"}, "test")
    bench.rules = Rules(True, Site())
    bench.restart()
    bench.run(2)
    assert back(bench)


@pytest.mark.parametrize("junk", ["", "{", "[]", '{"schema": 1}', "a lease with a time that is none"])
def test_a_lease_that_cannot_be_read_is_said_until_the_plant_was_freed(bench, caplog, junk):
    bench.begin("charge", 600.0, 2000.0)
    bench.die()
    if junk.startswith("a "):
        junk = json.dumps({**bench.state.load("lease.json"), "ends_mono": "soon"})
    with open(os.path.join(bench.state.path, "lease.json"), "w") as handle:
        handle.write(junk)
    bench.restart()
    bench.run(60)
    assert "cannot be read" in status_lines(bench.desk.report())[0]
    assert len([record for record in caplog.records if "lease=unreadable" in record.message]) == 1
    bench.desk.free(bench.link, 247, "test")
    assert bench.holding()[40029] == 0 and bench.desk.report()["text"] == "no battery command"
