"""Shelly RPC over one WebSocket: a burst of frames out, replies by id, and what the device says unasked.

Never leaves a late reply behind: a call that times out closes the connection. Never signs two frames
with one count: with a password frames go strictly one by one. Facts: shelly.md 1.2, aioshelly 13.35.
"""

from __future__ import annotations

import json
import re
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

from bridge.clock import Clock
from bridge.errors import LinkError, PeerError
from bridge.link.digest import Digest, parse_frame
from bridge.link.websocket import WebSocketLink
from bridge.peers.shelly_rpc import (
    CALL_TIMEOUT_S, SRC, News, Outcomes, Pair, Value, params_json, rpc_error, set_call,
)

ECHOES_KEPT = 4  # our own last values of a component; a reply may overtake its echo
COMPONENT_EVENTS = ("component_added", "component_removed", "config_changed")

# Most frames are one of these two; they are recognised without building objects (a third of the work).
_DONE = re.compile(rb'\{"id":(\d+),(?:"(?:src|dst)":"[^"\\]*",)*"result":null\}').fullmatch
_ECHOES = re.compile(rb'"(number:\d+)":\{"value":(-?[\d.]+)[,}]').findall

Reply = Optional[Mapping[str, Any]]  # a parsed frame; None stands for "result":null


class WsChannel:
    """The road over a WebSocket; ``open`` connects."""

    name = "ws"

    def __init__(self, link: WebSocketLink, digest: Digest, clock: Clock) -> None:
        self._link = link
        self._digest = digest
        self._clock = clock
        self._id = 0
        self._own: Dict[str, List[Value]] = {}
        self._news = News()

    def open(self) -> None:
        """Connect; raises LinkError, UpgradeRefused, or ConfigError without the library."""
        self._link.connect()
        self._own, self._news = {}, News()

    def call(self, method: str, params: Mapping[str, Any]) -> Any:
        """Return the result of one call; raises LinkError, AuthError, RateLimited, Rejected, PeerError."""
        reply = self._ask([(method, params_json(params))])[0]
        self._raise_error(method, reply)
        return reply.get("result") if reply is not None else None

    def set_values(self, pairs: Sequence[Pair]) -> Outcomes:
        """Set components in one burst; per key None or the refusal."""
        calls = []
        for key, value in pairs:
            calls.append(set_call(key, value))
            own = self._own.setdefault(key, [])
            own.append(value)
            if len(own) > ECHOES_KEPT:
                del own[0]
        outcomes: Outcomes = {}
        for (key, _), (method, _), reply in zip(pairs, calls, self._ask(calls)):
            outcomes[key] = None
            if reply is not None:
                try:
                    self._raise_error(method, reply)
                except PeerError as error:
                    outcomes[key] = error
        return outcomes

    def news(self) -> News:
        """Return what the device said unasked since the last time."""
        for frame in self._link.drain():
            self._unasked(frame)
        news, self._news = self._news, News()
        return news

    def keep_alive(self) -> None:
        """Ping a silent device; raises LinkTimeout when it stays silent."""
        self._link.keep_alive()

    def close(self) -> None:
        """Close the connection."""
        self._link.close()

    def _ask(self, calls: Sequence[Tuple[str, str]]) -> List[Reply]:
        """Return the replies to (method, parameters) in order; errors are left in them, 401 is dealt with."""
        digest = self._digest
        digest.check()
        if digest.ready:
            return [self._signed(call) for call in calls]
        replies = self._round(calls, "")
        refused = [index for index, reply in enumerate(replies) if _code(reply) in (401, 429)]
        if refused and (digest.has_password or _code(replies[refused[-1]]) == 401):
            self._refused(replies[refused[-1]], False)
            for index in refused:
                replies[index] = self._signed(calls[index])
        return replies

    def _signed(self, call: Tuple[str, str]) -> Reply:
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

    def _round(self, calls: Sequence[Tuple[str, str]], auth: str) -> List[Reply]:
        frames = []
        waiting: Dict[int, int] = {}
        for index, (method, params) in enumerate(calls):
            self._id = rpc_id = self._id % 999_999 + 1
            waiting[rpc_id] = index
            frames.append(f'{{"id":{rpc_id},"src":"{SRC}","method":"{method}","params":{params}{auth}}}')
        deadline = self._clock.monotonic() + CALL_TIMEOUT_S
        self._link.send(frames, CALL_TIMEOUT_S)
        replies: List[Reply] = [None] * len(calls)
        while waiting:
            frame = self._link.receive(deadline)
            done = _DONE(frame)
            if done is not None:
                waiting.pop(int(done[1]), None)
                continue
            reply = self._unasked(frame)
            if reply is not None:
                index = waiting.pop(reply["id"], None) if isinstance(reply["id"], int) else None
                if index is not None:
                    replies[index] = reply
        return replies

    def _unasked(self, frame: bytes) -> Reply:
        """Deal with a frame that is not a plain success; return it if it is a reply."""
        if b'"NotifyStatus"' in frame:
            echoes = _ECHOES(frame)
            if echoes:
                for key, text in echoes:
                    self._heard(key.decode(), float(text))
                return None
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

    def _heard(self, key: str, value: Any) -> None:
        """Tell the echo of our own write from somebody else's."""
        own = self._own.get(key)
        if own is not None and value in own:
            del own[: own.index(value)]  # echoes come in order: what is older has been passed
        else:
            self._news.values.append((key, value))

    def _answer_request(self, message: Mapping[str, Any]) -> None:
        """Refuse a call that the device makes to us; it may, and waits for an answer."""
        self._link.send([json.dumps({
            "id": message["id"], "src": SRC, "dst": message.get("src"),
            "error": {"code": 500, "message": "not supported"},
        })], CALL_TIMEOUT_S)

    def _raise_error(self, method: str, reply: Reply) -> None:
        if reply is not None and "error" in reply:
            raise rpc_error(self._link.peer, method, _code(reply), str(_error(reply).get("message") or ""))


def _error(reply: Reply) -> Mapping[str, Any]:
    error = reply.get("error") if reply is not None else None
    return error if isinstance(error, dict) else {}


def _code(reply: Reply) -> Optional[int]:
    if reply is None:
        return None
    return _error(reply).get("code")
