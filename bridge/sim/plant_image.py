"""The registers of the simulated plant as bytes, rebuilt once a second and cut out on request.

Never does I/O and knows no clock: it is told the second. A reader gets all its words from one image.
Facts: reserved words inside a readable range answer FFFF, one register that the protocol level does
not know rejects the whole range ("Sigenergy Modbus Protocol" and captures of real plants).
"""

from __future__ import annotations

import json
import struct
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple, Union

from bridge.errors import ConfigError
from bridge.registers import Register, Vendor, encode
from bridge.registers.sigenergy import LEVELS
from bridge.sim import plant_values as values
from bridge.sim.home import Energy, HomeState, House

WORDS = 1 << 16
CLOCK = 30000
CUTOFFS_SHOWN = (30085, 30086)
SIGNALS = {"battery_w": 30037, "grid_w": 30005, "load_w": 30284}
_PACK = {"u16": ">H", "s16": ">h", "u32": ">I", "s32": ">i", "u64": ">Q"}
_SCOPES = ("plant", "inverter", "dc_charger")


class Image:
    """Words by address, and which ranges each unit answers."""

    def __init__(self) -> None:
        self.data = bytearray(b"\xff" * (2 * WORDS))
        self.reach: Dict[int, Dict[int, int]] = {}
        self.pinned: Dict[int, bytes] = {}
        self.writable: Dict[int, Dict[int, Register]] = {}

    def permit(self, unit: int, addresses: Sequence[int]) -> None:
        """Let ``unit`` answer these addresses, on top of those it answers already."""
        legal = sorted(set(addresses) | set(self.reach.get(unit, ())))
        last: Dict[int, int] = {}
        for address in reversed(legal):
            last[address] = last.get(address + 1, address)
        self.reach[unit] = last

    def readable(self, unit: int, address: int, count: int) -> bool:
        """Say whether ``unit`` answers all of ``count`` registers from ``address``."""
        return self.reach[unit].get(address, -1) >= address + count - 1

    def read(self, address: int, count: int) -> bytes:
        """Return the bytes of ``count`` registers."""
        return bytes(self.data[2 * address:2 * (address + count)])

    def write(self, address: int, words: bytes) -> None:
        """Replace registers from ``address``; a later second may move them again."""
        self.data[2 * address:2 * address + len(words)] = words

    def pin(self, address: int, words: bytes) -> None:
        """Replace registers for good: the house no longer moves them."""
        self.pinned[address] = words
        self.write(address, words)

    def number(self, row: Register) -> int:
        """Return the raw number that stands in a row."""
        return int(struct.unpack_from(_PACK[row.kind], self.data, 2 * row.address)[0])

    def rated(self, row: Register, name: str) -> int:
        """Return the raw number of another row that bounds ``row``; a plain image knows none."""
        raise KeyError(name)

    def clock(self, second: int) -> None:
        """Set the plant's clock."""
        struct.pack_into(">I", self.data, 2 * CLOCK, second & 0xFFFFFFFF)

    def again(self) -> None:
        """Put the pinned words back after the house has moved."""
        for address, words in self.pinned.items():
            self.write(address, words)


class PlantImage(Image):
    """The image of a plant at one protocol level, fed from a house."""

    def __init__(self, vendor: Vendor, level: str, plant_unit: int, device_unit: int, house: House) -> None:
        super().__init__()
        if level not in dict(LEVELS):
            raise ConfigError(f"no protocol level {level!r}; there are {', '.join(dict(LEVELS))}")
        self.house = house
        rows = [row for row in vendor.rows if row.scope in _SCOPES and _since(row.since) <= _since(level)]
        self._rows = {(row.scope, row.name): row for row in rows}
        self._packers = {
            key: (struct.Struct(_PACK[row.kind]), 2 * row.address)
            for key, row in self._rows.items()
            if row.kind in _PACK
        }
        for scope in _SCOPES:
            unit = plant_unit if scope == "plant" else device_unit
            own = [row for row in rows if row.scope == scope]
            self.permit(unit, _legal(vendor, own, scope, level))
            self.writable.setdefault(unit, {}).update({r.address: r for r in own if r.access in ("rw", "wo")})
        self._fill(house)

    def rated(self, row: Register, name: str) -> int:
        """Return the raw number of another row of the same scope, which bounds ``row``."""
        return self.number(self._rows[row.scope, name])

    def name_firmware(self, version: str) -> None:
        """Put the firmware's version where the inverter shows it."""
        row = self._rows.get(("inverter", "firmware_version"))
        if row is not None:
            self.write(row.address, words_bytes(encode(row, version)))

    def writable_by(self, address: int) -> Optional[Register]:
        """Return the row that a write to this address changes; None where nothing can be written."""
        return next((rows[address] for rows in self.writable.values() if address in rows), None)

    def show(self, state: HomeState, work_mode: int, cutoffs_pct: Tuple[float, float]) -> None:
        """Put the house of this second into the registers, and the charge and discharge cut-off that act."""
        self._pack(values.moving(state, self.house, work_mode))
        for shown, pct in zip(CUTOFFS_SHOWN, cutoffs_pct):
            self.write(shown, struct.pack(">H", round(10 * pct)))

    def count(self, today: Energy, yesterday: Energy, total: Energy) -> None:
        """Put the energy counters into the registers."""
        self._pack(values.counters(today, yesterday, total))
        for (address, size), number in zip(values.HIDDEN_COUNTERS, values.hidden_counters(today, total)):
            struct.pack_into(">I" if size == 2 else ">Q", self.data, 2 * address, number)

    def _pack(self, raw: Mapping[Tuple[str, str], int]) -> None:
        for key, number in raw.items():
            packer = self._packers.get(key)
            if packer is not None:
                packer[0].pack_into(self.data, packer[1], number)

    def _fill(self, house: House) -> None:
        for row in self._rows.values():
            self.write(row.address, bytes(2 * row.count))
        for key, number in values.constants(house).items():
            fixed = self._rows.get(key)
            if fixed is not None:
                self.write(fixed.address, words_bytes(encode(fixed, number)))
        for address in values.LIMITS:
            self.write(address, struct.pack(">I", values.NEVER_SET))


class ReplayImage(Image):
    """The image of a recorded plant: its blocks, word for word, and nothing else."""

    def __init__(self, path: str) -> None:
        super().__init__()
        try:
            with open(path, encoding="utf-8") as handle:
                recording: Any = json.load(handle)
            for block in recording["blocks"]:
                first, words = int(block["address"]), list(block["words"])
                self.write(first, words_bytes(words))
                unit = int(block.get("unit", recording.get("unit", 247)))
                self.permit(unit, range(first, first + len(words)))
        except (OSError, ValueError, KeyError, TypeError, struct.error) as error:
            raise ConfigError(f"replay {path}: not a recording of register blocks ({error})") from error
        clocks = [reach for reach in self.reach.values() if reach.get(CLOCK, 0) > CLOCK]
        self.started: Optional[int] = struct.unpack_from(">I", self.data, 2 * CLOCK)[0] if clocks else None

    def move_on(self, elapsed_s: int) -> None:
        """Move the recorded plant clock on, if there is one and it was set."""
        if self.started:
            self.clock(self.started + elapsed_s)


def words_bytes(words: Sequence[int]) -> bytes:
    """Pack words, high byte first."""
    return struct.pack(f">{len(words)}H", *words)


def five_of(image: Image, unit: int) -> Dict[str, Optional[float]]:
    """Return the five values that the image shows, W and % (PV with third-party PV, not clamped)."""
    found: Dict[str, Optional[float]] = {name: _s32(image, unit, where) for name, where in SIGNALS.items()}
    own, third = _s32(image, unit, 30035), _s32(image, unit, 30194)
    found["pv_w"] = None if own is None else own + (third or 0)
    soc = image.readable(unit, 30014, 1)
    found["soc_pct"] = struct.unpack(">H", image.read(30014, 1))[0] / 10 if soc else None
    return found


def _s32(image: Image, unit: int, address: int) -> Optional[int]:
    if not image.readable(unit, address, 2):
        return None
    return int(struct.unpack(">i", image.read(address, 2))[0])


def _since(level: str) -> Tuple[int, ...]:
    return tuple(int(part) for part in level.split("."))


def _legal(vendor: Vendor, rows: List[Register], scope: str, level: str) -> List[int]:
    """Return the addresses of a scope that answer at a level, reserved ones included."""
    known = {row.address + word for row in rows for word in range(row.count) if row.access != "wo"}
    every = {
        row.address + word for row in vendor.rows if row.scope == scope for word in range(row.count)
    }
    legal: List[int] = []
    for owner, space, first, last in vendor.readable:
        if owner != scope:
            continue
        if scope == "plant" and space == "input":  # the level's table: what a later one adds is reserved
            legal.extend(range(first, min(last, dict(LEVELS)[level]) + 1))
            continue
        end = max((address for address in known if first <= address <= last), default=-1)
        legal.extend(a for a in range(first, end + 1) if a in known or a not in every)
    return legal


AnyImage = Union[PlantImage, ReplayImage]
