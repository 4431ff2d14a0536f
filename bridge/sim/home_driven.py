"""A house that obeys: the pure house until somebody commands it, from then on one with a memory.

Never wakes by itself: it is told the second, and moves its battery's books there in steps of a second
(of a minute where nothing changes for long). Orders that ask for nothing leave the pure house alone.
"""

from __future__ import annotations

from typing import List, NamedTuple, Optional, Tuple

from bridge.sim.home import DAY_S, STEP_S, Energy, HomeState, House
from bridge.sim.home_control import Battery, Orders, battery, flow, idle, island, wanted_w
from bridge.sim.plant_scenarios import AnyHome

RUNNING = 1  # 30051
RAMP_S = 4  # the battery needs this long from one order's power to the next one's
PAUSE_S = 20  # a cap of zero stops it; users saw 15 to 30 s until it moved again


class Books(NamedTuple):
    """What a controlled house remembers: at a second, Wh stored, and the energies so far."""

    second: int
    stored_wh: float
    day: Energy
    day_before: Energy
    total: Energy


class DrivenHome:
    """The house under orders."""

    def __init__(self, home: AnyHome, house: House, orders: Orders) -> None:
        self._home, self._house = home, house
        self._quiet = self._orders = orders
        self._books: Optional[Books] = None
        self._state: Optional[HomeState] = None
        self._since, self._from_w, self._paused_until = 0, 0, 0
        self._bounds: Tuple[Optional[int], Optional[int]] = (None, None)

    @property
    def driven(self) -> bool:
        """True once the pure house no longer says what the plant does."""
        return self._books is not None

    @property
    def stored_wh(self) -> Optional[float]:
        """What the battery holds; None while the pure house knows."""
        return self._books.stored_wh if self._books else None

    def begin(self, second: int, stored_wh: Optional[float] = None) -> None:
        """Keep books from this second on, with the pure house's battery or this much in it."""
        state = self._home.at(second)
        held = stored_wh if stored_wh is not None else state.soc_permille * self._house.battery_wh / 1000
        self._books = Books(second, held, *self._home.energy(second))
        self._state, self._since, self._from_w = None, second - RAMP_S, state.battery_w

    def order(self, orders: Orders, second: int) -> None:
        """Have these orders from this second on; what was before is booked under the old ones."""
        if orders == self._orders:
            return
        before = self.at(second).battery_w
        if not self.driven:
            self.begin(second)
        old = self._orders
        if (orders.charge_w == 0 and old.charge_w != 0) or (orders.discharge_w == 0 and old.discharge_w != 0):
            self._paused_until = second + PAUSE_S
        self._orders, self._since, self._from_w, self._state = orders, second, before, None

    def bound(self, charge_w: Optional[int], discharge_w: Optional[int], second: int) -> None:
        """Let the battery do no more than this, whatever it is told; None: what its charge allows."""
        if (charge_w, discharge_w) != self._bounds:
            self.at(second)
            if not self.driven:
                self.begin(second)
            self._bounds, self._state = (charge_w, discharge_w), None

    def restart(self, second: int, down_s: int) -> None:
        """Start the inverter again: its battery rests for so long and comes up from there."""
        if self.driven:
            self.at(second)
            self._since, self._from_w, self._state = second + down_s, 0, None

    def at(self, second: int) -> HomeState:
        """Return the house at a second not before the last one asked for."""
        if self._books is None:
            return self._home.at(second)
        while self._books.second < second:
            settled = self._books.second >= max(self._since + RAMP_S, self._paused_until)
            step_s = STEP_S if settled and second - self._books.second >= STEP_S else 1
            self._books = _booked(self._books, self._now(self._books), step_s, self._house)
            self._state = None
        return self._now(self._books)

    def energy(self, second: int) -> Tuple[Energy, Energy, Energy]:
        """Return the energies of today, of yesterday and of the lifetime."""
        if self._books is None:
            return self._home.energy(second)
        self.at(second)
        return self._books.day, self._books.day_before, self._books.total

    def _now(self, books: Books) -> HomeState:
        if self._state is None:
            self._state = self._flow(books)
        return self._state

    def _flow(self, books: Books) -> HomeState:
        house, orders, second = self._house, self._orders, books.second
        now, able = self._home.conditions(second), self._able(orders, books)
        if orders.running != RUNNING:
            return idle(house, able, orders, now)
        if orders.off_grid or now.off_grid:
            return island(house, orders, now, able)
        pv_w, target_w = wanted_w(house, orders, now, able)
        share = max(0.0, min(1.0, (second - self._since) / RAMP_S))
        battery_w = round(self._from_w + (target_w - self._from_w) * share)
        if second < self._paused_until and not able.below_floor:
            battery_w = 0
        # While it ramps the battery may be beyond its new caps, never beyond what its charge allows.
        free = self._able(orders._replace(charge_w=None, discharge_w=None), books)
        battery_w = max(min(free.least_w, 0), min(free.most_w, battery_w))
        return flow(house, orders, now, able, pv_w, battery_w)

    def _able(self, orders: Orders, books: Books) -> Battery:
        able = battery(self._house, orders, books.stored_wh)
        charge_w, discharge_w = self._bounds
        if charge_w is not None:
            able = able._replace(most_w=min(able.most_w, charge_w))
        if discharge_w is not None:
            able = able._replace(least_w=max(able.least_w, -discharge_w))
        return able._replace(least_w=min(able.least_w, able.most_w))  # refilling is both, and bounded by one


def _booked(books: Books, state: HomeState, step_s: int, house: House) -> Books:
    """Return the books after a step at a state's power."""
    powers = (
        state.pv_w, state.third_party_pv_w, state.load_w, state.grid_w, -state.grid_w,
        state.battery_w, -state.battery_w, state.ev_w, -state.ev_w,
    )
    moved = tuple(max(0, power_w) * step_s / 3600 for power_w in powers)
    local = books.second + 60 * house.utc_offset_min
    today, yesterday = books.day, books.day_before
    if local // DAY_S != (local + step_s) // DAY_S:
        today, yesterday = Energy(), _more(today, moved)
    else:
        today = _more(today, moved)
    stored = books.stored_wh + state.battery_w * step_s / 3600
    return Books(books.second + step_s, stored, today, yesterday, _more(books.total, moved))


def _more(energy: Energy, moved: Tuple[float, ...]) -> Energy:
    added: List[float] = [a + b for a, b in zip(energy, moved)]
    return Energy(*added)
