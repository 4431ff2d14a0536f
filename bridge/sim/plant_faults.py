"""What can be wrong with a plant or its line: the table of faults, and which are in force.

Never touches a socket or a register: a fault either names what the line does, changes a reply's
bytes (plant_replies), lays other words over the registers that a reply shows (plant_overlays), meets
a write (plant_station) or befalls the plant behind its registers (plant_world).
"""

from __future__ import annotations

from random import Random
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from bridge.errors import ConfigError
from bridge.sim.modbus_frames import WRITE_MANY, WRITE_ONE, Ask

Params = Mapping[str, Any]


class FaultKind(NamedTuple):
    """One fault: on which line it exists (or what it is about), its parameters with defaults, what it does."""

    name: str
    line: str
    defaults: Tuple[Tuple[str, Any], ...]
    says: str


SPIKE_W = 2147482148  # -1500 W whose sign bit was lost; as u32 the true words are 4294965796
# Which writes a fault meets: to one register (0: any), and the nth of these alone (0: each).
ON_WRITE: Tuple[Tuple[str, Any], ...] = (("address", 0), ("n", 0))

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
    FaultKind("phase_turned", "values", (("phase", 1),), "the clamp of one grid phase is the wrong way round"),
    FaultKind("phase_shift", "values", (("w", 5000),), "grid phase A shows w more and phase B w less than is there"),
    FaultKind("ack_ignored", "any", (*ON_WRITE, ("keep", "new")), "writes are acknowledged and change nothing"),
    FaultKind("write_exception", "any", (*ON_WRITE, ("code", 4)), "an exception to writes"),
    FaultKind("exception2_state", "any", ON_WRITE, "caps are refused for reasons of state"),
    FaultKind("write_silent", "any", (*ON_WRITE, ("executed", 1)), "writes get no answer, executed or not"),
    FaultKind("slow_write", "any", (*ON_WRITE, ("s", 1.0)), "the answer to a write takes s longer"),
    FaultKind("crash_after_write", "tcp", (*ON_WRITE, ("answer", 1)), "a write is executed and ends the connection"),
    FaultKind("off_grid", "plant", (("kind", 1), ("after_s", 0)), "the grid is away: 1 by itself, 2 by hand"),
    FaultKind("not_running", "plant", (("state", 2), ("after_s", 0)), "30051: 0 standby, 2 fault, 3 shutdown"),
    FaultKind("vpp_takeover", "plant", (
        ("after_s", 0), ("w", -2000), ("remote", 0), ("mode", 2), ("returns", 1), ("holds", 0),
    ), "30003 = 6: a VPP moves the battery with w and writes 40029 and 40031; unless it holds, 40029 = 1 ends it"),
    FaultKind("other_master", "plant", (("after_s", 0), ("address", 40031), ("value", 2)), "somebody writes it"),
    FaultKind("backup_reset", "plant", (("pct", 0.0),), "40046 falls to pct when remote EMS is switched"),
    FaultKind("restart", "plant", (("down_s", 2.0),), "the plant restarts, and keeps its holding registers"),
)
STANDING = (  # these meet the line, not single requests
    "refuse", "connection_limit", "idle_close", "one_in_flight", "min_gap", "echo", "foreign_master", "noise",
    "unplug", "frozen", "off_grid", "not_running", "vpp_takeover", "other_master", "backup_reset", "restart",
)
ON_WRITES = (
    "ack_ignored", "write_exception", "exception2_state", "write_silent", "slow_write", "crash_after_write",
)

CHOICES = (("keep", ("new", "old")),)
CONTROLS = ("for_s", "count")  # any fault may end by itself
TCP_FLAKES = ("silent", "busy", "reset", "close", "truncate", "garbage", "wrong_transaction", "stale_reply")
RTU_FLAKES = ("silent", "busy", "crc", "truncate", "garbage")


class _Active:
    """A fault in force, until a moment or for a number of requests."""

    def __init__(self, params: Params, now: float) -> None:
        self.params = params
        self.until: Optional[float] = now + params["for_s"] if "for_s" in params else None
        self.begins: float = now + params.get("after_s", 0)
        self.left: Optional[int] = params.get("count")
        self.met = 0


class FaultBoard:
    """The faults in force on one plant. Not locked: the plant's own lock covers it."""

    def __init__(self, line: str, seed: int) -> None:
        self._line = line
        self._kinds = {kind.name: kind for kind in FAULTS if kind.line in (line, "any", "values", "plant")}
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
        for key, allowed in CHOICES:
            if key in params and params[key] not in allowed:
                raise ConfigError(f"fault {name}: {key} is {' or '.join(allowed)}, not {params[key]!r}")
        self._active[name] = _Active({**dict(kind.defaults), **params}, now)

    def clear(self, name: Optional[str] = None) -> Tuple[str, ...]:
        """End one fault, or all; return those that were in force."""
        ended = tuple(self._active) if name is None else (name,) if name in self._active else ()
        for one in ended:
            del self._active[one]
        return ended

    def get(self, name: str, now: float) -> Optional[Params]:
        """Return a fault's parameters while it is in force."""
        active = self._active.get(name)
        if active is None:
            return None
        if (active.until is not None and now >= active.until) or active.left == 0:
            del self._active[name]
            return None
        return active.params

    def due(self, name: str, now: float) -> Optional[Params]:
        """Return a fault's parameters while it is in force and its ``after_s`` is over."""
        params = self.get(name, now)
        return params if params is not None and now >= self._active[name].begins else None

    def peek(self, name: str) -> Optional[Params]:
        """Return a fault's parameters if nobody has seen it end."""
        active = self._active.get(name)
        return None if active is None else active.params

    def edges(self, names: Sequence[str], after: float, now: float) -> List[float]:
        """Return when these faults began or ended, later than ``after`` and before ``now``, in order."""
        there = [self._active[name] for name in names if name in self._active]
        moments = [active.begins for active in there] + [a.until for a in there if a.until is not None]
        return sorted(moment for moment in moments if after < moment < now)

    def names(self) -> Tuple[str, ...]:
        """Return the faults in force, as far as anybody looked."""
        return tuple(self._active)

    def spend(self, now: float, ask: Ask) -> Dict[str, Params]:
        """Return the faults that meet one request, and count it on each that ends by count."""
        if not self._active:
            return {}
        met: Dict[str, Params] = {}
        for kind in FAULTS:
            params = None if kind.name in STANDING else self.get(kind.name, now)
            if params is None or (kind.name in ON_WRITES and not _written(ask, params["address"])):
                continue
            active = self._active[kind.name]
            active.met += 1
            if kind.name in ON_WRITES and params["n"]:
                if active.met < params["n"]:
                    continue
                active.left = 1
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


def touches(ask: Ask, address: int) -> bool:
    """Say whether a request is about this register, among others."""
    return ask.address is not None and ask.words is not None and 0 <= address - ask.address < ask.words


def _written(ask: Ask, address: int) -> bool:
    """Say whether a request writes this register; 0 is any."""
    return ask.function in (WRITE_ONE, WRITE_MANY) and (not address or touches(ask, address))
