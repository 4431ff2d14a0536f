"""Who may ask the HTTP server for what: host name, origin, token and cookie, decided before any route runs.

Never lets a write pass without the token, and never takes a cookie for it: a cookie is proof enough for
looking only. Decides on headers alone and opens nothing.
"""

from __future__ import annotations

import re
from typing import Mapping, NamedTuple, Optional

from bridge.link.http_words import Answer, Request, text_answer

LOOPBACK = ("127.0.0.1", "localhost", "::1")
OPEN = "/healthz"  # a supervisor or load balancer asks this one without a token
COOKIE_S = 90 * 86400
# A public name that was pointed at this machine (DNS rebinding) ends in none of these.
HOME = (".local", ".lan", ".home", ".internal", ".localdomain", ".home.arpa", ".fritz.box")
FORM = b"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark"><link rel="icon" href="data:,"><title>sigen-bridge</title></head>
<body><h1>sigen-bridge</h1><p>This page needs the token of the bridge (setting <code>status.token</code>).</p>
<form action="/" method="get"><p><label>Token <input type="password" name="token" required autofocus></label>
<button>Show the page</button></p></form></body></html>
"""
FORM_POLICY = "default-src 'none'; img-src data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"


class Gate(NamedTuple):
    """The rules of one server: is it bound to this machine only, its port, its token ("" is none)."""

    loopback: bool
    port: int
    token: str

    def reading(self, request: Request) -> Optional[Answer]:
        """Return the refusal of a GET, or None; also what turns a token into a cookie."""
        foreign = self._foreign(request.headers)
        if foreign is not None:
            return foreign
        if not self.token or self.loopback or request.path == OPEN:
            return None
        if request.path == "/" and self._is_token(request.query.get("token", "")):
            return text_answer(303, "the token is known now", (
                ("Location", "/"), ("Set-Cookie", f"{self._cookie_name()}={self._proof()}; Path=/;"
                 f" Max-Age={COOKIE_S}; HttpOnly; SameSite=Strict")))
        if self._token_shown(request.headers) or self._cookie_shown(request.headers):
            return None
        asks = (("WWW-Authenticate", "Bearer"),)
        if request.path == "/":
            return Answer(401, "text/html; charset=utf-8", FORM, (*asks, ("Content-Security-Policy", FORM_POLICY)))
        return text_answer(401, "a token is needed: Authorization: Bearer ...", asks)

    def writing(self, request: Request) -> Optional[Answer]:
        """Return the refusal of a POST, or None."""
        foreign = self._foreign(request.headers)
        if foreign is not None:
            return foreign
        if request.headers.get("origin"):
            return text_answer(403, "a page of a browser may not write here")
        if not self.token:
            return text_answer(403, "writing needs a token: set status.token")
        if not self._token_shown(request.headers):
            return text_answer(401, "a token is needed: Authorization: Bearer ...", (("WWW-Authenticate", "Bearer"),))
        return None

    def _foreign(self, headers: Mapping[str, str]) -> Optional[Answer]:
        """Refuse who came under a name that is not ours, and pages of other origins."""
        host = headers.get("host", "").lower()
        name = host_name(host)
        if self.loopback and name not in LOOPBACK:
            return text_answer(403, "this address is served under its own name only")
        if not self.loopback and not self.token and not _is_home(name):
            return text_answer(403, "served under names of a home network only; another needs status.token")
        origin = headers.get("origin", "")
        if origin and origin.lower().partition("://")[2] != host:
            return text_answer(403, "a page of another origin may not ask here")
        site = headers.get("sec-fetch-site", "none")
        if site in ("cross-site", "same-site") and headers.get("sec-fetch-mode") != "navigate":
            return text_answer(403, "a page of another origin may not ask here")
        return None

    def _is_token(self, shown: str) -> bool:
        from hmac import compare_digest  # brings in OpenSSL; most bridges have no token

        return compare_digest(shown.encode(), self.token.encode())

    def _token_shown(self, headers: Mapping[str, str]) -> bool:
        scheme, _, shown = headers.get("authorization", "").partition(" ")
        return scheme.lower() == "bearer" and self._is_token(shown.strip())

    def _cookie_shown(self, headers: Mapping[str, str]) -> bool:
        from hmac import compare_digest

        crumbs = [crumb.strip().partition("=") for crumb in headers.get("cookie", "").split(";")]
        proof, name = self._proof().encode(), self._cookie_name()
        return any(crumb == name and compare_digest(value.encode(), proof) for crumb, _, value in crumbs)

    def _cookie_name(self) -> str:
        """Cookies do not know ports: two bridges of one machine must not take each other's."""
        return f"sigen_bridge_{self.port}"

    def _proof(self) -> str:
        """What a cookie holds: made from the token, worthless for writing, and the token cannot be had from it."""
        import hmac

        return hmac.new(self.token.encode(), b"sigen-bridge may look", "sha256").hexdigest()


def host_name(header: str) -> str:
    """Return the name in a Host header, without the port."""
    if header.startswith("["):
        return header[1:].partition("]")[0]
    return header.partition(":")[0].lower().rstrip(".")


def _is_home(name: str) -> bool:
    return "." not in name or name.endswith(HOME) or re.fullmatch(r"[0-9.]+", name) is not None
