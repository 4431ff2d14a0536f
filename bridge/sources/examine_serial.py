"""Looks at an RS485 line: listens first, then asks each unit at each baud rate; reads only.

Never sends a byte before it has listened, and never judges: diagnosis_serial does.
"""

from __future__ import annotations

import errno
import os
from typing import Any, Callable, List, Mapping, Optional, Tuple

from bridge.clock import Clock
from bridge.control.diagnosis_serial import DAMAGED, DEVICE, LOCKED, PLANT, SILENT, LineSeen, Try, level_of
from bridge.errors import DeviceException, LinkError, LinkTimeout
from bridge.link.modbus import BuiltinLink
from bridge.link.modbus_rtu import PortLocked, RtuWire
from bridge.link.rtu_frame import crc16
from bridge.link.serial_listen import listen
from bridge.registers import Vendor
from bridge.sources.serial import BAUDS, combinations

LISTEN_S = 2.0
LISTEN_SHORT_S = 0.5  # at another baud rate, when what was heard makes no sense at the first
ANSWER_S = 0.8  # vendor: an answer comes within a second; twelve combinations have to fit
SCAN_BYTES = 2_048  # of what was heard; a master that talks fills this in a second
REQUEST_BYTES = 8  # of a read or of one register written
TROUBLE_OF: Mapping[Any, str] = {
    errno.ENOENT: "no_device", errno.EACCES: "permission", errno.EPERM: "permission", errno.EIO: "gone",
    errno.ENXIO: "gone", errno.ENODEV: "gone",
}
FUNCTIONS = (1, 2, 3, 4, 5, 6, 15, 16, 22, 23)


class SerialExam:
    """One examination of a line; ``until`` is the monotonic moment to be done by."""

    def __init__(
        self, device: str, unit: int, baud: int, vendor: Vendor, clock: Clock, until: float,
        function_code: Optional[int] = None, offset: int = 0, root: str = "/",
        progress: Callable[[str], None] = lambda text: None,
    ) -> None:
        self._device, self._unit, self._baud = device, unit, baud
        self._vendor, self._clock, self._until = vendor, clock, until
        self._function_code, self._offset, self._root, self._progress = function_code, offset, root, progress

    def examine(self) -> LineSeen:
        """Return what the line shows; raises ConfigError when pyserial is missing."""
        seen = LineSeen(self._device, self._unit, self._baud)
        path, latency_ms = latency(self._device, self._root)
        seen = seen._replace(latency_ms=latency_ms, latency_path=path)
        try:
            seen = self._listen(seen)
        except LinkError as error:
            return seen._replace(trouble=trouble(error))
        try:
            return seen if seen.level else seen._replace(tries=tuple(self._probe()))
        except LinkError:
            return seen._replace(trouble="gone")

    def link(self, unit_and_baud: Try) -> BuiltinLink:
        """Return a link at the combination that was found."""
        wire = RtuWire(self._device, unit_and_baud.baud, ANSWER_S, self._clock.monotonic, self._clock.wait)
        return BuiltinLink(wire, self._function_code)

    def _listen(self, seen: LineSeen) -> LineSeen:
        self._progress(f"listening {LISTEN_S:g} s at {self._baud} baud")
        heard = listen(self._device, self._baud, LISTEN_S, self._clock.monotonic)
        seen = seen._replace(heard=len(heard), level=level_of(heard), frames=tuple(frames_in(heard)))
        for baud in BAUDS:
            if not seen.heard or seen.level or seen.frames or not self._time_left():
                break
            if baud != self._baud:
                heard = listen(self._device, baud, LISTEN_SHORT_S, self._clock.monotonic)
                seen = seen._replace(frames=tuple(frames_in(heard)))
        return seen

    def _probe(self) -> List[Try]:
        """Ask every combination; once somebody answers, only the units at that baud rate are left."""
        tries: List[Try] = []
        speed: Optional[int] = None
        for unit, baud in combinations(self._unit, self._baud):
            if (speed is not None and baud != speed) or not self._time_left():
                continue
            self._progress(f"asking unit {unit} at {baud} baud")
            result = self._ask(unit, baud)
            tries.append(Try(unit, baud, result))
            if result in (PLANT, DEVICE):
                speed = baud
        return tries

    def _ask(self, unit: int, baud: int) -> str:
        row = self._vendor.role("grid_w")
        assert row is not None
        wire = RtuWire(self._device, baud, ANSWER_S, self._clock.monotonic, self._clock.wait)
        try:
            BuiltinLink(wire, self._function_code).read(row.space, row.address + self._offset, row.count, unit)
        except DeviceException:
            return DEVICE
        except PortLocked:
            return LOCKED
        except LinkTimeout:
            return DAMAGED if wire.heard else SILENT
        except LinkError as error:
            if error.__cause__ is not None and isinstance(error.__cause__.__cause__, OSError):
                raise  # the port itself, not what came through it
            return DAMAGED
        finally:
            wire.close()
        return PLANT

    def _time_left(self) -> bool:
        return self._clock.monotonic() < self._until


def frames_in(heard: bytes) -> List[Tuple[int, int]]:
    """Return (unit, function) of the Modbus frames in what was heard, told by length and checksum."""
    heard = heard[:SCAN_BYTES]
    found: List[Tuple[int, int]] = []
    start = 0
    while start + 5 <= len(heard):
        length = _frame_at(heard, start)
        if length:
            found.append((heard[start], heard[start + 1] & 0x7F))
        start += length or 1
    return found


def _frame_at(heard: bytes, start: int) -> int:
    """Return the length of the frame that begins here, 0 when none does."""
    function = heard[start + 1]
    if function & 0x7F not in FUNCTIONS:
        return 0
    lengths = (5,) if function & 0x80 else (REQUEST_BYTES, 5 + heard[start + 2], 9 + _byte(heard, start + 6))
    for length in lengths:
        frame = heard[start:start + length]
        if len(frame) == length and crc16(frame[:-2]) == int.from_bytes(frame[-2:], "little"):
            return length
    return 0


def _byte(data: bytes, index: int) -> int:
    return data[index] if index < len(data) else 0


def trouble(error: LinkError) -> str:
    """Return why a port cannot be listened to, as a word of diagnosis_serial.TROUBLES."""
    if isinstance(error, PortLocked):
        return "in_use"
    number = getattr(error.__cause__, "errno", None)
    return TROUBLE_OF.get(number, "not_a_port")


def latency(device: str, root: str = "/") -> Tuple[str, Optional[int]]:
    """Return where the adapter's latency timer stands and its milliseconds; None where it has none."""
    name = os.path.basename(os.path.realpath(device))
    path = f"/sys/class/tty/{name}/device/latency_timer"
    try:
        with open(os.path.join(root, path.lstrip("/")), encoding="ascii") as handle:
            return path, int(handle.read())
    except (OSError, ValueError):
        return path, None
