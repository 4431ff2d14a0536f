"""The ways things fail, grouped by who has to act.

Never carries a secret: the text of every error here may reach a log or a terminal.
Texts say what was attempted, on what peer, what came back, and what to do.
"""

from __future__ import annotations

from typing import Optional

EXIT_OK = 0
EXIT_USAGE = 2
EXIT_PLANT = 3
EXIT_IMPLAUSIBLE = 4
EXIT_SHELLY = 5
EXIT_CLOUD = 6
EXIT_RATE_LIMIT = 7
EXIT_REFUSED = 8
EXIT_DOCTOR = 10


class BridgeError(Exception):
    """Something this program knows how to name; ``exit_code`` is for the command line."""

    exit_code = 1


class ConfigError(BridgeError):
    """The operator has to change a setting; never retried."""

    exit_code = EXIT_USAGE


class LinkError(BridgeError):
    """No usable answer from the other end (refused, reset, silent); transient, retried."""

    exit_code = EXIT_PLANT


class LinkTimeout(LinkError):
    """Connected, asked, and nothing came back in time."""


class BridgeRefused(LinkError):
    """The running bridge does not hand out what it was asked for, or not now; the plant itself may be asked."""


class PeerError(BridgeError):
    """The other end answered, but not usefully."""

    exit_code = EXIT_PLANT


class DeviceException(PeerError):
    """A Modbus exception reply; ``code`` is 1 function, 2 address, 3 value, 4 failure, 5, 6, ..."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


class ImplausibleData(PeerError):
    """The values that came back cannot be true."""

    exit_code = EXIT_IMPLAUSIBLE


class AuthError(PeerError):
    """Credentials were not accepted; renew once, then the operator acts."""


class RateLimited(PeerError):
    """The peer, or our own limiter on its behalf, asks us to wait ``retry_after_s`` seconds."""

    exit_code = EXIT_RATE_LIMIT

    def __init__(self, message: str, retry_after_s: Optional[float] = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class Rejected(PeerError):
    """The peer refused this request with a ``code`` of its own; asking again will not help."""

    def __init__(self, message: str, code: Optional[int] = None) -> None:
        super().__init__(message)
        self.code = code


class ShellyError(PeerError):
    """The Shelly cannot show the values; the operator may have to act."""

    exit_code = EXIT_SHELLY


class Refused(BridgeError):
    """A safety rule forbids it."""

    exit_code = EXIT_REFUSED
