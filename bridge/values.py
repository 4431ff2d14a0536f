"""How the texts of settings and of other files become values, and what to say of a word that is not known.

Never reads anything; a parser raises ValueError with the reason.
"""

from __future__ import annotations

from typing import Any, Callable, Iterable

KEY_LIKENESS = 0.65  # of a key in a file to what was meant: below that a guess misleads


def text(value: str) -> str:
    """Any text; surrounding blanks do not count."""
    return value.strip()


def number(lo: float, hi: float) -> Callable[[str], float]:
    """Return a parser for a number within lo..hi."""

    def parse(value: str) -> float:
        try:
            result = float(value)
        except ValueError:
            raise ValueError(f"{value!r} is not a number") from None
        if not lo <= result <= hi:
            raise ValueError(f"{value} is not within {lo:g}..{hi:g}")
        return result

    return parse


def watts(value: str) -> float:
    """A power in W, above 0."""
    try:
        result = float(value)
    except ValueError:
        result = 0.0
    if not 0 < result <= 1_000_000:
        raise ValueError(f"{value!r} is not a power in W above 0")
    return result


def whole(lo: int, hi: int) -> Callable[[str], int]:
    """Return a parser for a whole number within lo..hi."""

    def parse(value: str) -> int:
        try:
            result = int(value, 10)
        except ValueError:
            raise ValueError(f"{value!r} is not a whole number within {lo}..{hi}") from None
        if not lo <= result <= hi:
            raise ValueError(f"{value} is not within {lo}..{hi}")
        return result

    return parse


class OneOf:
    """A parser that accepts exactly these words, in small or capital letters."""

    def __init__(self, *choices: str) -> None:
        self.choices = choices

    def __call__(self, value: str) -> str:
        word = value.strip().lower()
        if word not in self.choices:
            raise ValueError(f"{value!r} is not one of {', '.join(self.choices)}")
        return word


def yes_no(value: str) -> bool:
    """yes/no, true/false, on/off, 1/0."""
    word = value.strip().lower()
    if word in ("1", "yes", "true", "on", "enabled"):
        return True
    if word in ("0", "no", "false", "off", "disabled", ""):
        return False
    raise ValueError(f"{value!r} is not yes or no")


def duration(value: str) -> float:
    """Seconds, or a number with s, m or h behind it."""
    word = value.strip().lower()
    factor = {"s": 1.0, "m": 60.0, "h": 3600.0}.get(word[-1:], 0.0)
    try:
        result = float(word[:-1]) * factor if factor else float(word)
    except ValueError:
        raise ValueError(f"{value!r} is not a duration such as 20s, 5m or 1h") from None
    if not 0 <= result < float("inf"):
        raise ValueError(f"{value!r} is not a duration")
    return result


def optional(parse: Callable[[str], Any]) -> Callable[[str], Any]:
    """Return a parser that takes an empty text, "off" or "none" for None."""

    def parse_or_none(value: str) -> Any:
        return None if value.strip().lower() in ("", "off", "none") else parse(value)

    return parse_or_none


def listen(value: str) -> str:
    """host:port to serve on, or "off"."""
    word = value.strip()
    if word.lower() in ("off", "no", "none", "0"):
        return "off"
    host, _, port = word.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65535:
        raise ValueError(f"{value!r} is not host:port or off")
    return word


def plain_mac(text: str) -> str:
    """Return a MAC as the device writes it: twelve capital hex digits without separators."""
    return "".join(character for character in text.upper() if character.isalnum())


def mac_address(value: str) -> str:
    """A MAC in any spelling, as ``plain_mac`` has it."""
    mac = plain_mac(value)
    if len(mac) != 12 or mac.strip("0123456789ABCDEF"):
        raise ValueError(f"{value!r} is not a MAC address of twelve digits")
    return mac


def did_you_mean(word: str, known: Iterable[str], likeness: float = 0.6) -> str:
    """Return '; did you mean X?' for a near miss, else ''."""
    import difflib  # only wanted when something is wrong

    near = difflib.get_close_matches(word, list(known), 1, likeness)
    return f"; did you mean {near[0]}?" if near else ""
