"""A bench for battery commands: the simulated plant without a socket, a clock that is moved, processes that die."""

from __future__ import annotations

from bridge.clock import ManualClock
from bridge.control.battery import Command
from bridge.control.battery_desk import Desk
from bridge.control.battery_journal import Journal
from bridge.control.battery_keeper import Keeper
from bridge.control.battery_limits import Rules
from bridge.control.battery_plant import Site
from bridge.control.lease_book import LeaseBook
from bridge.control.timetable import Timetable
from bridge.errors import LinkError, LinkTimeout
from bridge.link.modbus import BuiltinLink, Stats, check_pdu, expect
from bridge.sim.modbus_frames import Frame
from bridge.sim.plant import PlantSim
from bridge.state import StateDir

UNIT = 247
TIMEOUT_S = 0.8
WRITES = (6, 16)
WATCHED = (40029, 40031, 40032, 40034, 40038, 40046, 40047, 40048)
WIDE = (40032, 40034, 40038)


class Killed(BaseException):
    """The process is gone, in the middle of what it did."""


class DirectWire:
    """Carries frames to the simulated plant without a socket, with its faults; may be cut, or kill at a write."""

    protocol = "modbus-tcp"
    peer = "plant"

    def __init__(self, plant, clock):
        self.stats, self.down = Stats(), False
        self.kill_at, self.kill_before = None, False
        self._plant, self._clock = plant, clock

    def frame(self, unit, pdu):
        return bytes((unit,)) + pdu

    def payload(self, reply):
        return reply[1:]

    def close(self):
        """Nothing."""

    def exchange(self, request):
        self.stats.requests += 1
        writing = request[1] in WRITES
        if writing and self.kill_at is not None:
            self.kill_at -= 1
            if self.kill_at <= 0 and self.kill_before:
                raise Killed
        if self.down:
            self._clock.advance(TIMEOUT_S)
            raise LinkTimeout("the link is down")
        frame = Frame(request[0], request[1:])
        reaction, _ = self._plant._station.handle(1, frame, b"", lambda reply: bytes((reply.unit,)) + reply.pdu)
        if writing and self.kill_at is not None and self.kill_at <= 0:
            raise Killed
        if not reaction.chunks:
            self._clock.advance(TIMEOUT_S)
            raise LinkTimeout("no answer")
        wait_s, reply = reaction.chunks[0]
        self._clock.advance(wait_s)
        if wait_s > TIMEOUT_S:
            raise LinkTimeout("too late")
        if reaction.then in ("reset", "close") and not reply:
            raise LinkError("closed")
        check_pdu(reply[1:], expect(request[0], request[1:]), "plant")
        return reply


class Bench:
    """One plant, one state directory, and the process that is alive."""

    def __init__(self, path, site=None, enabled=True, **plant):
        plant.setdefault("soc_pct", 50.0)
        self.clock = ManualClock()
        self.plant = PlantSim(self.clock, **plant)
        self.plant._station.refresh()
        self.state = StateDir(str(path))
        self.rules = Rules(enabled, site or Site())
        self.wire = DirectWire(self.plant, self.clock)
        self.link = BuiltinLink(self.wire)
        self.desk = self.new_desk()
        self.before = self.holding()

    def new_desk(self):
        journal = Journal(self.state, self.clock)
        keeper = Keeper(self.clock, LeaseBook(self.state, self.clock, journal), self.rules)
        return Desk(self.clock, keeper, Timetable(self.state, journal))

    @property
    def where(self):
        return (self.link, UNIT)

    def begin(self, action="charge", seconds=60.0, power_w=3000.0, **more):
        powered = action in ("charge", "discharge") and "export_w" not in more
        command = Command(action, seconds, power_w if powered else None, **more)
        return self.desk.keeper.begin(self.link, UNIT, command, "test")

    def run(self, seconds):
        for _ in range(int(seconds)):
            self.clock.advance(1.0)
            self.desk.tick(self.where)

    def die(self):
        """End the process as kill -9 does: the kernel takes the lock back, and nothing else happens."""
        lock = self.desk.keeper.book._lock
        if lock is not None:
            lock.release()
        self.wire.kill_at = None
        self.desk = None

    def restart(self):
        self.desk = self.new_desk()

    def holding(self):
        image = self.plant._station.image
        return {
            address: int.from_bytes(image.read(address, 2 if address in WIDE else 1), "big") for address in WATCHED
        }

    def battery_w(self):
        return int.from_bytes(self.plant._station.image.read(30037, 2), "big", signed=True)

    def written(self):
        """Return (address, number) of every write that reached the plant."""
        found = []
        for one in self.plant.writes:
            number = 0
            for word in one.words:
                number = number << 16 | word
            found.append((one.address, number))
        return found

    @property
    def lease(self):
        return self.desk.keeper.book.lease

    def journal(self):
        return self.desk.keeper.book.journal.entries()
