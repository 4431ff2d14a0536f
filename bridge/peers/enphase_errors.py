"""How talking to Enphase fails, by who has to act.

Never carries a token, a password or a session.
"""

from __future__ import annotations

from typing import Optional

from bridge.errors import EXIT_CLOUD, EXIT_REFUSED, AuthError, PeerError


class LoginRejected(AuthError):
    """Enlighten does not accept the account; the owner has to act."""

    exit_code = EXIT_CLOUD


class EnlightenError(PeerError):
    """Enlighten or the token service answered, but gave no token."""

    exit_code = EXIT_CLOUD


class NoToken(AuthError):
    """There is no token to send right now; ``retry_after_s`` tells when it is tried again."""

    exit_code = EXIT_CLOUD

    def __init__(self, message: str, retry_after_s: Optional[float] = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class TokenRefused(AuthError):
    """The Envoy answers 401 to the token, and there is no better one."""

    exit_code = EXIT_CLOUD


class CertificateChanged(PeerError):
    """The Envoy shows another certificate than the pinned one; nothing is sent to it."""

    exit_code = EXIT_REFUSED
