"""Which blocks to read: from rows and what a request costs on this link to the cheapest list.

Never reads anything itself. A block joins rows only inside a span that the vendor is known to answer
as a whole, because one unknown register makes a device reject the entire range (exception 2).
"""

from __future__ import annotations

from typing import Dict, List, NamedTuple, Sequence, Tuple

from bridge.registers import Register, Vendor


class Cost(NamedTuple):
    """Seconds that a request costs on a link, whatever its size, and each register on top."""

    request_s: float
    register_s: float


class Block(NamedTuple):
    """One read request: ``count`` registers from ``address``, carrying ``rows``."""

    scope: str
    space: str
    address: int
    count: int  # type: ignore[assignment]  # shadows tuple.count, which nobody calls on a row
    rows: Tuple[Register, ...]

    def words_of(self, row: Register, words: Sequence[int]) -> Sequence[int]:
        """Cut the words of one row out of the words of this block."""
        start = row.address - self.address
        return words[start:start + row.count]


TCP_COST = Cost(request_s=0.020, register_s=0.00002)  # turn-around dominates on a LAN


def rtu_cost(baud: int, turnaround_s: float = 0.010) -> Cost:
    """Return the wire cost of RTU 8N1: 8 bytes out, 5 + 2n back, two gaps of 3.5 characters."""
    byte_s = 10.0 / baud
    gap_s = max(3.5 * byte_s * 1.1, 0.00175)
    return Cost(13 * byte_s + turnaround_s + 2 * gap_s, 2 * byte_s)


def plan(rows: Sequence[Register], cost: Cost, vendor: Vendor) -> Tuple[Block, ...]:
    """Return the cheapest blocks that cover ``rows``, in address order."""
    groups: Dict[Tuple[str, str, Tuple[int, int]], List[Register]] = {}
    for row in sorted(set(rows), key=lambda r: r.address):
        groups.setdefault((row.scope, row.space, _span(row, vendor)), []).append(row)
    blocks: List[Block] = []
    for (scope, space, _), members in groups.items():
        blocks.extend(_cheapest(scope, space, members, cost, vendor.max_read))
    return tuple(sorted(blocks, key=lambda b: (b.scope, b.space, b.address)))


def block_of(rows: Sequence[Register]) -> Block:
    """Return the block that spans ``rows`` (same scope and space, any order)."""
    ordered = tuple(sorted(rows, key=lambda r: r.address))
    first = ordered[0]
    return Block(first.scope, first.space, first.address, max(r.end for r in ordered) - first.address, ordered)


def halves(block: Block) -> Tuple[Block, ...]:
    """Split a rejected block between two rows, at the widest hole; a single row stays whole."""
    rows = block.rows
    if len(rows) < 2:
        return (block_of(rows),)
    middle = len(rows) / 2
    cut = max(
        range(1, len(rows)),
        key=lambda i: (rows[i].address - rows[i - 1].end, -abs(i - middle)),
    )
    return block_of(rows[:cut]), block_of(rows[cut:])


def _span(row: Register, vendor: Vendor) -> Tuple[int, int]:
    for scope, space, first, last in vendor.readable:
        if scope == row.scope and space == row.space and first <= row.address and row.end - 1 <= last:
            return first, last
    return row.address, row.end - 1


def _cheapest(
    scope: str, space: str, rows: List[Register], cost: Cost, max_read: int
) -> List[Block]:
    best: List[Tuple[float, int]] = [(0.0, 0)]
    for stop in range(1, len(rows) + 1):
        options = []
        for start in range(stop - 1, -1, -1):
            count = rows[stop - 1].end - rows[start].address
            if count > max_read:
                break
            price = best[start][0] + cost.request_s + count * cost.register_s
            options.append((price, start))
        if not options:  # one row longer than a request may be: the device decides
            options.append((best[stop - 1][0] + cost.request_s, stop - 1))
        best.append(min(options))
    blocks: List[Block] = []
    stop = len(rows)
    while stop:
        start = best[stop][1]
        blocks.append(block_of(rows[start:stop]))
        stop = start
    return blocks
