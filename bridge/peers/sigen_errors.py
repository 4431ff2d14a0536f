"""An answer of the Sigenergy cloud that is not a success, as the error class of whoever has to act.

Never puts a body, token or password into a text: words of the peer pass ``clean`` first.
"""

from __future__ import annotations

import re
from typing import Iterable, Mapping, Optional

from bridge.errors import EXIT_CLOUD, EXIT_RATE_LIMIT, AuthError, PeerError, RateLimited, Rejected
from bridge.peers.sigen_codes import AUTH, CONFIG, PENDING, PERMISSION, RATE, TRANSIENT, code_row

FIREWALL_HOLD_S = 900.0  # asking a firewall again at once makes it stricter
BLOCKED_HOLD_S = 1800.0  # HTTP 424: sources disagree on its cause, none saw it end within minutes
TOO_MANY_HOLD_S = 300.0  # HTTP 429 without Retry-After: one period of the vendor's limit


class ApiError(PeerError):
    """The cloud answered with an error: ``kind`` says who acts, ``msg`` is what it said, cleaned.

    ``status`` is HTTP's, ``code`` the envelope's. ``hold_s`` is how long the caller must leave ``scope``
    ("endpoint" or "account") alone.
    """

    exit_code = EXIT_CLOUD

    def __init__(
        self, message: str, kind: str, status: int, code: Optional[int] = None, msg: str = "",
        hold_s: float = 0.0, scope: str = "endpoint",
    ) -> None:
        super().__init__(message)
        self.kind, self.status, self.code, self.msg = kind, status, code, msg
        self.hold_s, self.scope = hold_s, scope


class ApiAuthError(ApiError, AuthError):
    """The credentials were not accepted, or the login is locked."""


class TokenRejected(ApiAuthError):
    """The access token is not (or no longer) valid: renew once, repeat once."""


class ApiRejected(ApiError, Rejected):
    """The cloud refused; asking again will not help until somebody acts."""


class PendingApproval(ApiRejected):
    """The station's owner has not clicked the confirmation mail yet."""


class ApiUnavailable(ApiError):
    """The cloud or the plant behind it has trouble; asked again later."""


class ApiRateLimited(ApiError, RateLimited):
    """The cloud asks for quiet; ``exact`` says that it named the time itself (Retry-After)."""

    exit_code = EXIT_RATE_LIMIT

    def __init__(
        self, message: str, kind: str, status: int, code: Optional[int] = None, msg: str = "",
        hold_s: float = 0.0, scope: str = "endpoint", exact: bool = False,
    ) -> None:
        super().__init__(message, kind, status, code, msg, hold_s, scope)
        self.retry_after_s = hold_s
        self.exact = exact


def code_error(code: int, msg: str, what: str, status: int = 200) -> ApiError:
    """Return the error of a code; ``what`` says what was attempted and where, ``msg`` is already clean."""
    row = code_row(code)
    said = f' "{msg}"' if msg else ""
    text = f"{what}: code {code}{said}: {row.meaning} ({row.kind}); {row.advice}"
    if row.kind == RATE:
        return ApiRateLimited(
            text, row.kind, status, code, msg, row.hold_s, "endpoint" if code == 1110 else "account"
        )
    if row.kind == AUTH:
        return ApiAuthError(text, row.kind, status, code, msg, row.hold_s)
    if row.kind == TRANSIENT:
        return ApiUnavailable(text, row.kind, status, code, msg)
    if row.kind == PENDING:
        return PendingApproval(text, row.kind, status, code, msg)
    return ApiRejected(text, row.kind, status, code, msg)


def http_error(
    status: int, headers: Mapping[str, str], text: str, what: str, retry_after_s: Optional[float] = None
) -> ApiError:
    """Return the error of an HTTP status outside 2xx; ``retry_after_s`` is the parsed Retry-After."""
    came = f"{what}: HTTP {status}"
    if status == 401:
        return TokenRejected(f"{came}: the access token was not accepted; renewed once", AUTH, status)
    if status == 403 and is_html(headers, text):
        return ApiRejected(
            f"{came} with an HTML page: blocked by the cloud's web firewall, not by the password;"
            " set cloud.user_agent to a browser's text",
            CONFIG, status, hold_s=FIREWALL_HOLD_S, scope="account",
        )
    if status == 403:
        return ApiRejected(
            f"{came}: this call is not granted to the account; tick it for the application in the developer"
            " portal", PERMISSION, status,
        )
    if status == 424:
        return ApiRateLimited(
            f"{came}: data calls are blocked (too many requests, or this client's TLS is not liked); left"
            f" alone for {BLOCKED_HOLD_S / 60:.0f} min and longer each time",
            RATE, status, hold_s=BLOCKED_HOLD_S, scope="account",
        )
    if status == 429:
        exact = retry_after_s is not None
        hold_s = retry_after_s if retry_after_s is not None else TOO_MANY_HOLD_S
        return ApiRateLimited(
            f"{came}: too many requests; {'the cloud asks to wait' if exact else 'waiting'} {hold_s:.0f} s",
            RATE, status, hold_s=hold_s, scope="account", exact=exact,
        )
    if status in (404, 405):
        return ApiRejected(
            f"{came}: there is no such call at this address; check cloud.base_url and cloud.region",
            CONFIG, status,
        )
    if status == 408 or status >= 500:
        return ApiUnavailable(f"{came}: the cloud has trouble; tried again later", TRANSIENT, status)
    if 300 <= status < 400:
        return ApiRejected(f"{came}: a redirect, which is not followed; check cloud.base_url", CONFIG, status)
    return ApiRejected(f"{came}: refused; check cloud.base_url and the command", CONFIG, status)


def is_html(headers: Mapping[str, str], text: str) -> bool:
    """Say whether a body is a web page: the sign of a firewall in front of the API."""
    return "html" in headers.get("content-type", "").lower() or text.lstrip()[:1] == "<"


def clean(text: str, secrets: Iterable[Optional[str]] = (), limit: int = 120) -> str:
    """Return a peer's words fit for a log: one line, printable, short, without any of ``secrets``."""
    for secret in sorted((one for one in secrets if one), key=len, reverse=True):
        text = text.replace(secret, "***")
    text = re.sub(r"(?i)(token|secret|password|bearer)([\"'\s:=]+)[^\s\"',}]+", r"\1\2***", text)
    text = "".join(letter if letter.isprintable() else " " for letter in text)
    text = text.encode("utf-8", "replace").decode()
    return " ".join(text.split())[:limit]
