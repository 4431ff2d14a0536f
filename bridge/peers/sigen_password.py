"""The form in which the mySigen web app sends a password: AES-128-CBC with a key that everybody knows.

Never protects anything: whoever has the encoded form has the password, and it is kept as secret. The only
importer of ``Crypto``, and only when a password is encoded.
"""

from __future__ import annotations

import base64
import sys
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Optional

from bridge.errors import ConfigError

KEY = b"sigensigensigenp"  # key and initialisation vector alike; six public clients agree
BLOCK_BYTES = 16
PACKAGES = ("Crypto", "Cryptodome")  # pycryptodome's own name, and Debian's


def available() -> bool:
    """Say whether the package that encodes is installed; imports nothing."""
    return any(find_spec(name) is not None for name in PACKAGES)


def encode(password: str) -> str:
    """Return the password as the app sends it: UTF-8, PKCS#7 padding, AES-128-CBC, base64.

    Raises ConfigError where pycryptodome is not installed.
    """
    aes = _aes()
    plain = password.encode("utf-8")
    missing = BLOCK_BYTES - len(plain) % BLOCK_BYTES
    cipher = aes.new(KEY, aes.MODE_CBC, KEY)
    return base64.b64encode(cipher.encrypt(plain + bytes([missing]) * missing)).decode("ascii")


def _aes() -> Any:
    for name in PACKAGES:
        try:
            return import_module(f"{name}.Cipher.AES")
        except ImportError:
            continue
    raise ConfigError(
        "encoding the password needs the Python package pycryptodome, which is not installed; install it"
        " with: pip install pycryptodome, or encode it on another machine and set cloud.password_encoded"
    )


def read_password(path: Optional[str]) -> str:
    """Return the first line of ``path`` ("-" is standard input), or ask on the terminal without echo.

    Blanks count. Raises ConfigError for an unreadable file, an empty password, or no terminal.
    """
    password = _typed() if path is None else _first_line(path)
    if not password:
        raise ConfigError("encode-password: the password is empty")
    return password


def _typed() -> str:
    from getpass import getpass

    if not sys.stdin.isatty():
        raise ConfigError("encode-password: there is no terminal to ask on; use --password-file FILE")
    try:
        return getpass("password: ")
    except EOFError:
        return ""


def _first_line(path: str) -> str:
    try:
        with open(0 if path == "-" else path, encoding="utf-8", closefd=path != "-") as handle:
            return handle.readline().rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not a text file"
        raise ConfigError(f"encode-password --password-file {path}: cannot be read ({reason})") from None
