"""What the plant's control registers make it do, firmware by firmware, and what it refuses.

Never does I/O and never moves power: it turns registers into Orders. Facts: "Sigenergy Modbus
Protocol" V1.7 to V2.9 and what users found out: caps act in their own modes alone before SPC113, a
refusal for reasons of state is exception 2, and leaving remote EMS ends in self-consumption.
"""

from __future__ import annotations

from typing import Any, Dict, Mapping, NamedTuple, Optional, Tuple

from bridge.errors import ConfigError
from bridge.registers import Register
from bridge.sim.home import House
from bridge.sim.home_control import SELF_CONSUMPTION, V2G, Orders
from bridge.sim.modbus_frames import ILLEGAL_ADDRESS, ILLEGAL_VALUE
from bridge.sim.plant_image import WORDS, PlantImage

START_STOP, SET_POINT, REMOTE, MODE = 40000, 40001, 40029, 40031
BACKUP, FULL, FLOOR = 40046, 40047, 40048
INVERTER_START_STOP = 40500
NEVER_SET = 0xFFFFFFFE  # and above: no limit
NATIVE_MODES = {0: "self-consumption", 1: "Sigen AI", 2: "TOU", 5: "full feed-in", 9: "custom"}
WORK_VPP, WORK_REMOTE = 6, 7
RESERVED_MODE = 7
SHUTDOWN = 3
GLOBAL_CAPS_SPC = 113  # from this firmware on the battery and PV caps act in every mode
FIRMWARES = {"1.8": 105, "2.0": 106, "2.5": 108, "2.6": 109, "2.7": 110, "2.8": 112, "2.9": 115}


class Cap(NamedTuple):
    """A cap: its register, its order, the modes it acts in on old firmware, and if it is refused elsewhere."""

    address: int
    order: str
    modes: Tuple[int, ...]
    refused: bool


ALL_MODES = (0, 1, 2, 3, 4, 5, 6, 8)
CAPS = (
    Cap(40032, "charge_w",     (3, 4),       True),
    Cap(40034, "discharge_w",  (5, 6),       True),
    Cap(40036, "pv_w",         (3, 4, 5, 6), False),
    Cap(40038, "export_w",     ALL_MODES,    False),
    Cap(40040, "import_w",     ALL_MODES,    False),
    Cap(40042, "pcs_export_w", ALL_MODES,    False),
    Cap(40044, "pcs_import_w", ALL_MODES,    False),
)
WIDE = (SET_POINT, *(cap.address for cap in CAPS))
NARROW = (REMOTE, MODE, BACKUP, FULL, FLOOR)


class Situation(NamedTuple):
    """What befalls the plant from outside: the grid away, not running, or a VPP that holds it."""

    off_grid: int = 0
    running: int = 1
    vpp: Optional[Orders] = None


class ControlView(NamedTuple):
    """What the plant is told at the moment, as it acts on it; caps in W by address, None: no limit."""

    remote: bool
    mode: int
    work_mode: int
    native_mode: int
    caps: Mapping[int, Optional[int]]
    in_force: Tuple[int, ...]
    backup_pct: float
    charge_cutoff_pct: float
    discharge_cutoff_pct: float
    orders: Orders


class Control:
    """The control registers as the plant acts on them; a faulty plant may show others."""

    def __init__(self, image: PlantImage, house: House, native: int, level: str, spc: Optional[int]) -> None:
        if native not in NATIVE_MODES:
            known = ", ".join(f"{number} {name}" for number, name in NATIVE_MODES.items())
            raise ConfigError(f"native mode {native}: there are {known}")
        self.native = native
        self.situation = Situation()
        self.acting: Dict[int, int] = {}
        self._image, self._house = image, house
        self._spc = FIRMWARES[level] if spc is None else spc
        self._v2g = level == "2.9"  # mode 8
        self._stopped = False
        self.obey_all()

    @property
    def firmware(self) -> str:
        """The inverter's firmware version."""
        return f"V100R001C00SPC{self._spc}B010"

    def obey(self, address: int, count: int) -> None:
        """Act on what stands in these registers from now on."""
        before = self.acting.get(REMOTE)
        for numbers, size in ((NARROW, 1), (WIDE, 2)):
            for at in numbers:
                if address < at + size and at < address + count:
                    self.acting[at] = int.from_bytes(self._image.read(at, size), "big")
        if before == 1 and self.acting[REMOTE] == 0:
            self.native = 0  # not the mode it had before: self-consumption

    def obey_all(self) -> None:
        """Act on what stands in every register, as after a start."""
        self.obey(0, WORDS)

    def start_stop(self, on: bool) -> None:
        """Start the plant, or stop it."""
        self._stopped = not on

    @property
    def remote(self) -> bool:
        """True while remote EMS rules, as far as no VPP does."""
        return self.acting[REMOTE] == 1

    @property
    def work_mode(self) -> int:
        """What 30003 shows."""
        if self.situation.vpp is not None:
            return WORK_VPP
        return WORK_REMOTE if self.remote else self.native

    def objection(self, row: Register, raw: int) -> Optional[int]:
        """Return the exception code of a write that the plant's state forbids."""
        if row.scope != "plant":
            return None
        if row.address == MODE and (raw == RESERVED_MODE or (raw == V2G and not self._v2g)):
            return ILLEGAL_VALUE
        cap = next((cap for cap in CAPS if cap.address == row.address), None)
        if cap is None or not cap.refused or self._global or self._acts(cap):
            return None
        return ILLEGAL_ADDRESS

    def orders(self) -> Orders:
        """Return what the plant is to do now."""
        running = SHUTDOWN if self._stopped and self.situation.running == 1 else self.situation.running
        orders = self.situation.vpp
        if orders is None:
            orders = Orders(mode=self.acting[MODE] if self.remote else SELF_CONSUMPTION)
        caps: Dict[str, Any] = {cap.order: self.limit(cap) for cap in CAPS if self._acts(cap)}
        if self.situation.vpp is not None:  # it does as it likes, but at the grid the owner's caps stand
            caps.update(charge_w=None, discharge_w=None, pv_w=None)
        return orders._replace(
            set_point_w=_signed(self.acting[SET_POINT]), floor_pct=self._pct(FLOOR, self._house.floor_pct),
            full_pct=self._pct(FULL, 100.0), backup_pct=self._pct(BACKUP, 0.0),
            off_grid=self.situation.off_grid, running=running, **caps,
        )

    def limit(self, cap: Cap) -> Optional[int]:
        """Return what a cap is set to, W; None: no limit."""
        raw = self.acting[cap.address]
        return None if raw >= NEVER_SET else raw

    def view(self) -> ControlView:
        """Return the state of control, to look at."""
        orders = self.orders()
        return ControlView(
            remote=self.remote, mode=self.acting[MODE], work_mode=self.work_mode, native_mode=self.native,
            caps={cap.address: self.limit(cap) for cap in CAPS},
            in_force=tuple(cap.address for cap in CAPS if self._acts(cap) and self.limit(cap) is not None),
            backup_pct=orders.backup_pct, charge_cutoff_pct=orders.full_pct,
            discharge_cutoff_pct=orders.floor_pct, orders=orders,
        )

    @property
    def _global(self) -> bool:
        return self._spc >= GLOBAL_CAPS_SPC

    def _acts(self, cap: Cap) -> bool:
        if self._global or cap.modes == ALL_MODES:
            return True
        return self.remote and self.situation.vpp is None and self.acting[MODE] in cap.modes

    def _pct(self, address: int, default: float) -> float:
        known = self._image.writable_by(address) is not None
        return self.acting[address] / 10 if known else default


def _signed(raw: int) -> int:
    return raw - (1 << 32) if raw >> 31 else raw
