"""The envelope: real answers, every nesting, and nothing that crashes it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.errors import EXIT_CLOUD
from bridge.peers.envelope import (
    MAX_NESTED_TEXT,
    MAX_TEXT,
    Envelope,
    EnvelopeError,
    decode,
    flag,
    integer,
    number,
    parse,
    text_of,
    unix_s,
    unwrap,
)

FIXTURES = Path(__file__).parent.parent / "fixtures"
REAL = json.loads((FIXTURES / "sigen-openapi-real.json").read_text("utf-8"))["openapi"]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def test_the_real_system_list_is_a_string_inside_data():
    answer = decode(json.dumps(REAL["systems_envelope"]))
    assert answer.code == 0 and answer.msg == "success" and answer.timestamp == 1764870200
    assert answer.data[0]["systemId"] == "ABC123" and answer.data[0]["pvCapacity"] == 9.2


@pytest.mark.parametrize("content", [{"a": 1}, [1, 2], None, False])
def test_data_may_be_an_object_a_list_null_or_false(content):
    assert decode(json.dumps({"code": 0, "msg": "ok", "data": content})).data == content


def test_data_may_be_an_object_inside_a_string():
    text = (
        '{"code":0,"msg":"success",'
        '"data":"{\\"tokenType\\":\\"Bearer\\",\\"accessToken\\":\\"t\\",\\"expiresIn\\":1}"}'
    )
    assert decode(text).data == {"tokenType": "Bearer", "accessToken": "t", "expiresIn": 1}


def test_strings_are_undone_at_every_level():
    row = json.dumps({"attrMap": json.dumps({"a": json.dumps([1, 2])})})
    text = json.dumps({"code": "0", "data": {"records": [row]}})
    assert decode(text).data == {"records": [{"attrMap": {"a": [1, 2]}}]}


def test_the_whole_answer_may_be_a_string():
    assert decode(json.dumps(json.dumps({"code": 1110, "msg": "x"}))).code == 1110


def test_four_wrappers_are_undone_and_a_fifth_is_left():
    text = json.dumps([1])
    for _ in range(3):
        text = json.dumps(text)
    assert unwrap(text) == [1]
    assert isinstance(unwrap(json.dumps(json.dumps(text))), str)


@pytest.mark.parametrize("plain", ["12", "true", "null", "plain", '"quoted"', "{broken", "", " ", '"12"'])
def test_strings_that_hold_no_object_stay_strings(plain):
    assert unwrap(plain) == plain


def test_a_long_string_stays_a_string():
    long = "[" + " " * MAX_NESTED_TEXT + "]"
    assert unwrap({"a": long}) == {"a": long}


def test_an_empty_body_is_an_answer_without_a_code():
    assert decode(" \n") == Envelope(None, "", None, None)


@pytest.mark.parametrize("text", [
    "not json", "[]", "1", "null", "{}", '{"msg":"no code"}', '{"code":null}', '{"code":true}',
    '{"code":"x"}',
    '{"code":1.5}', "{" * 100, "[" * 200_000, '{"code":0', "\x00", "<html></html>", "\ufeff",
    '{"code":' + "9" * 100_000 + "}",
])
def test_what_is_no_answer_is_an_envelope_error(text):
    with pytest.raises(EnvelopeError) as problem:
        decode(text)
    assert problem.value.exit_code == EXIT_CLOUD and "\n" not in str(problem.value)


def test_an_oversized_answer_is_refused_before_it_is_read():
    with pytest.raises(EnvelopeError, match="too long"):
        decode('{"code":0,"msg":"' + "x" * MAX_TEXT + '"}')


def test_numbers_without_end_are_unknown_not_zero():
    assert parse('[NaN, Infinity, -Infinity, 1e999, 1.5]') == [None, None, None, None, 1.5]


def test_deep_structures_do_not_overflow():
    content = "[" * 500 + "]" * 500
    assert isinstance(decode('{"code":0,"data":' + content + "}").data, list)


@given(st.text())
def test_no_text_crashes_it(text):
    try:
        decode(text)
    except EnvelopeError:
        pass


@given(JSON)
def test_no_json_crashes_it(content):
    for whole in (content, {"code": 0, "data": content}, {"code": content}):
        try:
            assert isinstance(decode(json.dumps(whole)), Envelope)
        except EnvelopeError:
            pass


@given(JSON)
def test_no_value_crashes_the_field_readers_or_becomes_a_number_that_it_is_not(content):
    for reader in (number, integer, text_of, flag, unix_s):
        reader(content)
    if content is None or isinstance(content, (bool, list, dict)):
        assert number(content) is None


def test_fields_are_read_from_numbers_and_numeric_strings():
    assert number("3.4") == 3.4 and number(2) == 2.0 and number("x") is None and number("nan") is None
    assert integer("5") == 5 and integer(5.5) is None and integer("8.0") == 8
    assert flag(True) is True and flag(1) is None and text_of(7) == "7" and text_of(None) is None


def test_seconds_and_milliseconds_become_seconds():
    assert unix_s(1711814399) == 1711814399 and unix_s(1746419521000) == 1746419521.0 and unix_s(None) is None
