"""Which blocks are read."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bridge.registers import sigenergy, vendor_from
from bridge.registers.plan import TCP_COST, Cost, halves, plan, rtu_cost

VENDOR = vendor_from(sigenergy)
SIGNALS = [VENDOR.role(role) for role in VENDOR.roles]
READABLE_ROWS = [row for row in VENDOR.rows if row.access != "wo"]


def spans(blocks):
    return [(block.address, block.count) for block in blocks]


def test_the_five_signals_are_two_requests_on_tcp():
    assert spans(plan(SIGNALS, TCP_COST, VENDOR)) == [(30000, 39), (30194, 92)]


def test_a_serial_line_does_not_carry_holes_it_does_not_need():
    assert spans(plan(SIGNALS, rtu_cost(38400), VENDOR)) == [(30000, 39), (30194, 2), (30280, 6)]


def test_blocks_never_bridge_an_undocumented_hole():
    inverter = [row for row in READABLE_ROWS if row.scope == "inverter"]
    for block in plan(inverter, Cost(1.0, 0.0), VENDOR):
        assert not block.address <= 30624 < block.address + block.count


@given(st.lists(st.sampled_from(READABLE_ROWS), min_size=1, max_size=60, unique=True),
       st.floats(0, 1), st.floats(0, 0.1))
def test_every_plan_covers_its_rows_within_the_limits(rows, request_s, register_s):
    blocks = plan(rows, Cost(request_s, register_s), VENDOR)
    covered = [row for block in blocks for row in block.rows]
    assert sorted(covered) == sorted(rows)
    for block in blocks:
        assert block.count <= 124
        for row in block.rows:
            assert block.address <= row.address and row.end <= block.address + block.count
            assert row.scope == block.scope and row.space == block.space


def test_words_are_cut_out_where_the_row_is():
    block = plan(SIGNALS, TCP_COST, VENDOR)[0]
    words = list(range(30000, 30039))
    assert block.words_of(VENDOR.row("grid_active_power"), words) == [30005, 30006]


def test_a_rejected_block_is_split_between_rows_until_single_rows():
    pending, singles = [plan(SIGNALS, TCP_COST, VENDOR)[1]], []
    while pending:
        block = pending.pop()
        parts = halves(block)
        if len(parts) == 1:
            singles.append(parts[0])
        pending += parts if len(parts) > 1 else ()
    assert sorted(spans(singles)) == [(30194, 2), (30280, 1), (30284, 2)]
