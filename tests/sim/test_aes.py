"""The simulator's own cipher, and with it the program's: neither shares a line with the other."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.peers import sigen_password
from bridge.sim.aes import BLOCK_BYTES, Aes128
from bridge.sim.sigen_cloud_app_world import PASSWORD_KEY

KEY = Aes128(PASSWORD_KEY)


def decoded(text):
    return KEY.decrypt_cbc(base64.b64decode(text), PASSWORD_KEY).decode()


def test_the_example_of_fips_197():
    cipher = Aes128(bytes(range(16)))
    assert cipher._block(bytes.fromhex("69c4e0d86a7b0430d8cdb78070b4c55a")).hex() == "00112233445566778899aabbccddeeff"


@pytest.mark.parametrize("plain, encoded", [
    ("pw", "vo0QcKLMqdGDzuwfckps/g=="),
    ("correct horse", "2XgqjWOYS8wesGPH8+9zTA=="),
    ("Example-Passw0rd", "rGTuy3/ESgV83tWlCWlMngKXKk0i//NTjK5a1OlM9aM="),
    ("", "JjDTYVWIc/9ig0AL9GprTQ=="),
])
def test_the_four_vectors_both_ways(plain, encoded):
    assert sigen_password.encode(plain) == encoded and decoded(encoded) == plain


@settings(max_examples=25, deadline=None)
@given(st.text(max_size=40))
def test_whatever_the_program_encodes_the_service_reads(password):
    assert decoded(sigen_password.encode(password)) == password


@pytest.mark.parametrize("content", [b"", b"x" * 15, b"x" * 17, b"\0" * BLOCK_BYTES])
def test_what_is_no_ciphertext_is_refused(content):
    with pytest.raises(ValueError):
        KEY.decrypt_cbc(content, PASSWORD_KEY)
