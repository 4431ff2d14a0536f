"""Brings the plant back into the mode it had before a battery command, through the Sigen app.

Modbus cannot select Sigen AI, time of use or an owner's profile (modbus reference 6.3). Never runs in the thread
that owns the link, and never guesses which of several profiles it was.
"""

from __future__ import annotations

import threading
from typing import Any, Tuple

from bridge.clock import Clock
from bridge.config import Settings
from bridge.control.lease_book import LeaseBook
from bridge.errors import BridgeError, Refused

LOOK_AGAIN_S = (2.0, 5.0, 10.0)  # the plant takes some seconds to follow


class ModeBack:
    """One attempt, in a thread of its own; ``run`` is the same in the caller's."""

    def __init__(self, settings: Settings, clock: Clock, book: LeaseBook) -> None:
        self._settings, self._clock, self._book = settings, clock, book

    def start(self, native: int) -> threading.Thread:
        """Begin, and return the thread."""
        thread = threading.Thread(target=self.run, args=(native,), name="mode-back", daemon=True)
        thread.start()
        return thread

    def run(self, native: int) -> bool:
        """Ask the app for the mode of number ``native``; returns whether the plant is in it."""
        from bridge.wiring_app import sigen_app

        try:
            app = sigen_app(self._settings, self._clock)
            try:
                text, done = self._ask(app, native)
            finally:
                app.close()
        except BridgeError as error:
            text, done = f"mode {native} could not be set through the app: {error}", False
        self._book.mode_set(text, done)
        return done

    def _ask(self, app: Any, native: int) -> Tuple[str, bool]:
        from bridge.peers.sigen_app_modes import AppModes, choice

        modes = AppModes(app)
        found = [mode for mode in modes.listed() if mode.number == native]
        if len(found) != 1:
            names = ", ".join(choice(mode) for mode in found) or "none"
            raise Refused(f"the station offers {names} under number {native}; choose it in the mySigen app")
        if self._book.on_disk() is not None:  # it would end that one, and not come back after it
            raise Refused("another battery command is in force meanwhile; choose the mode in the mySigen app")
        modes.set(found[0])
        for pause_s in LOOK_AGAIN_S:
            self._clock.wait(pause_s)
            if modes.current().number == native:
                return f"{choice(found[0])} is set again through the app", True
        return f"the app took {choice(found[0])}, but the plant is in another mode still", False
