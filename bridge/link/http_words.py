"""What goes to and fro between the HTTP server and who answers: a request, an answer.

Never touches a socket. An answer says what may be kept by the asker; silent about it, nothing may.
"""

from __future__ import annotations

import json
from typing import Any, Callable, Mapping, NamedTuple, Optional, Tuple

Headers = Tuple[Tuple[str, str], ...]


class Request(NamedTuple):
    """What a route is asked; header names in lower case, the last value of a query name counts."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes = b""


class Answer(NamedTuple):
    """What a route returns.

    An ``ETag`` among the ``headers`` makes the server answer 304 to who has that already. With
    ``takes_over`` the connection belongs to that function once the head of the answer is sent.
    """

    status: int
    content_type: str
    body: bytes
    headers: Headers = ()
    takes_over: Optional[Callable[[Any], None]] = None


Route = Callable[[Request], Answer]


def json_answer(content: Any, status: int = 200, headers: Headers = ()) -> Answer:
    """Return content as JSON."""
    return Answer(status, "application/json", json.dumps(content).encode(), headers)


def text_answer(status: int, message: str, headers: Headers = ()) -> Answer:
    """Return one line of text."""
    return Answer(status, "text/plain; charset=utf-8", message.encode() + b"\n", headers)


def kept_answer(content: Any, etag: str) -> Answer:
    """Return content as JSON that the asker may keep, if it asks each time whether it still holds."""
    return json_answer(content, 200, (("ETag", etag), ("Cache-Control", "no-cache")))


def matches(wanted: str, answer: Answer) -> bool:
    """Say whether an If-None-Match header names what the answer holds (weak comparison, RFC 9110 13.1.2)."""
    etag = dict(answer.headers).get("ETag")
    if answer.status != 200 or etag is None or not wanted:
        return False
    names = [name.strip() for name in wanted.split(",")]
    return "*" in names or etag.removeprefix("W/") in [name.removeprefix("W/") for name in names]


def pairs(query: str) -> Mapping[str, str]:
    """Return the names and values of a query string."""
    from urllib.parse import parse_qsl  # few callers have a query

    return dict(parse_qsl(query, keep_blank_values=True))
