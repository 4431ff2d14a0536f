"""What a recording of the browser (a HAR file) tells about a mySigen account: the settings, not the session.

Never keeps a token or a cookie of the recording: only what is needed to log in again, and the station.
"""

from __future__ import annotations

import base64
import re
from typing import Any, Dict, Iterator, Mapping, NamedTuple, Optional

from bridge.errors import ConfigError
from bridge.link.cloud import form_fields, host_of, path_and_query, percent_decoded
from bridge.peers.envelope import integer, parse, text_of
from bridge.peers.sigen_codes import REGIONS

TOKEN_PATH, HOME_PATH, SAVE_PATH = "/auth/oauth/token", "/device/owner/station/home", "/device/stationelecsetprice/save"
BLOCK_BYTES = 16
HAR_MAX = 64 * 1024 * 1024  # recordings of an hour of browsing are some tens of MB


class Found(NamedTuple):
    """What the recording held; None for what it did not."""

    region: Optional[str] = None
    username: Optional[str] = None
    password_encoded: Optional[str] = None
    device_id: Optional[str] = None
    station_id: Optional[str] = None


def found_in(text: str) -> Found:
    """Return what a HAR file tells; a later request beats an earlier one.

    Raises ConfigError for text that is no HAR file, and for one without a login or a station in it.
    """
    if len(text) > HAR_MAX:
        raise ConfigError(f"--from-har: the file is larger than {HAR_MAX // 2**20} MiB; record only the sign-in")
    try:
        whole = parse(text)
    except ValueError:
        raise ConfigError("--from-har: the file is not JSON; save it with 'Export HAR' or 'Save all as HAR'") from None
    log = whole.get("log") if isinstance(whole, dict) else None
    entries = log.get("entries") if isinstance(log, dict) else None
    if not isinstance(entries, list):
        raise ConfigError("--from-har: the file is JSON, but no HAR file: it has no log.entries")
    found, weak = Found(), None
    for entry in entries:
        request = entry.get("request") if isinstance(entry, dict) else None
        url = text_of(request.get("url")) if isinstance(request, dict) else None
        if not url or not isinstance(request, dict):
            continue
        path, query = path_and_query(url)
        region = _region(url)
        found = found._replace(region=region or found.region)
        if path.endswith(TOKEN_PATH):
            found = _with_login(found, _form(request))
        elif path.endswith(HOME_PATH):
            found = found._replace(station_id=_number(_answer(entry)) or found.station_id)
        elif path.endswith(SAVE_PATH):
            found = found._replace(station_id=_number(_body(request)) or found.station_id)
        elif region and re.fullmatch("[0-9]+", query.get("stationId", "")):
            weak = query["stationId"]
    found = found._replace(station_id=found.station_id or weak)
    if not (found.password_encoded or found.device_id or found.station_id):
        raise ConfigError(
            "--from-har: no sign-in to mySigen is in the file; open the developer tools (F12, Network) before you"
            " sign in at app-REGION.sigencloud.com, then save everything as HAR"
        )
    return found


def _with_login(found: Found, form: Mapping[str, str]) -> Found:
    if form.get("grant_type", "password") != "password":
        return found
    password = form.get("password", "").replace(" ", "+")
    return found._replace(
        username=form.get("username") or found.username,
        password_encoded=password if _is_encoded(password) else found.password_encoded,
        device_id=form.get("userDeviceId") or found.device_id,
    )


def _is_encoded(password: str) -> bool:
    try:
        content = base64.b64decode(password, validate=True)
    except ValueError:
        return False
    return bool(content) and len(content) % BLOCK_BYTES == 0


def _region(url: str) -> Optional[str]:
    try:
        host = host_of(url).partition(":")[0]
    except ConfigError:
        return None
    return next((row.name for row in REGIONS if host == row.app_host), None)


def _form(request: Mapping[str, Any]) -> Dict[str, str]:
    """Return the fields of a form; browsers list them raw (text), and some only one by one (params)."""
    data = request.get("postData")
    if not isinstance(data, dict):
        return {}
    text = text_of(data.get("text"))
    if text:
        return form_fields(text)
    return {
        percent_decoded(text_of(row.get("name")) or ""): percent_decoded(text_of(row.get("value")) or "")
        for row in _dicts(data.get("params"))
    }


def _dicts(rows: Any) -> Iterator[Mapping[str, Any]]:
    for row in rows if isinstance(rows, list) else ():
        if isinstance(row, dict):
            yield row


def _body(request: Mapping[str, Any]) -> Any:
    data = request.get("postData")
    return _json(text_of(data.get("text"))) if isinstance(data, dict) else None


def _answer(entry: Mapping[str, Any]) -> Any:
    response = entry.get("response")
    content = response.get("content") if isinstance(response, dict) else None
    text = text_of(content.get("text")) if isinstance(content, dict) else None
    if isinstance(content, dict) and text and content.get("encoding") == "base64":
        try:
            text = base64.b64decode(text).decode("utf-8", "replace")
        except ValueError:
            return None
    whole = _json(text)
    return whole.get("data") if isinstance(whole, dict) else None


def _json(text: Optional[str]) -> Any:
    try:
        return parse(text) if text else None
    except ValueError:
        return None


def _number(content: Any) -> Optional[str]:
    found = integer(content.get("stationId")) if isinstance(content, dict) else None
    return str(found) if found is not None and found > 0 else None


def redacted(name: str, text: str) -> str:
    """Return a value fit for a screen: an id by its ends, a user by its domain, a secret by its length."""
    if name in ("password_encoded", "password", "bearer", "token"):
        return f"{len(text)} characters, not shown"
    if name == "username" and "@" in text:
        return re.sub(r"(?<=^.).*(?=@)", "***", text)
    if name in ("device_id", "station_id", "username") and len(text) > 6:
        return f"{text[:3]}***{text[-3:]}"
    return text
