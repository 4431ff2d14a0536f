"""HTTP(S) to a vendor's cloud: one request, one bounded answer. The only importer of ``requests``.

Never logs or quotes a body, a header or a query; never follows a redirect (the bearer token would travel
along); never takes proxies, .netrc or certificates from the environment.
"""

from __future__ import annotations

import json
import threading
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Tuple, Union
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from bridge.clock import Clock
from bridge.errors import EXIT_CLOUD, ConfigError, LinkError, LinkTimeout, PeerError

CONNECT_TIMEOUT_S = 5.0  # a TCP and TLS handshake across the world takes well under 1 s
READ_TIMEOUT_S = 10.0  # the slowest answers of the vendors take 2-4 s
TOTAL_TIMEOUT_S = 30.0  # ends a body that drips in byte by byte
MAX_BODY_BYTES = 2 * 1024 * 1024  # the largest true answer is a few 100 KB
CHUNK_BYTES = 64  # small, so that a dripping body cannot outlast TOTAL_TIMEOUT_S by much
DEFAULT_USER_AGENT = "Mozilla/5.0 (X11; Linux) sigen-bridge"  # library names are blocked by the vendors' WAF

NOT_SENT = ("NewConnectionError", "NameResolutionError", "ConnectTimeoutError", "gaierror")


class CloudUnreachable(LinkError):
    """No connection, or it broke; with ``sent`` False the request certainly never left."""

    exit_code = EXIT_CLOUD

    def __init__(self, message: str, sent: bool = True) -> None:
        super().__init__(message)
        self.sent = sent


class CloudTimeout(LinkTimeout):
    """Connected, asked, and the answer did not come in time; it may have been acted on."""

    exit_code = EXIT_CLOUD


class CloudGarbled(PeerError):
    """An answer came that is no usable HTTP body."""

    exit_code = EXIT_CLOUD


class CloudReply(NamedTuple):
    """What came back; header names are lower case."""

    status: int
    headers: Mapping[str, str]
    text: str

    def __repr__(self) -> str:  # a login answer holds a token
        return f"CloudReply(status={self.status}, {len(self.text)} characters)"


class CloudHttp:
    """One keep-alive session; requests from several threads take turns.

    ``verify`` is True, or the path of a CA file for a private server.
    """

    def __init__(
        self, clock: Clock, user_agent: str = DEFAULT_USER_AGENT, verify: Union[bool, str] = True,
        connect_timeout_s: float = CONNECT_TIMEOUT_S, read_timeout_s: float = READ_TIMEOUT_S,
        total_timeout_s: float = TOTAL_TIMEOUT_S,
    ) -> None:
        self._clock = clock
        self._user_agent = user_agent
        self._verify = verify
        self._timeouts_s = (connect_timeout_s, read_timeout_s)
        self._total_timeout_s = total_timeout_s
        self._session: Any = None
        self._turn = threading.Lock()

    def request(
        self, method: str, url: str, headers: Optional[Mapping[str, str]] = None,
        query: Optional[Mapping[str, str]] = None, json_body: Any = None,
        form: Optional[Mapping[str, str]] = None,
    ) -> CloudReply:
        """Send one request and return the answer, whatever its status.

        Raises CloudUnreachable, CloudTimeout, CloudGarbled (body too large or broken off) and ConfigError
        (unusable URL or header, ``requests`` not installed).
        """
        library = import_requests()
        host = host_of(url)
        all_headers: Dict[str, str] = {"User-Agent": self._user_agent, "Accept": "application/json"}
        body: Optional[bytes] = None
        if form is not None:
            body = urlencode(form).encode()
            all_headers["Content-Type"] = "application/x-www-form-urlencoded"
        elif json_body is not None:
            body = json.dumps(json_body, separators=(",", ":")).encode()
            all_headers["Content-Type"] = "application/json"
        all_headers.update(headers or {})
        what = f"{method} {urlsplit(url).path} at {host}"
        with self._turn:
            if self._session is None:
                self._session = library.Session()
                self._session.trust_env = False
            try:
                return self._exchange(method, url, all_headers, query, body, what)
            except library.exceptions.SSLError:
                raise CloudUnreachable(
                    f"{what}: its TLS certificate was not accepted; check this machine's date and the"
                    " base URL", sent=False,
                ) from None
            except library.exceptions.ConnectTimeout:
                raise CloudUnreachable(
                    f"{what}: no connection in {self._timeouts_s[0]:g} s; check the internet connection",
                    sent=False,
                ) from None
            except library.exceptions.ReadTimeout:
                raise self._timeout(what) from None
            except (library.exceptions.ChunkedEncodingError, library.exceptions.ContentDecodingError):
                raise CloudGarbled(f"{what}: the answer broke off or is damaged; tried again later") from None
            except library.exceptions.ConnectionError as cause:
                reasons = reason_names(cause)
                if "ReadTimeoutError" in reasons:
                    raise self._timeout(what) from None
                sent = not any(name in reasons for name in NOT_SENT)
                came = "the connection was cut" if sent else "no connection (no such name, refused, no route)"
                raise CloudUnreachable(f"{what}: {came}; check the internet connection", sent) from None
            except (library.exceptions.RequestException, ValueError):
                # the cause may quote the header or the URL it dislikes: it is not chained
                raise ConfigError(
                    f"{what}: the URL or a header is not usable; check base URL, user agent and credentials"
                    " for stray characters"
                ) from None

    def _exchange(
        self, method: str, url: str, headers: Mapping[str, str], query: Optional[Mapping[str, str]],
        body: Optional[bytes], what: str,
    ) -> CloudReply:
        until = self._clock.monotonic() + self._total_timeout_s
        with self._session.request(
            method, url, headers=headers, params=query, data=body, timeout=self._timeouts_s,
            verify=self._verify, allow_redirects=False, stream=True,
        ) as reply:
            content = bytearray()
            for chunk in reply.iter_content(CHUNK_BYTES):
                content += chunk
                if len(content) > MAX_BODY_BYTES:
                    raise CloudGarbled(
                        f"{what}: the answer is larger than {MAX_BODY_BYTES} bytes; check the base URL"
                    )
                if self._clock.monotonic() > until:
                    raise self._timeout(what)
            lower = {name.lower(): value for name, value in reply.headers.items()}
            return CloudReply(reply.status_code, lower, content.decode("utf-8", "replace"))

    def _timeout(self, what: str) -> CloudTimeout:
        return CloudTimeout(f"{what}: no complete answer in time; check the internet connection")

    def close(self) -> None:
        """Drop the connections; the next request opens new ones."""
        with self._turn:
            if self._session is not None:
                self._session.close()
                self._session = None


def import_requests() -> Any:
    """Return the requests package; raises ConfigError where it is not installed."""
    try:
        import requests
    except ImportError:
        raise ConfigError(
            "the cloud needs the Python package requests, which is not installed;"
            " install it with: pip install requests (OpenWrt: opkg install python3-requests)"
        ) from None
    return requests


def host_of(url: str) -> str:
    """Return host[:port] of an http(s) URL, without any credentials in it; raises ConfigError."""
    try:
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        parts, port = urlsplit(""), ""
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError("the cloud base URL must look like https://host or http://host:port")
    return f"{parts.hostname}{port}"


def path_part(text: str) -> str:
    """Return an id as one part of a URL's path, whatever characters are in it."""
    return quote(text, safe="")


def path_and_query(url: str) -> Tuple[str, Dict[str, str]]:
    """Return path and query fields of a URL, ("", {}) for text that is none."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "", {}
    return parts.path, form_fields(parts.query)


def form_fields(text: str) -> Dict[str, str]:
    """Return the fields of a form as it is sent (name=text&...); the last one of a name counts."""
    return dict(parse_qsl(text, keep_blank_values=True))


def percent_decoded(text: str) -> str:
    """Return a text without its percent escapes; a plus stays a plus."""
    return unquote(text)


def reason_names(cause: BaseException) -> str:
    """Return the class names of what lies behind a library error, nested ones included."""
    names: List[str] = []
    seen: Any = cause
    while isinstance(seen, BaseException) and len(names) < 10:
        names.append(type(seen).__name__)
        inner = [arg for arg in seen.args if isinstance(arg, BaseException)]
        reason = vars(seen).get("reason")  # urllib3's MaxRetryError keeps its cause there
        seen = reason if isinstance(reason, BaseException) else inner[0] if inner else None
    return " ".join(names)
