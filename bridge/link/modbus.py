"""Modbus as this program speaks it: blocks of words of one peer, one request in flight.

Never trusts a reply: unit, function, byte count, length and transaction are compared with the
request before a word is handed on. Never retries on its own, except once on a connection that
the peer closed while it was idle. Facts: "MODBUS Application Protocol V1.1b3" sections 4 to 7.
"""

from __future__ import annotations

import struct
from typing import Callable, List, NamedTuple, Optional, Protocol, Sequence

from bridge.errors import ConfigError, DeviceException, LinkError

READ_HOLDING = 3
READ_INPUT = 4
WRITE_ONE = 6
WRITE_MANY = 16
TIMEOUT_S = 0.8  # leaves room for one failed request inside a cycle of one second

EXCEPTIONS = {
    1: "illegal function", 2: "illegal address", 3: "illegal value", 4: "device failure",
    5: "acknowledge", 6: "device busy", 8: "memory parity", 10: "gateway path unavailable",
    11: "gateway target did not answer",
}


class Stats:
    """Counts of one link, for benches, metrics and tests."""

    __slots__ = ("requests", "connections", "timeouts", "errors")

    def __init__(self) -> None:
        self.requests = self.connections = self.timeouts = self.errors = 0


class Wire(Protocol):
    """Carries one complete request frame and returns one complete, checked reply frame."""

    peer: str
    protocol: str
    stats: Stats

    def frame(self, unit: int, pdu: bytes) -> bytes:
        """Wrap a PDU for this medium."""

    def exchange(self, request: bytes) -> bytes:
        """Send ``request``; return the reply that belongs to it."""

    def payload(self, reply: bytes) -> bytes:
        """Return the PDU inside a reply frame."""

    def close(self) -> None:
        """Let go of the socket or port."""


class ModbusLink(Protocol):
    """What sources, dump and doctor see of Modbus; both engines offer exactly this."""

    wire: Wire

    def read(self, space: str, address: int, count: int, unit: int) -> List[int]:
        """Read ``count`` words of ``space`` ("input" or "holding") at a wire address."""

    def read_bytes(self, space: str, address: int, count: int, unit: int) -> bytes:
        """Read the same as bytes, high byte and high word first, for who decodes blocks at once."""

    def close(self) -> None:
        """Let go of the connection."""


class WritingLink(ModbusLink, Protocol):
    """The same with writes; only control/battery_guard.py asks for them (tests/test_house.py)."""

    def write(self, address: int, words: Sequence[int], unit: int) -> None:
        """Write holding registers from a wire address."""


class Expect(NamedTuple):
    """What a reply has to look like for one request PDU."""

    unit: int
    function: int
    byte_count: Optional[int]


def expect(unit: int, pdu: bytes) -> Expect:
    """Return what the reply to ``pdu`` must carry; reads know their byte count, writes echo."""
    function = pdu[0]
    if function in (READ_HOLDING, READ_INPUT):
        return Expect(unit, function, 2 * struct.unpack_from(">H", pdu, 3)[0])
    return Expect(unit, function, None)


def check_pdu(pdu: bytes, want: Expect, peer: str) -> None:
    """Raise LinkError when a reply PDU does not answer the request it came for."""
    function = pdu[0] if pdu else -1
    if function == want.function | 0x80:
        if len(pdu) != 2:
            raise LinkError(f"{peer}: exception reply of {len(pdu)} bytes where 2 belong")
        return
    if function != want.function:
        raise LinkError(f"{peer}: asked function {want.function}, the reply says function {function}")
    if want.byte_count is None:
        return
    if len(pdu) < 2 or pdu[1] != want.byte_count or len(pdu) != 2 + want.byte_count:
        got = pdu[1] if len(pdu) > 1 else 0
        raise LinkError(
            f"{peer}: asked for {want.byte_count} bytes, the reply announces {got} and carries {len(pdu) - 2}"
        )


def read_pdu(space: str, address: int, count: int, function_code: Optional[int]) -> bytes:
    """Return the request PDU of a read; 3xxxx by function 4 and 4xxxx by 3 unless overridden."""
    if not 1 <= count <= 125 or not 0 <= address <= 0xFFFF:
        raise ConfigError(f"modbus: cannot ask for {count} registers at {address}")
    function = function_code or (READ_INPUT if space == "input" else READ_HOLDING)
    return struct.pack(">BHH", function, address, count)


def device_exception(code: int, peer: str, unit: int, space: str, address: int, count: int) -> DeviceException:
    """Return the error for an exception reply, in words."""
    what = EXCEPTIONS.get(code, "unknown code")
    return DeviceException(
        f"modbus {peer} unit {unit}: exception {code} ({what}) reading {space} {address}+{count}", code
    )


def write_pdu(address: int, words: Sequence[int], unit: int) -> bytes:
    """Return the request PDU of a write: one word by function 6, more by one function 16.

    Vendor: 32-bit values in one 0x10 of two words, never two 0x06. Unit 0 is a broadcast to every device of
    the plant, executed without an answer: ConfigError.
    """
    if not 1 <= unit <= 247 or not 1 <= len(words) <= 123 or not 0 <= address <= 0xFFFF:
        raise ConfigError(f"modbus: cannot write {len(words)} registers at {address} of unit {unit}")
    if len(words) == 1:
        return struct.pack(">BHH", WRITE_ONE, address, words[0])
    return struct.pack(f">BHHB{len(words)}H", WRITE_MANY, address, len(words), 2 * len(words), *words)


def check_written(request: bytes, reply: bytes, peer: str, unit: int, address: int, count: int) -> None:
    """Raise DeviceException for a refused write, LinkError for a reply that confirms something else."""
    if reply[0] & 0x80:
        what = EXCEPTIONS.get(reply[1], "unknown code")
        raise DeviceException(
            f"modbus {peer} unit {unit}: exception {reply[1]} ({what}) writing {address}+{count};"
            " for a write this can also mean: not in this state, or not that value", reply[1]
        )
    if reply != request[:5]:
        raise LinkError(f"modbus {peer} unit {unit}: the reply to the write of {address}+{count} confirms another one")


class BuiltinLink:
    """The engine on the standard library: builds PDUs with struct, needs no third party."""

    def __init__(self, wire: Wire, function_code: Optional[int] = None) -> None:
        self.wire = wire
        self._function_code = function_code

    def read(self, space: str, address: int, count: int, unit: int) -> List[int]:
        """Read words at a wire address; raises LinkError, LinkTimeout or DeviceException."""
        return list(struct.unpack(f">{count}H", self.read_bytes(space, address, count, unit)))

    def read_bytes(self, space: str, address: int, count: int, unit: int) -> bytes:
        """Read the data bytes of a block; raises as ``read`` does."""
        wire = self.wire
        request = wire.frame(unit, read_pdu(space, address, count, self._function_code))
        try:
            pdu = wire.payload(wire.exchange(request))
        except LinkError as error:
            raise type(error)(f"{error} (unit {unit}, reading {space} {address}+{count})") from error
        if pdu[0] & 0x80:
            raise device_exception(pdu[1], wire.peer, unit, space, address, count)
        return pdu[2:]

    def write(self, address: int, words: Sequence[int], unit: int) -> None:
        """Write words at a wire address; raises as ``read`` does. After LinkError it may have been executed."""
        wire = self.wire
        request = write_pdu(address, words, unit)
        try:
            reply = wire.payload(wire.exchange(wire.frame(unit, request)))
        except LinkError as error:
            raise type(error)(f"{error} (unit {unit}, writing {address}+{len(words)})") from error
        check_written(request, reply, wire.peer, unit, address, len(words))

    def close(self) -> None:
        """Let go of the connection; the next read opens it again."""
        self.wire.close()


def make_link(
    wire: Wire, engine: str, function_code: Optional[int], timeout_s: float,
    pymodbus_link: Callable[..., "ModbusLink"],
) -> "ModbusLink":
    """Return the engine asked for; ``auto`` is the builtin one on both media.

    DESIGN had pymodbus for serial lines; measured, it adds 11 MiB and half a second of start without
    keeping t3.5 or skipping a foreign master by itself, so it is the engine to ask for by name.
    """
    if engine in ("auto", "builtin"):
        return BuiltinLink(wire, function_code)
    if engine == "pymodbus":
        return pymodbus_link(wire, function_code, timeout_s)
    raise ConfigError(f"modbus.engine: {engine!r} is not one of auto, builtin, pymodbus")
