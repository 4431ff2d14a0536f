"""KEY=VALUE files: the S0 source's environment file works as it is, and no shell ever reads it."""

from __future__ import annotations

import shutil
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge import config, envfile
from bridge.errors import ConfigError

EXAMPLE = """# settings of the tariff job
AMBER_TOKEN=psk_0123456789abcdef
SIGEN_USER=owner@example.invalid
SIGEN_DEVICE_ID=1700000000000

# one of these two
SIGEN_PASS=
SIGEN_PASS_ENC="2XgqjWOYS8wesGPH8+9zTA=="
; a comment of the other kind
INTERVAL=30
TZ_OVERRIDE=Australia/Adelaide
ALIGN=end
PLAN_NAME=Amber Live
ADVANCED=predicted
USE_CURRENT=1
STATION_ID=92025000000001   # from the web app
PYTHONUNBUFFERED=1
TZ=Australia/Adelaide
"""
KEYS = [
    ("AMBER_TOKEN", "amber.token", "psk_x", "psk_x"), ("SIGEN_USER", "cloud.username", "a@b.c", "a@b.c"),
    ("SIGEN_DEVICE_ID", "cloud.device_id", "1700000000000", "1700000000000"),
    ("SIGEN_PASS", "cloud.password", "correct horse", "correct horse"),
    ("SIGEN_PASS_ENC", "cloud.password_encoded", "'ab+/=='", "ab+/=="), ("INTERVAL", "tariff.interval", "30", 30),
    ("TZ_OVERRIDE", "tariff.timezone", "Australia/Adelaide", "Australia/Adelaide"), ("ALIGN", "tariff.align", "start", "start"),
    ("PLAN_NAME", "tariff.plan_name", "Amber Live", "Amber Live"), ("ADVANCED", "tariff.advanced", "high", "high"),
    ("USE_CURRENT", "tariff.use_current", "0", False), ("STATION_ID", "cloud.station_id", "92025000000001", "92025000000001"),
    ("SIGEN_BEARER", "cloud.bearer", "eyJ.x", "eyJ.x"), ("SIGEN_REGION", "cloud.region", "aus", "aus"),
    ("SIGEN_BRIDGE_TARIFF_SELL", "tariff.sell", "spot", "spot"),
]


@pytest.fixture(autouse=True)
def no_file(monkeypatch):
    monkeypatch.setattr(config, "DEFAULT_FILES", ())


def loaded(path, *argv):
    return config.load(["config", *argv])[0]


@pytest.mark.parametrize("flag", ["--config", "--env-file"])
def test_the_sources_own_file_works_unchanged(tmp_path, flag):
    path = tmp_path / "amber2sigen.env"
    path.write_text(EXAMPLE)
    found = loaded(path, flag, str(path))
    assert (found["tariff.plan_name"], found["tariff.interval"], found["tariff.use_current"]) == ("Amber Live", 30, True)
    assert found["cloud.password_encoded"] == "2XgqjWOYS8wesGPH8+9zTA==" and not found.is_set("cloud.password")
    assert found["cloud.station_id"] == "92025000000001" and found["tariff.timezone"] == "Australia/Adelaide"
    assert found.where("tariff.plan_name") == f"{path}:13"
    shown = {row.key: text for row, text, _where in found.shown()}
    assert "psk_" not in str(shown) and "2Xgq" not in str(shown) and shown["amber.token"] == "(set, not shown)"


def test_a_shell_could_not_have_read_it(tmp_path):
    """Why the file is parsed: the finding this rests on, checked."""
    path = tmp_path / "x.env"
    path.write_text("PLAN_NAME=Amber Live\n")
    done = subprocess.run(["sh", "-c", f". '{path}'"], capture_output=True, text=True, timeout=10, check=False)
    assert done.returncode == 127 and "Live" in done.stderr and shutil.which("sh")


@pytest.mark.parametrize(("name", "key", "text", "value"), KEYS)
def test_each_key_has_its_effective_value_and_its_place(tmp_path, monkeypatch, name, key, text, value):
    path = tmp_path / "x.env"
    path.write_text(f"\n{name}={text}\n")
    found = loaded(path, "--env-file", str(path))
    assert found[key] == value and found.where(key) == f"{path}:2"
    monkeypatch.setenv(name, text.strip("'"))
    assert loaded(path).where(key) == f"environment {name}"


def test_flag_beats_environment_beats_env_file_beats_file(tmp_path, monkeypatch):
    ini, env = tmp_path / "x.ini", tmp_path / "x.env"
    ini.write_text("[tariff]\nplan_name = file\nalign = start\nadvanced = low\nsell = spot\n")
    env.write_text("PLAN_NAME=env file\nALIGN=end\nADVANCED=high\n")
    monkeypatch.setenv("PLAN_NAME", "environment")
    monkeypatch.setenv("ALIGN", "start")
    found = loaded(ini, "--config", str(ini), f"--env-file={env}", "--tariff-plan-name", "flag")
    assert [found[f"tariff.{name}"] for name in ("plan_name", "align", "advanced", "sell")] == [
        "flag", "start", "high", "spot"]


@pytest.mark.parametrize(("line", "value"), [
    ("PLAN_NAME=Amber Live", "Amber Live"), ("PLAN_NAME='Amber Live'", "Amber Live"),
    ('PLAN_NAME="Amber \\"Live\\""', 'Amber "Live"'), ("export PLAN_NAME=Amber Live", "Amber Live"),
    ("PLAN_NAME = Amber Live ", "Amber Live"), ("PLAN_NAME=Amber#Live", "Amber#Live"),
    ("PLAN_NAME=Amber # Live", "Amber"), ("PLAN_NAME='Amber # Live' # note", "Amber # Live"),
    ("PLAN_NAME=$(reboot)", "$(reboot)"), ("PLAN_NAME=`id`", "`id`"), ("PLAN_NAME=$HOME", "$HOME"),
    ("PLAN_NAME='it\\'", "it\\"), ("PLAN_NAME=a=b", "a=b"),
])
def test_values_are_taken_literally(line, value):
    assert [(one.name, one.value) for one in envfile.settings_of(f"AMBER_TOKEN=x\n{line}\n")][1:] == [
        ("tariff.plan_name", value)]


@pytest.mark.parametrize(("content", "words"), [
    ("AMBER_TOKEN=x\nAMBER_TOKNE=y\n", "line 2: there is no setting AMBER_TOKNE; did you mean AMBER_TOKEN?"),
    ("AMBER_TOKEN=x\nSIGEN_BRIDGE_NOPE_NOPE=y\n", "line 2: there is no setting SIGEN_BRIDGE_NOPE_NOPE"),
    ("AMBER_TOKEN=x\nwhat is this\n", "line 2 is not NAME=VALUE"), ("AMBER_TOKEN='x\n", "line 1: a quote is not closed"),
    ("AMBER_TOKEN='x' y\n", "line 1: there is text behind the closing quote"),
])
def test_mistakes_name_the_line_and_never_quote_a_value(tmp_path, content, words):
    path = tmp_path / "x.env"
    path.write_text(content)
    with pytest.raises(ConfigError) as caught:
        loaded(path, "--config", str(path))
    assert words in str(caught.value) and "'x'" not in str(caught.value)


def test_a_file_that_may_not_be_read_is_one_line(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read .*check the path and its permissions"):
        loaded(None, "--env-file", str(tmp_path / "nosuch.env"))
    with pytest.raises(ConfigError, match="--env-file: a value is missing"):
        loaded(None, "--env-file")


@pytest.mark.parametrize("content", ["[amber]\ntoken = x\n", "config amber\n\toption token 'x'\n", "", "# nothing\n", "host = x\n"])
def test_ini_and_uci_are_not_taken_for_it(content):
    assert not envfile.looks_like_env(content)


@given(st.text())
def test_no_content_crashes_the_parser(content):
    try:
        envfile.settings_of(content)
    except ValueError as error:
        assert "line" in str(error)


@given(st.text(st.characters(blacklist_categories=("Cc", "Cs", "Zl", "Zp")), min_size=1).filter(str.strip))
def test_any_value_survives_single_quotes(value):
    bare = value.replace("'", "")
    expected = [bare] if bare else []
    assert [one.value for one in envfile.parse(f"X='{bare}'")] == expected
