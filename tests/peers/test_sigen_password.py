"""The form in which the app sends a password."""

from __future__ import annotations

import sys

import pytest

from bridge.errors import ConfigError
from bridge.peers import sigen_password


@pytest.mark.parametrize("password, encoded", [
    ("pw", "vo0QcKLMqdGDzuwfckps/g=="),
    ("correct horse", "2XgqjWOYS8wesGPH8+9zTA=="),
    ("Example-Passw0rd", "rGTuy3/ESgV83tWlCWlMngKXKk0i//NTjK5a1OlM9aM="),
    ("", "JjDTYVWIc/9ig0AL9GprTQ=="),
])
def test_the_four_vectors_of_two_independent_encoders(password, encoded):
    assert sigen_password.encode(password) == encoded


def test_letters_outside_ascii_are_utf_8():
    """16 bytes of UTF-8 in 8 letters: a full block of padding follows."""
    assert len(sigen_password.encode("ä" * 8)) == len(sigen_password.encode("a" * 16)) == 44


def test_without_the_package_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "Crypto", None)
    monkeypatch.setitem(sys.modules, "Crypto.Cipher", None)
    monkeypatch.setitem(sys.modules, "Crypto.Cipher.AES", None)
    with pytest.raises(ConfigError, match="pip install pycryptodome"):
        sigen_password.encode("pw")


def test_availability_is_known_without_importing(monkeypatch):
    for name in [one for one in sys.modules if one.split(".")[0] == "Crypto"]:
        monkeypatch.delitem(sys.modules, name)
    assert sigen_password.available()
    assert "Crypto" not in sys.modules


def test_blanks_belong_to_a_password_and_the_line_end_does_not(tmp_path):
    path = tmp_path / "password"
    path.write_bytes(b" two words \r\nsecond line\n")
    assert sigen_password.read_password(str(path)) == " two words "


@pytest.mark.parametrize("content", [b"", b"\n", b"\xff\xfe\n"])
def test_an_empty_or_binary_file_is_refused_in_one_line(tmp_path, content):
    path = tmp_path / "password"
    path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        sigen_password.read_password(str(path))
    assert "\n" not in str(caught.value)
