"""From what was heard and answered on an RS485 line to findings.

Pure. Facts: S3 source (gateway P6 is a master and speaks to unit 0, RS485-2 idles as FF at every baud),
"Sigenergy Modbus Protocol" V2.9 4.2 (address 0 is the plant's broadcast). That swapped wires read as 00
follows from the polarity of the idle state.
"""

from __future__ import annotations

from typing import List, NamedTuple, Optional, Tuple

from bridge.control.diagnosis import Finding, finding

IDLE_BYTES, IDLE_SHARE = 16, 0.95  # so many equal bytes are a line level, not talk
SLOW_LATENCY_MS = 4  # FTDI adapters come with 16 ms, which is more than a whole answer at 38400 baud
PLANT, DEVICE, SILENT, DAMAGED, LOCKED = "plant", "device", "silent", "damaged", "locked"


class Try(NamedTuple):
    """One combination and what came back: plant, device (no plant registers), silent, damaged or locked."""

    unit: int
    baud: int
    result: str


class LineSeen(NamedTuple):
    """What one line showed; ``trouble`` is why the port could not be used at all.

    ``level`` is FF or 00 when the line shows nothing but that, ``frames`` are (unit, function) of talk
    that was not ours, ``heard`` counts the bytes that came unasked.
    """

    device: str
    unit: int
    baud: int
    trouble: str = ""
    heard: int = 0
    level: str = ""
    frames: Tuple[Tuple[int, int], ...] = ()
    tries: Tuple[Try, ...] = ()
    latency_ms: Optional[int] = None
    latency_path: str = ""

    @property
    def found(self) -> Optional[Try]:
        """Return the first combination at which the plant answered."""
        return next((each for each in self.tries if each.result == PLANT), None)


TROUBLES = {
    "no_device":  ("serial_no_device", "there is no such device"),
    "permission": ("serial_permission", "this user may not open it"),
    "not_a_port": ("serial_not_a_port", "is not a serial port"),
    "gone":       ("serial_gone", "the port went away while it was used"),
    "in_use":     ("serial_in_use", "another program uses the port"),
}


def line_findings(seen: LineSeen) -> List[Finding]:
    """Return what is wrong with a line, or that the plant answers on it."""
    if seen.trouble:
        code, what = TROUBLES[seen.trouble]
        return [finding(code, f"serial {seen.device}: {what}")]
    found = [] if seen.found else _why_silent(seen)
    if seen.found:
        found += _answered(seen, seen.found)
    if seen.latency_ms is not None and seen.latency_ms > SLOW_LATENCY_MS:
        what = f"serial {seen.device}: the adapter holds bytes back for {seen.latency_ms} ms"
        found.append(finding("serial_latency", what, path=seen.latency_path))
    return found


def _answered(seen: LineSeen, plant: Try) -> List[Finding]:
    what = f"serial {seen.device}: the plant answers at unit {plant.unit}, {plant.baud} baud"
    found = [finding("serial_ok", what)]
    if (plant.unit, plant.baud) != (seen.unit, seen.baud):
        what += f", not at the configured unit {seen.unit}, {seen.baud} baud"
        found = [finding("serial_settings", what, unit=plant.unit, baud=plant.baud)]
    if seen.frames:  # broadcasts or not: where the plant answers, it is not the wrong port
        found.append(finding("serial_foreign", f"serial {seen.device}: {_talk(seen)}"))
    return found


def _why_silent(seen: LineSeen) -> List[Finding]:
    line = f"serial {seen.device}"
    if seen.level == "FF":
        return [finding("serial_idle", f"{line}: nothing but FF at every baud rate ({seen.heard} bytes)")]
    if seen.level == "00":
        return [finding("serial_swapped", f"{line}: nothing but 00 ({seen.heard} bytes)")]
    if seen.frames:
        units = {unit for unit, _ in seen.frames}
        return [finding("serial_master" if 0 in units else "serial_foreign", f"{line}: {_talk(seen)}")]
    results = {each.result for each in seen.tries}
    device = next((each for each in seen.tries if each.result == DEVICE), None)
    if device is not None:
        what = f"{line}: unit {device.unit} answers at {device.baud} baud, but without plant registers"
        return [finding("serial_device_only", what, unit=device.unit)]
    if LOCKED in results:
        return [finding("serial_in_use", f"{line}: {TROUBLES['in_use'][1]}")]
    if DAMAGED in results or seen.heard:
        return [finding("serial_noise", f"{line}: bytes come in, but no whole answer")]
    if not seen.tries:
        return []
    tried = ", ".join(f"{each.unit}@{each.baud}" for each in seen.tries)
    return [finding("serial_silent", f"{line}: nobody answers (unit@baud {tried})")]


def _talk(seen: LineSeen) -> str:
    units = sorted({unit for unit, _ in seen.frames})
    return f"another master speaks, to unit {', '.join(str(unit) for unit in units)}"


def level_of(heard: bytes) -> str:
    """Return "FF" or "00" when what was heard is a line level and no talk, else ""."""
    if len(heard) < IDLE_BYTES:
        return ""
    for byte, name in ((0xFF, "FF"), (0x00, "00")):
        if heard.count(byte) >= IDLE_SHARE * len(heard):
            return name
    return ""
