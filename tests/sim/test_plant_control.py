"""Remote EMS of the simulated plant: what each mode and each cap does to the power flow, on the wire."""

from __future__ import annotations

import re
import subprocess
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.clock import ManualClock
from bridge.errors import ConfigError
from bridge.registers import decode, sigenergy, vendor_from
from bridge.sim.home import HOUSE
from bridge.sim.plant import PlantSim
from bridge.sim.plant_control import CAPS
from tests.sim.plant_wire import PLANT, READ_GRID, Wire, at_unit, read_pdu, s32, words, write_one, write_two

REMOTE, MODE, BACKUP, FULL, FLOOR = 40029, 40031, 40046, 40047, 40048
CHARGE, DISCHARGE, PV, EXPORT, IMPORT, PCS_EXPORT, PCS_IMPORT = (cap.address for cap in CAPS)
NO_LIMIT = 0xFFFFFFFF
RAMP_S = 5  # after this the battery does what it was told
NOBODY = 0xFFFF
VENDOR = vendor_from(sigenergy)


class Bench:
    """A plant, a wire to it, and the flow as its registers show it."""

    def __init__(self, clock, plant, wire):
        self.clock, self.plant, self.wire = clock, plant, wire

    def word(self, address):
        return words(self.wire.ask(read_pdu(address, 1)))[0]

    def power(self, address):
        return s32(self.wire.ask(read_pdu(address, 2)))

    def put(self, address, number):
        """Write a register the way its width asks for; the plant has to accept it."""
        wide = 40032 <= address <= 40045 or address == 40001
        pdu = write_two(address, number) if wide else write_one(address, number)
        assert self.wire.ask(pdu) == pdu[:5], f"{address} = {number}"

    def refused(self, address, number):
        """Return the exception code of a write that is refused."""
        wide = 40032 <= address <= 40045
        reply = self.wire.ask(write_two(address, number) if wide else write_one(address, number))
        assert reply[0] & 0x80, f"{address} = {number} was accepted"
        return reply[1]

    def mode(self, number, wait_s=RAMP_S):
        self.put(REMOTE, 1)
        self.put(MODE, number)
        self.clock.advance(wait_s)

    @property
    def flow(self):
        """Return PV, battery and grid, W."""
        return self.power(30035), self.power(30037), self.power(30005)

    @property
    def soc_pct(self):
        return self.word(30014) / 10


@pytest.fixture
def bench_of(clock):
    """Return a function that starts a plant and a wire to it."""
    opened = []

    def start(**options):
        plant = PlantSim(clock, **{"scenario": "steady", **options}).start()
        wire = Wire(plant.port)
        opened.extend((wire.socket.close, plant.stop))
        return Bench(clock, plant, wire)

    yield start
    for end in opened:
        end()


@pytest.fixture
def bench(bench_of):
    """Return a plant with 3000 W of sun, 1200 W of load and 50 % in an 8 kWh battery."""
    return bench_of()


# --- the table of modes: sun, battery, grid ---

@pytest.mark.parametrize(("number", "expected"), [
    (0, (3000, 2902, 1201)),    # the inverter's AC power is the set-point, 0 W: the grid carries the house
    (1, (3000, 0, -1657)),      # the battery rests, the sun goes out
    (2, (3000, 1684, 1)),       # as without anybody
    (3, (0, 4200, 5501)),       # the grid charges, and the sun stands still
    (4, (3000, 4200, 2516)),    # the sun charges, the grid fills up
    (5, (3000, -1800, -3430)),  # the sun goes out, the battery fills up
    (6, (0, -4800, -3490)),     # the battery goes out, and the sun stands still
    (8, (3000, 1684, 1)),       # no vehicle here
])
def test_mode_does_to_the_flow_what_users_saw(bench, number, expected):
    assert bench.flow == (3000, 1684, 1)
    bench.mode(number)
    assert bench.word(30003) == 7
    assert bench.flow == expected
    assert bench.plant.control.mode == number


def test_mode_without_remote_ems_is_kept_and_has_no_effect(bench):
    for number in (4, 6, 1):
        bench.put(MODE, number)
        bench.clock.advance(60)
        assert bench.flow == (3000, 1684, 1)
        assert bench.word(30003) == 0
    bench.put(REMOTE, 1)
    bench.clock.advance(RAMP_S)
    assert bench.flow == (3000, 0, -1657)


@pytest.mark.parametrize("native", [1, 2, 5, 9])
def test_release_ends_in_self_consumption_whatever_was_before(bench_of, native):
    bench = bench_of(native_mode=native)
    assert bench.word(30003) == native
    bench.mode(4)
    assert bench.word(30003) == 7
    bench.put(REMOTE, 0)
    assert bench.word(30003) == 0
    bench.clock.advance(RAMP_S)
    assert bench.flow == (3000, 1684, 1)
    assert bench.word(MODE) == 4  # it stays, and would act again
    assert bench.plant.control.native_mode == 0


def test_unknown_native_mode_is_refused(clock):
    with pytest.raises(ConfigError, match="Sigen AI"):
        PlantSim(clock, native_mode=7)
    with pytest.raises(ConfigError, match="0 to 100"):
        PlantSim(clock, soc_pct=101)


def test_reserved_mode_is_refused_and_v2g_before_2_9(bench, bench_of):
    assert bench.refused(MODE, 7) == 3
    assert bench.refused(MODE, 9) == 3
    assert bench_of(level="2.8").refused(MODE, 8) == 3


def test_set_point_acts_in_mode_0_alone(bench):
    bench.put(40001, 2500)
    bench.mode(2)
    assert bench.flow == (3000, 1684, 1)
    bench.mode(0)
    assert bench.power(30031) == pytest.approx(2500, abs=5)
    bench.put(40001, -1000)
    bench.clock.advance(RAMP_S)
    assert bench.power(30031) == pytest.approx(-1000, abs=20)


# --- caps ---

@pytest.mark.parametrize(("number", "address", "cap_w", "expected"), [
    (4, CHARGE, 1000, (3000, 1000, -672)),
    (4, CHARGE, 3500, (3000, 3500, 1805)),
    (3, CHARGE, 1000, (0, 1000, 2253)),
    (6, DISCHARGE, 2000, (0, -2000, -732)),   # all the battery gives, not what is exported
    (5, DISCHARGE, 2000, (3000, 0, -1657)),   # the sun gives more: the battery is not drawn on
    (5, DISCHARGE, 4000, (3000, -1000, -2642)),
    (4, PV, 500, (500, 4200, 5003)),
    (6, EXPORT, 1000, (0, -2310, -1000)),     # less battery
    (1, EXPORT, 700, (2043, 0, -700)),        # less sun
    (4, IMPORT, 1500, (3000, 3184, 1500)),    # less charging
    (4, PCS_IMPORT, 500, (3000, 3384, 1700)),
    (6, PCS_EXPORT, 2500, (0, -2610, -1300)),
])
def test_cap_binds_what_it_is_for(bench, number, address, cap_w, expected):
    bench.mode(number)
    bench.put(address, cap_w)
    bench.clock.advance(RAMP_S)
    assert bench.flow == expected
    assert bench.plant.control.in_force == (address,)
    bench.put(address, NO_LIMIT)
    bench.clock.advance(RAMP_S)
    assert bench.plant.control.in_force == ()


def test_caps_are_unset_until_somebody_sets_them(bench):
    assert words(bench.wire.ask(read_pdu(CHARGE, 14, 3))) == [0xFFFF] * 14
    assert set(bench.plant.control.caps.values()) == {None}
    bench.put(EXPORT, NO_LIMIT - 1)
    assert bench.plant.control.caps[EXPORT] is None


@pytest.mark.parametrize(("address", "rated_w"), [(CHARGE, 4200), (DISCHARGE, 4800)])
def test_cap_above_the_rated_power_gets_exception_2(bench, address, rated_w):
    bench.mode(4)
    assert bench.refused(address, rated_w + 1) == 2
    bench.put(address, rated_w)


@pytest.mark.parametrize(("level", "spc", "everywhere"), [
    ("2.7", None, False), ("2.8", None, False), ("2.8", 113, True), ("2.9", None, True),
])
def test_battery_caps_act_in_every_mode_from_spc113_on(bench_of, level, spc, everywhere):
    bench = bench_of(level=level, spc=spc)
    bench.mode(4)
    bench.put(CHARGE, 1000)
    bench.clock.advance(RAMP_S)
    assert bench.power(30037) == 1000
    bench.mode(2)
    assert bench.power(30037) == (1000 if everywhere else 1684)
    bench.put(REMOTE, 0)
    bench.clock.advance(RAMP_S)
    assert bench.power(30037) == (1000 if everywhere else 1684)
    bench.mode(4)
    assert bench.power(30037) == 1000  # it had only been out of force
    version = bytes(byte for word in words(bench.wire.ask(read_pdu(30525, 15), 1)) for byte in divmod(word, 256))
    spcs = {"2.7": "SPC110", "2.8": "SPC112", "2.9": "SPC115"}
    assert (f"SPC{spc}" if spc else spcs[level]) in version.decode()


@pytest.mark.parametrize(("address", "inside", "outside"), [(CHARGE, (3, 4), (0, 1, 2, 5, 6)), (DISCHARGE, (5, 6), (0, 1, 2, 3, 4))])
def test_old_firmware_refuses_a_battery_cap_outside_its_modes(bench_of, address, inside, outside):
    bench = bench_of(level="2.8")
    assert bench.refused(address, 1000) == 2  # remote EMS is off
    bench.put(MODE, inside[0])
    assert bench.refused(address, 1000) == 2
    bench.put(REMOTE, 1)
    for number in outside:
        bench.put(MODE, number)
        assert bench.refused(address, 1000) == 2
        assert bench.refused(address, NO_LIMIT) == 2
    for number in inside:
        bench.put(MODE, number)
        bench.put(address, 1000 + number)
        bench.put(address, NO_LIMIT)


def test_grid_caps_act_without_remote_ems_on_every_firmware(bench_of):
    bench = bench_of(level="2.8", soc_pct=100)
    assert bench.flow[2] < -1600
    bench.put(EXPORT, 500)
    bench.clock.advance(RAMP_S)
    pv_w, battery_w, grid_w = bench.flow
    assert (battery_w, grid_w) == (0, -500)
    assert pv_w < 2000


def test_export_cap_of_zero_keeps_a_small_import_for_good(bench):
    bench.put(EXPORT, 0)
    for _ in range(5):
        bench.clock.advance(600)
        assert 50 <= bench.flow[2] <= 120
        assert bench.flow[0] == 3000  # the battery takes it, no sun is lost
    bench.mode(1)
    assert 50 <= bench.flow[2] <= 120


def test_caps_and_modes_persist_over_modes_release_and_restart(bench):
    bench.mode(6)
    bench.put(DISCHARGE, 2000)
    for number in (2, 4, 1, 6):
        bench.put(MODE, number)
    bench.put(REMOTE, 0)
    bench.put(BACKUP, 250)
    bench.plant.restart(0)
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        try:
            bench.wire = Wire(bench.plant.port)
            break
        except ConnectionRefusedError:
            time.sleep(0.01)
    assert words(bench.wire.ask(read_pdu(DISCHARGE, 2, 3))) == [0, 2000]
    assert (bench.word(REMOTE), bench.word(MODE), bench.word(BACKUP)) == (0, 6, 250)
    assert bench.power(30037) == 0  # the battery comes up from rest
    bench.clock.advance(RAMP_S)
    assert bench.power(30037) == 1684
    bench.wire.socket.close()


def test_plant_kept_without_power_is_handed_over_to_another(bench, bench_of):
    assert bench_of(memory=bench_of(native_mode=9).plant.memory).word(30003) == 9
    bench.mode(4)
    bench.put(CHARGE, 1500)
    bench.clock.advance(3600)
    heir = bench_of(memory=bench.plant.memory)
    assert heir.soc_pct == bench.soc_pct > 60
    assert words(heir.wire.ask(read_pdu(CHARGE, 2, 3))) == [0, 1500]
    assert heir.word(30003) == 7
    heir.clock.advance(RAMP_S)
    assert heir.power(30037) == 1500


def test_ramp_takes_a_few_seconds(bench):
    bench.mode(6, wait_s=0)
    seen = []
    for _ in range(6):
        seen.append(bench.power(30037))
        bench.clock.advance(1)
    assert seen == [1684, 63, -1558, -3179, -4800, -4800]


def test_zeroing_a_cap_stops_the_battery_for_a_while(bench):
    bench.mode(6)
    bench.put(DISCHARGE, 0)
    bench.put(DISCHARGE, 4800)
    stopped = 0
    while bench.power(30037) == 0:
        bench.clock.advance(1)
        stopped += 1
        assert stopped < 60
    assert 15 <= stopped <= 30
    bench.clock.advance(RAMP_S)
    assert bench.power(30037) == -4800


def test_discharge_cap_of_zero_in_mode_2_stops_supply_of_the_house_and_not_the_sun(bench_of):
    bench = bench_of(scenario="night", soc_pct=60)
    bench.mode(2)
    assert bench.flow[1] < -1200
    bench.put(DISCHARGE, 0)
    bench.clock.advance(40)
    assert bench.flow[1] == 0 and bench.flow[2] > 1200
    sunny = bench_of()
    sunny.mode(2)
    sunny.put(DISCHARGE, 0)
    sunny.clock.advance(40)
    assert sunny.flow == (3000, 1684, 1)


# --- state of charge ---

def test_charge_follows_self_consumption_under_remote_ems(bench):
    bench.mode(2)
    bench.clock.advance(3600)
    assert bench.soc_pct == pytest.approx(50 + 100 * 1684 / HOUSE.battery_wh, abs=0.2)


def test_charge_follows_the_commanded_power_and_ends_full(bench):
    bench.mode(4)
    bench.put(CHARGE, 2000)
    bench.clock.advance(RAMP_S)
    before = bench.plant.memory.stored_wh
    for _ in range(60):
        bench.clock.advance(30)
        bench.word(30014)
    assert bench.plant.memory.stored_wh - before == pytest.approx(1000, abs=0.01)
    bench.clock.advance(5 * 3600)
    assert bench.soc_pct > 99.5
    assert bench.flow[1] < 50
    assert bench.plant.memory.stored_wh <= HOUSE.battery_wh


def test_discharge_ends_at_the_cut_off(bench):
    bench.put(FLOOR, 200)
    bench.mode(6)
    bench.clock.advance(7200)
    assert bench.soc_pct == 20.0
    assert bench.flow[1] == 0
    assert bench.word(30086) == 200


def test_backup_reserve_ends_a_discharge_and_charges_nothing(bench):
    bench.put(BACKUP, 450)
    bench.mode(6)
    bench.clock.advance(3600)
    assert bench.soc_pct == 45.0
    bench.put(BACKUP, 200)
    bench.clock.advance(10)
    assert bench.flow[1] == -4800
    bench.put(BACKUP, 600)
    assert bench.flow[1] == 0  # at once: no ramp takes what must be kept
    bench.clock.advance(600)
    assert (bench.soc_pct, bench.flow[1]) == (44.9, 0)


def test_charge_ends_at_the_charge_cut_off(bench):
    bench.put(FULL, 600)
    bench.mode(4)
    bench.clock.advance(7200)
    assert 59.5 <= bench.soc_pct <= 60.0
    assert bench.word(30085) == 600


@pytest.mark.parametrize(("remote", "number"), [(0, 2), (1, 1), (1, 2), (1, 6)])
def test_cut_off_above_the_charge_draws_kilowatts_from_the_grid_up_to_it(bench_of, remote, number):
    bench = bench_of(scenario="night")  # 47.3 %
    bench.put(MODE, number)
    bench.put(REMOTE, remote)
    bench.put(IMPORT, 0)
    bench.put(PCS_IMPORT, 0)
    bench.put(CHARGE, 0)
    bench.put(FLOOR, 600)
    bench.clock.advance(30)
    assert bench.flow[1] == 4200
    assert bench.flow[2] > 5000
    bench.clock.advance(2 * 3600)
    assert 59.9 <= bench.soc_pct <= 60.0
    assert bench.flow[1] <= 0
    assert bench.flow[2] < 1400


def test_cut_off_at_or_under_the_charge_draws_nothing(bench_of):
    bench = bench_of(scenario="night")
    bench.put(FLOOR, 473)
    bench.clock.advance(60)
    assert bench.flow[1] == 0
    assert bench.flow[2] < 1400


def test_available_power_binds_the_battery_whatever_it_is_told(bench):
    bench.plant.set("ess_available_max_charging_power", 1500)
    bench.plant.set("ess_available_max_discharging_power", 900)
    bench.mode(4)
    assert bench.power(30037) == bench.power(30047) == 1500
    bench.mode(6)
    assert bench.power(30037) == -900


def test_rated_and_available_power_are_in_their_registers(bench_of):
    bench = bench_of(soc_pct=100)
    assert (bench.power(30068), bench.power(30070)) == (4200, 4800)
    assert (bench.power(30047), bench.power(30049)) == (0, 4800)


def test_energy_counters_follow_the_commanded_flow(bench):
    row = {"charged": 30200, "discharged": 30204, "imported": 30216, "exported": 30220}

    def counters():
        return {name: int.from_bytes(bench.wire.ask(read_pdu(at, 4))[2:], "big") for name, at in row.items()}

    bench.mode(4)
    before = counters()
    bench.clock.advance(1800)
    after = counters()
    assert after["charged"] - before["charged"] == pytest.approx(4200 / 2 / 10, abs=2)
    assert after["imported"] - before["imported"] == pytest.approx(2516 / 2 / 10, abs=2)
    assert after["discharged"] == before["discharged"]
    bench.mode(6)
    before = counters()
    bench.clock.advance(1800)
    assert counters()["discharged"] - before["discharged"] == pytest.approx(4800 / 2 / 10, abs=5)
    assert counters()["exported"] - before["exported"] == pytest.approx(3490 / 2 / 10, abs=5)


def test_daily_counters_start_again_at_midnight_under_command_too(bench):
    def daily(name):
        row = VENDOR.row(name, "plant")
        return decode(row, words(bench.wire.ask(read_pdu(row.address, row.count))))

    bench.mode(1)
    before = daily("load_daily_consumption")
    bench.clock.advance(12 * 3600)  # 23:31 in the house
    assert daily("load_daily_consumption") - before == pytest.approx(1.2 * 12, abs=0.05)
    sun = daily("pv_daily_generation")
    bench.clock.advance(3600)
    assert daily("load_daily_consumption") == pytest.approx(1.2 * 31 / 60, abs=0.05)
    assert daily("pv_previous_day_generation") == pytest.approx(sun + 3 * 29 / 60, abs=0.1)


def test_start_and_stop_of_the_plant_are_what_the_never_touch_list_fears(bench):
    bench.put(40000, 0)
    bench.clock.advance(10)
    assert bench.word(30051) == 3
    assert bench.flow == (0, 0, 1200)
    bench.put(40000, 1)
    bench.clock.advance(10)
    assert (bench.word(30051), bench.flow) == (1, (3000, 1684, 1))


# --- the moving house ---

def test_house_that_nobody_commands_is_the_pure_one(clock):
    with PlantSim(clock) as plant, Wire(plant.port) as wire:
        wire.ask(write_one(BACKUP, 0))
        wire.ask(write_one(MODE, 2))
        wire.ask(write_one(MODE, 6))
        for _ in range(20):
            clock.advance(1237)
            wire.ask(READ_GRID)
            assert s32(wire.ask(READ_GRID)) == plant.home.at(plant.plant_time()).grid_w
        assert plant.memory.stored_wh is None


def test_moving_house_in_mode_2_goes_on_as_it_was(clock):
    with PlantSim(clock, seed=3) as plant, Wire(plant.port) as wire:
        wire.ask(write_one(REMOTE, 1))
        wire.ask(write_one(MODE, 2))
        for _ in range(30):
            clock.advance(60)
            pure = plant.home.at(plant.plant_time())
            assert s32(wire.ask(read_pdu(30037, 2))) == pytest.approx(pure.battery_w, abs=40)
            assert words(wire.ask(read_pdu(30014, 1)))[0] == pytest.approx(pure.soc_permille, abs=3)


def test_same_commands_at_the_same_times_make_the_same_day():
    def day():
        clock, seen = ManualClock(), []
        with PlantSim(clock, seed=5) as plant, Wire(plant.port) as wire:
            wire.ask(write_one(REMOTE, 1))
            for number in (4, 6, 2, 5, 1):
                wire.ask(write_one(MODE, number))
                for _ in range(10):
                    clock.advance(7)
                    seen.append(wire.ask(read_pdu(30000, 72)))
        return seen

    assert day() == day()


@pytest.mark.timing
def test_day_under_command_is_cheap(clock):
    """A test that lets a commanded day pass must not notice it: hours nobody looks at go by in minutes."""
    with PlantSim(clock) as plant, Wire(plant.port) as wire:
        wire.ask(write_one(REMOTE, 1))
        wire.ask(write_one(MODE, 4))
        wire.ask(READ_GRID)
        begun = time.process_time()
        clock.advance(86_400)
        wire.ask(READ_GRID)
        assert time.process_time() - begun < 0.5
        begun = time.process_time()
        for _ in range(1000):
            clock.advance(1)
            wire.ask(read_pdu(30000, 39))
            wire.ask(read_pdu(30194, 92))
        assert (time.process_time() - begun) / 1000 < 0.001


STEPS = st.lists(st.tuples(
    st.sampled_from((REMOTE, MODE, *(cap.address for cap in CAPS), BACKUP, FULL, FLOOR, 40001, NOBODY)),
    st.one_of(st.integers(0, 8), st.integers(0, 1000), st.integers(0, 12_000), st.just(NO_LIMIT)),
    st.one_of(st.integers(0, 8), st.integers(0, 7200)),
), max_size=14)
EVENTS = st.sampled_from((None, "off_grid", "not_running", "vpp_takeover"))


@settings(max_examples=60, deadline=None)
@given(STEPS, EVENTS, st.sampled_from(("home", "steady", "night", "third_party", "ev_charge", "offgrid", "no_meter")),
       st.sampled_from(("2.0", "2.8", "2.9")), st.integers(1, 100), st.one_of(st.none(), st.floats(0, 100)))
def test_every_balance_is_exact_whatever_is_written(steps, event, scenario, level, seed, soc_pct):
    clock = ManualClock()
    with PlantSim(clock, scenario=scenario, level=level, seed=seed, soc_pct=soc_pct) as plant, Wire(plant.port) as wire:
        before, stored = clock.monotonic(), plant.memory.stored_wh
        for index, (address, number, wait_s) in enumerate(steps):
            if index == 5 and event is not None:
                plant.fault(event, for_s=1000)
            if address != NOBODY:
                wire.ask((write_two if 40032 <= address <= 40045 or address == 40001 else write_one)(address, number))
            clock.advance(wait_s)
            shown = words(wire.ask(read_pdu(30000, 72)))
            state = plant.state
            assert state.ac_power_w + state.third_party_pv_w + state.grid_w == state.load_w
            assert state.pv_w - state.battery_w - state.ev_w - state.losses_w == state.ac_power_w
            assert all(isinstance(number, int) for number in state)
            assert -HOUSE.discharge_w <= state.battery_w <= HOUSE.charge_w
            assert 0 <= state.soc_permille <= 1000 and state.losses_w >= 0
            assert state.load_w >= 0 or not state.meter
            held = plant.memory.stored_wh
            if held is not None and stored is not None:
                assert 0 <= held <= HOUSE.battery_wh + 0.01
                hours = (clock.monotonic() - before) / 3600
                assert -HOUSE.discharge_w * hours - 2 <= held - stored <= HOUSE.charge_w * hours + 2
            before, stored = clock.monotonic(), held
            for at, power_w in (
                (30005, state.grid_w), (30031, state.ac_power_w), (30037, state.battery_w), (30035, state.pv_w),
            ):
                assert shown[at - 30000] << 16 | shown[at - 29999] == power_w & 0xFFFFFFFF
            assert plant.truth[-1].five["battery_w"] == state.battery_w


@settings(max_examples=60, deadline=None)
@given(st.sampled_from((1, 2, 4, 5, 6)), st.integers(0, 6000), st.integers(0, 6000), st.integers(6, 100))
def test_export_and_import_caps_hold_wherever_the_battery_and_sun_allow(number, export_w, import_w, soc_pct):
    clock = ManualClock()
    plant = PlantSim(clock, scenario="steady", soc_pct=soc_pct)
    plant.set(EXPORT, export_w)
    plant.set(IMPORT, import_w)
    plant.set(REMOTE, 1)
    plant.set(MODE, number)
    clock.advance(RAMP_S)
    state = plant.state
    assert -state.grid_w <= export_w
    assert state.grid_w <= max(import_w, 1300)  # a house that draws more than its cap draws it all the same


# --- independent clients, the sequence of the document by hand ---

def mbpoll(port, *arguments):
    done = subprocess.run(
        ["mbpoll", "-m", "tcp", "-a", "247", "-p", str(port), "-0", "-B", *arguments],
        capture_output=True, text=True, timeout=10, check=False,
    )
    numbers = {int(at): int(number) for at, number in re.findall(r"\[(\d+)\]:\s+(-?\d+)", done.stdout)}
    return numbers, done.returncode, done.stdout + done.stderr


@pytest.mark.needs("mbpoll")
def test_mbpoll_charges_and_releases_by_hand(clock):
    with PlantSim(clock, scenario="steady", native_mode=1) as plant:
        def read(kind, address):
            return mbpoll(plant.port, "-t", kind, "-r", str(address), "-c", "1", "-1", "127.0.0.1")[0][address]

        def write(kind, address, number):
            numbers, code, text = mbpoll(plant.port, "-t", kind, "-r", str(address), "127.0.0.1", str(number))
            assert code == 0, text

        assert (read("3", 30003), read("3", 30009), read("3", 30051)) == (1, 0, 1)
        rated = read("3:int", 30068)
        assert (rated, read("4:int", 40032)) == (4200, -1)
        write("4", 40029, 1)
        write("4", 40031, 2)
        write("4:int", 40032, 3000)
        write("4", 40031, 4)
        clock.advance(10)
        assert (read("3", 30003), read("4", 40031), read("4:int", 40032)) == (7, 4, 3000)
        assert read("3:int", 30037) == 3000
        write("4", 40031, 2)
        write("4:int", 40032, rated)
        write("4", 40029, 0)
        clock.advance(10)
        assert (read("3", 30003), read("3:int", 30037)) == (0, 1684)
        assert [(write.function, write.address, write.words, write.outcome) for write in plant.writes] == [
            (6, 40029, (1,), "ok"), (6, 40031, (2,), "ok"), (16, 40032, (0, 3000), "ok"), (6, 40031, (4,), "ok"),
            (6, 40031, (2,), "ok"), (16, 40032, (0, 4200), "ok"), (6, 40029, (0,), "ok"),
        ]


@pytest.mark.needs("mbpoll")
def test_mbpoll_is_refused_as_a_plant_refuses(clock):
    with PlantSim(clock, scenario="steady", level="2.8") as plant:
        _, code, text = mbpoll(plant.port, "-t", "4:int", "-r", "40032", "127.0.0.1", "3000")
        assert code != 0
        assert "Illegal data address" in text


@pytest.mark.parametrize("level", ["2.8", "2.9"])
def test_pymodbus_exports_by_hand_and_releases(clock, level):
    from pymodbus.client import ModbusTcpClient

    with PlantSim(clock, scenario="steady", level=level) as plant:
        client = ModbusTcpClient("127.0.0.1", port=plant.port, timeout=2, retries=0)
        assert client.connect()
        unit = at_unit(client, PLANT)

        def number(address):
            high, low = client.read_input_registers(address, count=2, **unit).registers
            return ((high << 16 | low) ^ (1 << 31)) - (1 << 31)

        try:
            assert not client.write_register(40029, 1, **unit).isError()
            assert not client.write_register(40031, 2, **unit).isError()
            neutral = client.write_registers(40034, [0, 4800], **unit)
            if level == "2.8":  # refused in the neutral mode: the mode first, the cap at once after it
                assert neutral.exception_code == 2
            else:
                assert not neutral.isError()
            assert not client.write_registers(40038, [0, 2000], **unit).isError()
            assert not client.write_register(40031, 6, **unit).isError()
            assert not client.write_registers(40034, [0, 4800], **unit).isError()
            clock.advance(10)
            assert client.read_input_registers(30003, count=1, **unit).registers == [7]
            assert client.read_holding_registers(40038, count=2, **unit).registers == [0, 2000]
            assert (number(30005), number(30035)) == (-2000, 0)
            assert client.write_registers(40034, [0, 4801], **unit).exception_code == 2
            assert not client.write_register(40031, 2, **unit).isError()
            assert not client.write_registers(40038, [0xFFFF, 0xFFFF], **unit).isError()
            assert not client.write_register(40029, 0, **unit).isError()
            clock.advance(10)
            assert client.read_input_registers(30003, count=1, **unit).registers == [0]
            assert number(30037) == 1684
        finally:
            client.close()
        assert {write.address for write in plant.writes} == {40029, 40031, 40034, 40038}
        assert plant.counters.writes_refused == (2 if level == "2.8" else 1)


# --- the write log ---

def test_write_log_holds_every_frame_that_asked_for_a_change(bench):
    bench.wire.ask(read_pdu(40029, 3, 3))
    bench.put(REMOTE, 1)
    bench.clock.advance(2)
    bench.refused(40051, 2)
    bench.refused(30005, 1)
    bench.wire.ask(bytes.fromhex("05 9C40 FF00"))  # a coil
    bench.wire.ask(bytes.fromhex("16 9C5D 0000 0001"))  # mask write
    bench.wire.send(write_one(REMOTE, 0), unit=0)
    bench.wire.send(write_one(REMOTE, 0), unit=9)
    bench.wire.ask(bytes.fromhex("10 9C5F 0003 06 0004 0000 0BB8"))
    seen = [(w.unit, w.function, w.address, w.words, w.outcome) for w in bench.plant.writes]
    assert seen == [
        (247, 6, 40029, (1,), "ok"), (247, 6, 40051, (2,), "exception 3"), (247, 6, 30005, (1,), "exception 2"),
        (247, 5, 40000, (0xFF00,), "exception 1"), (247, 0x16, 40029, (0, 1), "exception 1"),
        (0, 6, 40029, (0,), "ok"), (9, 6, 40029, (0,), "ignored: not our unit"),
        (247, 16, 40031, (4, 0, 3000), "ok"),
    ]
    assert bench.plant.writes[1].at_mono - bench.plant.writes[0].at_mono == 2
    counters = bench.plant.counters
    assert (counters.write_requests, counters.writes, counters.writes_refused) == (8, 3, 4)


def test_recording_obeys_nobody(clock):
    from tests.conftest import FIXTURES

    plant = PlantSim(clock, replay=str(FIXTURES / "real-1.json"))
    with pytest.raises(ConfigError, match="recording"):
        _ = plant.control
    with pytest.raises(ConfigError, match="recording"):
        plant.fault("off_grid")


@pytest.mark.parametrize("params", [{"address": 30005, "value": 1}, {"address": 40031, "value": 70_000}])
def test_other_master_cannot_do_what_no_master_can(bench, params):
    with pytest.raises(ConfigError, match="other_master"):
        bench.plant.fault("other_master", **params)
    with pytest.raises(ConfigError, match="keep"):
        bench.plant.fault("ack_ignored", keep="both")
