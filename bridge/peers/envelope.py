"""The Sigenergy answer {code, msg, data} and the JSON inside JSON inside it.

Never raises anything but EnvelopeError, whatever came in; never turns an absent or odd value into 0.
"""

from __future__ import annotations

import json
import math
from typing import Any, NamedTuple, Optional

from bridge.errors import EXIT_CLOUD, PeerError

MAX_TEXT = 2 * 1024 * 1024
MAX_NESTED_TEXT = 256 * 1024  # a string longer than this stays a string
MAX_WRAPPERS = 4  # strings inside strings
MAX_DEPTH = 32  # lists and objects inside each other
MAX_DIGITS = 40  # an integer of a million digits would take minutes to read
MILLISECONDS_FROM = 1e11  # as seconds this would be the year 5138


class EnvelopeError(PeerError):
    """The text is no answer of this API."""

    exit_code = EXIT_CLOUD


class Envelope(NamedTuple):
    """One answer; ``code`` is None when there was none (an empty body)."""

    code: Optional[int]
    msg: str
    data: Any
    timestamp: Optional[float]


def decode(text: str) -> Envelope:
    """Return the answer with all JSON-in-string undone (samples: sigen-openapi-real, cloud-apis 3.2).

    Raises EnvelopeError for text that is neither empty nor a JSON object with a code.
    """
    if len(text) > MAX_TEXT:
        raise EnvelopeError("the answer is too long")
    if not text.strip():
        return Envelope(None, "", None, None)
    try:
        whole = unwrap(parse(text))
    except ValueError:
        raise EnvelopeError("the answer is not JSON") from None
    if not isinstance(whole, dict):
        raise EnvelopeError("the answer is JSON, but not an object")
    code = integer(whole.get("code"))
    if code is None:
        raise EnvelopeError("the answer has no code")
    return Envelope(code, text_of(whole.get("msg")) or "", whole.get("data"), number(whole.get("timestamp")))


def parse(text: str) -> Any:
    """Return ``json.loads`` with bounded numbers; NaN and infinities become None. Raises ValueError only."""
    try:
        return json.loads(text, parse_int=_bounded_int, parse_float=_finite, parse_constant=_nothing)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def unwrap(value: Any, wrappers: int = MAX_WRAPPERS, depth: int = MAX_DEPTH) -> Any:
    """Undo JSON objects and lists that arrive as strings, at every level, up to the limits."""
    if isinstance(value, str):
        return _unwrap_text(value, wrappers, depth)
    if depth <= 0:
        return value
    if isinstance(value, list):
        return [unwrap(item, wrappers, depth - 1) for item in value]
    if isinstance(value, dict):
        return {key: unwrap(item, wrappers, depth - 1) for key, item in value.items()}
    return value


def _unwrap_text(text: str, wrappers: int, depth: int) -> Any:
    # a quote may open a string that holds an object: encoded twice
    if wrappers <= 0 or len(text) > MAX_NESTED_TEXT or text.lstrip()[:1] not in ("{", "[", '"'):
        return text
    try:
        inner = unwrap(parse(text), wrappers - 1, depth)
    except ValueError:
        return text
    return inner if isinstance(inner, (dict, list)) else text


def number(value: Any) -> Optional[float]:
    """Return a finite number, also from a numeric string; anything else is None, never 0."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        result = float(value)
    except (ValueError, OverflowError):
        return None
    return result if math.isfinite(result) else None


def integer(value: Any) -> Optional[int]:
    """Return a whole number, also from a string or a float without a fraction; else None."""
    result = number(value)
    if result is None or result != math.floor(result):
        return None
    return int(result)


def text_of(value: Any) -> Optional[str]:
    """Return a string or number as text; None for null, booleans, lists and objects."""
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        return None
    return str(value)


def flag(value: Any) -> Optional[bool]:
    """Return a JSON boolean; anything else is None."""
    return value if isinstance(value, bool) else None


def unix_s(value: Any) -> Optional[float]:
    """Return unix seconds from a field that some endpoints fill with seconds, others with milliseconds."""
    result = number(value)
    if result is None:
        return None
    return result / 1000.0 if result >= MILLISECONDS_FROM else result


def _bounded_int(digits: str) -> Optional[int]:
    return int(digits) if len(digits) <= MAX_DIGITS else None


def _finite(digits: str) -> Optional[float]:
    result = float(digits)
    return result if math.isfinite(result) else None


def _nothing(_constant: str) -> None:
    return None
