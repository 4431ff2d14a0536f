"""Words are handed out as the plant sent them: of one moment, uncut, or not at all."""

from __future__ import annotations

import struct

import pytest

from bridge.sources.register_memory import MOST_BLOCKS, MOST_GROUPS, SAME_MOMENT_S, RegisterMemory


def block(first, count):
    return struct.pack(f">{count}H", *range(first, first + count))


@pytest.fixture
def memory():
    return RegisterMemory()


def test_a_part_of_a_block_is_cut_out_of_it(memory):
    memory.remember(247, "input", 30000, block(0, 39), 100.0)
    assert memory.find(247, "input", 30005, 2, 99.0) == (block(5, 2), 100.0)
    assert memory.find(247, "input", 30000, 39, 99.0).data == block(0, 39)


def test_what_lies_beyond_the_block_elsewhere_or_before_is_unknown(memory):
    memory.remember(247, "input", 30000, block(0, 39), 100.0)
    assert memory.find(247, "input", 30030, 10, 99.0) is None
    assert memory.find(247, "input", 29999, 2, 99.0) is None
    assert memory.find(247, "holding", 30005, 2, 99.0) is None
    assert memory.find(1, "input", 30005, 2, 99.0) is None
    assert memory.find(247, "input", 30005, 2, 100.1) is None


def test_the_youngest_of_several_blocks_counts(memory):
    memory.remember(247, "input", 30000, block(0, 39), 100.0)
    memory.remember(247, "input", 30000, block(500, 124), 103.0)
    assert memory.find(247, "input", 30005, 2, 99.0) == (block(505, 2), 103.0)
    memory.remember(247, "input", 30000, block(7, 39), 104.0)
    assert memory.find(247, "input", 30005, 2, 99.0).mono == 104.0
    assert memory.find(247, "input", 30005, 100, 99.0).mono == 103.0


def test_neighbours_of_one_cycle_are_joined_and_the_older_one_tells_the_age(memory):
    memory.remember(247, "input", 30000, block(0, 20), 100.0)
    memory.remember(247, "input", 30020, block(20, 19), 100.2)
    assert memory.find(247, "input", 30018, 4, 99.0) == (block(18, 4), 100.0)
    assert memory.find(247, "input", 30000, 39, 99.0) == (block(0, 39), 100.0)
    assert memory.find(247, "input", 30000, 40, 99.0) is None


def test_neighbours_of_two_moments_are_not_joined(memory):
    memory.remember(247, "input", 30000, block(0, 20), 100.0)
    memory.remember(247, "input", 30020, block(20, 19), 100.0 + SAME_MOMENT_S + 0.01)
    assert memory.find(247, "input", 30018, 4, 99.0) is None


def test_a_value_that_a_client_cut_in_half_is_never_put_together_again(memory):
    memory.remember(247, "input", 30005, block(5, 1), 100.0, whole=False)
    memory.remember(247, "input", 30006, block(6, 1), 100.1, whole=False)
    assert memory.find(247, "input", 30005, 2, 99.0) is None
    assert memory.find(247, "input", 30006, 1, 99.0).data == block(6, 1)


def test_memory_is_bounded_and_forgets_the_oldest(memory):
    for number in range(3 * MOST_BLOCKS):
        memory.remember(247, "input", number, block(number, 1), float(number))
    assert memory.find(247, "input", 0, 1, -1.0) is None
    assert memory.find(247, "input", 3 * MOST_BLOCKS - 1, 1, -1.0) is not None
    assert memory.find(247, "input", 2 * MOST_BLOCKS, 1, -1.0) is not None
    for unit in range(1, 2 * MOST_GROUPS):
        memory.remember(unit, "holding", 1, block(1, 1), 1000.0 + unit)
    assert memory.find(247, "input", 3 * MOST_BLOCKS - 1, 1, -1.0) is None
    assert memory.find(2 * MOST_GROUPS - 1, "holding", 1, 1, -1.0) is not None
