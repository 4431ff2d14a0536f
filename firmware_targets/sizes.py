"""What each package takes on the flash of a router: its files and what is compiled from them.

Never measures anything installed: compiles in memory, with the Python at hand.
"""

from __future__ import annotations

import marshal
import warnings
from pathlib import Path
from typing import Iterator, List, NamedTuple

from firmware_targets import contents, ipk
from firmware_targets.entries import Entry, size

PYC_HEADER = 16  # PEP 552
RS485 = "sigen-bridge-rs485"
CORE_AND_RS485_KIB = 4096  # the budget of both together


class Size(NamedTuple):
    """The size of a package, in KiB."""

    name: str
    files_kib: float
    compiled_kib: float
    budget_kib: int

    @property
    def total_kib(self) -> float:
        """What is on the flash in the end."""
        return self.files_kib + self.compiled_kib


def installed(cache: Path) -> Iterator[Size]:
    """Yield the size of every package, then of core and RS485 together."""
    sizes: List[Size] = []
    for name, part in contents.parts().items():
        files = ipk.data(name, cache)
        row = Size(name, size(files) / 1024, compiled(files) / 1024, part.budget_kib)
        sizes.append(row)
        yield row
    both = [row for row in sizes if row.name in (contents.CORE, RS485)]
    yield Size(
        f"{contents.CORE} + {RS485}",
        sum(row.files_kib for row in both),
        sum(row.compiled_kib for row in both),
        CORE_AND_RS485_KIB,
    )


def compiled(files: List[Entry]) -> int:
    """Return the bytes that the compiled modules of ``files`` take."""
    total = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # third-party modules may have escapes that newer Pythons frown at
        for entry in files:
            if entry.path.endswith(".py") and entry.path.startswith(contents.LIBRARY):
                code = compile(entry.content, "/" + entry.path, "exec", dont_inherit=True)
                total += PYC_HEADER + len(marshal.dumps(code))
    return total
