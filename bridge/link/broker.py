"""What a connection to an MQTT broker is made of: address, login, message, and the TLS context.

Never connects, and never turns a check off except the one flag that ``tls_context`` names.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Optional

from bridge.errors import ConfigError
from bridge.link.dial import split_host


class Tls(NamedTuple):
    """How to check the broker (``ca`` empty: the public CAs) and how to show who we are."""

    ca: str = ""
    cert: str = ""
    key: str = ""


class Broker(NamedTuple):
    """Where a broker is; ``tls`` None is plain TCP."""

    host: str
    port: int
    tls: Optional[Tls] = None


class Message(NamedTuple):
    """One message; ``retain`` on an incoming one means that it is an old value which the broker kept."""

    topic: str
    payload: bytes
    retain: bool = False


class Login(NamedTuple):
    """User name and password; both None means that a client certificate (or nothing) has to do."""

    username: Optional[str] = None
    password: Optional[str] = None

    def __repr__(self) -> str:
        return f"Login({self.username and '***'}, {self.password and '***'})"


NOBODY = Login()


def broker_at(text: str, port: int, tls: Optional[Tls]) -> Broker:
    """Return the broker of a setting ``host`` or ``host:port``; raises ConfigError."""
    try:
        host, port = split_host(text, port)
    except ValueError as error:
        raise ConfigError(f"MQTT broker: {error}") from None
    return Broker(host, port, tls)


def tls_context(tls: Tls) -> Any:
    """Return a context that checks chain and host name; raises ConfigError for files that do not serve.

    Where a CA is pinned, Python 3.13's strictness about CA certificates is switched off, and that alone:
    the vendor's CA, like any made by a plain ``openssl req -x509``, lacks the keyUsage extension.
    """
    import ssl  # 6 MiB that a plain connection does not need

    try:
        context = ssl.create_default_context(cafile=tls.ca or None)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"CA file {tls.ca}: {_reason(error)}; it must be a PEM certificate") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if tls.ca:
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if tls.cert:
        try:
            context.load_cert_chain(tls.cert, tls.key or None, password=lambda: "")
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(
                f"client certificate {tls.cert} with key {tls.key or tls.cert}: {_reason(error)}; both must be PEM, the"
                " key without a pass phrase, and belong together"
            ) from error
    return context


def _reason(error: OSError) -> str:
    return getattr(error, "reason", None) or error.strerror or str(error)
