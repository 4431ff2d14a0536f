"""What is remembered of Shellys, and when one is called offline."""

from __future__ import annotations

import json

import pytest

from bridge.control.discovery import Shelly
from bridge.control.discovery_memory import OFFLINE_AFTER, Memory, Poll, found_data, found_lines

KITCHEN = Shelly("192.168.8.30", "AABBCCDDEEFF", "shellypro2-aabbccddeeff", "", "Kitchen board", "", "SPSW-202XE16EU",
                 "Pro2", 2, "1.7.5", False)
GARAGE = Shelly("192.168.8.31", "AABBCC000002", "shellyplus1-aabbcc000002")


def kinds(events):
    return [event.kind for event in events]


def test_a_device_is_new_once_and_never_again():
    memory = Memory()
    assert kinds(memory.saw([KITCHEN, GARAGE])) == ["new", "new"]
    assert memory.saw([KITCHEN]) == [] and memory.saw([GARAGE, KITCHEN]) == []


def test_what_is_remembered_outlives_the_process():
    memory = Memory()
    memory.saw([KITCHEN])
    memory.polled([Poll(KITCHEN.mac, "no answer")])
    again = Memory(json.loads(json.dumps(memory.content())), json.loads(json.dumps(memory.polls())))
    assert again.saw([]) == [] and again.content() == memory.content() and again.failed == memory.failed
    assert again.devices[KITCHEN.mac]._replace(auth=False) == KITCHEN


def test_one_is_offline_after_three_failed_polls_in_a_row_and_not_before():
    memory = Memory()
    memory.saw([KITCHEN])
    told = [memory.polled([Poll(KITCHEN.mac, f"reason {turn}")]) for turn in range(5)]
    assert [kinds(events) for events in told] == [[], [], ["offline"], [], []]
    assert told[2][0].text == "Kitchen board is offline: 3 polls failed, reason 2"
    assert OFFLINE_AFTER == 3


def test_an_answer_in_between_begins_the_count_anew():
    memory = Memory()
    memory.saw([KITCHEN])
    for _ in range(10):
        for reason in ("lost", "lost", ""):
            assert memory.polled([Poll(KITCHEN.mac, reason)]) == []
    assert memory.state(KITCHEN.mac) == "online"


@pytest.mark.parametrize("by", ["poll", "search"])
def test_it_is_said_once_that_one_is_back(by):
    memory = Memory()
    memory.saw([KITCHEN])
    for _ in range(4):
        memory.polled([Poll(KITCHEN.mac, "lost")])
    moved = KITCHEN._replace(ip="192.168.8.99")
    events = memory.polled([Poll(KITCHEN.mac)]) if by == "poll" else memory.saw([moved])
    assert kinds(events) == ["back"] and "Kitchen board is back at 192.168.8." in events[0].text
    assert memory.polled([Poll(KITCHEN.mac)]) == []


def test_a_new_address_is_told_and_the_mac_is_the_identity():
    memory = Memory()
    memory.saw([KITCHEN])
    events = memory.saw([KITCHEN._replace(ip="192.168.8.40", nick="Renamed")])
    assert events[0].text == "Renamed moved from 192.168.8.30 to 192.168.8.40" and len(memory.devices) == 1


def test_one_without_a_mac_is_not_remembered():
    memory = Memory()
    assert memory.saw([Shelly("192.168.8.9")]) == [] and memory.devices == {}


@pytest.mark.parametrize("word", ["Kitchen board", "kitchen BOARD", "aa:bb:cc:dd:ee:ff", "AABBCCDDEEFF", "192.168.8.30",
                                  "shellypro2-aabbccddeeff"])
def test_one_is_named_by_whatever_the_owner_knows(word):
    memory = Memory()
    memory.saw([KITCHEN, GARAGE])
    assert memory.named(word) == [KITCHEN]
    memory.forget(KITCHEN.mac)
    assert memory.named(word) == [] and memory.named("AABBCC000002") == [GARAGE]


def test_without_a_name_the_id_stands_for_it():
    memory = Memory()
    memory.saw([GARAGE])
    assert memory.named("shellyplus1-aabbcc000002") == [GARAGE]


@pytest.mark.parametrize("content", [None, [], "x", {"devices": [1, {}, {"mac": ""}, {"mac": "A", "ip": 5}, {"mac": "A"}]}])
def test_a_damaged_file_counts_as_empty(content):
    assert Memory(content, {"A": [1, "x"], "B": "?"}).devices == {}


def test_the_list_has_the_absent_with_the_reason_and_null_for_the_undecided():
    memory = Memory()
    memory.saw([KITCHEN, GARAGE])
    memory.polled([Poll(GARAGE.mac, "connection refused")])
    line = found_lines(memory, [KITCHEN], [KITCHEN.mac], [KITCHEN.mac])
    assert line[0].endswith("AABBCCDDEEFF  online, new") and line[1].endswith("not seen: 1 poll failed, connection refused")
    assert [row["online"] for row in found_data(memory, [KITCHEN], [KITCHEN.mac], [])] == [True, None]
    for _ in range(2):
        memory.polled([Poll(GARAGE.mac, "connection refused")])
    assert found_lines(memory, [KITCHEN], [KITCHEN.mac], [])[1].endswith("offline: 3 polls failed, connection refused")
    assert [row["online"] for row in found_data(memory, [KITCHEN], [KITCHEN.mac], [])] == [True, False]
