"""Decoding a block at once says what decoding row by row says."""

from __future__ import annotations

import struct

from hypothesis import given
from hypothesis import strategies as st

from bridge.registers import decode, sigenergy, vendor_from
from bridge.registers.layout import Layout
from bridge.registers.plan import TCP_COST, plan

VENDOR = vendor_from(sigenergy)
BLOCKS = plan([row for row in VENDOR.rows if row.access != "wo"], TCP_COST, VENDOR)
EDGES = st.sampled_from([0, 1, 0x7FFF, 0x8000, 0xFFFF, 0xFFFE]) | st.integers(0, 0xFFFF)


@given(st.sampled_from(BLOCKS), st.data())
def test_a_block_decodes_as_its_rows_do(block, data):
    words = data.draw(st.lists(EDGES, min_size=block.count, max_size=block.count))
    layout = Layout(block, block.rows)
    expected = [decode(row, block.words_of(row, words)) for row in layout.rows]
    assert layout.values(struct.pack(f">{block.count}H", *words)) == expected


def test_rows_may_be_a_part_of_the_block():
    block = BLOCKS[-3]
    row = block.rows[-1]
    data = bytes(2 * (block.count - row.count)) + b"\x00\x07" * row.count
    assert Layout(block, [row]).values(data) == [decode(row, [7] * row.count)]
