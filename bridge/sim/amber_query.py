"""The parameters of a call to the simulated Amber, judged as strictly as the real one does.

Never guesses: a name, a date or a number that the API does not describe is refused.
"""

from __future__ import annotations

from datetime import date
from typing import Mapping, Sequence

NEIGHBOURS_MAX = 2048


class Refusal(Exception):
    """The service refuses with an HTTP status and a message."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status, self.message = status, message


def only(query: Mapping[str, str], known: Sequence[str]) -> None:
    """Refuse parameters that the call does not know."""
    for name in query:
        if name not in known:
            raise Refusal(400, f"{name} is not a parameter of this call")


def date_of(query: Mapping[str, str], name: str, default: date) -> date:
    """Return a date given as yyyy-mm-dd and in no other way."""
    text = query.get(name)
    if text is None:
        return default
    try:
        found = date.fromisoformat(text)
    except ValueError:
        raise Refusal(400, f"{name} must be yyyy-mm-dd") from None
    if found.isoformat() != text:
        raise Refusal(400, f"{name} must be yyyy-mm-dd")
    return found


def count_of(query: Mapping[str, str], name: str) -> int:
    """Return a number of intervals."""
    text = query.get(name, "0")
    if not text.isdigit() or int(text) > NEIGHBOURS_MAX:
        raise Refusal(400, f"{name} must be 0 to {NEIGHBOURS_MAX}")
    return int(text)
