"""Sections of the settings file that are named after an environment (the ENVIRONMENT variable chooses one)."""

from __future__ import annotations

import pytest

from bridge.config import load
from bridge.errors import ConfigError

TEXT = """
[modbus]
host = 192.168.8.105

[enphase]
serial = 1

[development]
ENPHASE_LOCAL_API_URL = https://127.0.0.1:8443/
ENPHASE_REMOTE_API_SERIALNO = 2

[production]
ENPHASE_LOCAL_API_URL = https://envoy.local
"""


@pytest.fixture
def words(tmp_path):
    path = tmp_path / "bridge.ini"
    path.write_text(TEXT)
    return ["run", "--config", str(path)]


@pytest.mark.parametrize(("name", "url", "serial"), [
    ("development", "https://127.0.0.1:8443/", "2"), ("production", "https://envoy.local", "1"), ("", "", "1"),
    ("other", "", "1")])
def test_the_section_that_is_named_counts_and_no_other(monkeypatch, words, name, url, serial):
    monkeypatch.setenv("ENVIRONMENT", name)
    settings, _ = load(words)
    assert (settings["enphase.local_url"], settings["enphase.serial"]) == (url, serial)
    assert settings["modbus.host"] == "192.168.8.105"


def test_variables_beat_the_section_and_flags_beat_both(monkeypatch, words):
    monkeypatch.setenv("ENVIRONMENT", "production")
    monkeypatch.setenv("ENPHASE_LOCAL_API_URL", "https://10.0.0.1")
    assert load(words)[0]["enphase.local_url"] == "https://10.0.0.1"
    assert load([*words, "--enphase-local-url", "https://10.0.0.2"])[0]["enphase.local_url"] == "https://10.0.0.2"


def test_where_a_value_came_from_is_told(monkeypatch, words):
    monkeypatch.setenv("ENVIRONMENT", "production")
    assert load(words)[0].where("enphase.local_url").endswith("bridge.ini:13")


def test_a_misspelt_variable_is_an_error_with_its_line(monkeypatch, tmp_path):
    path = tmp_path / "bridge.ini"
    path.write_text("[production]\nENPHASE_LOCAL_API_ULR = x\n")
    with pytest.raises(ConfigError, match="line 2"):
        load(["run", "--config", str(path)])
