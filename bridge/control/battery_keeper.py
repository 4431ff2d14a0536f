"""Keeps one battery command on the plant: begins it, watches it, and ends it whatever happens.

Never writes without a lease on disk, and never again once somebody else changed what it wrote. Runs in the
thread that owns the link, ``tick`` once a second. Guarantee (DESIGN ruling 11): restored within 5 s of the
lease's end once the link works.
"""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Optional

from bridge.clock import Clock
from bridge.control import battery_limits as limits
from bridge.control import battery_moves as moves
from bridge.control import battery_plant as plant
from bridge.control import lease as leases
from bridge.control.battery import Command, checked
from bridge.control.battery_guard import Guard, bounds, read_holding, read_standing
from bridge.control.battery_limits import Rules, Throttle
from bridge.control.battery_plant import CHARGE_CAP, REMOTE, REMOTE_EMS, Standing, Target
from bridge.control.battery_report import left, mode_lost, report, stranger
from bridge.control.lease import HELD, Lease
from bridge.control.lease_book import LeaseBook
from bridge.errors import BridgeError, DeviceException, LinkError, PeerError, Refused
from bridge.faultlog import FaultLog
from bridge.link.modbus import WritingLink

EFFECT_S = 30.0  # a battery stops for 15 to 30 s when it is sent from one state to another
VERIFY_S = 5.0
LOST_S = 30.0  # a link that is away this long ends the lease; restored as soon as the link is back
RETRY_MOST_S = 4.0  # within the 5 s of the guarantee, for a plant that refuses for a while
STOP_TRIES = 8  # of a second each; systemd and procd wait 30 s before they kill


class Keeper:
    """The one who commands the plant in this process."""

    def __init__(self, clock: Clock, book: LeaseBook, rules: Rules) -> None:
        self._clock, self.book, self.rules = clock, book, rules
        self._faults = FaultLog(clock, "battery")
        self._goal: Optional[Target] = None
        self._throttle: Optional[Throttle] = None
        self._effect, self._effect_by, self._verified, self._retry_at, self._retry_s = "", 0.0, 0.0, 0.0, 1.0
        self._error, self._lost_since = "", float("inf")
        self.on_mode_lost: Callable[[int], None] = lambda native: None  # the app may be able to set it again

    def begin(self, link: WritingLink, unit: int, command: Command, who: str) -> Dict[str, Any]:
        """Bring the plant into the state asked for, for a time; returns ``report``.

        Raises Refused (nothing was written, or it was taken back), LinkError, DeviceException.
        """
        self.rules.check()
        checked(command)
        if not self._clock.synced():
            raise Refused("battery: this machine's clock is not set yet; no clock, no command")
        self.book.look()
        if self.book.lease is not None and self.book.lease.state != HELD:
            raise Refused("battery: the command before is still being given back; try again in a few seconds")
        self.book.reserve()
        try:
            standing = read_standing(link, unit)
            lease = self._lease_for(command, who, standing)
            goal = moves.goal(command, standing, self.rules.site, lease)
            most = bounds(standing, self.rules.site, None)
            throttle = limits.throttle(command, self.rules.site, most, self._clock.monotonic())
            ours = moves.touches(goal)
            if throttle is not None:  # the cap may rise up to the wish
                lease = lease._replace(floating=(CHARGE_CAP,))
                ours[CHARGE_CAP] += [int(throttle.asked_w)]
            self.book.opened(lease.touching(ours))
        finally:
            self.book.let_go()
        self._goal, self._throttle = goal, throttle
        self._enter(link, unit, goal, standing)
        return self.report()

    def _lease_for(self, command: Command, who: str, standing: Standing) -> Lease:
        held = self.book.lease
        if held is not None:  # another target under the same snapshot
            if self._yielded(standing, held.changed(standing.holding)):
                raise Refused("battery: somebody else commands this plant now; nothing more is written")
            standing = standing._replace(holding={**standing.holding, REMOTE: 0})
        why = plant.hindrance(standing)
        if why:
            raise Refused(f"battery: {why}")
        standing = standing._replace(native_mode=self.book.native_before(standing.native_mode))
        now, mono = self._clock.now(), self._clock.monotonic()
        return leases.opened(held, command, who, standing, now, mono, self.book.boot)

    def _guard(self, link: WritingLink, unit: int, standing: Standing) -> Guard:
        lease, book = self.book.lease, self.book
        assert lease is not None
        most = bounds(standing, self.rules.site, plant.export_limit_w(lease.command, self.rules.site))
        return Guard(link, unit, lease.snapshot, most, book.wrote, self.rules.restore_backup_soc)

    def _enter(self, link: WritingLink, unit: int, goal: Target, standing: Standing) -> None:
        lease = self.book.lease
        assert lease is not None
        try:
            written = moves.enter(self._guard(link, unit, standing), goal, standing.holding)
        except BridgeError as error:
            self.book.failed = True
            self._release("the plant did not take it")
            self._try_restore(link, unit)
            outcome = "it was taken back" if self.book.lease is None else "taking it back goes on"
            kind = LinkError if isinstance(error, LinkError) else Refused
            raise kind(f"battery: {error}; {outcome}") from error
        mono = self._clock.monotonic()
        self.book.held({**lease.expected, **written})
        self._effect, self._effect_by, self._verified = "waiting", mono + EFFECT_S, mono

    def tick(self, link: Optional[WritingLink], unit: int = 0) -> None:
        """Do what is due now; ``link`` is None while there is none. Raises nothing of ours."""
        try:
            if link is not None:  # whoever has none could restore nothing, and would only stand in the way
                self.book.glance(self.rules.barred)
            if self.book.lease is None:
                return
            if link is None:
                raise LinkError("there is no link to the plant")
            self._step(link, unit)
            self._lost_since = float("inf")
        except (LinkError, DeviceException) as error:  # a busy plant is one that does not answer
            self._verified = -1.0  # a write may have been taken or not: look before anything else
            self._lost(error)
        except BridgeError as error:
            self._release(str(error))

    def _step(self, link: WritingLink, unit: int) -> None:
        lease, mono = self.book.lease, self._clock.monotonic()
        assert lease is not None
        if lease.state == HELD and mono >= lease.ends_mono:
            unseen = self._effect == "waiting"
            self.book.failed = self.book.failed or unseen
            self._release("its time is over" + (", and no effect was seen until then" if unseen else ""))
        elif lease.state == HELD:
            self._watch(link, unit, lease, mono)
        lease = self.book.lease
        if lease is not None and lease.state != HELD and self._clock.monotonic() >= self._retry_at:
            self._try_restore(link, unit)

    def _lost(self, error: BridgeError) -> None:
        lease, mono = self.book.lease, self._clock.monotonic()
        self._lost_since = min(mono, self._lost_since)
        self._error = str(error)
        if lease is not None and mono >= lease.ends_mono:
            self._release("its time is over")
        elif lease is not None and mono - self._lost_since >= LOST_S:
            self._release(f"the link to the plant was away for {LOST_S:.0f} s")
        self._faults.bad(f"a command is in force and the plant does not answer: {error}")

    def release(self, link: WritingLink, unit: int, reason: str) -> Dict[str, Any]:
        """End the command now; what cannot be done at once goes on with ``tick``. Returns ``report``."""
        self.rules.check(self.book.left_behind())
        self.book.look()
        if self.book.lease is not None:
            self._release(reason)
            self._try_restore(link, unit)
        return self.report()

    def _watch(self, link: WritingLink, unit: int, lease: Lease, mono: float) -> None:
        assert self._goal is not None
        standing = read_standing(link, unit, with_holding=False)
        if standing.native_mode != REMOTE_EMS or mono - self._verified >= VERIFY_S:
            standing = standing._replace(holding=read_holding(link, unit))
            if self._yielded(standing, lease.changed(standing.holding, self._verified < 0)):
                return
            self._verified = mono
            for address in set(lease.floating) & set(standing.holding):
                self.book.expects(address, standing.holding[address])
        if standing.off_grid != 0:
            self._release("the plant went off the grid")
            return
        if self._effect == "waiting" and plant.has_effect(lease.command, self._goal, standing):
            self._effect = "seen"
            self.book.journal.event(lease.who, "effect", f"battery {standing.battery_w:+.0f} W")
        elif self._effect == "waiting" and mono >= self._effect_by:
            self._effect, self.book.failed = "none", True
            self._release(f"no effect in {EFFECT_S:.0f} s (battery {standing.battery_w:+.0f} W)")
            return
        if self._throttle is not None:
            lease = self.book.lease or lease
            present_w = lease.expected[CHARGE_CAP]
            cap_w = self._throttle.cap(present_w, standing.grid_w, standing.battery_w, mono)
            standing = standing._replace(holding=read_holding(link, unit)) if cap_w != present_w else standing
            if cap_w != present_w and not self._yielded(standing, lease.changed(standing.holding)):
                self._set_cap(link, unit, standing, cap_w, present_w)

    def _set_cap(self, link: WritingLink, unit: int, standing: Standing, cap_w: int, present_w: int) -> None:
        try:
            found_w = self._guard(link, unit, standing).write(CHARGE_CAP, cap_w, present_w)
        except PeerError as error:  # with a cap that cannot be lowered the import limit cannot be kept
            self._release(str(error))
            return
        self.book.expects(CHARGE_CAP, found_w)
        assert self._goal is not None  # the effect is looked for in what is asked of the battery now
        self._goal = moves.capped(self._goal, CHARGE_CAP, cap_w)

    def _release(self, reason: str) -> None:
        self.book.releasing(reason)
        self._retry_at, self._retry_s = self._clock.monotonic(), 1.0

    def _yielded(self, standing: Standing, changed: List[int]) -> bool:
        """Step back for good when somebody else commands the plant: nothing more is written, and it is said."""
        lease = self.book.lease
        assert lease is not None
        why = stranger(standing, changed)
        if why:
            self.book.finish("yielded", why, left(lease, standing.holding))
        return bool(why)

    def _try_restore(self, link: WritingLink, unit: int) -> None:
        lease, mono = self.book.lease, self._clock.monotonic()
        assert lease is not None
        try:
            standing = read_standing(link, unit)
            if self._yielded(standing, lease.strangers(standing.holding)):
                return
            by_hand = moves.restore(self._guard(link, unit, standing), lease, link, unit, standing.holding)
        except LinkError as error:
            self._lost(error)
            return
        except BridgeError as error:
            self._error = str(error)
            self._retry_at, self._retry_s = mono + self._retry_s, min(RETRY_MOST_S, 2 * self._retry_s)
            self._faults.bad(f"not given back yet: {error}")
            return
        self._faults.good()
        self._error, self._throttle = "", None
        lost = mode_lost(lease, link, unit)
        self.book.finish("released", lease.reason, [*by_hand, *lost])
        if lost:
            self.on_mode_lost(lease.native_mode)

    def stop(self, link: Optional[WritingLink], unit: int, pause: Callable[[float], Any]) -> None:
        """Give the plant back before the process ends; what is not done then the watchdog or the next start does."""
        for _ in range(STOP_TRIES):
            if self.book.lease is None or link is None or not self.rules.enabled:
                break
            self._release("the bridge is being stopped")
            self.tick(link, unit)
            if self.book.lease is not None:
                pause(1.0)
        if self.book.lease is not None:
            self._faults.bad("the bridge ends before the plant was given back; battery watch or the next start does it")

    def report(self) -> Dict[str, Any]:
        """Return how things stand; ``state`` is none, entering, held, releasing, elsewhere or left."""
        found = report(self.book, self._clock.monotonic(), self._goal, self._effect, self._error, self.rules.barred)
        return {**found, "enabled": self.rules.enabled}
