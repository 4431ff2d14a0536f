"""What install and uninstall would do, decided from facts alone."""

from __future__ import annotations

import json

import pytest

from bridge.control.installation import Machine, hidden_program, plan_install, plan_uninstall
from bridge.control.installed import (
    CONFIG,
    CONFIG_DIR,
    FILES,
    LINK,
    PLACES,
    RECORD,
    SERVICE,
    STATE_DIR,
    STEPS,
    STEPS_DIR,
    SYSUSERS,
    Record,
    content_of,
    record_from,
    with_change,
    without_change,
)
from bridge.link.host import Change, fingerprint, init_files

STOPPED = (
    "sigen-bridge-tariff.timer", "sigen-bridge-enphase.service", "sigen-bridge-loads.service", "sigen-bridge.service",
    "sigen-bridge-watch.timer",
)

UNITS = init_files("systemd")
PROGRAM = "/opt/sigen-bridge/bin/sigen-bridge"
BARE = Machine("", {}, (), True, False, True, 257, False)
NOTHING = Record({}, ())
CONFIG_TEXT = "[modbus]\nhost = 192.168.1.5\n"


def install(machine=BARE, record=NOTHING, config=CONFIG_TEXT, has_plant=True):
    return plan_install(machine, record, UNITS, PROGRAM, config, has_plant)


def commands(plan):
    return [" ".join(change.argv) for change in plan.changes if change.kind == "run"]


def made(plan, machine=BARE):
    """Return machine and record as they are once the plan was carried out."""
    files, directories, record = dict(machine.files), [*machine.directories, STATE_DIR], NOTHING
    for change in plan.changes:
        record = with_change(record, change, False)
        if change.kind == "file":
            files[change.path] = fingerprint(change.content)
        elif change.kind == "directory":
            directories.append(change.path)
    record = record._replace(directories=(*record.directories, STATE_DIR))
    return machine._replace(files=files, directories=directories, link_free=False, has_user=True), record


def test_a_bare_machine_gets_user_files_command_and_service_in_an_order_that_works():
    plan = install()
    assert plan.refusals == ()
    assert [change.path for change in plan.changes if change.kind == "file"] == list(FILES)
    assert commands(plan) == [
        "systemd-sysusers sigen-bridge.conf", "systemctl daemon-reload", f"systemctl enable {SERVICE}",
        f"systemctl restart {SERVICE}"]
    order = [change.path for change in plan.changes]
    assert order.index(SYSUSERS) < order.index("sigen-bridge") < order.index(CONFIG_DIR) < order.index(CONFIG)
    assert order.index(STEPS_DIR) < order.index(PLACES[STEPS])


def test_modes_and_owners_keep_the_settings_from_others():
    by_path = {change.path: change for change in install().changes}
    assert (by_path[CONFIG].mode, by_path[CONFIG].group) == (0o640, "sigen-bridge")
    assert (by_path[CONFIG_DIR].mode, by_path[CONFIG_DIR].group) == (0o750, "sigen-bridge")
    assert {by_path[path].mode for path in PLACES.values()} == {0o644}


def test_the_units_start_this_program():
    for change in install().changes:
        if change.path.endswith(".service"):
            text = change.content.decode()
            assert f"ExecStart={PROGRAM} " in text
            assert "/usr/bin/sigen-bridge" not in text


def test_a_second_run_does_only_systemd_s_bookkeeping_and_restarts_nothing():
    machine, record = made(install())
    assert commands(install(machine, record)) == [
        "systemctl daemon-reload", f"systemctl enable {SERVICE}", f"systemctl start {SERVICE}"]
    assert len(install(machine, record).changes) == 3


def test_after_a_run_that_broke_off_the_service_is_restarted():
    machine, record = made(install())
    assert f"systemctl restart {SERVICE}" in commands(install(machine, record._replace(pending=True)))


def test_a_new_version_updates_its_own_files():
    machine, record = made(install())
    newer = plan_install(machine, record, {**UNITS, SERVICE: UNITS[SERVICE] + "# newer\n"}, PROGRAM, CONFIG_TEXT, True)
    assert [change.path for change in newer.changes if change.kind == "file"] == [PLACES[SERVICE]]
    assert f"systemctl restart {SERVICE}" in commands(newer)


def test_a_unit_changed_by_hand_stays():
    machine, record = made(install())
    machine = machine._replace(files={**machine.files, PLACES[SERVICE]: "edited"})
    plan = install(machine, record)
    assert PLACES[SERVICE] not in [change.path for change in plan.changes]
    assert plan.notes == (f"{PLACES[SERVICE]} was changed by hand and is left as it is",)


def test_somebody_else_s_unit_is_a_reason_to_do_nothing():
    plan = install(BARE._replace(files={PLACES[SERVICE]: "other"}))
    assert plan.changes == ()
    assert plan.refusals == (
        f"{PLACES[SERVICE]} is there and was not made by install: move it away, then run this again",)


def test_a_packaged_bridge_is_only_configured_and_started():
    plan = install(BARE._replace(packaged=True, directories=(CONFIG_DIR,), has_user=True, link_free=False))
    assert [change.path for change in plan.changes if change.kind != "run"] == [CONFIG]


def test_without_a_plant_the_service_waits_for_its_address():
    plan = install(has_plant=False)
    assert f"systemctl restart {SERVICE}" not in commands(plan)
    assert f"systemctl enable {SERVICE}" in commands(plan)
    assert "put the address of the gateway" in plan.notes[0]


def test_in_an_image_nothing_is_started():
    plan = install(BARE._replace(root="/mnt"))
    assert commands(plan) == [
        "systemd-sysusers --root=/mnt sigen-bridge.conf", f"systemctl --root=/mnt enable {SERVICE}"]


def test_without_sysusers_useradd_makes_the_user():
    assert commands(install(BARE._replace(sysusers=False)))[0] == (
        "useradd --system --home-dir /var/lib/sigen-bridge --shell /usr/sbin/nologin --groups dialout sigen-bridge")
    assert commands(install(BARE._replace(sysusers=False, root="/mnt")))[0].startswith("useradd --prefix /mnt --system")


def test_growing_waits_go_only_to_systemd_that_knows_them():
    for version in (252, None):
        assert PLACES[STEPS] not in [change.path for change in install(BARE._replace(systemd=version)).changes]


@pytest.mark.parametrize("program", ["/home/pi/venv/bin/sigen-bridge", "/root/.local/bin/sigen-bridge", "/tmp/x"])
def test_a_program_that_the_service_cannot_see_is_told(program):
    assert "/opt/sigen-bridge/bin/pip install . " in hidden_program(program)


def test_a_program_for_all_is_fine():
    assert hidden_program(PROGRAM) is None
    assert hidden_program("/homes/x") is None


def test_uninstall_takes_away_all_that_install_made():
    machine, record = made(install())
    plan = plan_uninstall(machine, record, (), False)
    assert {change.path for change in plan.changes if change.kind == "remove"} == {*FILES, LINK}
    assert commands(plan) == [
        *(f"systemctl disable --now {unit}" for unit in STOPPED),
        "systemctl daemon-reload", "userdel sigen-bridge"]
    assert (plan.changes[-1].kind, plan.changes[-1].path) == ("rmtree", STATE_DIR)
    for change in plan.changes:
        record = without_change(record, change)
    assert record.empty


def test_uninstall_removes_nothing_that_install_found_there():
    machine, record = made(install(), BARE._replace(has_user=True))
    record = record._replace(user=False, link=False, directories=(STATE_DIR,),
                             files={path: mark for path, mark in record.files.items() if path != CONFIG})
    plan = plan_uninstall(machine, record, (), False)
    touched = {change.path for change in plan.changes}
    assert not touched & {CONFIG, CONFIG_DIR, LINK, "sigen-bridge"}


def test_changed_settings_stay_with_the_user_who_reads_them():
    machine, record = made(install())
    machine = machine._replace(files={**machine.files, CONFIG: "edited"})
    plan = plan_uninstall(machine, record, (), False)
    touched = {change.path for change in plan.changes}
    assert not touched & {CONFIG, CONFIG_DIR, STATE_DIR, "sigen-bridge"}
    assert plan.notes == (f"{CONFIG} was changed since and stays; --purge removes it too",)
    for change in plan.changes:
        record = without_change(record, change)
    assert not record.empty  # so that --purge later knows of them
    purged = {change.path for change in plan_uninstall(machine, record, (), True).changes}
    assert {CONFIG, CONFIG_DIR, STATE_DIR, "sigen-bridge"} <= purged


def test_what_the_bridge_remembered_stays_unless_purged():
    machine, record = made(install())
    plan = plan_uninstall(machine, record, ("lease.json",), False)
    assert STATE_DIR not in {change.path for change in plan.changes}
    assert "--purge" in plan.notes[0]
    assert plan_uninstall(machine, record, ("lease.json",), True).changes[-1].path == STATE_DIR


def test_a_tampered_record_names_nothing_outside():
    told = {"files": {"/etc/passwd": "x", CONFIG: "y"}, "directories": ["/", "/etc", CONFIG_DIR], "user": 1, "link": "yes"}
    assert record_from(told) == Record({CONFIG: "y"}, (CONFIG_DIR,))
    assert record_from(None) == record_from([1]) == record_from({"files": 5, "directories": {}}) == NOTHING


def test_a_record_comes_back_as_it_was_written():
    _, record = made(install())
    assert record_from(json.loads(json.dumps(content_of(record)))) == record
    assert RECORD.endswith(".json")


def test_somebody_else_s_file_that_is_updated_is_not_recorded_as_ours():
    change = Change("file", CONFIG, "update", b"x")
    assert with_change(NOTHING, change, True) == NOTHING
    assert with_change(NOTHING, change, False).files == {CONFIG: fingerprint(b"x")}
