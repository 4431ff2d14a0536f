"""The lease of this machine: on disk, under a lock, in the journal; who holds it, how it ended.

Never gives a lease to two processes, and never lets one be forgotten before its end was written down. The lock
is the kernel's: it is free the moment its holder dies, which is how a watchdog knows.
"""

from __future__ import annotations

import logging
from typing import Any, Dict, List, Mapping, Optional

from bridge.clock import Clock
from bridge.control import lease as leases
from bridge.control.battery import said
from bridge.control.battery_guard import Wrote
from bridge.control.battery_journal import Journal
from bridge.control.lease import HELD, RELEASING, Lease
from bridge.errors import Refused
from bridge.state import Lock, StateDir, boot_id

TARIFF_FILE = "tariff.json"
LOOK_S = 3.0  # within the 5 s of the guarantee
INHERITED_S = 600.0  # the app needs some seconds; who changed the mode on purpose did so later
MODE_LOST = "the mode was "
UNREADABLE = (
    "the lease file cannot be read: whether a command was left in the plant shows: sigen-bridge dump 40029 40031;"
    " one that was is ended by: sigen-bridge battery release --force --yes"
)
LOCK_TRIES, LOCK_PAUSE_S = 3, 0.02
OVERDUE_S = 10.0  # a holder that hangs this long after the end of its lease is not waited for

log = logging.getLogger("battery")


class LeaseBook:
    """Opening it reads the disk; a lease found there belongs to a process that is gone, or to another one."""

    def __init__(self, state: StateDir, clock: Clock, journal: Journal) -> None:
        self._state, self._clock, self.journal = state, clock, journal
        self._boot = boot_id()
        self._lock: Optional[Lock] = None
        self._looked = float("-inf")
        self.lease: Optional[Lease] = None
        self._told = ""  # of a lease that may not or cannot be given back
        self.failed = False  # the command did not do what it was given for
        self._ended: Optional[float] = None  # when the last lease of ours began, which a bad disk may keep

    @property
    def boot(self) -> str:
        """What names this boot of the machine."""
        return self._boot

    @property
    def unreadable(self) -> bool:
        """True while there is a lease file that holds no lease: nobody knows then whether the plant is commanded."""
        return self._ended is None and self.on_disk() is None and self._state.exists(leases.FILE)

    def tariff_pushed(self) -> bool:
        """Say whether a tariff was pushed to the plant's cloud from this machine (the tariff job's journal)."""
        content = self._state.load(TARIFF_FILE)
        return isinstance(content, dict) and bool(content.get("last"))

    def glance(self, barred: str = "") -> None:
        """Do ``look`` now and then: the usual case, nothing there, shall not cost the loop a look a second.

        With ``barred``, the reason why nothing may be given back, a lease that nobody holds is only told, once.
        """
        if self._clock.monotonic() - self._looked < LOOK_S:
            return
        if not barred:
            self.look()
            return
        self._looked = self._clock.monotonic()
        left = self.left_behind()
        if left and left != self._told:
            log.warning("lease=left command=\"%s\" reason=\"%s\"", left, barred)
        self._told = left

    def look(self) -> None:
        """Take over a lease on disk whose holder is gone, or hangs long after its end; it will be given back."""
        if self.lease is not None or self._lock is not None:
            return
        self._looked = self._clock.monotonic()
        found = self.on_disk()
        if found is None:
            if self.unreadable and self._told != UNREADABLE:
                log.warning("lease=unreadable advice=\"%s\"", UNREADABLE)
                self._told = UNREADABLE
            return
        overdue_s = found.overdue_s(self._clock.monotonic(), self._boot)
        if not self._take() and (overdue_s is None or overdue_s < OVERDUE_S):
            return
        reason = found.reason or "its process ended without giving it back"
        self.lease = found._replace(state=RELEASING, reason=reason)
        self.journal.event(found.who, "found", f"{said(found.command)}: {reason}; it is given back, not resumed")
        log.warning("lease=found command=\"%s\" advice=\"restoring what was there before\"", said(found.command))

    def left_behind(self) -> str:
        """Return the command of a lease that nobody holds, in words, or ''."""
        found = self.on_disk() if self.lease is None and self.holder() is None else None
        return "" if found is None else said(found.command)

    def reserve(self) -> None:
        """Take the lock for a new lease; raises Refused while another process has one."""
        if self._lock is None and not self._take():
            holder = self._state.lock_holder(leases.LOCK_FILE)
            raise Refused(
                f"battery: another process (pid {holder}) holds a command; end it with: sigen-bridge battery release"
            )

    def _take(self) -> bool:
        for _ in range(LOCK_TRIES):  # a look at who holds it (``holder``) takes it for a moment
            try:
                self._lock = self._state.lock(leases.LOCK_FILE)
            except OSError as error:
                raise Refused(
                    f"battery: the state directory {self._state.path} cannot be written ({error.strerror})"
                ) from error
            if self._lock is not None:
                return True
            self._clock.wait(LOCK_PAUSE_S)
        return False

    def let_go(self) -> None:
        """Give the lock back, unless there is a lease under it."""
        if self._lock is not None and self.lease is None:
            self._lock.release()
            self._lock = None

    def opened(self, lease: Lease) -> None:
        """Put a lease on disk before the first write; raises Refused when that cannot be done."""
        leases.save(self._state, lease)
        self.lease, self.failed = lease, False
        self.journal.event(lease.who, "begin", said(lease.command), ends_at=round(lease.ends_at))

    def held(self, expected: Mapping[int, int]) -> None:
        """Note that the plant stands as commanded, and what it reads."""
        assert self.lease is not None
        self.lease = self.lease._replace(state=HELD, expected=dict(expected))
        self._state.save(leases.FILE, leases.to_file(self.lease), durable=True)
        log.info("lease=held command=\"%s\" who=%s", said(self.lease.command), self.lease.who)

    def wrote(self, done: Wrote) -> None:
        """Note a write; a cap that the plant made smaller by itself is ours all the same."""
        assert self.lease is not None
        self.journal.wrote(self.lease.who, done, self.lease.state != HELD)
        if done.cut is not None:
            self.lease = self.lease.touching({done.address: [done.cut]})
            self._state.save(leases.FILE, leases.to_file(self.lease), durable=True)

    def expects(self, address: int, raw: int) -> None:
        """Note a value that was changed within what is on disk already; flash is not written for it."""
        assert self.lease is not None
        self.lease = self.lease._replace(expected={**self.lease.expected, address: raw})

    def releasing(self, reason: str) -> None:
        """Note that the lease is being given back, and why."""
        lease = self.lease
        if lease is None or lease.state == RELEASING:
            return
        self.lease = lease._replace(state=RELEASING, reason=reason)
        self._state.save(leases.FILE, leases.to_file(self.lease), durable=True)
        self.journal.event(lease.who, "release", reason)
        log.info("lease=releasing reason=\"%s\"", reason)

    def finish(self, how: str, why: str, by_hand: List[str]) -> None:
        """Close the lease: ``how`` is released or yielded, ``by_hand`` what only the owner can put back."""
        lease = self.lease
        assert lease is not None
        self.journal.event(lease.who, how, why, by_hand=by_hand)
        self._state.save(leases.LAST_FILE, {
            "how": how, "why": why, "command": said(lease.command), "at": self._clock.now(), "by_hand": by_hand,
            "native_mode": lease.native_mode, "failed": self.failed,
        }, durable=True)
        self._state.delete(leases.FILE)
        self.lease, self._ended = None, lease.began_at
        self.let_go()
        level = logging.WARNING if by_hand or how == "yielded" else logging.INFO
        left = f" by_hand=\"{'; '.join(by_hand)}\"" if by_hand else ""
        log.log(level, "lease=%s reason=\"%s\"%s", how, why, left)

    def mode_set(self, text: str, done: bool) -> None:
        """Note what became of the mode that Modbus cannot bring back; once done it is no task for the owner."""
        self.journal.event("bridge", "mode", text)
        last = self.last()
        if last is not None and done:
            last["by_hand"] = [one for one in last.get("by_hand", ()) if not one.startswith(MODE_LOST)]
            last["mode"] = text
            self._state.save(leases.LAST_FILE, last, durable=True)

    def last(self) -> Optional[Dict[str, Any]]:
        """Return how the last lease ended, or None."""
        found = self._state.load(leases.LAST_FILE)
        return found if isinstance(found, dict) else None

    def native_before(self, found: int) -> int:
        """Return the mode that a release has to lead back to, the plant being in mode ``found`` now.

        Right after a command it is in self-consumption, and what it was in before that is still to be set.
        """
        last = self.last() or {}
        lost = any(str(one).startswith(MODE_LOST) for one in last.get("by_hand", ()))
        if found == 0 and lost and 0 <= self._clock.now() - float(last.get("at", 0.0)) < INHERITED_S:
            return int(last.get("native_mode", 0))
        return found

    def forget_unreadable(self) -> None:
        """Take an unreadable lease away, the plant having been led out of every command."""
        if self.unreadable:
            self._state.delete(leases.FILE)

    def on_disk(self) -> Optional[Lease]:
        """Return the lease on disk, whoever holds it; not one of ours that is over and could not be deleted."""
        found = leases.load(self._state)
        if found is not None and self._ended is not None and found.began_at == self._ended:
            self._state.delete(leases.FILE)
            return None
        return found

    def ending(self) -> bool:
        """True while another process is giving the plant back, or its lease is over."""
        found = self.on_disk()
        if found is None:
            return False
        overdue_s = found.overdue_s(self._clock.monotonic(), self._boot)
        return found.state == RELEASING or (overdue_s is not None and overdue_s >= 0)

    def holder(self) -> Optional[int]:
        """Return the process id of another process that holds the lock, or None."""
        if self._lock is not None:
            return None
        try:
            lock = self._state.lock(leases.LOCK_FILE)
        except OSError:
            lock = None
        if lock is not None:
            lock.release()
            return None
        return self._state.lock_holder(leases.LOCK_FILE)
