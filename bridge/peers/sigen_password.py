"""The form in which the mySigen web app sends a password: AES-128-CBC with a key that everybody knows.

Never protects anything: whoever has the encoded form has the password, and it is kept as secret. The only
importer of ``Crypto``, and only when a password is encoded.
"""

from __future__ import annotations

import base64
from importlib.util import find_spec

from bridge.errors import ConfigError

KEY = b"sigensigensigenp"  # key and initialisation vector alike; six public clients agree
BLOCK_BYTES = 16


def available() -> bool:
    """Say whether the package that encodes is installed; imports nothing."""
    return find_spec("Crypto") is not None


def encode(password: str) -> str:
    """Return the password as the app sends it: UTF-8, PKCS#7 padding, AES-128-CBC, base64.

    Raises ConfigError where pycryptodome is not installed.
    """
    try:
        from Crypto.Cipher import AES
    except ImportError:
        raise ConfigError(
            "encoding the password needs the Python package pycryptodome, which is not installed; install it"
            " with: pip install pycryptodome, or encode it on another machine and set cloud.password_encoded"
        ) from None
    plain = password.encode("utf-8")
    missing = BLOCK_BYTES - len(plain) % BLOCK_BYTES
    cipher = AES.new(KEY, AES.MODE_CBC, KEY)
    return base64.b64encode(cipher.encrypt(plain + bytes([missing]) * missing)).decode("ascii")
