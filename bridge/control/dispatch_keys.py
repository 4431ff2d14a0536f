"""The keys of a loads file, one row each: which field a key is, and how its text is read.

Pure. Every parser raises ValueError with the reason, which never repeats a password.
"""

from __future__ import annotations

from typing import Any, Callable, Mapping, Tuple

from bridge.control.dispatch_time import parse_deadline, parse_windows
from bridge.values import OneOf, duration, mac_address, number, watts, whole, yes_no

KINDS = ("oven", "heater", "ev", "other")
PHASES = {"1": (0,), "2": (1,), "3": (2,), "123": (0, 1, 2)}
VOLTS = 230.0
MOST_CHANNELS = 8


def seconds(text: str) -> float:
    """Seconds, or a number with s, m or h behind it; a week at most."""
    value = duration(text)
    if value > 7 * 86_400:
        raise ValueError(f"{text!r} is more than seven days")
    return value


def _phase(text: str) -> Tuple[int, ...]:
    if text not in PHASES:
        raise ValueError(f"{text!r} is not a phase: 1, 2, 3 or 123")
    return PHASES[text]


def _kinds(text: str) -> Tuple[str, ...]:
    return () if text == "none" else tuple(OneOf(*KINDS)(word) for word in text.split())


Row = Tuple[str, Callable[[str], Any]]  # field, how its text is read

LOAD_KEYS: Mapping[str, Row] = {
    "device":          ("device",          str),
    "channel":         ("channel",         whole(0, MOST_CHANNELS - 1)),
    "mac":             ("mac",             lambda text: mac_address(text) if text else ""),
    "password":        ("password",        str),
    "power_w":         ("power_w",         watts),
    "phase":           ("phases",          _phase),
    "priority":        ("priority",        whole(1, 99)),
    "essential":       ("essential",       yes_no),
    "kind":            ("kind",            OneOf(*KINDS)),
    "min_on":          ("min_on_s",        seconds),
    "min_off":         ("min_off_s",       seconds),
    "windows":         ("windows",         parse_windows),
    "cheapest":        ("cheapest_s",      seconds),
    "deadline":        ("deadline",        parse_deadline),
    "needs_surplus_w": ("needs_surplus_w", watts),
    "needs_soc_pct":   ("needs_soc_pct",   number(0, 100)),
    "over_battery":    ("over_battery",    yes_no),
    "manual_hold":     ("manual_hold_s",   seconds),
    "pauses_for":      ("pauses_for",      _kinds),
    "running_w":       ("running_w",       watts),
}
RULE_KEYS: Mapping[str, Row] = {
    "limit_w":            ("limit_w",            watts),
    "phase_limit_w":      ("phase_limit_w",      watts),
    "phase_limit_a":      ("phase_limit_w",      lambda text: VOLTS * watts(text)),
    "phase_measure":      ("phase_measure",      OneOf("house", "grid")),
    "margin_w":           ("margin_w",           watts),
    "reaction":           ("reaction_s",         seconds),
    "surplus_after":      ("surplus_after_s",    seconds),
    "surplus_until":      ("surplus_until_s",    seconds),
    "import_w":           ("import_w",           watts),
    "settle":             ("settle_s",           seconds),
    "back_after":         ("back_after_s",       seconds),
    "soc_hysteresis_pct": ("soc_hysteresis_pct", number(0, 100)),
    "starts_per_hour":    ("starts_per_hour",    whole(1, 60)),
    "stale_after":        ("stale_after_s",      seconds),
    "lost_after":         ("lost_after_s",       seconds),
    "dead_man":           ("dead_man_s",         seconds),
    "relay_poll":         ("relay_poll_s",       seconds),
    "manual_hold":        ("manual_hold_s",      seconds),
    "timezone":           ("timezone",           str),
    "prices":             ("prices",             str),
    "em":                 ("em",                 str),
}
