"""The Envoy itself: requests with the token on them, and what is done when it refuses the token.

Never sends a token over plain HTTP, and never renews one because of a page that an owner may not see: a 401
counts only when the Envoy's own check refuses the token too.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple, Optional

from bridge.errors import PeerError
from bridge.link.envoy_answer import EnvoyAnswer
from bridge.link.envoy_http import EnvoyHttp
from bridge.peers.enphase_errors import TokenRefused
from bridge.peers.enphase_keeper import TokenKeeper
from bridge.peers.envelope import parse

OPEN_PATHS = ("/info", "/info.xml")  # answered without a token
CHECK_PATH = "/auth/check_jwt"
MANY_BYTES = 2 * 1024 * 1024  # production.json of the largest site has some 20 KB
JSON_FIELDS = b"Accept: application/json\r\n"


class EnvoyInfo(NamedTuple):
    """What /info says; None where it does not."""

    serial: Optional[str]
    firmware: Optional[str]
    metered: Optional[bool]
    wants_token: Optional[bool]


class Envoy:
    """One Envoy for many threads."""

    def __init__(self, http: EnvoyHttp, keeper: Optional[TokenKeeper]) -> None:
        self.http, self.keeper = http, keeper
        self.peer = http.peer

    def ask(self, method: str, target: str, fields: bytes = b"", body: bytes = b"") -> EnvoyAnswer:
        """Return the Envoy's answer, whatever its status; after a refused token once more with a new one.

        Raises LinkError, LinkTimeout, CertificateChanged, NoToken, TokenRefused.
        """
        keeper = self.keeper
        if keeper is None or not self.http.address.tls or target.partition("?")[0] in OPEN_PATHS:
            return self.http.ask(method, target, fields, body)
        token = keeper.token()
        answer = self.http.ask(method, target, fields, body, token)
        if answer.status != 401:
            return answer
        answer.drop()
        accepted = self.accepts(token)
        if accepted:  # the token is good, this page is for installers: let the Envoy say so
            return self.http.ask(method, target, fields, body, token)
        if keeper.refused(token):
            token = keeper.token()
            answer = self.http.ask(method, target, fields, body, token)
            if answer.status != 401 or accepted is None:
                return answer
            answer.drop()
        raise TokenRefused(
            f"{self.peer}: token refused by the Envoy (401), a new one too; check enphase.serial and its clock;"
            " after a firmware update wait some minutes"
        )

    def accepts(self, token: str) -> Optional[bool]:
        """Ask the Envoy what it thinks of a token; None when it does not say."""
        answer = self.http.ask("GET", CHECK_PATH, token=token)
        answer.body(MANY_BYTES)
        return {200: True, 401: False}.get(answer.status)

    def json(self, target: str) -> Any:
        """Return the JSON at ``target``, or None where the Envoy has none; raises as ``ask``, and PeerError."""
        answer = self.ask("GET", target, JSON_FIELDS)
        content = answer.body(MANY_BYTES)
        if answer.status in (301, 302, 303, 307, 401, 403, 404):
            return None
        if answer.status != 200:
            raise PeerError(f"{self.peer} {target}: status {answer.status}; tried again later")
        try:
            return parse(content.decode("utf-8", "replace"))
        except ValueError:
            raise PeerError(f"{self.peer} {target}: the answer is not JSON; check enphase.local_url") from None

    def info(self) -> EnvoyInfo:
        """Return what the Envoy says of itself without a token; raises LinkError, PeerError."""
        answer = self.ask("GET", "/info")
        text = answer.body(MANY_BYTES).decode("utf-8", "replace")
        if answer.status != 200 or "<envoy_info" not in text:
            raise PeerError(f"{self.peer} /info: this is no Envoy (status {answer.status}); check enphase.local_url")
        return EnvoyInfo(element(text, "sn"), element(text, "software"), flag(text, "imeter"), flag(text, "web-tokens"))

    def tend(self) -> None:
        """Renew the token when that is due; for who asks regularly and has no thread for it."""
        if self.keeper is not None:
            self.keeper.tend()

    def close(self) -> None:
        """Drop the connections."""
        self.http.close()
        if self.keeper is not None:
            self.keeper.close()


def element(xml: str, name: str) -> Optional[str]:
    """Return the text of the first element of that name."""
    found = re.search(rf"<{name}>\s*([^<]*?)\s*</{name}>", xml)
    return found.group(1) if found else None


def flag(xml: str, name: str) -> Optional[bool]:
    """Return an element that is true or false."""
    text = element(xml, name)
    return None if text is None else text == "true"
