"""Takes secrets out of whatever is on its way to a language model.

Never trusts a text to be harmless because of where it comes from: settings, devices and people all carry secrets.
Three nets: the values of the secret settings in every form in which they travel, fields whose name says that
they hold a secret, and texts that look like a token.
"""

from __future__ import annotations

import base64
import json
import re
import string
from typing import Any, Iterable, Iterator, Tuple

HIDDEN = "(hidden)"
SHORT = 6  # a shorter secret is replaced as a word only, or half of the text would go
UNRESERVED = string.ascii_letters + string.digits + "-._~"
SECRET_NAME = re.compile(
    r"pass(?:word|wd|phrase)?(?:$|[^a-z])|pass(?:word)?_?enc|secret|token|bearer|jwt|credential|authoriz|cookie|session"
    r"|api_?key|app_?key|private_?key|ha1", re.I)
LOOKS_SECRET: Tuple[Tuple[re.Pattern, str], ...] = (
    (re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.S), HIDDEN),
    (re.compile(r"\beyJ[\w-]{8,}\.[\w-]{4,}(?:\.[\w-]*)?"), HIDDEN),
    (re.compile(r"\b(?:psk_|sk-|sk_)[\w-]{8,}"), HIDDEN),
    (re.compile(r"\b(Bearer|Basic|Digest)\s+[\w.~+/=-]{8,}", re.I), rf"\1 {HIDDEN}"),
    (re.compile(r"(://)[^\s/@:]+:[^\s/@]+@"), rf"\1{HIDDEN}@"),
    (re.compile(r"((?:password|passwd|secret|token|api[_-]?key|jwt)[\"']?\s*[:=]\s*[\"']?)[^\s\"',;&}(]{4,}", re.I),
     rf"\1{HIDDEN}"),
)


class Redaction:
    """Knows the secrets of this machine and replaces them; ``text`` and ``content`` return what may be sent."""

    def __init__(self, secrets: Iterable[str]) -> None:
        forms = {form for secret in secrets if secret for form in _forms(secret)}
        ordered = sorted(forms, key=lambda form: (-len(form), form))
        self._own = re.compile("|".join(map(_pattern, ordered))) if ordered else None

    def own(self, text: str) -> str:
        """Return ``text`` without the secrets of the settings; for our own texts, which hold no other."""
        return self._own.sub(HIDDEN, text) if self._own else text

    def text(self, text: str) -> str:
        """Return ``text`` without the secrets of the settings and without what looks like a secret."""
        text = self.own(text)
        for pattern, instead in LOOKS_SECRET:
            text = pattern.sub(instead, text)
        return text

    def content(self, found: Any, named: bool = False) -> Any:
        """Return JSON content with every text cleaned; ``named`` says that the field's name tells of a secret."""
        if isinstance(found, dict):
            return {
                self.text(str(key)): self.content(inner, named or bool(SECRET_NAME.search(str(key))))
                for key, inner in found.items()
            }
        if isinstance(found, (list, tuple)):
            return [self.content(inner, named) for inner in found]
        if isinstance(found, str):
            return HIDDEN if named and found and not found.startswith("(") else self.text(found)
        return HIDDEN if named and isinstance(found, (int, float)) and not isinstance(found, bool) else found


def _forms(secret: str) -> Iterator[str]:
    """Yield a secret as it is and as it looks inside JSON, an address, an encoded pair or a hex dump."""
    raw = secret.encode("utf-8")
    yield secret
    yield json.dumps(secret)[1:-1]
    yield json.dumps(secret, ensure_ascii=False)[1:-1]
    in_address = "".join(chr(byte) if chr(byte) in UNRESERVED else f"%{byte:02X}" for byte in raw)
    yield from (in_address, in_address.replace("%20", "+"), in_address.replace("%2F", "/"))
    if len(raw) >= SHORT:
        for shift in range(3):  # base64 of a text that holds it: what is the same wherever it begins
            coded = base64.b64encode(b"\0" * shift + raw).decode()
            first, last = (0, 2, 3)[shift], -4 if (len(raw) + shift) % 3 else len(coded)
            yield coded[first:last]
            yield coded[first:last].replace("+", "-").replace("/", "_")
        yield raw.hex()
        yield raw.hex().upper()


def _pattern(form: str) -> str:
    escaped = re.escape(form)
    return escaped if len(form) >= SHORT else rf"(?<!\w){escaped}(?!\w)"
