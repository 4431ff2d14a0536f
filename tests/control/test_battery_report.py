"""What a battery command says about tariffs."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from bridge.control.battery_report import suspends


@pytest.mark.parametrize(("mode", "pushed", "words"), [
    (0, False, None), (9, False, None), (1, False, "the tariff"), (2, False, "the tariff"),
    (0, True, "the tariff that was pushed"), (1, True, "the tariff that was pushed"),
])
def test_a_command_says_what_it_suspends(mode, pushed, words):
    found = suspends(SimpleNamespace(native_mode=mode), pushed)
    assert len(found) == (words is not None) and (words is None or found[0].endswith(f"does not follow {words}"))
