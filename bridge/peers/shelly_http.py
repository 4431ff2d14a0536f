"""Shelly RPC over HTTP: ``POST /rpc``, one call after the other, on a Shelly each on its own connection.

Never runs two calls at once: the device has six channels for everybody, and drops the oldest call when
they run out. Facts: shelly.md 1.1 and 1.4.
"""

from __future__ import annotations

import json
from typing import Any, Mapping, Sequence

from bridge.errors import AuthError, PeerError, Rejected
from bridge.link.lan import HttpAnswer, LanHttp
from bridge.peers.shelly_rpc import SRC, News, Pair, Refusals, params_json, rpc_error, set_call


class HttpChannel:
    """The road over HTTP."""

    name = "http"

    def __init__(self, http: LanHttp) -> None:
        self.http = http
        self._id = 0

    def call(self, method: str, params: Mapping[str, Any]) -> Any:
        """Return the result of one call; raises LinkError, AuthError, RateLimited, Rejected, PeerError."""
        return self._call(method, params_json(params))

    def _call(self, method: str, params: str) -> Any:
        self._id += 1
        body = f'{{"id":{self._id},"src":"{SRC}","method":"{method}","params":{params}}}'
        answer = self.http.request("POST", "/rpc", body.encode())
        frame = self._frame(answer, method)
        if frame.get("id") != self._id:
            raise PeerError(f"{self.http.peer}: the answer to {method} belongs to another call")
        if "error" in frame:
            error = frame["error"] if isinstance(frame["error"], dict) else {}
            raise rpc_error(self.http.peer, method, error.get("code"), str(error.get("message") or ""))
        return frame.get("result")

    def _frame(self, answer: HttpAnswer, method: str) -> Mapping[str, Any]:
        peer = self.http.peer
        if answer.media == "text/html" or answer.body[:1] == b"<":
            raise PeerError(f"{peer}: answered {method} with a web page; it is not a Shelly of Gen2 or later")
        try:
            frame = json.loads(answer.body)
        except ValueError:
            frame = None
        if answer.status != 200:
            if isinstance(frame, dict) and "code" in frame:
                raise rpc_error(peer, method, frame["code"], str(frame.get("message") or ""))
            raise rpc_error(peer, method, answer.status, answer.excerpt() or "no text")
        if not isinstance(frame, dict):
            raise PeerError(f"{peer}: answered {method} with something that is not JSON; is it a Shelly?")
        return frame

    def set_values(self, pairs: Sequence[Pair]) -> Refusals:
        """Set components one after the other; a refusal that concerns more than one ends the round."""
        refusals: Refusals = {}
        for index, (key, value) in enumerate(pairs):
            try:
                self._call(*set_call(key, value))
            except Rejected as error:
                refusals[key] = error
            except AuthError:
                raise
            except PeerError as error:
                refusals.update({key: error for key, _ in pairs[index:]})
                break
        return refusals

    def news(self) -> News:
        """Return nothing: HTTP does not speak unasked."""
        return News()

    def close(self) -> None:
        """Do nothing: every call closes its own connection."""
