"""Asks a running bridge over its own HTTP interface; only ``post_json`` may make it write, with its token."""

from __future__ import annotations

import json
import socket
from typing import Any, Dict, Optional, Tuple

from bridge.errors import LinkError, LinkTimeout, PeerError
from bridge.link.dial import host_bytes

MAX_BODY = 4 * 1024 * 1024


def somebody_listens(address: str, timeout_s: float) -> bool:
    """Say whether a TCP connection to "host:port" comes about."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host_bytes(host), int(port)), timeout_s).close()
    except OSError:
        return False
    return True


def get_json(address: str, path: str, timeout_s: float, token: str = "") -> Dict[str, Any]:
    """Return the JSON object at ``path`` of the bridge at "host:port"; a 503 answer counts as one.

    Raises LinkError or LinkTimeout when nothing answers, PeerError when it is not a bridge.
    """
    status, content = _exchange(address, "GET", path, timeout_s, token, None)
    if status == 401:
        raise PeerError(f"{address}: the bridge wants its token; set status.token")
    if status not in (200, 503) or content is None:
        raise PeerError(f"{address}: what answers there is not a bridge (status {status})")
    return content


def post_json(
    address: str, path: str, body: Dict[str, Any], timeout_s: float, token: str
) -> Tuple[int, Dict[str, Any]]:
    """Send a write to the bridge at "host:port"; returns the status and its JSON answer.

    Raises LinkError or LinkTimeout when nothing answers, PeerError when it is not a bridge or refuses the token.
    """
    status, content = _exchange(address, "POST", path, timeout_s, token, json.dumps(body).encode())
    if status in (401, 403):
        raise PeerError(
            f"{address}: the bridge takes writes only with its token;"
            " set the same status.token for it and for this command"
        )
    if content is None:
        raise PeerError(f"{address}: what answers there takes no {path} (status {status})")
    return status, content


def _exchange(
    address: str, method: str, path: str, timeout_s: float, token: str, body: Optional[bytes]
) -> Tuple[int, Optional[Dict[str, Any]]]:
    import http.client  # costs more than the question; most callers find nobody listening

    headers = {"Authorization": f"Bearer {token}"} if token else {}
    connection = http.client.HTTPConnection(address, timeout=timeout_s)
    try:
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        received = answer.read(MAX_BODY)
    except OSError as error:
        kind = LinkTimeout if isinstance(error, socket.timeout) else LinkError  # TimeoutError only from 3.10 on
        raise kind(f"{address}: {error.strerror or error}") from error
    except http.client.HTTPException as error:
        raise PeerError(f"{address}: what answers there is not a bridge ({type(error).__name__})") from error
    finally:
        connection.close()
    try:
        content = json.loads(received)
    except ValueError:
        content = None
    return answer.status, content if isinstance(content, dict) else None
