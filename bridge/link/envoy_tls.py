"""Connections to an Envoy on the local network: TLS, and the certificate judged before anything is sent.

Never verifies the certificate against an authority (an Envoy signs its own) and never relaxes that for any
other host: this context is used for the one address it was made for. What stands in for the authority is
``Pin``: it sees the fingerprint of every new connection and raises when it is not the known one.
"""

from __future__ import annotations

import contextlib
import hashlib
import socket
import ssl
from typing import NamedTuple, Optional, Protocol
from urllib.parse import urlsplit

from bridge.errors import ConfigError, LinkError, LinkTimeout
from bridge.link.dial import connect

CONNECT_TIMEOUT_S = 5.0  # an Envoy is slow to answer, not slow to connect


class Address(NamedTuple):
    """Where an Envoy is; ``prefix`` is a path in front of all others, usually ''."""

    tls: bool
    host: str
    port: int
    prefix: str

    @property
    def authority(self) -> str:
        """host[:port] as it stands in a Host header."""
        shown = f"[{self.host}]" if ":" in self.host else self.host
        return shown if self.port == (443 if self.tls else 80) else f"{shown}:{self.port}"


class Pin(Protocol):
    """What decides about a certificate."""

    def check(self, fingerprint: str) -> None:
        """Return for a known certificate; raises for another one. 64 hex digits, SHA-256 of the DER."""


def address_of(url: str) -> Address:
    """Split enphase.local_url: an IP address or name alone means https; raises ConfigError."""
    text = url.strip()
    if not text:
        raise ConfigError("no Envoy is configured: set enphase.local_url = https://ADDRESS of the Envoy")
    try:
        parts = urlsplit(text if "://" in text else f"https://{text}")
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username:
        raise ConfigError("setting enphase.local_url: must look like https://envoy.local or an IP address")
    tls = parts.scheme == "https"
    return Address(tls, parts.hostname, port or (443 if tls else 80), parts.path.rstrip("/"))


class EnvoyDoor:
    """Opens connections to one Envoy."""

    def __init__(self, address: Address, pin: Pin, timeout_s: float = CONNECT_TIMEOUT_S) -> None:
        self.address, self.peer = address, f"envoy {address.host}:{address.port}"
        self._pin, self._timeout_s = pin, timeout_s
        self._context: Optional[ssl.SSLContext] = None

    def open(self) -> socket.socket:
        """Return a connection whose certificate is the pinned one; raises LinkError, LinkTimeout, what Pin raises."""
        tcp = connect("envoy", self.address.host, self.address.port, self._timeout_s)
        with contextlib.ExitStack() as unfinished:
            unfinished.callback(tcp.close)
            tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self.address.tls:
                tls = self._secured(tcp)
                unfinished.callback(tls.close)
                der = tls.getpeercert(binary_form=True)
                self._pin.check(hashlib.sha256(der or b"").hexdigest())
                tcp = tls
            unfinished.pop_all()
        return tcp

    def _secured(self, tcp: socket.socket) -> ssl.SSLSocket:
        if self._context is None:
            self._context = unverified()
        try:
            return self._context.wrap_socket(tcp, server_hostname=self.address.host)
        except socket.timeout as error:
            raise LinkTimeout(
                f"{self.peer}: connected, but no TLS handshake in {self._timeout_s:g} s; is it starting up?"
            ) from error
        except ssl.SSLError as error:
            raise LinkError(
                f"{self.peer}: no TLS there ({error.reason or 'handshake failed'}); firmware before 7 and proxies"
                " want http:// in enphase.local_url"
            ) from error
        except OSError as error:
            raise LinkError(
                f"{self.peer}: hung up during the TLS handshake ({error.strerror or 'closed'}); is it restarting?"
            ) from error


def unverified() -> ssl.SSLContext:
    """Return a context for a self-signed device; who uses it must look at the certificate itself."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_ciphers("DEFAULT")  # older Envoys know nothing of Python's shorter list
    return context
