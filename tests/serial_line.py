"""A serial line of a test's own: a pty on which somebody may speak without being asked."""

from __future__ import annotations

import os
import threading
import tty

from bridge.sim.modbus_frames import Frame, rtu_bytes

TO_ALL = rtu_bytes(Frame(0, b"\x06\x9c\x5f\x00\x02"))  # what the gateway's P6 says: unit 0 is a broadcast
TO_THREE = rtu_bytes(Frame(3, b"\x04\x77\x24\x00\x02")) + rtu_bytes(Frame(3, b"\x04\x04\0\0\x0a\xf0"))


class Talk:
    """Writes ``words`` every ``period_s`` until left; with ``gone_after_s`` the line then vanishes."""

    def __init__(self, words=b"", period_s=0.02, gone_after_s=None):
        self._words, self._period_s, self._gone_after_s = words, period_s, gone_after_s
        self._stop = threading.Event()

    def __enter__(self):
        self._ours, self._theirs = os.openpty()
        tty.setraw(self._theirs)
        os.set_blocking(self._ours, False)
        self.tty = os.ttyname(self._theirs)
        self._thread = threading.Thread(target=self._talk, daemon=True)
        self._thread.start()
        return self

    def _talk(self):
        if self._gone_after_s is not None:
            os.close(self._theirs)
            self._stop.wait(self._gone_after_s)
            os.close(self._ours)
            return
        while not self._stop.wait(self._period_s):
            try:
                os.write(self._ours, self._words)
            except BlockingIOError:
                continue  # nobody reads

    def __exit__(self, *exc):
        self._stop.set()
        self._thread.join()
        if self._gone_after_s is None:
            os.close(self._ours)
            os.close(self._theirs)
