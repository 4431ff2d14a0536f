"""Finds the plant on a serial line: which unit number and baud rate answer, tried one a cycle.

Never writes, and never settles on a unit that answers without having plant registers: the vendor's text
says plant registers are at 247 and the default is 9600 baud, the user's port is 1 at 38400.
"""

from __future__ import annotations

import logging
from typing import Any, Callable, List, Optional, Protocol, Sequence, Tuple

from bridge.errors import DeviceException, LinkError, LinkTimeout
from bridge.link.modbus import ModbusLink
from bridge.model import Reading
from bridge.registers import Vendor

UNITS = (1, 247)
BAUDS = (38400, 9600, 19200, 115200)

log = logging.getLogger("serial")


def combinations(unit: int, baud: int) -> List[Tuple[int, int]]:
    """Return (unit, baud) in the order to try: what is configured, then both units at each baud."""
    order = [(unit, baud)]
    order += [(other, baud) for other in UNITS]
    order += [(other, speed) for speed in BAUDS for other in (unit, *UNITS)]
    return list(dict.fromkeys(order))


class Line:
    """One serial port with a plant somewhere on it; ``open_link(baud)`` makes a link without connecting."""

    def __init__(
        self, device: str, open_link: Callable[[int], ModbusLink], vendor: Vendor,
        unit: int, baud: int, offset: int = 0,
    ) -> None:
        self.device = device
        self._open_link, self._vendor, self._offset = open_link, vendor, offset
        self._configured = (unit, baud)
        self._order: Sequence[Tuple[int, int]] = combinations(unit, baud)
        self._next = 0
        self.tried: List[Tuple[int, int, str]] = []

    def try_next(self) -> Optional[Tuple[ModbusLink, int, int]]:
        """Try one combination; returns (link, unit, baud) when the plant answered there.

        Raises LinkError when the port itself cannot be opened.
        """
        unit, baud = self._order[self._next % len(self._order)]
        self._next += 1
        link = self._open_link(baud)
        row = self._vendor.role("grid_w")
        assert row is not None
        try:
            link.read(row.space, row.address + self._offset, row.count, unit)
        except LinkTimeout as error:
            result = "no answer" if "no answer" in str(error) else str(error)
        except DeviceException as error:
            result = f"answers, but without plant registers (exception {error.code})"
        except LinkError:
            link.close()
            if link.wire.stats.connections == 0:
                raise
            result = "unusable answer"
        else:
            self.tried.append((unit, baud, "the plant answers"))
            if (unit, baud) != self._configured:
                log.warning(
                    "port=%s unit=%d baud=%d state=found advice=\"set modbus.serial_unit and modbus.baud to these\"",
                    self.device, unit, baud,
                )
            return link, unit, baud
        self.tried.append((unit, baud, result))
        link.close()
        return None

    @property
    def exhausted(self) -> bool:
        """True when every combination was tried and none answered."""
        return self._next >= len(self._order)

    def summary(self) -> str:
        """Say what was tried and what came back, in one line."""
        answers = [f"unit {unit} at {baud}: {result}" for unit, baud, result in self.tried if result != "no answer"]
        tried = ", ".join(f"{unit}@{baud}" for unit, baud in self._order)
        return (
            f"modbus {self.device}: no plant answers ({'; '.join(answers) or 'silence'}); tried unit@baud {tried};"
            " check wiring (inverter COM 15/16, A+/B-; not P6, not the RJ45 ports)"
        )

    def find(self) -> Tuple[ModbusLink, int, int]:
        """Try every combination; raises LinkError with what was tried when none answered."""
        while not self.exhausted:
            found = self.try_next()
            if found:
                return found
        raise LinkError(self.summary())


class PlantSource(Protocol):
    """The poller that a SerialSource makes once it knows where the plant is."""

    def read(self) -> Reading:
        """Return one reading."""

    def line(self) -> Tuple[ModbusLink, int]:
        """Return the link and the plant's unit on it."""

    def watch(self, tap: Any) -> None:
        """Hand every block that is read to ``tap`` as well."""

    def close(self) -> None:
        """Let go of the link."""


class SerialSource:
    """A plant on a serial line: looks for it one combination a cycle, then polls it.

    ``make_source(link, unit, baud)`` builds the poller once the plant was found.
    """

    name = "modbus-rtu"

    def __init__(self, line: Line, make_source: Callable[[ModbusLink, int, int], PlantSource]) -> None:
        self.peer = line.device
        self._line, self._make_source = line, make_source
        self._source: Optional[PlantSource] = None
        self._tap: Any = None

    def read(self) -> Reading:
        """Return one reading; raises LinkError while the plant was not found yet."""
        if self._source is None:
            found = self._line.try_next()
            if found is None:
                unit, baud, result = self._line.tried[-1]
                if self._line.exhausted:
                    raise LinkTimeout(self._line.summary())
                raise LinkTimeout(f"modbus {self._line.device} unit {unit} at {baud} baud: {result}; trying others")
            self._source = self._make_source(*found)
            if self._tap is not None:
                self._source.watch(self._tap)
        return self._source.read()

    def line(self) -> Optional[Tuple[ModbusLink, int]]:
        """Return the link and the plant's unit on it, or None until the plant was found."""
        return None if self._source is None else self._source.line()

    def watch(self, tap: Any) -> None:
        """Hand every block that is read to ``tap`` as well, also of a plant that is found later."""
        self._tap = tap
        if self._source is not None:
            self._source.watch(tap)

    def close(self) -> None:
        """Let go of the port."""
        if self._source is not None:
            self._source.close()

