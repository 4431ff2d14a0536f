"""Shelly RPC over one WebSocket: a burst of frames out, replies by id, and what the device says unasked.

Never leaves a late reply behind: a call that times out closes the connection. Never signs two frames
with one count: with a password frames go strictly one by one. Facts: shelly.md 1.2, aioshelly 13.35.
"""

from __future__ import annotations

import json
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

from bridge.errors import LinkError, PeerError
from bridge.link.digest import Digest, parse_frame
from bridge.link.websocket import WebSocketLink
from bridge.peers.shelly_rpc import (
    SET_METHODS,
    SRC,
    News,
    Pair,
    Refusals,
    Value,
    json_value,
    params_json,
    rpc_error,
)

ECHOES_KEPT = 12  # two rounds; a device may not echo what has not changed
COMPONENT_EVENTS = ("component_added", "component_removed", "config_changed")

# Nearly all frames are a plain success or the echo of one write; they are told by marks, unparsed.
DONE = b'"result":null}'  # as the end of a frame, nothing but a reply has it
VALUE = b'":{"value":'

Reply = Optional[Mapping[str, Any]]  # a parsed frame; None stands for "result":null


class WsChannel:
    """The road over a WebSocket; ``open`` connects."""

    name = "ws"

    def __init__(self, link: WebSocketLink, digest: Digest) -> None:
        self._link = link
        self._digest = digest
        self._id = 0
        self._echoes: List[Tuple[bytes, str, Value]] = []  # how it will begin, key, value
        self._starts: Dict[str, str] = {}
        self._news = News()

    def open(self) -> None:
        """Connect; raises LinkError, UpgradeRefused, or ConfigError without the library."""
        self._link.connect()
        self._echoes, self._news = [], News()

    def call(self, method: str, params: Mapping[str, Any]) -> Any:
        """Return the result of one call; raises LinkError, AuthError, RateLimited, Rejected, PeerError."""
        reply = self._ask([_call(method, params_json(params))])[0]
        self._raise_error(method, reply)
        return reply.get("result") if reply is not None else None

    def set_values(self, pairs: Sequence[Pair]) -> Refusals:
        """Set components in one burst; return those that were not set."""
        del self._echoes[:-ECHOES_KEPT]
        replies = self._ask([self._call_to_set(key, value) for key, value in pairs])
        refusals: Refusals = {}
        if any(replies):
            for (key, _), reply in zip(pairs, replies):
                try:
                    self._raise_error(f"setting {key}", reply)
                except PeerError as error:
                    refusals[key] = error
        return refusals

    def _call_to_set(self, key: str, value: Value) -> str:
        """Return the call, and remember what its echo will look like."""
        start = self._starts.get(key)
        if start is None:
            kind, _, number = key.partition(":")
            start = self._starts[key] = _call(SET_METHODS[kind], f'{{"id":{number},"value":')
        text = repr(value) if type(value) is int else json_value(value)
        self._echoes.append((f'"{key}":{{"value":{text},'.encode(), key, value))
        return f"{start}{text}}}"

    def news(self) -> News:
        """Return what the device said unasked since the last time; pings a device that is silent."""
        for frame in self._link.drain():
            if not self._is_echo(frame):
                self._unasked(frame)
        self._link.keep_alive()
        news = self._news
        if news.values or news.reconfigured:
            self._news = News()
        return news

    def close(self) -> None:
        """Close the connection."""
        self._link.close()

    def _ask(self, calls: Sequence[str]) -> List[Reply]:
        """Return the replies in order; errors are left in them, but for 401 and 429 which are dealt with."""
        digest = self._digest
        digest.check()
        if digest.ready:
            return [self._signed(call) for call in calls]
        replies = self._round(calls, "")
        if not any(replies):
            return replies
        refused = [index for index, reply in enumerate(replies) if _code(reply) in (401, 429)]
        if refused and (digest.has_password or _code(replies[refused[-1]]) == 401):
            self._refused(replies[refused[-1]], False)
            for index in refused:
                replies[index] = self._signed(calls[index])
        return replies

    def _signed(self, call: str) -> Reply:
        """Send one call with our signature, anew when its nonce has died."""
        while True:
            reply = self._round([call], f',"auth":{self._digest.frame()}')[0]
            if _code(reply) not in (401, 429):
                self._digest.let_in()
                return reply
            self._refused(reply, True)

    def _refused(self, reply: Reply, signed: bool) -> None:
        """Learn from a 401 or 429 frame; raises AuthError or RateLimited when signing would not help."""
        message = str(_error(reply).get("message") or "")
        if _code(reply) == 429:
            raise self._digest.crowded(message)
        self._digest.challenged(parse_frame(message), signed)

    def _round(self, calls: Sequence[str], auth: str) -> List[Reply]:
        """Send the calls together and collect their replies, in any order; raises LinkError, LinkTimeout."""
        first = self._id + 1
        self._id += len(calls)
        frames = [f'{{"id":{first + index},{call}{auth}}}' for index, call in enumerate(calls)]
        self._link.send(frames)
        replies: List[Reply] = [None] * len(calls)
        waiting = {b'{"id":%d' % (first + index): index for index in range(len(calls))}
        for frame in self._link.receive():
            if frame.endswith(DONE):
                waiting.pop(frame[:frame.find(b",")], None)
            elif not self._is_echo(frame):
                reply = self._unasked(frame)
                if reply is not None:
                    index = waiting.pop(b'{"id":%s' % json.dumps(reply["id"]).encode(), None)
                    if index is not None:
                        replies[index] = reply
            if not waiting:
                break
        return replies

    def _unasked(self, frame: bytes) -> Reply:
        """Deal with a frame that is not a plain success; return it if it is a reply."""
        try:
            message = json.loads(frame)
        except ValueError:
            message = None
        if not isinstance(message, dict):
            self._link.close()
            raise LinkError(f"{self._link.peer}: sent a frame that is not a JSON object; is it a Shelly?")
        if "method" not in message:
            return message if "id" in message else None
        if "id" in message:
            self._answer_request(message)
        else:
            self._notified(message)
        return None

    def _notified(self, message: Mapping[str, Any]) -> None:
        params = message.get("params")
        params = params if isinstance(params, dict) else {}
        for key, status in params.items():
            if isinstance(status, dict) and "value" in status:
                self._heard(key, status["value"])
        events = params.get("events")
        for event in events if isinstance(events, list) else ():
            if isinstance(event, dict) and event.get("event") in COMPONENT_EVENTS:
                self._news.reconfigured = True

    def _is_echo(self, frame: bytes) -> bool:
        """Say whether a frame is the next echo we expect and nothing else; the quick way, unparsed."""
        echoes = self._echoes
        if echoes and echoes[0][0] in frame and frame.count(VALUE) == 1:
            del echoes[0]
            return True
        return False

    def _heard(self, key: str, value: Any) -> None:
        """Tell the echo of our own write, whatever it looks like, from somebody else's.

        Echoes come in order: what is older than the one that is heard has been passed.
        """
        for index, echo in enumerate(self._echoes):
            if echo[1] == key and echo[2] == value:
                del self._echoes[:index + 1]
                return
        self._news.values.append((key, value))

    def _answer_request(self, message: Mapping[str, Any]) -> None:
        """Refuse a call that the device makes to us; it may, and waits for an answer."""
        self._link.send([json.dumps({
            "id": message["id"], "src": SRC, "dst": message.get("src"),
            "error": {"code": 500, "message": "not supported"},
        })])

    def _raise_error(self, method: str, reply: Reply) -> None:
        if reply is not None and "error" in reply:
            raise rpc_error(self._link.peer, method, _code(reply), str(_error(reply).get("message") or ""))


def _call(method: str, params: str) -> str:
    """Return a call as it stands in a frame, behind the id."""
    return f'"src":"{SRC}","method":"{method}","params":{params}'


def _error(reply: Reply) -> Mapping[str, Any]:
    error = reply.get("error") if reply is not None else None
    return error if isinstance(error, dict) else {}


def _code(reply: Reply) -> Optional[int]:
    if reply is None:
        return None
    return _error(reply).get("code")
