"""What the bridge remembers of the plant's registers: blocks of words, each of one moment.

Never makes up a word, and never joins blocks of two moments or of half a value: what cannot be answered from
memory as one device would answer it is not in memory.
"""

from __future__ import annotations

import threading
from typing import Dict, List, NamedTuple, Optional, Tuple

MOST_BLOCKS = 48  # of one unit and space: the plant's map is 9 requests long, the rest are clients' own cuts
MOST_GROUPS = 24  # units times spaces
SAME_MOMENT_S = 0.5  # blocks of one polling cycle; a balance of older parts does not close


class Piece(NamedTuple):
    """Bytes of registers as the plant sent them, and the monotonic moment of the older part."""

    data: bytes
    mono: float


class _Held(NamedTuple):
    address: int
    end: int
    data: bytes
    mono: float
    whole: bool


class RegisterMemory:
    """Blocks by unit, space and wire address; for any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._groups: Dict[Tuple[int, str], Dict[Tuple[int, int], _Held]] = {}

    def remember(self, unit: int, space: str, address: int, data: bytes, mono: float, whole: bool = True) -> None:
        """Take in the answer to one request; ``whole`` says that no value is cut at either end."""
        end = address + len(data) // 2
        key = (address, end)
        with self._lock:
            group = self._groups.get((unit, space))
            if group is None:
                if len(self._groups) >= MOST_GROUPS:
                    del self._groups[min(self._groups, key=lambda name: _newest(self._groups[name]))]
                group = self._groups[unit, space] = {}
            elif len(group) >= MOST_BLOCKS and key not in group:
                del group[min(group, key=lambda name: group[name].mono)]
            group[key] = _Held(address, end, data, mono, whole)

    def find(self, unit: int, space: str, address: int, count: int, not_before: float) -> Optional[Piece]:
        """Return ``count`` registers that are not older than the moment ``not_before``, or None."""
        with self._lock:
            group = self._groups.get((unit, space))
            held = [] if group is None else [block for block in group.values() if block.mono >= not_before]
        end = address + count
        around = [block for block in held if block.address <= address and end <= block.end]
        if around:
            best = max(around, key=lambda block: block.mono)
            start = 2 * (address - best.address)
            return Piece(best.data[start:start + 2 * count], best.mono)
        return _joined([block for block in held if block.whole], address, end)


def _newest(group: Dict[Tuple[int, int], _Held]) -> float:
    return max(block.mono for block in group.values())


def _joined(held: List[_Held], address: int, end: int) -> Optional[Piece]:
    """Join neighbours of one moment that lie end to end."""
    parts: List[_Held] = []
    at = address
    while at < end:
        fits = [
            block for block in held
            if (block.address <= at < block.end if not parts else block.address == at)
            and all(abs(block.mono - part.mono) <= SAME_MOMENT_S for part in parts)
        ]
        if not fits:
            return None
        best = max(fits, key=lambda block: (block.end, block.mono))
        parts.append(best)
        at = best.end
    data = b"".join(part.data for part in parts)
    start = 2 * (address - parts[0].address)
    return Piece(data[start:start + 2 * (end - address)], min(part.mono for part in parts))
