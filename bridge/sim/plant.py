"""A simulated Sigenergy plant on Modbus TCP or an RS485 line, for demo, tests and other programs.

Never part of the bridge at work, and shares no Modbus code with it: it implements the vendor's
document and what captures of real plants show, and can misbehave in every way a plant or line does.
"""

from __future__ import annotations

from types import TracebackType
from typing import Any, Deque, Optional, Sequence, Type, Union

from bridge.clock import Clock
from bridge.errors import ConfigError
from bridge.registers import encode, sigenergy, vendor_from
from bridge.sim.home import HOUSE, HomeState, House
from bridge.sim.plant_control import MODE, Control, ControlView
from bridge.sim.plant_faults import FaultBoard
from bridge.sim.plant_image import AnyImage, PlantImage, ReplayImage, words_bytes
from bridge.sim.plant_records import Counters, Request, Rules, Truth, Write
from bridge.sim.plant_rtu import RtuLine
from bridge.sim.plant_scenarios import AnyHome, home_for
from bridge.sim.plant_station import Station
from bridge.sim.plant_tcp import TcpPort
from bridge.sim.plant_world import EVENTS, AnyWorld, Memory, Recording, World

RESTART_S = 2.0


class PlantSim:
    """One plant on one line. Constructing opens nothing; ``start`` does.

    ``serial`` False is Modbus TCP on ``host``:``port`` (0: any free port), True an RS485 line on a pty
    named by ``tty``, a path that pty's link or an existing device. ``unit`` answers for the plant,
    ``inverter_unit`` for inverter and DC charger; the same number answers for both (the user's RS485
    port). ``level`` is the protocol version, ``spc`` the firmware's number (by default the level's),
    ``replay`` a recording to serve instead of a house. ``min_gap_ms`` makes the plant ignore what
    comes sooner after the request before. ``native_mode`` is what 30003 shows before anybody takes
    over, ``soc_pct`` a state of charge to begin with, ``memory`` what another plant kept.
    """

    def __init__(
        self, clock: Clock, host: str = "127.0.0.1", port: int = 0, serial: Union[bool, str] = False,
        baud: int = 38400, unit: int = 247, inverter_unit: int = 1, level: str = "2.9",
        scenario: str = "home", replay: Optional[str] = None, min_gap_ms: float = 0,
        delay_s: float = 0.0, turnaround_s: float = 0.010, seed: int = 1, house: House = HOUSE,
        strict_function: bool = False, unknown_unit: str = "silent", native_mode: int = 0,
        soc_pct: Optional[float] = None, spc: Optional[int] = None, memory: Optional[Memory] = None,
    ) -> None:
        if unknown_unit not in ("silent", "exception11"):
            raise ConfigError(f"unknown_unit {unknown_unit!r}: it is silent or exception11")
        self._clock = clock
        self._vendor = vendor_from(sigenergy)
        if soc_pct is not None and not 0 <= soc_pct <= 100:
            raise ConfigError(f"state of charge {soc_pct:g} %: it is 0 to 100")
        self._began = (clock.now(), clock.monotonic())
        self.home: Optional[AnyHome] = None
        self._world: Optional[World] = None
        board = FaultBoard("rtu" if serial else "tcp", seed)
        image: AnyImage
        world: AnyWorld
        if replay:
            image = ReplayImage(replay)
            world = Recording(image, self._second_of)
        else:
            image = PlantImage(self._vendor, level, unit, inverter_unit, house)
            control = Control(image, house, native_mode, level, spc)
            image.name_firmware(control.firmware)
            self.home = home_for(scenario, seed, house)
            self._world = world = World(image, self.home, house, control, board, self._second_of, soc_pct)
            if memory is not None:
                world.remember(memory)
        rules = Rules(unit, min_gap_ms, delay_s, strict_function, "silent" if serial else unknown_unit)
        self._station = Station(clock, self._vendor, image, world, board, rules)
        self._tcp: Optional[TcpPort] = None
        self._rtu: Optional[RtuLine] = None
        if serial:
            path = serial if isinstance(serial, str) else None
            self._rtu = RtuLine(self._station, clock, path, baud, turnaround_s)
        else:
            self._tcp = TcpPort(self._station, clock, host, port)

    def start(self) -> PlantSim:
        """Open the line and serve. Raises ConfigError when it cannot be opened."""
        self._station.refresh()
        (self._tcp or self._line()).start()
        return self

    def stop(self) -> None:
        """End every thread and close every descriptor."""
        (self._tcp or self._line()).stop()

    def __enter__(self) -> PlantSim:
        return self.start()

    def __exit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        self.stop()

    @property
    def port(self) -> int:
        """The TCP port; 0 on RS485."""
        return self._tcp.port if self._tcp else 0

    @property
    def tty(self) -> str:
        """The serial path a client opens; empty on TCP."""
        return self._rtu.tty if self._rtu else ""

    @property
    def log(self) -> Deque[Request]:
        """The latest requests, oldest first."""
        return self._station.log

    @property
    def writes(self) -> Deque[Write]:
        """Every frame that asked for a change, executed or not, oldest first."""
        return self._station.writes

    @property
    def control(self) -> ControlView:
        """What the plant is told to do now, and acts on."""
        with self._station.lock:
            self._station.refresh()
            return self._inside().control.view()

    @property
    def state(self) -> HomeState:
        """The power flow of this second; ``home.at`` says what it were if nobody had commanded."""
        with self._station.lock:
            self._station.refresh()
            return self._inside().state(self._clock.monotonic())

    @property
    def memory(self) -> Memory:
        """What the plant keeps without power: give it to another plant, and that one goes on."""
        with self._station.lock:
            self._station.refresh()
            return self._inside().memory()

    @property
    def truth(self) -> Deque[Truth]:
        """What was served from when on (monotonic seconds of the plant's clock), oldest first."""
        return self._station.truth

    @property
    def counters(self) -> Counters:
        """What happened since the start."""
        return self._station.counters

    def plant_time(self) -> float:
        """Return the plant's clock, unix seconds: ``home.at(plant_time())`` is the house now."""
        return self._began[0] + self._clock.monotonic() - self._began[1]

    def set(self, where: Union[int, str], value: Union[int, float, str, Sequence[int]]) -> None:
        """Put a value (in the row's unit) or raw words into a register, by address or row name.

        Input registers keep it whatever the house does; holding registers until they are written.
        Raises ConfigError for an unknown name, or a value that does not fit its row.
        """
        row = self._vendor.at(where) if isinstance(where, int) else next(
            (candidate for candidate in self._vendor.rows if candidate.name == where), None
        )
        if isinstance(value, (int, float, str)):
            if row is None:
                raise ConfigError(f"no register {where!r}; give an address and raw words")
            self._station.put(row.address, words_bytes(encode(row, value)))
        elif isinstance(where, int):
            self._station.put(where, words_bytes(value))
        elif row is not None:
            self._station.put(row.address, words_bytes(value))
        else:
            raise ConfigError(f"no register called {where!r}")

    def fault(self, name: str, **params: Any) -> None:
        """Put a fault in force until cleared, for ``for_s`` seconds or ``count`` requests.

        The names and parameters are the rows of plant_faults.FAULTS. Raises ConfigError for others.
        """
        if name in EVENTS:
            inside = self._inside()
            if name == "other_master" and "value" in params:
                inside.words_for(params.get("address", MODE), params["value"])
        with self._station.lock:
            self._station.refresh()
            self._station.board.set(name, params, self._clock.monotonic())
            if name in EVENTS:
                self._station.renew()
        if name == "restart":
            self.clear("restart")
            self.restart(params.get("down_s", RESTART_S))
        if name == "refuse" and self._tcp:
            self._tcp.refuse()
        if name == "unplug":
            self._line().unplug()

    def clear(self, name: Optional[str] = None) -> None:
        """End one fault, or all of them."""
        with self._station.lock:
            self._station.refresh()
            ended = self._station.board.clear(name)
            if any(one in EVENTS for one in ended):
                self._station.renew()
        if self._tcp and name in (None, "refuse"):
            self._tcp.listen()
        if self._rtu and name in (None, "unplug"):
            self._rtu.mend()

    def restart(self, down_s: float = RESTART_S) -> None:
        """Restart the plant: connections end, nothing answers for so long, holding registers stay."""
        self._station.restart(down_s)
        self.fault("refuse" if self._tcp else "silent", for_s=down_s)

    def _second_of(self, monotonic: float) -> int:
        return int(self._began[0] + monotonic - self._began[1])

    def _inside(self) -> World:
        if self._world is None:
            raise ConfigError("a recording obeys nobody: it has no control state")
        return self._world

    def _line(self) -> RtuLine:
        if self._rtu is None:
            raise ConfigError("this plant has no serial line")
        return self._rtu
