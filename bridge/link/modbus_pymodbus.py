"""The pymodbus engine: pymodbus builds requests and takes replies apart, our wires carry them.

Never lets pymodbus touch the socket or port: its synchronous clients accept replies to other
questions, keep dead sockets and ignore t3.5 (measured), so they get the checked wires instead.
Works with pymodbus 3.8 (Python 3.9, keyword ``slave``) and 3.10 and later (``device_id``).
"""

from __future__ import annotations

import inspect
import struct
from typing import Any, List, Optional, Sequence

from bridge.errors import ConfigError, LinkError
from bridge.link.modbus import READ_INPUT, BuiltinLink, Wire, device_exception


class PymodbusLink:
    """A ModbusLink whose codec is pymodbus'; raises what the builtin engine raises."""

    def __init__(self, wire: Wire, function_code: Optional[int], timeout_s: float) -> None:
        self.wire = wire
        self._function_code = function_code
        self._timeout_s = timeout_s
        self._client: Any = None
        self._unit_keyword = ""

    def read(self, space: str, address: int, count: int, unit: int) -> List[int]:
        """Read words at a wire address; raises LinkError, LinkTimeout or DeviceException."""
        if self._client is None:
            self._client = self._make_client()
        function = self._function_code or (READ_INPUT if space == "input" else 3)
        client = self._client
        ask = client.read_input_registers if function == READ_INPUT else client.read_holding_registers
        try:
            reply = ask(address, count=count, **{self._unit_keyword: unit})
        except LinkError as error:
            raise type(error)(f"{error} (unit {unit}, reading {space} {address}+{count})") from error
        if reply.isError():
            code = getattr(reply, "exception_code", 4)
            raise device_exception(code, self.wire.peer, unit, space, address, count)
        if len(reply.registers) != count:
            raise LinkError(f"modbus {self.wire.peer}: {len(reply.registers)} registers for {count}")
        return list(reply.registers)

    def read_bytes(self, space: str, address: int, count: int, unit: int) -> bytes:
        """Read the data bytes of a block; raises as ``read`` does."""
        return struct.pack(f">{count}H", *self.read(space, address, count, unit))

    def write(self, address: int, words: Sequence[int], unit: int) -> None:
        """Write words at a wire address; the frame is ours, pymodbus only reads here."""
        BuiltinLink(self.wire).write(address, words, unit)

    def close(self) -> None:
        """Let go of the connection; the next read opens it again."""
        self.wire.close()

    def _make_client(self) -> Any:
        try:
            from pymodbus.client import ModbusTcpClient
            from pymodbus.framer import FramerType
        except ImportError as error:
            raise ConfigError(
                "modbus.engine = pymodbus: the package pymodbus is not installed; install it or use engine = builtin"
            ) from error
        wire = self.wire

        class Carried(ModbusTcpClient):  # type: ignore[misc]
            """pymodbus' synchronous client over our wire instead of its own socket."""

            reply = b""

            def connect(self) -> bool:
                return True

            def send(self, request: bytes, addr: Any = None) -> int:
                self.reply = wire.exchange(request)
                return len(request)

            def recv(self, size: Optional[int]) -> bytes:
                reply, self.reply = self.reply, b""
                return reply

            def close(self) -> None:
                wire.close()

        framer = FramerType.RTU if wire.protocol == "modbus-rtu" else FramerType.SOCKET
        client = Carried(wire.peer, framer=framer, timeout=self._timeout_s, retries=0)
        parameters = inspect.signature(client.read_input_registers).parameters
        self._unit_keyword = "device_id" if "device_id" in parameters else "slave"
        return client
