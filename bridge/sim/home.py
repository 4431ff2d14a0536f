"""A house with sun, battery and appliances, as a pure function of time and seed.

Never keeps a state that matters: ``Home.at(seconds)`` gives the same values whenever it is asked, so
the truth behind a simulated plant can be computed again by whoever checks what was made of it.

How SOC can be a function of time alone: the tank heater runs from 00:30 to 03:00 and needs more than
the battery holds, so at 04:00 the battery is always at its floor, and a day is integrated from there.
"""

from __future__ import annotations

from typing import Dict, List, NamedTuple, Tuple

from bridge.sim.home_day import DAY_S, chance, ev_w, irradiance, load_w

DAWN_S = 4 * 3600  # local time at which the battery is known to be empty
STEP_S = 60  # the energy path of a day is integrated by minutes
DAYS_KEPT = 4
COMMISSIONED = 1_704_067_200 // DAY_S  # lifetime counters start in 2024


class House(NamedTuple):
    """What is installed; powers in W, ``ev`` is none, charge (10 to 13 h) or v2h (18 to 21 h)."""

    pv_peak_w: int = 9900
    third_party_peak_w: int = 0
    inverter_w: int = 9999
    battery_wh: int = 8060
    charge_w: int = 4200
    discharge_w: int = 4800
    floor_pct: float = 5.0
    ev: str = "none"
    utc_offset_min: int = 600
    latitude_deg: float = -27.5


HOUSE = House()


class HomeState(NamedTuple):
    """The house at one second: W, ``soc_permille`` in tenths of a percent.

    ``grid_w`` + imports, ``battery_w`` + charges, ``ev_w`` + flows to the vehicle, ``ac_power_w`` +
    feeds the house. Exactly: ac + third party + grid = load and ac = pv - battery - ev - losses.
    """

    pv_w: int
    third_party_pv_w: int
    battery_w: int
    soc_permille: int
    ev_w: int
    ac_power_w: int
    losses_w: int
    grid_w: int
    load_w: int
    off_grid: int = 0
    meter: int = 1
    running: int = 1


class Conditions(NamedTuple):
    """What weather and people do at one second, W: sun on the modules before anybody curtails it."""

    pv_w: int
    third_party_w: int
    ev_w: int
    load_w: int
    grid_target_w: int = 0
    off_grid: int = 0
    meter: int = 1


class Energy(NamedTuple):
    """Energies in Wh, of a day or of a lifetime."""

    pv: float = 0.0
    third_party_pv: float = 0.0
    load: float = 0.0
    imported: float = 0.0
    exported: float = 0.0
    charged: float = 0.0
    discharged: float = 0.0
    ev_charged: float = 0.0
    ev_discharged: float = 0.0


# Lifetime counters grow by this much a day: summing every day since 2024 would take minutes.
MEAN_DAY = Energy(38_000.0, 15_000.0, 30_000.0, 12_000.0, 20_000.0, 8_000.0, 7_600.0, 5_000.0, 2_000.0)


class Home:
    """The moving house. ``at`` and ``energy`` are pure; days already integrated are remembered."""

    def __init__(self, seed: int = 1, house: House = HOUSE) -> None:
        self.seed = seed
        self.house = house
        self._paths: Dict[int, List[Tuple[float, Energy]]] = {}

    def at(self, seconds: float) -> HomeState:
        """Return the house at a unix time; it changes with every whole second."""
        now = self.conditions(seconds)
        local = int(seconds) + 60 * self.house.utc_offset_min
        day, elapsed = divmod(local - DAWN_S, DAY_S)
        minute, part = divmod(elapsed, STEP_S)
        path = self._path(day)
        start, end = path[minute][0], path[minute + 1][0]
        return settle(
            self.house, now.pv_w, now.third_party_w, now.ev_w, now.load_w,
            energy_wh=start, shown_wh=start + (end - start) * part / STEP_S, grid_target_w=now.grid_target_w,
        )

    def conditions(self, seconds: float) -> Conditions:
        """Return sun and demand at a unix time, whatever the battery is told to do."""
        local = int(seconds) + 60 * self.house.utc_offset_min
        ripple = chance(self.seed, 1, local) - 0.5
        sun = irradiance(self.house.latitude_deg, self.seed, local) * (1.0 + 0.006 * ripple)
        night_w = -int(4 * chance(self.seed, 2, local // 7))  # strings read a few watts below zero
        drawn = load_w(self.seed, local) + 16.0 * (chance(self.seed, 3, local) - 0.5)
        return Conditions(
            pv_w=round(self.house.pv_peak_w * sun) or night_w,
            third_party_w=round(self.house.third_party_peak_w * sun),
            ev_w=ev_w(self.house.ev, local),
            load_w=2 * round(drawn / 2) + local % 2,  # the parity makes every second differ
            grid_target_w=round(40 * (chance(self.seed, 4, local) - 0.5)),
        )

    def energy(self, seconds: float) -> Tuple[Energy, Energy, Energy]:
        """Return the energies since local midnight, of the day before, and of the lifetime."""
        local = int(seconds) + 60 * self.house.utc_offset_min
        midnight = local - local % DAY_S
        at_midnight = self._since_dawn(midnight)
        day_end = self._since_dawn(midnight, closing=True)
        so_far = self._since_dawn(local)
        if local % DAY_S < DAWN_S:
            today = _minus(so_far, at_midnight)
        else:
            today = _plus(so_far, _minus(day_end, at_midnight))
        before = self._since_dawn(midnight - DAY_S, closing=True)
        yesterday = _plus(at_midnight, _minus(before, self._since_dawn(midnight - DAY_S)))
        return today, yesterday, self._lifetime(local, so_far)

    def _lifetime(self, local: int, so_far: Energy) -> Energy:
        day, elapsed = divmod(local - DAWN_S, DAY_S)
        whole = self._path(day)[-1][1]
        fractions = (part / total if total > 0 else elapsed / DAY_S for part, total in zip(so_far, whole))
        days = max(0, day - COMMISSIONED)
        return Energy(*(
            mean * (days + fraction) if total > 0 or mean_always else 0.0
            for mean, fraction, total, mean_always in zip(MEAN_DAY, fractions, whole, self._installed())
        ))

    def _installed(self) -> Tuple[bool, ...]:
        third, vehicle = self.house.third_party_peak_w > 0, self.house.ev
        return (True, third, True, True, True, True, True, vehicle == "charge", vehicle == "v2h")

    def _since_dawn(self, local: int, closing: bool = False) -> Energy:
        day, elapsed = divmod(local - DAWN_S, DAY_S)
        path = self._path(day)
        if closing:
            return path[-1][1]
        minute, part = divmod(elapsed, STEP_S)
        first, second = path[minute][1], path[minute + 1][1]
        return Energy(*(a + (b - a) * part / STEP_S for a, b in zip(first, second)))

    def _path(self, day: int) -> List[Tuple[float, Energy]]:
        path = self._paths.get(day)
        if path is None:
            path = _integrate(self.house, self.seed, day)
            while len(self._paths) >= DAYS_KEPT:
                self._paths.pop(next(iter(self._paths)))
            self._paths[day] = path
        return path


def settle(
    house: House, pv_w: int, third_party_w: int, ev_w: int, load_w: int,
    energy_wh: float, shown_wh: float, grid_target_w: int = 0,
) -> HomeState:
    """Let the inverter hold the grid at its target as far as battery and rating allow.

    ``energy_wh`` is what the battery held when the minute began (its limits follow from it),
    ``shown_wh`` what it holds now. The grid takes what is left, so both balances are exact.
    """
    wanted = max(-house.inverter_w, min(house.inverter_w, load_w - third_party_w - grid_target_w))
    battery = pv_w - ev_w - wanted - losses_w(pv_w, wanted)
    room_wh = house.battery_wh - energy_wh
    stock_wh = energy_wh - house.battery_wh * house.floor_pct / 100
    most = min(house.charge_w, int(6 * room_wh))  # tapers towards full
    least = -min(house.discharge_w, int(stock_wh * 3600 / STEP_S))  # never below the floor
    battery = max(least, min(most, battery))
    spare = pv_w - ev_w - battery
    ac_w = spare - losses_w(pv_w, spare)
    if ac_w > house.inverter_w:  # the rest of the sun is curtailed
        cut = min(ac_w - house.inverter_w, max(pv_w, 0))
        pv_w, ac_w = pv_w - cut, ac_w - cut
    return HomeState(
        pv_w=pv_w, third_party_pv_w=third_party_w, battery_w=battery,
        soc_permille=max(0, min(1000, round(1000 * shown_wh / house.battery_wh))),
        ev_w=ev_w, ac_power_w=ac_w, losses_w=pv_w - battery - ev_w - ac_w,
        grid_w=load_w - third_party_w - ac_w, load_w=load_w,
    )


def _integrate(house: House, seed: int, day: int) -> List[Tuple[float, Energy]]:
    """Integrate one day from 04:00, a minute a step: stored energy and energies since then."""
    stored = house.battery_wh * house.floor_pct / 100
    sums = [0.0] * len(Energy())
    path = [(stored, Energy())]
    begin = day * DAY_S + DAWN_S
    for local in range(begin + STEP_S // 2, begin + DAY_S, STEP_S):
        sun = irradiance(house.latitude_deg, seed, local)
        state = settle(
            house, round(house.pv_peak_w * sun), round(house.third_party_peak_w * sun),
            ev_w(house.ev, local), round(load_w(seed, local)), stored, stored,
        )
        stored += state.battery_w * STEP_S / 3600
        for index, power_w in enumerate((
            state.pv_w, state.third_party_pv_w, state.load_w, state.grid_w, -state.grid_w,
            state.battery_w, -state.battery_w, state.ev_w, -state.ev_w,
        )):
            sums[index] += max(0, power_w) * STEP_S / 3600
        path.append((stored, Energy(*sums)))
    return path


def losses_w(pv_w: int, ac_w: int) -> int:
    return 38 + abs(pv_w) // 50 + 3 * abs(ac_w) // 200  # own draw, 2 % of PV, 1.5 % of AC


def _plus(one: Energy, other: Energy) -> Energy:
    return Energy(*(a + b for a, b in zip(one, other)))


def _minus(one: Energy, other: Energy) -> Energy:
    return Energy(*(a - b for a, b in zip(one, other)))
