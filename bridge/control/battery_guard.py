"""The only way to a register of the plant: an allow-list, the never-touch list, and every write read back.

Never lets a frame come into being for an address or a value that is not allowed. Facts: modbus reference 6 and
7; what happened to others is in requirements R.20 to R.26.
"""

from __future__ import annotations

import struct
from typing import Callable, Dict, Mapping, Optional, Tuple

from bridge.control.battery_plant import (
    BACKUP_SOC,
    CAPS,
    CHARGE_CAP,
    DISCHARGE_CAP,
    EXPORT_CAP,
    MODE,
    MODE_WORDS,
    NAMES,
    REMOTE,
    WORDS,
    Site,
    Standing,
    kept,
    same,
    shown,
)
from bridge.errors import DeviceException, LinkError, PeerError, Refused
from bridge.link.modbus import ModbusLink, WritingLink

NEVER_TOUCH = (
    (40000, 40000, "start and stop of the plant"), (40047, 40048, "cut-off SOC: below 40048 it charges from the grid"),
    (40051, 40068, "grid code"), (40500, 40501, "start and stop of the inverter, grid code"),
    (41000, 41999, "DC charger"), (42000, 42999, "AC charger"),
)
ILLEGAL_ADDRESS = 2
STANDING_FROM, STANDING_COUNT = 30003, 69  # 30003..30071: every firmware has it, one moment
HOLDING = ((REMOTE, 7), (EXPORT_CAP, 2), (BACKUP_SOC, 1))
OUR_MODES = tuple(mode for mode in MODE_WORDS if mode != 0)  # 0 takes AC power away from load and meter


class Ineffective(PeerError):
    """The plant confirmed a write and kept another value."""


class Wrote:
    """What one write did, for the journal; ``cut`` is what a cap reads that the plant made smaller."""

    __slots__ = ("address", "before", "after", "result", "cut")

    def __init__(
        self, address: int, before: Optional[int], after: int, result: str, cut: Optional[int] = None,
    ) -> None:
        self.address, self.before, self.after, self.result, self.cut = address, before, after, result, cut


class Guard:
    """Writes single values to one plant; ``note`` hears of every attempt that became a frame.

    ``bounds`` are the largest caps a command may set, by address; the values of ``snapshot`` may always be put
    back. ``allow_backup_soc`` opens 40046.
    """

    def __init__(
        self, link: WritingLink, unit: int, snapshot: Mapping[int, int], bounds: Mapping[int, float],
        note: Callable[[Wrote], None], allow_backup_soc: bool = False,
    ) -> None:
        self._link, self._unit, self._snapshot, self._bounds = link, unit, snapshot, bounds
        self._note, self._backup_soc = note, allow_backup_soc

    def write(self, address: int, raw: int, before: Optional[int] = None) -> int:
        """Write one value, read it back and return what it reads.

        Raises Refused before any frame when it is not allowed, DeviceException when the plant refuses,
        Ineffective when it keeps another value, LinkError when it cannot be known whether it was taken.
        """
        self.check(address, raw)
        words = list(struct.pack(">H", raw) if WORDS[address] == 1 else struct.pack(">I", raw))
        words = [256 * high + low for high, low in zip(words[::2], words[1::2])]
        try:
            self._link.write(address, words, self._unit)
        except DeviceException as error:
            self._note(Wrote(address, before, raw, f"refused (exception {error.code})"))
            raise
        except LinkError:
            stands = self._stands(address)
            if stands is not None and kept(address, stands, raw):
                self._note(Wrote(address, before, raw, "taken, though the answer was lost"))
                return stands
            self._note(Wrote(address, before, raw, "no answer"))
            raise
        found = self.read(address)
        if found is None or not kept(address, found, raw):
            cut = found if address in CAPS and found is not None and found < raw and found != before else None
            self._note(Wrote(address, before, raw, f"confirmed, but it reads {shown(address, found)}", cut))
            raise Ineffective(
                f"the plant confirmed {NAMES[address]} ({address}) = {shown(address, raw)} and kept"
                f" {shown(address, found)}"
            )
        self._note(Wrote(address, before, raw, "ok"))
        return found

    def check(self, address: int, raw: int) -> None:
        """Raise Refused unless ``raw`` may be written to ``address``."""
        for first, last, what in NEVER_TOUCH:
            if first <= address <= last:
                raise Refused(f"register {address} is never written by this program ({what})")
        if address not in WORDS or (address == BACKUP_SOC and not self._backup_soc):
            raise Refused(f"register {address} is not on the list of what may be written")
        if not 0 <= raw < 1 << (16 * WORDS[address]):
            raise Refused(f"register {address}: {raw} does not fit")
        if same(address, raw, self._snapshot.get(address)):
            return
        if address == REMOTE and raw not in (0, 1):
            raise Refused(f"register {address}: {raw} is neither on nor off")
        if address == MODE and raw not in OUR_MODES:
            raise Refused(f"register {address}: control mode {raw} is not one this program uses")
        if address == BACKUP_SOC:
            raise Refused(f"register {address}: only the value that was there may be put back")
        bound = self._bounds.get(address)
        if address in CAPS and (bound is None or raw > bound):
            limit = "no limit known for it" if bound is None else f"at most {bound:.0f} W"
            raise Refused(f"register {address} ({NAMES[address]}): {shown(address, raw)} is refused, {limit}")

    def read(self, address: int) -> Optional[int]:
        """Return the raw value that stands in a writable register; None where the firmware has none."""
        try:
            data = self._link.read_bytes("holding", address, WORDS[address], self._unit)
        except DeviceException as error:
            if error.code != ILLEGAL_ADDRESS:
                raise
            return None
        return int.from_bytes(data, "big")

    def _stands(self, address: int) -> Optional[int]:
        try:
            return self.read(address)
        except (LinkError, DeviceException):
            return None


def bounds(standing: Standing, site: Site, export_limit_w: Optional[float]) -> Dict[int, float]:
    """Return the largest caps that a command may set on this plant, W by address."""
    most: Dict[int, float] = {}
    for address, rated_w, limit_w in (
        (CHARGE_CAP, standing.rated_charge_w, site.max_charge_w),
        (DISCHARGE_CAP, standing.rated_discharge_w, site.max_discharge_w),
    ):
        known = [watts for watts in (rated_w, limit_w or None) if watts]
        if known:
            most[address] = min(known)
    if export_limit_w is not None:
        most[EXPORT_CAP] = export_limit_w
    return most


def read_standing(link: ModbusLink, unit: int, with_holding: bool = True) -> Standing:
    """Read how the plant stands: one request, and three more with the registers that may be written.

    Raises LinkError or DeviceException.
    """
    data = link.read_bytes("input", STANDING_FROM, STANDING_COUNT, unit)

    def word(address: int) -> int:
        return int(struct.unpack_from(">H", data, 2 * (address - STANDING_FROM))[0])

    def signed(address: int) -> int:
        return int(struct.unpack_from(">i", data, 2 * (address - STANDING_FROM))[0])

    def watts(address: int) -> Optional[float]:
        raw = struct.unpack_from(">I", data, 2 * (address - STANDING_FROM))[0]
        return None if raw == 0xFFFFFFFF else float(raw)

    return Standing(
        native_mode=word(30003), off_grid=word(30009), running=word(30051),
        soc_pct=None if word(30014) > 1000 else word(30014) / 10, grid_w=signed(30005) if word(30004) else None,
        pv_w=signed(30035), battery_w=signed(30037), ac_w=signed(30031), available_charge_w=watts(30047),
        available_discharge_w=watts(30049), rated_charge_w=watts(30068), rated_discharge_w=watts(30070),
        holding=read_holding(link, unit) if with_holding else {},
    )


def read_holding(link: ModbusLink, unit: int, blocks: Tuple[Tuple[int, int], ...] = HOLDING) -> Dict[int, int]:
    """Read the registers that may be written, raw; what the firmware does not have is left out."""
    found: Dict[int, int] = {}
    for first, count in blocks:
        try:
            data = link.read_bytes("holding", first, count, unit)
        except DeviceException as error:
            if error.code != ILLEGAL_ADDRESS:
                raise
            continue
        for address, width in WORDS.items():
            if first <= address and address + width <= first + count:
                at = 2 * (address - first)
                found[address] = int.from_bytes(data[at:at + 2 * width], "big")
    return found
