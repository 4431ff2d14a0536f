"""The explanations: complete, without contradictions, and never at a loss for a near word."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge import errors
from bridge.errors import ConfigError
from bridge.peers.explanations import Explanations, load_texts
from bridge.peers.sigen_codes import CODES, MODES
from bridge.peers.sigen_modes import folded
from bridge.registers import sigenergy, vendor_from
from bridge.settings import SETTINGS

BOOK = Explanations(vendor_from(sigenergy), load_texts())


def found(*words):
    return BOOK.find(words)


@pytest.mark.parametrize("row", CODES, ids=lambda row: str(row.code))
def test_every_error_code_is_explained_by_the_table_the_client_uses(row):
    entry, = found(str(row.code))
    assert entry.title == row.meaning and dict(entry.facts)["do"] == row.advice
    assert found("code", str(row.code)) == found("error", str(row.code)) == [entry]
    assert entry.text


def test_every_kind_of_code_has_its_text_and_no_text_is_idle():
    texts = load_texts()
    assert set(texts["kinds"]) == {row.kind for row in CODES}
    assert set(texts["codes"]) <= {str(row.code) for row in CODES}
    assert set(texts["modes"]) == {row.word for row in MODES}


@pytest.mark.parametrize("row", MODES, ids=lambda row: row.word)
def test_every_mode_is_explained_by_word_number_and_label(row):
    for words in (row.word, f"mode {row.word}", f"mode {row.number}", row.label):
        entry, = found(words)
        assert entry.kind == "operating mode" and entry.title == row.label


def test_every_exit_code_is_explained():
    codes = {number for name, number in vars(errors).items() if name.startswith("EXIT_")}
    assert codes == {row["number"] for row in load_texts()["exits"]}
    for number in codes:
        assert found(f"exit {number}")[0].kind == "exit code"


@pytest.mark.parametrize("status", [401, 403, 404, 424, 429])
def test_http_statuses_are_found_with_and_without_the_word(status):
    assert found(str(status)) == found("http", str(status)) == found("HTTP status", str(status))


@pytest.mark.parametrize("number", [1, 2, 3, 4, 5, 6, 8, 10, 11])
def test_modbus_exceptions_are_explained(number):
    assert found("exception", str(number))[0].kind == "Modbus exception"


@pytest.mark.parametrize("entry", BOOK.entries, ids=lambda entry: entry.words[0])
def test_every_reference_leads_somewhere(entry):
    for word in entry.see:
        assert found(word)[0] != entry or entry.words[0] == word, word


def test_no_word_has_two_meanings():
    seen = {}
    for entry in BOOK.entries:
        for word in {folded(one) for one in entry.words}:
            assert word not in seen, f"{word}: {entry.title} and {seen[word]}"
            seen[word] = entry.title


def test_settings_that_are_named_exist():
    """A text must not send the reader to a setting that there is not."""
    keys = {row.key for row in SETTINGS}
    sections = {key.split(".")[0] for key in keys}
    for entry in BOOK.entries:
        for text in (*entry.text, *(fact for _, fact in entry.facts)):
            for word in text.replace("(", " ").split():
                word = word.strip(",.;:()")
                section, dot, name = word.partition(".")
                if dot and section in sections and name.isidentifier() and word != "control.enabled":
                    assert word in keys, f"{entry.words[0]}: {word}"


def test_every_register_is_explained_with_its_unit_and_writability():
    for row in sigenergy.ROWS:
        facts = [dict(entry.facts) for entry in found(str(row.address)) if entry.words[1] == row.name]
        assert len(facts) == 1
        assert facts[0]["unit"].startswith(row.unit or "no unit") and row.since in facts[0]["since"]
        assert ("read only" in facts[0]["access"]) == (row.access == "ro")


def test_the_grid_register():
    entry, = found("30005")
    facts = dict(entry.facts)
    assert facts["sign"] == "+ is importing, - is exporting" and facts["unit"] == "W"
    assert "0x7535" in facts["address"] and "function 4" in facts["read by"] and facts["used as"] == "grid_w"
    assert found("grid_active_power") == found("Grid Active Power") == found("grid_w") == found("0x7535") == [entry]
    assert found("register", "30005") == [entry]


def test_an_address_inside_a_register_says_so():
    entry, = found("30006")
    assert entry.words[0] == "30005" and "30006 is word 2" in entry.text[0]


def test_a_name_that_two_devices_have_is_explained_for_both():
    assert [entry.words[0] for entry in found("pv_power")] == ["30035", "31035"]


@pytest.mark.parametrize("topic, word", [
    ("openapi/period/AKxyz/ABCDE1700000001", "openapi/period"),
    ("AKxyz/openapi/period/ABCDE1700000001", "openapi/period"),
    ("openapi/alarm/+/#", "openapi/alarm"),
    ("openapi/subscription/change", "openapi/subscription"),
    ("openapi/instruction/command", "openapi/instruction/command"),
])
def test_a_topic_is_found_with_a_real_key_in_it(topic, word):
    assert found(topic)[0].words[0] == word


@pytest.mark.parametrize("word, near", [
    ("2", "exception 2"), ("1500", "1501"), ("30073", "30072"), ("atuh", "auth"), ("grid_activ_power", "grid_active_power"),
    ("sings", "signs"), ("sigens", "signs"), ("charging limit", "ess_max_charging_limit"), ("mqt", "mqtt"),
    ("what does error code 1502 mean?", "1502"), ("how do I subscribe to MQTT?", "mqtt"),
])
def test_an_unknown_word_is_answered_with_near_ones(word, near):
    with pytest.raises(ConfigError) as caught:
        found(word)
    assert near in str(caught.value).partition("did you mean: ")[2]


@given(st.text(max_size=40))
def test_whatever_is_asked_the_answer_is_an_entry_or_one_error(text):
    try:
        assert BOOK.find([text])
    except ConfigError as error:
        assert "nothing is known" in str(error)
