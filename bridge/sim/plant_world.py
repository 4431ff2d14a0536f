"""The plant's inside between its registers and its house: orders, other masters, the books, restarts.

Never sees a frame. It is told the monotonic time, lets whatever was due by then happen at its own
second, and shows the result in the image.
"""

from __future__ import annotations

import struct
from typing import Callable, NamedTuple, Optional, Tuple, Union

from bridge.errors import ConfigError
from bridge.registers import Register
from bridge.sim.home import HomeState, House
from bridge.sim.home_control import Orders
from bridge.sim.home_driven import DrivenHome
from bridge.sim.plant_control import BACKUP, INVERTER_START_STOP, MODE, REMOTE, START_STOP, Control, Situation
from bridge.sim.plant_faults import FaultBoard
from bridge.sim.plant_image import PlantImage, ReplayImage
from bridge.sim.plant_scenarios import AnyHome

HOLDING = 40000
COUNTERS_EVERY_S = 10  # an energy counter's step takes longer than this at 3.6 kW
AVAILABLE_CHARGE, AVAILABLE_DISCHARGE = 30047, 30049
EVENTS = ("off_grid", "not_running", "vpp_takeover", "other_master")


class Memory(NamedTuple):
    """What a plant keeps without power: holding registers, native mode, charge if it was commanded."""

    holding: bytes
    native_mode: int
    stored_wh: Optional[float]


class Recording:
    """The inside of a recorded plant: its clock moves, nothing else."""

    def __init__(self, image: ReplayImage, second_of: Callable[[float], int]) -> None:
        self._image, self.second_of = image, second_of
        self._began: Optional[int] = None

    def tick(self, now: float) -> None:
        """Move the plant's clock."""
        second = self.second_of(now)
        self._began = second if self._began is None else self._began
        self._image.move_on(second - self._began)

    def wrote(self, address: int, words: bytes, now: float) -> None:
        """Do nothing: a recording obeys nobody."""

    def pinned(self, now: float) -> None:
        """Do nothing: a recording has no battery."""

    def restart(self, now: float, down_s: float) -> None:
        """Do nothing: a recording is the same after as before."""

    def objection(self, row: Register, raw: int) -> Optional[int]:
        """Forbid nothing: there is nothing to write."""
        return None


class World:
    """One plant's inside. Not locked: the station's lock covers it."""

    def __init__(
        self, image: PlantImage, home: AnyHome, house: House, control: Control, board: FaultBoard,
        second_of: Callable[[float], int], soc_pct: Optional[float] = None,
    ) -> None:
        self.control, self._board = control, board
        self._image, self.second_of = image, second_of
        self.objection = control.objection
        self._house, self._driven = house, DrivenHome(home, house, control.orders())
        self._start_wh = None if soc_pct is None else house.battery_wh * soc_pct / 100
        self._seen: Optional[float] = None
        self._counted: Optional[int] = None
        self._taken: Optional[Tuple[Tuple[int, int], ...]] = None  # what a VPP gives back when it goes

    def tick(self, now: float) -> None:
        """Let the house and everybody outside act up to now, and show it."""
        if self._seen is None:
            self._seen = now
            if self._start_wh is not None:
                self._driven.begin(self.second_of(now), self._start_wh)
        for edge in self._board.edges(EVENTS, self._seen, now):
            self._befall(edge)
        self._seen = now
        self._befall(now)
        second = self.second_of(now)
        orders = self.control.orders()
        self._image.show(self._driven.at(second), self.control.work_mode, (orders.full_pct, orders.floor_pct))
        self._image.clock(second)
        if self._counted is None or abs(second - self._counted) >= COUNTERS_EVERY_S:
            self._counted = second
            self._image.count(*self._driven.energy(second))

    def state(self, now: float) -> HomeState:
        """Return the power flow of this second, as it stands in the registers."""
        return self._driven.at(self.second_of(now))

    def wrote(self, address: int, words: bytes, now: float) -> None:
        """Act on registers that were written."""
        if address in (START_STOP, INVERTER_START_STOP):
            self.control.start_stop(any(words))
        remote = self.control.remote
        if address <= REMOTE < address + len(words) // 2 and words[2 * (REMOTE - address) + 1]:
            self._evict()
        self.control.obey(address, len(words) // 2)
        reset = self._board.get("backup_reset", now)
        if reset is not None and remote != self.control.remote:
            self._put(BACKUP, int(10 * reset["pct"]))
        self._order(now)

    def pinned(self, now: float) -> None:
        """Heed what was put into the registers of available power."""
        bounds = [self._image.pinned.get(at) for at in (AVAILABLE_CHARGE, AVAILABLE_DISCHARGE)]
        charge_w, discharge_w = (None if words is None else struct.unpack(">I", words)[0] for words in bounds)
        self._driven.bound(charge_w, discharge_w, self.second_of(now))

    def restart(self, now: float, down_s: float) -> None:
        """Start again with what is kept without power, and act on all of it."""
        self.control.obey_all()
        self._order(now)
        self._driven.restart(self.second_of(now), round(down_s))

    def memory(self) -> Memory:
        """Return what the plant keeps without power."""
        holding = bytes(self._image.data[2 * HOLDING:])
        return Memory(holding, self.control.native, self._driven.stored_wh)

    def remember(self, memory: Memory) -> None:
        """Be the plant that kept this; before the first tick only."""
        if self._seen is not None:
            raise ConfigError("a plant that runs cannot remember another's registers")
        self._image.write(HOLDING, memory.holding)
        self.control.obey_all()
        self.control.native = memory.native_mode
        self._start_wh = memory.stored_wh

    def _befall(self, now: float) -> None:
        """Let what comes from outside come: a grid failure, a VPP, another master's write."""
        vpp = self._board.due("vpp_takeover", now)
        if vpp is not None and self._taken is None:
            found = tuple((address, self.control.acting[address]) for address in (REMOTE, MODE))
            self._taken = found if vpp["returns"] else ()
            self._put(REMOTE, vpp["remote"])
            self._put(MODE, vpp["mode"])
        elif vpp is None and self._taken is not None:
            for address, number in self._taken:
                self._put(address, number)
            self._taken = None
        other = self._board.due("other_master", now)
        if other is not None:
            self._board.clear("other_master")
            self._put(other["address"], other["value"])
        off_grid, stopped = self._board.due("off_grid", now), self._board.due("not_running", now)
        self.control.situation = Situation(
            off_grid=off_grid["kind"] if off_grid else 0, running=stopped["state"] if stopped else 1,
            vpp=None if vpp is None else Orders(battery_w=vpp["w"]),
        )
        self._order(now)

    def _evict(self) -> None:
        """Let a VPP go whose plant somebody takes: users saw the plant leave an event for 40029 = 1."""
        vpp = self._board.peek("vpp_takeover")
        if self._taken is not None and vpp is not None and not vpp["holds"]:
            self._board.clear("vpp_takeover")
            self._taken = None
            self.control.situation = self.control.situation._replace(vpp=None)

    def _put(self, address: int, number: int) -> None:
        """Write a register as another master of this plant does."""
        words = self.words_for(address, number)
        self._image.write(address, words)
        self.control.obey(address, len(words) // 2)

    def words_for(self, address: int, number: int) -> bytes:
        """Return a raw number as the words of a holding register. Raises ConfigError if it is none."""
        row = self._image.writable_by(address)
        if row is None:
            raise ConfigError(f"other_master: nobody can write {address} on this plant")
        try:
            return int(number).to_bytes(2 * row.count, "big", signed=number < 0)
        except OverflowError:
            raise ConfigError(f"other_master: {number} does not fit into {address}") from None

    def _order(self, now: float) -> None:
        if self.control.remote and not self._driven.driven:
            self._driven.begin(self.second_of(now))
        self._driven.order(self.control.orders(), self.second_of(now))


AnyWorld = Union[World, Recording]
