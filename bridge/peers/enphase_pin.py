"""Remembers the Envoy's certificate: the first one seen is pinned, another one is refused and reported.

Never lets a connection to another certificate carry a token; only the owner accepts a new one. State files:
``enphase-pin.json`` holds the fingerprint of each address.
"""

from __future__ import annotations

import logging
import threading
from typing import Any, Dict, Optional, Protocol

from bridge.errors import ConfigError
from bridge.peers.enphase_errors import CertificateChanged

FILE = "enphase-pin.json"
HEX = frozenset("0123456789abcdef")

log = logging.getLogger("enphase")


class Store(Protocol):
    """Where the pin outlives the process; ``bridge.state.StateDir``."""

    def load(self, name: str) -> Optional[Any]: ...

    def save(self, name: str, content: Any, durable: bool = False) -> bool: ...


class CertificatePin:
    """The pin of one address; ``told`` (enphase.cert_fingerprint) beats what was seen first."""

    def __init__(self, store: Store, where: str, told: str = "", keep: bool = True) -> None:
        self._store, self._where, self._keep = store, where, keep
        self._told = fingerprint(told) if told else ""
        self._turn = threading.Lock()
        self._known = ""
        self._reported = ""
        self.seen = ""

    @property
    def known(self) -> str:
        """The fingerprint that is accepted, or '' before the first connection."""
        return self._told or self._known or self._stored().get(self._where, "")

    def check(self, found: str) -> None:
        """Accept the pinned certificate, or the first one; raises CertificateChanged."""
        self.seen = found
        if found == (self._told or self._known):
            return
        with self._turn:
            known = self._told or self._stored().get(self._where, "") or (self._known if not self._keep else "")
            if not known:
                self._pin(found)
            elif found != known:
                if self._reported != found:
                    self._reported = found
                    log.error("state=certificate-changed host=%s pinned=%s found=%s", self._where, known, found)
                raise CertificateChanged(
                    f"envoy {self._where}: its certificate has changed, so nothing is sent to it (pinned"
                    f" {short(known)}, found {short(found)}); after a firmware update or an exchange of the Envoy run:"
                    " sigen-bridge enphase setup --accept-certificate"
                )
            self._known = known or found

    def accept(self) -> None:
        """Pin what was seen last, whatever was pinned before."""
        if self._told and self.seen != self._told:
            raise ConfigError(f"setting enphase.cert_fingerprint pins another certificate; set it to {self.seen}")
        with self._turn:
            self._pin(self.seen)
            self._known = self.seen

    def _pin(self, found: str) -> None:
        self._known = found
        if not self._keep:
            return
        stored = self._stored()
        log.info("state=certificate-pinned host=%s sha256=%s", self._where, found)
        if not self._store.save(FILE, {**stored, self._where: found}, durable=True):
            log.warning("state=not-stored reason=\"state directory not writable; set enphase.cert_fingerprint\"")

    def _stored(self) -> Dict[str, str]:
        content = self._store.load(FILE)
        if not isinstance(content, dict):
            return {}
        return {str(where): one for where, one in content.items() if isinstance(one, str)}


def fingerprint(text: str) -> str:
    """Return a SHA-256 fingerprint as 64 hex digits; colons, blanks and capitals do not count. Raises ConfigError."""
    digits = "".join(text.rpartition("=")[2].lower().replace(":", "").split())  # openssl writes a name and "=" first
    if len(digits) != 64 or not set(digits) <= HEX:
        raise ConfigError("setting enphase.cert_fingerprint: must be a SHA-256 fingerprint, 64 hex digits")
    return digits


def short(digits: str) -> str:
    """Return the beginning of a fingerprint, enough to compare by eye."""
    return f"{digits[:12]}..."
