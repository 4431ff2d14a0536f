"""Which blocks are asked for in which cycle."""

from __future__ import annotations

from bridge.registers import sigenergy, vendor_from
from bridge.registers.plan import TCP_COST, rtu_cost
from bridge.sources.modbus import FAST_ROLES, SLOW_ON_A_LINE
from bridge.sources.polling import Polling

VENDOR = vendor_from(sigenergy)


def polling(budget=2, cost=TCP_COST, slow=frozenset()):
    return Polling(VENDOR, FAST_ROLES, cost, budget, 0.0, slow)


def asked(plan, now):
    return [(slot.block.address, slot.block.count) for slot in plan.due(now)]


def test_both_blocks_are_due_every_second_on_tcp():
    plan = polling()
    assert asked(plan, 0) == asked(plan, 1) == [(30000, 39), (30194, 92)]
    assert plan.describe() == "30000+39 30194+92"


def test_one_request_a_second_gives_the_second_block_every_fifth_turn():
    plan = polling(budget=1)
    turns = [asked(plan, second) for second in range(20)]
    assert all(len(turn) == 1 for turn in turns)
    second_block = [second for second, turn in enumerate(turns) if turn == [(30194, 92)]]
    assert [b - a for a, b in zip(second_block, second_block[1:])] == [5] * (len(second_block) - 1)
    assert len(second_block) >= 3


def test_a_serial_line_asks_for_the_idle_rows_once_a_minute():
    plan = polling(3, rtu_cost(38400), SLOW_ON_A_LINE)
    turns = [asked(plan, second) for second in range(121)]
    assert turns[2:60] == [[(30000, 39), (30284, 2)]] * 58
    assert [second for second, turn in enumerate(turns) if (30194, 2) in turn] == [0, 60, 120]
    plan.hurry("third_party_pv_w")
    assert any(address == 30194 for address, _ in asked(plan, 122))


def test_bisection_never_exceeds_the_budget_and_finds_what_is_missing():
    plan, missing_from, requests = polling(), 30194, []
    for second in range(12):
        slots = plan.due(second)
        requests.append(len(slots))
        for slot in slots:
            if slot.block.address + slot.block.count > missing_from:
                plan.rejected(slot, second)
    assert max(requests) <= 2
    assert {row.address for row in plan.missing} == {30194, 30280, 30284}
    assert asked(plan, 20) == [(30000, 39)]


def test_what_is_missing_is_asked_for_daily_and_after_a_reconnect_but_not_within_the_hour():
    plan = polling()
    for second in range(12):
        for slot in plan.due(second):
            if slot.block.address >= 30194:
                plan.rejected(slot, second)
    plan.reconnected(1800)
    plan.refresh(1800)
    assert plan.missing and asked(plan, 1801) == [(30000, 39)]
    plan.reconnected(3700)
    assert not plan.missing and (30194, 92) in asked(plan, 3701)
    for slot in plan.due(3702):
        if slot.block.address >= 30194:
            plan.rejected(slot, 3702)
    for second in range(3703, 3712):
        for slot in plan.due(second):
            if slot.block.address >= 30194:
                plan.rejected(slot, second)
    plan.refresh(3711 + 86_400 - 20)
    assert plan.missing
    plan.refresh(3711 + 86_400 + 20)
    assert not plan.missing


def test_a_registers_list_without_a_row_for_a_role_is_no_problem():
    small = VENDOR._replace(roles={"grid_w": "grid_active_power"})
    assert [slot.block.address for slot in Polling(small, FAST_ROLES, TCP_COST, 2, 0.0).due(0)] == [30005]
