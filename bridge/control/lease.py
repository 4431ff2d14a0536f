"""The lease: what was there before a command, what may have been written since, and when it ends. On disk first.

Never forgets a snapshot before it was put back. The file is written before the first register is, so that
whoever finds it (the next start, the watchdog) knows everything that is needed to restore the plant.
"""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from bridge.control.battery import Command, as_record, from_record
from bridge.control.battery_plant import CAPS, MODE, REMOTE, Standing, kept, same
from bridge.errors import BridgeError, Refused
from bridge.state import StateDir

FILE = "lease.json"
LAST_FILE = "lease-last.json"
SCHEDULE_FILE = "schedule.json"
LOCK_FILE = "lease.lock"
SCHEMA = 1
COMMANDED = (REMOTE, MODE, *CAPS)  # what shows that somebody commands; firmware itself may change 40046
ENTERING, HELD, RELEASING = "entering", "held", "releasing"
KINDS: Mapping[str, Callable[[Any], Any]] = {
    "began_at": float, "ends_at": float, "ends_mono": float, "native_mode": int,
    "who": str, "boot": str, "state": str, "reason": str,
}


class Lease(NamedTuple):
    """One hold on the plant. Raw register values by address.

    ``touched`` has every value that may have been written, noted before it is; ``expected`` what was last
    read back; ``floating`` are the caps that are lowered and raised to keep a limit of the grid, up to what
    was touched. ``ends_mono`` counts on this boot's monotonic clock; ``ends_at`` is for people.
    """

    command: Command
    who: str
    began_at: float
    ends_at: float
    ends_mono: float
    boot: str
    native_mode: int
    snapshot: Mapping[int, int]
    touched: Mapping[int, Tuple[int, ...]]
    expected: Mapping[int, int]
    floating: Tuple[int, ...] = ()
    state: str = ENTERING
    reason: str = ""

    def touching(self, values: Mapping[int, Sequence[int]]) -> Lease:
        """Return the lease with the values noted that are about to be written."""
        touched = dict(self.touched)
        for address, raws in values.items():
            touched[address] = tuple(dict.fromkeys((*touched.get(address, ()), *raws)))
        return self._replace(touched=touched)

    def strangers(self, holding: Mapping[int, int]) -> List[int]:
        """Return the addresses that hold a value which neither was there before nor is ours."""
        return [at for at in COMMANDED if at in holding and not self._ours(at, holding[at], self.touched.get(at, ()))]

    def changed(self, holding: Mapping[int, int], unsure: bool = False) -> List[int]:
        """Return the addresses that no longer hold what was last read back, or what we left as it was.

        ``unsure`` means that the answer to our last change of a floating cap was lost: it may be either.
        """
        wanted = {**self.snapshot, **self.expected}
        return [
            at for at in COMMANDED
            if at in holding and at in wanted and not same(at, holding[at], wanted[at])
            and not (unsure and at in self.floating and holding[at] <= max(self.touched[at]))
        ]

    def _ours(self, address: int, raw: int, known: Sequence[int]) -> bool:
        if address in self.floating and raw <= max(known):
            return True
        if not known and address not in self.snapshot:
            return True  # this firmware did not have it then
        return any(one is not None and kept(address, raw, one) for one in (*known, self.snapshot.get(address)))

    def overdue_s(self, mono: float, boot: str) -> Optional[float]:
        """Return how long the lease is over (negative: how long it still lasts); None after a reboot."""
        return mono - self.ends_mono if boot and boot == self.boot else None


def opened(
    held: Optional[Lease], command: Command, who: str, standing: Standing, now: float, mono: float, boot: str
) -> Lease:
    """Return the lease for a command that starts now: a new one, or ``held`` with another target."""
    ends_at, ends_mono = now + command.seconds, mono + command.seconds
    if held is not None:
        return held._replace(command=command, who=who, state=ENTERING, began_at=now, ends_at=ends_at,
                             ends_mono=ends_mono)
    return Lease(command, who, now, ends_at, ends_mono, boot, standing.native_mode, dict(standing.holding), {}, {})


def to_file(lease: Lease) -> Dict[str, Any]:
    """Return the lease as JSON can hold it."""
    record = lease._asdict()
    record["schema"] = SCHEMA
    record["command"] = as_record(lease.command)
    for name in ("snapshot", "expected"):
        record[name] = {str(address): raw for address, raw in record[name].items()}
    record["touched"] = {str(address): list(raws) for address, raws in lease.touched.items()}
    return record


def from_file(record: Any) -> Optional[Lease]:
    """Return the lease of a file's content, or None when it is none."""
    try:
        values = {name: record[name] for name in Lease._fields}
        values["command"] = from_record(record["command"])
        for name in ("snapshot", "expected"):
            values[name] = {int(address): int(raw) for address, raw in record[name].items()}
        if REMOTE not in values["snapshot"]:
            return None
        for name, kind in KINDS.items():
            values[name] = kind(record[name])
        values["floating"] = tuple(int(address) for address in record["floating"])
        values["touched"] = {int(at): tuple(int(raw) for raw in raws) for at, raws in record["touched"].items()}
        return Lease(**values)
    except (TypeError, KeyError, ValueError, AttributeError, OverflowError, BridgeError):
        return None


def load(state: StateDir) -> Optional[Lease]:
    """Return the lease on disk, or None."""
    return from_file(state.load(FILE))


def save(state: StateDir, lease: Lease) -> None:
    """Put the lease on disk; raises Refused when that cannot be done, before anything is written to the plant."""
    if not state.save(FILE, to_file(lease), durable=True):
        raise Refused(
            f"battery: the lease cannot be stored in {state.path} (disk full or not writable);"
            " without it a crash could not be undone, so nothing is written to the plant"
        )
