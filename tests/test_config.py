"""Settings from flag, environment, file and default."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bridge import config, ini, uci
from bridge.errors import ConfigError
from bridge.settings import SETTINGS


@pytest.fixture
def no_file(monkeypatch):
    monkeypatch.setattr(config, "DEFAULT_FILES", ())


def settings(*argv):
    return config.load(list(argv))[0]


def test_defaults_suit_the_vendors_gateway(no_file):
    found = settings()
    assert (found["modbus.port"], found["modbus.unit"], found["poll.interval_s"]) == (502, 247, 1.0)
    assert (found["modbus.baud"], found["modbus.serial_unit"]) == (38400, 1)
    assert found.where("modbus.port") == "default"


def test_flag_beats_environment_beats_file_beats_default(tmp_path, monkeypatch):
    path = tmp_path / "bridge.ini"
    path.write_text("[modbus]\nhost = file\nport = 1\nunit = 1\n")
    monkeypatch.setenv("SIGEN_BRIDGE_MODBUS_PORT", "2")
    monkeypatch.setenv("SIGEN_BRIDGE_MODBUS_UNIT", "2")
    found = settings("run", "--config", str(path), "--unit", "3")
    assert (found["modbus.host"], found["modbus.port"], found["modbus.unit"]) == ("file", 2, 3)
    assert found.where("modbus.host") == f"{path}:2"
    assert found.where("modbus.port") == "environment SIGEN_BRIDGE_MODBUS_PORT"
    assert found.where("modbus.unit") == "flag --unit"


def test_the_same_settings_as_uci(tmp_path):
    path = tmp_path / "sigen-bridge"
    path.write_text("# comment\nconfig sigen-bridge 'main'\n\toption enabled '1'\n\nconfig modbus\n\toption host '192.168.8.105'\n"
                    "config shelly 'shelly'\n\toption password \"it's \\\"mine\\\"\"\n")
    found = settings("run", f"--config={path}")
    assert found["modbus.host"] == "192.168.8.105"
    assert found["shelly.password"] == "it's \"mine\""


def test_a_host_may_carry_its_port(no_file):
    found = settings("run", "--host", "192.0.2.7:1502")
    assert (found["modbus.host"], found["modbus.port"]) == ("192.0.2.7", 1502)
    assert settings("run", "--host", "192.0.2.7:1502", "--port", "7")["modbus.port"] == 7


@pytest.mark.parametrize("argv, parts", [
    (["run", "--port", "http"], ["modbus.port", "--port", "http"]),
    (["run", "--unit", "300"], ["modbus.unit", "1..247"]),
    (["run", "--modbus-engine", "fast"], ["auto, builtin, pymodbus"]),
    (["run", "--host"], ["--host", "missing"]),
    (["run", "--config", "/nonexistent/x.ini"], ["/nonexistent/x.ini", "No such file"]),
    (["run", "--status-listen", "everywhere"], ["host:port"]),
])
def test_mistakes_are_one_line_that_names_the_place(no_file, argv, parts):
    with pytest.raises(ConfigError) as caught:
        settings(*argv)
    text = str(caught.value)
    assert "\n" not in text
    for part in parts:
        assert part in text


def test_unknown_names_get_a_hint(tmp_path, monkeypatch):
    path = tmp_path / "bridge.ini"
    path.write_text("[shelly]\nhots = 1\n")
    with pytest.raises(ConfigError, match="did you mean shelly.host"):
        settings("--config", str(path))
    monkeypatch.setenv("SIGEN_BRIDGE_MODBUS_HOTS", "x")
    with pytest.raises(ConfigError, match="SIGEN_BRIDGE_MODBUS_HOST"):
        config.from_environment({"SIGEN_BRIDGE_MODBUS_HOTS": "x"})


def test_a_secret_has_no_flag_of_its_own_and_is_never_shown(tmp_path, no_file):
    secret = tmp_path / "pw"
    secret.write_text("hunter2\n")
    found = settings("run", "--shelly-password-file", str(secret))
    assert found["shelly.password"] == "hunter2"
    assert "hunter2" not in "".join(value for _, value, _ in found.shown())
    _, _, rest = config.take_flags(["--shelly-password", "hunter2"])
    assert rest == ["--shelly-password", "hunter2"]
    for row in SETTINGS:
        if row.secret:
            assert "--" + row.key.replace(".", "-").replace("_", "-") not in config.flag_names()


def test_a_bad_secret_is_not_quoted_in_the_error():
    rows = [row for row in SETTINGS if row.secret]
    assert rows
    for row in rows:
        assert row.parse("anything") == "anything"


def test_settings_are_well_formed():
    keys = [row.key for row in SETTINGS]
    assert len(set(keys)) == len(keys)
    for row in SETTINGS:
        assert row.key.count(".") == 1 and row.help and row.key == row.key.lower()


@pytest.mark.parametrize("content, section, name, value", [
    ("[a]\nb = c\n", "a", "b", "c"), ("[a]\nb=\"c d\"\n", "a", "b", "c d"), ("; x\n# y\n[a]\nb = c # d\n", "a", "b", "c # d"),
])
def test_ini_lines(content, section, name, value):
    option = ini.parse(content)[0]
    assert (option.section, option.name, option.value) == (section, name, value)


@pytest.mark.parametrize("content", ["b = c\n", "[a]\nnonsense\n"])
def test_ini_errors_name_the_line(content):
    with pytest.raises(ValueError, match="line"):
        ini.parse(content)


@pytest.mark.parametrize("content", ["option x 'y'\n", "config a\n\toption b 'c\n", "what is this\n"])
def test_uci_errors_name_the_line(content):
    with pytest.raises(ValueError, match="line"):
        uci.parse(content)


@given(st.text(alphabet=st.characters(blacklist_categories=["Cs", "Cc"], blacklist_characters="'"), max_size=30))
@example("a\u2028b")
def test_any_value_survives_uci_quotes(value):
    assert uci.parse(f"config a\n\toption b '{value}'\n")[0].value == value


@given(st.text(max_size=200))
def test_no_file_content_crashes_the_parsers(content):
    for parser in (uci.parse, ini.parse):
        try:
            parser(content)
        except ValueError:
            pass
