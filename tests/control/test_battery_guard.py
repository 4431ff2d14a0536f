"""The guard: no frame for an address or value that is not allowed, and nothing is believed unread."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.control.battery_guard import Guard, read_holding, read_standing
from bridge.errors import Refused

from .battery_bench import UNIT, Bench

SNAPSHOT = {40029: 0, 40031: 2, 40032: 2500, 40034: 0xFFFFFFFF, 40038: 5000, 40046: 200}
BOUNDS = {40032: 3000.0, 40034: 4000.0}


class NoFrames:
    """A link that fails the test when it is used."""

    def write(self, *args):
        pytest.fail(f"a frame came into being: {args}")

    read_bytes = write


@pytest.mark.parametrize("address, raw, words", [
    (40000, 0, "start and stop"), (40500, 0, "inverter"), (40051, 1, "grid code"), (40068, 1, "grid code"),
    (41000, 1, "DC charger"), (42000, 0, "AC charger"), (40048, 100, "cut-off"), (40047, 100, "cut-off"),
    (40001, 1, "not on the list"), (40036, 0, "not on the list"), (40040, 1, "not on the list"), (30005, 1, "not on the list"),
    (40046, 200, "not on the list"), (40031, 0, "control mode 0"), (40031, 8, "control mode 8"), (40029, 2, "neither"),
    (40032, 3001, "at most 3000"), (40032, 0xFFFFFFFF, "no limit"), (40034, 4001, "at most 4000"),
    (40038, 100, "no limit known"), (40032, -1, "does not fit"), (40031, 70000, "does not fit"),
])
def test_what_is_not_allowed_never_becomes_a_frame(address, raw, words):
    with pytest.raises(Refused, match=words):
        Guard(NoFrames(), UNIT, SNAPSHOT, BOUNDS, lambda done: None).write(address, raw)


@given(st.integers(0, 0xFFFF), st.integers(-5, 2**33))
def test_for_any_address_and_value_only_the_list_passes(address, raw):
    guard = Guard(NoFrames(), UNIT, SNAPSHOT, BOUNDS, lambda done: None)
    try:
        guard.check(address, raw)
    except Refused:
        return
    assert address in (40029, 40031, 40032, 40034, 40038)
    if address in BOUNDS:
        assert raw <= BOUNDS[address] or raw == SNAPSHOT[address] or min(raw, SNAPSHOT[address]) >= 0xFFFFFFFE


def test_the_snapshots_own_values_may_be_put_back():
    guard = Guard(NoFrames(), UNIT, SNAPSHOT, {}, lambda done: None, allow_backup_soc=True)
    for address, raw in SNAPSHOT.items():
        guard.check(address, raw)
    with pytest.raises(Refused):
        guard.check(40046, 300)


def test_the_plant_is_read_in_few_requests_and_what_old_firmware_lacks_is_left_out(tmp_path):
    new = Bench(tmp_path / "new")
    standing = read_standing(new.link, UNIT)
    assert new.wire.stats.requests == 4 and standing.complete and set(standing.holding) == set(SNAPSHOT)
    assert (standing.rated_charge_w, standing.rated_discharge_w, standing.running) == (4200.0, 4800.0, 1)
    old = Bench(tmp_path / "old", level="1.8")
    assert set(read_holding(old.link, UNIT)) == {40029, 40031, 40032, 40034}
    assert read_standing(old.link, UNIT).complete
