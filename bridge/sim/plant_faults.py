"""What can be wrong with a plant or its line: the table of faults, and which are in force.

Never touches a socket or a register: a fault either names what the line does, changes a reply's
bytes (see plant_replies) or lays other words over the registers that a reply shows.
"""

from __future__ import annotations

import struct
from random import Random
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Tuple

from bridge.errors import ConfigError
from bridge.registers import Vendor
from bridge.sim.plant_image import Image

Params = Mapping[str, Any]
Words = List[Tuple[int, bytes]]


class FaultKind(NamedTuple):
    """One fault: on which line it exists, its parameters with defaults, what it does."""

    name: str
    line: str
    defaults: Tuple[Tuple[str, Any], ...]
    says: str


SPIKE_W = 2147482148  # -1500 W whose sign bit was lost; as u32 the true words are 4294965796

FAULTS = (
    FaultKind("refuse", "tcp", (), "nothing listens; open connections are reset"),
    FaultKind("connection_limit", "tcp", (("n", 1),), "a connection above n is closed at once"),
    FaultKind("idle_close", "tcp", (("after_s", 5.0),), "an idle connection is closed"),
    FaultKind("silent", "any", (), "requests are received and never answered (allow-list)"),
    FaultKind("one_in_flight", "any", (), "a request sent before the answer to another is ignored"),
    FaultKind("min_gap", "any", (("ms", 1000),), "a request too soon after another is ignored"),
    FaultKind("reset", "tcp", (), "RST instead of an answer"),
    FaultKind("close", "tcp", (), "FIN instead of an answer"),
    FaultKind("busy", "any", (), "exception 6"),
    FaultKind("exception", "any", (("code", 4),), "an exception to everything"),
    FaultKind("exception_on", "any", (("address", 30284), ("code", 2)), "an exception to ranges with it"),
    FaultKind("flaky", "any", (("p", 0.1),), "each request fails with probability p, some way or other"),
    FaultKind("delay", "any", (("s", 0.3),), "every answer takes s longer"),
    FaultKind("late_reply", "any", (("s", 1.2),), "the answer comes s later; the plant serves on meanwhile"),
    FaultKind("dribble", "any", (("s", 0.005),), "the answer comes byte by byte"),
    FaultKind("truncate", "any", (), "half an answer, then nothing more on this connection"),
    FaultKind("garbage", "any", (("length", 24),), "random bytes instead of an answer"),
    FaultKind("duplicate", "any", (), "every answer comes twice"),
    FaultKind("wrong_transaction", "tcp", (), "the answer carries another transaction id"),
    FaultKind("wrong_protocol", "tcp", (), "the answer's protocol id is not 0"),
    FaultKind("wrong_unit", "any", (), "the answer comes from another unit"),
    FaultKind("wrong_function", "any", (), "the answer carries another function code"),
    FaultKind("short", "any", (), "one register less than asked, byte count to match"),
    FaultKind("bad_byte_count", "any", (), "the byte count does not match the bytes"),
    FaultKind("stale_reply", "any", (), "the previous answer's body under the right ids"),
    FaultKind("crc", "rtu", (), "the checksum is wrong"),
    FaultKind("echo", "rtu", (), "the adapter echoes the request"),
    FaultKind("foreign_master", "rtu", (("period_s", 0.2),), "frames of another master, to units 0 and 3"),
    FaultKind("noise", "rtu", (("p", 0.001),), "each byte on the line is damaged with probability p"),
    FaultKind("unplug", "rtu", (), "the serial device is gone"),
    FaultKind("sentinel", "values", (("address", 30005),), "a register shows its kind's 'no value'"),
    FaultKind("spike", "values", (("address", 30005), ("w", SPIKE_W)), "a power that cannot be"),
    FaultKind("imbalance", "values", (("w", 5000),), "the load is off by w"),
    FaultKind("soc_jump", "values", (("pct", 45.0),), "SOC is off by pct"),
    FaultKind("frozen", "values", (), "everything stands still, the clock too"),
    FaultKind("clock_zero", "values", (), "the plant's clock is not set"),
    FaultKind("no_meter", "values", (), "gateway and meter are not connected"),
    FaultKind("inverted_grid", "values", (), "the grid's sign is inverted"),
)
STANDING = (  # these meet the line, not single requests
    "refuse", "connection_limit", "idle_close", "one_in_flight", "min_gap", "echo", "foreign_master", "noise",
    "unplug", "frozen",
)
CONTROLS = ("for_s", "count")  # any fault may end by itself
TCP_FLAKES = ("silent", "busy", "reset", "close", "truncate", "garbage", "wrong_transaction", "stale_reply")
RTU_FLAKES = ("silent", "busy", "crc", "truncate", "garbage")


class _Active:
    """A fault in force, until a moment or for a number of requests."""

    def __init__(self, params: Params, until: Optional[float], left: Optional[int]) -> None:
        self.params = params
        self.until = until
        self.left = left


class FaultBoard:
    """The faults in force on one plant. Not locked: the plant's own lock covers it."""

    def __init__(self, line: str, seed: int) -> None:
        self._line = line
        self._kinds = {kind.name: kind for kind in FAULTS if kind.line in (line, "any", "values")}
        self._active: Dict[str, _Active] = {}
        self._random = Random(seed)

    def set(self, name: str, params: Params, now: float) -> None:
        """Put a fault in force. Raises ConfigError for a fault or parameter that does not exist here."""
        kind = self._kinds.get(name)
        if kind is None:
            known = ", ".join(sorted(self._kinds))
            raise ConfigError(f"no fault {name!r} on {self._line}; there are {known}")
        unknown = sorted(set(params) - set(dict(kind.defaults)) - set(CONTROLS))
        if "count" in params and name in STANDING:
            unknown.append("count")
        if unknown:
            raise ConfigError(f"fault {name} has no parameter {', '.join(unknown)}")
        until = now + params["for_s"] if "for_s" in params else None
        self._active[name] = _Active({**dict(kind.defaults), **params}, until, params.get("count"))

    def clear(self, name: Optional[str] = None) -> None:
        """End one fault, or all."""
        if name is None:
            self._active.clear()
        else:
            self._active.pop(name, None)

    def get(self, name: str, now: float) -> Optional[Params]:
        """Return a fault's parameters while it is in force."""
        active = self._active.get(name)
        if active is None:
            return None
        if (active.until is not None and now >= active.until) or active.left == 0:
            del self._active[name]
            return None
        return active.params

    def names(self) -> Tuple[str, ...]:
        """Return the faults in force, as far as anybody looked."""
        return tuple(self._active)

    def spend(self, now: float) -> Dict[str, Params]:
        """Return the faults that meet one request, and count it on each that ends by count."""
        if not self._active:
            return {}
        met: Dict[str, Params] = {}
        for kind in FAULTS:
            params = None if kind.name in STANDING else self.get(kind.name, now)
            if params is None:
                continue
            active = self._active[kind.name]
            if active.left is not None:
                active.left -= 1
            met[kind.name] = params
        flaky = met.pop("flaky", None)
        if flaky is not None and self._random.random() < flaky["p"]:
            chosen = self._random.choice(TCP_FLAKES if self._line == "tcp" else RTU_FLAKES)
            met.setdefault(chosen, dict(self._kinds[chosen].defaults))
        return met

    def noise(self, length: int) -> bytes:
        """Return random bytes, the same for the same seed and history."""
        return bytes(self._random.randrange(256) for _ in range(length))

    def damage(self, data: bytes, p: float) -> bytes:
        """Flip a bit in each byte with probability ``p``."""
        return bytes(
            byte ^ (1 << self._random.randrange(8)) if self._random.random() < p else byte for byte in data
        )


def overlay(met: Mapping[str, Params], image: Image, vendor: Vendor) -> Words:
    """Return the words that the faults in force show instead of the image's."""
    words: Words = []
    if "no_meter" in met:
        house_w = _s32(image, 30031) + _s32(image, 30194)
        words += [(30004, bytes(2)), (30005, bytes(4)), (30052, bytes(12))]
        words += [(30282, struct.pack(">i", house_w)), (30284, struct.pack(">i", house_w))]
    if "inverted_grid" in met:
        words += [(at, struct.pack(">i", -_s32(image, at))) for at in (30005, 30052, 30054, 30056)]
    if "imbalance" in met:
        words.append((30284, struct.pack(">i", _s32(image, 30284) + int(met["imbalance"]["w"]))))
    if "soc_jump" in met:
        soc = struct.unpack(">H", image.read(30014, 1))[0]
        jump = int(10 * met["soc_jump"]["pct"])
        shown = struct.pack(">H", soc + jump if soc + jump <= 1000 else max(0, soc - jump))
        words += [(30014, shown), (30601, shown)]
    if "clock_zero" in met:
        words.append((30000, bytes(4)))
    if "spike" in met:
        words.append((met["spike"]["address"], struct.pack(">I", int(met["spike"]["w"]) & 0xFFFFFFFF)))
    if "sentinel" in met:
        words.append(_sentinel(met["sentinel"]["address"], vendor))
    return words


def lay_over(data: bytes, address: int, words: Words) -> bytes:
    """Lay words over the bytes of registers that begin at ``address``."""
    shown = bytearray(data)
    for first, fresh in words:
        for index in range(len(fresh)):
            where = 2 * (first - address) + index
            if 0 <= where < len(shown):
                shown[where] = fresh[index]
    return bytes(shown)


def _sentinel(address: int, vendor: Vendor) -> Tuple[int, bytes]:
    row = vendor.at(address)
    if row is None:
        return address, b"\xff\xff"
    signed = row.kind[0] == "s" and row.kind != "string"
    return address, (b"\x7f" if signed else b"\xff") + b"\xff" * (2 * row.count - 1)


def _s32(image: Image, address: int) -> int:
    return int(struct.unpack(">i", image.read(address, 2))[0])
