"""How far a search is, told on standard error: one line on a terminal, else one now and then.

Never says anything on standard output, which belongs to the findings.
"""

from __future__ import annotations

import sys
from typing import Optional, Sized

from bridge.clock import Clock

PROGRESS_S = 2.0  # between two lines where there is no terminal to rewrite one on


class Progress:
    """Tells on standard error how far the search is: one line on a terminal, else one now and then."""

    def __init__(self, clock: Clock) -> None:
        self.quiet = False
        self._clock = clock
        self._begun = self._told = clock.monotonic()
        self._terminal = sys.stderr.isatty()

    def __call__(self, what: str, asked: int, total: int, found: int) -> None:
        now = self._clock.monotonic()
        due = self._terminal or asked == total or now - self._told >= PROGRESS_S
        if not self.quiet and due and total:
            self._told = now
            self._say(f"{now - self._begun:5.1f} s  {what}: {asked} of {total} asked, {found} found")

    def done(self, shellys: Sized, plants: Optional[Sized] = None) -> None:
        """Tell that the search is over."""
        elapsed_s = self._clock.monotonic() - self._begun
        sigenergy = "" if plants is None else f"{len(plants)} Sigenergy, "
        self._say(f"{elapsed_s:5.1f} s  done: {sigenergy}{len(shellys)} Shelly")
        if self._terminal:
            sys.stderr.write("\n")

    def _say(self, text: str) -> None:
        sys.stderr.write(f"\r{text:<70}" if self._terminal else f"{text}\n")
        sys.stderr.flush()
