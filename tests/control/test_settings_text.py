"""Settings go into a file without disturbing what else is there."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge import ini, uci
from bridge.control.settings_text import shown_changes, with_settings
from tests.test_house import ROOT

EXAMPLE = (ROOT / "init" / "conf" / "sigen-bridge.ini").read_text("utf-8")
UCI_EXAMPLE = (ROOT / "init" / "conf" / "sigen-bridge.uci").read_text("utf-8")
CHANGES = {"modbus.host": "192.168.8.105", "shelly.host": "192.168.8.110", "shelly.mac": "AABBCCDDEEFF"}
ONE_LINE = st.text(st.characters(blacklist_categories=("Cs", "Cc", "Zl", "Zp")), max_size=20)


def options(content, parse):
    return {f"{option.section}.{option.name}": option.value for option in parse(content)}


def test_the_example_gets_its_commented_lines_filled_in():
    after = with_settings(EXAMPLE, CHANGES)
    assert options(after, ini.parse) == CHANGES
    assert "host = 192.168.8.105\n#port = 502" in after
    assert "#host" not in after
    assert len(after.splitlines()) == len(EXAMPLE.splitlines()) + 1  # the MAC has no line in the example


def test_the_uci_example_too():
    after = with_settings(UCI_EXAMPLE, CHANGES, uci=True)
    assert options(after, uci.parse) == {"main.enabled": "0", **CHANGES}


def test_an_empty_file_gets_sections():
    assert with_settings("", CHANGES) == (
        "[modbus]\nhost = 192.168.8.105\n\n[shelly]\nhost = 192.168.8.110\nmac = AABBCCDDEEFF\n")
    assert options(with_settings("", CHANGES, uci=True), uci.parse) == CHANGES


def test_an_active_line_is_replaced_where_it_stands_even_behind_a_comment():
    before = "[modbus]\n#host = a\nport = 1\nhost = b\n\n[shelly]\nhost = c\n"
    assert with_settings(before, {"modbus.host": "d"}) == before.replace("host = b", "host = d")


def test_the_same_name_in_another_section_is_left_alone():
    before = "[shelly]\nhost = c\n"
    assert with_settings(before, {"modbus.host": "d"}) == "[shelly]\nhost = c\n\n[modbus]\nhost = d\n"


def test_doing_it_twice_changes_nothing_more():
    once = with_settings(EXAMPLE, CHANGES)
    assert with_settings(once, CHANGES) == once


@given(ONE_LINE)
def test_any_value_of_one_line_comes_back_as_it_was(value):
    assert options(with_settings(EXAMPLE, {"shelly.password": value}), ini.parse)["shelly.password"] == value
    assert options(with_settings(UCI_EXAMPLE, {"shelly.password": value}, True), uci.parse)["shelly.password"] == value


def test_a_value_of_two_lines_is_refused():
    with pytest.raises(ValueError, match="one line"):
        with_settings("", {"modbus.host": "a\n[control]\nenabled = yes"})


def test_changes_are_shown_without_secrets():
    before = with_settings(EXAMPLE, {"shelly.password": "old secret"})
    after = with_settings(before, {"shelly.password": "new secret", "modbus.host": "192.168.8.105"})
    shown = shown_changes(before, after, "file", ["password", "token"])
    assert shown == ["-#host = 192.168.1.105", "+host = 192.168.8.105", "-password = (not shown)", "+password = (not shown)"]
    uci_shown = shown_changes("", "\toption password 'new secret'\n", "file", ["password"])
    assert "secret" not in "".join(uci_shown)
