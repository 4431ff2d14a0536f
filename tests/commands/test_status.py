"""``status``: what it says of the parts that run beside the poll."""

from __future__ import annotations

import pytest

from bridge.commands.status import beside

FAILOVER = {"state": "cloud", "for_s": 125, "local_error": "modbus 192.0.2.7:502: refused", "cloud_error": None}
PUSHES = {"state": "live", "messages": 7, "error": None, "system": {"systemStatus": "running"}}
COMMAND = {"text": "charge with 2000 W", "state": "held", "ends_in_s": 1480, "error": None}
SERVER = {"listen": "127.0.0.1:1502", "clients": 2, "requests": 31, "refused": 1, "no_turn": 0}


@pytest.mark.parametrize(("part", "line"), [
    ({"failover": FAILOVER}, "failover cloud for 125 s; plant: modbus 192.0.2.7:502: refused"),
    ({"sigen_mqtt": PUSHES}, "pushes   live, 7 messages, systemStatus running"),
    ({"sigen_mqtt": {**PUSHES, "state": "broken", "error": "no route"}},
     "pushes   broken, 7 messages, systemStatus running; no route"),
    ({"control": COMMAND}, "command  charge with 2000 W (held), ends in 1480 s"),
    ({"control": {**COMMAND, "ends_in_s": None, "error": "it resists"}}, "command  charge with 2000 W (held); it resists"),
    ({"reserver": SERVER}, "reserver 127.0.0.1:1502: 2 connected, 31 requests, 1 writes refused, 0 had to ask again"),
])
def test_each_part_has_a_line(part, line):
    assert list(beside(part)) == [line]


def test_what_is_not_there_has_none():
    assert not list(beside({"failover": None, "sigen_mqtt": None, "control": None}))
