"""The plant's RS485 line on a pseudo terminal, or on a real device: bytes at the speed of the line.

Never answers before the request would have been on the line: a pty carries 100 bytes in no time at
any baud rate, which hides timing bugs, so the line is paced here, in both directions.
"""

from __future__ import annotations

import os
import select
import shutil
import stat
import tempfile
import termios
import threading
import tty
from contextlib import suppress
from typing import List, Optional, Tuple

from bridge.clock import Clock
from bridge.errors import ConfigError
from bridge.sim.modbus_frames import Frame, rtu_bytes, rtu_frame, silence_s
from bridge.sim.plant_faults import Params
from bridge.sim.plant_station import Station

POLL_S = 0.05  # how soon the thread notices that the device is back or the end has come
TURN_S = 0.02  # a late answer or a foreign frame may be this late
STOP_S = 1.0
CHUNK = 8  # bytes handed over together: what a UART's FIFO gathers before it interrupts
RECEIVE = 1024

Chunks = Tuple[Tuple[float, bytes], ...]
LINE = 1  # the log's connection number
EARLY_S = 0.0002  # the reader's own delay may make a request look this much too early, not more
# What a foreign master says: a broadcast write, then a read of unit 3 and that unit's answer.
FOREIGN = (
    Frame(0, b"\x06\x9c\x5f\x00\x02"), Frame(3, b"\x04\x77\x24\x00\x02"), Frame(3, b"\x04\x04\0\0\x0a\xf0"),
)


class RtuLine:
    """Serves one line, one request at a time, as hardware does."""

    def __init__(
        self, station: Station, clock: Clock, path: Optional[str], baud: int, turnaround_s: float
    ) -> None:
        self.tty = path or ""
        self._station, self._clock = station, clock
        self._wire = Clock()
        self._byte_s = 10.0 / baud
        self._silence_s = silence_s(baud)
        self._turnaround_s = turnaround_s
        self._baud = baud
        self._free_at = 0.0  # until then the line is busy with what was sent last
        self._late: List[Tuple[float, Chunks]] = []
        self._previous = b""
        self._foreign_at = 0.0
        self._descriptors: Tuple[int, ...] = ()
        self._directory = ""
        self._link = ""
        self._leaving, self._gone, self._there = threading.Event(), threading.Event(), threading.Event()
        self._thread: Optional[threading.Thread] = None

    def start(self) -> None:
        """Open the line and serve. Raises ConfigError when the device cannot be opened."""
        if not self.tty:
            self._directory = tempfile.mkdtemp(prefix="plant-")
            self.tty = os.path.join(self._directory, "rs485")
        self._plug()
        self._thread = threading.Thread(target=self._serve, name="plant-rtu", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End everything; returns within STOP_S."""
        self._wire.stop()
        if self._thread is not None:
            self._thread.join(STOP_S)
        self._close()
        if self._directory:
            shutil.rmtree(self._directory, ignore_errors=True)

    def unplug(self) -> None:
        """Close the device; whoever has the other end open gets an error or the end of file."""
        self._there.clear()
        self._gone.clear()
        self._leaving.set()  # the serving thread closes: a descriptor must not vanish under its hands
        self._gone.wait(STOP_S)

    def mend(self) -> None:
        """Wait until the device is back, once nothing keeps it away."""
        self._there.wait(STOP_S)

    def _plug(self) -> None:
        """Open the device, or make a pty and put its name at ``tty``."""
        try:
            self._descriptors = self._open()
        except (OSError, termios.error) as error:
            raise ConfigError(
                f"serial {self.tty}: cannot be opened ({error}); check path and rights"
            ) from error
        self._there.set()

    def _close(self) -> None:
        descriptors, self._descriptors = self._descriptors, ()
        for descriptor in descriptors:
            os.close(descriptor)
        if self._link:
            os.unlink(self._link)
            self._link = ""

    def _open(self) -> Tuple[int, ...]:
        if os.path.exists(self.tty) and stat.S_ISCHR(os.stat(self.tty).st_mode):
            device = os.open(self.tty, os.O_RDWR | os.O_NOCTTY)
            tty.setraw(device)
            speed = _speed(self._baud)
            attributes = termios.tcgetattr(device)
            attributes[4] = attributes[5] = speed
            termios.tcsetattr(device, termios.TCSANOW, attributes)
            os.set_blocking(device, False)
            return (device,)
        ours, theirs = os.openpty()  # theirs stays open, or the last client's leaving ends the pty
        tty.setraw(theirs)
        os.set_blocking(ours, False)
        os.symlink(os.ttyname(theirs), self.tty)
        self._link = self.tty
        return ours, theirs

    def _serve(self) -> None:
        while not self._wire.stopped:
            if self._leaving.is_set():
                self._leaving.clear()
                self._close()
                self._gone.set()
            if not self._descriptors:
                self._wire.wait(POLL_S)
                if self._in_force("unplug") is None:
                    with suppress(ConfigError):  # a real device may still be away
                        self._plug()
                continue
            try:
                self._turn(self._descriptors[0])
            except OSError:
                self._wire.wait(POLL_S)  # the other end of a real device is in trouble: look again

    def _turn(self, line: int) -> None:
        """Wait a moment for a request and serve it; say what is due without being asked."""
        now = self._wire.monotonic()
        foreign = self._in_force("foreign_master")
        if foreign is not None and now >= self._foreign_at:
            self._speak_as_foreign_master(line, foreign, now)
        elif self._late and now >= self._late[0][0]:
            self._say(line, self._late.pop(0)[1], max(now, self._free_at + self._silence_s))
        elif select.select([line], [], [], TURN_S)[0]:
            self._listen(line)

    def _listen(self, line: int) -> None:
        """Take the bytes between two silences, as late as the line would have brought them."""
        begun = self._wire.monotonic()
        if begun < self._free_at + self._silence_s - EARLY_S and self._in_force("foreign_master") is None:
            self._station.counters.silence_violated += 1
        start, heard = max(begun, self._free_at), b""
        while select.select([line], [], [], 0)[0]:
            fresh = os.read(line, RECEIVE)
            heard += fresh
            if self._in_force("echo") is not None:
                self._put(line, fresh, start)
            start += len(fresh) * self._byte_s
            self._wait_until(start + self._silence_s)
        frame = rtu_frame(self._damaged(heard)) if self._same_speed(line) else None
        if frame is None:
            self._station.counters.line_errors += 1
        elif self._station.arrived(LINE, frame):
            try:
                self._answer(line, frame, start + self._silence_s + self._turnaround_s)
            finally:
                self._station.finished()

    def _same_speed(self, line: int) -> bool:
        """Say whether the client set the line's baud rate; the two ends of a pty share the setting.

        A fresh pty says 38400: who opens it without setting a speed is heard at that.
        """
        return termios.tcgetattr(line)[5] == _speed(self._baud)

    def _answer(self, line: int, frame: Frame, at: float) -> None:
        reaction, pdu = self._station.handle(LINE, frame, self._previous, rtu_bytes)
        self._previous = pdu or self._previous
        foreign = self._in_force("foreign_master")
        if foreign is not None and at >= self._foreign_at:
            at = self._speak_as_foreign_master(line, foreign, at) + self._silence_s
        if reaction.late_s:
            self._late.append((at + reaction.late_s, reaction.chunks))
        else:
            self._say(line, reaction.chunks, at)

    def _say(self, line: int, chunks: Chunks, at: float) -> None:
        for wait_s, data in chunks:
            at = self._put(line, data, at + wait_s)

    def _speak_as_foreign_master(self, line: int, params: Params, at: float) -> float:
        """Send another master's frames; a request that falls into them is lost."""
        self._foreign_at = at + params["period_s"]
        for frame in FOREIGN:
            at = self._put(line, rtu_bytes(frame), at) + self._silence_s
        if select.select([line], [], [], 0)[0]:
            os.read(line, RECEIVE)
            self._station.counters.line_errors += 1
        return at

    def _put(self, line: int, data: bytes, at: float) -> float:
        """Put bytes on the line from the moment ``at``; return when the last one has gone."""
        data = self._damaged(data)
        for index in range(0, len(data), CHUNK):
            chunk = data[index:index + CHUNK]
            at += len(chunk) * self._byte_s
            self._wait_until(at)
            try:
                os.write(line, chunk)
            except BlockingIOError:
                pass  # nobody reads: a line does not wait for anybody
        self._free_at = at
        return at

    def _wait_until(self, at: float) -> None:
        left_s = at - self._wire.monotonic()
        if left_s > 0:
            self._wire.wait(left_s)

    def _damaged(self, data: bytes) -> bytes:
        noise = self._in_force("noise")
        if noise is None:
            return data
        with self._station.lock:
            return self._station.board.damage(data, noise["p"])

    def _in_force(self, name: str) -> Optional[Params]:
        with self._station.lock:
            return self._station.board.get(name, self._clock.monotonic())


def _speed(baud: int) -> int:
    constant = getattr(termios, f"B{baud}", None)
    if constant is None:
        raise ConfigError(f"serial speed {baud} is not one that this system knows")
    return int(constant)
