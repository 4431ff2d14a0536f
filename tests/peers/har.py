"""A browser's recording of a sign-in to mySigen, as Chrome writes it; every value is made up."""

from __future__ import annotations

import base64
import json
from urllib.parse import urlencode

from tests.peers.app_bench import ENCODED, STATION, USER

BASE = "https://api-aus.sigencloud.com"
FORM = {
    "username": USER, "password": ENCODED, "scope": "server", "grant_type": "password",
    "userDeviceId": "1767225600123",
}


def entry(method, url, text=None, answer=None, encoded=False, params=None):
    """Return one request with its answer."""
    request = {"method": method, "url": url, "headers": [{"name": "Cookie", "value": "secret-cookie"}]}
    if text is not None or params is not None:
        request["postData"] = {"mimeType": "application/x-www-form-urlencoded", **({"text": text} if text else {}),
                               **({"params": params} if params else {})}
    content = {}
    if answer is not None:
        body = json.dumps(answer)
        content = {"mimeType": "application/json", "text": body}
        if encoded:
            content = {**content, "text": base64.b64encode(body.encode()).decode(), "encoding": "base64"}
    return {"request": request, "response": {"status": 200, "content": content}}


def login(**fields):
    """Return the sign-in."""
    tokens = {"code": 0, "data": {"access_token": "secret-token", "refresh_token": "secret-token"}}
    return entry("POST", f"{BASE}/auth/oauth/token", urlencode({**FORM, **fields}), tokens)


def home(encoded=False):
    """Return the answer that holds the station."""
    return entry("GET", f"{BASE}/device/owner/station/home", answer={"code": 0, "data": {"stationId": STATION}},
                 encoded=encoded)


def har(*entries):
    """Return a whole recording."""
    rest = (entry("GET", "https://app-aus.sigencloud.com/"), login(), home())
    return {"log": {"version": "1.2", "entries": list(entries or rest)}}
