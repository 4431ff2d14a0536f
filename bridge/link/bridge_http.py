"""Asks a running bridge over its own HTTP interface; reads only."""

from __future__ import annotations

import json
import socket
from typing import Any, Dict

from bridge.errors import LinkError, LinkTimeout, PeerError

MAX_BODY = 4 * 1024 * 1024


def somebody_listens(address: str, timeout_s: float) -> bool:
    """Say whether a TCP connection to "host:port" comes about."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout_s).close()
    except OSError:
        return False
    return True


def get_json(address: str, path: str, timeout_s: float, token: str = "") -> Dict[str, Any]:
    """Return the JSON object at ``path`` of the bridge at "host:port"; a 503 answer counts as one.

    Raises LinkError or LinkTimeout when nothing answers, PeerError when it is not a bridge.
    """
    import http.client  # costs more than the question; most callers find nobody listening

    headers = {"Authorization": f"Bearer {token}"} if token else {}
    connection = http.client.HTTPConnection(address, timeout=timeout_s)
    try:
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        body = answer.read(MAX_BODY)
    except OSError as error:
        kind = LinkTimeout if isinstance(error, socket.timeout) else LinkError  # TimeoutError only from 3.10 on
        raise kind(f"{address}: {error.strerror or error}") from error
    except http.client.HTTPException as error:
        raise PeerError(f"{address}: what answers there is not a bridge ({type(error).__name__})") from error
    finally:
        connection.close()
    if answer.status == 401:
        raise PeerError(f"{address}: the bridge wants its token; set status.token")
    try:
        content = json.loads(body)
    except ValueError:
        content = None
    if answer.status not in (200, 503) or not isinstance(content, dict):
        raise PeerError(f"{address}: what answers there is not a bridge (status {answer.status})")
    return content
