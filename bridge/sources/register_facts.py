"""What the register map says about a range that somebody asks for: its space, its pages, how old it may be.

Pure; never reads anything. A page is a block of whole rows as large as a request may be: whoever asks for one
register is answered from its page, so that many clients with many wishes cost a few requests.
"""

from __future__ import annotations

from typing import Container, Dict, List, NamedTuple, Optional, Tuple

from bridge.registers import Register, Vendor
from bridge.registers.plan import Block, Cost, halves, plan

WIDEST = Cost(request_s=1.0, register_s=0.0)  # as few requests as possible


class Ages(NamedTuple):
    """Seconds for which words are served without a question, and for which they are better than none."""

    fresh_s: float
    bound_s: float


CHANGING = Ages(5.0, 15.0)  # ruling 6: a power older than 5 s is no present one
SETTING = Ages(10.0, 60.0)  # changed by people and by the battery commands
CONSTANT = Ages(600.0, 3600.0)  # model, serial number, ratings: until the next firmware


class Fetch(NamedTuple):
    """One request that would bring a range.

    ``page`` is None when it is exactly what was asked for; ``refused`` is then the page that was rejected, if one was.
    """

    address: int
    count: int  # type: ignore[assignment]  # shadows tuple.count, which nobody calls on a fetch
    page: Optional[Block]
    refused: Optional[Block] = None

    def covers(self, address: int, count: int) -> bool:
        """Say whether the range is part of this request."""
        return self.address <= address and address + count <= self.address + self.count


class RegisterFacts:
    """The register map by wire address; ``offset`` is what is added to printed numbers."""

    def __init__(self, vendor: Vendor, offset: int) -> None:
        self._vendor, self._offset = vendor, offset
        self._words: Dict[int, Tuple[Optional[str], Ages]] = {}
        for row in vendor.rows:
            ages = ages_of(row)
            for address in range(row.address + offset, row.end + offset):
                space, known = self._words.get(address, (row.space, ages))
                self._words[address] = (row.space if space == row.space else None, min(ages, known))

    def space(self, address: int, asked: str) -> str:
        """Return the space of a wire address: the plant does not care which read function is used (FC03 or FC04)."""
        known = self._words.get(address)
        return asked if known is None or known[0] is None else known[0]

    def ages(self, address: int, count: int) -> Ages:
        """Return how old the words of a range may be: the strictest of them counts."""
        words = self._words
        strictest = CONSTANT
        for number in range(address, address + count):
            known = words.get(number)
            if known is None or known[1] is CHANGING:
                return CHANGING
            strictest = min(strictest, known[1])
        return strictest

    def pages(self) -> Pages:
        """Return the pages of one unit, all of them believed in."""
        return Pages(plan([row for row in self._vendor.rows if row.access != "wo"], WIDEST, self._vendor), self._offset)


class Pages:
    """The pages of one unit; one that the device rejects is halved once a part of it is known to answer."""

    def __init__(self, blocks: Tuple[Block, ...], offset: int) -> None:
        self._blocks: List[Block] = list(blocks)
        self._offset = offset

    def fetch(self, space: str, address: int, count: int, refused: Container[Block]) -> Fetch:
        """Return the request for a range: its page, unless the range lies in none or the page was refused."""
        for block in self._blocks:
            page = Fetch(block.address + self._offset, block.count, block)
            if block.space == space and page.covers(address, count):
                return Fetch(address, count, None, block) if block in refused else page
        return Fetch(address, count, None)

    def halve(self, page: Block) -> None:
        """Take note that a part of a rejected page answers: some registers of it are missing on this firmware."""
        if page in self._blocks and len(page.rows) > 1:
            at = self._blocks.index(page)
            self._blocks[at:at + 1] = halves(page)


def ages_of(row: Register) -> Ages:
    """Return how old the words of a row may be."""
    if row.access == "rw":
        return SETTING
    if row.kind == "string" or row.name.startswith("rated_") or "_rated_" in row.name:
        return CONSTANT
    return CHANGING
