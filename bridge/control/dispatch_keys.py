"""The keys of a loads file, one row each: which field a key is, and how its text is read.

Pure. Every parser raises ValueError with the reason, which never repeats a password.
"""

from __future__ import annotations

import re
from typing import Any, Callable, Mapping, Tuple

from bridge.control.dispatch_time import parse_deadline, parse_windows
from bridge.peers.shelly import plain_mac

KINDS = ("oven", "heater", "ev", "other")
PHASES = {"1": (0,), "2": (1,), "3": (2,), "123": (0, 1, 2)}
VOLTS = 230.0
MOST_CHANNELS = 8


def watts(text: str) -> float:
    """Watts above 0."""
    value = _number(text)
    if not 0 < value <= 1_000_000:
        raise ValueError(f"{text} is not a power in W")
    return value


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a number") from None


def percent(text: str) -> float:
    """0 to 100."""
    value = _number(text)
    if not 0 <= value <= 100:
        raise ValueError(f"{text} is not within 0..100")
    return value


def seconds(text: str) -> float:
    """Seconds, or a number with s, m or h behind it."""
    factor = {"s": 1.0, "m": 60.0, "h": 3600.0}.get(text[-1:].lower())
    value = _number(text[:-1]) * factor if factor else _number(text)
    if not 0 <= value <= 7 * 86_400:
        raise ValueError(f"{text!r} is not a duration such as 20s, 5m or 1h")
    return value


def _whole(lo: int, hi: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not text.isdecimal() or not lo <= int(text) <= hi:
            raise ValueError(f"{text!r} is not a whole number within {lo}..{hi}")
        return int(text)

    return parse


def _word(*choices: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text.lower() not in choices:
            raise ValueError(f"{text!r} is not one of {', '.join(choices)}")
        return text.lower()

    return parse


def _yes(text: str) -> bool:
    return _word("yes", "no")(text) == "yes"


def _phase(text: str) -> Tuple[int, ...]:
    if text not in PHASES:
        raise ValueError(f"{text!r} is not a phase: 1, 2, 3 or 123")
    return PHASES[text]


def _mac(text: str) -> str:
    mac = plain_mac(text)
    if not re.fullmatch(r"([0-9A-F]{12})?", mac):
        raise ValueError(f"{text!r} is not a MAC address of twelve digits")
    return mac


def _kinds(text: str) -> Tuple[str, ...]:
    return () if text == "none" else tuple(_word(*KINDS)(word) for word in text.split())


Row = Tuple[str, Callable[[str], Any]]  # field, how its text is read

LOAD_KEYS: Mapping[str, Row] = {
    "device":          ("device",          str),
    "channel":         ("channel",         _whole(0, MOST_CHANNELS - 1)),
    "mac":             ("mac",             _mac),
    "password":        ("password",        str),
    "power_w":         ("power_w",         watts),
    "phase":           ("phases",          _phase),
    "priority":        ("priority",        _whole(1, 99)),
    "essential":       ("essential",       _yes),
    "kind":            ("kind",            _word(*KINDS)),
    "min_on":          ("min_on_s",        seconds),
    "min_off":         ("min_off_s",       seconds),
    "windows":         ("windows",         parse_windows),
    "cheapest":        ("cheapest_s",      seconds),
    "deadline":        ("deadline",        parse_deadline),
    "needs_surplus_w": ("needs_surplus_w", watts),
    "needs_soc_pct":   ("needs_soc_pct",   percent),
    "over_battery":    ("over_battery",    _yes),
    "manual_hold":     ("manual_hold_s",   seconds),
    "pauses_for":      ("pauses_for",      _kinds),
    "running_w":       ("running_w",       watts),
}
RULE_KEYS: Mapping[str, Row] = {
    "limit_w":            ("limit_w",            watts),
    "phase_limit_w":      ("phase_limit_w",      watts),
    "phase_limit_a":      ("phase_limit_w",      lambda text: VOLTS * watts(text)),
    "phase_measure":      ("phase_measure",      _word("house", "grid")),
    "margin_w":           ("margin_w",           watts),
    "reaction":           ("reaction_s",         seconds),
    "surplus_after":      ("surplus_after_s",    seconds),
    "surplus_until":      ("surplus_until_s",    seconds),
    "import_w":           ("import_w",           watts),
    "settle":             ("settle_s",           seconds),
    "back_after":         ("back_after_s",       seconds),
    "soc_hysteresis_pct": ("soc_hysteresis_pct", percent),
    "starts_per_hour":    ("starts_per_hour",    _whole(1, 60)),
    "stale_after":        ("stale_after_s",      seconds),
    "lost_after":         ("lost_after_s",       seconds),
    "dead_man":           ("dead_man_s",         seconds),
    "relay_poll":         ("relay_poll_s",       seconds),
    "manual_hold":        ("manual_hold_s",      seconds),
    "timezone":           ("timezone",           str),
    "prices":             ("prices",             str),
    "em":                 ("em",                 str),
}
