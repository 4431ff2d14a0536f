"""Modbus RTU on a serial port: frames by length and CRC, silent gaps kept, foreign traffic skipped.

Never sends while the line is not silent for t3.5, and never while another process of this program is
in a transaction (advisory lock), so ``dump`` works while ``run`` holds the port. Facts: "MODBUS over
Serial Line V1.02" section 2.5; gateway port P6 carries a master's frames to unit 0 (S3 source).
"""

from __future__ import annotations

import errno
import fcntl
import select
from typing import Any, Callable

from bridge.errors import ConfigError, LinkError, LinkTimeout
from bridge.link.modbus import WRITE_ONE, Stats, check_pdu, expect
from bridge.link.rtu_frame import crc16, find_reply

LOCK_WAIT_S = 0.5  # a transaction of the other process takes at most its own time-out
LOCK_POLL_S = 0.005
LONGEST_QUIET = 8  # times t3.5; beyond it a lost request begins with one again


class PortLocked(LinkTimeout):
    """Another process of this program is using the port, and went on for too long."""


def open_port(device: str, baud: int, write_timeout_s: float) -> Any:
    """Open a serial port 8N1 whose reads never wait; raises LinkError, or ConfigError without pyserial."""
    try:
        import serial
    except ImportError as error:
        raise ConfigError(
            f"modbus {device}: the package pyserial is not installed; install it (OpenWrt: python3-pyserial)"
        ) from error
    try:
        return serial.Serial(device, baud, timeout=0, write_timeout=write_timeout_s)
    except (OSError, ValueError) as error:
        raise _open_error(device, error) from error


class RtuWire:
    """One serial port as a Modbus master; opens itself on first use and after a failure."""

    protocol = "modbus-rtu"

    def __init__(
        self, device: str, baud: int, timeout_s: float,
        monotonic: Callable[[], float], wait: Callable[[float], bool],
    ) -> None:
        self.peer = device
        self.baud = baud
        self.stats = Stats()
        self.heard = 0  # bytes that came in, whoever they were for
        self._timeout_s = timeout_s
        self._monotonic = monotonic
        self._wait = wait
        self._port: Any = None
        self._silent_since = 0.0
        self._quiet = 1  # how many t3.5 of silence a request listens for
        self._others_talk = False  # whether bytes for somebody else came since the last reply
        self._hears_itself = False
        byte_s = 10.0 / baud
        self._byte_s = byte_s
        self.gap_s = 0.00175 if baud > 19200 else 3.5 * 11 / 10 * byte_s

    def frame(self, unit: int, pdu: bytes) -> bytes:
        """Put the address before and the CRC behind a PDU."""
        body = bytes((unit,)) + pdu
        return body + crc16(body).to_bytes(2, "little")

    def payload(self, reply: bytes) -> bytes:
        """Return the PDU between address and CRC."""
        return reply[1:-2]

    def exchange(self, request: bytes) -> bytes:
        """Send one frame and return its reply; raises LinkError or LinkTimeout."""
        self.stats.requests += 1
        try:
            if self._port is None:
                self._open()
            self._lock()
            try:
                return self._transact(request)
            finally:
                self._unlock()
        except OSError as error:  # the adapter was pulled, or the other side of a pty is gone
            self._failed()
            raise LinkError(f"modbus {self.peer}: the port is gone ({error}); check the USB adapter") from error
        except LinkError as error:
            self.stats.errors += 1
            if isinstance(error, LinkTimeout):
                self.stats.timeouts += 1
            raise

    def close(self) -> None:
        """Close the port; the next exchange opens it again."""
        if self._port is not None:
            self._port.close()
            self._port = None

    def _failed(self) -> None:
        self.stats.errors += 1
        self.close()

    def _open(self) -> None:
        self._port = open_port(self.peer, self.baud, self._timeout_s)
        self.stats.connections += 1
        self._silent_since = self._monotonic()
        try:
            self._port.set_low_latency_mode(True)
        except (ValueError, AttributeError, RuntimeError, OSError):
            pass  # ptys and many adapters have no such mode

    def _lock(self) -> None:
        deadline = self._monotonic() + LOCK_WAIT_S + self._timeout_s
        while True:
            try:
                fcntl.flock(self._port.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError as error:
                if self._monotonic() >= deadline:
                    raise PortLocked(f"modbus {self.peer}: another program keeps the port locked") from error
                self._wait(LOCK_POLL_S)
                self._silent_since = self._monotonic()

    def _unlock(self) -> None:
        if self._port is not None:
            fcntl.flock(self._port.fileno(), fcntl.LOCK_UN)

    def _transact(self, request: bytes) -> bytes:
        self._await_silence()
        self._port.write(request)
        # Counted from the end of our own frame on the line, which the kernel still has to send.
        deadline = self._monotonic() + len(request) * self._byte_s + self._timeout_s
        want = expect(request[0], request[1:-2])
        received = b""
        # Two-wire adapters may hear themselves. A read tells which kind this is; the reply to a write of one
        # register is the request again, so there what the last read has shown decides.
        same_again = want.function == WRITE_ONE
        echo = self._hears_itself if same_again else True
        while True:
            chunk = self._next_bytes(deadline)
            if not chunk:
                self._quiet = self._quiet * 2 if self._quiet < LONGEST_QUIET else 1
                raise self._silent(received)
            received += chunk
            if echo and len(received) >= len(request):
                echo = False
                heard = received.startswith(request)
                if heard:
                    received = received[len(request):]
                if not same_again:
                    self._hears_itself = heard
            reply = find_reply(received, want.unit, want.function)
            if reply is not None:
                if not self._others_talk:
                    self._quiet = 1
                self._others_talk = False
                check_pdu(reply[1:-2], want, f"modbus {self.peer}")
                return reply

    def _next_bytes(self, deadline: float) -> bytes:
        left = deadline - self._monotonic()
        if left <= 0 or not select.select([self._port.fileno()], [], [], left)[0]:
            return b""
        chunk = self._port.read(4096)
        self.heard += len(chunk)
        self._silent_since = self._monotonic()
        if not chunk:
            raise OSError(errno.EIO, "readable, but nothing to read")
        return bytes(chunk)

    def _await_silence(self) -> None:
        """Wait until nothing was heard for t3.5; what comes in meanwhile is not for us.

        Once a request was lost the wait is longer and begins now: another master whose period divides our
        cycle would otherwise be met at the same place for ever. While it is heard, what worked is kept.
        """
        now = self._monotonic()
        give_up = now + self._timeout_s
        if self._quiet > 1:
            self._silent_since = now
        while True:
            left = self._silent_since + self.gap_s * self._quiet - self._monotonic()
            if not select.select([self._port.fileno()], [], [], max(left, 0))[0]:
                return
            self.heard += len(self._port.read(4096))
            self._others_talk = True
            self._silent_since = self._monotonic()
            if self._silent_since >= give_up:
                self._quiet = 1
                raise LinkTimeout(
                    f"modbus {self.peer}: the line is never silent; this is a port with another master"
                    " (gateway P6) or the wrong port: use the inverter's COM 15/16"
                )

    def _silent(self, received: bytes) -> LinkTimeout:
        if received:
            return LinkTimeout(
                f"modbus {self.peer}: {len(received)} bytes came, but no reply to us in {self._timeout_s:g} s;"
                " check baud rate, wiring A/B and that no other master is on the line"
            )
        return LinkTimeout(
            f"modbus {self.peer}: no answer in {self._timeout_s:g} s at {self.baud} baud;"
            " check unit, baud rate and wiring (COM 15/16, A+/B-)"
        )


def _open_error(device: str, error: Exception) -> LinkError:
    number = getattr(error, "errno", None)
    if number == errno.ENOENT:
        return LinkError(f"modbus {device}: there is no such serial device; check modbus.serial and the adapter")
    if number in (errno.EACCES, errno.EPERM):
        return LinkError(
            f"modbus {device}: no permission to open it; add this user to the group dialout or run as root"
        )
    return LinkError(f"modbus {device}: cannot be opened as a serial port ({error}); check modbus.serial")
